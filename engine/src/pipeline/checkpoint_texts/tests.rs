//! Each pair of files that speak of the same, and how they can differ.

use serde_json::json;

use super::*;

/// A folder of a small model whose files agree.
fn folder() -> Map<String, Value> {
    let added = |id: u64, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let files = json!({
        CONFIG: {"vocab_size": 8, "bos_token_id": 3, "eos_token_id": 4, "pad_token_id": null},
        GENERATION: {"eos_token_id": [4, 3], "pad_token_id": 3, "temperature": 0.6},
        TOKENIZER: {
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
            "added_tokens": [added(3, "<|end|>"), added(4, "<|turn|>"), added(5, "<|mask|>")],
        },
        TOKENIZER_CONFIG: {
            "eos_token": "<|turn|>", "pad_token": {"content": "<|end|>"}, "bos_token": null,
            "additional_special_tokens": ["<|mask|>"],
            "added_tokens_decoder": {"4": {"content": "<|turn|>", "special": true, "lstrip": false}},
            "chat_template": [{"name": "default", "template": "D"}, {"name": "rag", "template": "R"}],
        },
        ADDED_TOKENS: {"<|turn|>": 4},
        SPECIAL_TOKENS: {"eos_token": {"content": "<|turn|>", "lstrip": false}, "pad_token": "<|end|>"},
        TEMPLATE: "D\n",
        TEMPLATE_JSON: {"chat_template": "D"},
        "additional_chat_templates/rag.jinja": "R",
        SLOW_VOCABULARY: {"a": 0, "b": 1, "ab": 2},
        SLOW_MERGES: "#version: 0.2\na b\n",
    });
    files.as_object().unwrap().clone()
}

fn compare(files: &Map<String, Value>) -> Vec<String> {
    let read = |name: &str| {
        let value = files.get(name)?;
        Some(Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned).into_bytes()))
    };
    match CheckpointTexts::read(read) {
        Ok(texts) => texts.find_disagreements().iter().map(ToString::to_string).collect(),
        Err(one) => vec![one.to_string()],
    }
}

#[test]
fn files_that_agree_are_fine_and_so_are_missing_ones() {
    assert_eq!(compare(&folder()), Vec::<String>::new());
    for name in folder().keys() {
        let mut files = folder();
        files.shift_remove(name);
        assert_eq!(compare(&files), Vec::<String>::new(), "without {name}");
    }
}

/// Checks that each change of one file, at a pointer, is told with both places.
fn assert_told<const N: usize>(cases: [(&str, &str, Value, [&str; 2]); N]) {
    for (file, pointer, value, said) in cases {
        let mut files = folder();
        let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
        match files[file].pointer_mut(parent) {
            Some(Value::Object(map)) if !key.is_empty() => drop(map.insert(key.to_owned(), value)),
            Some(Value::Array(_)) => *files[file].pointer_mut(pointer).unwrap() = value,
            _ => files[file] = value,
        }
        let found = compare(&files);
        assert!(found.iter().any(|one| said.iter().all(|part| one.contains(part))), "{said:?} in {found:#?}");
    }
}

#[test]
fn ids_of_special_tokens_that_differ_are_told() {
    assert_told([
        (
            CONFIG,
            "/eos_token_id",
            json!(5),
            ["`eos_token_id` in `config.json` is 5", "`eos_token_id` in `generation_config.json` is [4,3]"],
        ),
        (
            GENERATION,
            "/bos_token_id",
            json!(9),
            ["`bos_token_id` in `generation_config.json` is 9", "`vocab_size` in `config.json` is 8"],
        ),
        (
            CONFIG,
            "/pad_token_id",
            json!(4),
            [
                "`pad_token_id` in `config.json` is 4",
                "`pad_token` in `tokenizer_config.json` is \"<|end|>\" (id 3)",
            ],
        ),
        (
            GENERATION,
            "/eos_token_id",
            json!(3),
            [
                "`eos_token_id` in `generation_config.json` is 3",
                "`eos_token` in `tokenizer_config.json` is \"<|turn|>\" (id 4)",
            ],
        ),
    ]);
}

