//! Looks up nodes and fields by their paths, by other tools' names, and by the words that they take.

use super::Topic;
use crate::language::schema::{FieldSpec, NodeSpec, load_schema};
use crate::text::suggest;

/// The fields that take `subject` as a word, or know it as another name of one.
pub(super) fn find_value_topics(subject: &str) -> Vec<Topic> {
    let word = suggest::normalize_name(subject);
    let mut found = Vec::new();
    visit_nodes_with_path(&mut |path, node| {
        let takes = |field: &&FieldSpec| field.words.contains(&word) || field.find_synonym(&word).is_some();
        for field in node.fields().filter(takes).filter(|_| !path.starts_with(&["recipe"])) {
            let whole = path.iter().copied().chain([field.name.as_str()]).collect::<Vec<_>>().join(".");
            found.push(Topic::Field(whole, field, node));
        }
    });
    found
}

/// The nodes and fields that `subject` names by their path or the end of it; if there are none, those that other tools
/// call by this name.
pub(super) fn find_table_topics(subject: &str) -> Vec<Topic> {
    let wanted: Vec<_> = subject.split('.').map(suggest::normalize_name).collect();
    let ends = |path: &[&str]| {
        path.len() >= wanted.len()
            && path.iter().rev().zip(wanted.iter().rev()).all(|(a, b)| *a == b.as_str())
    };
    // Only the last word can be a name from another tool. The words before it must be the nodes around the match.
    let known = |aliases: &[String], around: &[&str]| {
        let (last, before) = wanted.split_last().expect("a split text has a last part");
        let leads = before.iter().rev().zip(around.iter().rev()).all(|(word, node)| word == node);
        leads
            && before.len() <= around.len()
            && aliases.iter().any(|alias| suggest::normalize_name(alias) == *last)
    };
    let (mut exact, mut aliased) = (Vec::new(), Vec::new());
    visit_nodes_with_path(&mut |path, node| {
        let whole = path.join(".");
        match path {
            ["recipe", _, ..] => return,
            _ if ends(path) => exact.push(Topic::Node(whole.clone(), node)),
            [around @ .., _] if known(&node.aliases, around) => {
                aliased.push(Topic::Node(whole.clone(), node))
            }
            _ => {}
        }
        for field in node.fields().filter(|field| field.name != "value") {
            let inner: Vec<_> = path.iter().copied().chain([field.name.as_str()]).collect();
            if ends(&inner) {
                exact.push(Topic::Field(inner.join("."), field, node));
            } else if known(&field.aliases, path) {
                aliased.push(Topic::Field(inner.join("."), field, node));
            }
        }
    });
    if exact.is_empty() { aliased } else { exact }
}

pub(super) fn visit_nodes_with_path(visit: &mut dyn FnMut(&[&'static str], &'static NodeSpec)) {
    fn visit_node(
        path: &mut Vec<&'static str>,
        node: &'static NodeSpec,
        visit: &mut dyn FnMut(&[&'static str], &'static NodeSpec),
    ) {
        path.push(&node.name);
        visit(path, node);
        node.children.iter().for_each(|child| visit_node(path, child, visit));
        path.pop();
    }
    load_schema().nodes.iter().for_each(|node| visit_node(&mut Vec::new(), node, visit));
}
