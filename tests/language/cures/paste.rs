//! Pastes a snippet into a text: every way in which a reader of the help may follow it near the marked places.

use std::ops::Range;

use super::help::{Step, Verb};

/// A node of a KDL text, by its bytes.
#[derive(Clone, Debug)]
struct Node {
    all: Range<usize>,
    /// The bytes between its braces.
    inside: Option<Range<usize>>,
    parent: Option<usize>,
}

/// The end of a string or comment that begins at `at`, if one does.
fn skip(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let until = |start: &str, end: &str| {
        let inner = rest.strip_prefix(start)?;
        Some(at + start.len() + inner.find(end).map_or(inner.len(), |found| found + end.len()))
    };
    if rest.starts_with("//") {
        return Some(at + rest.find('\n').unwrap_or(rest.len()));
    }
    until("\"\"\"", "\"\"\"").or_else(|| until("#\"", "\"#")).or_else(|| until("/*", "*/")).or_else(|| {
        let inner = rest.strip_prefix('"')?;
        let mut escaped = false;
        let end = inner.char_indices().find(|(_, letter)| {
            let ends = !escaped && matches!(letter, '"' | '\n');
            escaped = *letter == '\\' && !escaped;
            ends
        });
        Some(at + 1 + end.map_or(inner.len(), |(found, _)| found + 1))
    })
}

/// The nodes of a text, parents before children. Text that is not valid gives whatever it looks like.
fn scan(text: &str) -> Vec<Node> {
    let (mut nodes, mut open, mut current): (Vec<Node>, Vec<usize>, Option<usize>) =
        (Vec::new(), Vec::new(), None);
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        let next = at + letter.len_utf8();
        if let Some(end) = skip(text, at) {
            let comment = letter == '/';
            if !comment {
                begin(&mut nodes, &mut current, open.last().copied(), at);
            }
            if let Some(node) = current.filter(|_| !comment) {
                nodes[node].all.end = end;
            }
            at = end;
            continue;
        }
        match letter {
            '{' => {
                if let Some(node) = current.take() {
                    nodes[node].inside = Some(next..next);
                    open.push(node);
                }
            }
            '}' => {
                current = open.pop();
                if let Some(node) = current {
                    nodes[node].inside = nodes[node].inside.clone().map(|inside| inside.start..at);
                    nodes[node].all.end = next;
                }
            }
            ';' | '\n' => current = None,
            '\\' => at = text[at..].find('\n').map_or(next, |end| at + end),
            letter if letter.is_whitespace() => {}
            _ => {
                begin(&mut nodes, &mut current, open.last().copied(), at);
                if let Some(node) = current {
                    nodes[node].all.end = next;
                }
            }
        }
        at = next.max(at + 1);
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    nodes
}

fn begin(nodes: &mut Vec<Node>, current: &mut Option<usize>, parent: Option<usize>, at: usize) {
    if current.is_none() {
        nodes.push(Node { all: at..at, inside: None, parent });
        *current = Some(nodes.len() - 1);
    }
}

/// The entries of a node: its name, arguments and properties, without its braces.
fn entries(text: &str, node: &Node) -> Vec<Range<usize>> {
    let end = node.inside.as_ref().map_or(node.all.end, |inside| inside.start - 1);
    let (mut found, mut at, mut start) = (Vec::new(), node.all.start, None);
    while at < end {
        let letter = text[at..].chars().next().unwrap_or(' ');
        if letter.is_whitespace() {
            found.extend(start.take().map(|start| start..at));
            at += letter.len_utf8();
            continue;
        }
        start = start.or(Some(at));
        at = skip(text, at).unwrap_or(at + letter.len_utf8()).min(end);
    }
    found.extend(start.map(|start| start..end));
    found
}

fn replace(text: &str, place: Range<usize>, with: &str) -> String {
    format!("{}{with}{}", &text[..place.start], &text[place.end..])
}

/// The first word of a snippet, which names a node or property.
fn name_of(snippet: &str) -> &str {
    snippet.split([' ', '=', '{', ';']).next().unwrap_or(snippet)
}

