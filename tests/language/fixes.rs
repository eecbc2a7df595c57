//! Help that can be pasted: for each typical mistake, the help contains the fix, and the pipeline with the fix is valid.

use std::path::Path;

use fmflow_engine::check::{CheckOptions, CheckResult, check_path, check_text};
use fmflow_engine::text::diagnostic::Severity;
use fmflow_engine::text::render::render_concise_lines;

fn checked(text: &str) -> CheckResult {
    check_text("c.kdl", text, Path::new(env!("CARGO_MANIFEST_DIR")), &CheckOptions::default())
}

/// A piece of `tests/cases/data/pages.kdl`, the mistake that replaces it, what the help must contain, and the fixed piece.
pub(crate) type Slip = (&'static str, &'static str, &'static str, &'static str);

const WARMUP: &str = "warmup=40 shape=\"cosine\"\n}\nrecipe \"unmasking\"";
const STEPS: &str = "steps 400\n    learning-rate peak=1e-3 final=1e-4 warmup=40 shape=\"cosine\"\n}\ntrain";
const SFT: &str = "objective \"flow\" path=\"masked\" loss=\"cross-entropy\"\n";
const BATCH: &str = "batch rows=16 per-device=4\n    steps 400\n    learning-rate peak=1e-3 final=1e-4 warmup=40 shape=\"cosine\"\n}\ntrain";
const PIPELINE: &str = "pipeline \"example\" seed=1\n";

/// Mistakes in values and their units.
pub(crate) const VALUES: &[Slip] = &[
    (SFT, "checkpoint every=\"30m\"\n", "write `\"30min\"`", "checkpoint every=\"30min\"\n"),
    (SFT, "checkpoint every=30m\n", "`\"30min\"`", "checkpoint every=\"30min\"\n"),
    (SFT, "checkpoint every=\"2 hours\"\n", "write `\"2h\"`", "checkpoint every=\"2h\"\n"),
    (SFT, "checkpoint every=90s\n", "`\"90s\"`", "checkpoint every=\"90s\"\n"),
    (SFT, "checkpoint every=\"1d12h\"\n", "write `\"36h\"`", "checkpoint every=\"36h\"\n"),
    (SFT, "checkpoint every=\"100 steps\"\n", "`100`", "checkpoint every=100\n"),
    (SFT, "validate every=\"10m\"\n", "`every`: updates between", "validate every=10\n"),
    (
        PIPELINE,
        "pipeline \"example\" seed=1 { budget time=\"5m\" }\n",
        "write `\"5min\"`",
        "pipeline \"e\" { budget time=\"5min\" }\n",
    ),
    (
        PIPELINE,
        "pipeline \"example\" seed=1 { budget time=5m }\n",
        "`\"5min\"`",
        "pipeline \"e\" { budget time=\"5min\" }\n",
    ),
    (
        PIPELINE,
        "pipeline \"example\" seed=1 { budget disk=\"100M\" }\n",
        "write `\"100MB\"`",
        "pipeline \"e\" { budget disk=\"100MB\" }\n",
    ),
    (
        PIPELINE,
        "pipeline \"example\" seed=1 { budget disk=100M }\n",
        "`\"100MB\"`",
        "pipeline \"e\" { budget disk=\"100MB\" }\n",
    ),
    (
        PIPELINE,
        "pipeline \"example\" seed=1 { budget disk=\"100gib\" }\n",
        "write `\"100GiB\"`",
        "pipeline \"e\" { budget disk=\"100GiB\" }\n",
    ),
    (
        PIPELINE,
        "pipeline \"example\" seed=1 { budget disk=300000000 }\n",
        "`\"300MB\"`",
        "pipeline \"e\" { budget disk=\"300MB\" }\n",
    ),
    ("held-out=\"2%\"\ndataset", "held-out=\"0.05\"\ndataset", "`0.05`", "held-out=0.05\ndataset"),
    ("held-out=\"2%\"\ndataset", "held-out=\"5\"\ndataset", "`\"5%\"`", "held-out=\"5%\"\ndataset"),
    ("held-out=\"2%\"\ndataset", "held-out=5\ndataset", "`\"5%\"`", "held-out=\"5%\"\ndataset"),
    (
        "mixture \"prose\" { dataset \"text\" }",
        "mixture \"prose\" { dataset \"text\" weight=\"50%\" }",
        "write `0.5`",
        "mixture \"prose\" { dataset \"text\" weight=0.5 }",
    ),
    (WARMUP, "warmup=0.1 shape=\"cosine\"\n}\nrecipe \"unmasking\"", "`warmup=40`", WARMUP),
    (WARMUP, "warmup=\"3%\" shape=\"cosine\"\n}\nrecipe \"unmasking\"", "`warmup=12`", WARMUP),
    (WARMUP, "warmup_ratio=0.1 shape=\"cosine\"\n}\nrecipe \"unmasking\"", "`warmup=40`", WARMUP),
    (
        STEPS,
        "steps 400\n    learning-rate peak=1,e-3 final=1e-4 shape=\"cosine\"\n}\ntrain",
        "write `1e-3`",
        STEPS,
    ),
    (
        STEPS,
        "steps 400\n    learning-rate peak=\"1,5\" final=1e-4 shape=\"cosine\"\n}\ntrain",
        "`1.5`",
        STEPS,
    ),
];

