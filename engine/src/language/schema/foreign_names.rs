//! Names from other tools: which of our fields a name corresponds to, or what to do if there is no such field.

use std::sync::OnceLock;

use kdl::KdlValue;

use super::{FieldSpec, FieldType, NodeSpec, load_schema, table_parser};
use crate::text::suggest;

/// Names from other tools without a counterpart here, and what to do instead.
#[derive(Debug)]
pub(super) struct ForeignName {
    pub(super) names: Vec<String>,
    pub(super) advice: String,
    /// Which advice can be computed from the written value; see [`compute_replacement`].
    pub(super) computes: Option<String>,
}

/// Numbers from the surrounding nodes that a suggestion is computed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownCounts {
    /// Updates of the training stage, from `steps`.
    pub steps: Option<i64>,
    /// Rows per update, from `batch rows=`.
    pub rows: Option<i64>,
}

const FOREIGN_NAMES_TABLE: &str = include_str!("../../../../schemas/elsewhere.kdl");

fn load_foreign_names() -> &'static [ForeignName] {
    static FOREIGN: OnceLock<Vec<ForeignName>> = OnceLock::new();
    FOREIGN.get_or_init(|| {
        table_parser::parse_foreign_names(FOREIGN_NAMES_TABLE).expect("the embedded table is read by a test")
    })
}

fn find_foreign_name(name: &str) -> Option<&'static ForeignName> {
    let name = suggest::normalize_name(name);
    let called =
        |foreign: &&ForeignName| foreign.names.iter().any(|own| suggest::normalize_name(own) == name);
    load_foreign_names().iter().find(called)
}

/// The advice for a name that other tools have and this language does not. `None` for other names.
#[must_use]
pub(crate) fn find_replacement(name: &str) -> Option<&'static str> {
    find_foreign_name(name).map(|foreign| foreign.advice.as_str())
}

/// The advice for a name from another tool, with numbers computed from its value and from the surrounding nodes if
/// possible: `betas="0.9,0.95"` becomes `beta1=0.9 beta2=0.95`.
#[must_use]
pub(crate) fn compute_replacement(name: &str, value: &str, known: &KnownCounts) -> Option<String> {
    let found = find_foreign_name(name)?;
    let computed = found.computes.as_deref().and_then(|what| match (what, find_numbers(value).as_slice()) {
        ("betas", [one, two]) => {
            Some(format!("each has its own field: `optimizer \"adamw\" beta1={one} beta2={two}`"))
        }
        ("per-device", [count]) => suggest_per_device(count.parse().ok()?, known.rows?),
        ("warmup" | "decay", _) => suggest_share_updates(what, value, known),
        _ => None,
    });
    computed.or_else(|| Some(found.advice.clone()))
}

fn suggest_per_device(count: i64, rows: i64) -> Option<String> {
    let divides = count > 0 && rows % count == 0;
    divides.then(|| {
        format!(
            "it follows from the batch and the micro-batch: `batch rows={rows} per-device={}`",
            rows / count
        )
    })
}

/// Converts a share of all updates into a number of updates: `warmup=40` for `0.1` or `10%` of 400 steps. Unknown steps
/// count as 2000.
#[must_use]
pub(crate) fn suggest_share_updates(field: &str, value: &str, known: &KnownCounts) -> Option<String> {
    let [number] = find_numbers(value)[..] else { return None };
    let number: f64 = number.parse().ok()?;
    let ratio = if value.contains('%') { number / 100.0 } else { number };
    let steps = known.steps.unwrap_or(2000);
    let updates = (ratio * steps as f64).round();
    (0.0..1.0).contains(&ratio).then(|| {
        format!("`{field}` of `learning-rate` counts updates: of {steps} updates, a ratio of {ratio} is `{field}={updates}`")
    })
}

/// The numbers in a text of any form, such as `[0.9, 0.95]`.
fn find_numbers(text: &str) -> Vec<&str> {
    let parts = text.split(|letter: char| !(letter.is_ascii_digit() || ".-+eE_".contains(letter)));
    parts.filter(|part| part.parse::<f64>().is_ok()).collect()
}

/// A hub repository, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HubRepository<'a> {
    owner: &'a str,
    name: &'a str,
}

/// First path components that are probably local folders and not owners of repositories.
const LOCAL_FOLDERS: &[&str] =
    &["checkpoints", "checkpoint", "ckpt", "models", "model", "weights", "data", "out", "output", "outputs"];

/// Parses `OWNER/NAME`, with or without `hf:` or the URL of the hub in front.
#[must_use]
pub(crate) fn parse_repository(text: &str) -> Option<HubRepository<'_>> {
    let fronts = ["hf:", "https://huggingface.co/", "huggingface.co/"];
    let bare = fronts.iter().find_map(|front| text.strip_prefix(front)).unwrap_or(text);
    let (owner, name) = bare.split_once('/')?;
    let plain = |word: &str| {
        let inner = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        word.starts_with(|letter: char| letter.is_ascii_alphanumeric()) && word.chars().all(inner)
    };
    (plain(owner) && plain(name) && !LOCAL_FOLDERS.contains(&owner)).then_some(HubRepository { owner, name })
}

impl HubRepository<'_> {
    /// The address in the form that the language uses: `hf:OWNER/NAME`.
    #[must_use]
    pub(crate) fn address(&self) -> String {
        format!("hf:{}/{}", self.owner, self.name)
    }

    /// Help for a field that takes the name of a stage, not an address: how to declare a fetch and refer to it.
    #[must_use]
    pub(crate) fn declaration_help(&self, field: &str) -> String {
        let name = self.name.to_lowercase();
        format!("declare `fetch \"{name}\" from=\"{}\"` and write `{field}=\"{name}\"`", self.address())
    }
}

