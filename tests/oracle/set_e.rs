//! Set E: byte-level BPE by the tokenizers library, conversations rendered and masked by transformers, and a complete tiny
//! repository.
//!
//! The chat template is the set's own if it has one, otherwise the Qwen3 layout that the template tests use.

use std::sync::Arc;

use fmflow_stages::data::chat::lay_out_conversation;
use fmflow_stages::data::template::TemplateOptions;
use fmflow_stages::data::tokenizer::Tokenizer;
use serde_json::Value;

use super::harness::Set;
use super::set_a;

/// The layout of Qwen3's conversations.
const QWEN3: &str = include_str!("../../stages/src/data/template/thinking.jinja");

/// Known keys of a conversation. The plain rendering is not compared, and spans of characters repeat those of bytes.
const KEYS: [&str; 9] = [
    "name",
    "messages",
    "options",
    "rendered_qwen3",
    "ids",
    "rendered_plain_chatml",
    "assistant_char_spans",
    "assistant_byte_spans",
    "assistant_token_mask",
];

/// Tokenizer files that transformers may save.
const FILES: [&str; 3] = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

pub(crate) fn collect(set: &mut Set) {
    FILES.iter().for_each(|file| set.know(file));
    let bytes = std::fs::read(set.path("tokenizer.json")).unwrap();
    let tokenizer = Arc::new(Tokenizer::from_bytes("tokenizer.json", bytes).unwrap());
    encode(set, &tokenizer);
    rendered(set, &tokenizer);
    repository(set, &tokenizer);
}

