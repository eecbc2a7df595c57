//! Orders the graph of stages so that every stage comes after its inputs, and reports cycles.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::language::draft::Draft;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// Indices of the drafts in topological order; independent stages keep the order of the text. Stages on a cycle, and all
/// stages that depend on one, are left out.
pub(crate) fn order_stages(drafts: &[Draft<'_>], sink: &mut Sink) -> Vec<usize> {
    let graph = build_stage_graph(drafts);
    for cycle in tarjan_scc(&graph) {
        if cycle.len() > 1 || cycle.first().is_some_and(|node| graph.contains_edge(*node, *node)) {
            sink.push(stage_cycle(drafts, &cycle));
        }
    }
    sort_topologically(&graph)
}

fn build_stage_graph(drafts: &[Draft<'_>]) -> DiGraph<(), ()> {
    let mut graph = DiGraph::new();
    let names: IndexMap<&str, NodeIndex> =
        drafts.iter().map(|draft| (draft.name.as_str(), graph.add_node(()))).collect();
    for draft in drafts {
        for input in &draft.inputs {
            if let (Some(from), Some(to)) = (names.get(input.stage.as_str()), names.get(draft.name.as_str()))
            {
                graph.update_edge(*from, *to, ());
            }
        }
    }
    graph
}

fn sort_topologically(graph: &DiGraph<(), ()>) -> Vec<usize> {
    let mut waiting: Vec<usize> = graph
        .node_indices()
        .map(|node| graph.neighbors_directed(node, Direction::Incoming).count())
        .collect();
    let mut ready: BTreeSet<usize> =
        waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(at, _)| at).collect();
    let mut order = Vec::new();
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for user in graph.neighbors(NodeIndex::new(at)) {
            let count = &mut waiting[user.index()];
            *count -= 1;
            if *count == 0 {
                ready.insert(user.index());
            }
        }
    }
    order
}

/// Most stages of a cycle that are named, because nobody reads a chain of thousands.
const MOST_NAMED: usize = 12;

fn stage_cycle(drafts: &[Draft<'_>], cycle: &[NodeIndex]) -> Diagnostic {
    let members = start_at_first_in_text(drafts, cycle);
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let message = format!("stages depend on each other: {}", format_cycle(&members));
    let mut diagnostic = Diagnostic::new(Code::Cycle, message);
    for (at, draft) in members.iter().take(MOST_NAMED).enumerate() {
        let input = draft.inputs.iter().find(|input| names.contains(input.stage.as_str()));
        let input = input.expect("a stage of a cycle depends on another of its stages");
        let text = format!("`{}` depends on `{}`", draft.name, input.stage);
        diagnostic = match at {
            0 => diagnostic.at(&input.span, text),
            _ => diagnostic.also(&input.span, text),
        };
    }
    let makes = ["fetch", "random-init", "convert", "train", "average"];
    let mut outside = drafts.iter().filter(|draft| makes.contains(&draft.record.spec.name.as_str()));
    let other = outside.rfind(|draft| !names.contains(draft.name.as_str()));
    diagnostic.help(match other {
        Some(other) => {
            format!("start one of them from another checkpoint, such as `from=\"{}\"`", other.name)
        }
        None => "start one of them from another checkpoint".to_owned(),
    })
}

/// The members of a cycle, starting with the first one in the text. Each comes before the one that it depends on.
fn start_at_first_in_text<'a, 'd>(drafts: &'a [Draft<'d>], cycle: &[NodeIndex]) -> Vec<&'a Draft<'d>> {
    let mut members: Vec<_> = cycle.iter().rev().filter_map(|node| drafts.get(node.index())).collect();
    let start = members.iter().enumerate().min_by_key(|(_, draft)| draft.record.span.key());
    let start = start.map_or(0, |(at, _)| at);
    members.rotate_left(start);
    members
}

/// The cycle as `` `a` -> `b` -> `a` ``.
fn format_cycle(members: &[&Draft<'_>]) -> String {
    let mut names: Vec<_> = members.iter().map(|draft| format!("`{}`", draft.name)).collect();
    if names.len() > MOST_NAMED {
        let more = names.len() - MOST_NAMED;
        names.truncate(MOST_NAMED);
        names.push(format!("{more} more"));
    }
    names.extend(names.first().cloned());
    names.join(" -> ")
}
