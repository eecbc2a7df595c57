//! `check` as users see it: the pipelines of this repository are valid, every code has a case with a snapshot of its report,
//! and hostile input is refused without a panic.

use std::path::{Path, PathBuf};

use fmflow_engine::check::{CheckOptions, CheckResult, check_path, check_text};
use fmflow_engine::text::diagnostic::{Code, Diagnostic, Severity};
use fmflow_engine::text::render::{
    DrawingStyle, render_concise_lines, render_diagnostics_json, render_drawings, render_github_annotations,
};
use proptest::prelude::*;

/// Codes that no text in this folder can trigger: unreadable files, bugs, and what only a hub can know.
const WITHOUT_CASE: &[Code] = &[
    Code::UnreadableFile,
    Code::FileTooLarge,
    Code::NotUtf8,
    Code::Internal,
    Code::RepositoryNotFound,
    Code::RevisionNotFound,
    Code::AccessDenied,
    Code::UnknownSubset,
    Code::UnknownColumn,
    Code::ColumnsUnresolved,
    Code::HubUnreachable,
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shipped(name: &str) -> CheckResult {
    check_path(&root().join("pipelines").join(name), &CheckOptions::default())
}

fn case(code: Code) -> PathBuf {
    root().join("tests/cases/check").join(format!("{}.kdl", code.name()))
}

/// Checks a case under its file name, so that the report does not depend on the folder.
fn checked(code: Code) -> CheckResult {
    let path = case(code);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("no case {}", path.display()));
    let name = format!("{}.kdl", code.name());
    check_text(&name, &text, &root().join("tests/cases/check"), &CheckOptions::default())
}

#[test]
fn the_quickstart_has_no_findings() {
    let checked = shipped("quickstart.kdl");
    assert_eq!(render_concise_lines(&checked.diagnostics), "");
    let pipeline = checked.pipeline.unwrap();
    let names: Vec<_> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
    insta::assert_debug_snapshot!("quickstart-stages", names);
    let sft = pipeline.stage_named("sft").unwrap();
    insta::assert_debug_snapshot!("quickstart-sft", sft.config);
    let mut lines = String::new();
    for stage in &pipeline.stages {
        for field in &stage.fields {
            let mark = if field.semantic { '+' } else { '-' };
            lines += &format!("{mark} {} {} {} {:?}\n", stage.name, field.path, field.value, field.origin);
        }
    }
    insta::assert_snapshot!("quickstart-fields", lines);
}

#[test]
fn the_full_pipeline_has_only_warnings() {
    let checked = shipped("full.kdl");
    insta::assert_snapshot!("full-warnings", render_concise_lines(&checked.diagnostics));
    assert!(checked.pipeline.is_some());
}

#[test]
fn the_pipeline_of_strides_has_only_warnings() {
    let checked = shipped("i-dlm.kdl");
    insta::assert_snapshot!("i-dlm-warnings", render_concise_lines(&checked.diagnostics));
    assert!(checked.pipeline.is_some());
}

#[test]
fn the_pipeline_of_a_laptop_has_only_warnings() {
    let checked = shipped("laptop.kdl");
    insta::assert_snapshot!("laptop-warnings", render_concise_lines(&checked.diagnostics));
    assert!(checked.pipeline.is_some());
}

#[test]
fn every_code_has_a_case_with_a_snapshot() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../cases/check");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for code in Code::ALL.iter().filter(|code| !WITHOUT_CASE.contains(code)) {
            let checked = checked(*code);
            insta::assert_snapshot!(code.name(), render_drawings(&checked.diagnostics, DrawingStyle::PLAIN));
            let found = checked.diagnostics.iter().any(|diagnostic| diagnostic.code == *code);
            assert!(found, "the case of `{}` does not trigger it", code.name());
        }
    });
}

#[test]
fn one_check_reports_every_problem() {
    let text = include_str!("../cases/check/many-faults.kdl");
    let checked =
        check_text("many-faults.kdl", text, &root().join("tests/cases/check"), &CheckOptions::default());
    insta::assert_snapshot!("many-faults", render_concise_lines(&checked.diagnostics));
}

