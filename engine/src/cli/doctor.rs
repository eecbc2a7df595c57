//! `fmflow doctor`: reports what this build, this machine and the store offer, and what would stop a run.

mod grading;
mod machine;
mod store_location;

use std::path::PathBuf;

use clap::Args;
use indexmap::IndexSet;
use serde_json::{Value, json};

use super::consent::Consent;
use super::pipeline_arguments::{PipelineArguments, SettingArguments, classify_errors};
use super::{CommandContext, plan};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::run::execute::Execute;
use crate::text::diagnostic::Diagnostic;
use crate::text::display::{count_noun, format_bytes, render_table};
use crate::text::escape::show_path;
use crate::text::render;

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// A pipeline to run here: also check its secrets, sources and disk space
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingArguments,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// One line of the report.
#[derive(Clone, Debug)]
struct DoctorFinding {
    topic: &'static str,
    name: String,
    value: String,
    state: FindingState,
}

/// What a finding means for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FindingState {
    /// No problem.
    Fine,
    /// Worth knowing.
    Note,
    /// A run would end with this exit code.
    Stops(u8),
}

impl FindingState {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Stops(_) => "stops",
        }
    }
}

/// The lines of the report; `topic` is the heading that the next ones get.
#[derive(Debug, Default)]
struct DoctorFindings {
    topic: &'static str,
    list: Vec<DoctorFinding>,
}

impl DoctorFindings {
    fn add(&mut self, name: impl Into<String>, value: impl Into<String>, state: FindingState) {
        let (name, value) = (name.into(), value.into());
        self.list.push(DoctorFinding { topic: self.topic, name, value, state });
    }

    fn add_fine(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.add(name, value, FindingState::Fine);
    }

    fn add_note(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.add(name, value, FindingState::Note);
    }

    fn add_obstacle(&mut self, name: impl Into<String>, value: impl Into<String>, exit: u8) {
        self.add(name, value, FindingState::Stops(exit));
    }
}

/// What this machine has for a pipeline.
struct MachineLimits {
    /// Bytes that are free where the store is, if that is known.
    free: Option<u64>,
    /// Why no program can be graded, if none can.
    grading: std::result::Result<(), String>,
}

pub(super) fn run_doctor(arguments: &DoctorArguments, context: &CommandContext<'_>) -> Result<()> {
    let mut findings = DoctorFindings { topic: "program", list: vec![] };
    inspect_program(&mut findings, context.execute);
    findings.topic = "machine";
    machine::inspect_machine(&mut findings);
    let grading = grading::inspect_grading(&mut findings);
    findings.topic = "store";
    let free = store_location::inspect_store_location(&mut findings, context);
    let errors = arguments.file.as_ref().map_or(Vec::new(), |file| {
        findings.topic = "pipeline";
        let source = PipelineArguments { file: file.clone(), settings: arguments.settings.clone() };
        inspect_pipeline(&mut findings, &source, &MachineLimits { free, grading }, context)
    });
    let findings = findings.list;
    let obstacle = findings.iter().find_map(|finding| match finding.state {
        FindingState::Stops(exit) => Some((exit, format!("{}: {}", finding.name, finding.value))),
        _ => None,
    });
    if arguments.json {
        let exit = obstacle.as_ref().map_or(0, |(exit, _)| *exit);
        let findings: Vec<_> = findings.iter().map(render_finding_json).collect();
        let diagnostics = render::render_diagnostics_json(&errors);
        context.output.json(&json!({
            "schema": "fmflow.doctor/1", "exit": exit, "findings": findings, "diagnostics": diagnostics,
        }))?;
    } else {
        context.output.result(&render_doctor_table(&findings))?;
    }
    obstacle.map_or(Ok(()), |(exit, what)| Err(Error::Unfit { what, exit }))
}

/// Reports the version and the devices of this build.
fn inspect_program(findings: &mut DoctorFindings, execute: Option<&dyn Execute>) {
    findings.add_fine("version", crate::store::layout::TOOL_VERSION);
    let Some(execute) = execute else {
        findings.add_obstacle(
            "backend",
            "none: this build only checks and plans; rebuild with `--features cpu`",
            2,
        );
        return;
    };
    for (device, needed) in [("cpu", true), ("cuda:0", false)] {
        match (execute.check_device(device), needed) {
            (Ok(()), _) => findings.add_fine(device, "available"),
            (Err(why), true) => findings.add_obstacle(device, why, 2),
            (Err(why), false) => findings.add_note(device, why),
        }
    }
}

