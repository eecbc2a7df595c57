//! Renders the field table as JSON.

use kdl::KdlValue;
use serde_json::{Value, json};

use crate::language::explain::{self, Topic};
use crate::language::schema::{Condition, FieldSpec, NodeSpec, NumberRange, load_schema};

/// The language as JSON, schema `fmflow.schema/1`: nodes with their fields and children, in the order of the tables.
///
/// Every key is always present; what does not apply is `null`, `false` or empty.
#[must_use]
pub(crate) fn render_schema_json() -> Value {
    json!({ "schema": "fmflow.schema/1", "nodes": load_schema().nodes.iter().map(render_node_json).collect::<Vec<_>>() })
}

/// The pages of a subject as JSON, schema `fmflow.explain/1`. `None` if nothing has this name.
///
/// Nodes and fields have the same keys as in [`render_schema_json`].
#[must_use]
pub(crate) fn render_explanation_json(subject: &str) -> Option<Value> {
    let found = explain::find_topics(subject);
    let pages: Vec<_> = found.iter().map(render_topic_json).collect();
    let answer = json!({ "schema": "fmflow.explain/1", "subject": subject.trim(), "pages": pages });
    (!found.is_empty()).then_some(answer)
}

fn render_topic_json(found: &Topic) -> Value {
    let text = found.page();
    match found {
        Topic::Code(code) => {
            let (name, severity, title) = (code.name(), code.severity().word(), code.title());
            json!({ "kind": "code", "path": name, "text": text, "severity": severity, "title": title })
        }
        Topic::Node(path, spec) => {
            json!({ "kind": "node", "path": path, "text": text, "node": render_node_json(spec) })
        }
        Topic::Field(path, spec, _) => {
            json!({ "kind": "field", "path": path, "text": text, "field": render_field_json(spec) })
        }
        Topic::Word(page) => json!({ "kind": "word", "path": page.name(), "text": text }),
        Topic::Foreign(name, instead) => {
            json!({ "kind": "elsewhere", "path": name, "text": text, "instead": instead })
        }
    }
}

fn render_node_json(node: &NodeSpec) -> Value {
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
        "when": node.when.as_ref().map(render_condition_json),
        "arguments": node.arguments.iter().map(render_field_json).collect::<Vec<_>>(),
        "properties": node.properties.iter().map(render_field_json).collect::<Vec<_>>(),
        "children": node.children.iter().map(self::render_node_json).collect::<Vec<_>>(),
    })
}

fn render_field_json(field: &FieldSpec) -> Value {
    let defaults = field.defaults.iter();
    let defaults = defaults
        .map(|(condition, default)| json!({ "when": condition.as_ref().map(render_condition_json), "value": render_kdl_value_json(default) }));
    json!({
        "name": field.name,
        "doc": field.doc,
        "was": field.was,
        "aliases": field.aliases,
        "types": field.types.iter().map(|kind| kind.word()).collect::<Vec<_>>(),
        "words": field.words,
        "to": field.to,
        "range": render_range_json(&field.range),
        "required": field.required,
        "required-unless": field.required_unless,
        "excludes": field.excludes,
        "defaults": defaults.collect::<Vec<_>>(),
        "default-from": field.default_from,
        "when": field.when.as_ref().map(render_condition_json),
        "many": field.many,
        "counts": field.semantic,
        "counting-words": field.counts,
        "unsupported": field.unsupported,
        "not-yet": field.not_yet,
    })
}

fn render_condition_json(when: &Condition) -> Value {
    json!({ "field": when.field, "is": when.values })
}

fn render_range_json(range: &NumberRange) -> Value {
    let NumberRange { min, max, above, below } = range;
    json!({ "min": min, "max": max, "above": above, "below": below })
}

fn render_kdl_value_json(value: &KdlValue) -> Value {
    match value {
        KdlValue::String(text) => text.as_str().into(),
        KdlValue::Integer(number) => {
            i64::try_from(*number).expect("a number of the table has 64 bits").into()
        }
        KdlValue::Float(number) => (*number).into(),
        KdlValue::Bool(value) => (*value).into(),
        KdlValue::Null => Value::Null,
    }
}
