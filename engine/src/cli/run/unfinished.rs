//! Runs that a `resume` without a file leaves alone.

use std::path::Path;

use indexmap::IndexMap;

use crate::cli::CommandContext;
use crate::cli::pipeline_arguments::quote_word;
use crate::error::Result;
use crate::store::journal::PastRun;
use crate::store::{Store, lock};
use crate::text::read::display_path;

/// Tells of runs that stopped or were killed and that nobody has continued, besides the last one of the store.
pub(super) fn tell_unfinished_runs(store: &Store, context: &CommandContext<'_>) -> Result<()> {
    // A damaged journal stops no run; `fmflow log` tells of it.
    let Ok(runs) = store.past_runs() else { return Ok(()) };
    let holders = lock::find_live_holders(store)?;
    let mut latest: IndexMap<(&Path, &[String]), &PastRun> = IndexMap::new();
    for run in &runs {
        latest.insert((&run.file, &run.settings), run);
    }
    let others = latest.values().filter(|run| runs.last().is_some_and(|last| last.number != run.number));
    for run in others.filter(|run| run.is_unfinished(&holders)) {
        let (number, command) = (run.number, format_resume(store, run)?);
        context.output.message(&format!("note: run {number} is unfinished, too: `{command}`\n"));
    }
    Ok(())
}

/// The command that continues a run.
fn format_resume(store: &Store, run: &PastRun) -> Result<String> {
    let record = store.run_record(run.number)?;
    let (until, only) = record.map(|record| (record.until, record.only)).unwrap_or_default();
    let mut words = vec!["fmflow".to_owned(), "resume".into(), quote_word(&display_path(&run.file))];
    for (flag, stage) in [("--until", until), ("--only", only)] {
        words.extend(stage.into_iter().flat_map(|stage| [flag.to_owned(), stage]));
    }
    words.extend(run.settings.iter().flat_map(|setting| ["--set".to_owned(), quote_word(setting)]));
    Ok(words.join(" "))
}
