//! Parses the field tables. They are embedded in the program, so errors in them are plain strings: a test finds them, not a
//! user.

use kdl::{KdlDocument, KdlNode, KdlValue};

use super::foreign_names::ForeignName;
use super::{Condition, FieldSpec, FieldType, NodeSpec, NumberRange, Schema};

type TableResult<T> = std::result::Result<T, String>;

/// Parses all tables. `children-of` copies another node's children and makes them optional.
pub(super) fn parse_tables(texts: &[&str]) -> TableResult<Schema> {
    let mut nodes = Vec::new();
    let mut copies = Vec::new();
    for text in texts {
        let document = KdlDocument::parse_v2(text).map_err(|error| format!("{error:?}"))?;
        for raw in document.nodes() {
            if let Some(from) = read_text_property(raw, "children-of") {
                copies.push((nodes.len(), from.to_owned()));
            }
            nodes.push(parse_node_spec(raw)?);
        }
    }
    for (at, from) in copies {
        let children = copy_optional_children(&nodes, &from)?;
        nodes.get_mut(at).ok_or("no such node")?.children = children;
    }
    Ok(Schema { nodes })
}

/// Parses the table of names from other tools.
pub(super) fn parse_foreign_names(text: &str) -> TableResult<Vec<ForeignName>> {
    let document = KdlDocument::parse_v2(text).map_err(|error| format!("{error:?}"))?;
    let row = |raw: &KdlNode| {
        let names = read_node_name(raw)?.split(' ').map(str::to_owned).collect();
        let advice = read_text_property(raw, "says").ok_or("a name without `says`")?.to_owned();
        let computes = read_text_property(raw, "computes").map(str::to_owned);
        Ok(ForeignName { names, advice, computes })
    };
    document.nodes().iter().map(row).collect()
}

fn copy_optional_children(nodes: &[NodeSpec], from: &str) -> TableResult<Vec<NodeSpec>> {
    let found = nodes.iter().find(|node| node.name == from).ok_or(format!("no node `{from}`"))?;
    let children = found.children.iter().cloned();
    Ok(children.map(|child| NodeSpec { required: false, implied: false, ..child }).collect())
}

fn parse_node_spec(raw: &KdlNode) -> TableResult<NodeSpec> {
    let name = read_node_name(raw)?;
    let inner = |kind: &'static str| list_children(raw, kind);
    let unsupported = (read_flag_property(raw, "supported") == Some(false))
        .then(|| read_words_property(raw, "reason", None).join(" "));
    Ok(NodeSpec {
        namespace: read_text_property(raw, "namespace").unwrap_or(&name).to_owned(),
        doc: read_text_property(raw, "doc").ok_or(format!("`{name}` has no doc"))?.to_owned(),
        example: read_text_property(raw, "example").map(str::to_owned),
        aliases: read_words_property(raw, "aliases", Some(' ')),
        single: read_flag_property(raw, "single") == Some(true),
        root: read_flag_property(raw, "root") == Some(true),
        required: read_flag_property(raw, "required") == Some(true),
        implied: read_flag_property(raw, "implied") == Some(true),
        key: read_text_property(raw, "key").map(str::to_owned),
        free: read_flag_property(raw, "free") == Some(true),
        semantic: read_flag_property(raw, "semantic") != Some(false),
        unsupported,
        instead: read_text_property(raw, "instead").map(str::to_owned),
        when: parse_condition(raw)?,
        arguments: inner("argument").map(parse_field_spec).collect::<TableResult<_>>()?,
        properties: inner("property").map(parse_field_spec).collect::<TableResult<_>>()?,
        children: inner("child").map(parse_node_spec).collect::<TableResult<_>>()?,
        name,
    })
}

fn list_children<'a>(raw: &'a KdlNode, kind: &'static str) -> impl Iterator<Item = &'a KdlNode> {
    raw.iter_children().filter(move |child| child.name().value() == kind)
}

