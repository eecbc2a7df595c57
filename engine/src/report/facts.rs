//! What a report says of a run and of the machine beside what the store has of stages.

use indexmap::IndexMap;

use crate::pipeline::Pipeline;
use crate::store::Store;
use crate::store::journal::PastRun;
use crate::store::layout::TOOL_VERSION;
use crate::text::escape::show_path;
use crate::text::machine::describe_machine;

/// The run of this number, or the last one of the pipeline.
pub(crate) fn select_run<'a>(
    runs: &'a [PastRun],
    pipeline: &Pipeline,
    number: Option<u64>,
) -> Option<&'a PastRun> {
    match number {
        Some(number) => runs.iter().find(|run| run.number == number),
        None => runs.iter().rev().find(|run| run.file == pipeline.file),
    }
}

/// Seconds that each result took, over all runs that worked on it.
pub(crate) fn sum_seconds(runs: &[PastRun]) -> IndexMap<String, f64> {
    let mut seconds: IndexMap<String, f64> = IndexMap::new();
    for run in runs {
        for (stage, took) in &run.took {
            if let Some(fingerprint) = run.begun.get(stage) {
                *seconds.entry(fingerprint.clone()).or_default() += took.as_secs_f64();
            }
        }
    }
    seconds
}

/// Program, device, store and machine, as names and values.
pub(crate) fn describe_environment(device: Option<&str>, store: Option<&Store>) -> Vec<(String, String)> {
    let mut found = vec![("program".to_owned(), TOOL_VERSION.to_owned())];
    found.extend(device.map(|device| ("device of the run".to_owned(), device.to_owned())));
    found.extend(store.map(|store| ("store".to_owned(), show_path(store.root()))));
    let own = describe_machine();
    found.extend(own.into_iter().map(|(name, value)| (format!("{name}, where the report was made"), value)));
    found
}
