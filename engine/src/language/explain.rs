//! Renders codes, nodes and fields for people: the pages of `explain` and the Markdown reference of `schema`.

mod find;

use std::fmt::Write as _;

use kdl::KdlValue;

use self::find::{find_table_topics, find_value_topics, visit_nodes_with_path};
use crate::language::glossary::{self, WordPage};
use crate::language::schema::{FieldSpec, NodeSpec, foreign_names, load_schema, value};
use crate::text::diagnostic::{Code, Severity};
use crate::text::suggest;

/// The pages of all codes, one section each.
const CODE_PAGES: &str = include_str!("../../../schemas/codes.md");

/// A row of `explain --list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeInfo {
    /// The stable name of the code.
    pub code: &'static str,
    /// Its severity, unless the configuration changes it.
    pub severity: Severity,
    /// What it means, in a few words.
    pub title: &'static str,
}

/// All codes, in the order of [`Code::ALL`].
#[must_use]
pub(crate) fn collect_code_infos() -> Vec<CodeInfo> {
    let info = |code: &Code| CodeInfo { code: code.name(), severity: code.severity(), title: code.title() };
    Code::ALL.iter().map(info).collect()
}

/// The page of a code, a node (`train`) or a field (`train.batch.rows`, `batch.rows` or `per-device`). `None` if nothing has
/// this name.
#[must_use]
pub fn explain_topic(subject: &str) -> Option<String> {
    let topics = find_topics(subject);
    let whole = topics.iter().map(Topic::page).collect::<Vec<_>>().join("\n");
    match topics.as_slice() {
        [] => None,
        [Topic::Word(_), others @ ..] if !others.is_empty() && whole.lines().count() > SCREEN_LINES => {
            let paths: Vec<_> = others.iter().map(|topic| format!("`{}`", topic.path())).collect();
            Some(format!("{}\nThe language has it as {}.\n", topics[0].page(), paths.join(", ")))
        }
        _ => Some(whole),
    }
}

/// Lines of a page that fit on a screen.
const SCREEN_LINES: usize = 40;

/// The code, node or field whose name is closest to `subject`, for the message about an unknown subject.
#[must_use]
pub(crate) fn suggest_subject(subject: &str) -> Option<String> {
    let mut names: Vec<String> = Code::ALL.iter().map(|code| code.name().to_owned()).collect();
    visit_nodes_with_path(&mut |path, node| {
        names.extend(path.last().map(|name| (*name).to_owned()));
        names.extend(node.fields().map(|field| field.name.clone()));
    });
    names.extend(glossary::word_pages().flat_map(|page| page.names()).map(str::to_owned));
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
            format!("\n`lint {{ allow \"{name}\" }}` silences this warning, `deny` makes it an error.\n")
        }
    };
    format!("{name} ({word}): {title}\n\n{}\n{level}", render_plain_page(text).trim_end())
}

/// A page without Markdown fences: examples are indented under `bad:` and `good:`.
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

