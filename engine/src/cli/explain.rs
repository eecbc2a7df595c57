//! `fmflow explain`: pages on diagnostic codes, and on the nodes and fields of the language.

use clap::Args;
use serde_json::json;

use super::CommandContext;
use crate::error::{Error, Result};
use crate::language::explain;
use crate::language::reference::render_explanation_json;
use crate::language::schema::load_schema;
use crate::text::display::render_table;
use crate::text::suggest;

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// A code such as `unknown-field`, a node such as `train`, or a field such as `train.batch`
    subject: Option<String>,
    /// List all codes
    #[arg(long)]
    list: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run_explain(arguments: &ExplainArguments, context: &CommandContext<'_>) -> Result<()> {
    match &arguments.subject {
        _ if arguments.list => list_codes(arguments.json, context),
        Some(subject) => explain_subject(subject, arguments.json, context),
        None => {
            let nodes = suggest::format_name_list(load_schema().nodes.iter().map(|node| node.name.as_str()));
            let help =
                format!("a node: {nodes}; a field such as `train.batch`; or a code: `fmflow explain --list`");
            Err(Error::usage("name what to explain", help))
        }
    }
}

fn explain_subject(subject: &str, json: bool, context: &CommandContext<'_>) -> Result<()> {
    if json {
        let answer = render_explanation_json(subject).ok_or_else(|| unknown_subject(subject))?;
        return context.output.json(&answer);
    }
    let page = explain::explain_topic(subject).ok_or_else(|| unknown_subject(subject))?;
    context.output.result(&format!("{}\n", page.trim_end()))
}

fn list_codes(json: bool, context: &CommandContext<'_>) -> Result<()> {
    let codes = explain::collect_code_infos().into_iter();
    if json {
        let codes = codes
            .map(|code| json!({ "code": code.code, "severity": code.severity.word(), "title": code.title }));
        let codes: Vec<_> = codes.collect();
        return context.output.json(&json!({ "schema": "fmflow.explain/1", "codes": codes }));
    }
    let rows = codes.map(|code| vec![code.code.into(), code.severity.word().into(), code.title.into()]);
    context.output.result(&render_table(&["code", "severity", "meaning"], rows.collect()))
}

fn unknown_subject(subject: &str) -> Error {
    let outer = || {
        subject
            .rsplit_once('.')
            .map(|(outer, _)| outer)
            .filter(|outer| explain::explain_topic(outer).is_some())
    };
    let help = match (explain::suggest_subject(subject), outer()) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, Some(outer)) => format!("`fmflow explain {outer}` shows what it contains"),
        (None, None) => "`fmflow explain --list` lists all codes".to_owned(),
    };
    Error::usage(format!("there is no node, field, word or code called `{subject}`"), help)
}
