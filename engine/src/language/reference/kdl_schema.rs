//! Renders the field table in the KDL Schema Language (2.0.0, kdl-org/kdl `SCHEMA-SPEC.md`), for editors that read it.
//!
//! The schema language cannot express references, conditions or units. So `check` refuses everything that the schema
//! refuses, but not the other way round.

use kdl::{KdlDocument, KdlEntry, KdlNode, KdlValue};

use crate::language::schema::{FieldSpec, FieldType, NodeSpec, NumberRange, load_schema};

/// The language as a document of the KDL Schema Language.
#[must_use]
pub(crate) fn render_schema_kdl() -> String {
    let mut document = KdlNode::new("document");
    let inside = document.ensure_children().nodes_mut();
    inside.push(build_schema_info());
    inside.extend(load_schema().nodes.iter().map(build_node_schema));
    let mut text = KdlDocument::new();
    text.nodes_mut().push(document);
    text.autoformat();
    text.to_string()
}

fn build_schema_info() -> KdlNode {
    let mut info = KdlNode::new("info");
    let mut title = build_value_node("title", "A pipeline of fmflow");
    title.push(KdlEntry::new_prop("lang", "en"));
    let version = build_value_node("version", env!("CARGO_PKG_VERSION"));
    info.ensure_children().nodes_mut().extend([title, version]);
    info
}

fn build_node_schema(spec: &NodeSpec) -> KdlNode {
    let mut node = build_value_node("node", spec.name.as_str());
    node.push(KdlEntry::new_prop("description", spec.doc.as_str()));
    let inside = node.ensure_children().nodes_mut();
    if spec.required {
        inside.push(build_value_node("min", 1));
    }
    if spec.single {
        inside.push(build_value_node("max", 1));
    }
    for field in &spec.properties {
        let names = [Some(&field.name), field.was.as_ref()];
        inside.extend(names.into_iter().flatten().map(|name| build_property_schema(name, field)));
    }
    inside.extend(spec.arguments.iter().map(build_argument_schema));
    if !spec.children.is_empty() {
        let mut children = KdlNode::new("children");
        children.ensure_children().nodes_mut().extend(spec.children.iter().map(self::build_node_schema));
        inside.push(children);
    }
    node
}

fn build_property_schema(name: &str, field: &FieldSpec) -> KdlNode {
    let mut node = build_value_node("prop", name);
    node.push(KdlEntry::new_prop("description", field.doc.as_str()));
    // A field with a condition or a second name cannot be required here, because the schema language has no conditions.
    let required = field.required && field.when.is_none() && field.was.is_none();
    let required = required.then(|| build_value_node("required", true));
    add_children(&mut node, required.into_iter().chain(build_value_rules(field)));
    node
}

fn build_argument_schema(field: &FieldSpec) -> KdlNode {
    let mut node = KdlNode::new("value");
    node.push(KdlEntry::new_prop("description", field.doc.as_str()));
    let least = (field.required && field.when.is_none()).then(|| build_value_node("min", 1));
    let most = (!field.many).then(|| build_value_node("max", 1));
    add_children(&mut node, least.into_iter().chain(most).chain(build_value_rules(field)));
    node
}

fn add_children(node: &mut KdlNode, inside: impl Iterator<Item = KdlNode>) {
    let mut inside = inside.peekable();
    if inside.peek().is_some() {
        node.ensure_children().nodes_mut().extend(inside);
    }
}

/// The rules for a value, as far as the schema language can express them.
fn build_value_rules(field: &FieldSpec) -> Vec<KdlNode> {
    let mut rules: Vec<_> =
        find_kdl_type(field).map(|kind| build_value_node("type", kind)).into_iter().collect();
    if field.types == [FieldType::Word] {
        let mut words = KdlNode::new("enum");
        field.words.iter().for_each(|word| words.push(KdlEntry::new(word.as_str())));
        rules.push(words);
    }
    let NumberRange { min, max, above, below } = field.range;
    let ends = [(">=", min), ("<=", max), (">", above), ("<", below)];
    rules.extend(ends.iter().filter_map(|(name, end)| Some(build_value_node(name, to_kdl_number((*end)?)))));
    rules
}

