//! Whether a run has the memory that it is certain to need. An allocation that fails ends the process without a word.

use crate::error::{Error, Result};
use crate::pipeline::config::StageConfig;
use crate::pipeline::cost::StageCost;
use crate::pipeline::memory::MemoryCost;
use crate::plan::PlannedStage;
use crate::plan::fit::suggest_change;
use crate::run::runner::Runner;
use crate::text::display::format_bytes;
use crate::text::limits::read_memory_limit;

/// Memory of a run apart from models, in bytes: the program, its threads and their stacks.
const BASE_BYTES: u64 = 512 << 20;

/// What a stage is certain to need of its estimate, in fifths: the estimate is that close to what was measured.
const CERTAIN_FIFTHS: u64 = 4;

/// Refuses a run whose process may not use the memory that its stages need at least.
pub(super) fn refuse_low_memory(runner: &Runner<'_>, work: &[&PlannedStage]) -> Result<()> {
    let Some(limit) = read_memory_limit() else { return Ok(()) };
    // On another device, neither weights nor activations are in the memory of this process.
    let on_host = runner.options.device == "cpu";
    let largest = work.iter().filter(|_| on_host).max_by_key(|planned| count_certain_bytes(runner, planned));
    let certain = largest.map_or(0, |planned| count_certain_bytes(runner, planned));
    let need = certain.saturating_add(BASE_BYTES);
    match largest {
        _ if need <= limit => Ok(()),
        Some(planned) if certain > BASE_BYTES => Err(refuse_limit(limit, need, Some((runner, planned)))),
        _ => Err(refuse_limit(limit, need, None)),
    }
}

/// The memory that a stage is certain to need in this process, in bytes. The plan may assume the card of a `machine` instead.
fn count_certain_bytes(runner: &Runner<'_>, planned: &PlannedStage) -> u64 {
    let StageCost { shape, size, training, memory, .. } = &planned.cost;
    let here = match (&runner.stage(planned).config, shape, size, training) {
        (StageConfig::Train(config), Some(shape), Some(size), Some(training)) => {
            Some(MemoryCost::of_training(shape, *size, config, training.length, false))
        }
        _ => *memory,
    };
    here.map_or(0, |memory| memory.without_program() / 5 * CERTAIN_FIFTHS)
}

fn refuse_limit(limit: u64, need: u64, stage: Option<(&Runner<'_>, &PlannedStage)>) -> Error {
    let who =
        stage.map_or_else(|| "a run".to_owned(), |(_, planned)| format!("stage `{}`", planned.key.name));
    let message = format!(
        "this process may use {} of memory (`ulimit -v`), and {who} needs at least {}",
        format_bytes(limit),
        format_bytes(need)
    );
    let raise = format!("raise the limit: `ulimit -v {}`, or `ulimit -v unlimited`", need.div_ceil(1024));
    let change = stage.and_then(|(runner, planned)| match &runner.stage(planned).config {
        StageConfig::Train(config) => {
            suggest_change(config, &planned.cost, limit.saturating_sub(BASE_BYTES), false)
        }
        _ => None,
    });
    Error::usage(message, change.map_or_else(|| raise.clone(), |change| format!("{raise}; or {change}")))
}
