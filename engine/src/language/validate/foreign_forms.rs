//! Recognizes nodes in the syntax of other languages, and collects the counts that suggestions are computed from.

use kdl::{KdlNode, KdlValue};

use super::Validator;
use crate::language::schema::foreign_names::KnownCounts;
use crate::language::schema::{NodeSpec, load_schema};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::Span;
use crate::text::suggest;

impl Validator<'_> {
    /// The diagnostic for `steps: 800`.
    pub(super) fn trailing_colon(&self, raw: &KdlNode, near: Option<&NodeSpec>) -> Option<Diagnostic> {
        let name = raw.name().value();
        let bare = name.strip_suffix(':')?;
        let (pasted, values) = (near.map_or(bare, |spec| spec.name.as_str()), self.values(raw));
        let help = match values.contains(':') {
            true => format!("KDL has no colons: leave them out here, after `{pasted}` too"),
            false => format!("KDL has no colons: write `{}`", format!("{pasted} {values}").trim_end()),
        };
        Some(Diagnostic::new(Code::TrailingColon, format!("`{name}` ends with a colon")).help(help))
    }

    /// The diagnostic for `- steps 800`, `- dataset: text` or `steps:800`, and the name of the node that is meant.
    pub(super) fn foreign_form(&self, raw: &KdlNode, specs: &[NodeSpec]) -> Option<(Diagnostic, String)> {
        let name = raw.name().value();
        if name == "-" {
            return Some(self.foreign_list_item(raw, specs));
        }
        let (own, value) =
            name.split_once(':').filter(|(own, value)| !own.is_empty() && !value.is_empty())?;
        let text = format!("{own} {} {}", quote_value(value), self.values(raw));
        let help = format!("KDL has no colons: write `{}`", text.trim_end());
        let found = Diagnostic::new(Code::TrailingColon, format!("`{name}` contains a colon"));
        Some((found.help(help), suggest::normalize_name(own)))
    }

    /// The diagnostic for a list item of another language, and the name of the node that is meant.
    fn foreign_list_item(&self, raw: &KdlNode, specs: &[NodeSpec]) -> (Diagnostic, String) {
        let values: Vec<_> = raw.entries().iter().map(|entry| self.sources.value(entry)).collect();
        let words: Vec<&str> = values.iter().map(Span::text).collect();
        let node = words.split_first().map(|(first, rest)| format_list_item(first, rest, specs));
        let help = match &node {
            Some(node) => format!("KDL has no `-` lists: write `{node}`"),
            None => "KDL has no `-` lists: remove it".to_owned(),
        };
        let meant = node.as_deref().and_then(|node| node.split(' ').next()).unwrap_or_default().to_owned();
        (Diagnostic::new(Code::UnknownNode, "`-` does not start a node").help(help), meant)
    }

    /// All entries of a node as they are written.
    pub(super) fn values(&self, raw: &KdlNode) -> String {
        let values: Vec<_> = raw.entries().iter().map(|entry| self.span(entry.span())).collect();
        values.iter().map(|value| value.text().trim()).collect::<Vec<_>>().join(" ")
    }
}

/// The node to write for a list item: the node that the item names, or else one whose key is the item (`- text` in a
/// mixture is `dataset "text"`).
fn format_list_item(first: &str, rest: &[&str], specs: &[NodeSpec]) -> String {
    let name = suggest::normalize_name(first);
    let known = specs.iter().find(|spec| spec.name == name);
    let keyed = || specs.iter().find(|spec| spec.key.is_some());
    let (spec, rest) = match known {
        Some(spec) => (Some(spec), rest.to_vec()),
        None if load_schema().node(&name).is_some() || first.ends_with(':') => (None, rest.to_vec()),
        None => (keyed(), [&[first], rest].concat()),
    };
    let name = spec.map_or(name, |spec| spec.name.clone());
    let weight = spec.filter(|spec| spec.key.is_some() && rest.len() == 1);
    let weight = weight.and_then(|spec| spec.properties.iter().find(|field| field.name == "weight"));
    let values: String = rest.iter().map(|value| format!(" {}", quote_value(value))).collect();
    format!("{name}{values}{}", if weight.is_some() { " weight=1" } else { "" })
}

/// A value in the form that KDL accepts anywhere: text gets quotes.
pub(super) fn quote_value(value: &str) -> String {
    let plain =
        value.starts_with(['"', '#']) || value.contains('=') || value.replace('_', "").parse::<f64>().is_ok();
    if plain { value.to_owned() } else { format!("\"{value}\"") }
}

/// Updates and rows per update of a training stage or recipe, from the node itself or from the recipe that it uses.
pub(super) fn find_known_counts(raw: &KdlNode, nodes: &[KdlNode]) -> KnownCounts {
    let recipe = raw.get("use").and_then(KdlValue::as_string);
    let recipe = nodes.iter().find(|node| {
        node.name().value() == "recipe"
            && recipe.is_some()
            && node.get(0).and_then(KdlValue::as_string) == recipe
    });
    let number = |of: &dyn Fn(&KdlNode) -> Option<i128>| {
        let found = of(raw).or_else(|| recipe.and_then(of));
        found.and_then(|number| i64::try_from(number).ok()).filter(|number| *number > 0)
    };
    let child =
        |node: &KdlNode, name: &str| node.iter_children().find(|child| child.name().value() == name).cloned();
    KnownCounts {
        steps: number(&|node| child(node, "steps")?.get(0)?.as_integer()),
        rows: number(&|node| child(node, "batch")?.get("rows")?.as_integer()),
    }
}
