//! What an `average` reads: the training, and the last of the permanent checkpoints that it keeps.

use super::{DraftInput, find_referenced_input};
use crate::language::names::Declarations;
use crate::language::record::Record;
use crate::pipeline::role::InputRole;

/// The inputs of an average, none of another stage.
pub(super) fn find_averaged(world: &Declarations, record: &Record) -> Vec<DraftInput> {
    if record.spec.name != "average" {
        return Vec::new();
    }
    let Some(from) = find_referenced_input(record, "of", InputRole::From) else { return Vec::new() };
    let permanent = |update: u64| DraftInput { role: InputRole::Permanent(update), ..from.clone() };
    let permanent: Vec<DraftInput> =
        list_averaged_updates(world, record).into_iter().map(permanent).collect();
    [vec![from], permanent].concat()
}

/// The last updates after which the training keeps a checkpoint for good, the earliest first: as many as `last` says, or all that there are.
pub(crate) fn list_averaged_updates(world: &Declarations, record: &Record) -> Vec<u64> {
    let count =
        |record: &Record, field: &str| record.integer(field).and_then(|found| u64::try_from(found).ok());
    let trained = record.leaf("of").and_then(|leaf| world.any_target(leaf));
    let kept = trained.and_then(|train| {
        let permanent = train.child("checkpoint")?.child("permanent")?;
        Some((count(train.child("steps")?, "value")?, count(permanent, "every").filter(|every| *every > 0)?))
    });
    let (Some((steps, every)), Some(last)) = (kept, count(record, "last")) else { return Vec::new() };
    let many = steps / every;
    (many.saturating_sub(last) + 1..=many).map(|number| number * every).collect()
}