#[test]
fn json_and_github_formats_are_stable() {
    let text = "pipeline \"x\" seed=1\ndataset \"50%\" from=\"a\"\nexport \"e\" from=\"x\" format=\"onnx\" dtype=\"bf15\"\n";
    let checked = check_text("a,b.kdl", text, root(), &CheckOptions::default());
    insta::assert_snapshot!("github", render_github_annotations(&checked.diagnostics));
    let answer = serde_json::to_string_pretty(&render_diagnostics_json(&checked.diagnostics)).unwrap();
    insta::assert_snapshot!("json", answer);
}

#[test]
fn a_stored_checkpoint_contract_is_checked() {
    let text = include_str!("../cases/check/stored.kdl");
    let checked = check_text("stored.kdl", text, &root().join("tests/cases/check"), &CheckOptions::default());
    insta::assert_snapshot!("stored", render_drawings(&checked.diagnostics, DrawingStyle::PLAIN));
}

#[test]
fn two_stages_whose_names_are_composed_cannot_be_called_the_same() {
    let text = r#"pipeline "case" seed=1
dataset "source" from="data/*.txt" format="text" held-out="10%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=512 { dataset "source" }
rows "x" tokenizer="bpe" length=64 packing="concat"
mixture "prose" { dataset "source" }
random-init "tiny" tokenizer="bpe" { shape "qwen3" hidden=8 layers=1 heads=2 head-dim=4 feed-forward=16 }
train "ar" from="tiny" {
    data rows="x" mixture="prose"
    objective "autoregressive"
    attention "causal"
    batch rows=4
    steps 10
    learning-rate peak=1e-3 final=1e-4 warmup=2 shape="cosine"
}
convert "x" from="./ckpt"
"#;
    let conversion_first = text
        .replace("convert \"x\" from=\"./ckpt\"\n", "")
        .replace("rows \"x\"", "convert \"x\" from=\"./ckpt\"\nrows \"x\"");
    for text in [text, &conversion_first] {
        let checked =
            check_text("case.kdl", text, &root().join("tests/cases/check"), &CheckOptions::default());
        let found: Vec<_> =
            checked.diagnostics.iter().filter(|found| found.code == Code::DuplicateName).collect();
        let [found] = found[..] else { panic!("{}", render_concise_lines(&checked.diagnostics)) };
        assert_eq!(found.message, "two stages are called `x/source`");
        assert_eq!(found.help.as_deref(), Some("rename the `rows` node, the dataset or the `convert`"));
        let shown = render_drawings(&checked.diagnostics, DrawingStyle::PLAIN);
        assert!(shown.contains("again here") && shown.contains("first here"), "{shown}");
    }
}

#[test]
fn a_contract_that_cannot_be_read_does_not_count_as_none() {
    let text = include_str!("../cases/check/invalid-contract.kdl");
    let too_long: fn(&Path) = |path| std::fs::write(path, " ".repeat((1 << 20) + 1)).unwrap();
    let no_file: fn(&Path) = |path| std::fs::create_dir(path).unwrap();
    let no_text: fn(&Path) = |path| std::fs::write(path, b"\xff").unwrap();
    for make in [too_long, no_file, no_text] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("newer")).unwrap();
        std::fs::write(folder.path().join("newer/config.json"), "{}").unwrap();
        make(&folder.path().join("newer/provenance.json"));
        let checked = check_text("case.kdl", text, folder.path(), &CheckOptions::default());
        let shown = render_concise_lines(&checked.diagnostics);
        assert!(shown.contains("invalid-contract"), "{shown}");
    }
}

#[test]
fn a_decay_that_is_longer_than_the_training_is_not_blamed_on_the_warmup() {
    let text = include_str!("../cases/check/warmup-over-steps.kdl");
    for (warmup, decay, steps, help) in [
        (2, 20, 10, "decay=1"),
        (1, 100, 100, "decay=10"),
        (8, 8, 10, "warmup=1"),
        (20, 20, 10, "warmup=1 decay=1"),
    ] {
        let rate = format!("warmup={warmup} shape=\"warmup-stable-decay\" decay={decay}");
        let text =
            text.replace("warmup=20 shape=\"cosine\"", &rate).replace("steps 10", &format!("steps {steps}"));
        let checked =
            check_text("case.kdl", &text, &root().join("tests/cases/check"), &CheckOptions::default());
        let found = checked.diagnostics.iter().find(|found| found.code == Code::WarmupOverSteps);
        let found = found.unwrap_or_else(|| panic!("{}", render_concise_lines(&checked.diagnostics)));
        assert_eq!(found.help, Some(format!("write `{help}`, or train for more steps")));
    }
}

