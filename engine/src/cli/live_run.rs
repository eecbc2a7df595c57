//! The run in progress of a pipeline file, for commands that look at it: they show it as it was started, with its `--set`.

use indexmap::IndexSet;

use super::CommandContext;
use super::pipeline_arguments::{PipelineArguments, SettingArguments};
use crate::error::Result;
use crate::store::{Store, lock};
use crate::text::read::to_absolute_path;

/// A pipeline as its run in progress has it.
pub(super) struct LivePipeline {
    /// The file, with the settings of the newest run in progress unless some were given.
    pub source: PipelineArguments,
    /// Whether the settings are those of a run.
    pub adopted: bool,
    /// The file with the settings of its other runs in progress.
    others: Vec<PipelineArguments>,
}

impl LivePipeline {
    /// Looks for runs of the file in progress. Damage in the journal is for `fmflow log` to tell.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) fn find(given: &PipelineArguments, context: &CommandContext<'_>) -> Result<Self> {
        let store = context.open_store()?;
        let runs = store.as_ref().map(Store::readable_runs).transpose()?.unwrap_or_default();
        let holders = store.as_ref().map(lock::find_live_holders).transpose()?.unwrap_or_default();
        let file = to_absolute_path(&given.file);
        let live = runs.iter().rev().filter(|run| run.file == file && run.is_in_progress(&holders));
        let mut settings: IndexSet<Vec<String>> = live.map(|run| run.settings.clone()).collect();
        let used = match settings.first().filter(|_| given.settings.set.is_empty()) {
            Some(first) => first.clone(),
            None => given.settings.set.clone(),
        };
        settings.shift_remove(&used);
        let source = |set| PipelineArguments { file: given.file.clone(), settings: SettingArguments { set } };
        Ok(Self {
            adopted: used != given.settings.set,
            source: source(used),
            others: settings.into_iter().map(source).collect(),
        })
    }

    /// Lines about what is shown, and about what else is in progress. `command` shows one of the others.
    pub(super) fn describe(&self, command: &str, context: &CommandContext<'_>) -> String {
        let own = self.adopted.then(|| {
            let flags = self.source.settings.format_flags();
            format!("this is the run in progress, with `{flags}`\n")
        });
        let other = |source: &PipelineArguments| {
            format!(
                "another run of the file is in progress: {}\n",
                source.format_next_command(command, "", context)
            )
        };
        own.into_iter().chain(self.others.iter().map(other)).collect()
    }
}
