//! Codes and fields in words: the pages of `explain` and the reference of `schema`.

use std::fmt::Write as _;

use kdl::KdlValue;

use crate::language::schema::{FieldSpec, NodeSpec, foreign_names, load_schema, value};
use crate::text::diagnostic::{Code, Severity};
use crate::text::suggest;

/// The pages of all codes.
const CODE_PAGES: &str = include_str!("../../../schemas/codes.md");

/// A code, as `explain --list` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeInfo {
    /// Its stable name.
    pub code: &'static str,
    /// Whether it leaves no pipeline.
    pub severity: Severity,
    /// What it means, in a few words.
    pub title: &'static str,
}

/// All codes, in the order of the phases.
#[must_use]
pub fn collect_code_infos() -> Vec<CodeInfo> {
    let info = |code: &Code| CodeInfo { code: code.name(), severity: code.severity(), title: code.title() };
    Code::ALL.iter().map(info).collect()
}

/// What a code, a node (`train`) or a field (`train.batch.rows`, `batch.rows` or `per-device`) means.
#[must_use]
pub fn explain_topic(subject: &str) -> Option<String> {
    let sections: Vec<_> = find_topics(subject).iter().map(Topic::page).collect();
    (!sections.is_empty()).then(|| sections.join("\n"))
}

/// Subjects that are spelt like `subject`, for a message when there is nothing to explain.
#[must_use]
pub fn suggest_subject(subject: &str) -> Option<String> {
    let mut names: Vec<String> = Code::ALL.iter().map(|code| code.name().to_owned()).collect();
    visit_nodes_with_path(&mut |path, node| {
        names.extend(path.last().map(|name| (*name).to_owned()));
        names.extend(node.fields().map(|field| field.name.clone()));
    });
    suggest::find_closest_name(subject, names.iter().map(String::as_str)).map(str::to_owned)
}

fn render_code_page(code: Code) -> String {
    let heading = format!("## {}\n", code.name());
    let (_, rest) = CODE_PAGES.split_once(&heading).expect("every code has a page");
    let text = rest.split_once("\n## ").map_or(rest, |(text, _)| text);
    let (name, word, title) = (code.name(), code.severity().word(), code.title());
    let level = match code.severity() {
        Severity::Error => String::new(),
        Severity::Warning => {
            format!("\n`lint {{ allow \"{name}\" }}` takes it as it is, `deny` makes it an error.\n")
        }
    };
    format!("{name} ({word}): {title}\n\n{}\n{level}", render_plain_page(text).trim_end())
}

/// A page without fences: its examples indented under `bad:` and `good:`.
fn render_plain_page(page: &str) -> String {
    let (mut text, mut inside) = (String::new(), false);
    for line in page.lines() {
        let fence = line.strip_prefix("```");
        match fence {
            Some(info) if !inside => _ = writeln!(text, "{}:", info.split(' ').nth(1).unwrap_or("example")),
            Some(_) => {}
            None if inside => _ = writeln!(text, "    {line}"),
            None => _ = writeln!(text, "{line}"),
        }
        inside ^= fence.is_some();
    }
    text
}

