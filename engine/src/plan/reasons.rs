//! Why an existing result is not the one that the plan needs, one sentence per change.

use indexmap::IndexSet;

use crate::pipeline::Pipeline;
use crate::pipeline::fingerprint::{IngredientKind, LedgerChange};
use crate::pipeline::stage::{Stage, StageId};
use crate::text::place::Origin;

/// One sentence per change, in the ledger's order.
#[must_use]
pub(crate) fn explain_changes(pipeline: &Pipeline, stage: &Stage, changes: &[LedgerChange]) -> Vec<String> {
    // Several inputs of one stage, such as its permanent checkpoints, say the same.
    let said: IndexSet<String> =
        changes.iter().map(|change| describe_change(pipeline, stage, change)).collect();
    said.into_iter().collect()
}

/// As [`explain_changes`], with the place where each setting is written now.
#[must_use]
pub(crate) fn explain_changes_with_places(
    pipeline: &Pipeline,
    stage: &Stage,
    changes: &[LedgerChange],
) -> Vec<String> {
    let placed = |change: &LedgerChange| {
        let field = stage.field_at(&change.name).filter(|_| change.what == IngredientKind::Field);
        let place = field.filter(|field| !matches!(field.origin, Origin::Set | Origin::Default));
        let place = place.map(|field| format!(" at {}", field.span)).unwrap_or_default();
        describe_change(pipeline, stage, change) + &place
    };
    let said: IndexSet<String> = changes.iter().map(placed).collect();
    said.into_iter().collect()
}

fn describe_change(pipeline: &Pipeline, stage: &Stage, change: &LedgerChange) -> String {
    let LedgerChange { what, name, old, new } = change;
    let none = || "nothing".to_string();
    let happened = match (old, new) {
        (None, _) => "is new",
        (_, None) => "is no longer read",
        _ => "changed",
    };
    let (old, new) = (old.clone().unwrap_or_else(none), new.clone().unwrap_or_else(none));
    match what {
        IngredientKind::Schema => format!("the fingerprint format changed: {old} -> {new}"),
        IngredientKind::Kind => format!("the stage kind changed: {old} -> {new}"),
        IngredientKind::Revision => format!("the code of `{name}` changed: revision {old} -> {new}"),
        IngredientKind::Field => format!(
            "`{name}` {} -> {}{}",
            shorten_value(&old),
            shorten_value(&new),
            format_origin_note(stage, name)
        ),
        IngredientKind::Source => format!("source `{name}` {happened}"),
        IngredientKind::Input => {
            let upstream = find_upstream_stage(stage, name).map_or(name, |id| &pipeline.stage(id).name);
            format!("upstream `{upstream}` {happened}")
        }
    }
}

/// Where a field's value comes from, if it is not the file.
fn format_origin_note(stage: &Stage, path: &str) -> &'static str {
    let field = stage.field_at(path);
    if field.is_some_and(|field| field.origin == Origin::Set) { " (by `--set`)" } else { "" }
}

/// The stage that makes the input with this role; `None` when the stage no longer has such an input.
pub(super) fn find_upstream_stage(stage: &Stage, role: &str) -> Option<StageId> {
    let input = stage.inputs.iter().find(|input| input.role.to_string() == role);
    input.map(|input| input.stage)
}

/// Cuts a value so that it fits on one line.
fn shorten_value(value: &str) -> String {
    const MOST: usize = 60;
    if value.chars().count() <= MOST {
        return value.to_string();
    }
    value.chars().take(MOST).collect::<String>() + "..."
}
