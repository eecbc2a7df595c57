//! Turns a dataset into rows in one pass: read, encode, pack, write.
//!
//! Documents stream through: one thread reads them in batches, several encode them, and the first packs and writes them in their order. Only
//! these batches and the open rows are in memory, and the bytes depend on the documents alone.

mod batches;
mod budget;
mod error;
mod files;
mod openings;
mod options;
mod rows_part;
mod threads;
mod tokenizer_texts;

pub(crate) use batches::PlacedDocument;

pub(crate) use error::BuildError;

use super::chat;
use super::corpus::{Chat, Conversation, CorpusError, Document};
use super::dropped::RowsShape;
use super::packing::{Example, Packing, PositionRole};
use super::rows::{FORMAT, FileSink, HELD_OUT, RowsSummary, SUMMARY, compute_bytes_per_id};
use super::tokenizer::{Tokenizer, TokenizerError};
use batches::{Batches, DocumentBatch};
use budget::TokenBudget;
use error::options_error;
use files::{RowsFiles, write_error};
use fmflow_engine::pipeline::config::SpecialNames;
use openings::Openings;
pub(crate) use options::RowsOptions;
use options::check_rows_options;
use rows_part::RowsPart;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use threads::{WorkThreads, with_threads};
pub(crate) use tokenizer_texts::train_tokenizer;

/// Makes the rows of a dataset and writes them to `sink`, with everything that is needed to read them. Documents are encoded on
/// `threads` threads; their number changes no byte.
///
/// # Errors
/// If data cannot be read or encoded, the options do not fit the data, a write fails, `interrupt` is set, or there is not a
/// single training row.
pub(crate) fn build_rows(
    documents: impl Iterator<Item = Result<PlacedDocument, CorpusError>>,
    tokenizer: &Tokenizer,
    options: &RowsOptions,
    sink: &mut dyn FileSink,
    threads: usize,
    interrupt: &AtomicBool,
) -> Result<RowsSummary, BuildError> {
    check_rows_options(options)?;
    let encoder = DocumentEncoder { tokenizer, options };
    let mut builder = RowsBuilder::new(tokenizer, options, sink)?;
    let mut batches = Batches::new(documents, tokenizer);
    with_threads(
        threads,
        |batch| encoder.encode_batch(batch, interrupt),
        |mut threads| {
            let mut unpacked = VecDeque::new();
            while !builder.budget.is_spent() {
                give_batches(&mut threads, &mut batches, &builder.budget, &mut unpacked);
                let Some(mut encoded) = threads.take() else { break };
                unpacked.pop_front();
                builder.add_batch(&mut encoded)?;
                encoded.fault.map_or(Ok(()), Err)?;
            }
            Ok::<_, BuildError>(())
        },
    )?;
    builder.budget.check()?;
    builder.finish()
}

/// Reads batches for all threads that have room, as far as the cap allows. `unpacked` are the most tokens of each batch that is not packed.
fn give_batches<D: Iterator<Item = Result<PlacedDocument, CorpusError>>>(
    threads: &mut WorkThreads<DocumentBatch, EncodedBatch>,
    batches: &mut Batches<'_, D>,
    budget: &TokenBudget,
    unpacked: &mut VecDeque<Option<u64>>,
) {
    while threads.has_room() {
        let most = unpacked.iter().try_fold(0_u64, |sum, most| most.map(|most| sum.saturating_add(most)));
        let Some(batch) = batches.next(budget.left(), most) else { break };
        unpacked.push_back(batch.most_tokens);
        threads.give(batch);
    }
}

fn serialize_summary(value: &impl serde::Serialize) -> Result<Vec<u8>, BuildError> {
    serde_json::to_vec_pretty(value).map_err(|cause| write_error(SUMMARY)(cause.into()))
}

/// Documents with their ids, in order.
struct EncodedBatch {
    documents: Vec<EncodedDocument>,
    /// What ended the reading or the encoding, after these documents.
    fault: Option<BuildError>,
}

struct EncodedDocument {
    document: Document,
    held_out: bool,
    /// `None` stands for an answer that does not fit its canvas.
    examples: Vec<Option<Example>>,
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
}

impl<'a> RowsBuilder<'a> {
    fn new(
        tokenizer: &'a Tokenizer,
        options: &'a RowsOptions,
        sink: &'a mut dyn FileSink,
    ) -> Result<Self, BuildError> {
        let (pad, width) = (tokenizer.pad()?, compute_bytes_per_id(tokenizer.rows()));
        let (train, held_out) = (RowsPart::new(options, pad), RowsPart::new(options, pad));
        let (openings, budget) = (Openings::default(), TokenBudget::new(options));
        let files = RowsFiles::create(sink)?;
        Ok(Self { tokenizer, options, pad, width, train, held_out, files, openings, budget })
    }

