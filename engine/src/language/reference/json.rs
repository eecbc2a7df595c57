//! The field table as one JSON object.

use kdl::KdlValue;
use serde_json::{Value, json};

use crate::language::explain::{self, Found};
use crate::language::schema::{FieldSpec, NodeSpec, Range, When, schema};

/// The language, schema `fmflow.schema/1`: nodes with their fields and the nodes inside, in the order of the tables.
///
/// What does not apply is `null`, `false` or empty; no key is ever left out.
#[must_use]
pub fn schema_json() -> Value {
    json!({ "schema": "fmflow.schema/1", "nodes": schema().nodes.iter().map(node).collect::<Vec<_>>() })
}

/// What a subject means, schema `fmflow.explain/1`; `None` where nothing is called so.
///
/// Nodes and fields look as in [`schema_json`].
#[must_use]
pub fn explain_json(subject: &str) -> Option<Value> {
    let found = explain::find(subject);
    let pages: Vec<_> = found.iter().map(page).collect();
    let answer = json!({ "schema": "fmflow.explain/1", "subject": subject.trim(), "pages": pages });
    (!found.is_empty()).then_some(answer)
}

fn page(found: &Found) -> Value {
    let text = found.page();
    match found {
        Found::Code(code) => {
            let (name, severity, title) = (code.name(), code.severity().word(), code.title());
            json!({ "kind": "code", "path": name, "text": text, "severity": severity, "title": title })
        }
        Found::Node(path, spec) => {
            json!({ "kind": "node", "path": path, "text": text, "node": node(spec) })
        }
        Found::Field(path, spec, _) => {
            json!({ "kind": "field", "path": path, "text": text, "field": field(spec) })
        }
        Found::Elsewhere(name, instead) => {
            json!({ "kind": "elsewhere", "path": name, "text": text, "instead": instead })
        }
    }
}

fn node(node: &NodeSpec) -> Value {
    json!({
        "name": node.name,
        "doc": node.doc,
        "example": node.example,
        "aliases": node.aliases,
        "single": node.single,
        "required": node.required,
        "implied": node.implied,
        "key": node.key,
        "counts": node.semantic,
        "unsupported": node.unsupported,
        "when": node.when.as_ref().map(when),
        "arguments": node.arguments.iter().map(field).collect::<Vec<_>>(),
        "properties": node.properties.iter().map(field).collect::<Vec<_>>(),
        "children": node.children.iter().map(self::node).collect::<Vec<_>>(),
    })
}

fn field(field: &FieldSpec) -> Value {
    let defaults = field.defaults.iter();
    let defaults = defaults
        .map(|(condition, default)| json!({ "when": condition.as_ref().map(when), "value": value(default) }));
    json!({
        "name": field.name,
        "doc": field.doc,
        "aliases": field.aliases,
        "types": field.types.iter().map(|kind| kind.word()).collect::<Vec<_>>(),
        "words": field.words,
        "to": field.to,
        "range": range(&field.range),
        "required": field.required,
        "required-unless": field.required_unless,
        "excludes": field.excludes,
        "defaults": defaults.collect::<Vec<_>>(),
        "default-from": field.default_from,
        "when": field.when.as_ref().map(when),
        "many": field.many,
        "counts": field.semantic,
        "unsupported": field.unsupported,
        "not-yet": field.not_yet,
    })
}

fn when(when: &When) -> Value {
    json!({ "field": when.field, "is": when.values })
}

fn range(range: &Range) -> Value {
    let Range { min, max, above, below } = range;
    json!({ "min": min, "max": max, "above": above, "below": below })
}

fn value(value: &KdlValue) -> Value {
    match value {
        KdlValue::String(text) => text.as_str().into(),
        KdlValue::Integer(number) => i64::try_from(*number).map_or(Value::Null, Value::from),
        KdlValue::Float(number) => (*number).into(),
        KdlValue::Bool(value) => (*value).into(),
        KdlValue::Null => Value::Null,
    }
}
