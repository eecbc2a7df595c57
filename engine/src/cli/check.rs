//! `fmflow check`: mistakes in a file.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::Context;
use super::source::Source;
use crate::diagnostic::{Diagnostic, Severity};
use crate::error::{Error, Result};
use crate::render;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// How findings are written
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Ask no network
    #[arg(long)]
    offline: bool,
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

/// Answers `check`. No check asks the network yet, so `--offline` changes nothing.
pub(super) fn check(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let _ = arguments.offline;
    let checked = arguments.source.check();
    let output = context.output;
    let findings = &checked.diagnostics;
    match arguments.format {
        Format::Human => output.message(&render::graphical(findings, output.style())),
        Format::Concise => output.result(&render::concise(findings))?,
        Format::Github => output.result(&github(findings))?,
        Format::Json => output.json(&json!({
            "schema": "fmflow.check/1",
            "ok": checked.pipeline.is_some(),
            "diagnostics": render::json(findings),
        }))?,
    }
    let Some(pipeline) = &checked.pipeline else {
        if matches!(arguments.format, Format::Human) {
            output.message(&format!("{}\n", tally(findings)));
        }
        return Err(Error::Config);
    };
    if matches!(arguments.format, Format::Human) {
        let (name, stages) = (&pipeline.name, pipeline.stages.len());
        output.result(&format!("pipeline `{name}` is fine: {stages} stages, {}\n", tally(findings)))?;
    }
    Ok(())
}

fn tally(findings: &[Diagnostic]) -> String {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!("{}, {}", plural(errors, "error"), plural(findings.len() - errors, "warning"))
}

fn github(findings: &[Diagnostic]) -> String {
    let line = |finding: &Diagnostic| {
        let place = finding.place().map(|span| {
            let (line, column) = render::position(span);
            format!(" file={},line={line},col={column},", span.file.name)
        });
        let place = place.unwrap_or_else(|| " ".into());
        let message = finding.message.replace('%', "%25").replace('\n', "%0A");
        format!("::{}{place}title={}::{message}\n", finding.severity.word(), finding.code.name())
    };
    findings.iter().map(line).collect()
}
