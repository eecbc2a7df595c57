//! Hostile input: `check` refuses it quickly, with a short message and a fix.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::time::{Duration, Instant};

use fmflow_engine::check::{CheckOptions, CheckResult, check_path, check_text};
use fmflow_engine::plan::text::PlannedCommands;
use fmflow_engine::text::render::{DrawingStyle, render_concise_lines, render_drawings};

fn checked(text: &str) -> CheckResult {
    check_text("c.kdl", text, Path::new(env!("CARGO_MANIFEST_DIR")), &CheckOptions::default())
}

/// The findings, one line each.
fn said(text: &str) -> String {
    render_concise_lines(&checked(text).diagnostics)
}

#[track_caller]
fn says(text: &str, expected: &str) {
    let said = said(text);
    assert!(said.contains(expected), "{expected:?} in\n{said}");
}

#[test]
fn huge_files_with_many_findings_are_refused_quickly() {
    let bombs = [
        "a\n".repeat(500_000),
        "a;".repeat(30_000),
        "/- a\n".repeat(100_000),
        format!("a {}", "\\\n".repeat(300_000)),
        "a\n".repeat(19_000),
        format!("pipeline \"x\"\n{}", "dataset \"d\" from=\"none/*\" format=\"text\"\n".repeat(10_000)),
    ];
    for bomb in &bombs {
        let start = Instant::now();
        let checked = checked(bomb);
        let drawn = render_drawings(&checked.diagnostics, DrawingStyle::PLAIN);
        assert!(checked.failed() && checked.diagnostics.len() <= 201, "{}", checked.diagnostics.len());
        assert!(drawn.len() < 200_000 && start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    }
}

#[test]
fn long_lines_are_not_echoed() {
    for text in [
        format!("a {}", "1 ".repeat(20_000)),
        "/*".repeat(10_000),
        format!("pipeline \"{}\"", "x".repeat(5_000)),
        format!("pipeline \"x\" seed={}", "9".repeat(5_000)),
    ] {
        let drawn = render_drawings(&checked(&text).diagnostics, DrawingStyle::PLAIN);
        assert!(drawn.len() < 2_000 && drawn.contains("c.kdl:1:"), "{drawn}");
    }
}

#[test]
fn non_finite_and_too_large_numbers_are_reported() {
    says("pipeline \"x\" { machine mfu=#inf; }", "mfu");
    let drawn = |value: &str| {
        let text = format!("sampler \"s\" kind=\"euler\" passes=1 temperature={value}");
        render_drawings(&checked(&text).diagnostics, DrawingStyle::PLAIN)
    };
    assert!(drawn("#inf").contains("this is infinite"), "{}", drawn("#inf"));
    assert!(drawn("#nan").contains("this is not a number"), "{}", drawn("#nan"));
    says("pipeline \"x\" seed=18446744073709551616", "the largest whole number is 9223372036854775807");
    let huge = format!("pipeline \"x\" {{\n  budget days={}\n}}", "9".repeat(50));
    says(&huge, "c.kdl:2:15: error[syntax]: this number is too large");
    assert_eq!(said(&huge).lines().count(), 1, "{}", said(&huge));
    says(&format!("pipeline \"x\" seed=1e1{}", "0".repeat(40)), "this number is too large");
    says("dataset \"d\" from=\"x\" format=\"text\" held-out=\"100%\"", "must be below 100%");
}

#[test]
fn control_characters_are_reported() {
    says("pipeline \"x\"\0\n", "the control character U+0000");
    says("pipeline \"x\" seed=\u{7}", "the control character U+0007");
}

#[test]
fn utf_16_gets_its_own_help() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.kdl");
    std::fs::write(&path, b"\xff\xfep\0").unwrap();
    let said = render_concise_lines(&check_path(&path, &CheckOptions::default()).diagnostics);
    assert!(said.contains("iconv -f utf-16"), "{said}");
}

#[test]
fn a_missing_choice_does_not_reject_its_dependent_fields() {
    let said = said("tokenizer \"t\" { dataset \"d\" }");
    assert!(said.contains("needs `kind`") && !said.contains("remove `dataset`"), "{said}");
}

#[test]
fn a_misplaced_declaration_is_pointed_to_the_top_level() {
    says("train \"m\" from=\"x\" { dataset \"d\" }", "`dataset` belongs at the top level");
}

