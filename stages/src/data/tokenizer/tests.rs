//! Tests of the tokenizer.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

const TEXT: &str =
    "sort: d a c b e f g h i j\nreverse: a b c\nuser\nassistant\nThe user asks, the assistant answers.";

pub(in crate::data) fn train_on(texts: &[&str], vocabulary: u32) -> Result<TokenizerFiles, TokenizerError> {
    let texts = texts.iter().map(|text| Ok::<_, TokenizerError>((*text).to_owned()));
    train_byte_level_bpe(texts, vocabulary, &AtomicBool::new(false))
}

pub(in crate::data) fn small_files() -> TokenizerFiles {
    train_on(&[TEXT, TEXT], 320).unwrap()
}

/// A tokenizer with 320 rows in which the letters a to j are single tokens, with and without a leading space.
pub(crate) fn small() -> Tokenizer {
    static SMALL: OnceLock<Tokenizer> = OnceLock::new();
    let make = || Tokenizer::from_bytes("small", small_files().tokenizer).unwrap().with_rows(320).unwrap();
    SMALL.get_or_init(make).clone()
}

/// Set E of the oracles: its tokenizer and one of its files. A missing folder is an error if the environment requires it.
pub(in crate::data) fn oracle(name: &str) -> Option<(Tokenizer, Value)> {
    let named = std::env::var_os("FMFLOW_ORACLE");
    let asked = named.is_some() || std::env::var_os("CI").is_some();
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/oracle/dev"));
    let set = named.map_or_else(default, PathBuf::from).join("E_tokenizer");
    if !set.is_dir() {
        assert!(!asked, "{} is missing", set.display());
        eprintln!("skipped: no oracle in {}", set.display());
        return None;
    }
    let cases = serde_json::from_slice(&std::fs::read(set.join(name)).unwrap()).unwrap();
    Some((Tokenizer::open(&set).unwrap(), cases))
}

#[test]
fn ids_and_texts_are_those_of_the_reference() {
    let Some((tokenizer, cases)) = oracle("encode_cases.json") else { return };
    for (token, id) in cases["special_ids"].as_object().unwrap() {
        assert_eq!(json!(tokenizer.id(token)), *id);
    }
    for case in cases["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(json!(ids), case["ids"], "{text:?}");
        assert_eq!(json!(tokenizer.decode(&ids, true).unwrap()), case["decode_keep_special"], "{text:?}");
        assert_eq!(json!(tokenizer.decode(&ids, false).unwrap()), case["decode_skip_special"], "{text:?}");
    }
}

#[test]
fn the_bytes_of_tokens_are_those_of_their_text() {
    let tokenizer = small();
    let text = "The user äsks 🦀, the\nassistant";
    let ids = tokenizer.encode_plain(text).unwrap();
    let bytes = |ids: &[u32]| -> Vec<u8> {
        ids.iter().flat_map(|id| tokenizer.spell(None, *id).unwrap().1.unwrap()).collect()
    };
    assert_eq!(bytes(&ids), text.as_bytes());
    // A crab has four bytes, of which no token has all.
    assert!(ids.iter().any(|id| tokenizer.decode(&[*id], true).unwrap() == "\u{fffd}"));
    let end = tokenizer.end_of_turn().unwrap();
    assert_eq!(bytes(&[end]), END_OF_TURN.as_bytes());
    assert_eq!(tokenizer.spell(None, 319).unwrap().1, None, "a reserved row");
    // An added token may have any name.
    let mut file: Value = serde_json::from_slice(&small_files().tokenizer).unwrap();
    let (added, id) = (file["added_tokens"].as_array_mut().unwrap(), tokenizer.used());
    let mut token = added[0].clone();
    (token["id"], token["content"], token["special"]) = (json!(id), json!("<ä b>"), json!(false));
    added.push(token);
    let tokenizer = Tokenizer::from_bytes("added", serde_json::to_vec(&file).unwrap()).unwrap();
    assert_eq!(tokenizer.spell(None, id).unwrap(), ("<ä b>".to_owned(), Some("<ä b>".into())));
}

