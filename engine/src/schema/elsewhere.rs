//! Names of other tools: where in the language what they mean is said, and what to do about those that mean nothing here.

use std::sync::OnceLock;

use super::{NodeSpec, read, schema};
use crate::suggest;

/// Names without a counterpart, and what to do instead.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) names: Vec<String>,
    pub(super) says: String,
}

/// The table.
const TABLE: &str = include_str!("../../../schemas/elsewhere.kdl");

fn table() -> &'static [Foreign] {
    static FOREIGN: OnceLock<Vec<Foreign>> = OnceLock::new();
    FOREIGN.get_or_init(|| read::elsewhere(TABLE).expect("the embedded table is read by a test"))
}

/// What to do about a name that other tools have and this language has not.
#[must_use]
pub fn instead(name: &str) -> Option<&'static str> {
    let name = suggest::normal(name);
    let found = table().iter().find(|foreign| foreign.names.iter().any(|own| suggest::normal(own) == name));
    found.map(|foreign| foreign.says.as_str())
}

/// A node or field of this name, or one that other tools call so, anywhere in the language, with its example.
///
/// Nodes that stand once are the best answer, then fields; then what other tools call so, fields first.
#[must_use]
pub fn place(name: &str) -> Option<String> {
    let normal = suggest::normal(name);
    let mut found: Vec<(u8, String)> = Vec::new();
    for top in schema().nodes.iter().filter(|top| top.name != "recipe") {
        visit(top, None, &mut |spec, parent| found.extend(match_of(&normal, spec, parent)));
    }
    found.into_iter().min_by_key(|(rank, _)| *rank).map(|(_, place)| place)
}

/// How well a node or one of its fields answers to a name, the best is 0, and what to call it.
fn match_of(name: &str, spec: &'static NodeSpec, parent: Option<&'static NodeSpec>) -> Option<(u8, String)> {
    let among = |aliases: &[String]| aliases.iter().any(|alias| suggest::normal(alias) == name);
    let node = || {
        let place = match parent {
            Some(parent) => format!("`{}` inside `{}`", spec.name, parent.name),
            None => format!("`{}` at the top level", spec.name),
        };
        place + &as_in(spec.example.as_deref())
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
        (rank, place + &as_in(spec.example_of(field)))
    });
    field.or_else(|| among(&spec.aliases).then(|| (3, node())))
}

fn as_in(example: Option<&str>) -> String {
    example.map_or_else(String::new, |example| format!(", as in `{example}`"))
}

fn visit(
    spec: &'static NodeSpec,
    parent: Option<&'static NodeSpec>,
    look: &mut impl FnMut(&'static NodeSpec, Option<&'static NodeSpec>),
) {
    look(spec, parent);
    spec.children.iter().for_each(|child| visit(child, Some(spec), look));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_foreign_name_stands_once_and_is_none_of_the_language() {
        let mut own = BTreeSet::new();
        for top in &schema().nodes {
            visit(top, None, &mut |spec, _| {
                own.insert(spec.name.clone());
                own.extend(spec.fields().map(|field| field.name.clone()));
            });
        }
        let mut seen = BTreeSet::new();
        for foreign in table() {
            assert!(!foreign.says.is_empty() && !foreign.says.ends_with('.'), "{foreign:?}");
            for name in &foreign.names {
                assert!(!own.contains(&suggest::normal(name)), "`{name}` is a name of the language");
                assert!(seen.insert(name), "`{name}` stands twice");
            }
        }
        assert!(seen.len() > 150, "{}", seen.len());
    }

    #[test]
    fn the_best_place_is_named() {
        assert_eq!(place("steps").unwrap(), "`steps` inside `train`, as in `steps 2_000`");
        assert_eq!(place("max_steps"), place("steps"));
        assert!(place("max_grad_norm").unwrap().starts_with("`clip` of `optimizer`"));
        assert!(place("weight").unwrap().starts_with("`weight` of `dataset`"));
        assert_eq!(place("nonsense"), None);
    }
}