/// A code, or a node or one of its fields with the way to it.
pub(crate) enum Topic {
    Code(Code),
    Node(String, &'static NodeSpec),
    Field(String, &'static FieldSpec, &'static NodeSpec),
    /// A name of other tools, and what to do instead.
    Foreign(String, &'static str),
}

impl Topic {
    /// What it means, for people.
    pub(crate) fn page(&self) -> String {
        match self {
            Self::Code(code) => render_code_page(*code),
            Self::Node(path, node) => render_node_page(path, node),
            Self::Field(path, field, node) => render_field_page(path, field, node),
            Self::Foreign(name, instead) => format!("{name}\n    a name of other tools: {instead}\n"),
        }
    }
}

/// What a subject names: a code, or what the tables hold.
pub(crate) fn find_topics(subject: &str) -> Vec<Topic> {
    let subject = subject.trim();
    if let Some(code) = Code::ALL.iter().find(|code| code.name() == subject) {
        return vec![Topic::Code(*code)];
    }
    let instead =
        foreign_names::find_replacement(subject).map(|instead| Topic::Foreign(subject.to_owned(), instead));
    instead.into_iter().chain(find_table_topics(subject)).collect()
}

/// Nodes and fields: by the whole path, by its end, or by the name another tool uses.
fn find_table_topics(subject: &str) -> Vec<Topic> {
    let wanted: Vec<_> = subject.split('.').map(suggest::normalise_name).collect();
    let ends = |path: &[&str]| {
        path.len() >= wanted.len()
            && path.iter().rev().zip(wanted.iter().rev()).all(|(a, b)| *a == b.as_str())
    };
    // What another tool calls so stands where the words before it lead.
    let known = |aliases: &[String], around: &[&str]| {
        let (last, before) = wanted.split_last().expect("a split text has a last part");
        let leads = before.iter().rev().zip(around.iter().rev()).all(|(word, node)| word == node);
        leads
            && before.len() <= around.len()
            && aliases.iter().any(|alias| suggest::normalise_name(alias) == *last)
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

fn visit_nodes_with_path(look: &mut dyn FnMut(&[&'static str], &'static NodeSpec)) {
    fn visit_node(
        path: &mut Vec<&'static str>,
        node: &'static NodeSpec,
        look: &mut dyn FnMut(&[&'static str], &'static NodeSpec),
    ) {
        path.push(&node.name);
        look(path, node);
        node.children.iter().for_each(|child| visit_node(path, child, look));
        path.pop();
    }
    load_schema().nodes.iter().for_each(|node| visit_node(&mut Vec::new(), node, look));
}

fn render_field_page(path: &str, field: &FieldSpec, node: &NodeSpec) -> String {
    let mut text = format!("{path}\n    {}\n    {}\n", field.doc, describe_field(field));
    if !field.aliases.is_empty() {
        let _ = writeln!(
            text,
            "    elsewhere called {}",
            suggest::format_name_list(field.aliases.iter().map(String::as_str))
        );
    }
    if let Some(example) = node.example_of(field) {
        let _ = writeln!(text, "\n    {example}");
    }
    text
}

fn render_node_page(path: &str, node: &NodeSpec) -> String {
    let mut text = format!("{path}\n    {}\n", node.doc);
    if let Some(reason) = &node.unsupported {
        let _ = writeln!(text, "    Not supported yet: {reason}.");
    }
    if let Some(example) = &node.example {
        let _ = writeln!(text, "\n    {example}");
    }
    text.push('\n');
    for field in node.fields() {
        let _ = writeln!(
            text,
            "    {:<20} {}\n    {:<20} {}",
            format_field_name(field),
            field.doc,
            "",
            describe_field(field)
        );
    }
    text += &describe_shared_names(node);
    let inside: Vec<_> = node.children.iter().map(|child| child.name.as_str()).collect();
    if !inside.is_empty() {
        let _ = writeln!(text, "    inside: {}", inside.join(", "));
    }
    text
}

/// Which other declarations a name must differ from, where there are some.
fn describe_shared_names(node: &NodeSpec) -> String {
    let others = load_schema().nodes.iter().filter(|other| other.namespace == node.namespace);
    let names: Vec<_> = others.map(|other| other.name.as_str()).collect();
    let declares = load_schema().nodes.iter().any(|top| std::ptr::eq(top, node));
    match declares && names.len() > 1 {
        true => format!("    its name is shared by no other {}\n", names.join(", ")),
        false => String::new(),
    }
}

fn format_field_name(field: &FieldSpec) -> String {
    match field.name.as_str() {
        "value" | "name" | "word" | "event" => format!("\"{}\"", field.name),
        name => format!("{name}="),
    }
}

/// Type, range, default and condition of a field, in one line.
fn describe_field(field: &FieldSpec) -> String {
    let kinds: Vec<_> = field.types.iter().map(|kind| kind.phrase(field)).collect();
    let mut facts = vec![kinds.join(" or ")];
    let bounds = value::format_range(&field.range);
    if !bounds.is_empty() {
        facts.push(bounds);
    }
    if field.required {
        facts.push("required".to_owned());
    }
    facts.extend(field.default_from.iter().map(|other| format!("default: `{other}`")));
    for (when, default) in &field.defaults {
        let condition = when.as_ref().map(|when| format!(" for {}", when.values.join(", ")));
        facts.push(format!("default {}{}", format_default(default), condition.unwrap_or_default()));
    }
    if let Some(when) = &field.when {
        facts.push(format!("only for {}", when.values.join(", ")));
    }
    if field.unsupported {
        facts.push("not supported yet".to_owned());
    }
    facts.extend(field.not_yet.iter().map(|word| format!("`{word}` not supported yet")));
    if !field.semantic {
        facts.push("does not count for the fingerprint".to_owned());
    }
    facts.join("; ")
}

fn format_default(default: &KdlValue) -> String {
    match default {
        KdlValue::String(text) => format!("\"{text}\""),
        KdlValue::Float(number) if *number < 1e-3 && *number > 0.0 => format!("{number:e}"),
        other => other.to_string(),
    }
}

/// The reference of the language as Markdown.
#[must_use]
pub fn render_schema_markdown() -> String {
    let mut text = String::from("# The language\n\nMade from `schemas/*.kdl`.\n");
    visit_nodes_with_path(&mut |path, node| match path {
        ["recipe", _, ..] => {}
        _ => render_node_markdown(&mut text, path, node),
    });
    text
}

fn render_node_markdown(text: &mut String, path: &[&str], node: &NodeSpec) {
    let level = "#".repeat((path.len() + 1).min(4));
    let _ = writeln!(text, "\n{level} `{}`\n\n{}", path.join("` › `"), node.doc);
    if let Some(reason) = &node.unsupported {
        let _ = writeln!(text, "Not supported yet: {reason}.");
    }
    if let Some(example) = &node.example {
        let _ = writeln!(text, "\n    {example}");
    }
    let mut fields = node.fields().peekable();
    if fields.peek().is_some() {
        text.push_str("\n| field | meaning | value |\n|---|---|---|\n");
    }
    for field in fields {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            format_field_name(field),
            field.doc,
            describe_field(field).replace('|', "\\|")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let pages: Vec<_> = CODE_PAGES.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let codes: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(pages, codes);
        for code in codes {
            assert!(explain_topic(code).unwrap().lines().count() > 2, "the page of `{code}` is empty");
        }
    }

    #[test]
    fn fields_are_found_by_path_by_end_and_by_other_tools_names() {
        assert!(explain_topic("train.batch.rows").unwrap().contains("Rows of an update"));
        let page = explain_topic("per-device").unwrap();
        assert!(page.contains("micro-batch") && page.contains("micro_batch_size"), "{page}");
        assert!(page.contains("    batch rows=128 per-device=2"), "{page}");
        assert!(explain_topic("max_steps").unwrap().contains("Optimizer updates"));
        assert!(explain_topic("train.max_steps").unwrap().starts_with("train.steps\n"));
        assert!(explain_topic("learning-rate.lr").unwrap().starts_with("train.learning-rate.peak\n"));
        assert_eq!(explain_topic("rows.max_steps"), None);
        assert!(explain_topic("shape.context").unwrap().contains("default 512"));
        assert_eq!(explain_topic("nonsense"), None);
        assert_eq!(suggest_subject("atention").as_deref(), Some("attention"));
    }

    #[test]
    fn the_reference_names_every_node() {
        let text = render_schema_markdown();
        assert!(load_schema().nodes.iter().all(|node| text.contains(&format!("## `{}`", node.name))));
    }
}
