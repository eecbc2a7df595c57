//! Refuses training that does not fit into memory, and says what would fit.

use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::pipeline::config::{StageConfig, TrainConfig};
use crate::pipeline::cost::StageCost;
use crate::pipeline::machine::parse_machine;
use crate::pipeline::memory::{MemoryCost, find_card_memory};
use crate::plan::planned::PlannedStage;
use crate::text::display::format_bytes;

/// Refuses the first of these stages that needs more memory than the machine's card has. A card of unknown memory fits everything.
///
/// # Errors
/// [`Error::Usage`] with what to change.
pub(crate) fn refuse_small_card<'a>(
    pipeline: &Pipeline,
    mut stages: impl Iterator<Item = &'a PlannedStage>,
) -> Result<()> {
    let Some(machine) = pipeline.budget.gpu.as_deref() else { return Ok(()) };
    let (_, device) = parse_machine(machine);
    let Some(card) = find_card_memory(device) else { return Ok(()) };
    let needs = |planned: &&PlannedStage| planned.cost.memory.map_or(0, |memory| memory.without_program());
    let Some(planned) = stages.find(|planned| needs(planned) > card) else { return Ok(()) };
    let (name, need) = (&planned.key.name, format_bytes(needs(&planned)));
    let message = format!(
        "stage `{name}` needs about {need} of memory on one device, but `machine gpu=\"{machine}\"` has {}",
        format_bytes(card)
    );
    let StageConfig::Train(config) = &pipeline.stage(planned.id).config else {
        return Err(Error::usage(message, LARGER));
    };
    Err(Error::usage(message, suggest_change(config, &planned.cost, card, true).unwrap_or(LARGER.into())))
}

/// Help if nothing else helps.
const LARGER: &str = "name a card with more memory, or use a smaller model";

/// The smallest change after which training fits into `room` bytes: fewer rows at a time, recomputed blocks, both, or shorter rows
/// too. `None` if nothing helps.
#[must_use]
pub(crate) fn suggest_change(
    config: &TrainConfig,
    cost: &StageCost,
    room: u64,
    on_card: bool,
) -> Option<String> {
    let (shape, size) = cost.shape.zip(cost.size)?;
    let length = cost.training.as_ref()?.length;
    let fits = |per_device: usize, recompute: bool, length: u64| {
        let mut changed = config.clone();
        (changed.batch.per_device, changed.recompute) = (per_device, recompute);
        MemoryCost::of_training(&shape, size, &changed, length, on_card).without_program() <= room
    };
    let own = config.batch.per_device;
    let fewer = |recompute: bool| {
        let divides = |each: &usize| config.batch.rows.is_multiple_of(*each);
        (1..own).rev().filter(divides).find(|each| fits(*each, recompute, length))
    };
    if let Some(each) = fewer(config.recompute) {
        return Some(format!("write `per-device={each}` in its `batch`"));
    }
    if !config.recompute && fits(own, true, length) {
        return Some("write `recompute \"block\"` in it".into());
    }
    if let Some(each) = fewer(true) {
        return Some(format!("write `recompute \"block\"` in it, and `per-device={each}` in its `batch`"));
    }
    let shorter = (1..=length / 128).rev().map(|parts| parts * 128).find(|length| fits(1, true, *length));
    shorter.map(|length| {
        let recompute = if config.recompute { "" } else { "`recompute \"block\"` in it, " };
        let fewer = if own == 1 { "" } else { "`per-device=1` in its `batch`, " };
        let and = if recompute.is_empty() && fewer.is_empty() { "" } else { "and " };
        format!("write {recompute}{fewer}{and}`length={length}` in its `rows`")
    })
}