/// Reports whether a pipeline can run here. Returns its errors instead of failing, so that the report on machine and store is
/// still printed.
fn inspect_pipeline(
    findings: &mut DoctorFindings,
    source: &PipelineArguments,
    limits: &MachineLimits,
    context: &CommandContext<'_>,
) -> Vec<Diagnostic> {
    let file = show_path(&source.file);
    let (errors, pipeline) = source.read(context);
    let refused = classify_errors(&errors, pipeline.is_some());
    if let Some(error) = &refused
        && pipeline.is_some()
    {
        findings.add_obstacle(file.clone(), error.to_string(), error.exit_code());
    }
    let Some(pipeline) = pipeline else {
        let what = format!(
            "{}: see `{}`",
            count_noun(errors.len(), "error"),
            source.format_next_command("check", "", context)
        );
        findings.add_obstacle(file, what, refused.as_ref().map_or(2, Error::exit_code));
        return errors;
    };
    inspect_pipeline_needs(findings, file, &pipeline, limits.free, context);
    if let Err(missing) = &limits.grading {
        grading::inspect_benchmarks(findings, &pipeline, missing);
    }
    inspect_consent(findings, &pipeline, &source.format_next_command("approve", "", context));
    errors
}

/// Reports whether a valid pipeline can run here: secrets, features, sources, disk space.
fn inspect_pipeline_needs(
    findings: &mut DoctorFindings,
    file: String,
    pipeline: &Pipeline,
    free: Option<u64>,
    context: &CommandContext<'_>,
) {
    findings.add_fine(file, count_noun(pipeline.stages.len(), "stage"));
    for name in &pipeline.secrets {
        match pipeline.absent_secrets.contains(name) {
            false => findings.add_fine(format!("secret {name}"), "set"),
            true => findings.add_obstacle(format!("secret {name}"), "not set: `export` it before `run`", 2),
        }
    }
    let reasons: IndexSet<_> = pipeline.stages.iter().flat_map(|stage| &stage.unsupported).collect();
    reasons.into_iter().for_each(|reason| findings.add_obstacle("feature", reason, 2));
    match context.open_store().and_then(|store| plan::make_plan(pipeline, store.as_ref())) {
        Err(error) => findings.add_obstacle("sources", error.to_string(), error.exit_code()),
        Ok((_, plan)) => {
            findings.add_fine(
                "to do",
                format!("{} of {}", plan.count_stages_to_run(), count_noun(plan.stages.len(), "stage")),
            );
            let need = plan.likely_bytes();
            let short = free.is_some_and(|free| need > free);
            let state = if short { FindingState::Stops(6) } else { FindingState::Fine };
            findings.add("space needed", format!("about {}", format_bytes(need)), state);
        }
    }
}

/// Reports whether the commands of a pipeline are approved.
fn inspect_consent(findings: &mut DoctorFindings, pipeline: &Pipeline, approve: &str) {
    match Consent::find(pipeline, pipeline.stages.iter()) {
        Err(error) => findings.add_obstacle("commands", error.to_string(), error.exit_code()),
        Ok(consent) => match consent.describe_refusal(approve) {
            Some(refusal) => findings.add_obstacle("commands", refusal, 2),
            None if consent.commands.is_empty() => {}
            None => findings.add_fine("commands", "approved"),
        },
    }
}

fn render_doctor_table(findings: &[DoctorFinding]) -> String {
    let mut last = "";
    let rows = findings.iter().map(|finding| {
        let DoctorFinding { topic, name, value, state } = finding;
        let shown = if *topic == last { "" } else { topic };
        last = topic;
        vec![shown.to_owned(), name.clone(), state.word().to_owned(), value.clone()]
    });
    render_table(&["", "", "", ""], rows.collect()).trim_start_matches('\n').to_owned()
}

fn render_finding_json(finding: &DoctorFinding) -> Value {
    let DoctorFinding { topic, name, value, state } = finding;
    json!({ "topic": topic, "name": name, "value": value, "state": state.word() })
}