#[test]
fn every_case_shows_only_its_own_code() {
    for code in Code::ALL.iter().filter(|code| !WITHOUT_CASE.contains(code)) {
        let checked = checked(*code);
        let errors = checked.diagnostics.iter().filter(|found| found.severity == Severity::Error);
        let others: Vec<_> =
            errors.filter(|found| found.code != *code).map(|found| found.code.name()).collect();
        assert_eq!(others, Vec::<&str>::new(), "besides `{}`", code.name());
    }
}

#[test]
fn unreadable_files_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let cases = [
        (folder.path().join("absent.kdl"), Code::UnreadableFile),
        (folder.path().to_owned(), Code::UnreadableFile),
        (PathBuf::from("/dev/zero"), Code::UnreadableFile),
        (write("latin.kdl", b"pipeline \"caf\xe9\""), Code::NotUtf8),
        (write("large.kdl", &vec![b' '; (1 << 20) + 1]), Code::FileTooLarge),
        (write("empty.kdl", b""), Code::NoPipeline),
    ];
    for (path, code) in cases {
        let checked = check_path(&path, &CheckOptions::default());
        let found: Vec<_> = checked.diagnostics.iter().map(|found| found.code).collect();
        assert_eq!(found, [code], "{}", path.display());
        assert!(checked.failed() && checked.pipeline.is_none());
    }
}

#[test]
fn huge_inputs_are_refused_quickly() {
    let start = std::time::Instant::now();
    let bombs = [
        "a {".repeat(100_000),
        "/*".repeat(100_000),
        "/-".repeat(100_000),
        "(a".repeat(100_000),
        "{".repeat(1_000_000),
        "}".repeat(100_000),
        format!("a {}", "\"".repeat(100_000)),
        format!("a {}\"", "#".repeat(100_000)),
        format!("pipeline \"x\" seed={}", "9".repeat(100_000)),
        format!("pipeline \"x\" {}", "a=1 ".repeat(10_000)),
        "train \"x\"\n".repeat(5_000),
    ];
    for bomb in &bombs {
        let checked = check_text("bomb.kdl", bomb, root(), &CheckOptions::default());
        assert!(checked.failed());
    }
    assert!(start.elapsed().as_secs() < 100, "{:?}", start.elapsed());
}

/// One small accidental change of a text.
#[derive(Clone, Debug)]
enum Slip {
    Cut(usize, usize),
    Insert(usize, String),
    Swap(usize, usize),
}

fn slips() -> impl Strategy<Value = Vec<Slip>> {
    let piece = prop_oneof![
        "[{}()\"=;#/*\\\\\\-\n ]{1,3}",
        "[a-z0-9.%é-]{1,6}",
        Just("r#\"".to_owned()),
        Just("\"\"\"\n".to_owned()),
        Just("1e999".to_owned()),
    ];
    let place = 0..4_000_usize;
    let slip = prop_oneof![
        (place.clone(), 1..40_usize).prop_map(|(at, length)| Slip::Cut(at, length)),
        (place.clone(), piece).prop_map(|(at, text)| Slip::Insert(at, text)),
        (place.clone(), place).prop_map(|(a, b)| Slip::Swap(a, b)),
    ];
    proptest::collection::vec(slip, 1..4)
}

