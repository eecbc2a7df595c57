//! A plan: the state of every stage, its cost, and the reason why it is not cached.

use indexmap::{IndexMap, IndexSet};

use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::pipeline::cost::{self, StageCost};
use crate::pipeline::fingerprint::Ledger;
use crate::pipeline::shape::saturating_sum;
use crate::pipeline::stage::{Stage, StageId};
use crate::plan::extension::{self, Extension};
use crate::plan::reasons::explain_changes;
use crate::plan::source_digests::SourceDigests;
use crate::plan::unused::UnusedWork;
use crate::store::verify::IntegrityError;
use crate::store::{StageKey, StoreListing};

/// What a run would do with each stage of a pipeline.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One entry per stage, in the pipeline's order.
    pub stages: Vec<PlannedStage>,
    /// The stages that the user selected; all of them until [`Plan::select`] narrows the plan.
    pub(super) wanted: IndexSet<StageId>,
}

/// What a run would do with one stage.
#[derive(Clone, Debug)]
pub struct PlannedStage {
    /// Index of the stage in the pipeline.
    pub id: StageId,
    /// Identity of the result, and the ledger that it is computed from.
    pub key: StageKey,
    /// What the store already has of it.
    pub state: PlanState,
    /// Why it is not cached, one sentence each; empty when it is.
    pub reasons: Vec<String>,
    /// What the whole stage would cost from scratch, even when it would resume.
    pub cost: StageCost,
    /// Bytes of its checkpoints that are already on disk.
    pub held_bytes: u64,
    /// Whether it starts from a permanent checkpoint that is there already, so that it need not wait for its parent.
    pub branch_point_exists: bool,
    /// What the store has of the same training with another schedule, such as other `steps`, if it has nothing of this one.
    pub extension: Option<Extension>,
    /// Work of an earlier training that a run would not use, if somebody looked for it.
    pub unused: Option<UnusedWork>,
}

/// What the store has of a stage, and so what a run would do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanState {
    /// The artifact exists: nothing to do.
    Cached,
    /// Unfinished: continues from its last checkpoint.
    Resume {
        /// Updates done at that checkpoint; of an evaluation, answers.
        step: u64,
        /// What is counted: `update` or `answer`.
        unit: &'static str,
    },
    /// Runs from scratch.
    Run,
    /// Runs from scratch although a result may exist, because of `--from`.
    Again,
    /// The artifact exists but does not match its manifest.
    Corrupt(IntegrityError),
}

impl PlanState {
    /// The word that users and programs see.
    #[must_use]
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Resume { .. } => "resume",
            Self::Run => "run",
            Self::Again => "again",
            Self::Corrupt(_) => "corrupt",
        }
    }
}

impl Plan {
    /// Plans all stages of a pipeline, in topological order: a stage's fingerprint depends on those of its inputs.
    #[must_use]
    pub fn for_pipeline(pipeline: &Pipeline, digests: &SourceDigests, listing: &StoreListing) -> Self {
        let costs = cost::estimate_costs(pipeline);
        let mut stages: Vec<PlannedStage> = Vec::new();
        for (stage, cost) in pipeline.stages.iter().zip(costs) {
            let key = make_stage_key(stage, digests.get(stage.id), &stages);
            let planned = match stages.iter().find(|other| other.key.fingerprint == key.fingerprint) {
                Some(twin) => plan_twin(twin, key),
                None => {
                    let state = determine_state(stage, &key, listing);
                    let mut reasons = collect_reasons(pipeline, stage, &key, &state, listing);
                    let extension = match state {
                        PlanState::Run => extension::find_extension(stage, &key, listing),
                        _ => None,
                    };
                    let state = extend_stage(stage, extension.as_ref(), state, &mut reasons);
                    let held = listing.work(&key.name, &key.fingerprint).map_or(0, |found| found.bytes);
                    let branch_point_exists = has_branch_point(pipeline, stage, &stages, listing);
                    PlannedStage {
                        id: stage.id,
                        key,
                        state,
                        reasons,
                        cost,
                        held_bytes: held,
                        branch_point_exists,
                        extension,
                        unused: None,
                    }
                }
            };
            stages.push(PlannedStage { id: stage.id, ..planned });
        }
        let wanted = stages.iter().map(|planned| planned.id).collect();
        Self { stages, wanted }
    }