/// Words of other tools in place of words of this language.
pub(crate) const WORDS: &[Slip] = &[
    (
        WARMUP,
        "shape=\"wsd\"\n}\nrecipe \"unmasking\"",
        "did you mean `warmup-stable-decay`?",
        "decay=9 shape=\"warmup-stable-decay\"\n}\nrecipe \"unmasking\"",
    ),
    (WARMUP, "shape=\"cosine_with_min_lr\"\n}\nrecipe \"unmasking\"", "did you mean `cosine`?", WARMUP),
    (SFT, "optimizer \"adamw_torch_fused\"\n", "did you mean `adamw`?", "optimizer \"adamw\"\n"),
    (SFT, "attention \"full\"\n", "did you mean `bidirectional`?", "attention \"bidirectional\"\n"),
    (SFT, "objective \"flow\" path=\"masked\" loss=\"ce\"\n", "did you mean `cross-entropy`?", SFT),
    (
        SFT,
        "objective \"flow\" path=\"masked\" loss=\"mdlm\"\n",
        "did you mean `elbo`?",
        "objective \"flow\" path=\"masked\" loss=\"elbo\" max-weight=20\n",
    ),
    ("packing=\"first-fit\"", "packing=true", "`packing=\"first-fit\"`", "packing=\"first-fit\""),
    ("packing=\"first-fit\"", "packing=#true", "`packing=\"first-fit\"`", "packing=\"first-fit\""),
    (
        "convert \"flow\" from=\"ar\"",
        "convert \"flow\" from=\"ar\" { certify #true }",
        "`certify tolerance=1e-4`",
        "convert \"flow\" from=\"ar\" { certify tolerance=1e-4 }",
    ),
    (
        "convert \"flow\" from=\"ar\"",
        "convert \"flow\" from=\"ar\" { certify true }",
        "`certify tolerance=1e-4`",
        "convert \"flow\" from=\"ar\" { certify tolerance=1e-4 }",
    ),
    (SFT, "bf16 true\n", "`precision compute=\"bf16\"`", "precision compute=\"bf16\"\n"),
    (SFT, "bf16 #true\n", "`precision compute=\"bf16\"`", "precision compute=\"bf16\"\n"),
];

