//! Why a stage's result is not the one it had before: what changed, where that is written, and what changed upstream.

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

/// Ledgers of earlier results, by fingerprint.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(IndexMap<Fingerprint, PastResult>);

/// What one earlier result was made of.
#[derive(Clone, Debug)]
struct PastResult {
    ledger: Ledger,
    /// Where its settings were written, by field; empty if no run record of this result is left.
    places: IndexMap<String, String>,
}

/// Why a stage's result is not the one it had before.
#[derive(Clone, Debug)]
pub(crate) struct ChangeExplanation {
    /// Name of the stage.
    pub stage: String,
    /// What changed; empty if nothing did.
    pub differences: Vec<Difference>,
    /// Why the upstream stages changed that did, as far as it is known.
    pub causes: Vec<ChangeExplanation>,
}

/// One change and its places.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    /// What changed.
    pub change: LedgerChange,
    /// The change as a sentence.
    pub sentence: String,
    /// The setting as it is now, with its place; `None` if the change is not one of a setting.
    pub field: Option<FieldValue>,
    /// Where the setting was written before, as `file:line:column`, if known.
    pub was: Option<String>,
    /// If an upstream result changed and it is known why: index into [`ChangeExplanation::causes`].
    pub cause: Option<usize>,
}

impl History {
    /// Collects the ledgers in the store's run records and manifests. Only run records know where settings were written.
    ///
    /// # Errors
    /// A journal or run record that cannot be read.
    pub(crate) fn read(store: &Store, listing: &StoreListing) -> Result<Self> {
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

    /// What an earlier result was made of.
    #[must_use]
    pub(crate) fn ledger(&self, fingerprint: &str) -> Option<&Ledger> {
        Some(&self.get(fingerprint)?.ledger)
    }

    /// Where a setting of an earlier result was written, as `file:line:column`.
    #[must_use]
    pub(crate) fn place(&self, fingerprint: &str, setting: &str) -> Option<&str> {
        self.get(fingerprint)?.places.get(setting).map(String::as_str)
    }

    fn get(&self, fingerprint: &str) -> Option<&PastResult> {
        self.0.get(&Fingerprint(fingerprint.to_owned()))
    }
}

impl Plan {
    /// Compares a stage with the ledger of an earlier result and, for each upstream input that changed, does the same upstream.
    #[must_use]
    pub(crate) fn explain_changes_since(
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

    /// Why an upstream result changed; `None` if the change is not an upstream one or the earlier result is unknown.
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

    /// The stages that depend on this one, directly or not, in the pipeline's order.
    pub(crate) fn dependents(
        &self,
        pipeline: &Pipeline,
        planned: &PlannedStage,
    ) -> impl Iterator<Item = &PlannedStage> {
        let (found, own) = (select::find_descendants(pipeline, planned.id), planned.id);
        self.stages.iter().filter(move |other| other.id != own && found.contains(&other.id))
    }
}