/// The KDL type of a field's values, if all types of the field have the same one.
fn find_kdl_type(field: &FieldSpec) -> Option<&'static str> {
    let mut kinds = field.types.iter().map(|kind| match kind {
        FieldType::Integer | FieldType::Number => Some("number"),
        FieldType::Boolean => Some("boolean"),
        FieldType::Count | FieldType::Share => None,
        _ => Some("string"),
    });
    let first = kinds.next()??;
    kinds.all(|kind| kind == Some(first)).then_some(first)
}

/// A KDL number, without a decimal point if it is a whole number.
fn to_kdl_number(end: f64) -> KdlValue {
    if end.fract() == 0.0 { KdlValue::Integer(end as i128) } else { KdlValue::Float(end) }
}

/// A node with one value.
fn build_value_node(name: &str, value: impl Into<KdlValue>) -> KdlNode {
    let mut node = KdlNode::new(name);
    node.push(KdlEntry::new(value.into()));
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(node: &KdlNode) -> &str {
        node.get(0).and_then(KdlValue::as_string).unwrap()
    }

    fn of<'a>(schema: &'a KdlNode, kind: &str) -> Vec<&'a KdlNode> {
        schema.iter_children().filter(|rule| rule.name().value() == kind).collect()
    }

    fn holds(value: &KdlValue, rules: &KdlNode) -> bool {
        let number = value.as_integer().map(|whole| whole as f64).or(value.as_float());
        rules.iter_children().all(|rule| {
            let end = rule.get(0).and_then(|end| end.as_integer().map(|w| w as f64).or(end.as_float()));
            let compare = |holds: fn(&f64, &f64) -> bool| match (&number, &end) {
                (Some(number), Some(end)) => holds(number, end),
                _ => true,
            };
            match rule.name().value() {
                "type" => match text(rule) {
                    "number" => number.is_some(),
                    "boolean" => value.as_bool().is_some(),
                    _ => value.as_string().is_some(),
                },
                "enum" => rule.entries().iter().any(|entry| entry.value() == value),
                ">=" => compare(f64::ge),
                "<=" => compare(f64::le),
                ">" => compare(f64::gt),
                "<" => compare(f64::lt),
                "required" | "min" | "max" => true,
                other => panic!("no rule `{other}`"),
            }
        })
    }

    /// A minimal validator for the part of the schema language that the table needs.
    fn satisfies(nodes: &[KdlNode], schema: &KdlNode) {
        for node in nodes {
            let name = node.name().value();
            let rule = of(schema, "node").into_iter().find(|rule| text(rule) == name);
            let rule = rule.unwrap_or_else(|| panic!("no node `{name}`"));
            for property in of(rule, "prop").iter().filter(|prop| !of(prop, "required").is_empty()) {
                assert!(node.get(text(property)).is_some(), "{node}: {property}");
            }
            let mut values = of(rule, "value").into_iter().peekable();
            for entry in node.entries() {
                let rule = match entry.name() {
                    Some(key) => of(rule, "prop").into_iter().find(|prop| text(prop) == key.value()).unwrap(),
                    None => values
                        .next_if(|value| !of(value, "max").is_empty())
                        .or(values.peek().copied())
                        .unwrap(),
                };
                assert!(holds(entry.value(), rule), "{node}: {rule}");
            }
            if let (Some(children), [inside]) = (node.children(), of(rule, "children").as_slice()) {
                satisfies(children.nodes(), inside);
            }
        }
    }

    #[test]
    fn the_shipped_pipelines_satisfy_the_schema() {
        let schema: KdlDocument = render_schema_kdl().parse().unwrap();
        let document = schema.get("document").unwrap();
        for pipeline in [
            include_str!("../../../../pipelines/quickstart.kdl"),
            include_str!("../../../../pipelines/full.kdl"),
        ] {
            satisfies(pipeline.parse::<KdlDocument>().unwrap().nodes(), document);
        }
    }

    #[test]
    fn the_schema_refuses_invalid_nodes() {
        let schema: KdlDocument = render_schema_kdl().parse().unwrap();
        let document = schema.get("document").unwrap();
        for wrong in ["pipeline 1", "pipeline \"x\" seed=-1", "rows \"x\" tokenizer=\"y\"", "stage \"x\""] {
            let nodes: KdlDocument = wrong.parse().unwrap();
            let refused = std::panic::catch_unwind(|| satisfies(nodes.nodes(), document)).is_err();
            assert!(refused, "{wrong}");
        }
    }
}
