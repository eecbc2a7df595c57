//! Set E: byte-level BPE by the tokenizers library, and a whole tiny repository.
//!
//! Of a chat case the ids of its rendered text are compared here.

use std::sync::Arc;

use fmflow_stages::data::tokenizer::Tokenizer;
use serde_json::Value;

use crate::harness::Set;
use crate::set_a;

pub(crate) fn collect(set: &mut Set) {
    set.know("tokenizer.json");
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
                        Some(tokenizer.decode(&ids(&case["ids"]), true).as_str()),
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
            "decode_keep_special" => assert_eq!(Value::from(tokenizer.decode(&found, true)), *expected),
            "decode_skip_special" => assert_eq!(Value::from(tokenizer.decode(&found, false)), *expected),
            "roundtrip_equals_text" => {
                assert_eq!(Some(tokenizer.decode(&found, true) == text), expected.as_bool(), "{text:?}");
            }
            "utf8_bytes" => assert_eq!(Some(text.len() as u64), expected.as_u64()),
            _ => panic!("what is `{key}`?"),
        }
    }
}

/// Ids of rendered chats.
fn rendered(set: &mut Set, tokenizer: &Arc<Tokenizer>) {
    let json = set.json("chat_cases.json");
    for case in json["cases"].as_array().unwrap().iter().cloned() {
        let (tokenizer, name) = (Arc::clone(tokenizer), case["name"].as_str().unwrap().to_owned());
        set.case(format!("chat/{name}/ids"), move || {
            let text = case["rendered_qwen3"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), ids(&case["ids"]), "{text:?}");
        });
    }
}

/// `tiny_repo`: logits of the whole repository, and its tokenizer beside its vocabulary.
fn repository(set: &mut Set, tokenizer: &Arc<Tokenizer>) {
    for file in set.files() {
        let known = [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        if file.strip_prefix("tiny_repo/").is_some_and(|name| known.contains(&name)) {
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
