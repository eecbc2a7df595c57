//! What is wrong with data, templates or stores is told where it is seen first, and with a cure.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use crate::common::Project;

/// A project whose only stage is a tokenizer, on 40 conversations of which two cannot be read.
fn tokenizer_only(skip: &str) -> Project {
    let project = Project::empty();
    let line = |i: usize| match i {
        7 | 21 => format!("{{\"question\": \"what {i}\"}}\n"),
        _ => format!("{{\"question\": \"what is {i}\", \"answer\": \"{}\"}}\n", i * 3),
    };
    project.write("talk.jsonl", &(0..40).map(line).collect::<String>());
    project.write(
        "tiny.kdl",
        &format!(
            "pipeline \"n\" seed=1\n\
             dataset \"d\" from=\"talk.jsonl\" format=\"jsonl\" held-out=\"10%\" {{\n    chat user=\"question\" assistant=\"answer\"\n{skip}}}\n\
             tokenizer \"bpe\" kind=\"byte-level-bpe\" vocabulary=320 {{ dataset \"d\" }}\nlint {{ allow \"unused\" }}\n"
        ),
    );
    project
}

#[test]
fn a_tokenizer_tells_of_the_records_that_it_left_out() {
    let project = tokenizer_only("    on-bad-record \"skip\" max=\"5%\"\n");
    let said = "dataset `d`: 2 of 40 records (5.000 %) are at fault and skipped, the first: talk.jsonl:8: ";
    project.fmflow(&["run", "tiny.kdl"]).ok().says(said);
    let shown = project.fmflow(&["show", "tiny.kdl", "bpe"]).ok().stdout;
    assert!(shown.contains(said), "{shown}");
}

#[test]
fn check_compares_the_share_of_bad_records_where_it_sees_all() {
    let project = tokenizer_only("    on-bad-record \"skip\" max=\"4%\"\n");
    let checked = project.fmflow(&["check", "tiny.kdl"]).exits(8);
    checked.says("2 of 40 records are at fault").says("talk.jsonl:8:").says("write `max=\"5%\"`");
    project.edit("tiny.kdl", "max=\"4%\"", "max=\"5%\"");
    project.fmflow(&["check", "tiny.kdl"]).ok();
    project.edit("tiny.kdl", "    on-bad-record \"skip\" max=\"5%\"\n", "");
    let checked = project.fmflow(&["check", "tiny.kdl"]).exits(8);
    // What is drawn is wrapped.
    let drawn = checked.says("faulty-lines").stderr;
    let words: Vec<&str> = drawn.split_whitespace().collect();
    assert!(words.join(" ").contains("out: `on-bad-record \"skip\" max=\"5%\"`"), "{drawn}");
    // Of a part of the data nobody knows the share of all.
    project.edit("tiny.kdl", "answer\"\n", "answer\"\n    on-bad-record \"skip\" max=\"4%\"\n");
    let more: String = (0..1000).map(|i| format!("{{\"question\": \"{i}\", \"answer\": \"b\"}}\n")).collect();
    project.append("talk.jsonl", &more);
    project.fmflow(&["check", "tiny.kdl"]).ok();
}

#[test]
fn check_refuses_a_link_out_of_the_folder_of_the_data() {
    let project = tokenizer_only("");
    let data: String = (0..40).map(|i| format!("{{\"question\": \"{i}\", \"answer\": \"b\"}}\n")).collect();
    project.write("talk.jsonl", &data);
    project.write("data/0.jsonl", &data);
    for file in 1..6 {
        project.write(&format!("data/{file}.jsonl"), &data);
    }
    project.edit("tiny.kdl", "talk.jsonl", "data/*.jsonl");
    std::os::unix::fs::symlink("0.jsonl", project.path().join("data/inside.jsonl")).unwrap();
    project.fmflow(&["check", "tiny.kdl"]).ok();
    std::os::unix::fs::symlink("../talk.jsonl", project.path().join("data/out.jsonl")).unwrap();
    let checked = project.fmflow(&["check", "tiny.kdl", "--format", "concise"]).exits(2);
    let said = "data/out.jsonl`: it is a link out of its folder, to `";
    assert!(checked.stdout.contains(said), "{}", checked.stdout);
    project.fmflow(&["run", "tiny.kdl"]).exits(2);
}

/// A project with a small checkpoint in `m` and another in `n`, whose chat templates differ.
fn two_checkpoints() -> Project {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "tiny"]).ok();
    let from = project.artifact("tiny");
    for folder in ["m", "n"] {
        fs::create_dir(project.path().join(folder)).unwrap();
        for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            fs::copy(from.join(name), project.path().join(folder).join(name)).unwrap();
        }
    }
    project.edit("n/tokenizer_config.json", "<|im_start|>assistant", "<|im_start|>assistant:");
    project
}

#[test]
fn check_compares_the_chat_templates_of_rows_and_model() {
    let project = two_checkpoints();
    project.write(
        "c.kdl",
        "pipeline \"c\" seed=1\nfetch \"m\" from=\"./m\"\nfetch \"n\" from=\"./n\"\n\
         dataset \"tasks\" from=\"tiny/tasks.jsonl\" format=\"jsonl\" held-out=\"10%\" { chat user=\"question\" assistant=\"answer\" }\n\
         rows \"rows\" tokenizer=\"n\" length=64 packing=\"first-fit\"\nmixture \"all\" { dataset \"tasks\" }\n\
         train \"ar\" from=\"m\" {\n    data rows=\"rows\" mixture=\"all\"\n    objective \"autoregressive\"\n    attention \"causal\"\n\
         \x20   batch rows=2\n    learning-rate peak=1e-3 shape=\"constant\"\n    steps 1\n}\n",
    );
    let checked = project.fmflow(&["check", "c.kdl"]).exits(2);
    checked.says("tokenizer-mismatch").says("the chat template of `n`").says("write `tokenizer=\"m\"`");
    project.edit("c.kdl", "tokenizer=\"n\"", "tokenizer=\"m\"");
    project.fmflow(&["check", "c.kdl"]).ok();
    // A tokenizer.json alone has no template.
    project.edit("c.kdl", "fetch \"n\" from=\"./n\"", "tokenizer \"n\" from=\"n/tokenizer.json\"");
    project.edit("c.kdl", "rows \"rows\" tokenizer=\"m\"", "rows \"rows\" tokenizer=\"n\"");
    project.fmflow(&["check", "c.kdl"]).exits(2).says("ChatML, because the tokenizer of `n`");
}

#[test]
fn a_template_that_cannot_be_rendered_has_a_cure_of_its_own() {
    let project = two_checkpoints();
    let config = project.path().join("m/tokenizer_config.json");
    let mut plain: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    plain.as_object_mut().unwrap().shift_remove("chat_template").unwrap();
    fs::write(config, plain.to_string()).unwrap();
    let ask = ["generate", "m", "--chat", "--prompt", "first: a b", "--new-tokens", "2", "--no-twin"];
    project.write(
        "m/chat_template.jinja",
        "{% set n = namespace(v=[1]) %}{% for i in range(100000) %}{% set n.v = n.v + n.v %}{% endfor %}",
    );
    project
        .fmflow(&ask)
        .exits(8)
        .says("chat_template.jinja")
        .says("correct the chat template of the checkpoint");
    project.write("m/chat_template.jinja", "{{ raise_exception('no') }}");
    project
        .fmflow(&ask)
        .exits(8)
        .says("refuses the conversation")
        .says("write turns that the chat template accepts");
}
