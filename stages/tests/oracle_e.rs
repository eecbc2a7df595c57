//! Set E of the oracles: conversations rendered and encoded by Hugging Face transformers, with masks for fine-tuning.
//!
//! Reads whatever lies in `$FMFLOW_ORACLE` (default: `shared/oracle/dev` beside the repository). The template is the set's own
//! where it has one, else the layout of Qwen3 as the tests of templates have it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests stop the test and speak to its reader"
)]

use std::ops::Range;
use std::path::{Path, PathBuf};

use fmflow_stages::data::chat::lay_out;
use fmflow_stages::data::template::Options;
use fmflow_stages::data::tokenizer::Tokenizer;
use serde_json::{Value, json};

const QWEN3: &str = include_str!("../src/data/template/thinking.jinja");

/// The folder of the set, or `None` (said loudly) where it is absent and nobody insists.
fn set() -> Option<PathBuf> {
    let named = std::env::var_os("FMFLOW_ORACLE");
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/oracle/dev"));
    let insist = named.is_some() || std::env::var_os("CI").is_some();
    let folder = named.map_or_else(default, PathBuf::from).join("E_tokenizer");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(!insist, "oracle set {} is missing", folder.display());
    println!("SKIPPED: no oracle set at {}", folder.display());
    None
}

/// The set's tokenizer with a template.
fn tokenizer(set: &Path) -> Tokenizer {
    for folder in [set.to_owned(), set.join("tiny_repo")] {
        if let Some(found) = Tokenizer::open(&folder).ok().filter(|t| t.template().is_some()) {
            println!("template of {}", folder.display());
            return found;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(set.join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    std::fs::write(folder.path().join("chat_template.jinja"), QWEN3).unwrap();
    Tokenizer::open(folder.path()).unwrap()
}

/// `[[start, end], ..]` of the expected spans, in bytes.
fn spans(value: &Value) -> Vec<Range<usize>> {
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    value.as_array().unwrap().iter().map(|pair| number(&pair[0])..number(&pair[1])).collect()
}

#[test]
fn conversations_are_rendered_encoded_and_masked_as_in_transformers() {
    let Some(set) = set() else { return };
    let tokenizer = tokenizer(&set);
    let template = tokenizer.template().unwrap();
    let cases: Value = serde_json::from_slice(&std::fs::read(set.join("chat_cases.json")).unwrap()).unwrap();
    let (mut seen, mut masked) = (0, 0);
    for case in cases["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let mut variables = case["options"].as_object().unwrap().clone();
        let add = variables.remove("add_generation_prompt").is_some_and(|value| value == json!(true));
        let options = Options { add_generation_prompt: add, variables };
        let messages = case["messages"].as_array().unwrap();
        let text = template.render(messages, &options).unwrap();
        assert_eq!(json!(text), case["rendered_qwen3"], "{name}");
        assert_eq!(json!(tokenizer.encode(&text).unwrap()), case["ids"], "{name}");
        seen += 1;
        if case["assistant_token_mask"].is_null() {
            continue;
        }
        let found = lay_out(template, messages, &options).unwrap();
        assert_eq!(found.spoken, spans(&case["assistant_byte_spans"]), "{name}");
        let (ids, spoken) = found.encode(&tokenizer).unwrap();
        assert_eq!(json!(ids), case["ids"], "{name}");
        let mask: Vec<u8> = spoken.into_iter().map(u8::from).collect();
        assert_eq!(json!(mask), case["assistant_token_mask"], "{name}");
        masked += 1;
    }
    println!("{seen} conversations, {masked} masks");
    assert!(seen > 0 && masked > 0);
}