/// Syntax of other languages and tools.
pub(crate) const FORMS: &[Slip] = &[
    (
        "mixture \"answer\" { dataset \"tasks\" }",
        "mixture \"answer\" {\n    - dataset: tasks\n}",
        "KDL has no `-` lists: write `dataset \"tasks\" weight=1`",
        "mixture \"answer\" { dataset \"tasks\" weight=1 }",
    ),
    (
        "mixture \"answer\" { dataset \"tasks\" }",
        "mixture \"answer\" {\n    - tasks\n}",
        "write `dataset \"tasks\" weight=1`",
        "mixture \"answer\" { dataset \"tasks\" weight=1 }",
    ),
    (
        STEPS,
        "- steps 400\n    learning-rate peak=1e-3 final=1e-4 shape=\"cosine\"\n}\ntrain",
        "KDL has no `-` lists: write `steps 400`",
        STEPS,
    ),
    (
        STEPS,
        "steps { 400 }\n    learning-rate peak=1e-3 final=1e-4 shape=\"cosine\"\n}\ntrain",
        "write `steps 400`",
        STEPS,
    ),
    (
        STEPS,
        "steps value=400\n    learning-rate peak=1e-3 final=1e-4 shape=\"cosine\"\n}\ntrain",
        "`steps 400`",
        STEPS,
    ),
    (
        STEPS,
        "steps:400\n    learning-rate peak=1e-3 final=1e-4 shape=\"cosine\"\n}\ntrain",
        "write `steps 400`",
        STEPS,
    ),
    (
        "convert \"flow\" from=\"ar\"",
        "convert \"flow\" from:\"ar\"",
        "write `from=\"ar\"`",
        "convert \"flow\" from=\"ar\"",
    ),
    (
        "convert \"flow\" from=\"ar\"",
        "convert \"flow\" from:ar",
        "write `from=\"ar\"`",
        "convert \"flow\" from=\"ar\"",
    ),
    (
        SFT,
        "optimizer \"adamw\" betas=[0.9, 0.98]\n",
        "beta1=0.9 beta2=0.98`",
        "optimizer \"adamw\" beta1=0.9 beta2=0.98\n",
    ),
    (
        SFT,
        "optimizer \"adamw\" betas=\"0.9,0.95\"\n",
        "beta1=0.9 beta2=0.95`",
        "optimizer \"adamw\" beta1=0.9 beta2=0.95\n",
    ),
    (
        SFT,
        "optimizer \"adamw\" betas=\"(0.9, 0.95)\"\n",
        "beta1=0.9 beta2=0.95`",
        "optimizer \"adamw\" beta1=0.9 beta2=0.95\n",
    ),
    (
        BATCH,
        "batch rows=16 gradient-accumulation=2\n    steps 400\n    learning-rate peak=1e-3 final=1e-4 shape=\"cosine\"\n}\ntrain",
        "`batch rows=16 per-device=8`",
        BATCH,
    ),
    (SFT, "gradient_accumulation_steps 4\n", "`batch rows=16 per-device=4`", "batch rows=16 per-device=4\n"),
    (SFT, "num_train_epochs 3\n", "not epochs", "steps 3000\n"),
    (SFT, "steps epochs=3\n", "not epochs", "steps 3000\n"),
    (
        "convert \"flow\" from=\"ar\"",
        "convert \"flow\" from=\"Qwen/Qwen3-0.6B\"",
        "declare `fetch \"qwen3-0.6b\" from=\"hf:Qwen/Qwen3-0.6B\"` and write `from=\"qwen3-0.6b\"`",
        "convert \"flow\" from=\"ar\"\nfetch \"qwen3-0.6b\" from=\"hf:Qwen/Qwen3-0.6B\"; convert \"other\" from=\"qwen3-0.6b\"",
    ),
    (
        "convert \"flow\" from=\"ar\"",
        "convert \"flow\" from=\"hf:Qwen/Qwen3-0.6B\"",
        "declare `fetch \"qwen3-0.6b\" from=\"hf:Qwen/Qwen3-0.6B\"`",
        "convert \"flow\" from=\"ar\"",
    ),
    (
        "train \"ar\" from=\"tiny\"",
        "train \"ar\" from=\"Qwen/Qwen3-0.6B\"",
        "declare `fetch \"qwen3-0.6b\" from=\"hf:Qwen/Qwen3-0.6B\"`",
        "train \"ar\" from=\"tiny\"",
    ),
    (
        "train \"ar\" from=\"tiny\"",
        "fetch \"q\" from=\"Qwen/Qwen3-0.6B\"\ntrain \"ar\" from=\"tiny\"",
        "did you mean `\"hf:Qwen/Qwen3-0.6B\"`?",
        "fetch \"q\" from=\"hf:Qwen/Qwen3-0.6B\"\ntrain \"ar\" from=\"tiny\"",
    ),
    (
        "train \"ar\" from=\"tiny\"",
        "train \"ar\" base_model=\"tiny\"",
        "write `from=\"tiny\"`",
        "train \"ar\" from=\"tiny\"",
    ),
    (
        "chat user=\"question\" assistant=\"answer\"",
        "chat",
        "or `messages=\"messages\"` for a list of turns",
        "chat user=\"question\" assistant=\"answer\"",
    ),
];

