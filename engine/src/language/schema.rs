//! The field table, loaded from `schemas/*.kdl`: the only source of the types, ranges, defaults and documentation of fields.
//! Validation, `explain`, `schema`, suggestions and fingerprints all read this table, so that they cannot disagree.

pub(crate) mod foreign_names;
mod table_parser;
pub(crate) mod units;
pub(crate) mod value;
mod value_error;

use std::sync::OnceLock;

use kdl::KdlValue;

use crate::text::suggest;

pub use value::{CanonicalValue, FieldType};

/// All nodes of the language.
#[derive(Debug)]
pub struct Schema {
    /// Top-level nodes, in the order of the tables.
    pub nodes: Vec<NodeSpec>,
}

/// A row of the table: a node with its fields and children.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The word that starts the node.
    pub name: String,
    /// For a top-level node, the namespace of the names that it declares; all stages share `stage`.
    pub namespace: String,
    /// One or more sentences for `explain`.
    pub doc: String,
    /// A complete node that can be pasted.
    pub example: Option<String>,
    /// Names that other tools use for it.
    pub aliases: Vec<String>,
    /// Whether it is allowed only once in its parent.
    pub single: bool,
    /// Whether it is allowed only in the root file, not in included ones.
    pub root: bool,
    /// Whether its parent must have it.
    pub required: bool,
    /// Whether it is created with its defaults if it is absent.
    pub implied: bool,
    /// The argument that must be unique among the nodes of this name in one parent.
    pub key: Option<String>,
    /// Whether a node with any other name stands for this one, with that name as its first argument.
    pub free: bool,
    /// Whether its fields are part of the fingerprint.
    pub semantic: bool,
    /// Why `run` refuses it, if it does.
    pub unsupported: Option<String>,
    /// What to do until `run` supports it.
    pub instead: Option<String>,
    /// The condition under which it applies; always, if there is none.
    pub when: Option<Condition>,
    /// Positional values, in order.
    pub arguments: Vec<FieldSpec>,
    /// Named values.
    pub properties: Vec<FieldSpec>,
    /// Child nodes.
    pub children: Vec<NodeSpec>,
}

/// A field of a node: an argument or a property.
#[derive(Clone, Debug)]
pub struct FieldSpec {
    /// The name; `value` for an argument that is known by the name of its node.
    pub name: String,
    /// One or more sentences for `explain`.
    pub doc: String,
    /// The name that it had before, which still works, with a warning.
    pub was: Option<String>,
    /// Names that other tools use for it.
    pub aliases: Vec<String>,
    /// Accepted types; the first that accepts a value decides its canonical form.
    pub types: Vec<FieldType>,
    /// Kinds of nodes that a reference may name; empty if the field is not a reference.
    pub to: Vec<String>,
    /// A value that can be pasted, if the node's example does not show the field.
    pub sample: Option<String>,
    /// Words that the field accepts.
    pub words: Vec<String>,
    /// Words that people write by habit or for other tools, each with the word of this field that it means.
    pub synonyms: Vec<(String, String)>,
    /// Accepted words that `run` does not support yet.
    pub not_yet: Vec<String>,
    /// Whether `run` does not support the field at all yet.
    pub unsupported: bool,
    /// The missing feature, for the two fields above.
    pub reason: String,
    /// What to do until `run` supports it.
    pub instead: Option<String>,
    /// Accepted range, in the canonical unit.
    pub range: NumberRange,
    /// Defaults; the first whose condition is met is used.
    pub defaults: Vec<(Option<Condition>, KdlValue)>,
    /// The field of the same node whose value is the default.
    pub default_from: Option<String>,
    /// The condition under which it applies; always, if there is none.
    pub when: Option<Condition>,
    /// A field or node that must not be set together with this one.
    pub excludes: Option<String>,
    /// A field or node that can be set instead; without it, this field is required.
    pub required_unless: Option<String>,
    /// Whether the node must have it, if it applies and has no default.
    pub required: bool,
    /// Whether it takes all remaining arguments.
    pub many: bool,
    /// Whether the fields of the referenced node become part of the stage's settings.
    pub inline: bool,
    /// Whether it is part of the fingerprint. References are not, unless the table says so, because renaming a declaration
    /// must not make stages stale.
    pub semantic: bool,
    /// Words that are part of the fingerprint although the field is not: those that change results.
    pub counts: Vec<String>,
}

impl FieldSpec {
    /// Whether `name` is its name, or the one that it had before.
    #[must_use]
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.was.as_deref() == Some(name)
    }
}

/// Bounds of a range; each can be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NumberRange {
    /// Inclusive lower bound.
    pub min: Option<f64>,
    /// Inclusive upper bound.
    pub max: Option<f64>,
    /// Exclusive lower bound.
    pub above: Option<f64>,
    /// Exclusive upper bound.
    pub below: Option<f64>,
}

/// A condition on another field of the same node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The other field.
    pub field: String,
    /// The words of that field that meet the condition.
    pub values: Vec<String>,
}

