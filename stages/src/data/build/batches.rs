//! Reads documents ahead of those that are packed, in batches, and never beyond a cap.

use std::collections::VecDeque;
use std::path::PathBuf;

use fmflow_engine::documents::RecordPlace;

use super::budget::TokenBudget;
use super::encode::EncodedBatch;
use super::threads::WorkThreads;
use crate::data::corpus::{CorpusError, Document};
use crate::data::tokenizer::Tokenizer;

/// Bytes of text after which a batch ends.
const BATCH_BYTES: usize = 256 << 10;

/// Documents after which a batch ends.
const BATCH_DOCUMENTS: usize = 1024;

/// A document, and where it ends in its file.
#[derive(Clone, Debug)]
pub(crate) struct PlacedDocument {
    /// The document.
    pub document: Document,
    /// Its file and the place in it, if it comes from one.
    pub place: Option<(PathBuf, RecordPlace)>,
    /// The number of its shard. Documents come in the order of their shards.
    pub shard: usize,
}

/// Documents that are encoded by one thread, in order.
#[derive(Default)]
pub(super) struct DocumentBatch {
    pub(super) documents: Vec<PlacedDocument>,
    /// The fault at which reading ended, after these documents.
    pub(super) fault: Option<CorpusError>,
    /// Tokens that the documents can have at most; `None` if nobody knows.
    pub(super) most_tokens: Option<u64>,
}

/// Makes batches of documents.
pub(super) struct Batches<'a, D> {
    documents: D,
    tokenizer: &'a Tokenizer,
    ended: bool,
    /// The first shards whose rows are made already: their documents take nothing from a cap.
    made: usize,
}

impl<'a, D: Iterator<Item = Result<PlacedDocument, CorpusError>>> Batches<'a, D> {
    pub(super) fn new(documents: D, tokenizer: &'a Tokenizer, made: usize) -> Self {
        Self { documents, tokenizer, ended: false, made }
    }

    /// The next batch; `None` at the end, or if a document of those before it could be the last one that a cap lets in.
    ///
    /// What a dataset says of itself counts the documents that were read. So with `left` tokens of a cap, a document is read
    /// only if all before it that are not packed, which have at most `unpacked` tokens, cannot use them up.
    pub(super) fn next(&mut self, left: Option<u64>, unpacked: Option<u64>) -> Option<DocumentBatch> {
        let mut batch = DocumentBatch { most_tokens: Some(0), ..DocumentBatch::default() };
        let mut bytes = 0;
        let may_read = |batch: &DocumentBatch| match left {
            None => true,
            Some(left) => {
                let before = unpacked.zip(batch.most_tokens).map(|(a, b)| a.saturating_add(b));
                before.is_some_and(|before| before < left)
            }
        };
        while !self.ended
            && bytes < BATCH_BYTES
            && batch.documents.len() < BATCH_DOCUMENTS
            && may_read(&batch)
        {
            match self.documents.next() {
                Some(Ok(placed)) => {
                    bytes += count_bytes(&placed.document);
                    let most = match placed.shard < self.made {
                        true => Some(0),
                        false => find_most_tokens(&placed.document, self.tokenizer),
                    };
                    batch.most_tokens = batch.most_tokens.zip(most).map(|(a, b)| a.saturating_add(b));
                    batch.documents.push(placed);
                }
                Some(Err(fault)) => (batch.fault, self.ended) = (Some(fault), true),
                None => self.ended = true,
            }
        }
        (!batch.documents.is_empty() || batch.fault.is_some()).then_some(batch)
    }
}

/// Reads batches for all threads that have room, as far as the cap allows. `unpacked` are the most tokens of each batch that is not packed.
pub(super) fn give_batches<D: Iterator<Item = Result<PlacedDocument, CorpusError>>>(
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

fn count_bytes(document: &Document) -> usize {
    match document {
        Document::Text(text) => text.len(),
        Document::Chat(talk) => talk.messages().iter().map(|turn| turn.content.len()).sum(),
    }
}

/// Tokens that a document can have at most, with its end. A template can make anything of a conversation.
fn find_most_tokens(document: &Document, tokenizer: &Tokenizer) -> Option<u64> {
    match document {
        Document::Text(text) => tokenizer.most_tokens(text).map(|most| most as u64 + 1),
        Document::Chat(_) => None,
    }
}
