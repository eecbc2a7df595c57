//! What people are told of a window of rows.

use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::pipeline::window::find_window_share;
use crate::plan::{PlanState, PlannedStage};
use crate::store::{RowsWindow, Store};
use crate::text::display::{count_noun, format_bytes};

/// What is in the window of a finished stage of rows; `None` for any other stage.
///
/// # Errors
/// If the window cannot be read.
pub(super) fn describe_window(
    pipeline: &Pipeline,
    planned: &PlannedStage,
    store: Option<&Store>,
) -> Result<Option<String>> {
    let share = find_window_share(pipeline, pipeline.stage(planned.id));
    let cached = planned.state == PlanState::Cached;
    let Some((store, share)) = store.zip(share).filter(|_| cached) else { return Ok(None) };
    let size = RowsWindow::of(store, &planned.key.name, &planned.key.fingerprint).measure()?;
    Ok(Some(format!(
        "{} made so far, {} of them there: {} of {}",
        count_noun(size.made, "shard"),
        size.present,
        format_bytes(size.bytes),
        format_bytes(share)
    )))
}