/// The tables, in the order in which the reference documents them.
const SCHEMA_TABLES: &[&str] = &[
    include_str!("../../../schemas/pipeline.kdl"),
    include_str!("../../../schemas/data.kdl"),
    include_str!("../../../schemas/model.kdl"),
    include_str!("../../../schemas/train.kdl"),
    include_str!("../../../schemas/sample.kdl"),
];

/// The field table, parsed on first use.
#[must_use]
pub fn load_schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        table_parser::parse_tables(SCHEMA_TABLES).expect("the embedded tables are read by a test")
    })
}

impl Schema {
    /// The top-level node called `name`.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeSpec> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Whether any field called `name`, or the `value` of any node called `name`, takes values of this type.
    #[must_use]
    pub(crate) fn takes(&self, name: &str, kind: FieldType) -> bool {
        self.nodes.iter().any(|node| node.takes(name, kind))
    }
}

/// Calls `visit` for a node and all nodes inside it.
pub(crate) fn visit_node_specs(spec: &'static NodeSpec, visit: &mut impl FnMut(&'static NodeSpec)) {
    visit(spec);
    spec.children.iter().for_each(|child| visit_node_specs(child, visit));
}

impl NodeSpec {
    /// All fields: arguments, then properties.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &FieldSpec> {
        self.arguments.iter().chain(&self.properties)
    }

    /// The example, if it shows `field`.
    #[must_use]
    pub(crate) fn example_of(&self, field: &FieldSpec) -> Option<&str> {
        let property = self.properties.iter().any(|property| property.name == field.name);
        let shown = |example: &&str| !property || example.contains(&format!(" {}=", field.name));
        self.example.as_deref().filter(shown)
    }

    fn takes(&self, name: &str, kind: FieldType) -> bool {
        let called = |field: &FieldSpec| field.name == name || field.name == "value" && self.name == name;
        self.fields().any(|field| called(field) && field.types.contains(&kind))
            || self.children.iter().any(|child| child.takes(name, kind))
    }

    /// The property that is called `name`, or was.
    #[must_use]
    pub(crate) fn property(&self, name: &str) -> Option<&FieldSpec> {
        self.properties.iter().find(|field| field.is_called(name))
    }

    /// The child node called `name`.
    #[must_use]
    pub(crate) fn child(&self, name: &str) -> Option<&NodeSpec> {
        self.children.iter().find(|child| child.name == name)
    }
}

impl FieldSpec {
    /// The word of this field that `word` is a synonym of.
    #[must_use]
    pub(crate) fn find_synonym(&self, word: &str) -> Option<&str> {
        let word = suggest::normalize_name(word);
        let found = self.synonyms.iter().find(|(other, _)| suggest::normalize_name(other) == word);
        found.map(|(_, own)| own.as_str())
    }

    /// The documentation as a lower-case fragment, for the help of a diagnostic.
    #[must_use]
    pub(crate) fn help(&self) -> String {
        let doc = self.doc.trim_end_matches('.');
        let mut letters = doc.chars();
        let first = letters.next().map(|first| first.to_ascii_lowercase()).into_iter();
        let text: String = first.chain(letters).collect();
        if self.name == "value" { text } else { format!("`{}`: {text}", self.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_read() {
        let schema = table_parser::parse_tables(SCHEMA_TABLES).unwrap();
        assert!(schema.node("train").unwrap().child("steps").unwrap().required);
        assert!(!schema.node("recipe").unwrap().child("steps").unwrap().required);
    }

    #[test]
    fn every_default_fits_its_field() {
        fn visit(node: &NodeSpec) {
            for field in node.fields() {
                for (_, default) in &field.defaults {
                    let accepted = value::accept_value(field, default);
                    assert!(accepted.is_ok(), "{}.{}: {accepted:?}", node.name, field.name);
                }
            }
            node.children.iter().for_each(visit);
        }
        load_schema().nodes.iter().for_each(visit);
    }

    #[test]
    fn every_reference_condition_and_name_of_the_tables_exists() {
        fn visit(node: &NodeSpec) {
            let fields: Vec<_> = node.fields().map(|field| field.name.clone()).collect();
            let children: Vec<_> = node.children.iter().map(|child| child.name.clone()).collect();
            for field in node.fields() {
                assert!(field.doc.ends_with('.'), "{}.{} has no sentence", node.name, field.name);
                assert!(field.synonyms.iter().all(|(_, own)| field.words.contains(own)), "{}", field.name);
                assert!(field.to.iter().all(|kind| load_schema().node(kind).is_some()), "{}", field.name);
                let conditions = field.defaults.iter().filter_map(|(when, _)| when.as_ref());
                for when in field.when.iter().chain(conditions) {
                    assert!(fields.contains(&when.field), "{}.{}: {when:?}", node.name, field.name);
                }
                for other in field.excludes.iter().chain(&field.required_unless).chain(&field.default_from) {
                    assert!(fields.contains(other) || children.contains(other), "{other}");
                }
            }
            assert!(node.doc.ends_with('.'), "{} has no sentence", node.name);
            node.children.iter().for_each(visit);
        }
        load_schema().nodes.iter().for_each(visit);
    }
}
