//! Requests and measurements that cannot fit or have nothing to start from: what is known before the work is told by `check`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use fmflow_engine::check::{CheckOptions, check_text};
use fmflow_engine::text::render::render_concise_lines;

/// A checkpoint folder with a context of 128 tokens, as far as `check` reads it: no weights are needed.
fn checkpoint(folder: &Path) {
    let config = r#"{"model_type": "qwen3", "vocab_size": 320, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "intermediate_size": 32, "max_position_embeddings": 128}"#;
    // The longest token has three bytes.
    let tokenizer =
        r#"{"model": {"vocab": {"a": 0, "b": 1, "ab": 2, "aba": 3}}, "decoder": {"type": "ByteLevel"}}"#;
    std::fs::create_dir(folder.join("model")).unwrap();
    for (name, text) in [("config.json", config), ("tokenizer.json", tokenizer), ("model.safetensors", "")] {
        std::fs::write(folder.join("model").join(name), text).unwrap();
    }
}

/// Lengths, block sizes and canvases around a folder.
const FOLDER: &str = r#"pipeline "p" seed=1
fetch "model" from="./model"
convert "flow" from="model"
sampler "c" kind="confidence" passes=4
sampler "left" kind="autoregressive"
"#;

/// What `check` says about the length or the beginning of requests, without what other lints say about the folder.
fn said(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    let found = check_text("case.kdl", text, folder.path(), &CheckOptions::default()).diagnostics;
    let codes = [
        "row-over-context",
        "no-canvas",
        "out-of-range",
        "suffix-unseen",
        "more-steps-than-tokens",
        "conflicting-fields",
    ];
    let about = found.into_iter().filter(|found| codes.contains(&found.code.name()));
    render_concise_lines(&about.collect::<Vec<_>>())
}

#[test]
fn requests_to_a_folder_are_held_against_its_context() {
    let text = |words: &str| format!("generate \"g\" from=\"flow\" sampler=\"c\" {{ {words} }}\n");
    let long = "ab".repeat(200);
    let cases: &[(String, Option<&str>)] = &[
        (text("prompt \"a\" new-tokens=64"), None),
        (text("prompt \"a\" new-tokens=127"), None),
        (
            text("prompt \"a\" new-tokens=128"),
            Some("asks for 128 new tokens, but the context of `model` is 128"),
        ),
        (text("prompt \"a\" new-tokens=4096"), Some("(write `new-tokens=64`)")),
        (text("infill prefix=\"a\" suffix=\"\" length=128"), Some("(write `length=64`)")),
        (text("infill prefix=\"\" suffix=\"\" length=128"), None),
        (text("infill prefix=\"\" suffix=\"\" length=\"8..128\""), None),
        (
            text("infill prefix=\"a\" suffix=\"\" length=\"8..128\""),
            Some("asks for 128 new tokens, but the context of `model` is 128"),
        ),
        (
            text(&format!(
                "chat \"a\" system=\"{long}\" new-tokens=4 {{ assistant \"a\"; user \"{long}\" }}"
            )),
            Some("takes at least 270 tokens"),
        ),
        (
            text(&format!("prompt \"{long}\" new-tokens=4")),
            Some("takes at least 134 tokens and its answer 4"),
        ),
        (text(&format!("prompt \"{}\" new-tokens=4", "aba".repeat(124))), None),
        (text(&format!("infill prefix=\"{long}\" suffix=\"b\" length=4")), Some("takes at least 135 tokens")),
        (text(&format!("chat \"{long}\" new-tokens=4")), Some("takes at least 134 tokens")),
        (text(&format!("prompt \"{}\" new-tokens=4", "ä".repeat(200))), None),
    ];
    for (request, expected) in cases {
        let found = said(&format!("{FOLDER}{request}"));
        match expected {
            None => assert_eq!(found, "", "{request}"),
            Some(expected) => {
                assert!(found.contains(expected) && found.contains(":6:"), "{request}\n{found}")
            }
        }
    }
}

#[test]
fn a_chat_with_a_checkpoint_that_has_no_canvas_needs_a_length() {
    let found = said(&format!("{FOLDER}generate \"g\" from=\"flow\" sampler=\"c\" {{ chat \"a\" }}\n"));
    assert!(found.starts_with("case.kdl:6:") && found.contains("error[no-canvas]"), "{found}");
    assert!(found.contains("(add `new-tokens=64`)"), "{found}");
    let answered =
        said(&format!("{FOLDER}generate \"g\" from=\"flow\" sampler=\"c\" {{ chat \"a\" new-tokens=8 }}\n"));
    assert_eq!(answered, "");
}

