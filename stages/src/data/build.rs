//! Turns a dataset into rows in one pass: read, encode, pack, write.
//!
//! Documents stream through: one thread reads them in batches, several encode them, and the first packs and writes them in their order. Only
//! these batches and the open rows are in memory, and the bytes depend on the documents alone.

mod batches;
mod budget;
mod encode;
mod error;
mod files;
mod openings;
mod options;
mod rows_part;
mod shard_counts;
mod threads;
mod tokenizer_texts;

pub(crate) use batches::PlacedDocument;

pub(crate) use error::BuildError;

use super::corpus::{Conversation, CorpusError, Document};
use super::dropped::RowsShape;
use super::rows::{
    FORMAT, FileSink, HELD_OUT, RECORDS, RowsSummary, SUMMARY, SplitSummary, compute_bytes_per_id,
};
use super::tokenizer::Tokenizer;
use batches::{Batches, give_batches};
use budget::TokenBudget;
use encode::{DocumentEncoder, EncodedBatch, EncodedDocument};
use error::options_error;
use files::{RowsFiles, write_error};
use openings::Openings;
use options::check_rows_options;
pub(crate) use options::{BuiltShards, RowsOptions};
use rows_part::RowsPart;
pub(crate) use shard_counts::RowsProgress;
use shard_counts::ShardCounts;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use threads::with_threads;
pub(crate) use tokenizer_texts::train_tokenizer;

/// Makes the rows of a dataset and writes them to `sink`, with everything that is needed to read them. Documents are encoded on
/// `threads` threads; their number changes no byte. Where shards are made already, `sink` goes on behind their training rows, and the
/// documents are the same from the first one on.
///
/// # Errors
/// If data cannot be read or encoded, the options do not fit the data, a write fails, `interrupt` is set, or there is not a
/// single training row.
pub(crate) fn build_rows(
    documents: impl Iterator<Item = Result<PlacedDocument, CorpusError>>,
    tokenizer: &Tokenizer,
    options: &RowsOptions,
    shards: &BuiltShards<'_>,
    sink: &mut dyn FileSink,
    threads: usize,
    interrupt: &AtomicBool,
) -> Result<RowsSummary, BuildError> {
    let before = shards.made.map_or(0, |made| made.used);
    let mut builder = RowsBuilder::new(tokenizer, options, shards.opening(), before, sink)?;
    if let Some(made) = shards.made {
        builder.shards = ShardCounts::after(shards.opening(), made);
        builder.train.counts = made.train;
    }
    builder.take_all(documents, threads, interrupt)?;
    if shards.reaches_the_end() {
        builder.budget.check()?;
    }
    builder.finish(shards)
}

/// Makes the training rows of one shard, whose documents come after those with `before` tokens; `sink` gets the file of the records.
///
/// # Errors
/// As [`build_rows`], except that a shard may have no rows.
pub(crate) fn build_shard(
    documents: impl Iterator<Item = Result<PlacedDocument, CorpusError>>,
    tokenizer: &Tokenizer,
    options: &RowsOptions,
    before: u64,
    sink: &mut dyn FileSink,
    threads: usize,
    interrupt: &AtomicBool,
) -> Result<BuiltShard, BuildError> {
    let mut builder = RowsBuilder::new(tokenizer, options, 0, before, sink)?;
    builder.take_all(documents, threads, interrupt)?;
    builder.finish_shard()
}

/// What a shard turned out to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BuiltShard {
    /// Counts of its training rows.
    pub train: SplitSummary,
    /// Documents that would be held out.
    pub held_out: u64,
    /// Whether the cap of the dataset ends in it.
    pub ends_the_dataset: bool,
}

fn serialize_summary(value: &impl serde::Serialize) -> Result<Vec<u8>, BuildError> {
    serde_json::to_vec_pretty(value).map_err(|cause| write_error(SUMMARY)(cause.into()))
}

struct RowsBuilder<'a> {
    tokenizer: &'a Tokenizer,
    options: &'a RowsOptions,
    pad: u32,
    width: usize,
    train: RowsPart,
    held_out: RowsPart,
    files: RowsFiles<'a>,
    openings: Openings,
    budget: TokenBudget,
    shards: ShardCounts,
}

impl<'a> RowsBuilder<'a> {
    /// A builder that keeps the held-out documents of the first `opening` shards, after `before` tokens of a cap.
    fn new(
        tokenizer: &'a Tokenizer,
        options: &'a RowsOptions,
        opening: usize,
        before: u64,
        sink: &'a mut dyn FileSink,
    ) -> Result<Self, BuildError> {
        check_rows_options(options)?;
        let (pad, width) = (tokenizer.pad()?, compute_bytes_per_id(tokenizer.rows()));
        let (train, held_out) = (RowsPart::new(options, pad), RowsPart::new(options, pad));
        let (openings, budget) = (Openings::default(), TokenBudget::after(before, options));
        let (files, shards) = (RowsFiles::create(sink)?, ShardCounts::new(opening));
        Ok(Self { tokenizer, options, pad, width, train, held_out, files, openings, budget, shards })
    }

    /// Reads, encodes and adds documents until they end or the cap is reached.
    fn take_all(
        &mut self,
        documents: impl Iterator<Item = Result<PlacedDocument, CorpusError>>,
        threads: usize,
        interrupt: &AtomicBool,
    ) -> Result<(), BuildError> {
        let (made, opening) = (self.shards.current(), self.shards.opening);
        let encoder = DocumentEncoder { tokenizer: self.tokenizer, options: self.options, made, opening };
        let mut batches = Batches::new(documents, self.tokenizer, made);
        with_threads(
            threads,
            |batch| encoder.encode_batch(batch, interrupt),
            |mut threads| {
                let mut unpacked = VecDeque::new();
                while !self.budget.is_spent() {
                    give_batches(&mut threads, &mut batches, &self.budget, &mut unpacked);
                    let Some(mut encoded) = threads.take() else { break };
                    unpacked.pop_front();
                    self.add_batch(&mut encoded)?;
                    encoded.fault.map_or(Ok(()), Err)?;
                }
                Ok::<_, BuildError>(())
            },
        )
    }

