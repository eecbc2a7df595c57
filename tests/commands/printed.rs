//! What is printed cannot act on the terminal: words of files, paths, arguments, tensors and templates are escaped, no word begins
//! a line of its own, and JSON answers stay valid.

use serde_json::{Value, json};

use crate::common::{Project, Ran};

/// Sets the clipboard (OSC 52), moves the cursor, reverses the direction of text, forges a line.
const HOSTILE: &str = "a\x1b]52;c;eA==\x07\x1b[2J\u{202e}\nerror: fake\nb";

/// The same word in KDL, where only escapes can express it.
const IN_KDL: &str = r"a\u{1b}]52;c;eA==\u{7}\u{1b}[2J\u{202e}\nerror: fake\nb";

/// Characters that a terminal acts on, written down again and independently of the engine.
fn acts(letter: char) -> bool {
    let code = u32::from(letter);
    let bidi = [0x61c, 0x200e, 0x200f, 0x2028, 0x2029].contains(&code)
        || (0x202a..=0x202e).contains(&code)
        || (0x2066..=0x2069).contains(&code);
    (code < 0x20 && !matches!(letter, '\n' | '\t')) || (0x7f..0xa0).contains(&code) || bidi
}

#[track_caller]
fn assert_harmless(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        let acting = text.chars().find(|letter| acts(*letter));
        assert!(acting.is_none(), "{acting:?} in {text:?}");
        let forged = text.lines().any(|line| line.starts_with("error: fake"));
        assert!(!forged, "a word begins a line:\n{text}");
    }
}

/// Runs a command as text and as JSON; both must be harmless and say the word, escaped.
#[track_caller]
fn assert_escaped(project: &Project, arguments: &[&str], code: i32) {
    let ran = project.fmflow(arguments).exits(code);
    assert_harmless(&ran);
    assert!(ran.stdout.contains("\\u{1b}") || ran.stderr.contains("\\u{1b}"), "{}{}", ran.stdout, ran.stderr);
    let flags: &[&str] = if arguments[0] == "check" { &["--format", "json"] } else { &["--json"] };
    let ran = project.fmflow(&[arguments, flags].concat()).exits(code);
    assert_harmless(&ran);
    let answer: Value = serde_json::from_str(&ran.stdout).expect("one JSON object");
    assert!(answer["schema"].is_string());
}

const HEAD: &str = "pipeline \"p\" seed=1\n";

#[test]
fn words_of_a_file_are_escaped() {
    for text in [
        format!("node \"{IN_KDL}\""),
        format!("\"{IN_KDL}\" 1"),
        format!("fetch \"x\" from=\"{IN_KDL}\""),
        format!("fetch \"x\" from=\"text\" \"{IN_KDL}\"=1"),
        format!("dataset \"{IN_KDL}\" from=\"text/*.txt\" format=\"text\""),
        format!("scheduler \"s\" kind=\"{IN_KDL}\""),
        format!("tokenizer \"t\" kind=\"byte-level-bpe\" vocabulary=300 {{ dataset \"{IN_KDL}\" }}"),
        format!("include \"{IN_KDL}\""),
    ] {
        let project = Project::of(&format!("{HEAD}{text}\n"));
        assert_escaped(&project, &["check", "p.kdl"], 2);
        for format in ["concise", "github"] {
            assert_harmless(&project.fmflow(&["check", "p.kdl", "--format", format]).exits(2));
        }
        assert_harmless(&project.fmflow(&["--color", "never", "run", "p.kdl"]).exits(2));
    }
}

#[test]
fn raw_control_characters_of_a_file_are_not_drawn() {
    for text in ["\x1b]0;x\x07 1\n", "fetch \"\u{202e}\" from=\"text\"\n", "fetch \"x\" \u{9b}2J\n"] {
        let project = Project::of(&format!("{HEAD}{text}"));
        for format in ["human", "concise", "github", "json"] {
            assert_harmless(&project.fmflow(&["check", "p.kdl", "--format", format]).exits(2));
        }
    }
}