/// Decoders of SentencePiece write a space before each word, but drop the first one, and write letters from bytes.
pub(crate) fn with_words() -> Tokenizer {
    let tokens = ["<unk>", "\u{2581}the", "\u{2581}river", "s", "<0xC3>", "<0xA4>"];
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true},
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        ]},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>", "byte_fallback": true}
    });
    Tokenizer::from_bytes("words", file.to_string().into_bytes()).unwrap()
}

#[test]
fn a_token_is_spelled_as_it_stands_in_the_text() {
    let tokenizer = with_words();
    let ids = [1, 2, 3, 4, 5, 2];
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "the riversä river");
    let behind = |at: usize| at.checked_sub(1).map(|at| ids[at]);
    let spelled = (0..ids.len()).map(|at| tokenizer.spell(behind(at), ids[at]).unwrap());
    let own = |text: &str| (text.to_owned(), Some(text.as_bytes().to_vec()));
    let part = || ("\u{fffd}".to_owned(), None);
    assert_eq!(spelled.collect::<Vec<_>>()[..5], [own("the"), own(" river"), own("s"), part(), part()]);
}

#[test]
fn training_gives_the_same_bytes_in_any_order() {
    let (a, b) = ("one fish two fish, red fish", "blue fish — façade\n\n  fish");
    let first = train_on(&[a, b, TEXT], 400).unwrap();
    for _ in 0..5 {
        // Every hash map gets a new random key, so repetition would reveal a dependence on hash order.
        assert_eq!(first, train_on(&[TEXT, b, a], 400).unwrap());
    }
}

/// Prints a digest; the next test runs this one in separate processes.
#[test]
fn digest_of_a_training() {
    let text = std::iter::repeat_n(include_str!("../tokenizer.rs"), 2).collect::<Vec<_>>();
    let files = train_on(&text, 700).unwrap();
    println!("digest {}", blake3::hash(&files.tokenizer));
}

#[test]
fn training_gives_the_same_bytes_in_every_process() {
    let digest = || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "data::tokenizer::tests::digest_of_a_training", "--nocapture"]);
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let at = output.find("digest ").unwrap();
        output[at..at + 71].to_owned()
    };
    assert_eq!(digest(), digest());
}

#[test]
fn ids_are_laid_out_as_in_qwen() {
    let tokenizer = small();
    assert_eq!(tokenizer.id("!"), Some(0));
    assert_eq!(tokenizer.id("Ġ"), Some(220));
    let first = tokenizer.end_of_document().unwrap();
    assert_eq!(tokenizer.special(START_OF_TURN).unwrap(), first + 1);
    assert_eq!(tokenizer.end_of_turn().unwrap(), first + 2);
    assert_eq!(tokenizer.id("</think>"), Some(first + 25));
    assert_eq!(tokenizer.used(), first + 26);
    let mask = tokenizer.first_reserved().expect("a row is left for the mask");
    assert_eq!(tokenizer.token(mask), None);
    assert_eq!(tokenizer.with_rows(mask).unwrap().first_reserved(), None);
}

#[test]
fn a_vocabulary_is_filled_up_to_its_reserved_row() {
    let text = include_str!("tests.rs");
    let tokenizer = Tokenizer::from_bytes("x", train_on(&[text], 400).unwrap().tokenizer).unwrap();
    assert_eq!(tokenizer.used(), 399);
    assert!(matches!(train_on(&[text], train::MIN_VOCABULARY - 1), Err(TokenizerError::TooSmall { .. })));
    let bare = Tokenizer::from_bytes("x", train_on(&[], train::MIN_VOCABULARY).unwrap().tokenizer).unwrap();
    assert_eq!(bare.encode("a").unwrap().len(), 1);
}

