//! `fmflow check`: reports mistakes in a file.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::CommandContext;
use super::consent::Consent;
use super::online::{self, LockFileOutcome, NetworkArguments};
use super::pipeline_arguments::{PipelineArguments, build_data_error};
use crate::check::levels;
use crate::check::{CheckOptions, CheckResult};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::plan::refusals::{list_refusals, render_refusals};
use crate::text::diagnostic::{Code, Severity};
use crate::text::display::count_noun;
use crate::text::{render, suggest};

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    pub(super) source: PipelineArguments,
    /// Format of the findings
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
    #[command(flatten)]
    network: NetworkArguments,
    /// Do not report this warning; may be repeated
    #[arg(long, value_name = "CODE", value_parser = parse_warning_code)]
    allow: Vec<String>,
    /// Exit with 3 if `run` would refuse something
    #[arg(long)]
    runnable: bool,
    /// Treat this warning, or all `warnings`, as an error; may be repeated
    #[arg(long, value_name = "CODE", value_parser = parse_warning_or_all)]
    deny: Vec<String>,
}

/// Parses the code of a warning.
fn parse_warning_code(text: &str) -> std::result::Result<String, String> {
    parse_known_code(text, &Code::warnings().collect::<Vec<_>>())
}

/// Parses the code of a warning, or the word that means all of them.
fn parse_warning_or_all(text: &str) -> std::result::Result<String, String> {
    parse_known_code(text, &Code::warnings().chain([levels::ALL_WARNINGS]).collect::<Vec<_>>())
}

fn parse_known_code(text: &str, words: &[&str]) -> std::result::Result<String, String> {
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    let error = Code::ALL.iter().any(|code| code.name() == text);
    let why = if error { "it is always an error" } else { "there is no such warning" };
    let help = suggest::suggest_names(text, words.iter().copied()).expect("there are warnings");
    Err(format!("{why}; {help}"))
}

/// Format of the findings.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutputFormat {
    /// Excerpts of the source with the findings drawn in
    Human,
    /// One line per finding
    Concise,
    /// One JSON object
    Json,
    /// GitHub Actions annotations
    Github,
}

pub(super) fn run_check(arguments: &CheckArguments, context: &CommandContext<'_>) -> Result<()> {
    let (allow, deny) = (arguments.allow.clone(), arguments.deny.clone());
    let options = CheckOptions { allow, deny, ..CheckOptions::from_environment() };
    let NetworkArguments { online, update, .. } = arguments.network;
    if !online {
        return report_findings(&arguments.source.check_with(options), None, arguments, context);
    }
    let (checked, resolution) = arguments.source.check_online(options, online::require_hub(context)?, update);
    let locked = online::write_lock_file(&arguments.source.file, &checked, resolution)?;
    report_findings(&checked, Some(&locked), arguments, context)
}

/// Prints the findings, and what happened to the lock file. JSON and annotations are the result and go to stdout; drawings are
/// messages and go to stderr.
fn report_findings(
    checked: &CheckResult,
    locked: Option<&LockFileOutcome>,
    arguments: &CheckArguments,
    context: &CommandContext<'_>,
) -> Result<()> {
    let (output, format) = (context.output, arguments.format);
    let findings = &checked.diagnostics;
    let mut refused = checked
        .pipeline
        .as_ref()
        .map_or(Vec::new(), |pipeline| list_refusals(pipeline, pipeline.stages.iter()));
    let asked = checked.pipeline.as_ref().map(|pipeline| Consent::find(pipeline, pipeline.stages.iter()));
    let asked = asked.transpose()?.unwrap_or_default();
    refused.extend(asked.describe_refusal(&arguments.source.format_next_command("approve", "", context)));
    match format {
        OutputFormat::Human => output.drawings(findings),
        OutputFormat::Concise => output.result(&render::render_concise_lines(findings))?,
        OutputFormat::Github => output.result(&render::render_github_annotations(findings))?,
        OutputFormat::Json => output.json(&render_check_json(checked, &refused, &asked, locked))?,
    }
    let Some(pipeline) = checked.pipeline.as_ref().filter(|_| !checked.failed()) else {
        if matches!(format, OutputFormat::Human) {
            output.message(&format!("{}\n", format_tally(checked)));
        }
        return Err(if checked.pipeline.is_some() { build_data_error() } else { Error::Config });
    };
    if matches!(format, OutputFormat::Human) {
        let locked = locked.map(LockFileOutcome::text).unwrap_or_default();
        let verdict = format_verdict(pipeline, &refused, checked);
        output.result(&format!("{}{verdict}{locked}", asked.render()))?;
    }
    match refused.len() {
        count if count > 0 && arguments.runnable => {
            if !matches!(format, OutputFormat::Json) {
                output.message(&format!("`run` refuses this file:\n{}", render_refusals(&refused)));
            }
            Err(Error::NotRunnable(count))
        }
        _ => Ok(()),
    }
}

/// The last line of a check without errors.
fn format_verdict(pipeline: &Pipeline, refused: &[String], checked: &CheckResult) -> String {
    let name = &pipeline.name;
    let but = match refused.len() {
        0 => String::new(),
        count => format!(", but `run` refuses {}", count_noun(count, "thing")),
    };
    let stages = count_noun(pipeline.stages.len(), "stage");
    format!("pipeline `{name}` is valid{but}: {stages}, {}\n", format_tally(checked))
}

fn render_check_json(
    checked: &CheckResult,
    refused: &[String],
    asked: &Consent,
    locked: Option<&LockFileOutcome>,
) -> serde_json::Value {
    let mut answer = json!({
        "schema": "fmflow.check/1",
        "ok": !checked.failed(),
        "allowed": checked.allowed,
        "refused": refused,
        "commands": asked.to_json(),
        "diagnostics": render::render_diagnostics_json(&checked.diagnostics),
    });
    if let (Some(locked), Some(answer)) = (locked, answer.as_object_mut()) {
        answer.insert("lock".into(), locked.json());
    }
    answer
}

fn format_tally(checked: &CheckResult) -> String {
    let findings = &checked.diagnostics;
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let tally =
        format!("{}, {}", count_noun(errors, "error"), count_noun(findings.len() - errors, "warning"));
    match checked.allowed {
        0 => tally,
        allowed => format!("{tally}, {} allowed", count_noun(allowed, "warning")),
    }
}