#[test]
fn tokens_that_differ_are_told() {
    let token = json!({"content": "<|lane|>", "special": true});
    assert_told([
        (
            TOKENIZER_CONFIG,
            "/eos_token",
            json!("<|mask|>"),
            [
                "`eos_token` in `tokenizer_config.json` is \"<|mask|>\" (id 5)",
                "`eos_token` in `special_tokens_map.json` is \"<|turn|>\" (id 4)",
            ],
        ),
        (
            TOKENIZER_CONFIG,
            "/eos_token",
            json!("<|none|>"),
            [
                "`eos_token` in `tokenizer_config.json` names \"<|none|>\"",
                "`tokenizer.json` does not have it",
            ],
        ),
        (
            TOKENIZER_CONFIG,
            "/additional_special_tokens",
            json!(["<|lane|>"]),
            ["`additional_special_tokens` in `tokenizer_config.json` names \"<|lane|>\"", "`tokenizer.json`"],
        ),
        (
            TOKENIZER_CONFIG,
            "/added_tokens_decoder",
            json!({"6": token}),
            [
                "`added_tokens_decoder.6` in `tokenizer_config.json` is the token \"<|lane|>\" with the id 6",
                "`tokenizer.json` does not have it",
            ],
        ),
        (
            TOKENIZER_CONFIG,
            "/added_tokens_decoder",
            json!({"2": token}),
            ["\"<|lane|>\" with the id 2", "in `tokenizer.json` that is the id of \"ab\""],
        ),
        (
            TOKENIZER_CONFIG,
            "/added_tokens_decoder/4/special",
            json!(false),
            [
                "`added_tokens_decoder.4` in `tokenizer_config.json` says `special`: false",
                "`tokenizer.json` says true",
            ],
        ),
        (
            TOKENIZER_CONFIG,
            "/added_tokens_decoder",
            json!({"x": token}),
            ["`added_tokens_decoder.x` in `tokenizer_config.json`", "not a token with an id"],
        ),
        (
            ADDED_TOKENS,
            "/<|turn|>",
            json!(5),
            ["`<|turn|>` in `added_tokens.json`", "`tokenizer.json` gives it the id 4"],
        ),
    ]);
}

#[test]
fn templates_and_old_files_that_differ_are_told() {
    assert_told([
        (
            SPECIAL_TOKENS,
            "/pad_token",
            json!("<|mask|>"),
            [
                "`pad_token` in `tokenizer_config.json`",
                "`pad_token` in `special_tokens_map.json` is \"<|mask|>\" (id 5)",
            ],
        ),
        (
            TEMPLATE,
            "",
            json!("E"),
            ["`chat_template` in `tokenizer_config.json` named \"default\"", "`chat_template.jinja`"],
        ),
        (
            TEMPLATE_JSON,
            "/chat_template",
            json!("E"),
            ["`chat_template.jinja`", "`chat_template` in `chat_template.json`"],
        ),
        (
            "additional_chat_templates/rag.jinja",
            "",
            json!("E"),
            ["named \"rag\"", "`additional_chat_templates/rag.jinja`"],
        ),
        (
            TOKENIZER_CONFIG,
            "/chat_template/1/name",
            json!("default"),
            ["named \"default\" differs", "named \"default\""],
        ),
        (SLOW_VOCABULARY, "/a", json!(1), ["`a` in `vocab.json` is 1", "`tokenizer.json` gives it the id 0"]),
        (SLOW_VOCABULARY, "", json!({"a": 0}), ["`vocab.json` has 1 tokens", "`tokenizer.json` has 3"]),
        (
            SLOW_MERGES,
            "",
            json!("a b\nab b\n"),
            ["merge 1 is \"ab b\" in `merges.txt`", "missing in `model.merges` of `tokenizer.json`"],
        ),
        (SPECIAL_TOKENS, "", json!([1]), ["`special_tokens_map.json` cannot be read", "it is [1]"]),
        (
            GENERATION,
            "",
            json!("{\"a\": 1, \"a\": 2}"),
            ["`generation_config.json` cannot be read", "`a` is written twice"],
        ),
    ]);
}

#[test]
fn a_token_that_only_the_config_knows_is_found() {
    let mut files = folder();
    files[TOKENIZER]["added_tokens"].as_array_mut().unwrap().pop();
    files[TOKENIZER_CONFIG]["additional_special_tokens"] = Value::Null;
    files[TOKENIZER_CONFIG]["mask_token"] = json!("<|mask|>");
    files[GENERATION]["mask_token_id"] = json!(5);
    assert_eq!(
        compare(&files),
        ["`mask_token` in `tokenizer_config.json` names \"<|mask|>\", but `tokenizer.json` does not have it"]
    );
}

#[test]
fn a_cure_names_the_entry_and_stands_ready_for_the_folder() {
    let mut files = folder();
    files[ADDED_TOKENS]["<|lane|>"] = json!(6);
    let read = |name: &str| Some(Ok(files.get(name)?.to_string().into_bytes()));
    let found = CheckpointTexts::read(read).unwrap().find_disagreements();
    let cure = &found.iter().find(|one| one.what.contains("<|lane|>")).unwrap().cure;
    assert!(
        cure.contains("from_pretrained('FOLDER')") && cure.contains("`<|lane|>` in `added_tokens.json`"),
        "{cure}"
    );
}

#[test]
fn settings_about_texts_that_nothing_reads_are_told() {
    let mut files = folder();
    files[TOKENIZER_CONFIG]["add_bos_token"] = json!(true);
    files[TOKENIZER_CONFIG]["add_prefix_space"] = json!(false);
    let read = |name: &str| Some(Ok(files.get(name)?.to_string().into_bytes()));
    let texts = CheckpointTexts::read(read).unwrap();
    let found: Vec<String> = texts.list_unread_settings().iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("tokenizer_config.json: `add_bos_token` = true is not read"), "{found:?}");
}
