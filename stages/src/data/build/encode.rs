//! Turns documents into ids, on any number of threads.

use std::sync::atomic::{AtomicBool, Ordering};

use fmflow_engine::pipeline::config::SpecialNames;

use super::batches::{DocumentBatch, PlacedDocument};
use super::error::{BuildError, options_error};
use super::options::RowsOptions;
use crate::data::chat;
use crate::data::corpus::{Chat, Conversation, Document};
use crate::data::packing::{Example, Packing, PositionRole};
use crate::data::tokenizer::{Tokenizer, TokenizerError};

/// Documents with their ids, in order.
pub(super) struct EncodedBatch {
    pub(super) documents: Vec<EncodedDocument>,
    /// What ended the reading or the encoding, after these documents.
    pub(super) fault: Option<BuildError>,
}

pub(super) struct EncodedDocument {
    pub(super) document: Document,
    pub(super) shard: usize,
    pub(super) held_out: bool,
    /// `None` stands for an answer that does not fit its canvas.
    pub(super) examples: Vec<Option<Example>>,
}

/// Turns documents into ids. It has no state, so that several threads can share it.
pub(super) struct DocumentEncoder<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) options: &'a RowsOptions,
    /// The first shards whose rows are made already: only what they hold out is encoded.
    pub(super) made: usize,
    /// The first shards whose held-out documents are kept.
    pub(super) opening: usize,
}

impl DocumentEncoder<'_> {
    /// Encodes a batch up to its first fault.
    pub(super) fn encode_batch(&self, batch: DocumentBatch, interrupt: &AtomicBool) -> EncodedBatch {
        let mut documents = Vec::with_capacity(batch.documents.len());
        for PlacedDocument { document, place, shard } in batch.documents {
            let stopped = interrupt.load(Ordering::SeqCst);
            let held_out = document.is_held_out(self.options.held_out);
            let kept = if held_out { shard < self.opening } else { shard >= self.made };
            let examples = match kept {
                _ if stopped => Err(TokenizerError::Interrupted.into()),
                true => self.examples(&document),
                false => Ok(Vec::new()),
            };
            match examples {
                Ok(examples) => {
                    documents.push(EncodedDocument { document, shard, held_out, examples });
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