/// Help for `true` or `false` in a field or node called `name`. `None` if it takes booleans, so that only the `#` is missing.
#[must_use]
pub(crate) fn suggest_boolean_replacement(name: &str, value: bool) -> Option<String> {
    if load_schema().takes(&suggest::normalize_name(name), FieldType::Boolean) {
        return None;
    }
    let mut meant = None;
    for top in &load_schema().nodes {
        visit_nodes_with_parent(top, None, &mut |spec, _| {
            let field = spec.properties.iter().find(|field| field.name == name);
            let word = field.and_then(|field| field.find_synonym(&value.to_string()));
            meant = meant.take().or_else(|| word.map(|word| format!("write `{name}={word:?}`")));
            let word = spec.arguments.first().filter(|_| spec.name == name);
            let word = word.and_then(|field| field.find_synonym(&value.to_string()));
            meant = meant.take().or_else(|| word.map(|word| format!("write `{name} {word:?}`")));
        });
    }
    let instead = || find_replacement(name).map(str::to_owned);
    meant.or_else(instead).or_else(|| describe_location(name).map(|place| format!("did you mean {place}?")))
}

/// Where in the language something is called `name`, here or in other tools, with an example to paste.
///
/// Nodes that appear once in their parent are the best answer, then fields; then names from other tools, fields first.
#[must_use]
pub(crate) fn describe_location(name: &str) -> Option<String> {
    let normal = suggest::normalize_name(name);
    let mut found: Vec<(u8, String)> = Vec::new();
    for top in load_schema().nodes.iter().filter(|top| !["recipe", "include"].contains(&top.name.as_str())) {
        visit_nodes_with_parent(top, None, &mut |spec, parent| {
            found.extend(match_node_name(&normal, spec, parent))
        });
    }
    found.into_iter().min_by_key(|(rank, _)| *rank).map(|(_, place)| place)
}

/// How well a node or one of its fields matches a name (0 is best), and a description of its location.
fn match_node_name(
    name: &str,
    spec: &'static NodeSpec,
    parent: Option<&'static NodeSpec>,
) -> Option<(u8, String)> {
    let among = |aliases: &[String]| aliases.iter().any(|alias| suggest::normalize_name(alias) == name);
    let node = || {
        let place = match parent {
            Some(parent) => format!("`{}` inside `{}`", spec.name, parent.name),
            None => format!("`{}` at the top level", spec.name),
        };
        place + &format_example(spec.example.as_deref())
    };
    if parent.is_some() && spec.single && spec.name == name {
        return Some((0, node()));
    }
    let own = spec.fields().find(|field| field.name == name).map(|field| (1, field));
    let other = || spec.fields().find(|field| among(&field.aliases)).map(|field| (2, field));
    let field = own.or_else(other).map(|(rank, field)| {
        let place = match field.name.as_str() {
            "value" => format!("`{}`", spec.name),
            name => format!("`{name}` of `{}`", spec.name),
        };
        let outer = parent.map(|parent| format!(" in `{}`", parent.name)).unwrap_or_default();
        (rank, place + &outer + &format_example(show_field(spec, field).as_deref()))
    });
    field.or_else(|| among(&spec.aliases).then(|| (3, node())))
}

/// An example of the node that shows the field.
fn show_field(spec: &NodeSpec, field: &FieldSpec) -> Option<String> {
    if let Some(example) = spec.example_of(field) {
        return Some(example.to_owned());
    }
    let default = field.defaults.first().map(|(_, value)| match value {
        KdlValue::String(text) => format!("\"{text}\""),
        other => other.to_string(),
    });
    let (head, value) = (spec.example.as_deref()?.split(" {").next()?, field.sample.clone().or(default)?);
    Some(format!("{head} {}={value}", field.name))
}

fn format_example(example: Option<&str>) -> String {
    example.map_or_else(String::new, |example| format!(", as in `{example}`"))
}

fn visit_nodes_with_parent(
    spec: &'static NodeSpec,
    parent: Option<&'static NodeSpec>,
    visit: &mut impl FnMut(&'static NodeSpec, Option<&'static NodeSpec>),
) {
    visit(spec, parent);
    spec.children.iter().for_each(|child| visit_nodes_with_parent(child, Some(spec), visit));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_foreign_name_is_unique_and_not_a_name_of_the_language() {
        let mut own = BTreeSet::new();
        for top in &load_schema().nodes {
            visit_nodes_with_parent(top, None, &mut |spec, _| {
                own.insert(spec.name.clone());
                own.extend(spec.fields().map(|field| field.name.clone()));
            });
        }
        let mut seen = BTreeSet::new();
        for foreign in load_foreign_names() {
            assert!(!foreign.advice.is_empty() && !foreign.advice.ends_with('.'), "{foreign:?}");
            for name in &foreign.names {
                assert!(!own.contains(&suggest::normalize_name(name)), "`{name}` is a name of the language");
                assert!(seen.insert(name), "`{name}` appears twice");
            }
        }
        assert!(seen.len() > 150, "{}", seen.len());
    }

    #[test]
    fn the_best_place_is_named() {
        assert_eq!(describe_location("steps").unwrap(), "`steps` inside `train`, as in `steps 2_000`");
        assert_eq!(describe_location("max_steps"), describe_location("steps"));
        assert!(describe_location("max_grad_norm").unwrap().starts_with("`clip` of `optimizer`"));
        assert!(describe_location("weight").unwrap().starts_with("`weight` of `dataset`"));
        assert_eq!(describe_location("nonsense"), None);
    }
}
