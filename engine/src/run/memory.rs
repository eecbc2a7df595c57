//! Whether a run has the memory that it is certain to need: what runs out ends the process (`last_words`), or the system kills it.

use crate::error::{Error, Result};
use crate::pipeline::config::StageConfig;
use crate::pipeline::cost::StageCost;
use crate::pipeline::memory::MemoryCost;
use crate::plan::PlannedStage;
use crate::plan::fit::suggest_change;
use crate::run::runner::Runner;
use crate::text::display::format_bytes;
use crate::text::limits::read_memory_limit;
use crate::text::machine::find_machine_memory;

/// Memory of a run apart from models, in bytes: the program, its threads and their stacks.
const BASE_BYTES: u64 = 512 << 20;

/// What a stage is certain to need of its estimate, in fifths: the estimate is that close to what was measured.
const CERTAIN_FIFTHS: u64 = 4;

/// Refuses a run whose process may not use, or whose machine does not have, the memory that its stages need at least.
pub(super) fn refuse_low_memory(runner: &Runner<'_>, work: &[&PlannedStage]) -> Result<()> {
    // On another device, neither weights nor activations are in the memory of this process.
    let on_host = runner.options.device == "cpu";
    let largest = work.iter().filter(|_| on_host).max_by_key(|planned| count_certain_bytes(runner, planned));
    let certain = largest.map_or(0, |planned| count_certain_bytes(runner, planned));
    if let Some(limit) = read_memory_limit() {
        let need = certain.saturating_add(BASE_BYTES);
        let who = largest.filter(|_| certain > BASE_BYTES);
        if need > limit {
            return Err(refuse_limit(limit, need, who.map(|planned| (runner, *planned))));
        }
    }
    match (find_machine_memory(), largest) {
        (Some(memory), Some(planned)) if certain > memory => {
            Err(refuse_small_machine(memory, certain, runner, planned))
        }
        _ => Ok(()),
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
    let room = limit.saturating_sub(BASE_BYTES);
    let change = stage.and_then(|(runner, planned)| suggest_less(runner, planned, room));
    Error::usage(message, change.map_or_else(|| raise.clone(), |change| format!("{raise}; or {change}")))
}

fn refuse_small_machine(memory: u64, need: u64, runner: &Runner<'_>, planned: &PlannedStage) -> Error {
    let message = format!(
        "this machine has {} of memory for processes, and stage `{}` needs at least {}",
        format_bytes(memory),
        planned.key.name,
        format_bytes(need)
    );
    let change = suggest_less(runner, planned, memory);
    Error::usage(message, change.unwrap_or_else(|| "use a machine with more, or a smaller model".into()))
}

/// The smallest change after which a training fits.
fn suggest_less(runner: &Runner<'_>, planned: &PlannedStage, room: u64) -> Option<String> {
    match &runner.stage(planned).config {
        StageConfig::Train(config) => suggest_change(config, &planned.cost, room, false),
        _ => None,
    }
}