#[test]
fn a_prompt_needs_a_letter_and_a_gap_may_begin_a_text() {
    let cases = [
        ("", "prompt \"\" new-tokens=4", "a prompt needs at least one letter"),
        ("", "infill prefix=\"\" suffix=\"b\" length=4", ""),
        (
            "{ shift #true }",
            "infill prefix=\"\" suffix=\"b\" length=4",
            "with a shift nothing predicts the first token",
        ),
        (
            "",
            "infill prefix=\"\" suffix=\"\" length=4 sampler=\"left\"",
            "cannot write the beginning of a text",
        ),
        ("", "infill prefix=\"a\" suffix=\"b\" length=4 sampler=\"left\"", "does not see what follows a gap"),
        ("", "chat \"\" new-tokens=4", ""),
    ];
    for (conversion, request, expected) in cases {
        let text = FOLDER.replace("from=\"model\"\n", &format!("from=\"model\" {conversion}\n"));
        let found = said(&format!("{text}generate \"g\" from=\"flow\" sampler=\"c\" {{ {request} }}\n"));
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{request}\n{found}");
    }
}

#[test]
fn steps_are_held_against_the_blocks_that_the_checkpoint_was_trained_with() {
    let pages = include_str!("../cases/data/pages.kdl");
    let text = pages.replace(
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n",
        "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n    attention \"block\" size=4\n",
    );
    let text = text.replace("kind=\"confidence\" passes=2", "kind=\"confidence\" passes=6");
    let check = |text: &str| {
        render_concise_lines(
            &check_text("c.kdl", text, Path::new(env!("CARGO_MANIFEST_DIR")), &CheckOptions::default())
                .diagnostics,
        )
    };
    let found = check(&text);
    assert!(
        found.contains("sampler `parallel` takes 6 passes for 4 tokens")
            && found.contains("write `passes=4`"),
        "{found}"
    );
    assert!(
        !check(&pages.replace("passes=2", "passes=6")).contains("more-steps"),
        "a canvas of 6 takes 6 steps"
    );
}

#[test]
fn measurements_are_held_against_the_context_of_every_checkpoint() {
    let pages = include_str!("../cases/data/pages.kdl");
    let small = pages.replace("feed-forward=288", "feed-forward=288 context=128");
    let other = "rows \"long\" tokenizer=\"bpe\" length=256 packing=\"concat\"\nrows \"answers\" tokenizer=\"bpe\" length=512 packing=\"first-fit\" canvas=200\n";
    let text = format!(
        "{small}{other}evaluate \"l\" {{ checkpoint \"sft\"; held-out dataset=\"text\" rows=\"long\" }}\nevaluate \"e\" {{ checkpoint \"sft\"; exact-match dataset=\"tasks\" rows=\"answers\" sampler=\"exact\" }}\n"
    );
    let checked = check_text("c.kdl", &text, Path::new(env!("CARGO_MANIFEST_DIR")), &CheckOptions::default());
    let found = render_concise_lines(&checked.diagnostics);
    assert!(found.contains("rows of 256 tokens do not fit into the context of `tiny`: 128"), "{found}");
    assert!(
        found.contains("`e` asks for answers of 200 tokens, but the context of `tiny` is 128"),
        "{found}"
    );
    assert!(found.contains("(write `canvas=64`)"), "{found}");
}

#[test]
fn a_folder_that_is_converted_already_is_fetched_under_the_same_name() {
    let text = "pipeline \"p\" seed=1\nconvert \"flow\" from=\"./stored\"\nsampler \"c\" kind=\"confidence\" passes=4\ngenerate \"g\" from=\"flow\" sampler=\"c\" { prompt \"a\" }\n";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/check");
    let check = |text: &str| {
        render_concise_lines(&check_text("c.kdl", text, &folder, &CheckOptions::default()).diagnostics)
    };
    let found = check(text);
    let cure = "fetch \"flow\" from=\"./stored\"";
    assert!(found.contains(&format!("write `{cure}` in place of the conversion")), "{found}");
    let cured = check(&text.replace("convert \"flow\" from=\"./stored\"", cure));
    assert!(!cured.contains("already-converted") && !cured.contains("unknown-name"), "{cured}");
}

#[test]
fn a_field_that_no_request_has_is_not_taken_for_an_include() {
    let text =
        include_str!("../cases/data/pages.kdl").replace("prompt \"once\"", "prompt \"once\" file=\"x.txt\"");
    let checked = check_text("c.kdl", &text, Path::new(env!("CARGO_MANIFEST_DIR")), &CheckOptions::default());
    let found = render_concise_lines(&checked.diagnostics);
    assert!(found.contains("its fields: `sampler`, `new-tokens`") && !found.contains("include"), "{found}");
}

#[test]
fn text_for_a_checkpoint_without_a_tokenizer_is_told() {
    let text = FOLDER.replace("from=\"model\"\n", "from=\"model\" { mask-token 310; tokenizer \"none\" }\n");
    let found = said(&format!("{text}generate \"g\" from=\"flow\" sampler=\"c\" {{ prompt \"a\" }}\n"));
    assert!(found.contains("`g` gives text to `flow`, which has no tokenizer"), "{found}");
}
