//! Files of a stranger's checkpoint through the binary: none of them kills the program, hangs it, or takes all memory.

#![cfg(all(feature = "cpu", unix))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::time::{Duration, Instant};

use crate::common::{Project, Ran, send_signal};
use serde_json::{Value, json};

const PIPELINE: &str = r#"pipeline "s" seed=1
fetch "m" from="m"
dataset "tasks" from="tiny/*.jsonl" format="jsonl" held-out="20%" {
    chat user="question" assistant="answer" group="task"
}
rows "rows" tokenizer="m" length=128 packing="first-fit"
mixture "all" { dataset "tasks" }
"#;

/// What uses the rows, so that they are made.
const TRAINING: &str = r#"train "ar" from="m" {
    data rows="rows" mixture="all"
    objective "autoregressive"
    attention "causal"
    batch rows=2
    optimizer "adamw"
    learning-rate peak=1e-3 shape="constant"
    steps 1
}
"#;

/// A project with a small checkpoint in `m`, which `s.kdl` fetches and with which it lays out conversations.
fn stranger() -> Project {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "tiny"]).ok();
    let from = project.artifact("tiny");
    fs::create_dir(project.path().join("m")).unwrap();
    for entry in fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().file_name()) {
        if entry != "manifest.json" {
            fs::write(project.path().join("m").join(&entry), fs::read(from.join(&entry)).unwrap()).unwrap();
        }
    }
    project.write("s.kdl", &format!("{PIPELINE}{TRAINING}"));
    project
}

fn run(project: &Project) -> Ran {
    project.fmflow(&["run", "s.kdl"])
}

/// Changes a JSON file of the checkpoint, for as long as `then` runs.
fn with_json(project: &Project, name: &str, change: impl Fn(&mut Value), then: impl FnOnce(Ran)) {
    let file = project.path().join("m").join(name);
    let before = fs::read(&file).unwrap();
    let mut value = serde_json::from_slice(&before).unwrap();
    change(&mut value);
    fs::write(&file, value.to_string()).unwrap();
    then(run(project));
    fs::write(&file, before).unwrap();
}

/// `what` may name several reasons, with `|` between them.
fn assert_refused(ran: &Ran, what: &str, case: &str) {
    let said = &ran.stderr;
    let named = what.split('|').any(|reason| said.contains(reason));
    assert!(ran.code == 8 && named && !said.contains("bug"), "{case}: {} {said}", ran.code);
}

