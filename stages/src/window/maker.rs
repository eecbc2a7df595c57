//! Makes one shard of a dataset from its files alone.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{RowsConfig, StageConfig};
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::pipeline::shards::ShardPlan;
use fmflow_engine::run::execute::{Job, Progress, ProgressReporter, WindowSource};
use fmflow_engine::store::{RowsWindow, ShardEntry, ShardWriter};

use crate::data::build::{BuiltShard, RowsOptions, build_shard};
use crate::data::contamination::Contamination;
use crate::data::corpus::{Copies, Patience};
use crate::data::order::RowOrder;
use crate::data::rows::{FileSink, RECORDS, RowsFile, Unwritten};
use crate::data::tokenizer::Tokenizer;
use crate::dataset::{
    ShardCopies, find_parts, open_documents, plan_shards, read_kept_compared, read_kept_copies,
    read_rows_options, remove_fetched, watch_documents,
};
use crate::failure::{input_failure, stage_failure};
use crate::job::{explain_build_error, find_source};
use crate::model::open_tokenizer;

/// What every shard of a dataset is made with.
pub(super) struct ShardMaker<'a> {
    source: &'a WindowSource<'a>,
    config: &'a RowsConfig,
    options: RowsOptions,
    tokenizer: Tokenizer,
    plan: ShardPlan,
    /// What documents are compared with.
    compared: Contamination,
    /// The copies in each shard, if they are left out.
    copies: Option<Vec<ShardCopies>>,
}

impl<'a> ShardMaker<'a> {
    /// Opens the tokenizer, and divides the dataset as its plan in `folder` did, which `order` repeats.
    pub(super) fn open(
        source: &'a WindowSource<'a>,
        order: RowOrder,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let StageConfig::Rows(config) = &source.stage.config else {
            unreachable!("the engine passes only rows as the source of a window")
        };
        let made = source.inputs.get(&InputRole::Tokenizer).expect("rows have a tokenizer");
        let tokenizer = open_tokenizer(made)?.with_special_names(config.specials.unwrap_or_default());
        let files = find_source(source.stage, &config.dataset.name)?;
        let plan = plan_shards(files, &config.dataset, config.shard_bytes)?;
        if (plan.len() as u64, plan.per_group() as u64) != (order.shards, order.per_group) {
            let what =
                format!("the files of `{}` are not those that its rows were planned with", source.stage.name);
            return Err(input_failure(what, "run the same command again"));
        }
        let compared = read_kept_compared(source.stage, config, folder)?;
        let copies = config.dataset.drops_duplicates.then(|| read_kept_copies(folder)).transpose()?;
        if copies.as_ref().is_some_and(|copies| copies.len() != plan.len()) {
            return Err(stage_failure(format!(
                "the plan of `{}` does not fit its shards",
                source.stage.name
            )));
        }
        Ok(Self { source, config, options: read_rows_options(config), tokenizer, plan, compared, copies })
    }

    /// Makes a shard, given with the tokens of all shards before it, and puts it into the window. `known` is what it was.
    pub(super) fn make(
        &self,
        job: &Job<'_>,
        window: &RowsWindow,
        (shard, before): (u64, u64),
        known: Option<&ShardEntry>,
        threads: usize,
        stop: &AtomicBool,
    ) -> Result<ShardEntry, Failure> {
        let job = Job { report: &Quiet(job.report), interrupt: stop, ..*job };
        let writer = Arc::new(Mutex::new(window.begin(shard)?));
        let (built, dropped) = self.build(&job, shard, before, &writer, threads)?;
        self.refuse_early_end(shard, before, &built)?;
        let train = &built.train;
        let found = ShardEntry {
            shard,
            rows: train.rows,
            tokens: train.tokens,
            left_out: train.count_dropped() + built.held_out + dropped,
            ends_the_dataset: built.ends_the_dataset,
            bytes: 0,
            blake3: String::new(),
        };
        let writer = Arc::into_inner(writer).expect("the file of the shard was closed");
        Ok(writer.into_inner().unwrap_or_else(PoisonError::into_inner).publish(found, known)?)
    }

    fn build(
        &self,
        job: &Job<'_>,
        shard: u64,
        before: u64,
        writer: &Arc<Mutex<ShardWriter>>,
        threads: usize,
    ) -> Result<(BuiltShard, u64), Failure> {
        let dataset = &self.config.dataset;
        let (source, number) = (find_source(self.source.stage, &dataset.name)?, shard as usize);
        let (parts, files) = find_parts(job, source, self.plan.parts(number))?;
        let patience = Patience { interrupt: job.interrupt, tell: None };
        let mut documents = open_documents(job, dataset, parts, patience)?.of_a_part();
        if let Some(copies) = &self.copies {
            let numbers = ShardCopies::join(&copies[number..=number]);
            documents = documents.with_copies(Some(Copies::Known { numbers, read: 0 }));
        }
        let mut compared = self.compared.begin_again();
        let read = watch_documents(&mut documents, None, &mut compared, dataset.held_out, |_| 0);
        let (tokenizer, options) = (&self.tokenizer, &self.options);
        let mut sink = ShardSink(writer.clone());
        let built = build_shard(read, tokenizer, options, before, &mut sink, threads, job.interrupt);
        let built = built
            .map_err(|error| explain_build_error(job, error, &format!("check dataset `{}`", dataset.name)))?;
        drop(documents);
        remove_fetched(job, dataset, source, &files)?;
        Ok((built, compared.count_dropped()))
    }

    /// Refuses a dataset whose last shard ends before its cap.
    fn refuse_early_end(&self, shard: u64, before: u64, built: &BuiltShard) -> Result<(), Failure> {
        let Some(cap) = self.options.cap.filter(|cap| !cap.may_end_before) else { return Ok(()) };
        if shard as usize + 1 < self.plan.len() || built.ends_the_dataset {
            return Ok(());
        }
        let (all, cap) = (before + built.train.tokens, cap.tokens);
        let what = format!(
            "the documents of `{}` have {all} tokens, fewer than `tokens={cap}`",
            self.config.dataset.name
        );
        Err(input_failure(what, "lower it, add documents, or write `tokens-at-most=` in its place"))
    }
}

/// Receives the training rows of a shard; nothing else is kept.
struct ShardSink(Arc<Mutex<ShardWriter>>);

struct ShardFile(Arc<Mutex<ShardWriter>>);

impl FileSink for ShardSink {
    fn file(&mut self, name: &str) -> std::io::Result<Box<dyn RowsFile>> {
        match name == RECORDS {
            true => Ok(Box::new(ShardFile(self.0.clone()))),
            false => Ok(Box::new(Unwritten)),
        }
    }
}

impl Write for ShardFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

impl RowsFile for ShardFile {
    fn finish(self: Box<Self>) -> std::io::Result<()> {
        Ok(())
    }
}

/// Passes notes on; the progress that people watch is that of training.
struct Quiet<'a>(&'a dyn ProgressReporter);

impl ProgressReporter for Quiet<'_> {
    fn progress(&self, _: &Progress<'_>) {}

    fn event(&self, _: &str) {}

    fn note(&self, text: &str) {
        self.0.note(text);
    }
}
