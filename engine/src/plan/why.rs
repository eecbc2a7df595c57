//! Why a result is another one than before: what changed, where that is written, and what changed before it.

use indexmap::IndexMap;

use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::pipeline::fingerprint::{Fingerprint, IngredientKind, Ledger, LedgerChange};
use crate::pipeline::stage::{FieldValue, Stage};
use crate::plan::planned::{Plan, PlannedStage};
use crate::plan::reasons::{explain_changes, find_upstream_stage};
use crate::plan::select;
use crate::store::journal::RunRecord;
use crate::store::{Store, StoreListing};

/// What earlier results were made of, by fingerprint.
#[derive(Clone, Debug, Default)]
pub struct History(IndexMap<Fingerprint, PastResult>);

/// What one earlier result was made of.
#[derive(Clone, Debug)]
struct PastResult {
    ledger: Ledger,
    /// Where its settings were written, by field; unknown of results without a recorded run.
    places: IndexMap<String, String>,
}

/// Why a stage's result is another one than before.
#[derive(Clone, Debug)]
pub struct ChangeExplanation {
    /// The stage.
    pub stage: String,
    /// What changed; nothing where that is no longer known.
    pub differences: Vec<Difference>,
    /// Why the upstream stages that changed did so, as far as it is known.
    pub causes: Vec<ChangeExplanation>,
}

/// One change and its places.
#[derive(Clone, Debug)]
pub struct Difference {
    /// What changed.
    pub change: LedgerChange,
    /// In a sentence.
    pub sentence: String,
    /// The setting as it is now, with its place; of a change that is none, `None`.
    pub field: Option<FieldValue>,
    /// Where it was written before, `file:line:column`, where that is known.
    pub was: Option<String>,
    /// Of an upstream result that changed, as far as it is known: its place in [`Why::causes`].
    pub cause: Option<usize>,
}

impl History {
    /// Everything that the store's manifests and the records of its runs tell.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read(store: &Store, listing: &StoreListing) -> Result<Self> {
        let mut history = Self::default();
        for run in store.past_runs()? {
            if let Some(record) = store.run_record(run.number)? {
                history.add(record);
            }
        }
        let all = listing.artifacts.iter().chain(&listing.unfinished);
        for manifest in all.filter_map(|found| found.manifest.as_ref().ok()) {
            let past = || PastResult { ledger: manifest.ledger.clone(), places: IndexMap::new() };
            history.0.entry(manifest.fingerprint.clone()).or_insert_with(past);
        }
        Ok(history)
    }

    fn add(&mut self, mut record: RunRecord) {
        for (stage, ledger) in record.stages {
            let places = record.places.swap_remove(&stage).unwrap_or_default();
            self.0.insert(ledger.fingerprint(), PastResult { ledger, places });
        }
    }

    fn get(&self, fingerprint: &str) -> Option<&PastResult> {
        self.0.get(&Fingerprint(fingerprint.to_owned()))
    }
}

impl Plan {
    /// Why the result of `planned` is not that of `old`.
    #[must_use]
    pub fn explain_changes_since(
        &self,
        pipeline: &Pipeline,
        planned: &PlannedStage,
        old: &Ledger,
        history: &History,
    ) -> ChangeExplanation {
        let mut why =
            ChangeExplanation { stage: planned.key.name.clone(), differences: vec![], causes: vec![] };
        let stage = pipeline.stage(planned.id);
        let places = history.get(&old.fingerprint().0).map(|past| &past.places);
        for change in planned.key.ledger.changes_since(old) {
            let cause = self.explain_cause(pipeline, stage, &change, history).map(|cause| {
                why.causes.push(cause);
                why.causes.len() - 1
            });
            let sentence = explain_changes(pipeline, stage, std::slice::from_ref(&change)).concat();
            let field = stage.field_at(&change.name);
            let field = field.filter(|_| change.what == IngredientKind::Field).cloned();
            let was = places.and_then(|places| places.get(&change.name)).cloned();
            let was = was.filter(|_| change.what == IngredientKind::Field && change.old.is_some());
            why.differences.push(Difference { change, sentence, field, was, cause });
        }
        why
    }

    /// Why an upstream result changed; each of a stage's roles may name the same stage.
    fn explain_cause(
        &self,
        pipeline: &Pipeline,
        stage: &Stage,
        change: &LedgerChange,
        history: &History,
    ) -> Option<ChangeExplanation> {
        if change.what != IngredientKind::Input {
            return None;
        }
        let planned = self.planned(find_upstream_stage(stage, &change.name)?);
        let old = history.get(change.old.as_deref()?)?;
        Some(self.explain_changes_since(pipeline, planned, &old.ledger, history))
    }

    /// The stages that depend on this one, in order.
    pub fn dependents(
        &self,
        pipeline: &Pipeline,
        planned: &PlannedStage,
    ) -> impl Iterator<Item = &PlannedStage> {
        let (found, own) = (select::find_descendants(pipeline, planned.id), planned.id);
        self.stages.iter().filter(move |other| other.id != own && found.contains(&other.id))
    }
}
