//! The work of one stage, on a thread of its own: verifies its inputs, opens its slot, runs it, checks its artifact.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use indexmap::{IndexMap, IndexSet};

use crate::error::{Failure, FailureKind, Result};
use crate::hub::online::{find_storage_keys, find_token};
use crate::pipeline::config::StageConfig;
use crate::pipeline::field_path::command;
use crate::pipeline::fingerprint::Fingerprint;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::pipeline::window::{find_window_share, find_windowed_rows};
use crate::plan::select::find_needed;
use crate::plan::{PlanState, PlannedStage, source_digests};
use crate::run::branch::{find_branch_update, verify_branch_point};
use crate::run::command::run_command;
use crate::run::contradictions::refuse_contradictions;
use crate::run::execute::{Job, WindowSource};
use crate::run::extension::adopt_checkpoint;
use crate::run::last_words::StageAtWork;
use crate::run::made::resolve_made_sources;
use crate::run::makers::{has_been_made, lock_windows, stopped_before_start, wait_for_lock};
use crate::run::metrics_pipe::{MetricsPipe, PipedReport};
use crate::run::prompts::CountedTokenizers;
use crate::run::report_page::run_report;
use crate::run::required_scores::check_required_scores;
use crate::run::runner::{Runner, defect_failure, stage_error};
use crate::store::summary::{self, Summary};
use crate::store::trusted::verify_for_reading;
use crate::store::verify;
use crate::store::{Facts, Slot, Store};

/// What a run checks only once: artifacts that it has verified, and tokenizers by which it has counted.
#[derive(Debug, Default)]
pub(super) struct CheckedOnce {
    verified: Mutex<IndexSet<Fingerprint>>,
    counted: CountedTokenizers,
}

impl CheckedOnce {
    /// Verifies an artifact once per run. The lock is held meanwhile, so stages that need the same artifact wait for the result
    /// instead of reading it again.
    fn verify_once(&self, store: &Store, folder: &Path, fingerprint: &Fingerprint) -> Result<()> {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if !verified.contains(fingerprint) {
            verify_for_reading(store, folder)?;
            verified.insert(fingerprint.clone());
        }
        Ok(())
    }
}

/// Runs a stage on `cores` cores, unless another run has made its result by the time that it is this one's turn.
pub(super) fn work_on_stage(
    runner: &Runner<'_>,
    planned: &PlannedStage,
    checked: &CheckedOnce,
    cores: usize,
) -> Result<Summary> {
    let own = runner.stage(planned);
    if runner.interrupt.load(Ordering::Relaxed) {
        return Err(stage_error(own, stopped_before_start()));
    }
    let (name, fingerprint) = (&planned.key.name, &planned.key.fingerprint);
    let _maker =
        wait_for_lock(runner, own, || runner.store.lock_stage(runner.expect_lock(), name, fingerprint))?;
    if has_been_made(runner, planned) {
        runner.events.note(&format!("{name}: another run has made it meanwhile"));
        return read_finished_summary(runner, planned);
    }
    make_result(runner, planned, checked, cores)
}