#[test]
fn sizes_that_cannot_fit_are_reported_before_a_run() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("tiny")).unwrap();
    std::fs::write(folder.path().join("tiny/a.txt"), "x").unwrap();
    std::fs::write(folder.path().join("tiny/a.jsonl"), "{}").unwrap();
    let tiny = include_str!("../cases/data/tiny.kdl");
    let says = |from: &str, to: &str, expected: &str| {
        assert!(tiny.contains(from), "{from}");
        let checked = check_text("c.kdl", &tiny.replace(from, to), folder.path(), &CheckOptions::default());
        let said = render_concise_lines(&checked.diagnostics);
        assert!(checked.failed() && said.contains(expected), "{expected:?} in\n{said}");
    };
    says("canvas=12", "canvas=64", "c.kdl:15:66: error[out-of-range]: a canvas of 64 tokens");
    says("length=4", "length=128", "asks for 128 new tokens, but the context of `tiny` is 128");
    says(
        "mask-token \"reserved\"",
        "tokenizer \"none\"; mask-token \"reserved\"",
        "the reserved row cannot be found",
    );
}

/// Paths that lead to something other than a regular file: description and path.
fn odd_places(folder: &Path) -> Vec<(&'static str, String)> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let at = |name: &str| folder.join(name);
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::write(at("folder/a.jsonl"), "{\"text\": \"a\"}\n").unwrap();
    std::fs::write(at("empty.jsonl"), "").unwrap();
    std::fs::write(folder.join(std::ffi::OsStr::from_bytes(b"bad\xff.jsonl")), "{}\n").unwrap();
    std::fs::write(at("torn.jsonl"), "{\"text\": \"a").unwrap();
    std::fs::write(at("deep.jsonl"), "[".repeat(100_000)).unwrap();
    symlink("/etc/passwd", at("escape.jsonl")).unwrap();
    symlink("nowhere", at("dangling.jsonl")).unwrap();
    symlink("loop.jsonl", at("loop.jsonl")).unwrap();
    symlink(".", at("folder/again")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(at("pipe.jsonl")).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    let up = "../".repeat(40);
    let places = [
        ("a device", "/dev/zero".to_owned()),
        ("a pipe", "pipe.jsonl".to_owned()),
        ("a folder", "folder".to_owned()),
        ("an empty file", "empty.jsonl".to_owned()),
        ("a name that is not UTF-8", "bad*.jsonl".to_owned()),
        ("a torn file", "torn.jsonl".to_owned()),
        ("deep JSON", "deep.jsonl".to_owned()),
        ("a link that leads out", "escape.jsonl".to_owned()),
        ("a link to nothing", "dangling.jsonl".to_owned()),
        ("a link to itself", "loop.jsonl".to_owned()),
        ("a folder that holds itself", "folder/**/*.jsonl".to_owned()),
        ("above the root", format!("{up}dev/null")),
        ("the process itself", "/proc/self/mem".to_owned()),
        ("a name with a zero", "a\\u{0}b".to_owned()),
    ];
    places.into_iter().collect()
}

#[test]
fn paths_to_odd_places_never_panic_or_hang() {
    let folder = tempfile::tempdir().unwrap();
    for (what, path) in odd_places(folder.path()) {
        let texts = [
            format!(
                "dataset \"d\" from=\"{path}\" format=\"jsonl\"\ntokenizer \"t\" kind=\"byte-level-bpe\" vocabulary=512 {{ dataset \"d\" }}\n"
            ),
            format!(
                "dataset \"d\" from=\"{path}\" format=\"text\"\ntokenizer \"t\" kind=\"byte-level-bpe\" vocabulary=512 {{ dataset \"d\" }}\n"
            ),
            format!(
                "tokenizer \"t\" from=\"{path}\"\nrandom-init \"m\" tokenizer=\"t\" {{ shape \"qwen3\" hidden=8 layers=1 heads=2 head-dim=4 feed-forward=16 }}\nconvert \"c\" from=\"m\"\n"
            ),
            format!("fetch \"f\" from=\"{path}\"\nconvert \"c\" from=\"f\"\n"),
            format!("convert \"c\" from=\"./{path}\"\n"),
            format!("include \"{path}\"\n"),
        ];
        for text in texts {
            let start = Instant::now();
            let text = format!("pipeline \"x\" seed=1 {{ budget disk=\"1GiB\" }}\n{text}");
            let checked = check_text("c.kdl", &text, folder.path(), &CheckOptions::default());
            let drawn = render_drawings(&checked.diagnostics, DrawingStyle::PLAIN);
            assert!(start.elapsed() < Duration::from_secs(10), "{what}: {text}");
            assert!(!drawn.contains("internal"), "{what}: {text}\n{drawn}");
            let said = render_concise_lines(&checked.diagnostics);
            assert!(!said.contains("; )"), "malformed help for {what}: {text}\n{said}");
        }
    }
}

#[test]
fn an_unreadable_source_is_reported_where_it_is_declared() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("model")).unwrap();
    for name in ["model/config.json", "a.jsonl", "t.json"] {
        std::os::unix::fs::symlink("nowhere", folder.path().join(name)).unwrap();
    }
    let text = "pipeline \"x\" seed=1\ndataset \"d\" from=\"a.jsonl\" format=\"jsonl\"\n\
                tokenizer \"b\" kind=\"byte-level-bpe\" vocabulary=512 { dataset \"d\" }\n\
                tokenizer \"t\" from=\"t.json\"\nfetch \"f\" from=\"model\"\n";
    let checked = check_text("c.kdl", text, folder.path(), &CheckOptions::default());
    let said = render_concise_lines(&checked.diagnostics);
    for (place, file) in [("2:18", "a.jsonl"), ("4:20", "t.json"), ("5:16", "model/config.json")] {
        let line = said.lines().find(|line| line.starts_with(&format!("c.kdl:{place}: error[no-files]")));
        let line = line.unwrap_or_else(|| panic!("{place} in\n{said}"));
        assert!(line.contains(&format!("cannot read `{file}`: it is a link to nothing")), "{line}");
        assert!(line.contains(&format!("make `{file}` readable, move it away")), "{line}");
    }
}