#[test]
fn chat_templates_are_stopped_at_their_limits() {
    let project = stranger();
    run(&project).ok();
    // Two templates that differ are refused before either is rendered.
    let config = project.path().join("m/tokenizer_config.json");
    let mut plain: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    plain.as_object_mut().unwrap().shift_remove("chat_template").unwrap();
    fs::write(config, plain.to_string()).unwrap();
    let many = |text: &str, times: usize| text.repeat(times);
    let (memory, slow, deep) = ("more memory than it may (1 GiB)", "takes too long", "nests too deeply");
    let grow = |first: &str, next: &str, shown: &str| {
        format!(
            "{{% set n = namespace(v={first}) %}}{{% for i in range(100000) %}}{{% set n.v = {next} %}}{{% endfor %}}{{{{ {shown} }}}}"
        )
    };
    // What fills memory bit by bit may reach the limit of its time first, on a machine whose memory is slow.
    let filling = "more memory than it may (1 GiB)|takes too long";
    let before = Instant::now();
    let cases = [
        (grow("'x' * 100000000", "n.v ~ n.v", "n.v"), filling),
        ("{% set s = 'x' * 1000000 %}{{ range(100000) | join(s) }}".into(), filling),
        ("{{ '%10000000000d' | format(1) }}".into(), memory),
        ("{{ '{:>10000000000}'.format(1) }}".into(), memory),
        ("{{ 'a\nb' | indent(10000000000) }}".into(), memory),
        ("{{ [1] | tojson(indent=10000000000) }}".into(), memory),
        ("{% set s = 'a' * 1000000 %}{{ s.replace('a', s) }}".into(), filling),
        ("{{ 'x' * 90000000 }}".into(), "writes more than 64 MiB"),
        (many("{% if 1 %}", 50_000), "cannot be parsed"),
        (format!("{{{{ {}1 }}}}", many("(", 50_000)), "cannot be parsed"),
        (many("x", (1 << 20) + 1), "longer than 1 MiB"),
        ("{% set n = namespace() %}{% set n.v = n %}{{ n }}".into(), deep),
        (grow("[1]", "n.v + n.v", "n.v | length"), slow),
        ("{% set s = 'a' * 100000000 %}{% for i in range(99999) %}{{ 'b' in s }}{% endfor %}".into(), slow),
        ("{{ raise_exception('no ' * 100000) }}".into(), "refuses the conversation"),
    ];
    let count = u32::try_from(cases.len()).unwrap();
    for (template, what) in cases {
        project.write("m/chat_template.jinja", &template);
        let ran = run(&project);
        assert_refused(&ran, what, &template[..template.len().min(80)]);
        assert!(ran.stderr.contains("chat_template.jinja") && ran.stderr.len() < 3000, "{}", ran.stderr);
    }
    assert!(before.elapsed() < Duration::from_secs(60) * count, "{:?}", before.elapsed());
    // Deep values and long expressions that fit are no reason to refuse.
    let harmless = format!("{}{{{{ {}1 }}}}", grow("[]", "[n.v]", "''"), many("-", 50_000));
    let plain = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                 {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    project.write("m/chat_template.jinja", &(format!("{{% set x %}}{harmless}{{% endset %}}") + plain));
    run(&project).ok();
}

#[test]
fn a_checkpoint_cannot_claim_what_no_stage_writes() {
    let project = stranger();
    // `check` sees what no contract can say (2); what contradicts the weights or the tokenizer is seen at the fetch (8).
    for (code, key, value) in [
        (8, "mask_token", json!(1_000_000_000)),
        (8, "mask_token", json!(5)),
        (2, "block", json!(0)),
        (2, "canvas", json!(1_u64 << 40)),
        (2, "trained_updates", json!(u64::MAX)),
        (2, "time_conditioning", json!({"ada-ln": {"rank": 1_u64 << 40}})),
    ] {
        let change = |contract: &mut Value| contract[key] = value.clone();
        with_json(&project, "provenance.json", change, |ran| {
            assert_eq!(ran.code, code, "{key} {value}: {}", ran.stderr);
            let named = ran.stderr.contains("provenance.json") && ran.stderr.contains(key);
            assert!(named && !ran.stderr.contains("bug"), "{}", ran.stderr);
        });
    }
    let lie = |contract: &mut Value| contract["tokenizer"] = json!("0".repeat(64));
    with_json(&project, "provenance.json", lie, |ran| {
        assert_refused(&ran, "the tokenizer differs", "digest")
    });
    for (key, value) in [
        ("hidden_size", json!(1_u64 << 63)),
        ("hidden_size", json!(1 << 17)),
        ("vocab_size", json!(1_u64 << 40)),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("num_hidden_layers", json!(1024)),
        ("head_dim", json!(1_u64 << 62)),
    ] {
        let change = |config: &mut Value| config[key] = value.clone();
        with_json(&project, "config.json", change, |ran| {
            assert_refused(&ran, "", &format!("{key} {value}"));
            // A size that a model can have is refused by the first tensor that contradicts it.
            let named = ran.stderr.contains(key) || ran.stderr.contains("tensor");
            assert!(named && !ran.stderr.contains("PiB"), "{key} {value}: {}", ran.stderr);
        });
    }
    run(&project).ok();
}

#[test]
fn tokenizers_cannot_panic_or_grow_a_text_without_bound() {
    let project = stranger();
    // The contract names the digest of the tokenizer.
    fs::remove_file(project.path().join("m/provenance.json")).unwrap();
    let replace = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(10)});
    let chain = json!({"type": "Sequence", "normalizers": vec![replace.clone(); 9]});
    // A trie of one unit that points far outside itself, then a text.
    let garbage = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAP////9hAA=="});
    for (normalizer, what) in [(chain, "times longer"), (garbage, "index out of bounds")] {
        let change = |tokenizer: &mut Value| tokenizer["normalizer"] = normalizer.clone();
        with_json(&project, "tokenizer.json", change, |ran| {
            assert_refused(&ran, what, &normalizer.to_string())
        });
    }
    let letters = vec![json!({"type": "ByteLevel"}); 30];
    for (part, key) in [("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers")] {
        let change = |tokenizer: &mut Value| {
            tokenizer[part] = json!({"type": "Sequence"});
            tokenizer[part][key] = letters.clone().into();
        };
        with_json(&project, "tokenizer.json", change, |ran| assert_refused(&ran, "times longer", part));
    }
    let decoder = json!({"type": "Sequence", "decoders": vec![replace; 9]});
    let change = |tokenizer: &mut Value| tokenizer["decoder"] = decoder.clone();
    with_json(&project, "tokenizer.json", change, |ran| assert_refused(&ran, "its decoder", "decoder"));
    let change = |tokenizer: &mut Value| tokenizer["model"]["vocab"]["far"] = json!(u32::MAX);
    with_json(&project, "tokenizer.json", change, |ran| assert_refused(&ran, "has the id 4294967295", "id"));
}

/// Lays out the text of the project instead of its conversations.
fn lay_out_text(project: &Project, text: &str) {
    project.write("tiny/text.txt", text);
    let pipeline =
        PIPELINE.lines().filter(|line| !line.starts_with(['}', ' ', 'd'])).collect::<Vec<_>>().join("\n");
    let pipeline = pipeline.replace("first-fit", "concat").replace("\"tasks\"", "\"text\"");
    let dataset = "dataset \"text\" from=\"tiny/*.txt\" format=\"text\"";
    project.write("s.kdl", &format!("{pipeline}\n{dataset}\n{TRAINING}"));
}

#[test]
fn a_text_without_a_break_is_refused_before_it_takes_all_memory() {
    let project = stranger();
    lay_out_text(&project, &"ab".repeat(2 << 20));
    let before = Instant::now();
    assert_refused(&run(&project), "a text has 4194304 bytes without a place", "ab");
    assert!(before.elapsed() < Duration::from_secs(600), "{:?}", before.elapsed());
}

#[test]
fn a_run_can_be_interrupted_within_one_long_text() {
    let project = stranger();
    // One document that a tokenizer works on for far longer than the run waits after the signal.
    // It begins with a piece so long that the general engine has to look at all of it.
    let words: String = (0..5_000_000).map(|i| format!("w{i} ")).collect();
    lay_out_text(&project, &format!("{} {words}", "a".repeat(300 << 10)));
    let child = project.spawn(&["run", "s.kdl"]);
    let has_started = || {
        let work = fs::read_dir(project.path().join(".fmflow/work")).into_iter().flatten();
        work.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("rows"))
    };
    let waited = (0..6000).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        has_started()
    });
    assert!(waited, "the stage did not start");
    std::thread::sleep(Duration::from_secs(1));
    send_signal(child.id(), "TERM");
    Ran::from(child.wait_with_output().unwrap()).exits(75).says("while a library works on one long text");
}