/// From the verification of the inputs of a stage to its published artifact.
fn make_result(
    runner: &Runner<'_>,
    planned: &PlannedStage,
    checked: &CheckedOnce,
    cores: usize,
) -> Result<Summary> {
    let own = runner.stage(planned);
    let inputs = verify_inputs(runner, own, checked)?;
    let resolved = resolve_sources(runner, own, &inputs)?;
    let stage = &*resolved;
    let windowed = find_windowed(runner, stage, checked)?;
    let _windows = lock_windows(runner, stage)?;
    let windows = windowed.iter().map(|(role, rows)| (role.clone(), rows.source())).collect();
    let windows: IndexMap<InputRole, WindowSource<'_>> = windows;
    refuse_contradictions(runner, stage, &inputs)?;
    if matches!(stage.config, StageConfig::Train(_)) {
        checked.counted.refuse_long_prompts(runner)?;
    }
    if planned.state == PlanState::Again {
        discard_results(runner, planned)?;
    }
    let readers: Vec<&Stage> = windows.values().map(|window| window.stage).chain([stage]).collect();
    let slot = open_watched_slot(runner, planned, &readers)?;
    adopt_checkpoint(runner, planned, &slot)?;
    let asked = runner.pipeline.watchers.pipe.as_ref();
    let pipe = asked.map(|command| MetricsPipe::new(runner, command, &stage.name));
    let slot = slot.listened(pipe.as_ref().map(MetricsPipe::listener));
    let inner = runner.events.begin(&stage.name, &planned.state);
    let report = PipedReport { inner: &*inner, pipe: pipe.as_ref() };
    slot.notes().iter().for_each(|note| inner.note(note));
    let token = find_token(&runner.pipeline.secrets);
    let storage = find_storage_keys(&runner.pipeline.secrets);
    let job = Job {
        stage,
        seed: runner.pipeline.seed,
        inputs: &inputs,
        windows: &windows,
        slot: &slot,
        report: &report,
        interrupt: runner.interrupt,
        device: runner.options.device.as_str(),
        cores,
        peak_seconds: runner.count_peak_seconds(planned),
        unsafe_no_sandbox: runner.options.unsafe_no_sandbox,
        token: token.as_ref(),
        storage: storage.as_ref(),
    };
    let at_work = StageAtWork::begin(&stage.name);
    let worked = execute_job(runner, &job);
    drop(at_work);
    let interrupted = runner.interrupt.load(Ordering::Relaxed);
    pipe.into_iter().for_each(|pipe| pipe.finish(&*inner, interrupted));
    let summary = worked.map_err(|failure| stage_error(stage, failure))?;
    refuse_unpublished(runner, planned)?;
    refuse_missed_scores(stage, summary)
}

/// The slot of a stage, which watches the sources of these stages; none of them has changed since the plan was made.
fn open_watched_slot(runner: &Runner<'_>, planned: &PlannedStage, readers: &[&Stage]) -> Result<Slot> {
    let sources = readers.iter().flat_map(|stage| &stage.sources).flat_map(|source| &source.files);
    let facts = describe_arithmetic(runner, runner.stage(planned));
    let slot = runner.store.open_slot(runner.expect_lock(), planned.key.clone(), facts)?.watch(sources)?;
    for read in readers {
        // What commands made is in no digest, but in their fingerprints.
        let read = runner.pipeline.stage(read.id);
        source_digests::refuse_changed_sources(read, runner.digests.get(read.id), runner.store)?;
    }
    Ok(slot)
}

/// The summary, if the stage reaches the scores that it requires.
fn refuse_missed_scores(stage: &Stage, summary: Summary) -> Result<Summary> {
    // The engine that asks and the stage that measured are one program: what is missing was forgotten there.
    let unmet = check_required_scores(stage, &summary)
        .unwrap_or_else(|missing| Some(defect_failure(&format!("its summary is incomplete: {missing}"))));
    unmet.map_or(Ok(summary), |failure| Err(stage_error(stage, failure)))
}

/// What decides the last bits of a stage's result beside its fingerprint; nothing for one that multiplies no matrices.
fn describe_arithmetic(runner: &Runner<'_>, stage: &Stage) -> Facts {
    let multiplies = matches!(
        stage.config,
        StageConfig::Convert(_)
            | StageConfig::Train(_)
            | StageConfig::Evaluate(_)
            | StageConfig::Frontier(_)
            | StageConfig::Generate(_)
    );
    let found = runner.execute.filter(|_| multiplies);
    found
        .map(|execute| execute.describe_arithmetic(&runner.options.device, &stage.config))
        .unwrap_or_default()
}

fn execute_job(runner: &Runner<'_>, job: &Job<'_>) -> std::result::Result<Summary, Failure> {
    if let StageConfig::Command(config) = &job.stage.config {
        if let Some(why) = runner.refuse_command(job.stage.place(command::RUN)) {
            let help = Some("read it again, and approve it: `fmflow approve FILE`".into());
            let message = format!("its command {why}");
            return Err(Failure { kind: FailureKind::Input, message, help });
        }
        return run_command(job, config);
    }
    if job.stage.config == StageConfig::Report {
        return run_report(runner, job);
    }
    let execute = runner.execute.ok_or_else(|| defect_failure("there is no execution backend"))?;
    execute.run(job)
}

/// A stage that reports success must have published its artifact; only sizes are checked, since it was hashed as written.
fn refuse_unpublished(runner: &Runner<'_>, planned: &PlannedStage) -> Result<()> {
    let folder = runner.artifact(planned);
    let (manifest, problems) =
        verify::inspect_folder(runner.store.vfs(), &folder, verify::VerifyDepth::Sizes)?;
    if manifest.is_some() && problems.is_empty() {
        return Ok(());
    }
    let failure = defect_failure("it reported success without publishing an artifact");
    Err(stage_error(runner.stage(planned), failure))
}

