//! The field table of `schemas/*.kdl`: the only place of types, ranges, defaults and documentation of fields.

pub mod foreign_names;
mod table_parser;
pub mod units;
pub mod value;
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

/// A node: what it may hold.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Which names it shares a namespace with; of a top-level node.
    pub namespace: String,
    /// What it means.
    pub doc: String,
    /// Text to paste.
    pub example: Option<String>,
    /// Names that other tools use for it.
    pub aliases: Vec<String>,
    /// Whether it may stand only once.
    pub single: bool,
    /// Whether it may stand only in the file that is named, not in included ones.
    pub root: bool,
    /// Whether it has to be there.
    pub required: bool,
    /// Whether it is made with its defaults where absent.
    pub implied: bool,
    /// The argument that tells one of many from another.
    pub key: Option<String>,
    /// Whether it counts for the fingerprint.
    pub semantic: bool,
    /// Why `run` refuses it, if it does.
    pub unsupported: Option<String>,
    /// When it applies; always without.
    pub when: Option<Condition>,
    /// Positional values, in order.
    pub arguments: Vec<FieldSpec>,
    /// Named values.
    pub properties: Vec<FieldSpec>,
    /// Nodes inside.
    pub children: Vec<NodeSpec>,
}

/// A field: an argument or a property.
#[derive(Clone, Debug)]
pub struct FieldSpec {
    /// Its name; `value` for the argument that shares its node's name.
    pub name: String,
    /// What it means.
    pub doc: String,
    /// Names that other tools use for it.
    pub aliases: Vec<String>,
    /// Types, the first that accepts a value wins.
    pub types: Vec<FieldType>,
    /// Kinds of nodes that a reference may name.
    pub to: Vec<String>,
    /// A value to paste, where the node's example shows none.
    pub sample: Option<String>,
    /// Words it knows.
    pub words: Vec<String>,
    /// Words that other tools or habit have for its words, each with the word that it means.
    pub synonyms: Vec<(String, String)>,
    /// Words that `run` refuses.
    pub not_yet: Vec<String>,
    /// Whether `run` refuses the field itself.
    pub unsupported: bool,
    /// Why.
    pub reason: String,
    /// Ends of the range.
    pub range: NumberRange,
    /// Defaults; the first whose condition holds counts.
    pub defaults: Vec<(Option<Condition>, KdlValue)>,
    /// The field whose value is the default.
    pub default_from: Option<String>,
    /// When it applies; always without.
    pub when: Option<Condition>,
    /// The field or node that excludes it.
    pub excludes: Option<String>,
    /// The field or node that may stand for it.
    pub required_unless: Option<String>,
    /// Whether it has to be there.
    pub required: bool,
    /// Whether it takes all remaining arguments.
    pub many: bool,
    /// Whether the referenced node's fields belong to the stage.
    pub inline: bool,
    /// Whether it counts for the fingerprint; references do only when told.
    pub semantic: bool,
}

/// Ends of a range; any may be open.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NumberRange {
    /// Smallest value.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Below every value.
    pub above: Option<f64>,
    /// Above every value.
    pub below: Option<f64>,
}

/// A condition on a word of the same node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The field.
    pub field: String,
    /// The words.
    pub values: Vec<String>,
}

/// The tables, in the order of the reference.
const SCHEMA_TABLES: &[&str] = &[
    include_str!("../../../schemas/pipeline.kdl"),
    include_str!("../../../schemas/data.kdl"),
    include_str!("../../../schemas/model.kdl"),
    include_str!("../../../schemas/train.kdl"),
    include_str!("../../../schemas/sample.kdl"),
];

/// The language.
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

    /// Whether some field called `name`, or some node whose value it is, takes values of this type.
    #[must_use]
    pub fn takes(&self, name: &str, kind: FieldType) -> bool {
        self.nodes.iter().any(|node| node.takes(name, kind))
    }
}

impl NodeSpec {
    /// All fields, arguments first.
    pub fn fields(&self) -> impl Iterator<Item = &FieldSpec> {
        self.arguments.iter().chain(&self.properties)
    }

    /// Its example, where that shows `field`.
    #[must_use]
    pub fn example_of(&self, field: &FieldSpec) -> Option<&str> {
        let property = self.properties.iter().any(|property| property.name == field.name);
        let shown = |example: &&str| !property || example.contains(&format!(" {}=", field.name));
        self.example.as_deref().filter(shown)
    }

    fn takes(&self, name: &str, kind: FieldType) -> bool {
        let called = |field: &FieldSpec| field.name == name || field.name == "value" && self.name == name;
        self.fields().any(|field| called(field) && field.types.contains(&kind))
            || self.children.iter().any(|child| child.takes(name, kind))
    }

    /// The node inside called `name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&NodeSpec> {
        self.children.iter().find(|child| child.name == name)
    }
}

impl FieldSpec {
    /// The word of this field that another word means.
    #[must_use]
    pub fn find_synonym(&self, word: &str) -> Option<&str> {
        let word = suggest::normalise_name(word);
        let found = self.synonyms.iter().find(|(other, _)| suggest::normalise_name(other) == word);
        found.map(|(_, own)| own.as_str())
    }

    /// Its documentation as a fragment for help.
    #[must_use]
    pub fn help(&self) -> String {
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
