//! Turns a dataset into rows in one pass: read, encode, pack, write.
//!
//! Documents stream through. Only the open rows and the held-out part stay in memory: held-out rows come last in the file.

mod budget;
mod error;
mod openings;
mod options;
mod rows_part;

pub(crate) use error::BuildError;

use super::chat;
use super::corpus::{Chat, Conversation, CorpusError, Document, Message};
use super::dropped::RowsShape;
use super::packing::{Example, Packing, PositionRole};
use super::rows::{FORMAT, FileSink, HELD_OUT, RECORDS, RowsSummary, SUMMARY, compute_bytes_per_id};
use super::tokenizer::{Tokenizer, TokenizerError, TokenizerFiles, train_byte_level_bpe};
use budget::TokenBudget;
use error::options_error;
use fmflow_engine::pipeline::config::SpecialNames;
use openings::Openings;
pub(crate) use options::RowsOptions;
use options::check_rows_options;
use rows_part::RowsPart;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// The texts that a tokenizer is trained on: all documents outside the held-out `fraction`. The messages of a conversation
/// come with the names of their speakers, so that those names become tokens.
pub(crate) fn select_training_texts<E>(
    documents: impl Iterator<Item = Result<Document, E>>,
    fraction: f64,
) -> impl Iterator<Item = Result<String, E>> {
    documents.filter(move |found| !found.as_ref().is_ok_and(|d| d.is_held_out(fraction))).flat_map(|found| {
        match found {
            Ok(Document::Text(text)) => vec![Ok(text)],
            Ok(Document::Chat(talk)) => talk.messages().iter().map(|turn| Ok(format_turn(turn))).collect(),
            Err(error) => vec![Err(error)],
        }
    })
}

fn format_turn(turn: &Message) -> String {
    format!("{}\n{}", chat::to_speaker_name(turn.role), turn.content)
}

/// Trains a tokenizer for a model with `vocabulary` embedding rows on the training part of `datasets`, given as
/// (documents, held-out share).
///
/// # Errors
/// If data cannot be read, the vocabulary is too small, or `interrupt` is set.
pub(crate) fn train_tokenizer<D>(
    datasets: Vec<(D, f64)>,
    vocabulary: u32,
    interrupt: &AtomicBool,
) -> Result<TokenizerFiles, BuildError>
where
    D: Iterator<Item = Result<Document, CorpusError>>,
{
    let texts =
        datasets.into_iter().flat_map(|(documents, held_out)| select_training_texts(documents, held_out));
    train_byte_level_bpe(texts.map(|text| text.map_err(BuildError::from)), vocabulary, interrupt)
}

/// Makes the rows of a dataset and writes them to `sink`, with everything that is needed to read them.
///
/// # Errors
/// If data cannot be read or encoded, the options do not fit the data, a write fails, `interrupt` is set, or there is not a
/// single training row.
pub(crate) fn build_rows(
    documents: impl Iterator<Item = Result<Document, CorpusError>>,
    tokenizer: &Tokenizer,
    options: &RowsOptions,
    sink: &mut dyn FileSink,
    interrupt: &AtomicBool,
) -> Result<RowsSummary, BuildError> {
    check_rows_options(options)?;
    let mut builder = RowsBuilder::new(tokenizer, options)?;
    let write = |file| move |cause| BuildError::Write { file, cause };
    let mut records = sink.file(RECORDS).map_err(write(RECORDS))?;
    for document in documents {
        if interrupt.load(Ordering::SeqCst) {
            return Err(TokenizerError::Interrupted.into());
        }
        let full = builder.add(&document?)?;
        records.write_all(&full).map_err(write(RECORDS))?;
        if builder.budget.is_spent() {
            break;
        }
    }
    builder.budget.check()?;
    let FinishedRows { summary, rest, chats } = builder.finish()?;
    records.write_all(&rest).and_then(|()| records.flush()).map_err(write(RECORDS))?;
    drop(records);
    let mut file = |name, bytes: &[u8]| {
        let mut out = sink.file(name)?;
        out.write_all(bytes)?;
        out.flush()
    };
    if let Some(chats) = chats {
        file(HELD_OUT, &chats).map_err(write(HELD_OUT))?;
    }
    file("tokenizer.json", tokenizer.json()).map_err(write("tokenizer.json"))?;
    file(SUMMARY, &serialize_summary(&summary)?).map_err(write(SUMMARY))?;
    Ok(summary)
}

