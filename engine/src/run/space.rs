//! Room on the disk: whether there is enough before a run starts, and what was missing when there was not.

use crate::error::{Error, Failure, Result, Shortage};
use crate::plan::PlannedStage;
use crate::plan::planned::estimate_likely_bytes;
use crate::run::runner::Runner;
use crate::store::vfs::count_folder_bytes;
use crate::text::display::format_bytes;
use crate::text::escape::show_path;

/// Refuses a run that needs more room than the store's file system has. The largest possible size of rows is far above the
/// likely one, and would refuse runs that fit.
pub(super) fn refuse_full_disk(runner: &Runner<'_>, work: &[&PlannedStage]) -> Result<()> {
    let need = estimate_likely_bytes(work, runner.options.jobs.get());
    let free = measure_free_bytes(runner)?;
    if need <= free {
        return Ok(());
    }
    let (need, free, root) = (format_bytes(need), format_bytes(free), show_path(runner.store.root()));
    let message = format!("the run needs about {need} in {root}, but only {free} is free");
    Err(Error::Space { message, shortage: Shortage::Disk })
}

/// Adds to an error of full storage what these stages still need and what is free; other errors stay as they are.
pub(super) fn explain_shortage(runner: &Runner<'_>, stages: &[&PlannedStage], error: Error) -> Error {
    let Some(shortage) = error.shortage() else { return error };
    let room = match describe_room(runner, stages, shortage) {
        Ok(room) => room,
        Err(unknown) => unknown.to_string(),
    };
    match error {
        Error::Stage { stage, failure } => {
            let message = format!("{}; {room}", failure.message);
            Error::Stage { stage, failure: Failure { message, ..failure } }
        }
        other => Error::Space { message: format!("{other}; {room}"), shortage },
    }
}

fn describe_room(runner: &Runner<'_>, stages: &[&PlannedStage], shortage: Shortage) -> Result<String> {
    let free = measure_free_bytes(runner)?;
    let mut need = 0_u64;
    for planned in stages {
        let work = runner.store.work(&planned.key.name, &planned.key.fingerprint);
        let whole = planned.cost.likely_bytes.saturating_add(planned.cost.work_bytes);
        need = need.saturating_add(whole.saturating_sub(count_folder_bytes(runner.store.vfs(), &work)?));
    }
    let enough = if need <= free && shortage == Shortage::Disk {
        " now: there is room again, or the disk is out of inodes (`df -i`)"
    } else {
        ""
    };
    let (need, free) = (format_bytes(need), format_bytes(free));
    let who = match stages {
        [one] => format!("`{}` needs", one.key.name),
        _ => "the run needs".to_owned(),
    };
    Ok(format!("{who} about {need} more in {}, and {free} is free{enough}", show_path(runner.store.root())))
}

fn measure_free_bytes(runner: &Runner<'_>) -> Result<u64> {
    let root = runner.store.root();
    runner.store.vfs().free_bytes(root).map_err(Error::io("measure the free space of", root))
}