#[test]
fn a_link_that_leads_out_of_a_checkpoint_folder_is_reported_with_its_target() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    std::fs::create_dir(folder.join("model")).unwrap();
    std::fs::write(folder.join("secret"), "x").unwrap();
    std::os::unix::fs::symlink("../secret", folder.join("model/chat_template.jinja")).unwrap();
    let text = "pipeline \"x\" seed=1\nfetch \"f\" from=\"model\"\n";
    let checked = check_text("c.kdl", text, &folder, &CheckOptions::default());
    let said = render_concise_lines(&checked.diagnostics);
    let secret = folder.join("secret");
    let expected = format!(
        "c.kdl:2:16: error[no-files]: the checkpoint folder `model`: `model/chat_template.jinja` is a link that leads out of the \
         folder, to `{}`",
        secret.display()
    );
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn nonsense_checkpoint_headers_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let huge = u64::MAX;
    let shape = format!(
        "{{\"vocab_size\": {huge}, \"hidden_size\": {huge}, \"num_hidden_layers\": {huge}, \"num_attention_heads\": {huge}, \
         \"intermediate_size\": {huge}}}"
    );
    let tokens = format!("{{\"model\": {{\"vocab\": {{\"a\": {huge}}}}}, \"added_tokens\": []}}");
    for (config, tokenizer) in
        [("{}", "{}"), ("[", "nul"), (&shape, &tokens), ("{\"vocab_size\": -1}", "{\"model\": 1}")]
    {
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
        let text = "pipeline \"x\" seed=1 { budget days=1 disk=\"1GiB\"; machine gpu=\"1xH100\" }\nfetch \"f\" from=\"./\"\n\
                    convert \"c\" from=\"f\" { mask-token \"reserved\" }\nexport \"e\" from=\"c\" format=\"huggingface\"\n";
        let checked = check_text("c.kdl", text, folder.path(), &CheckOptions::default());
        let _ = render_drawings(&checked.diagnostics, DrawingStyle::PLAIN);
        if let Some(pipeline) = &checked.pipeline {
            let facts = fmflow_engine::plan::SourceDigests::read(pipeline, None).unwrap();
            let plan = fmflow_engine::plan::Plan::for_pipeline(
                pipeline,
                &facts,
                &fmflow_engine::store::StoreListing::default(),
            );
            let _ = fmflow_engine::plan::text::render_plan_text(pipeline, &plan, &PlannedCommands::default());
        }
    }
}
