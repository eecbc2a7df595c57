//! A plan: where every stage stands, what it would take, and why it is not cached.

use indexmap::{IndexMap, IndexSet};

use crate::pipeline::Pipeline;
use crate::pipeline::cost::{self, Cost};
use crate::pipeline::fingerprint::Ledger;
use crate::pipeline::shape::saturating_sum;
use crate::pipeline::stage::{Stage, StageId};
use crate::plan::digests::SourceDigests;
use crate::plan::reasons::explain;
use crate::store::verify::Problem;
use crate::store::{Key, Listing};

/// What a run would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One entry per stage, in the pipeline's order.
    pub stages: Vec<Planned>,
    /// Those that are asked for.
    pub(super) wanted: IndexSet<StageId>,
}

/// What a run would do with one stage.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its number in the pipeline.
    pub id: StageId,
    /// Identity of its result, and what that is made of.
    pub key: Key,
    /// Where it stands.
    pub state: State,
    /// Why it is not cached; empty when it is.
    pub reasons: Vec<String>,
    /// What it would take, from nothing.
    pub cost: Cost,
    /// Bytes of checkpoints that lie there already.
    pub held: u64,
}

/// Where a stage stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The artifact is there.
    Cached,
    /// Unfinished: goes on from the checkpoint after this many updates.
    Resume {
        /// Updates done.
        step: u64,
    },
    /// Starts from nothing.
    Run,
    /// Made again from nothing, whatever is there.
    Again,
    /// The artifact is there but is not what was written.
    Corrupt(Problem),
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
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
    /// Plans a pipeline.
    #[must_use]
    pub fn of(pipeline: &Pipeline, digests: &SourceDigests, listing: &Listing) -> Self {
        let costs = cost::of(pipeline);
        let mut stages: Vec<Planned> = Vec::new();
        for (stage, cost) in pipeline.stages.iter().zip(costs) {
            let key = key(stage, digests.of(stage.id), &stages);
            let planned = match stages.iter().find(|other| other.key.fingerprint == key.fingerprint) {
                Some(twin) => twin_of(twin, key),
                None => {
                    let state = state(&key, listing);
                    let reasons = reasons(pipeline, stage, &key, &state, listing);
                    let held = listing.work(&key.name, &key.fingerprint).map_or(0, |found| found.bytes);
                    Planned { id: stage.id, key, state, reasons, cost, held }
                }
            };
            stages.push(Planned { id: stage.id, ..planned });
        }
        let wanted = stages.iter().map(|planned| planned.id).collect();
        Self { stages, wanted }
    }

    /// The stages that are asked for, in the pipeline's order.
    pub fn wanted(&self) -> impl Iterator<Item = &Planned> {
        self.stages.iter().filter(|planned| self.wanted.contains(&planned.id))
    }

    /// How many stages would run.
    #[must_use]
    pub fn work(&self) -> usize {
        self.wanted().filter(|planned| planned.state != State::Cached).count()
    }

    /// The entry of a stage.
    #[must_use]
    pub fn planned(&self, id: StageId) -> &Planned {
        &self.stages[id.index()]
    }

    /// The entry of the stage called `name`.
    #[must_use]
    pub fn stage_named(&self, name: &str) -> Option<&Planned> {
        self.stages.iter().find(|planned| planned.key.name == name)
    }

    /// The ledgers of all stages by name.
    #[must_use]
    pub fn ledgers(&self) -> IndexMap<String, Ledger> {
        self.stages.iter().map(|planned| (planned.key.name.clone(), planned.key.ledger.clone())).collect()
    }

    /// Bytes that the stages to run would write at most at one time.
    #[must_use]
    pub fn disk(&self) -> u64 {
        let running: Vec<_> = self.wanted().filter(|planned| planned.state != State::Cached).collect();
        disk(&running, 1)
    }
}

/// Bytes that these stages would write at most at one time: all artifacts, and the checkpoints of as many stages as run
/// side by side, without those that are there.
#[must_use]
pub fn disk(stages: &[&Planned], jobs: usize) -> u64 {
    let artifacts = stages.iter().map(|planned| planned.cost.artifact_bytes);
    let left = |planned: &&Planned| planned.cost.work_bytes.saturating_sub(planned.held);
    let mut work: Vec<_> = stages.iter().map(left).collect();
    work.sort_unstable_by(|a, b| b.cmp(a));
    saturating_sum(artifacts.chain(work.into_iter().take(jobs)))
}

fn key(stage: &Stage, digests: &[String], before: &[Planned]) -> Key {
    let fingerprint_of = |id: StageId| before[id.index()].key.fingerprint.clone();
    let upstream: Vec<_> = stage.inputs.iter().map(|input| fingerprint_of(input.stage)).collect();
    let ledger = Ledger::of(stage, digests, &upstream);
    let inputs = stage.inputs.iter().map(|input| input.role.to_string()).zip(upstream).collect();
    let kind = stage.config.kind().to_string();
    Key { kind, name: stage.name.clone(), fingerprint: ledger.fingerprint(), ledger, inputs }
}

/// A stage with the same result as an earlier one: it is there as soon as that one is, and costs nothing more.
fn twin_of(twin: &Planned, key: Key) -> Planned {
    let reasons = match twin.state {
        State::Cached => vec![],
        _ => vec![format!("the same result as `{}`", twin.key.name)],
    };
    Planned { id: twin.id, key, state: twin.state.clone(), reasons, cost: Cost::default(), held: 0 }
}

fn state(key: &Key, listing: &Listing) -> State {
    if let Some(found) = listing.artifact(&key.name, &key.fingerprint) {
        return match &found.manifest {
            Ok(_) => State::Cached,
            Err(problem) => State::Corrupt(problem.clone()),
        };
    }
    match listing.work(&key.name, &key.fingerprint).and_then(|found| found.step) {
        Some(step) => State::Resume { step },
        None => State::Run,
    }
}

fn reasons(pipeline: &Pipeline, stage: &Stage, key: &Key, state: &State, listing: &Listing) -> Vec<String> {
    match state {
        State::Cached | State::Again => vec![],
        State::Corrupt(problem) => vec![format!("`{}`: {}", problem.file, problem.what)],
        State::Resume { step } => vec![format!("goes on after update {step}")],
        State::Run if listing.work(&key.name, &key.fingerprint).is_some() => {
            vec!["unfinished: no checkpoint yet".into()]
        }
        State::Run => match listing.newest(&key.name) {
            None => vec!["never run".into()],
            Some(manifest) => explain(pipeline, stage, &key.ledger.changes_since(&manifest.ledger)),
        },
    }
}
