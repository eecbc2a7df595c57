//! JSON Schemas: texts that match, texts that do not, and what is refused.

mod refused;

use proptest::prelude::*;
use serde_json::Value;

use self::refused::REFUSED;
use super::join;
use crate::{Constraint, ConstraintError, ConstraintSource};

fn schema(text: &str) -> Result<Constraint, ConstraintError> {
    Constraint::new(ConstraintSource::JsonSchema(text.to_owned()))
}

/// A schema, texts that match and texts that do not.
type Case = (&'static str, &'static [&'static str], &'static [&'static str]);

const CASES: &[Case] = &[
    ("true", &["null", "[1, {\"a\":[]}]", "\"x\"", "{}"], &["", "nul", "[1,]", "{\"a\" 1}", "[[[[]]]]"]),
    (r#"{"type": "null"}"#, &["null"], &["0", " null"]),
    (r#"{"type": ["boolean", "null"]}"#, &["true", "false", "null"], &["\"true\""]),
    (r#"{"type": "integer"}"#, &["0", "-12", "999999999999999"], &["01", "-0", "1.0", "+1", "1e3", ""]),
    (r#"{"type": "number"}"#, &["0", "-0.5", "12e-7", "1E+2"], &["01", ".5", "5.", "1e999", "NaN"]),
    (
        r#"{"type": "integer", "minimum": -5, "maximum": 120}"#,
        &["-5", "-1", "0", "7", "99", "100", "119", "120"],
        &["-6", "121", "200", "1000", "-10", "00"],
    ),
    (r#"{"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 12}"#, &["10", "11"], &["9", "12"]),
    (r#"{"type": "integer", "maximum": -3}"#, &["-3", "-4", "-30"], &["-2", "0", "3"]),
    (
        r#"{"type": "string"}"#,
        &[r#""""#, r#""é\n\u00e9\"\\\/""#, r#""\ud83d\ude00 😀""#],
        &[r#""\ud83d""#, r#""\ude00""#, r#""\x""#, "\"\n\"", r#""a"b""#, "'a'", r#""\u12""#],
    ),
    (
        r#"{"type": "string", "minLength": 2, "maxLength": 3}"#,
        &[r#""éa""#, r#""\n\u00e9😀""#],
        &[r#""a""#, r#""aaaa""#],
    ),
    (r#"{"type": "string", "pattern": "^[a-c]{2}$"}"#, &[r#""ab""#], &[r#""abc""#, r#""xab""#]),
    (r#"{"type": "string", "pattern": "b"}"#, &[r#""abc""#, r#""b""#], &[r#""ac""#]),
    (r#"{"type": "string", "pattern": "^a|b$"}"#, &[r#""ax""#, r#""xb""#], &[r#""xa""#, r#""bx""#]),
    (
        r#"{"type": "string", "pattern": "^\\d+\\s[\\w\"]\\\\[^\\d]$"}"#,
        &[r#""12 \"\\x""#, r#""1\tz\\\n""#, r#""1 a\\\"""#],
        &[r#""١ a\\x""#, r#""1 a\\1""#, r#""1 é\\x""#],
    ),
    (
        r#"{"pattern": "^.$"}"#,
        &[r#""a""#, r#""\t""#, r#""é""#],
        &[r#""\n""#, r#""\r""#, "\"\u{2028}\"", "\"\u{2029}\""],
    ),
    (
        r#"{"type": "string", "format": "date"}"#,
        &[r#""2024-02-28""#, r#""1999-12-31""#],
        &[r#""2024-02-30""#, r#""24-1-1""#],
    ),
    (
        r#"{"type": "string", "format": "date-time"}"#,
        &[r#""2024-02-28T23:59:59.5Z""#],
        &[r#""2024-02-28 23:59:59Z""#],
    ),
    (
        r#"{"const": {"a": [1, "x\"y"]}}"#,
        &[r#"{"a":[1,"x\"y"]}"#, r#"{"a": [1, "x\"y"]}"#],
        &[r#"{"a":[1]}"#],
    ),
    (r#"{"enum": ["a.b", 1, null]}"#, &[r#""a.b""#, "1", "null"], &[r#""axb""#, "2"]),
    (r#"{"type": "string", "enum": ["a", 1]}"#, &[r#""a""#], &["1"]),
    (
        r#"{"type": "array", "items": {"type": "integer"}}"#,
        &["[]", "[1]", "[1, 2,3]"],
        &["[1,]", "[1 ,2]", "[\"a\"]"],
    ),
    (
        r#"{"type": "array", "items": {"const": 1}, "minItems": 1, "maxItems": 3}"#,
        &["[1]", "[1,1]", "[1,1,1]"],
        &["[]", "[1,1,1,1]"],
    ),
    (r#"{"type": "array", "maxItems": 0}"#, &["[]"], &["[1]"]),
    (
        r#"{"prefixItems": [{"const": 1}, {"const": 2}], "items": {"const": 3}, "maxItems": 3}"#,
        &["[1,2]", "[1, 2, 3]"],
        &["[1]", "[1,2,3,3]", "[2,1]"],
    ),
    (r#"{"prefixItems": [{"const": 1}, {"const": 2}], "items": false}"#, &["[1,2]"], &["[1,2,3]"]),
    (
        r#"{"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}, "required": ["b"]}"#,
        &[r#"{"a":1,"b":2,"c":3}"#, r#"{"b": 2}"#, r#"{"a": 1, "b": 2}"#, r#"{"b":2,"c":3}"#],
        &[
            "{}",
            r#"{"a":1}"#,
            r#"{"b":2,"a":1}"#,
            r#"{"a":1,"c":3}"#,
            r#"{,"b":2}"#,
            r#"{"b":2,}"#,
            r#"{"b":2,"d":1}"#,
        ],
    ),
    (
        r#"{"properties": {"a": {"const": 1}, "b": {"const": 2}}}"#,
        &["{}", r#"{"a":1}"#, r#"{"b":2}"#, r#"{"a":1,"b":2}"#],
        &[r#"{"b":2,"a":1}"#, "{,}"],
    ),
    (
        r#"{"type": "object", "additionalProperties": {"type": "null"}}"#,
        &["{}", r#"{"x":null, "y":null}"#],
        &[r#"{"x":1}"#],
    ),
    (r#"{"type": "object", "additionalProperties": false}"#, &["{}"], &[r#"{"x":1}"#]),
    (r#"{"type": "object"}"#, &["{}", r#"{"x":[{"y":1}]}"#], &["[]", "1"]),
    (r#"{"anyOf": [{"type": "null"}, {"const": "x"}]}"#, &["null", "\"x\""], &["\"y\""]),
    (
        r##"{"$defs": {"n": {"type": "integer"}}, "properties": {"v": {"$ref": "#/$defs/n"}, "a/b": {"allOf": [{"$ref": "#/$defs/n"}]}}, "required": ["v"]}"##,
        &[r#"{"v":3}"#, r#"{"v":3,"a/b":4}"#],
        &[r#"{"v":"3"}"#],
    ),
];

#[test]
fn texts_match_a_schema_or_not() {
    for (text, matching, others) in CASES {
        let constraint = schema(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        for said in *matching {
            assert!(constraint.automaton().accepts(said.as_bytes()), "{text} should allow {said}");
            assert!(serde_json::from_str::<Value>(said).is_ok(), "{said}");
        }
        for said in *others {
            assert!(!constraint.automaton().accepts(said.as_bytes()), "{text} should not allow {said}");
        }
    }
}

/// Every word that is not kept has a name, a place and a cure.
#[test]
fn what_is_not_kept_is_refused_by_name() {
    for &(text, place, what) in REFUSED {
        match schema(text) {
            Err(ConstraintError::Schema { place: found, what: said, fix }) => {
                assert_eq!((found.as_str(), said.as_str()), (place, what), "{text}");
                assert!(!fix.is_empty());
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(matches!(schema("{"), Err(ConstraintError::Json(_))));
}

/// References that double at every level would fill the memory.
#[test]
fn a_schema_that_grows_without_bound_is_refused() {
    let level = |n: usize| {
        format!(
            r##""l{n}": {{"type": "array", "prefixItems": [{{"$ref": "#/$defs/l{m}"}}, {{"$ref": "#/$defs/l{m}"}}]}}"##,
            m = n + 1
        )
    };
    let levels: Vec<String> = (0..25).map(level).collect();
    let text = format!(r##"{{"$ref": "#/$defs/l0", "$defs": {{{}, "l25": true}}}}"##, levels.join(","));
    assert!(refusal(&text).1.contains("letters"), "{:?}", refusal(&text));
    let long = r#"{"properties": {"b": {"const": 1}, "a": {"type": "string", "maxLength": 900000}}}"#;
    let (place, what) = refusal(long);
    assert!(place == "#/properties/a" && what.contains("more than 16384 states"), "{place}: {what}");
    let wide = r#"{"items": {"type": "string", "pattern": "^(?:[ -~]*a){3500}$"}}"#;
    assert_eq!(refusal(wide).0, "#/items");
}

/// Where a schema is refused, and why.
fn refusal(text: &str) -> (String, String) {
    match schema(text) {
        Err(ConstraintError::Schema { place, what, .. }) => (place, what),
        other => panic!("{other:?}"),
    }
}

/// They once ended the process.
#[test]
fn deep_schemas_are_refused_with_the_place() {
    let levels: Vec<String> =
        (0..2000).map(|n| format!(r##""{n}":{{"$ref":"#/$defs/{}"}}"##, n + 1)).collect();
    let chain = |from: usize| {
        let levels = levels.join(",");
        format!(r##"{{"$ref": "#/$defs/{from}", "$defs": {{{levels},"2000": {{"type": "null"}}}}}}"##)
    };
    let (place, what) = refusal(&chain(0));
    assert!(place == "#/$defs/63" && what.contains("more than 64 parts"), "{place}: {what}");
    assert!(schema(&chain(1938)).unwrap().automaton().accepts(b"null"));
    for (open, close) in [
        (r#"{"items": "#, "}"),
        (r#"{"additionalProperties": "#, "}"),
        (r#"{"anyOf": ["#, "]}"),
        (r#"{"prefixItems": ["#, "]}"),
        (r#"{"properties": {"a": "#, "}}"),
    ] {
        for levels in [62, 90, 5000] {
            // The reader of JSON has a limit of its own, of 128.
            match schema(&format!("{}true{}", open.repeat(levels), close.repeat(levels))) {
                Ok(_) => assert_eq!(levels, 62, "{open}"),
                Err(ConstraintError::Json(_) | ConstraintError::TooLong { .. }) => {
                    assert_ne!(levels, 62, "{open}")
                }
                Err(ConstraintError::Schema { what, .. }) => assert!(
                    what.contains("too large") || (levels > 64 && what.contains("more than 64 parts")),
                    "{open} {levels}: {what}"
                ),
                Err(other) => panic!("{open}: {other}"),
            }
        }
    }
}

#[test]
fn many_properties_may_all_be_absent() {
    let names: Vec<String> = (0..20).map(|n| format!(r#""p{n}": {{"const": {n}}}"#)).collect();
    let constraint = schema(&format!(r#"{{"properties": {{{}}}}}"#, names.join(","))).unwrap();
    let accepts = |text: &str| constraint.automaton().accepts(text.as_bytes());
    assert!(accepts("{}") && accepts(r#"{"p3": 3, "p19": 19}"#) && !accepts(r#"{"p3": 3, "p2": 2}"#));
}

#[test]
fn a_mark_of_the_order_of_bytes_is_passed_over() {
    assert!(schema("\u{feff}{\"const\": 1}").unwrap().automaton().accepts(b"1"));
    let long = format!("{}true", " ".repeat(64 << 10));
    assert_eq!(schema(&long).unwrap_err(), ConstraintError::TooLong { bytes: 65_540, most: 65_536 });
}

const ORDER: &str = r#"{
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "kind": {"enum": ["a", "b"]},
        "size": {"type": "integer", "minimum": 1, "maximum": 12},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 2}, "maxItems": 2},
        "more": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    },
    "required": ["name", "size", "more"]
}"#;

fn is_order(value: &Value) -> bool {
    let letters =
        |value: &Value, most: usize| value.as_str().is_some_and(|text| text.chars().count() <= most);
    let fields = value.as_object().unwrap();
    fields.iter().all(|(name, value)| match name.as_str() {
        "name" => letters(value, 6),
        "kind" => value == "a" || value == "b",
        "size" => value.as_i64().is_some_and(|size| (1..=12).contains(&size)),
        "tags" => {
            value.as_array().is_some_and(|tags| tags.len() <= 2 && tags.iter().all(|tag| letters(tag, 2)))
        }
        "more" => value["ok"].is_boolean(),
        _ => false,
    }) && ["name", "size", "more"].iter().all(|name| fields.contains_key(*name))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Places are filled in any order, with any token that is allowed: the text is an order.
    #[test]
    fn any_filling_in_any_order_satisfies_the_schema(
        order in Just((0..70_usize).collect::<Vec<_>>()).prop_shuffle(),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 70),
    ) {
        let words = ["name", "\": ", "{\"", "}", "\"", "size", "more", "ok", "true", "\\u00", "é", "😀", ", \""];
        let letters = (0x20_u8..0x7f).map(|byte| char::from(byte).to_string());
        let words: Vec<String> = letters.chain(words.iter().map(|word| (*word).to_owned())).collect();
        let tokens = join(&schema(ORDER).unwrap(), &words, 2);
        let mut text: Vec<Option<u32>> = vec![None; 70];
        for (at, choice) in order.into_iter().zip(choices) {
            let set = tokens.allowed(&tokens.reach(&text, at, true).unwrap(), &[at]).remove(0);
            let allowed: Vec<u32> = (0..words.len() as u32 + 2).filter(|token| tokens.has(&set, *token)).collect();
            text[at] = Some(*choice.get(&allowed));
        }
        let said: String = text.iter().flatten().filter_map(|token| words.get(*token as usize)).map(String::as_str).collect();
        let value: Value = serde_json::from_str(&said).unwrap();
        prop_assert!(is_order(&value), "{}", said);
    }
}