/// The properties that a snippet consists of: each as `name=value`; none if it is something else.
fn properties(snippet: &str) -> Vec<String> {
    let node = Node { all: 0..snippet.len(), inside: None, parent: None };
    let parts: Vec<_> = entries(snippet, &node).into_iter().map(|part| snippet[part].to_owned()).collect();
    let named = |part: &String| part.split_once('=').is_some_and(|(name, _)| !name.contains(['"', '{']));
    if parts.iter().all(named) { parts } else { Vec::new() }
}

/// The text with a property of the node set; the old value goes.
fn set_property(text: &str, node: &Node, property: &str) -> String {
    let (name, _) = property.split_once('=').expect("a property has a value");
    let parts = entries(text, node);
    let old = parts.iter().find(|part| text[(*part).clone()].starts_with(&format!("{name}=")));
    match (old, parts.last()) {
        (Some(old), _) => replace(text, old.clone(), property),
        (None, Some(last)) => replace(text, last.end..last.end, &format!(" {property}")),
        (None, None) => text.to_owned(),
    }
}

/// The text without the innermost node at `place`.
pub(super) fn without_node(text: &str, place: &Range<usize>) -> String {
    let nodes = scan(text);
    let holds = |node: &&Node| node.all.start <= place.start && place.start < node.all.end;
    nodes.iter().rfind(holds).map_or_else(|| text.to_owned(), |node| replace(text, node.all.clone(), ""))
}

/// The text without the entry at `place`.
pub(super) fn without_entry(text: &str, place: &Range<usize>) -> String {
    let all = scan(text);
    let inside = |part: &Range<usize>| part.start <= place.start && place.start < part.end;
    let part = all.iter().flat_map(|node| entries(text, node).into_iter().skip(1)).find(inside);
    part.map_or_else(|| text.to_owned(), |part| replace(text, part, ""))
}