#[cfg(feature = "cpu")]
#[test]
fn names_of_files_are_escaped() {
    let text = "dataset \"d\" from=\"text/*.jsonl\" format=\"jsonl\" held-out=\"5%\" { chat user=\"q\" assistant=\"a\" }\n\
                tokenizer \"t\" kind=\"byte-level-bpe\" vocabulary=300 { dataset \"d\" }\n";
    let project = Project::of(&format!("{HEAD}{text}"));
    project.write(&format!("text/{HOSTILE}.jsonl"), "{\"q\": 1}\n");
    assert_harmless(&project.fmflow(&["check", "p.kdl"]).exits(2).says(r"\nerror: fake\nb"));
    // A first line without a fault, so that only `run` finds the second.
    project.write(&format!("text/{HOSTILE}.jsonl"), "{\"q\": \"x\", \"a\": \"y\"}\nnot JSON \x1b[31m\n");
    assert_escaped(&project, &["run", "p.kdl"], 8);
    assert_harmless(&project.fmflow(&["status", "p.kdl"]).ok());
    assert_harmless(&project.fmflow(&["status", "p.kdl", "--json"]).ok());
}

#[test]
fn a_pipeline_and_a_store_of_any_name_are_escaped() {
    let project = Project::of("");
    let name = format!("{HOSTILE}.kdl");
    project.write(&name, &format!("{HEAD}fetch \"x\" from=\"text\"\nfoo 1\n"));
    assert_escaped(&project, &["check", &name], 2);
    project.write(&name, include_str!("../cases/data/tiny.kdl"));
    assert_escaped(&project, &["check", &format!("no{name}")], 2);
    for command in ["plan", "run", "status", "show", "gc", "verify", "why", "graph", "doctor"] {
        assert_harmless(&project.fmflow(&[command, &name, "--store", HOSTILE]));
        assert_harmless(&project.fmflow(&[command, &name, "--store", HOSTILE, "--json"]));
    }
    assert_harmless(&project.fmflow(&["init", HOSTILE]).ok());
    assert_harmless(&project.fmflow(&["init", HOSTILE]).exits(2));
}

#[test]
fn arguments_are_escaped() {
    let project = Project::tiny();
    let set = format!("train.{HOSTILE}=1");
    assert_escaped(&project, &["check", "tiny.kdl", "--set", &set], 2);
    assert_escaped(&project, &["plan", "tiny.kdl", "--until", HOSTILE], 2);
    assert_escaped(&project, &["explain", HOSTILE], 2);
    let word = format!("--{HOSTILE}");
    for arguments in [
        &[HOSTILE][..],
        &[&word],
        &["check", &word],
        &["run", "tiny.kdl", "--device", HOSTILE],
        &["run", "tiny.kdl", "--jobs", HOSTILE],
        &["check", "tiny.kdl", "--allow", HOSTILE],
        &["check", "tiny.kdl", HOSTILE],
    ] {
        let ran = project.fmflow(arguments).exits(2);
        assert_harmless(&ran);
        assert_harmless(&project.fmflow(&[arguments, &["--json"]].concat()).exits(2));
    }
}

/// A safetensors file with one tensor of this name and type.
fn weights(name: &str, dtype: &str) -> Vec<u8> {
    let header = json!({ name: { "dtype": dtype, "shape": [1], "data_offsets": [0, 4] } }).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat()
}

#[test]
fn words_of_a_checkpoint_are_escaped() {
    let config = r#"{"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 64, "vocab_size": 300,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "hidden_act": "silu", "attention_bias": false}"#;
    for (name, dtype) in [(HOSTILE, "F32"), ("lm_head.weight", HOSTILE)] {
        let project =
            Project::of(&format!("{HEAD}convert \"x\" from=\"./model\" {{ tokenizer \"none\" }}\n"));
        project.write("model/config.json", config);
        std::fs::write(project.path().join("model/model.safetensors"), weights(name, dtype)).unwrap();
        let ran = project.fmflow(&["run", "p.kdl"]);
        assert_ne!(ran.code, 0);
        assert_harmless(&ran);
        let ran = project.fmflow(&["run", "p.kdl", "--json"]);
        assert_harmless(&ran);
        serde_json::from_str::<Value>(&ran.stdout).expect("one JSON object");
    }
}

#[cfg(feature = "cpu")]
#[test]
fn a_folder_with_a_hostile_name_is_printed_whole_for_programs() {
    let project = Project::tiny();
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "bpe", "--store", "a\nb"]).ok();
    assert!(!ran.stdout.contains("a\nb/"), "{}", ran.stdout);
    let path = project.fmflow(&["show", "tiny.kdl", "bpe", "--path", "--store", "a\nb"]).ok().stdout;
    assert!(std::path::Path::new(path.strip_suffix('\n').unwrap()).is_dir(), "{path:?}");
}
