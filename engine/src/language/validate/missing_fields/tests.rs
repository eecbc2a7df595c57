//! The help of `missing-field` can be pasted. The test removes every required field of two pipelines once, pastes the help
//! in its place, and expects no diagnostic for it.

use std::path::Path;

use kdl::{KdlDocument, KdlNode};

use crate::check::{CheckOptions, check_text};
use crate::language::schema::{FieldSpec, FieldType, NodeSpec, load_schema};
use crate::text::diagnostic::Diagnostic;

const TEXTS: [&str; 2] = [
    include_str!("../../../../../tests/cases/data/every.kdl"),
    include_str!("../../../../../pipelines/quickstart.kdl"),
];

/// Codes of a field that is missing or has a value that it does not accept.
const FAULTS: [&str; 9] = [
    "missing-field",
    "wrong-type",
    "unknown-word",
    "unknown-name",
    "out-of-range",
    "invalid-name",
    "duplicate-name",
    "cycle",
    "mixture-cycle",
];

fn findings(text: &str) -> Vec<Diagnostic> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines");
    check_text("t.kdl", text, &base, &CheckOptions::default()).diagnostics
}

/// A required field as it is written, with its byte range and its line.
struct Written {
    path: String,
    start: usize,
    end: usize,
    line: usize,
}

/// Whether help can invent a value for a field. It cannot for paths, because the files must exist.
fn can_be_made_up(field: &FieldSpec) -> bool {
    let needed = field.required || field.required_unless.is_some();
    needed && !field.many && !field.types.iter().any(|kind| matches!(kind, FieldType::Path | FieldType::Hub))
}

fn required(text: &str, path: &str, node: &KdlNode, spec: &'static NodeSpec, found: &mut Vec<Written>) {
    let mut arguments = spec.arguments.iter();
    for entry in node.entries() {
        let field = match entry.name() {
            Some(name) => spec.properties.iter().find(|field| field.name == name.value()),
            None => arguments.next(),
        };
        let Some(field) = field.filter(|field| can_be_made_up(field)) else { continue };
        let (start, end) = (entry.span().offset(), entry.span().offset() + entry.span().len());
        let line = text[..start].matches('\n').count() + 1;
        found.push(Written { path: format!("{path}.{}", field.name), start, end, line });
    }
    for child in node.iter_children() {
        let Some(inner) = spec.child(child.name().value()) else { continue };
        required(text, &format!("{path}.{}", inner.name), child, inner, found);
    }
}

/// The text with the first suggestion of the help pasted into it, and the suggestion.
fn pasted(text: &str, fault: &Diagnostic) -> (String, String) {
    let help = fault.help.as_ref().unwrap();
    let (verb, rest) = help.split_once(" `").unwrap();
    let offer = rest.split('`').next().unwrap();
    let span = fault.place().unwrap();
    let (before, after) = (&text[..span.offset], &text[span.offset + span.length..]);
    let whole = match verb {
        "write" => format!("{before}{offer}{after}"),
        "add" => format!("{before}{} {offer}{after}", span.text()),
        _ => panic!("{help}"),
    };
    (whole, offer.to_owned())
}

#[test]
fn the_help_for_missing_fields_can_be_pasted() {
    let (mut cases, mut faults) = (0, Vec::new());
    for text in TEXTS {
        let document = KdlDocument::parse_v2(text).unwrap();
        let mut all = Vec::new();
        for node in document.nodes() {
            let spec = load_schema().node(node.name().value()).unwrap();
            required(text, &spec.name, node, spec, &mut all);
        }
        for Written { path, start, end, line } in all {
            let without = format!("{}{}", text[..start].trim_end_matches(' '), &text[end..]);
            let missing = |fault: &&Diagnostic| {
                fault.code.name() == "missing-field"
                    && fault.place().is_some_and(|place| place.position().0 == line)
            };
            let Some(fault) = findings(&without).into_iter().find(|fault| missing(&fault)) else {
                continue;
            };
            cases += 1;
            let (whole, offer) = pasted(&without, &fault);
            let left = findings(&whole).into_iter().find(|left| {
                let here = left.place().is_some_and(|place| place.position().0 == line);
                here && FAULTS.contains(&left.code.name())
            });
            if let Some(left) = left {
                faults.push(format!("{path}: `{offer}`: {}", left.message));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {cases}\n{}", faults.len(), faults.join("\n"));
    assert!(cases > 60, "{cases}");
}