fn ids(list: &Value) -> Vec<u32> {
    list.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// One case per text, and the names of special tokens.
fn encode(set: &mut Set, tokenizer: &Arc<Tokenizer>) {
    let json = set.json("encode_cases.json");
    for (key, entry) in json.as_object().unwrap() {
        let (tokenizer, entry) = (Arc::clone(tokenizer), entry.clone());
        match key.as_str() {
            "special_ids" => set.case("encode/special_ids", move || {
                for (token, id) in entry.as_object().unwrap() {
                    assert_eq!(tokenizer.id(token).map(u64::from), id.as_u64(), "{token}");
                }
            }),
            "cases" => {
                for (number, case) in entry.as_array().unwrap().iter().cloned().enumerate() {
                    let tokenizer = Arc::clone(&tokenizer);
                    set.case(format!("encode/{number:03}"), move || encoded(&tokenizer, &case));
                }
            }
            "partial_decode" => set.case("encode/partial_decode", move || {
                for case in entry.as_array().unwrap() {
                    assert_eq!(
                        Some(tokenizer.decode(&ids(&case["ids"]), true).unwrap().as_str()),
                        case["decode"].as_str()
                    );
                }
            }),
            "partial_decode_note" => {}
            _ => set.unknown(format!("encode/{key}")),
        }
    }
}

fn encoded(tokenizer: &Tokenizer, case: &Value) {
    let text = case["text"].as_str().unwrap();
    let found = tokenizer.encode(text).unwrap();
    for (key, expected) in case.as_object().unwrap() {
        match key.as_str() {
            "text" => {}
            "ids" => assert_eq!(found, ids(expected), "{text:?}"),
            "tokens" => {
                let tokens: Vec<String> = found.iter().map(|id| tokenizer.token(*id).unwrap()).collect();
                assert_eq!(Value::from(tokens), *expected, "{text:?}");
            }
            "decode_keep_special" => {
                assert_eq!(Value::from(tokenizer.decode(&found, true).unwrap()), *expected)
            }
            "decode_skip_special" => {
                assert_eq!(Value::from(tokenizer.decode(&found, false).unwrap()), *expected)
            }
            "roundtrip_equals_text" => {
                assert_eq!(
                    Some(tokenizer.decode(&found, true).unwrap() == text),
                    expected.as_bool(),
                    "{text:?}"
                );
            }
            "utf8_bytes" => assert_eq!(Some(text.len() as u64), expected.as_u64()),
            _ => panic!("unknown key `{key}`"),
        }
    }
}

/// The tokenizer with the template that rendered the set's conversations.
fn with_template(set: &Set) -> Tokenizer {
    let own = ["", "tiny_repo"].map(|folder| Tokenizer::open(&set.path(folder)));
    if let Some(found) = own.into_iter().flatten().find(|tokenizer| tokenizer.template().is_some()) {
        return found;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(set.path("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    std::fs::write(folder.path().join("chat_template.jinja"), QWEN3).unwrap();
    Tokenizer::open(folder.path()).unwrap()
}

/// Cases of rendered conversations: text, ids, and which ids are the assistant's.
fn rendered(set: &mut Set, tokenizer: &Arc<Tokenizer>) {
    let (json, laid_out) = (set.json("chat_cases.json"), Arc::new(with_template(set)));
    for case in json["cases"].as_array().unwrap().iter().cloned() {
        for key in case.as_object().unwrap().keys().filter(|key| !KEYS.contains(&key.as_str())) {
            set.unknown(format!("chat/{key}"));
        }
        let (case, name) = (Arc::new(case.clone()), case["name"].as_str().unwrap().to_owned());
        let (tokenizer, own) = (Arc::clone(tokenizer), Arc::clone(&case));
        set.case(format!("chat/{name}/ids"), move || {
            let text = own["rendered_qwen3"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), ids(&own["ids"]), "{text:?}");
        });
        let (tokenizer, own) = (Arc::clone(&laid_out), Arc::clone(&case));
        set.case(format!("chat/{name}/text"), move || text(&tokenizer, &own));
        if !case["assistant_token_mask"].is_null() {
            let tokenizer = Arc::clone(&laid_out);
            set.case(format!("chat/{name}/mask"), move || mask(&tokenizer, &case));
        }
    }
}

/// Messages and options of a case.
fn conversation(case: &Value) -> (&[Value], TemplateOptions) {
    let mut variables = case["options"].as_object().unwrap().clone();
    let add_generation_prompt = variables.remove("add_generation_prompt") == Some(true.into());
    (case["messages"].as_array().unwrap(), TemplateOptions { add_generation_prompt, variables })
}

fn text(tokenizer: &Tokenizer, case: &Value) {
    let (messages, options) = conversation(case);
    let found = tokenizer.template().unwrap().render(messages, &options).unwrap();
    assert_eq!(Some(found.as_str()), case["rendered_qwen3"].as_str());
}

fn mask(tokenizer: &Tokenizer, case: &Value) {
    let (messages, options) = conversation(case);
    let found = lay_out_conversation(tokenizer.template().unwrap(), messages, &options).unwrap();
    let spans: Vec<[usize; 2]> = found.spoken.iter().map(|turn| [turn.start, turn.end]).collect();
    assert_eq!(serde_json::json!(spans), case["assistant_byte_spans"]);
    let (tokens, spoken) = found.encode(tokenizer).unwrap();
    assert_eq!(tokens, ids(&case["ids"]));
    assert_eq!(Value::from_iter(spoken.into_iter().map(u8::from)), case["assistant_token_mask"]);
}

/// Cases of `tiny_repo`: logits of the whole repository, and its tokenizer against its vocabulary.
fn repository(set: &mut Set, tokenizer: &Arc<Tokenizer>) {
    for file in set.files() {
        let known = ["config.json", "generation_config.json", "model.safetensors.index.json"];
        let weights = |name: &str| name.starts_with("model") && name.ends_with(".safetensors");
        let named = |name: &str| known.contains(&name) || FILES.contains(&name) || weights(name);
        if file.strip_prefix("tiny_repo/").is_some_and(named) {
            set.know(&file);
        }
    }
    let (expected, path) = (set.tensors("tiny_repo.expected.safetensors"), set.path("tiny_repo"));
    set_a::forward(set, "tiny_repo", &expected, &path);
    let (said, tokenizer) = (set.manifest()["tiny_repo"].clone(), Arc::clone(tokenizer));
    set.case("tiny_repo/vocabulary", move || {
        let own = Tokenizer::open(&path).unwrap();
        assert_eq!(own.json(), tokenizer.json());
        assert_eq!(Some(u64::from(own.used())), said["tokenizer_size"].as_u64());
        let rows = said["vocab_size"].as_u64().unwrap() as u32;
        assert_eq!(set_a::load(&path).config().vocab_size, rows as usize);
        let reserved = own.with_rows(rows).unwrap().first_reserved().map(u64::from);
        assert_eq!(reserved, said["first_free_id_usable_as_mask"].as_u64());
    });
}
