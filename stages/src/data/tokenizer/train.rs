//! Trains a tokenizer: a function from the multiset of texts to the bytes of `tokenizer.json`.
//!
//! The layout is Qwen3's: 256 bytes, merges, special tokens, and at least one reserved row after them.

use super::pattern::QWEN_PATTERN;
use super::{END_OF_DOCUMENT, END_OF_TURN, START_OF_TURN, Tokenizer, TokenizerError, Vocabulary};
use crate::data::bpe;
use crate::data::template::CHAT_TEMPLATE;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Qwen3's added tokens in their order, each with whether decoding hides it.
pub(super) const QWEN3: [(&str, bool); 26] = [
    (END_OF_DOCUMENT, true),
    (START_OF_TURN, true),
    (END_OF_TURN, true),
    ("<|object_ref_start|>", true),
    ("<|object_ref_end|>", true),
    ("<|box_start|>", true),
    ("<|box_end|>", true),
    ("<|quad_start|>", true),
    ("<|quad_end|>", true),
    ("<|vision_start|>", true),
    ("<|vision_end|>", true),
    ("<|vision_pad|>", true),
    ("<|image_pad|>", true),
    ("<|video_pad|>", true),
    ("<tool_call>", false),
    ("</tool_call>", false),
    ("<|fim_prefix|>", false),
    ("<|fim_middle|>", false),
    ("<|fim_suffix|>", false),
    ("<|fim_pad|>", false),
    ("<|repo_name|>", false),
    ("<|file_sep|>", false),
    ("<tool_response>", false),
    ("</tool_response>", false),
    ("<think>", false),
    ("</think>", false),
];

/// The smallest vocabulary that can be trained: bytes, special tokens, one reserved row.
pub(crate) const MIN_VOCABULARY: u32 = 256 + QWEN3.len() as u32 + 1;

/// The files of a trained tokenizer, to be written under these names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenizerFiles {
    /// `tokenizer.json`: vocabulary, merges and rules.
    pub tokenizer: Vec<u8>,
    /// `tokenizer_config.json`: special tokens and chat template, for other tools.
    pub config: Vec<u8>,
    /// `vocabulary.json`: the number of embedding rows, and how many of them have a text.
    pub vocabulary: Vec<u8>,
}

impl TokenizerFiles {
    /// (name, bytes) of every file, in the order in which they are written.
    #[must_use]
    pub(crate) fn all(&self) -> [(&'static str, &[u8]); 3] {
        [
            ("tokenizer.json", &self.tokenizer),
            ("tokenizer_config.json", &self.config),
            ("vocabulary.json", &self.vocabulary),
        ]
    }
}

/// Trains a byte-level BPE on `texts` for a model with `vocabulary` embedding rows, including special tokens and one
/// reserved row.
///
/// The result is a function of the multiset of texts: equal texts in any order give equal bytes. If too little repeats, fewer
/// merges are learned and more rows stay reserved.
///
/// # Errors
/// If the vocabulary is below [`MIN_VOCABULARY`], a text cannot be split, `texts` yields an error, or `interrupt` is set.
pub(crate) fn train_byte_level_bpe<E: From<TokenizerError>>(
    texts: impl Iterator<Item = Result<String, E>>,
    vocabulary: u32,
    interrupt: &AtomicBool,
) -> Result<TokenizerFiles, E> {
    if vocabulary < MIN_VOCABULARY {
        return Err(TokenizerError::TooSmall { asked: vocabulary, least: MIN_VOCABULARY }.into());
    }
    let bytes = bpe::Merges { tokens: bpe::list_byte_letters(), merges: Vec::new() };
    let splitter = Tokenizer::from_bytes("base", build_tokenizer_json(&bytes).to_string().into_bytes())?;
    let mut words = BTreeMap::new();
    for text in texts {
        if interrupt.load(Ordering::SeqCst) {
            return Err(TokenizerError::Interrupted.into());
        }
        for word in splitter.words(&text?)? {
            *words.entry(word).or_default() += 1;
        }
    }
    let learned = bpe::learn_merges(&words, vocabulary as usize - QWEN3.len() - 1, interrupt)
        .ok_or(TokenizerError::Interrupted)?;
    let used = (learned.tokens.len() + QWEN3.len()) as u32;
    Ok(TokenizerFiles {
        tokenizer: format_json_bytes(&build_tokenizer_json(&learned)),
        config: format_json_bytes(&build_tokenizer_config(learned.tokens.len())),
        vocabulary: format_json_bytes(&json!(Vocabulary { rows: vocabulary, used })),
    })
}

fn format_json_bytes(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// `tokenizer.json` with the learned merges, followed by Qwen3's special tokens.
fn build_tokenizer_json(learned: &bpe::Merges) -> Value {
    let added: Vec<Value> =
        list_added_tokens(learned.tokens.len()).map(|(id, token)| add_token_id(id, token)).collect();
    let name = |id: u32| &learned.tokens[id as usize];
    let merges: Vec<[&String; 2]> = learned.merges.iter().map(|&(a, b)| [name(a), name(b)]).collect();
    let vocabulary: Map<String, Value> =
        learned.tokens.iter().cloned().zip((0..).map(|id: u32| json!(id))).collect();
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN_PATTERN}, "behavior": "Isolated", "invert": false}, bytes]},
        "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges},
    })
}

/// Qwen3's added tokens, with ids from `first` on.
fn list_added_tokens(first: usize) -> impl Iterator<Item = (usize, Value)> {
    QWEN3.iter().enumerate().map(move |(at, (content, special))| {
        let token = json!({"content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special});
        (first + at, token)
    })
}

fn add_token_id(id: usize, token: Value) -> Value {
    let mut object = Map::from_iter([("id".to_owned(), json!(id))]);
    if let Value::Object(fields) = token {
        object.extend(fields);
    }
    Value::Object(object)
}

fn build_tokenizer_config(first: usize) -> Value {
    let decoder: Map<String, Value> =
        list_added_tokens(first).map(|(id, token)| (id.to_string(), token)).collect();
    json!({
        "tokenizer_class": "Qwen2Tokenizer", "add_bos_token": false, "add_prefix_space": false,
        "bos_token": null, "unk_token": null, "eos_token": END_OF_TURN, "pad_token": END_OF_DOCUMENT,
        "clean_up_tokenization_spaces": false, "split_special_tokens": false,
        "added_tokens_decoder": decoder, "chat_template": CHAT_TEMPLATE,
    })
}
