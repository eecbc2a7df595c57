//! Reads the tables. They are part of the program: a fault in them is found by a test, not by a user.

use kdl::{KdlDocument, KdlNode, KdlValue};

use super::elsewhere::Foreign;
use super::{FieldSpec, NodeSpec, Range, Schema, Type, When};

type Result<T> = std::result::Result<T, String>;

/// Reads all tables; `children-of` copies another node's children, none of them required.
pub(super) fn tables(texts: &[&str]) -> Result<Schema> {
    let mut nodes = Vec::new();
    let mut copies = Vec::new();
    for text in texts {
        let document = KdlDocument::parse_v2(text).map_err(|error| format!("{error:?}"))?;
        for raw in document.nodes() {
            if let Some(from) = text_of(raw, "children-of") {
                copies.push((nodes.len(), from.to_owned()));
            }
            nodes.push(node(raw)?);
        }
    }
    for (at, from) in copies {
        let children = optional_children(&nodes, &from)?;
        nodes.get_mut(at).ok_or("no such node")?.children = children;
    }
    Ok(Schema { nodes })
}

/// Reads the table of names of other tools.
pub(super) fn elsewhere(text: &str) -> Result<Vec<Foreign>> {
    let document = KdlDocument::parse_v2(text).map_err(|error| format!("{error:?}"))?;
    let row = |raw: &KdlNode| {
        let names = name_of(raw)?.split(' ').map(str::to_owned).collect();
        let says = text_of(raw, "says").ok_or("a name without a cure")?.to_owned();
        let computes = text_of(raw, "computes").map(str::to_owned);
        Ok(Foreign { names, says, computes })
    };
    document.nodes().iter().map(row).collect()
}

fn optional_children(nodes: &[NodeSpec], from: &str) -> Result<Vec<NodeSpec>> {
    let found = nodes.iter().find(|node| node.name == from).ok_or(format!("no node `{from}`"))?;
    let children = found.children.iter().cloned();
    Ok(children.map(|child| NodeSpec { required: false, implied: false, ..child }).collect())
}

fn node(raw: &KdlNode) -> Result<NodeSpec> {
    let name = name_of(raw)?;
    let inner = |kind: &'static str| inner(raw, kind);
    let unsupported = (flag(raw, "supported") == Some(false)).then(|| words(raw, "reason", None).join(" "));
    Ok(NodeSpec {
        namespace: text_of(raw, "namespace").unwrap_or(&name).to_owned(),
        doc: text_of(raw, "doc").ok_or(format!("`{name}` has no doc"))?.to_owned(),
        example: text_of(raw, "example").map(str::to_owned),
        aliases: words(raw, "aliases", Some(' ')),
        single: flag(raw, "single") == Some(true),
        root: flag(raw, "root") == Some(true),
        required: flag(raw, "required") == Some(true),
        implied: flag(raw, "implied") == Some(true),
        key: text_of(raw, "key").map(str::to_owned),
        semantic: flag(raw, "semantic") != Some(false),
        unsupported,
        when: when(raw)?,
        arguments: inner("argument").map(field).collect::<Result<_>>()?,
        properties: inner("property").map(field).collect::<Result<_>>()?,
        children: inner("child").map(node).collect::<Result<_>>()?,
        name,
    })
}

fn inner<'a>(raw: &'a KdlNode, kind: &'static str) -> impl Iterator<Item = &'a KdlNode> {
    raw.iter_children().filter(move |child| child.name().value() == kind)
}

fn field(raw: &KdlNode) -> Result<FieldSpec> {
    let name = name_of(raw)?;
    let types = words(raw, "type", Some(' '));
    let types: Vec<_> = types.iter().map(|word| Type::named(word)).collect::<Result<_>>()?;
    let reference = types.contains(&Type::Ref) || types == [Type::Name];
    Ok(FieldSpec {
        doc: text_of(raw, "doc").ok_or(format!("`{name}` has no doc"))?.to_owned(),
        aliases: words(raw, "aliases", Some(' ')),
        to: words(raw, "to", Some(' ')),
        sample: text_of(raw, "sample").map(str::to_owned),
        words: words(raw, "words", Some(' ')),
        meant: meant(raw)?,
        not_yet: words(raw, "not-yet", Some(' ')),
        unsupported: flag(raw, "supported") == Some(false),
        reason: text_of(raw, "reason").unwrap_or_default().to_owned(),
        range: Range {
            min: number_of(raw, "min"),
            max: number_of(raw, "max"),
            above: number_of(raw, "above"),
            below: number_of(raw, "below"),
        },
        defaults: defaults(raw)?,
        default_from: text_of(raw, "default-from").map(str::to_owned),
        when: when(raw)?,
        excludes: text_of(raw, "excludes").map(str::to_owned),
        required_unless: text_of(raw, "required-unless").map(str::to_owned),
        required: flag(raw, "required") == Some(true),
        many: flag(raw, "many") == Some(true),
        inline: flag(raw, "inline") == Some(true),
        semantic: flag(raw, "semantic").unwrap_or(!reference),
        types,
        name,
    })
}

/// `meant="full:bidirectional"`.
fn meant(raw: &KdlNode) -> Result<Vec<(String, String)>> {
    let pairs = words(raw, "meant", Some(' ')).into_iter();
    let pair = |text: String| {
        let (other, own) = text.split_once(':').ok_or(format!("`{text}` says not what it means"))?;
        Ok((other.to_owned(), own.to_owned()))
    };
    pairs.map(pair).collect()
}

fn defaults(raw: &KdlNode) -> Result<Vec<(Option<When>, KdlValue)>> {
    let mut list: Vec<_> = raw.get("default").map(|value| (None, value.clone())).into_iter().collect();
    for case in inner(raw, "default") {
        list.push((when(case)?, case.get(0).ok_or("a default without value")?.clone()));
    }
    Ok(list)
}

fn when(raw: &KdlNode) -> Result<Option<When>> {
    let Some(text) = text_of(raw, "when") else { return Ok(None) };
    let (field, values) = text.split_once('=').ok_or(format!("`{text}` is no condition"))?;
    Ok(Some(When { field: field.to_owned(), values: values.split('|').map(str::to_owned).collect() }))
}

fn name_of(raw: &KdlNode) -> Result<String> {
    let name = raw.get(0).and_then(KdlValue::as_string);
    name.map(str::to_owned).ok_or_else(|| format!("a `{}` without name", raw.name().value()))
}

fn text_of<'a>(raw: &'a KdlNode, key: &str) -> Option<&'a str> {
    raw.get(key).and_then(KdlValue::as_string)
}

fn flag(raw: &KdlNode, key: &str) -> Option<bool> {
    raw.get(key).and_then(KdlValue::as_bool)
}

fn number_of(raw: &KdlNode, key: &str) -> Option<f64> {
    match raw.get(key)? {
        KdlValue::Integer(number) => Some(*number as f64),
        KdlValue::Float(number) => Some(*number),
        _ => None,
    }
}

fn words(raw: &KdlNode, key: &str, separator: Option<char>) -> Vec<String> {
    let text = text_of(raw, key).unwrap_or_default();
    match separator {
        Some(separator) => text.split(separator).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        None => vec![text.to_owned()],
    }
}
