//! `fmflow check`: mistakes in a file.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::Context;
use super::online::{self, Locked, Network};
use super::source::Source;
use crate::check::levels;
use crate::check::{Checked, Options};
use crate::error::{Error, Result};
use crate::text::diagnostic::{Code, Severity};
use crate::text::{render, suggest};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// How findings are written
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    #[command(flatten)]
    network: Network,
    /// Do not tell this warning; may be repeated
    #[arg(long, value_name = "CODE", value_parser = warning)]
    allow: Vec<String>,
    /// Take this warning for an error, or all `warnings`; may be repeated
    #[arg(long, value_name = "CODE", value_parser = warning_or_all)]
    deny: Vec<String>,
}

/// The code of a warning.
fn warning(text: &str) -> std::result::Result<String, String> {
    known(text, &Code::warnings().collect::<Vec<_>>())
}

/// The code of a warning, or the word for all.
fn warning_or_all(text: &str) -> std::result::Result<String, String> {
    known(text, &Code::warnings().chain([levels::ALL]).collect::<Vec<_>>())
}

fn known(text: &str, words: &[&str]) -> std::result::Result<String, String> {
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    let error = Code::ALL.iter().any(|code| code.name() == text);
    let why = if error { "it is always an error" } else { "there is no such warning" };
    let help = suggest::help(text, words.iter().copied()).unwrap_or_default();
    Err(format!("{why}; {help}"))
}

/// How findings are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Drawings with the source
    Human,
    /// One line each
    Concise,
    /// One object
    Json,
    /// Annotations of GitHub Actions
    Github,
}

/// Answers `check`.
pub(super) fn check(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let (allow, deny) = (arguments.allow.clone(), arguments.deny.clone());
    let options = Options { allow, deny, ..Options::from_environment() };
    let Network { online, update, .. } = arguments.network;
    if !online {
        return tell(&arguments.source.check_with(options), None, arguments.format, context);
    }
    let (checked, resolution) = arguments.source.check_online(options, online::hub(context)?, update);
    let locked = online::write(&arguments.source.file, &checked, resolution)?;
    tell(&checked, Some(&locked), arguments.format, context)
}

/// Writes what was found, and what became of the lock file.
fn tell(checked: &Checked, locked: Option<&Locked>, format: Format, context: &Context<'_>) -> Result<()> {
    let output = context.output;
    let findings = &checked.diagnostics;
    match format {
        Format::Human => output.message(&render::graphical(findings, output.style())),
        Format::Concise => output.result(&render::concise(findings))?,
        Format::Github => output.result(&render::github(findings))?,
        Format::Json => output.json(&answer(checked, locked))?,
    }
    let Some(pipeline) = &checked.pipeline else {
        if matches!(format, Format::Human) {
            output.message(&format!("{}\n", tally(checked)));
        }
        return Err(Error::Config);
    };
    if matches!(format, Format::Human) {
        let (name, stages) = (&pipeline.name, pipeline.stages.len());
        let locked = locked.map(Locked::text).unwrap_or_default();
        let fine =
            format!("pipeline `{name}` is fine: {}, {}\n{locked}", plural(stages, "stage"), tally(checked));
        output.result(&fine)?;
    }
    Ok(())
}

fn answer(checked: &Checked, locked: Option<&Locked>) -> serde_json::Value {
    let mut answer = json!({
        "schema": "fmflow.check/1",
        "ok": checked.pipeline.is_some(),
        "allowed": checked.allowed,
        "diagnostics": render::json(&checked.diagnostics),
    });
    if let (Some(locked), Some(answer)) = (locked, answer.as_object_mut()) {
        answer.insert("lock".into(), locked.json());
    }
    answer
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn tally(checked: &Checked) -> String {
    let findings = &checked.diagnostics;
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let told = format!("{}, {}", plural(errors, "error"), plural(findings.len() - errors, "warning"));
    match checked.allowed {
        0 => told,
        allowed => format!("{told}, {} allowed", plural(allowed, "warning")),
    }
}