/// What a subject refers to. Nodes and fields come with their dotted path.
pub(crate) enum Topic {
    Code(Code),
    Node(String, &'static NodeSpec),
    Field(String, &'static FieldSpec, &'static NodeSpec),
    /// A name from other tools, and what to use instead.
    Foreign(String, &'static str),
    /// A word that is neither, or an idea.
    Word(WordPage),
}

impl Topic {
    /// The page of `explain`.
    pub(crate) fn page(&self) -> String {
        match self {
            Self::Code(code) => render_code_page(*code),
            Self::Node(path, node) => render_node_page(path, node),
            Self::Field(path, field, node) => render_field_page(path, field, node),
            Self::Foreign(name, instead) => format!("{name}\n    a name from other tools: {instead}\n"),
            Self::Word(page) => {
                let names: Vec<_> = page.names().collect();
                format!("{}\n\n{}", names.join(", "), render_plain_page(page.text))
            }
        }
    }

    /// What the page is about, as one types it.
    fn path(&self) -> &str {
        match self {
            Self::Code(code) => code.name(),
            Self::Node(path, _) | Self::Field(path, ..) | Self::Foreign(path, _) => path,
            Self::Word(page) => page.name(),
        }
    }
}

/// Everything that a subject can mean: one code, or any number of nodes, fields and foreign names.
pub(crate) fn find_topics(subject: &str) -> Vec<Topic> {
    let subject = subject.trim();
    if let Some(code) = Code::ALL.iter().find(|code| code.name() == subject) {
        return vec![Topic::Code(*code)];
    }
    let instead =
        foreign_names::find_replacement(subject).map(|instead| Topic::Foreign(subject.to_owned(), instead));
    let page = glossary::find_word_page(subject).map(Topic::Word);
    let mut topics: Vec<_> = page.into_iter().chain(instead).chain(find_table_topics(subject)).collect();
    if topics.is_empty() {
        topics = find_value_topics(subject);
    }
    topics
}

fn render_field_page(path: &str, field: &FieldSpec, node: &NodeSpec) -> String {
    let mut text = format!("{path}\n    {}\n    {}\n", field.doc, describe_field(field));
    if let Some(was) = &field.was {
        let _ = writeln!(text, "    called `{was}` before, which still works");
    }
    if !field.aliases.is_empty() {
        let _ = writeln!(
            text,
            "    called {} in other tools",
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

/// A line about the other kinds of nodes that share a namespace with this one, if there are any.
fn describe_shared_names(node: &NodeSpec) -> String {
    let others = load_schema().nodes.iter().filter(|other| other.namespace == node.namespace);
    let names: Vec<_> = others.map(|other| other.name.as_str()).collect();
    let declares = load_schema().nodes.iter().any(|top| std::ptr::eq(top, node));
    match declares && names.len() > 1 {
        true => format!("    its name must be unique among {}\n", names.join(", ")),
        false => String::new(),
    }
}

fn format_field_name(field: &FieldSpec) -> String {
    match field.name.as_str() {
        "value" | "name" | "word" | "event" => format!("\"{}\"", field.name),
        name => format!("{name}="),
    }
}

/// Type, range, defaults and conditions of a field on one line.
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
        let words: Vec<String> = field.counts.iter().map(|word| format!("`{word}`")).collect();
        let but = if words.is_empty() { String::new() } else { format!(", but for {}", words.join(", ")) };
        facts.push(format!("not part of the fingerprint{but}"));
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

/// The reference of the language as Markdown, as `fmflow schema` prints it.
#[must_use]
pub(crate) fn render_schema_markdown() -> String {
    let mut text = String::from("# The language\n\nGenerated from `schemas/*.kdl`.\n");
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
    fn words_of_the_language_of_papers_and_of_ideas_are_explained() {
        let mut unknown = Vec::new();
        visit_nodes_with_path(&mut |_, node| {
            let words = node.fields().flat_map(|field| &field.words);
            unknown.extend(words.filter(|word| explain_topic(word).is_none()));
        });
        assert!(unknown.is_empty(), "{unknown:?}");
        for word in [
            "elbo",
            "bidirectional",
            "first-fit",
            "antithetic",
            "humaneval",
            "mask_token_id",
            "gen_length",
            "remasking",
            "block_length",
            "sigma",
            "kappa",
            "t",
            "fingerprint",
            "canvas",
            "contract",
            "held-out",
            "update",
            "SFT",
            "mdlm",
        ] {
            let page = explain_topic(word).unwrap_or_else(|| panic!("nothing is called `{word}`"));
            assert!(page.lines().count() <= SCREEN_LINES + 3, "{word}: {} lines", page.lines().count());
        }
        assert!(explain_topic("elbo").unwrap().contains("kappa'(t) / (1 - kappa(t))"));
        assert!(explain_topic("canvas").unwrap().contains("rows.canvas"));
        assert!(explain_topic("zstd").unwrap().contains("compression"));
    }

    #[test]
    fn the_reference_names_every_node() {
        let text = render_schema_markdown();
        assert!(load_schema().nodes.iter().all(|node| text.contains(&format!("## `{}`", node.name))));
    }
}