/// Features that fmflow does not have, and what the help must contain.
const ABSENT: &[(&str, &str)] = &[
    ("lora", "`adapter \"lora\" rank=16 alpha=32`"),
    ("peft", "`adapter \"lora\" rank=16 alpha=32`"),
    ("fsdp", "one device"),
    ("deepspeed", "one device"),
    ("wandb", "fmflow log"),
];

fn pasted((place, slip, says, fix): Slip) -> Option<String> {
    let text = include_str!("../cases/data/pages.kdl");
    assert!(text.contains(place), "{place}");
    let wrong = checked(&text.replacen(place, slip, 1));
    let errors = render_concise_lines(&wrong.diagnostics);
    let helps: Vec<_> = wrong.diagnostics.iter().filter_map(|found| found.help.as_deref()).collect();
    let helped = wrong.failed() && matches!(helps.as_slice(), [one] if one.contains(says));
    let right = checked(&text.replacen(place, fix, 1));
    let fault = match (helped, right.failed()) {
        (true, false) => return None,
        (false, _) => format!("{says}\n{helps:#?}\n{errors}"),
        (true, true) => render_concise_lines(&right.diagnostics),
    };
    Some(format!("{slip}\n{fault}"))
}

fn all_are_pasted(slips: &[Slip]) {
    let faults: Vec<_> = slips.iter().filter_map(|slip| pasted(*slip)).collect();
    assert!(faults.is_empty(), "{} of {}\n{}", faults.len(), slips.len(), faults.join("\n"));
}

#[test]
fn values_with_foreign_units_get_a_fix_in_our_notation() {
    all_are_pasted(VALUES);
}

#[test]
fn words_of_other_tools_map_to_words_of_the_field() {
    all_are_pasted(WORDS);
}

#[test]
fn syntax_of_other_languages_gets_a_fix_in_kdl() {
    all_are_pasted(FORMS);
}

#[test]
fn missing_features_are_reported_and_explained() {
    for (name, says) in ABSENT {
        let text = include_str!("../cases/data/pages.kdl").replacen(SFT, &format!("{name} {{ r 16 }}\n"), 1);
        let found = checked(&text).diagnostics;
        let helps: Vec<_> = found.iter().filter_map(|found| found.help.as_deref()).collect();
        assert!(matches!(helps.as_slice(), [one] if one.contains(says)), "{name}: {helps:?}");
        let page = fmflow_engine::language::explain::explain_topic(name).unwrap_or_default();
        assert!(page.contains(says), "{name}: {page}");
    }
}

#[test]
fn a_chat_dataset_needs_exactly_one_way_to_name_its_turns() {
    for (slip, says) in [
        ("chat conversations=\"messages\"", "did you mean `messages`?"),
        ("chat message=\"messages\"", "did you mean `messages`?"),
        ("chat user=\"question\"", "add `assistant=\"answer\"`"),
    ] {
        let place = "chat user=\"question\" assistant=\"answer\"";
        let found = checked(&include_str!("../cases/data/pages.kdl").replacen(place, slip, 1)).diagnostics;
        let helps: Vec<_> = found.iter().filter_map(|found| found.help.as_deref()).collect();
        assert!(matches!(helps.as_slice(), [one] if one.contains(says)), "{slip}: {helps:?}");
    }
}

/// Errors of `tests/cases/data/pages.kdl` after replacing pieces everywhere.
fn errors(pieces: &[(&str, &str)]) -> Vec<&'static str> {
    let text = include_str!("../cases/data/pages.kdl").to_owned();
    let text = pieces.iter().fold(text, |text, (old, new)| text.replace(old, new));
    let found = checked(&text).diagnostics.into_iter();
    found.filter(|found| found.severity == Severity::Error).map(|found| found.code.name()).collect()
}

#[test]
fn an_invalid_name_is_reported_only_where_it_is_declared() {
    for name in ["..", "a/b", "a b", "-x"] {
        let quoted = format!("\"{name}\"");
        let pieces =
            [("convert \"flow\"", format!("convert {quoted}")), ("from=\"flow\"", format!("from={quoted}"))];
        let pieces: Vec<_> = pieces.iter().map(|(old, new)| (*old, new.as_str())).collect();
        assert_eq!(errors(&pieces), ["invalid-name"], "{name}");
        assert_eq!(errors(&[("\"tasks\"", &quoted)]), ["invalid-name"], "{name}");
    }
    assert_eq!(errors(&[("train \"pretrain\"", "train \"flow\"")]), ["duplicate-name"]);
    assert_eq!(errors(&[("train \"sft\"", "train \"pretrain\"")]), ["duplicate-name"]);
    assert_eq!(errors(&[("dataset \"tasks\" from", "dataset \"text\" from")]), ["duplicate-name"]);
    assert_eq!(errors(&[("rows \"chat\"", "rows \"text\"")]), ["duplicate-name"]);
}

