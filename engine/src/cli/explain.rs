//! `fmflow explain`: codes of findings, and the nodes and fields of the language.

use clap::Args;
use serde_json::json;

use super::Context;
use crate::error::{Error, Result};
use crate::language::explain;
use crate::language::reference::explain_json;
use crate::language::schema::schema;
use crate::text::display::render_table;
use crate::text::suggest;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A code such as `unknown-field`, a node such as `train`, or a field such as `train.batch`
    subject: Option<String>,
    /// List all codes
    #[arg(long)]
    list: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    match &arguments.subject {
        _ if arguments.list => list(arguments.json, context),
        Some(subject) => one(subject, arguments.json, context),
        None => {
            let nodes = suggest::list(schema().nodes.iter().map(|node| node.name.as_str()));
            let help =
                format!("a node: {nodes}; a field such as `train.batch`; or a code: `fmflow explain --list`");
            Err(Error::usage("explain what?", help))
        }
    }
}

fn one(subject: &str, json: bool, context: &Context<'_>) -> Result<()> {
    if json {
        let answer = explain_json(subject).ok_or_else(|| unknown(subject))?;
        return context.output.json(&answer);
    }
    let page = explain::explain(subject).ok_or_else(|| unknown(subject))?;
    context.output.result(&format!("{}\n", page.trim_end()))
}

fn list(json: bool, context: &Context<'_>) -> Result<()> {
    let codes = explain::codes().into_iter();
    if json {
        let codes = codes
            .map(|code| json!({ "code": code.code, "severity": code.severity.word(), "title": code.title }));
        let codes: Vec<_> = codes.collect();
        return context.output.json(&json!({ "schema": "fmflow.explain/1", "codes": codes }));
    }
    let rows = codes.map(|code| vec![code.code.into(), code.severity.word().into(), code.title.into()]);
    context.output.result(&render_table(&["code", "severity", "meaning"], rows.collect()))
}

fn unknown(subject: &str) -> Error {
    let outer =
        || subject.rsplit_once('.').map(|(outer, _)| outer).filter(|outer| explain::explain(outer).is_some());
    let help = match (explain::similar(subject), outer()) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, Some(outer)) => format!("see what is in it: `fmflow explain {outer}`"),
        (None, None) => "`fmflow explain --list` lists all codes".to_owned(),
    };
    Error::usage(format!("nothing is called `{subject}`"), help)
}
