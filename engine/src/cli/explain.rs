//! `fmflow explain`: codes of findings, and the nodes of the language.

use clap::Args;
use serde_json::json;

use super::Context;
use crate::diagnostic::Code;
use crate::error::{Error, Result};
use crate::schema::{FieldSpec, NodeSpec, schema};
use crate::suggest;
use crate::table::table;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A code such as `unknown-field`, a node such as `train`, or a field such as `train.batch`
    #[arg(required_unless_present = "list")]
    what: Option<String>,
    /// List all codes
    #[arg(long)]
    list: bool,
    /// Answer with one JSON object
    #[arg(long, requires = "list")]
    json: bool,
}

pub(super) fn explain(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    match &arguments.what {
        Some(what) if !arguments.list => context.output.result(&page(what)?),
        _ if arguments.json => {
            let codes = Code::ALL.iter().map(|code| {
                json!({ "code": code.name(), "severity": code.severity().word(), "title": code.title() })
            });
            let codes: Vec<_> = codes.collect();
            context.output.json(&json!({ "schema": "fmflow.explain/1", "codes": codes }))
        }
        _ => {
            let row =
                |code: &Code| vec![code.name().into(), code.severity().word().into(), code.title().into()];
            context
                .output
                .result(&table(&["code", "severity", "meaning"], Code::ALL.iter().map(row).collect()))
        }
    }
}

fn page(what: &str) -> Result<String> {
    if let Some(code) = Code::ALL.iter().find(|code| code.name() == what) {
        return Ok(code_page(*code));
    }
    let mut parts = what.split('.');
    let top = parts.next().and_then(|name| schema().node(name)).ok_or_else(|| unknown(what))?;
    let mut node = top;
    for part in parts {
        match node.child(part) {
            Some(child) => node = child,
            None => {
                let field = node.fields().find(|field| field.name == part).ok_or_else(|| unknown(what))?;
                return Ok(format!("{}\n", field_line(field)));
            }
        }
    }
    Ok(node_page(node))
}

fn unknown(what: &str) -> Error {
    let codes = Code::ALL.iter().map(|code| code.name());
    let names = codes.chain(schema().nodes.iter().map(|node| node.name.as_str()));
    let help = suggest::help(what, names).unwrap_or_else(|| "`fmflow explain --list` lists all codes".into());
    Error::usage(format!("nothing is called `{what}`"), help)
}

/// The page of a code in `schemas/codes.md`, or its title.
fn code_page(code: Code) -> String {
    format!("{} ({}): {}\n", code.name(), code.severity().word(), code.title())
}

fn node_page(node: &NodeSpec) -> String {
    let mut text = format!("{}: {}\n", node.name, node.doc);
    if let Some(example) = &node.example {
        text += &format!("\n  {}\n", example.replace('\n', "\n  "));
    }
    if node.fields().next().is_some() {
        text += "\nfields\n";
    }
    for field in node.fields() {
        text += &format!("  {}\n", field_line(field));
    }
    if !node.children.is_empty() {
        text += "\nnodes inside\n";
    }
    for child in &node.children {
        text += &format!("  {}: {}\n", child.name, child.doc);
    }
    text
}

fn field_line(field: &FieldSpec) -> String {
    let mut notes = Vec::new();
    if !field.words.is_empty() {
        notes.push(format!("one of {}", field.words.join(", ")));
    }
    if let Some((_, value)) = field.defaults.first() {
        notes.push(format!("default {value}"));
    }
    if field.required {
        notes.push("required".into());
    }
    if !field.semantic {
        notes.push("not in the fingerprint".into());
    }
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
    format!("{}: {}{notes}", field.name, field.doc)
}
