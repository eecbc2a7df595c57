//! `fmflow doctor`: what this program, this machine and the store offer, and what would stop a run.

mod machine;
mod place;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::source::{Settings, Source};
use super::{Context, plan};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::run::execute::Execute;
use crate::text::diagnostic::Diagnostic;
use crate::text::display::{format_bytes, render_table};
use crate::text::render;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A pipeline that is to run here: its secrets, sources and space are looked at too
    file: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
struct Finding {
    topic: &'static str,
    name: String,
    value: String,
    state: State,
}

/// What a finding means for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// All is well.
    Fine,
    /// Worth knowing.
    Note,
    /// A run would end with this exit code.
    Stops(u8),
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Stops(_) => "stops",
        }
    }
}

/// Everything that was looked at, under the topic it belongs to.
#[derive(Debug, Default)]
struct Findings {
    topic: &'static str,
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, name: impl Into<String>, value: impl Into<String>, state: State) {
        let (name, value) = (name.into(), value.into());
        self.list.push(Finding { topic: self.topic, name, value, state });
    }

    fn fine(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.add(name, value, State::Fine);
    }

    fn note(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.add(name, value, State::Note);
    }

    fn stops(&mut self, name: impl Into<String>, value: impl Into<String>, exit: u8) {
        self.add(name, value, State::Stops(exit));
    }
}

pub(super) fn doctor(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let mut findings = Findings { topic: "program", list: vec![] };
    program(&mut findings, context.execute);
    findings.topic = "machine";
    machine::look(&mut findings);
    findings.topic = "store";
    let free = place::look(&mut findings, context);
    let errors = arguments.file.as_ref().map_or(Vec::new(), |file| {
        findings.topic = "pipeline";
        let source = Source { file: file.clone(), settings: arguments.settings.clone() };
        pipeline(&mut findings, &source, free, context)
    });
    let findings = findings.list;
    let obstacle = findings.iter().find_map(|finding| match finding.state {
        State::Stops(exit) => Some((exit, format!("{}: {}", finding.name, finding.value))),
        _ => None,
    });
    if arguments.json {
        let exit = obstacle.as_ref().map_or(0, |(exit, _)| *exit);
        let findings: Vec<_> = findings.iter().map(json_of).collect();
        let diagnostics = render::json(&errors);
        context.output.json(&json!({
            "schema": "fmflow.doctor/1", "exit": exit, "findings": findings, "diagnostics": diagnostics,
        }))?;
    } else {
        context.output.result(&text_of(&findings))?;
    }
    obstacle.map_or(Ok(()), |(exit, what)| Err(Error::Unfit { what, exit }))
}

/// What was built.
fn program(findings: &mut Findings, execute: Option<&dyn Execute>) {
    findings.fine("version", crate::store::layout::TOOL);
    let Some(execute) = execute else {
        findings.stops("backend", "none: this build checks and plans; rebuild with `--features cpu`", 2);
        return;
    };
    for (device, needed) in [("cpu", true), ("cuda:0", false)] {
        match (execute.device(device), needed) {
            (Ok(()), _) => findings.fine(device, "there"),
            (Err(why), true) => findings.stops(device, why, 2),
            (Err(why), false) => findings.note(device, why),
        }
    }
}

/// What a pipeline needs here; gives its errors, which take nothing from what was found of machine and store.
fn pipeline(
    findings: &mut Findings,
    source: &Source,
    free: Option<u64>,
    context: &Context<'_>,
) -> Vec<Diagnostic> {
    let file = source.file.display().to_string();
    let (errors, pipeline) = source.read(context);
    let Some(pipeline) = pipeline else {
        let plural = if errors.len() == 1 { "" } else { "s" };
        let what = format!("{} error{plural}: see `{}`", errors.len(), source.next("check", "", context));
        findings.stops(file, what, 2);
        return errors;
    };
    needs(findings, file, &pipeline, free, context);
    errors
}

/// What a pipeline without errors needs here.
fn needs(
    findings: &mut Findings,
    file: String,
    pipeline: &Pipeline,
    free: Option<u64>,
    context: &Context<'_>,
) {
    findings.fine(file, format!("{} stages", pipeline.stages.len()));
    for name in &pipeline.secrets {
        match std::env::var_os(name) {
            Some(_) => findings.fine(format!("secret {name}"), "present"),
            None => findings.stops(format!("secret {name}"), "absent: `export` it before `run`", 2),
        }
    }
    let mut reasons: Vec<_> = pipeline.stages.iter().flat_map(|stage| &stage.unsupported).collect();
    reasons.dedup();
    reasons.into_iter().for_each(|reason| findings.stops("feature", reason, 2));
    match context.open().and_then(|store| plan::make(pipeline, store.as_ref())) {
        Err(error) => findings.stops("sources", error.to_string(), error.exit_code()),
        Ok((_, plan)) => {
            findings.fine("to do", format!("{} of {} stages", plan.work(), plan.stages.len()));
            let need = plan.disk();
            let short = free.is_some_and(|free| need > free);
            let state = if short { State::Stops(6) } else { State::Fine };
            findings.add("space needed", format!("about {}", format_bytes(need)), state);
        }
    }
}

fn text_of(findings: &[Finding]) -> String {
    let mut last = "";
    let rows = findings.iter().map(|finding| {
        let Finding { topic, name, value, state } = finding;
        let shown = if *topic == last { "" } else { topic };
        last = topic;
        vec![shown.to_owned(), name.clone(), state.word().to_owned(), value.clone()]
    });
    render_table(&["", "", "", ""], rows.collect()).trim_start_matches('\n').to_owned()
}

fn json_of(finding: &Finding) -> Value {
    let Finding { topic, name, value, state } = finding;
    json!({ "topic": topic, "name": name, "value": value, "state": state.word() })
}
