//! The graph of stages: an order in which inputs come before their users, or the cycle that prevents it.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::language::draft::Draft;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// Places of the drafts in topological order, ties in the order of the text. Stages of a cycle are left out.
pub fn order_stages(drafts: &[Draft<'_>], sink: &mut Sink) -> Vec<usize> {
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

fn stage_cycle(drafts: &[Draft<'_>], cycle: &[NodeIndex]) -> Diagnostic {
    let mut members: Vec<_> = cycle.iter().map(|node| &drafts[node.index()]).collect();
    members.reverse();
    let start = members.iter().enumerate().min_by_key(|(_, draft)| draft.record.span.key());
    let start = start.map_or(0, |(at, _)| at);
    members.rotate_left(start);
    let mut names: Vec<_> = members.iter().map(|draft| format!("`{}`", draft.name)).collect();
    names.extend(names.first().cloned());
    let mut diagnostic =
        Diagnostic::new(Code::Cycle, format!("stages wait for each other: {}", names.join(" -> ")));
    for (at, draft) in members.iter().enumerate() {
        let inside = |name: &str| members.iter().any(|member| member.name == name);
        let input = draft.inputs.iter().find(|input| inside(&input.stage));
        let input = input.expect("a stage of a cycle waits for another of it");
        let text = format!("`{}` waits for `{}`", draft.name, input.stage);
        diagnostic = match at {
            0 => diagnostic.at(&input.span, text),
            _ => diagnostic.also(&input.span, text),
        };
    }
    let makes = ["fetch", "random-init", "convert", "train"];
    let outside = drafts.iter().filter(|draft| makes.contains(&draft.record.spec.name.as_str()));
    let mut other = outside
        .filter(|draft| members.iter().all(|member| member.name != draft.name))
        .map(|draft| &draft.name);
    diagnostic.help(match other.next_back() {
        Some(name) => format!("let one of them start from another checkpoint, such as `from=\"{name}\"`"),
        None => "let one of them start from another checkpoint".to_owned(),
    })
}