fn serialize_summary(value: &impl serde::Serialize) -> Result<Vec<u8>, BuildError> {
    let text = serde_json::to_vec_pretty(value);
    text.map_err(|cause| BuildError::Write { file: SUMMARY, cause: cause.into() })
}

struct FinishedRows {
    summary: RowsSummary,
    /// Records of the training rows that were still open, then of all held-out rows.
    rest: Vec<u8>,
    /// Lines of the held-out conversations; `None` for a dataset of text.
    chats: Option<Vec<u8>>,
}

struct RowsBuilder<'a> {
    tokenizer: &'a Tokenizer,
    options: &'a RowsOptions,
    pad: u32,
    width: usize,
    train: RowsPart,
    held_out: RowsPart,
    held_out_records: Vec<u8>,
    chats: Option<Vec<u8>>,
    openings: Openings,
    budget: TokenBudget,
}

impl<'a> RowsBuilder<'a> {
    fn new(tokenizer: &'a Tokenizer, options: &'a RowsOptions) -> Result<Self, BuildError> {
        let (pad, width) = (tokenizer.pad()?, compute_bytes_per_id(tokenizer.rows()));
        let (train, held_out) = (RowsPart::new(options, pad), RowsPart::new(options, pad));
        let (held_out_records, openings) = (Vec::new(), Openings::default());
        let budget = TokenBudget::new(options);
        Ok(Self {
            tokenizer,
            options,
            pad,
            width,
            train,
            held_out,
            held_out_records,
            chats: None,
            openings,
            budget,
        })
    }

    /// Adds a document; returns the bytes of the training rows that it completes.
    fn add(&mut self, document: &Document) -> Result<Vec<u8>, BuildError> {
        let held_out = document.is_held_out(self.options.held_out);
        self.openings.add(document);
        let mut full = Vec::new();
        let mut examples = self.examples(document)?;
        if !held_out {
            self.budget.take(&mut examples);
        }
        for example in examples {
            if held_out {
                let rows = self.held_out.push(example.as_ref());
                self.held_out_records.extend(self.held_out.encode_rows(&rows, self.width));
            } else {
                let rows = self.train.push(example.as_ref());
                full.extend(self.train.encode_rows(&rows, self.width));
            }
        }
        if let (Document::Chat(talk), true) = (document, held_out) {
            self.record_held_out_chats(talk)?;
        }
        Ok(full)
    }

    /// Records the answers of a held-out conversation, each with the turns before it.
    fn record_held_out_chats(&mut self, talk: &Conversation) -> Result<(), BuildError> {
        let lines = self.chats.get_or_insert_default();
        for chat in talk.chats() {
            let line = serde_json::to_vec(&chat);
            lines.extend(line.map_err(|cause| BuildError::Write { file: HELD_OUT, cause: cause.into() })?);
            lines.push(b'\n');
        }
        Ok(())
    }

    /// The examples of a document; a conversation gives one per answer. `None` stands for an answer that does not fit its
    /// canvas.
    fn examples(&mut self, document: &Document) -> Result<Vec<Option<Example>>, BuildError> {
        match document {
            Document::Text(text) => Ok(vec![Some(self.document(self.encode_document(text)?)?)]),
            Document::Chat(talk) => {
                self.chats.get_or_insert_default();
                match self.options.packing {
                    Packing::Concat => Ok(vec![self.whole(talk)?]),
                    Packing::FirstFit => talk.chats().map(|chat| self.example(&chat)).collect(),
                }
            }
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

    fn finish(self) -> Result<FinishedRows, BuildError> {
        let (train, mut rest) = self.train.finish(self.width);
        let (held_out, last) = self.held_out.finish(self.width);
        let RowsOptions { length, packing, canvas, end_of_document, .. } = *self.options;
        let shape = RowsShape { length, canvas, packing, chats: self.chats.is_some() };
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
        rest.extend(self.held_out_records);
        rest.extend(last);
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
            chats: self.chats.is_some(),
            chat_template: self.tokenizer.template().map(|template| template.digest().to_owned()),
            pad: self.pad,
            end_of_document_id: self.tokenizer.end_of_document().ok(),
            end_of_turn_id: self.tokenizer.end_of_turn().ok(),
            train,
            held_out,
        };
        Ok(FinishedRows { summary, rest, chats: self.chats })
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod quickstart;