/// The summary of a finished stage, if it reaches the scores that the stage requires: a changed limit has to count for a cached
/// evaluation too.
pub(super) fn read_finished_summary(runner: &Runner<'_>, planned: &PlannedStage) -> Result<Summary> {
    // An unreadable summary is an error: without it nobody knows whether the scores are reached.
    let (stage, folder) = (runner.stage(planned), runner.artifact(planned));
    let summary = summary::read_summary(runner.store.vfs(), &folder)?;
    let unmet = check_required_scores(stage, &summary)
        .map_err(|missing| summary::corrupt_summary(&folder, missing.to_string()))?;
    unmet.map_or(Ok(summary), |failure| Err(stage_error(stage, failure)))
}

/// Discards the results of a stage that `--from` runs again. This happens when its turn comes, not before: a run that stops
/// earlier keeps them.
fn discard_results(runner: &Runner<'_>, planned: &PlannedStage) -> Result<()> {
    let (name, fingerprint) = (&planned.key.name, &planned.key.fingerprint);
    let store = runner.store;
    // From a permanent checkpoint the stage would continue instead of running from the start.
    let (artifact, work) = (store.artifact(name, fingerprint), store.work(name, fingerprint));
    for folder in [artifact, work, store.permanent(name, fingerprint), store.window(name, fingerprint)] {
        if runner.store.vfs().stat(&folder).is_ok() {
            runner.store.discard(runner.expect_lock(), &folder)?;
        }
    }
    Ok(())
}

/// Verified folders of a stage's inputs, by role.
fn verify_inputs(
    runner: &Runner<'_>,
    stage: &Stage,
    checked: &CheckedOnce,
) -> Result<IndexMap<InputRole, PathBuf>> {
    let mut inputs = IndexMap::new();
    for input in &stage.inputs {
        let planned = runner.plan.planned(input.stage);
        let permanent = match input.role {
            InputRole::From => find_branch_update(stage),
            InputRole::Permanent(update) => Some(update),
            _ => None,
        };
        if let Some(at) = permanent {
            inputs.insert(input.role.clone(), verify_branch_point(runner, stage, planned, at)?);
            continue;
        }
        let folder = runner.artifact(planned);
        checked.verify_once(runner.store, &folder, &planned.key.fingerprint)?;
        inputs.insert(input.role.clone(), folder);
    }
    if stage.config == StageConfig::Report {
        // A page shows what is behind its inputs, too.
        for behind in find_needed(runner.pipeline, stage.id) {
            let planned = runner.plan.planned(behind);
            checked.verify_once(runner.store, &runner.artifact(planned), &planned.key.fingerprint)?;
        }
    }
    Ok(inputs)
}

/// The stage with the files that commands made for it.
fn resolve_sources<'a>(
    runner: &Runner<'_>,
    stage: &'a Stage,
    inputs: &IndexMap<InputRole, PathBuf>,
) -> Result<Cow<'a, Stage>> {
    resolve_made_sources(runner.store.vfs(), stage, inputs).map_err(|failure| stage_error(stage, failure))
}

/// Rows that are made while a training reads them.
struct WindowedRows<'a> {
    stage: Cow<'a, Stage>,
    inputs: IndexMap<InputRole, PathBuf>,
    disk: u64,
}

impl WindowedRows<'_> {
    fn source(&self) -> WindowSource<'_> {
        WindowSource { stage: &self.stage, inputs: self.inputs.clone(), disk: self.disk }
    }
}

/// What a training stage needs to make the rows of its windows.
fn find_windowed<'a>(
    runner: &'a Runner<'_>,
    stage: &Stage,
    checked: &CheckedOnce,
) -> Result<Vec<(InputRole, WindowedRows<'a>)>> {
    let mut windowed = Vec::new();
    for (role, rows) in find_windowed_rows(runner.pipeline, stage) {
        let inputs = verify_inputs(runner, rows, checked)?;
        let stage = resolve_sources(runner, rows, &inputs)?;
        let disk = find_window_share(runner.pipeline, rows).expect("rows with a window have a part of it");
        windowed.push((role.clone(), WindowedRows { stage, inputs, disk }));
    }
    Ok(windowed)
}
