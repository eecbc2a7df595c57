//! Why the settings of a stage differ from those of a run: by `--set`, or by something else.

use crate::pipeline::Pipeline;
use crate::pipeline::fingerprint::{IngredientKind, LedgerChange};
use crate::plan::planned::{Plan, PlannedStage};
use crate::plan::reasons::find_upstream_stage;
use crate::store::journal::RunRecord;
use crate::text::place::Origin;

/// How the place of a value is recorded that `--set` gave.
const SET: &str = "--set ";

/// Whether stages differ from those of a run by settings of a command line alone.
pub(super) struct SettingComparison<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) plan: &'a Plan,
    pub(super) record: &'a RunRecord,
}

/// What made a setting differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// `--set`.
    Setting,
    /// Nobody wrote it: it is a default, or belongs to something that was set.
    Default,
    /// Something else, such as an edited file.
    Other,
}

impl SettingComparison<'_> {
    /// Whether every difference is due to a `--set` of now or, if `past` is true, of the run.
    pub(super) fn is_by_settings(&self, planned: &PlannedStage, past: bool) -> bool {
        let Some(old) = self.record.stages.get(&planned.key.name) else { return false };
        let changes = planned.key.ledger.changes_since(old);
        let causes: Vec<Cause> =
            changes.iter().map(|change| self.find_cause(planned, change, past)).collect();
        causes.contains(&Cause::Setting) && !causes.contains(&Cause::Other)
    }

    fn find_cause(&self, planned: &PlannedStage, change: &LedgerChange, past: bool) -> Cause {
        let stage = self.pipeline.stage(planned.id);
        let was_set = || {
            let places = self.record.places.get(&planned.key.name);
            places.and_then(|places| places.get(&change.name)).is_some_and(|place| place.starts_with(SET))
        };
        match change.what {
            IngredientKind::Field => match stage.field_at(&change.name).map(|field| &field.origin) {
                Some(Origin::Set) => Cause::Setting,
                _ if past && was_set() => Cause::Setting,
                None | Some(Origin::Default) => Cause::Default,
                Some(Origin::Written | Origin::Recipe(_) | Origin::Lock) => Cause::Other,
            },
            IngredientKind::Input => match find_upstream_stage(stage, &change.name) {
                Some(id) if self.is_by_settings(self.plan.planned(id), past) => Cause::Setting,
                _ => Cause::Other,
            },
            IngredientKind::Schema
            | IngredientKind::Kind
            | IngredientKind::Revision
            | IngredientKind::Source => Cause::Other,
        }
    }
}