    fn add_batch(&mut self, batch: &mut EncodedBatch) -> Result<(), BuildError> {
        batch.documents.iter_mut().try_for_each(|encoded| self.add(encoded))
    }

    /// Packs a document, and writes the rows that it completes.
    fn add(&mut self, encoded: &mut EncodedDocument) -> Result<(), BuildError> {
        let EncodedDocument { document, shard, held_out, examples } = encoded;
        self.openings.add(document);
        while self.shards.current() < *shard {
            self.end_shard()?;
            self.note_progress()?;
        }
        if *held_out && *shard >= self.shards.opening {
            self.shards.held_out_later += 1;
            return Ok(());
        }
        if !*held_out && *shard < self.shards.current() {
            // Its rows are there. That conversations were read still counts.
            return match document {
                Document::Chat(_) => self.files.chats().map(drop),
                Document::Text(_) => Ok(()),
            };
        }
        if !*held_out {
            self.budget.take(examples);
        }
        let (part, file) = match held_out {
            true => (&mut self.held_out, &mut self.files.held_out),
            false => (&mut self.train, &mut self.files.train),
        };
        for example in examples {
            let rows = part.push(example.as_ref());
            file.write(&part.encode_rows(&rows, self.width))?;
        }
        match document {
            Document::Chat(talk) => self.record_chats(talk, *held_out),
            Document::Text(_) => Ok(()),
        }
    }

    /// Records the answers of a held-out conversation, each with the turns before it.
    fn record_chats(&mut self, talk: &Conversation, held_out: bool) -> Result<(), BuildError> {
        let file = self.files.chats()?;
        for chat in talk.chats().filter(|_| held_out) {
            let mut line = serde_json::to_vec(&chat).map_err(|cause| write_error(HELD_OUT)(cause.into()))?;
            line.push(b'\n');
            file.write(&line)?;
        }
        Ok(())
    }

    /// Ends the current shard: the next document begins a new row.
    fn end_shard(&mut self) -> Result<(), BuildError> {
        let rest = self.train.end_shard(self.width);
        self.files.train.write(&rest)?;
        self.shards.end(&self.train.counts);
        Ok(())
    }

    /// Notes that all shards so far are made, if the file of the rows is kept.
    fn note_progress(&mut self) -> Result<(), BuildError> {
        let ShardCounts { rows, opening_counts, .. } = &self.shards;
        let (rows, train, used) = (rows.clone(), self.train.counts, self.budget.used());
        let progress = RowsProgress { rows, opening_counts: *opening_counts, train, used };
        let step = progress.shards() as u64;
        let state = serde_json::to_value(progress).map_err(|cause| write_error(RECORDS)(cause.into()))?;
        self.files.train.note(step, &state)
    }

    /// Ends the only shard that was built.
    fn finish_shard(mut self) -> Result<BuiltShard, BuildError> {
        self.end_shard()?;
        let held_out = self.shards.held_out_later;
        let (train, ends_the_dataset) = (self.train.counts, self.budget.is_spent());
        self.files.finish(&[])?;
        Ok(BuiltShard { train, held_out, ends_the_dataset })
    }

    fn finish(mut self, built: &BuiltShards<'_>) -> Result<RowsSummary, BuildError> {
        self.end_shard()?;
        let last_held_out = self.held_out.end_shard(self.width);
        let (train, held_out) = (self.train.counts, self.held_out.counts);
        let shards = built.summarize(&self.shards, self.options.cap.is_some());
        let chats = self.files.has_chats();
        let RowsOptions { length, packing, canvas, end_of_document, .. } = *self.options;
        let shape = RowsShape { length, canvas, packing, chats };
        if let Some((problem, fix)) = shape.refuse_majority_dropped(&train) {
            return Err(options_error(problem, fix));
        }
        if train.rows == 0 {
            let fix = "lower the held-out share or make the rows longer";
            return Err(self.openings.explain("no document is left for training", fix));
        }
        if shards.opening_rows == 0 {
            let problem = format!(
                "no document of the first {} of {} shards is left for training",
                built.opening(),
                shards.count
            );
            return Err(options_error(problem, "raise `shard=` of the rows, or leave out the first files"));
        }
        if self.options.held_out > 0.0 && held_out.rows == 0 {
            let fix = "raise the held-out share or add documents";
            return Err(self.openings.explain("no document is held out", fix));
        }
        let summary = RowsSummary {
            format: FORMAT,
            length,
            vocabulary: self.tokenizer.rows(),
            bytes_per_id: self.width,
            packing,
            canvas,
            answer_block: self.options.answer_block,
            specials: self.options.specials,
            end_of_document,
            tokenizer: self.tokenizer.digest(),
            chats,
            chat_template: self.tokenizer.template().map(|template| template.digest().to_owned()),
            pad: self.pad,
            end_of_document_id: self.tokenizer.end_of_document().ok(),
            end_of_turn_id: self.tokenizer.end_of_turn().ok(),
            shards,
            train,
            held_out,
        };
        self.files.held_out.write(&last_held_out)?;
        let described = serialize_summary(&summary)?;
        self.files.finish(&[("tokenizer.json", self.tokenizer.json()), (SUMMARY, &described)])?;
        Ok(summary)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod quickstart;