/// Every text that following `step` near `places`, or in the nodes that `names` name, may give. The first place is the one to change.
pub(super) fn paste(text: &str, places: &[Range<usize>], names: &[&str], step: &Step) -> Vec<String> {
    let nodes = scan(text);
    let mut near: Vec<usize> = Vec::new();
    for place in places {
        let holds = |node: &Node| node.all.start <= place.start && place.start <= node.all.end;
        let mut own: Vec<usize> = (0..nodes.len()).filter(|&at| holds(&nodes[at])).collect();
        own.reverse();
        near.extend(own);
    }
    let named = |node: &Node| names.contains(&name_of(&text[node.all.clone()]));
    near.extend((0..nodes.len()).filter(|&at| named(&nodes[at])));
    let mut made = Vec::new();
    match step.verb {
        Verb::Write => {
            for place in places {
                made.extend(replace_place(text, place, &step.snippet));
            }
            for &at in &near {
                made.extend(write_near(text, &nodes, at, &step.snippet));
            }
            made.push(format!("{text}\n{}\n", step.snippet));
            made.push(format!("{}\n{text}", step.snippet));
        }
        Verb::Remove if step.snippet.is_empty() => {
            for place in places {
                let inside = |part: &Range<usize>| part.start <= place.start && place.start < part.end;
                let parts = near.iter().flat_map(|&at| entries(text, &nodes[at]).into_iter().skip(1));
                made.push(replace(text, place.clone(), ""));
                made.extend(parts.filter(inside).map(|part| replace(text, part, "")));
                made.push(without_node(text, place));
            }
        }
        Verb::Remove => {
            for &at in &near {
                made.extend(remove_near(text, &nodes[at], &step.snippet));
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    made.retain(|new| new != text && seen.insert(new.clone()));
    made
}

/// The snippet in place of what is marked, within the quotes of the text if there are some.
fn replace_place(text: &str, place: &Range<usize>, snippet: &str) -> Vec<String> {
    let old = &text[place.clone()];
    let mut made = vec![replace(text, place.clone(), snippet)];
    if old.starts_with('"') && old.len() >= 2 {
        made.push(replace(text, place.start + 1..place.end - 1, snippet));
    }
    // What is marked may be the first part of what is replaced.
    let line_end = text[place.end..].find(['\n', ';', '}']).map_or(text.len(), |end| place.end + end);
    made.push(replace(text, place.start..line_end, snippet));
    if properties(snippet).is_empty() {
        let line_start = text[..place.start].rfind(['\n', ';', '{']).map_or(0, |start| start + 1);
        made.push(replace(text, line_start..line_end, snippet));
    }
    let word_end =
        |from: usize| text[from..].find([' ', '\n', ';', '}']).map_or(text.len(), |end| from + end);
    made.push(replace(text, place.start..word_end(place.end), snippet));
    let next = place.end + text[place.end..].find(|letter: char| letter != ' ').unwrap_or(0);
    made.push(replace(text, place.start..word_end(next), snippet));
    let word_start = text[..place.start].rfind([' ', '\n', ';', '{', '=']).map_or(0, |start| start + 1);
    made.push(replace(text, word_start..word_end(place.end), snippet));
    if let Some((name, _)) = old.split_once('=') {
        made.push(replace(text, place.start..place.start + name.len(), snippet));
    }
    made
}

fn write_near(text: &str, nodes: &[Node], at: usize, snippet: &str) -> Vec<String> {
    let (node, name, parts) = (&nodes[at], name_of(snippet), properties(snippet));
    let mut made = Vec::new();
    if !parts.is_empty() {
        let mut new = text.to_owned();
        for part in &parts {
            let now = scan(&new);
            new = now.get(at).map_or(new.clone(), |node| set_property(&new, node, part));
        }
        made.push(new);
    }
    let named = |node: &Node| text[node.all.clone()].starts_with(name) && !name.is_empty();
    if let (false, Some(parent)) = (parts.is_empty(), node.parent) {
        // A node that is a property of the node around it moves there.
        let mut new = replace(text, node.all.clone(), "");
        for part in &parts {
            let now = scan(&new);
            new = now.get(parent).map_or(new.clone(), |node| set_property(&new, node, part));
        }
        made.push(new);
    }
    if named(node) {
        made.push(replace(text, node.all.clone(), snippet));
        made.push(keep_braces(text, node, snippet));
    }
    for child in nodes.iter().filter(|child| child.parent == Some(at) && named(child)) {
        made.push(replace(text, child.all.clone(), snippet));
        made.push(keep_braces(text, child, snippet));
    }
    // An entry of the node that is wrong as a whole, such as a foreign property.
    for part in entries(text, node).into_iter().skip(1) {
        let own = text[part.clone()].split('=').next().unwrap_or_default().to_owned();
        if parts.is_empty() && !own.is_empty() {
            made.push(replace(text, part.start..part.start + own.len(), snippet));
        }
        made.push(replace(text, part, snippet));
    }
    made.push(match &node.inside {
        Some(inside) => replace(text, inside.end..inside.end, &format!("\n{snippet}\n")),
        None => replace(text, node.all.end..node.all.end, &format!(" {{ {snippet} }}")),
    });
    made.push(replace(text, node.all.end..node.all.end, &format!("\n{snippet}\n")));
    made.push(replace(text, node.all.clone(), snippet));
    if snippet == "/-" {
        made.insert(0, replace(text, node.all.start..node.all.start, "/-"));
    }
    made
}

/// The snippet in place of the node, with the node's own braces if the snippet has none.
fn keep_braces(text: &str, node: &Node, snippet: &str) -> String {
    match &node.inside {
        Some(inside) if !snippet.contains('{') => {
            replace(text, node.all.start..inside.start - 1, &format!("{snippet} "))
        }
        _ => text.to_owned(),
    }
}

fn remove_near(text: &str, node: &Node, snippet: &str) -> Vec<String> {
    let name = snippet.trim_end_matches('=');
    let parts = entries(text, node);
    let own = |part: &&Range<usize>| {
        let written = &text[(*part).clone()];
        written == snippet || written.split('=').next() == Some(name)
    };
    let mut made: Vec<String> =
        parts.iter().skip(1).filter(own).map(|part| replace(text, part.clone(), "")).collect();
    if text[node.all.clone()].starts_with(name) {
        made.push(replace(text, node.all.clone(), ""));
    }
    made
}