    fn add_batch(&mut self, batch: &mut EncodedBatch) -> Result<(), BuildError> {
        batch.documents.iter_mut().try_for_each(|encoded| self.add(encoded))
    }

    /// Packs a document, and writes the rows that it completes.
    fn add(&mut self, encoded: &mut EncodedDocument) -> Result<(), BuildError> {
        let EncodedDocument { document, held_out, examples } = encoded;
        self.openings.add(document);
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

    fn finish(mut self) -> Result<RowsSummary, BuildError> {
        let (train, last_train) = self.train.finish(self.width);
        let (held_out, last_held_out) = self.held_out.finish(self.width);
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
            train,
            held_out,
        };
        self.files.train.write(&last_train)?;
        self.files.held_out.write(&last_held_out)?;
        let described = serialize_summary(&summary)?;
        self.files.finish(&[("tokenizer.json", self.tokenizer.json()), (SUMMARY, &described)])?;
        Ok(summary)
    }
}

/// Turns documents into ids. It has no state, so that several threads can share it.
struct DocumentEncoder<'a> {
    tokenizer: &'a Tokenizer,
    options: &'a RowsOptions,
}

impl DocumentEncoder<'_> {
    /// Encodes a batch up to its first fault.
    fn encode_batch(&self, batch: DocumentBatch, interrupt: &AtomicBool) -> EncodedBatch {
        let mut documents = Vec::with_capacity(batch.documents.len());
        for PlacedDocument { document, place } in batch.documents {
            let stopped = interrupt.load(Ordering::SeqCst);
            let examples =
                if stopped { Err(TokenizerError::Interrupted.into()) } else { self.examples(&document) };
            match examples {
                Ok(examples) => {
                    let held_out = document.is_held_out(self.options.held_out);
                    documents.push(EncodedDocument { document, held_out, examples });
                }
                Err(fault) => {
                    let place = place.as_ref().map(|(file, place)| (file.as_path(), *place));
                    return EncodedBatch { documents, fault: Some(fault.at_document(place)) };
                }
            }
        }
        EncodedBatch { documents, fault: batch.fault.map(BuildError::from) }
    }

    /// The examples of a document; a conversation gives one per answer. `None` stands for an answer that does not fit its
    /// canvas.
    fn examples(&self, document: &Document) -> Result<Vec<Option<Example>>, BuildError> {
        match document {
            Document::Text(text) => Ok(vec![Some(self.document(self.encode_document(text)?)?)]),
            Document::Chat(talk) => match self.options.packing {
                Packing::Concat => Ok(vec![self.whole(talk)?]),
                Packing::FirstFit => talk.chats().map(|chat| self.example(&chat)).collect(),
            },
        }
    }

    fn encode_document(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self.options.specials.unwrap_or(SpecialNames::Text) {
            SpecialNames::Text => self.tokenizer.encode_plain(text),
            SpecialNames::Token => self.tokenizer.encode(text),
        }
    }

    fn example(&self, chat: &Chat) -> Result<Option<Example>, BuildError> {
        Ok(chat::encode_example(self.tokenizer, chat, self.options.answer_room())?)
    }

    /// With rows laid end to end, a conversation is a document like any other: all of it is learned, nothing is given.
    fn whole(&self, talk: &Conversation) -> Result<Option<Example>, BuildError> {
        if !talk.is_learned_whole() {
            return Err(options_error(
                "an answer is marked not to be learned, but packing=\"concat\" learns everything",
                "choose packing=\"first-fit\", or remove its `weight`",
            ));
        }
        let (last, given) = talk.messages().split_last().expect("a conversation ends with an answer");
        let (mut tokens, answer) = chat::encode_turn(self.tokenizer, given, &last.content)?;
        tokens.extend(answer);
        self.document(tokens).map(Some)
    }

    /// An example whose tokens are all learned, including the end of the document if one is added.
    fn document(&self, mut tokens: Vec<u32>) -> Result<Example, BuildError> {
        if self.options.end_of_document {
            tokens.push(self.tokenizer.end_of_document()?);
        }
        Ok(Example { roles: vec![PositionRole::Supervised; tokens.len()], tokens })
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod quickstart;
