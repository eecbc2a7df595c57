//! Collects what a store knows of the stages of a pipeline, or of a run: states, results, metrics, settings.

use std::time::Duration;

use indexmap::{IndexMap, IndexSet};

use super::results::read_results;
use super::stage::{ReportStage, ReportedSetting, ReportedState};
use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::pipeline::fingerprint::{Fingerprint, Ingredient, IngredientKind, Ledger};
use crate::pipeline::stage::{FieldValue, Stage};
use crate::plan::{Plan, PlannedStage};
use crate::store::journal::{PastRun, RunRecord};
use crate::store::{Store, StoreListing};

/// What is reported.
#[derive(Debug)]
pub(crate) struct ReportSubject<'a> {
    /// The pipeline, as the file says it now.
    pub pipeline: &'a Pipeline,
    /// What the store has of it.
    pub plan: &'a Plan,
    /// The only stages that are reported, by name; `None`: all.
    pub about: Option<IndexSet<String>>,
    /// The run whose record is reported; `None`: the pipeline.
    pub record: Option<(u64, RunRecord)>,
    /// The last run of the pipeline, or the run that is reported.
    pub run: Option<PastRun>,
    /// Whether that run is in progress.
    pub running: bool,
    /// After which time a browser loads the page again; `None` if it stays as it is.
    pub reload: Option<Duration>,
    /// Seconds that stages took in all runs of the store, by fingerprint.
    pub seconds: IndexMap<String, f64>,
    /// What is said of the machine, as names and values.
    pub machine: Vec<(String, String)>,
    /// When the report is made (UTC).
    pub now: String,
}

/// Everything that a page says.
#[derive(Debug)]
pub(crate) struct ReportData<'a> {
    /// What is reported.
    pub subject: &'a ReportSubject<'a>,
    /// Its stages, in topological order.
    pub stages: Vec<ReportStage>,
    /// What could not be read, as sentences.
    pub notes: Vec<String>,
}

/// What identifies a stage of a report, before the store is asked.
struct StageIdentity<'a> {
    name: String,
    fingerprint: Fingerprint,
    ledger: &'a Ledger,
    /// The stage of the file, if the file still describes it.
    stage: Option<&'a Stage>,
}

/// Collects a report. What cannot be read is told in [`ReportData::notes`]; the rest is reported all the same.
///
/// # Errors
/// If the store cannot be listed.
pub(crate) fn collect_report<'a>(
    subject: &'a ReportSubject<'a>,
    store: Option<&Store>,
) -> Result<ReportData<'a>> {
    let listing = store.map(StoreListing::read).transpose()?.unwrap_or_default();
    let mut identities = identify_stages(subject);
    identities.retain(|found| subject.about.as_ref().is_none_or(|about| about.contains(&found.name)));
    let mut data = ReportData { subject, stages: Vec::new(), notes: Vec::new() };
    let changed: Vec<&str> =
        identities.iter().filter(|found| found.stage.is_none()).map(|found| found.name.as_str()).collect();
    if !changed.is_empty() {
        data.notes.push(format!(
            "the file has changed since this run: settings of {} are those that the run recorded",
            changed.join(", ")
        ));
    }
    for identity in &identities {
        let inputs = find_inputs(identity, &identities);
        let state = find_state(identity, subject, &listing);
        let mut stage = describe_stage(identity, subject, inputs, state);
        if let Some(store) = store {
            read_results(&mut stage, store, &mut data.notes);
        }
        data.stages.push(stage);
    }
    Ok(data)
}

fn identify_stages<'a>(subject: &'a ReportSubject<'a>) -> Vec<StageIdentity<'a>> {
    let Some((_, record)) = &subject.record else {
        let planned = subject.plan.stages.iter().zip(subject.pipeline.stages.iter());
        let identity = |(planned, stage): (&'a PlannedStage, &'a Stage)| StageIdentity {
            name: stage.name.clone(),
            fingerprint: planned.key.fingerprint.clone(),
            ledger: &planned.key.ledger,
            stage: Some(stage),
        };
        return planned.map(identity).collect();
    };
    let of_file = |name: &str, fingerprint: &Fingerprint| {
        let planned = subject.plan.stages.iter().find(|planned| planned.key.name == name)?;
        (planned.key.fingerprint == *fingerprint).then(|| subject.pipeline.stage_named(name))?
    };
    let identity = |(name, ledger): (&'a String, &'a Ledger)| {
        let fingerprint = ledger.fingerprint();
        let stage = of_file(name, &fingerprint);
        StageIdentity { name: name.clone(), fingerprint, ledger, stage }
    };
    record.stages.iter().map(identity).collect()
}

