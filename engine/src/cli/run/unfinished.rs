//! Runs that a `resume` without a file leaves alone.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::cli::CommandContext;
use crate::cli::pipeline_arguments::{PipelineArguments, SettingArguments};
use crate::store::journal::PastRun;
use crate::store::{Store, lock};
use crate::text::read::display_path;

/// Tells of runs that stopped or were killed and that nobody has continued, besides the last one of the store. Damage stops no run
/// here, and `fmflow log` tells of it: what cannot be read is left out.
pub(super) fn tell_unfinished_runs(store: &Store, context: &CommandContext<'_>) {
    let (Ok(runs), Ok(holders)) = (store.past_runs(), lock::find_live_holders(store)) else { return };
    let mut latest: IndexMap<(&Path, &[String]), &PastRun> = IndexMap::new();
    for run in &runs {
        latest.insert((&run.file, &run.settings), run);
    }
    let others = latest.values().filter(|run| runs.last().is_some_and(|last| last.number != run.number));
    for run in others.filter(|run| run.is_unfinished(&holders)) {
        if let Some(command) = format_resume(store, run, context) {
            context.output.message(&format!("note: run {} is unfinished, too: `{command}`\n", run.number));
        }
    }
}

/// The command that continues a run; `None` if its record is gone or damaged, so that nobody knows which part it was.
fn format_resume(store: &Store, run: &PastRun, context: &CommandContext<'_>) -> Option<String> {
    let record = store.run_record(run.number).ok()??;
    let device = Some(record.device).filter(|device| device != "cpu");
    let flags = [("--until", record.until), ("--only", record.only), ("--device", device)];
    let flags = flags.into_iter().filter_map(|(flag, value)| Some(format!("{flag} {}", value?)));
    let source = PipelineArguments {
        file: PathBuf::from(display_path(&run.file)),
        settings: SettingArguments { set: run.settings.clone() },
    };
    Some(source.format_next_command("resume", &flags.collect::<Vec<_>>().join(" "), context))
}