    /// The selected stages, in the pipeline's order.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &PlannedStage> {
        self.stages.iter().filter(|planned| self.wanted.contains(&planned.id))
    }

    /// How many of the selected stages would run.
    #[must_use]
    pub(crate) fn count_stages_to_run(&self) -> usize {
        self.wanted().filter(|planned| planned.state != PlanState::Cached).count()
    }

    /// The entry of a stage.
    #[must_use]
    pub(crate) fn planned(&self, id: StageId) -> &PlannedStage {
        &self.stages[id.index()]
    }

    /// The entry of the stage called `name`.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn stage_named(&self, name: &str) -> Option<&PlannedStage> {
        self.stages.iter().find(|planned| planned.key.name == name)
    }

    /// The ledgers of all stages, by stage name.
    #[must_use]
    pub(crate) fn ledgers(&self) -> IndexMap<String, Ledger> {
        self.stages.iter().map(|planned| (planned.key.name.clone(), planned.key.ledger.clone())).collect()
    }

    /// Peak of additional disk space at most, in bytes, when the stages run one at a time.
    #[must_use]
    pub(crate) fn disk_bytes(&self) -> u64 {
        estimate_disk_bytes(&self.running(), 1)
    }

    /// As [`Self::disk_bytes`], with the likely size of rows in place of the largest possible.
    #[must_use]
    pub(crate) fn likely_bytes(&self) -> u64 {
        estimate_likely_bytes(&self.running(), 1)
    }

    /// The flag with which a run makes the first damaged result again that is selected; empty if none is damaged.
    #[must_use]
    pub(crate) fn format_repair_flag(&self) -> String {
        let damaged = self.wanted().find(|planned| matches!(planned.state, PlanState::Corrupt(_)));
        damaged.map_or(String::new(), |planned| format!("--from {}", planned.key.name))
    }

    /// The selected stages that are not finished.
    pub(crate) fn running(&self) -> Vec<&PlannedStage> {
        self.wanted().filter(|planned| planned.state != PlanState::Cached).collect()
    }
}

/// Peak of additional disk space at most, in bytes: all artifacts, plus the checkpoints of the `jobs` largest stages, less the
/// checkpoints that are already on disk. A stage's checkpoints are removed when it finishes, so only running stages hold them.
#[must_use]
pub(crate) fn estimate_disk_bytes(stages: &[&PlannedStage], jobs: usize) -> u64 {
    sum_disk_bytes(stages, jobs, |cost| cost.artifact_bytes)
}

/// As [`estimate_disk_bytes`], with the likely size of rows in place of the largest possible.
#[must_use]
pub(crate) fn estimate_likely_bytes(stages: &[&PlannedStage], jobs: usize) -> u64 {
    sum_disk_bytes(stages, jobs, |cost| cost.likely_bytes)
}

fn sum_disk_bytes(stages: &[&PlannedStage], jobs: usize, artifact: impl Fn(&StageCost) -> u64) -> u64 {
    let artifacts = stages.iter().map(|planned| artifact(&planned.cost));
    let left = |planned: &&PlannedStage| planned.cost.work_bytes.saturating_sub(planned.held_bytes);
    let mut work: Vec<_> = stages.iter().map(left).collect();
    work.sort_unstable_by(|a, b| b.cmp(a));
    saturating_sum(artifacts.chain(work.into_iter().take(jobs)))
}

