//! Windows of rows: which stages read one, and how much of its disk space belongs to a dataset.

use std::num::NonZeroU64;

use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;

/// The rows with a window that a stage trains on, by their role. Other stages only read held-out rows, which are in the artifact.
pub(crate) fn find_windowed_rows<'p>(
    pipeline: &'p Pipeline,
    stage: &Stage,
) -> impl Iterator<Item = (InputRole, &'p Stage)> {
    let trains = matches!(stage.config, StageConfig::Train(_));
    let rows = stage.inputs.iter().filter(|input| trains && matches!(input.role, InputRole::Rows { .. }));
    let rows: Vec<_> = rows.map(|input| (input.role.clone(), pipeline.stage(input.stage))).collect();
    rows.into_iter().filter(|(_, rows)| find_window_bytes(rows).is_some())
}

/// Bytes of the window that the rows of one dataset may take: that of all datasets of these rows, in equal parts. `None` without a
/// window.
#[must_use]
pub(crate) fn find_window_share(pipeline: &Pipeline, rows: &Stage) -> Option<u64> {
    let node = |stage: &Stage| stage.name.split('/').next().map(str::to_owned);
    let same = |stage: &&Stage| find_window_bytes(stage).is_some() && node(stage) == node(rows);
    let datasets = pipeline.stages.iter().filter(same).count() as u64;
    find_window_bytes(rows).map(|bytes| bytes / datasets.max(1))
}

/// Bytes of the window of a stage's rows for all datasets.
fn find_window_bytes(stage: &Stage) -> Option<u64> {
    match &stage.config {
        StageConfig::Rows(config) => config.window.map(NonZeroU64::get),
        _ => None,
    }
}
