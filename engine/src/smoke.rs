//! `run --smoke`: a pipeline made so small that all of it runs in about a minute on a CPU, offline.
//!
//! The checked pipeline is changed before anything is planned: backbones are tiny and random, what is not on disk is generated, and
//! each stage does as little as exercises its code. Neither the plan nor a stage knows of it. The results have a store of their own,
//! and ledgers of what really ran, so that they are never taken for results of the pipeline.

mod backbone;
mod changes;
mod documents;
mod files;
mod ledger;
mod problems;
mod settings;
mod sizes;
mod sources;
mod training;

use std::iter;
use std::path::{Path, PathBuf};

use changes::{Changes, Replaced};
use files::SmokeFiles;
use ledger::set_ledger;
use sizes::Sizes;

use crate::error::Result;
use crate::pipeline::config::StageConfig;
use crate::pipeline::stage::{Stage, Stages};
use crate::pipeline::{Budget, Pipeline};
use crate::store::Store;

/// A pipeline that was made small.
pub(crate) struct Smoke {
    /// What runs.
    pub pipeline: Pipeline,
    /// What it has in place of what, one line each.
    pub replaced: Vec<String>,
}

/// The folder of the store of smoke runs: beside the store of real ones.
#[must_use]
pub(crate) fn name_smoke_store(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push("-smoke");
    name.into()
}

/// Makes a pipeline small, which was checked for it (`CheckOptions::smoke`). Generated files are written into `store`.
///
/// # Errors
/// If a generated file cannot be written, or nothing can be generated for a benchmark.
pub(crate) fn shrink_pipeline(pipeline: &Pipeline, store: &Store) -> Result<Smoke> {
    let files = SmokeFiles { store };
    let mut replaced = Replaced::default();
    let sizes = Sizes::of(pipeline);
    let mut stages = Stages::default();
    let fetches = pipeline.stages.iter().any(|stage| matches!(stage.config, StageConfig::Fetch(_)));
    let tokenizer = match fetches {
        true => Some(backbone::add_tokenizer(pipeline, &mut stages, &files)?),
        false => None,
    };
    for stage in &pipeline.stages {
        let mut changes = Changes::default();
        let mut small = renumber(stage, &stages, u32::from(tokenizer.is_some()));
        if let Some(tokenizer) = tokenizer {
            backbone::replace_fetch(&mut small, tokenizer, &mut changes);
        }
        let generated = sources::replace_sources(&mut small, &sizes, &files, &mut changes)?;
        shrink_settings(&mut small, stage, &sizes, generated, &mut changes);
        set_ledger(&mut small, pipeline.seed);
        replaced.add(&stage.name, changes);
        stages.push(small);
    }
    let budget = Budget::default();
    let (pins, secrets, absent_secrets, watchers) = Default::default();
    let pipeline = Pipeline { budget, pins, secrets, absent_secrets, watchers, stages, ..pipeline.clone() };
    let ignored = "ignored: machine, profiles, budget, secrets, pins, hooks and the lock file; everything runs on the CPU";
    let replaced = iter::once(ignored.to_owned()).chain(replaced.describe()).collect();
    Ok(Smoke { pipeline, replaced })
}

/// The stage with the next number; its inputs are `before` places further back than they were.
fn renumber(stage: &Stage, stages: &Stages, before: u32) -> Stage {
    let mut stage = stage.clone();
    stage.id = stages.next_id();
    stage.inputs.iter_mut().for_each(|input| input.stage.0 += before);
    stage
}

/// Shrinks the settings of `stage`, which was `whole` before.
fn shrink_settings(
    stage: &mut Stage,
    whole: &Stage,
    sizes: &Sizes<'_>,
    generated: bool,
    changes: &mut Changes,
) {
    match &mut stage.config {
        StageConfig::Tokenizer(config) => backbone::shrink_tokenizer(config, changes),
        StageConfig::RandomInit(config) => backbone::shrink_shape(config, changes),
        StageConfig::Convert(config) => settings::shrink_conversion(config, changes),
        StageConfig::Train(config) => training::shrink_training(config, changes),
        StageConfig::Average(config) => {
            training::shrink_average(config, &mut stage.inputs, changes);
        }
        StageConfig::Evaluate(config) => settings::shrink_evaluation(config, changes),
        StageConfig::Frontier(config) => {
            config.points.iter_mut().for_each(|point| settings::shrink_match(point, changes));
        }
        StageConfig::Generate(config) => {
            config.prompts.iter_mut().for_each(|prompt| settings::shrink_prompt(prompt, changes));
        }
        StageConfig::Rows(config) => sizes.shrink_rows(whole, config, generated, changes),
        // A command is not ours to shrink.
        StageConfig::Fetch(_) | StageConfig::Export(_) | StageConfig::Command(_) | StageConfig::Report => {}
    }
}
