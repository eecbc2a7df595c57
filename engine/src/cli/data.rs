//! `fmflow data`: shows rows as people read them, and what is in all of them.

mod show;
mod stats;
mod wrap;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::pipeline_arguments::PipelineArguments;
use super::show::unfinished_stage;
use super::{CommandContext, plan};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::plan::{Plan, PlanState};
use crate::store::trusted::verify_for_reading;
use crate::store::{RowsWindow, Store, WindowShards};

#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct DataArguments {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Show rows as text: what is given, what is learned, what noise takes
    Show(show::ShowRowsArguments),
    /// Count documents, tokens, lengths, special tokens and what is left out
    Stats(stats::StatsArguments),
}

impl DataArguments {
    /// The pipeline file.
    pub(super) fn file(&self) -> &Path {
        match &self.command {
            DataCommand::Show(arguments) => &arguments.source.file,
            DataCommand::Stats(arguments) => &arguments.source.file,
        }
    }
}

pub(super) fn run_data(arguments: &DataArguments, context: &CommandContext<'_>) -> Result<()> {
    match &arguments.command {
        DataCommand::Show(arguments) => show::show_rows(arguments, context),
        DataCommand::Stats(arguments) => stats::show_statistics(arguments, context),
    }
}

/// A pipeline and its finished stages.
struct FinishedStages<'a> {
    pipeline: Pipeline,
    store: Option<Store>,
    plan: Plan,
    source: &'a PipelineArguments,
}

impl<'a> FinishedStages<'a> {
    fn read(source: &'a PipelineArguments, context: &CommandContext<'_>) -> Result<Self> {
        let pipeline = source.load(context)?;
        let store = context.open_store()?;
        let (_, plan) = plan::make_plan(&pipeline, store.as_ref())?;
        Ok(Self { pipeline, store, plan, source })
    }

    /// The folder of the rows called `name`.
    fn find_rows(&self, name: &str, context: &CommandContext<'_>) -> Result<PathBuf> {
        let stage = self.pipeline.find_stage(name)?;
        if !matches!(stage.config, StageConfig::Rows(_)) {
            let message =
                format!("stage `{name}` makes no rows: it is of the kind `{}`", stage.config.kind());
            let rows: Vec<_> = self.list_rows().map(|name| format!("`{name}`")).collect();
            return Err(Error::usage(message, format!("rows of this file: {}", rows.join(", "))));
        }
        let planned = self.plan.planned(stage.id);
        match (&self.store, &planned.state) {
            (Some(store), PlanState::Cached) => {
                let folder = store.artifact(name, &planned.key.fingerprint);
                verify_for_reading(store, &folder)?;
                Ok(folder)
            }
            (Some(store), PlanState::Corrupt(problem)) => {
                let folder = store.artifact(name, &planned.key.fingerprint);
                Err(Error::Corrupt { folder, file: problem.file.clone(), what: problem.what.clone() })
            }
            _ => Err(unfinished_stage(planned, self.source, context)),
        }
    }

    /// What the window of the rows called `name` has; nothing without a window.
    fn list_window(&self, name: &str) -> Result<WindowShards> {
        let stage = self.pipeline.find_stage(name)?;
        let StageConfig::Rows(config) = &stage.config else { return Ok(WindowShards::default()) };
        match self.store.as_ref().filter(|_| config.window.is_some()) {
            Some(store) => {
                let fingerprint = &self.plan.planned(stage.id).key.fingerprint;
                RowsWindow::of(store, name, fingerprint).list_shards()
            }
            None => Ok(WindowShards::default()),
        }
    }

    /// Whether the rows called `name` were made, damaged or not.
    fn are_made(&self, name: &str) -> Result<bool> {
        let state = &self.plan.planned(self.pipeline.find_stage(name)?.id).state;
        Ok(matches!(state, PlanState::Cached | PlanState::Corrupt(_)))
    }

    /// Names of all stages that make rows.
    fn list_rows(&self) -> impl Iterator<Item = &str> {
        let rows = self.pipeline.stages.iter().filter(|stage| matches!(stage.config, StageConfig::Rows(_)));
        rows.map(|stage| stage.name.as_str())
    }
}