#[test]
fn a_wrong_path_suggests_the_intended_file() {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    for name in ["pipeline.kdl", "data.kdl", "pipline.txt"] {
        std::fs::write(folder.path().join(name), "").unwrap_or_else(|error| panic!("{error}"));
    }
    for (wanted, help) in
        [("pipline.kdl", "pipeline.kdl`?"), ("dat", "data.kdl`?"), ("sft.kdl", "see what is there: `ls ")]
    {
        let found = check_path(&folder.path().join(wanted), &CheckOptions::default()).diagnostics;
        let said = found.first().and_then(|found| found.help.clone()).unwrap_or_default();
        assert!(said.contains(help), "{wanted}: {said}");
    }
}

#[test]
fn a_file_that_is_not_data_is_recognized_by_its_first_bytes() {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let says = |bytes: &[u8], rest: &str| {
        std::fs::write(folder.path().join("d.jsonl"), bytes).unwrap_or_else(|error| panic!("{error}"));
        let text = format!("pipeline \"p\" seed=1\ndataset \"d\" from=\"d.jsonl\" {rest}\n");
        let text = text + "tokenizer \"t\" kind=\"byte-level-bpe\" vocabulary=512 { dataset \"d\" }\n";
        render_concise_lines(&check_text("c.kdl", &text, folder.path(), &CheckOptions::default()).diagnostics)
    };
    let (list, pair) = (
        "format=\"jsonl\" { chat messages=\"m\" }",
        "format=\"jsonl\" { chat user=\"q\" assistant=\"a\" group=\"g\" }",
    );
    let cases: &[(&[u8], &str, &str)] = &[
        (b"", "format=\"text\"", "2:18: error[unfit-data]: `d.jsonl` is empty"),
        (b"\x1f\x8b\x08", "format=\"text\"", "`d.jsonl`: it is cut off at byte 3, within its gzip data"),
        (b"\xff\xfea\0", "format=\"jsonl\"", "iconv -f utf-16"),
        (b"\xfe\xff\0a", "format=\"jsonl\"", "is UTF-16"),
        (b"\xef\xbb\xbf{}", "format=\"jsonl\"", "byte order mark"),
        (
            b"[\n{}]",
            "format=\"jsonl\"",
            "write `format=\"json\"`, or one object per line: `jq -c '.[]' d.jsonl`",
        ),
        (b"{\"text\": \"x\"}\n", "format=\"json\"", "a file of JSON lines, not one JSON array"),
        (
            b"{\"m\": \"x\"}",
            list,
            "2:59: error[unfit-data]: the first line of `d.jsonl`: `m` is not a list of turns",
        ),
        (b"{\"m\": []}", list, "`m` has no turns"),
        (b"{\"m\": [\"x\"]}", list, "turn 1 of `m` does not say who speaks"),
        (b"{\"m\": [{\"from\": \"gpt\", \"value\": \"x\"}]}", list, "begin with a user's turn"),
        (b"{\"m\": [{\"role\": \"system\", \"content\": \"x\"}]}", list, "no turn of `m` is the assistant's"),
        (
            b"{\"q\": [{\"role\": \"user\"}], \"a\": \"x\", \"g\": \"y\"}",
            pair,
            "to read turns from a list, write `chat messages=\"q\"`",
        ),
        (b"PAR1\x15\x04", "format=\"jsonl\"", "write `format=\"parquet\"`"),
        (b"ARROW1\0\0", "format=\"jsonl\"", "write `format=\"arrow\"`"),
        (b"PK\x03\x04\n\0", "format=\"text\"", "`d.jsonl` is a ZIP file"),
        (
            b"{\"q\": [{\"role\": \"user\"}], \"a\": [{\"role\": \"assistant\"}], \"g\": \"y\"}",
            pair,
            "jq -c '{messages: (.q + .a)}' d.jsonl",
        ),
        (b"{\"q\": 1, \"a\": \"x\", \"g\": \"y\"}", pair, "`q` is a number, not text"),
        (b"{\"q\": \"1\", \"a\": \"x\"}", pair, "error[no-column]: the lines of `d.jsonl` have no field `g`"),
        (b"{\"text\": [1]}", "format=\"jsonl\"", "`text` is a list, not text"),
    ];
    for (bytes, rest, expected) in cases {
        let said = says(bytes, rest);
        assert!(said.contains(expected) && said.matches("error[").count() == 1, "{expected}\n{said}");
    }
    let fine: &[(&[u8], &str)] = &[
        (b"[text]", "format=\"text\""),
        (
            b"{\"m\": [{\"role\": \"system\", \"content\": \"x\"}, {\"role\": \"user\", \"content\": \"q\"}, \
              {\"role\": \"assistant\", \"content\": \"a\"}]}",
            list,
        ),
        (b"{\"q\": \"1\", \"a\": \"x\", \"g\": \"y\"}", pair),
    ];
    for (bytes, rest) in fine {
        assert!(!says(bytes, rest).contains("error["), "{}", says(bytes, rest));
    }
}

