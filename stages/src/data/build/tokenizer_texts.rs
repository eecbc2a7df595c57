//! What a tokenizer is trained on.

use std::sync::atomic::AtomicBool;

use super::BuildError;
use crate::data::chat;
use crate::data::corpus::{CorpusError, Document, Message};
use crate::data::tokenizer::{TokenizerFiles, train_byte_level_bpe};

/// The texts that a tokenizer is trained on: all documents outside the held-out `fraction`. The messages of a conversation
/// come with the names of their speakers, so that those names become tokens.
pub(super) fn select_training_texts<E>(
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