/// The stages that make the inputs, by their place; each once.
fn find_inputs(identity: &StageIdentity<'_>, all: &[StageIdentity<'_>]) -> Vec<usize> {
    let inputs = identity.ledger.0.iter().filter(|part| part.what == IngredientKind::Input);
    let place = |value: &str| all.iter().position(|other| other.fingerprint.0 == value);
    let mut found: Vec<usize> = inputs.filter_map(|part| place(&part.value)).collect();
    let mut seen = IndexSet::new();
    found.retain(|at| seen.insert(*at));
    found
}

fn find_state(
    identity: &StageIdentity<'_>,
    subject: &ReportSubject<'_>,
    listing: &StoreListing,
) -> ReportedState {
    let run = subject.run.as_ref();
    // What the run says is about this result only if it is the same result.
    let word = run.and_then(|run| {
        let own = run.begun.get(&identity.name).is_none_or(|begun| *begun == identity.fingerprint.0);
        run.stages.get(&identity.name).filter(|_| own)
    });
    let failure = run
        .and_then(|run| run.failures.get(&identity.name))
        .filter(|_| word.is_some_and(|word| word == "failed"));
    let artifact = listing.artifact(&identity.name, &identity.fingerprint);
    if let Some(Err(problem)) = artifact.map(|found| &found.manifest) {
        return ReportedState::Corrupt(format!("`{}`: {}", problem.file, problem.what));
    }
    if let Some(why) = failure {
        return ReportedState::Failed(why.clone());
    }
    match (artifact, listing.work(&identity.name, &identity.fingerprint)) {
        (Some(_), _) => ReportedState::Finished,
        _ if subject.running && word.is_some_and(|word| word == "begun") => ReportedState::Running,
        (None, Some(work)) => ReportedState::Unfinished(work.step),
        (None, None) => ReportedState::Missing,
    }
}

fn describe_stage(
    identity: &StageIdentity<'_>,
    subject: &ReportSubject<'_>,
    inputs: Vec<usize>,
    state: ReportedState,
) -> ReportStage {
    let kind = identity.ledger.0.iter().find(|part| part.what == IngredientKind::Kind);
    let training = match identity.stage.map(|stage| &stage.config) {
        Some(StageConfig::Train(config)) => Some((**config).clone()),
        _ => None,
    };
    ReportStage {
        name: identity.name.clone(),
        kind: kind.map(|part| part.value.clone()).unwrap_or_default(),
        fingerprint: identity.fingerprint.clone(),
        state,
        inputs,
        settings: match identity.stage {
            Some(stage) => list_settings(stage),
            None => list_recorded_settings(identity, subject),
        },
        training,
        summary: None,
        manifest: None,
        metrics: None,
        files: IndexMap::new(),
    }
}

fn list_settings(stage: &Stage) -> Vec<ReportedSetting> {
    let setting = |field: &FieldValue| ReportedSetting {
        path: field.path.clone(),
        value: field.value.to_string(),
        from: field.describe_origin(),
        counts: field.semantic,
    };
    stage.fields.iter().map(setting).collect()
}

/// The settings that a run recorded: only those that count, with their places then.
fn list_recorded_settings(identity: &StageIdentity<'_>, subject: &ReportSubject<'_>) -> Vec<ReportedSetting> {
    let places = subject.record.as_ref().and_then(|(_, record)| record.places.get(&identity.name));
    let fields = identity.ledger.0.iter().filter(|part| part.what == IngredientKind::Field);
    let setting = |part: &Ingredient| ReportedSetting {
        path: part.name.clone(),
        value: part.value.clone(),
        from: places.and_then(|places| places.get(&part.name)).cloned().unwrap_or_default(),
        counts: true,
    };
    fields.map(setting).collect()
}