#[test]
fn reserved_rows_show_only_on_request() {
    let tokenizer = small();
    let mask = tokenizer.used();
    let ids =
        [&tokenizer.encode("a").unwrap()[..], &[mask, mask], &tokenizer.encode(" b").unwrap()[..]].concat();
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "a b");
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), format!("a<|reserved {mask}|><|reserved {mask}|> b"));
}

#[test]
fn a_model_with_fewer_rows_is_refused() {
    let tokenizer = small();
    let used = tokenizer.used();
    assert_eq!(tokenizer.clone().with_rows(used).unwrap().rows(), used);
    let error = tokenizer.with_rows(used - 1).unwrap_err().to_string();
    assert!(error.contains("`</think>` would have none"), "{error}");
}

#[test]
fn files_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in small_files().all() {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let tokenizer = Tokenizer::open(dir.path()).unwrap();
    assert_eq!((tokenizer.rows(), tokenizer.digest()), (320, small().digest()));
    std::fs::write(dir.path().join("vocabulary.json"), "{\"rows\": 320, \"used\": 7}").unwrap();
    assert!(Tokenizer::open(dir.path()).unwrap_err().to_string().contains("7 used ids"));
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    assert!(matches!(Tokenizer::open(dir.path()), Err(TokenizerError::Io { .. })));
}

#[test]
fn random_and_broken_tokenizers_are_refused() {
    let mut json: Value = serde_json::from_slice(small().json()).unwrap();
    json["model"]["dropout"] = json!(0.1);
    let refuse = |bytes: Vec<u8>| Tokenizer::from_bytes("t.json", bytes).unwrap_err().to_string();
    assert!(refuse(json.to_string().into_bytes()).contains("dropout"));
    assert!(refuse(b"{}".to_vec()).contains("`t.json`"));
    assert!(refuse(small().json()[..1000].to_vec()).contains("`t.json`"));
}

#[test]
fn documents_cannot_forge_special_tokens() {
    let tokenizer = small();
    let text = "a<|im_end|>b";
    assert_eq!(tokenizer.encode(text).unwrap().len(), 3);
    let plain = tokenizer.encode_plain(text).unwrap();
    assert!(!plain.contains(&tokenizer.end_of_turn().unwrap()));
    assert_eq!(tokenizer.decode(&plain, false).unwrap(), text);
}

proptest! {
    #[test]
    fn ascii_comes_back(text in "[ -~\\n\\t]{0,60}") {
        let tokenizer = small();
        let ids = tokenizer.encode_plain(&text).unwrap();
        prop_assert!(ids.iter().all(|&id| id < tokenizer.used()));
        prop_assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    }

    #[test]
    fn content_without_specials_is_encoded_alike(text in "[^<]{0,40}") {
        let tokenizer = small();
        prop_assert_eq!(tokenizer.encode(&text).unwrap(), tokenizer.encode_plain(&text).unwrap());
    }
}

#[test]
fn an_unused_row_or_a_mask_token_may_serve_as_noise() {
    let tokenizer = small();
    let end = tokenizer.end_of_document().unwrap();
    assert_eq!(tokenizer.text_token(end).as_deref(), Some("<|endoftext|>"));
    assert_eq!(tokenizer.text_token(tokenizer.first_reserved().unwrap()), None);
    let mut json: Value = serde_json::from_slice(tokenizer.json()).unwrap();
    let added = json["added_tokens"].as_array_mut().unwrap();
    let id = u32::try_from(added.last().unwrap()["id"].as_u64().unwrap()).unwrap();
    added.last_mut().unwrap()["content"] = "<|MASK|>".into();
    let named = Tokenizer::from_bytes("named", serde_json::to_vec(&json).unwrap()).unwrap();
    assert_eq!((named.token(id).as_deref(), named.text_token(id)), (Some("<|MASK|>"), None));
}