fn apply(text: &str, slips: &[Slip]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for slip in slips {
        let count = letters.len().max(1);
        match slip {
            Slip::Cut(at, length) => {
                let start = (at % count).min(letters.len());
                let end = (start + length).min(letters.len());
                letters.drain(start..end);
            }
            Slip::Insert(at, text) => {
                let at = (at % count).min(letters.len());
                letters.splice(at..at, text.chars());
            }
            Slip::Swap(a, b) if !letters.is_empty() => letters.swap(a % count, b % count),
            Slip::Swap(..) => {}
        }
    }
    letters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn typos_never_panic(slips in slips()) {
        let text = apply(include_str!("../../pipelines/quickstart.kdl"), &slips);
        let checked = check_text("slip.kdl", &text, &root().join("pipelines"), &CheckOptions::default());
        prop_assert_eq!(checked.failed(), checked.pipeline.is_none());
        let _ = render_drawings(&checked.diagnostics, DrawingStyle::PLAIN);
    }
}

/// A pipeline with a training stage that has this attention.
fn with_attention(attention: &str) -> String {
    let text = include_str!("../cases/check/attention-mismatch.kdl");
    let text = text
        .replace("attention \"bidirectional\"", attention)
        .replace("train \"ar\" from=\"tiny\"", "train \"flow\" from=\"base\"");
    let text = text.replace(
        "objective \"autoregressive\"",
        "objective \"flow\" path=\"masked\" loss=\"elbo\" max-weight=20",
    );
    text + "convert \"base\" from=\"tiny\"\nscheduler \"linear\" kind=\"polynomial\"\npath \"masked\" source=\"mask\" scheduler=\"linear\"\n"
}

#[test]
fn wrong_attention_schedules_are_explained() {
    let mut lines = String::new();
    for attention in [
        "attention \"block\" size=16",
        "attention \"block\" { size 4 until=3; size 8 until=6; size 16 }",
        "attention \"bidirectional\" { anneal until=10 }",
        "attention \"block\"",
        "attention \"block\" size=4 { size 8 }",
        "attention \"block\" { size 4; size 8 }",
        "attention \"block\" { size 4 until=3; size 8 until=6 }",
        "attention \"block\" { size 4 until=6; size 8 until=6; size 16 }",
        "attention \"block\" { size 4 until=10; size 8 }",
        "attention \"block\" { size 4 until=6; size 8 until=30; size 16 }",
        "attention \"block\" { size 4 until=6; size 8 until=8; size 16 }",
        "attention \"block\" { size 4 until=9; size 8 until=10; size 16 }",
        "attention \"block\" block_size=4",
        "attention \"block\" size=0",
        "attention \"block\" { anneal until=4 }",
        "attention \"bidirectional\" { anneal until=11 }",
        "attention \"bidirectional\" size=4",
        "attention \"bidirectional\"; time masked-per-block=1",
        "attention \"block\" size=4; time masked-per-segment=2",
    ] {
        let text = with_attention(attention);
        let checked =
            check_text("case.kdl", &text, &root().join("tests/cases/check"), &CheckOptions::default());
        lines += &format!("{attention}\n{}\n", render_concise_lines(&checked.diagnostics));
    }
    insta::assert_snapshot!("schedules-of-attention", lines);
}

#[test]
fn two_measurements_with_one_name_are_refused() {
    let text = include_str!("../cases/data/tiny.kdl");
    let folder = root().join("tests/cases/data");
    let found = |text: &str| {
        let checked = check_text("tiny.kdl", text, &folder, &CheckOptions::default());
        let twice = |diagnostic: &&Diagnostic| diagnostic.code == Code::DuplicateNode;
        checked
            .diagnostics
            .iter()
            .filter(twice)
            .map(|diagnostic| diagnostic.message.clone())
            .collect::<Vec<_>>()
    };
    assert!(found(text).is_empty());
    let both = format!(
        "{text}\nevaluate \"both\" {{\n    checkpoint \"sft\"\n    exact-match dataset=\"tasks\" sampler=\"parallel\"\n    \
         exact-match dataset=\"tasks\" sampler=\"parallel\" first=2\n    held-out dataset=\"text\" times=4\n    \
         held-out dataset=\"text\" times=8\n}}\n"
    );
    assert_eq!(
        found(&both),
        [
            "one `evaluate` has two `exact-match` of dataset `tasks`",
            "one `evaluate` has two `held-out` of dataset `text`"
        ]
    );
}
