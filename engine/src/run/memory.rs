//! Whether a run has the memory that it is certain to need. An allocation that fails ends the process without a word.

use crate::error::{Error, Result};
use crate::pipeline::config::StageConfig;
use crate::plan::PlannedStage;
use crate::run::runner::Runner;
use crate::text::display::format_bytes;
use crate::text::limits::read_memory_limit;

/// Memory of a run apart from models, in bytes: the program, its threads and their stacks.
const BASE_BYTES: u64 = 512 << 20;

/// Bytes per trained parameter: the weight, its gradient and two moments, 4 bytes each.
const TRAINING_BYTES: u64 = 16;

/// Refuses a run whose process may not use the memory that its stages need at least.
pub(super) fn refuse_low_memory(runner: &Runner<'_>, work: &[&PlannedStage]) -> Result<()> {
    let Some(limit) = read_memory_limit() else { return Ok(()) };
    let (need, stage) = find_least_memory(runner, work);
    match need <= limit {
        true => Ok(()),
        false => Err(refuse_limit(limit, need, stage)),
    }
}

/// The least memory of a run in bytes, and the stage that needs most of it if the program itself does not.
fn find_least_memory<'a>(runner: &Runner<'_>, work: &[&'a PlannedStage]) -> (u64, Option<&'a str>) {
    let trained = |planned: &&'a PlannedStage| {
        let trains = matches!(runner.stage(planned).config, StageConfig::Train(_));
        let parameters = planned.cost.shape.filter(|_| trains)?.parameters();
        Some((parameters.saturating_mul(TRAINING_BYTES), planned.key.name.as_str()))
    };
    // On another device, neither weights nor moments are in the memory of this process.
    let on_host = runner.options.device == "cpu";
    match work.iter().filter(|_| on_host).filter_map(trained).max() {
        Some((bytes, stage)) if bytes > BASE_BYTES => (bytes.saturating_add(BASE_BYTES), Some(stage)),
        largest => (largest.map_or(0, |(bytes, _)| bytes).saturating_add(BASE_BYTES), None),
    }
}

fn refuse_limit(limit: u64, need: u64, stage: Option<&str>) -> Error {
    let who = stage.map_or_else(|| "a run".to_owned(), |stage| format!("stage `{stage}`"));
    let message = format!(
        "this process may use {} of memory (`ulimit -v`), and {who} needs at least {}",
        format_bytes(limit),
        format_bytes(need)
    );
    Error::usage(
        message,
        format!("raise the limit: `ulimit -v {}`, or `ulimit -v unlimited`", need.div_ceil(1024)),
    )
}