#[test]
fn lines_after_the_first_are_read_as_the_stages_read_them() {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let write = |name: &str, lines: &[&str]| {
        let text = lines.join("\n").replace('\'', "\"");
        std::fs::write(folder.path().join(name), text).unwrap_or_else(|error| panic!("{error}"));
    };
    let says = |chat: &str| {
        let text = format!(
            "pipeline \"p\" seed=1\ndataset \"d\" from=\"*.jsonl\" format=\"jsonl\" {{ chat {chat} }}\n"
        );
        let text = text + "tokenizer \"t\" kind=\"byte-level-bpe\" vocabulary=512 { dataset \"d\" }\n";
        render_concise_lines(&check_text("c.kdl", &text, folder.path(), &CheckOptions::default()).diagnostics)
    };
    let (good, chat) = ("{'q': 'x', 'a': 'y'}", "user=\"q\" assistant=\"a\"");
    write("a.jsonl", &[good, "{'q': 7, 'a': 'y'}", "{'q': 'x'}", good, "{'q': 8, 'a': 'y'}"]);
    write("b.jsonl", &["{'q': 9, 'a': 'y'}", "", good]);
    let said = says(chat);
    let numbers =
        "a.jsonl:2: field `q` is not a string but a number; 2 more in lines 5, b.jsonl:1 (put it in quotes)";
    assert!(said.contains(numbers) && said.contains("a.jsonl:3: field `a` is missing"), "{said}");
    assert_eq!(said.matches("error[faulty-lines]").count(), 2, "{said}");

    // What is wrong with every line is reported of the first alone.
    write("a.jsonl", &["{'q': 7, 'a': 'y'}", "{'q': 7, 'a': 'y'}", "{'q': 'x', 'a': 7}"]);
    write("b.jsonl", &[good]);
    let said = says(chat);
    assert!(said.contains("the first line of `a.jsonl`: `q` is a number"), "{said}");
    assert!(
        said.contains("a.jsonl:3: field `a` is not a string") && said.matches("error[").count() == 2,
        "{said}"
    );

    // Lines may lack an input, but not all of them.
    write("a.jsonl", &[good, "{'q': 'x', 'a': 'y', 'input': 'z'}"]);
    assert!(!says(&format!("{chat} input=\"input\"")).contains("error["));
    let said = says(&format!("{chat} input=\"inputs\""));
    assert!(said.contains("none of the first 3 lines has the field `inputs`"), "{said}");

    // Only so many files are read: a field may come in the next.
    write("a.jsonl", &[good]);
    let context = format!("{chat} input=\"context\"");
    assert!(says(&context).contains("no-column"));
    for name in ["c.jsonl", "d.jsonl"] {
        write(name, &[good]);
    }
    write("e.jsonl", &["{'q': 'x', 'a': 'y', 'context': 'z'}"]);
    assert!(!says(&context).contains("error["), "{}", says(&context));

    // Only so many lines are read.
    let mut lines = vec![good; 1500];
    lines[1200] = "{";
    write("a.jsonl", &lines);
    assert!(!says(chat).contains("error["));
    lines[900] = "{";
    write("a.jsonl", &lines);
    assert!(says(chat).contains("a.jsonl:901: the line is not JSON"));
}