fn make_stage_key(stage: &Stage, digests: &[String], before: &[PlannedStage]) -> StageKey {
    let fingerprint_of = |id: StageId| before[id.index()].key.fingerprint.clone();
    let upstream: Vec<_> = stage.inputs.iter().map(|input| fingerprint_of(input.stage)).collect();
    let ledger = Ledger::for_stage(stage, digests, &upstream);
    let inputs = stage.inputs.iter().map(|input| input.role.to_string()).zip(upstream).collect();
    let kind = stage.config.kind().to_string();
    StageKey { kind, name: stage.name.clone(), fingerprint: ledger.fingerprint(), ledger, inputs }
}

/// A stage with the same fingerprint as an earlier one: it has its result as soon as that one does, at no extra cost.
fn plan_twin(twin: &PlannedStage, key: StageKey) -> PlannedStage {
    let reasons = match twin.state {
        PlanState::Cached => vec![],
        _ => vec![format!("same result as `{}`", twin.key.name)],
    };
    PlannedStage {
        id: twin.id,
        key,
        state: twin.state.clone(),
        reasons,
        cost: StageCost::default(),
        held_bytes: 0,
        branch_point_exists: twin.branch_point_exists,
        extension: None,
        unused: None,
    }
}

/// The state of a stage that may go on where the same training with another schedule left off; tells of it in the reasons.
fn extend_stage(
    stage: &Stage,
    extension: Option<&Extension>,
    state: PlanState,
    reasons: &mut Vec<String>,
) -> PlanState {
    let (Some(extension), StageConfig::Train(config)) = (extension, &stage.config) else { return state };
    reasons.push(extension.describe(config));
    match extension.from {
        Some((_, step)) => PlanState::Resume { step, unit: stage.config.checkpoint_unit() },
        None => state,
    }
}

/// Whether the permanent checkpoint that a stage starts from is in the store for good. One of a parent that may still go back
/// behind it is not: the branch would start from a state that is taken back, under the fingerprint of the one that follows.
fn has_branch_point(
    pipeline: &Pipeline,
    stage: &Stage,
    before: &[PlannedStage],
    listing: &StoreListing,
) -> bool {
    let (StageConfig::Train(config), Some(parent)) = (&stage.config, stage.parent()) else { return false };
    let planned = &before[parent.index()];
    let rewinds = match &pipeline.stage(parent).config {
        StageConfig::Train(config) => config.guard.count_rewind_states() > 0,
        _ => false,
    };
    let settled = !rewinds || planned.state == PlanState::Cached;
    let kept = listing.permanent(&planned.key.fingerprint);
    settled && config.branch.is_some_and(|branch| kept.contains(&branch.at))
}

fn determine_state(stage: &Stage, key: &StageKey, listing: &StoreListing) -> PlanState {
    if let Some(found) = listing.artifact(&key.name, &key.fingerprint) {
        return match &found.manifest {
            Ok(_) => PlanState::Cached,
            Err(problem) => PlanState::Corrupt(problem.clone()),
        };
    }
    let newest = listing.work(&key.name, &key.fingerprint).and_then(|found| found.step);
    match newest.max(listing.permanent(&key.fingerprint).last().copied()) {
        Some(step) => PlanState::Resume { step, unit: stage.config.checkpoint_unit() },
        None => PlanState::Run,
    }
}

fn collect_reasons(
    pipeline: &Pipeline,
    stage: &Stage,
    key: &StageKey,
    state: &PlanState,
    listing: &StoreListing,
) -> Vec<String> {
    match state {
        PlanState::Cached | PlanState::Again => vec![],
        PlanState::Corrupt(problem) => vec![format!("`{}`: {}", problem.file, problem.what)],
        PlanState::Resume { step, unit } => vec![format!("continues after {unit} {step}")],
        PlanState::Run if listing.work(&key.name, &key.fingerprint).is_some() => {
            vec!["unfinished: no checkpoint yet".into()]
        }
        PlanState::Run => match listing.newest(&key.name) {
            None => vec!["never run".into()],
            Some(manifest) => explain_changes(pipeline, stage, &key.ledger.changes_since(&manifest.ledger)),
        },
    }
}