fn parse_field_spec(raw: &KdlNode) -> TableResult<FieldSpec> {
    let name = read_node_name(raw)?;
    let types = read_words_property(raw, "type", Some(' '));
    let types: Vec<_> = types.iter().map(|word| FieldType::from_word(word)).collect::<TableResult<_>>()?;
    let reference = types.contains(&FieldType::Ref) || types == [FieldType::Name];
    let words = read_words_property(raw, "words", Some(' '));
    let semantic = read_flag_property(raw, "semantic").unwrap_or(!reference);
    Ok(FieldSpec {
        doc: read_text_property(raw, "doc").ok_or(format!("`{name}` has no doc"))?.to_owned(),
        was: read_text_property(raw, "was").map(str::to_owned),
        aliases: read_words_property(raw, "aliases", Some(' ')),
        to: read_words_property(raw, "to", Some(' ')),
        sample: read_text_property(raw, "sample").map(str::to_owned),
        synonyms: parse_synonyms(raw)?,
        not_yet: read_words_property(raw, "not-yet", Some(' ')),
        unsupported: read_flag_property(raw, "supported") == Some(false),
        reason: read_text_property(raw, "reason").unwrap_or_default().to_owned(),
        instead: read_text_property(raw, "instead").map(str::to_owned),
        range: NumberRange {
            min: read_number_property(raw, "min"),
            max: read_number_property(raw, "max"),
            above: read_number_property(raw, "above"),
            below: read_number_property(raw, "below"),
        },
        defaults: parse_defaults(raw)?,
        default_from: read_text_property(raw, "default-from").map(str::to_owned),
        when: parse_condition(raw)?,
        excludes: read_text_property(raw, "excludes").map(str::to_owned),
        required_unless: read_text_property(raw, "required-unless").map(str::to_owned),
        required: read_flag_property(raw, "required") == Some(true),
        many: read_flag_property(raw, "many") == Some(true),
        inline: read_flag_property(raw, "inline") == Some(true),
        counts: parse_counting_words(raw, &words, semantic)?,
        words,
        semantic,
        types,
        name,
    })
}

/// The words of a field that change results although the field does not. A misspelled one would change no fingerprint.
fn parse_counting_words(raw: &KdlNode, words: &[String], semantic: bool) -> TableResult<Vec<String>> {
    let counts = read_words_property(raw, "counts", Some(' '));
    if let Some(other) = counts.iter().find(|word| !words.contains(word)) {
        return Err(format!("`{other}` counts, but is none of the words"));
    }
    match semantic && !counts.is_empty() {
        true => Err(format!("every word counts already, not only `{}`", counts.join(" "))),
        false => Ok(counts),
    }
}

/// Synonyms, as in `meant="full:bidirectional"`.
fn parse_synonyms(raw: &KdlNode) -> TableResult<Vec<(String, String)>> {
    let pairs = read_words_property(raw, "meant", Some(' ')).into_iter();
    let pair = |text: String| {
        let (other, own) = text.split_once(':').ok_or(format!("`{text}`: expected `other:own`"))?;
        Ok((other.to_owned(), own.to_owned()))
    };
    pairs.map(pair).collect()
}

fn parse_defaults(raw: &KdlNode) -> TableResult<Vec<(Option<Condition>, KdlValue)>> {
    let mut list: Vec<_> = raw.get("default").map(|value| (None, value.clone())).into_iter().collect();
    for case in list_children(raw, "default") {
        list.push((parse_condition(case)?, case.get(0).ok_or("a default without a value")?.clone()));
    }
    Ok(list)
}

fn parse_condition(raw: &KdlNode) -> TableResult<Option<Condition>> {
    let Some(text) = read_text_property(raw, "when") else { return Ok(None) };
    let (field, values) = text.split_once('=').ok_or(format!("`{text}` is not a condition"))?;
    Ok(Some(Condition { field: field.to_owned(), values: values.split('|').map(str::to_owned).collect() }))
}

fn read_node_name(raw: &KdlNode) -> TableResult<String> {
    let name = raw.get(0).and_then(KdlValue::as_string);
    name.map(str::to_owned).ok_or_else(|| format!("a `{}` without a name", raw.name().value()))
}

fn read_text_property<'a>(raw: &'a KdlNode, key: &str) -> Option<&'a str> {
    raw.get(key).and_then(KdlValue::as_string)
}

fn read_flag_property(raw: &KdlNode, key: &str) -> Option<bool> {
    raw.get(key).and_then(KdlValue::as_bool)
}

fn read_number_property(raw: &KdlNode, key: &str) -> Option<f64> {
    match raw.get(key)? {
        KdlValue::Integer(number) => Some(*number as f64),
        KdlValue::Float(number) => Some(*number),
        _ => None,
    }
}

fn read_words_property(raw: &KdlNode, key: &str, separator: Option<char>) -> Vec<String> {
    let text = read_text_property(raw, key).unwrap_or_default();
    match separator {
        Some(separator) => text.split(separator).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        None => vec![text.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_count_are_words_of_a_field_that_does_not() {
        let parse = |field: &str| {
            let table =
                format!(r#"node "n" doc="d" {{ property "p" type="word" words="a b" doc="d" {field} }}"#);
            parse_tables(&[&table]).map(|schema| schema.nodes[0].properties[0].counts.clone())
        };
        assert_eq!(parse(r#"semantic=#false counts="b""#), Ok(vec!["b".to_owned()]));
        let misspelled = parse(r#"semantic=#false counts="b c""#).unwrap_err();
        assert_eq!(misspelled, "`c` counts, but is none of the words");
        assert!(parse(r#"counts="b""#).unwrap_err().contains("every word counts already"));
    }
}
