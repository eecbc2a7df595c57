//! The language beyond one file: includes, `--set`, warning levels, and the traps of KDL. The cases are data: a file, and its
//! report as a snapshot beside it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};

use fmflow_engine::check::{CheckOptions, CheckResult, check_path, check_text};
use fmflow_engine::pipeline::Pipeline;
use fmflow_engine::text::render::{
    DrawingStyle, render_concise_lines, render_diagnostics_json, render_drawings,
};
use proptest::prelude::*;

fn folder(name: &str) -> PathBuf {
    Path::new("tests/cases/language").join(name)
}

/// The `.kdl` files of a folder, sorted.
fn cases(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "kdl")).collect();
    found.sort();
    assert!(!found.is_empty(), "no case in {name}");
    found
}

/// Compares with a snapshot in `tests/cases/language/<room>`.
fn known(room: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new("../cases/language").join(room));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

/// The findings and, if there are no errors, the stages and the number of allowed warnings.
fn report(checked: &CheckResult) -> String {
    let mut text = render_drawings(&checked.diagnostics, DrawingStyle::PLAIN);
    if let Some(pipeline) = &checked.pipeline {
        let names: Vec<_> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
        text += &format!("stages: {}\nallowed: {}\n", names.join(" "), checked.allowed);
    }
    text
}

#[test]
fn included_files_form_one_configuration() {
    for case in cases("include") {
        let checked = check_path(&case, &CheckOptions::default());
        known("include", stem(&case), &report(&checked));
    }
}

#[test]
fn every_label_names_its_file() {
    let checked = check_path(&folder("include/fault-inside.kdl"), &CheckOptions::default());
    let answer = render_diagnostics_json(&checked.diagnostics);
    let labels = answer[0]["labels"].as_array().unwrap();
    let files: Vec<_> = labels.iter().map(|label| label["file"].as_str().unwrap()).collect();
    assert_eq!(
        files,
        ["tests/cases/language/include/part/fault.kdl", "tests/cases/language/include/fault-inside.kdl"]
    );
}

#[test]
fn include_chains_and_links_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let said = |name: &str| {
        render_concise_lines(&check_path(&folder.path().join(name), &CheckOptions::default()).diagnostics)
    };
    for at in 0..40 {
        write(&format!("{at}.kdl"), &format!("include \"{}.kdl\"\n", at + 1));
    }
    assert!(said("0.kdl").contains("error[nested-too-deep]: includes are nested more than 16"));
    let many: String = (0..100).map(|at| format!("include \"many-{at}.kdl\"\n")).collect();
    write("many.kdl", &many);
    (0..100).for_each(|at| write(&format!("many-{at}.kdl"), "\n"));
    assert!(said("many.kdl").contains("error[file-too-large]: the configuration has more than 64 files"));
    assert_eq!(said("many.kdl").matches("file-too-large").count(), 1);
    let link = |from: &str, to: &str| std::os::unix::fs::symlink(from, folder.path().join(to)).unwrap();
    link("round.kdl", "round.kdl");
    write("link.kdl", "pipeline \"x\"\ninclude \"round.kdl\"\n");
    assert!(said("link.kdl").contains("error[unreadable-file]"), "{}", said("link.kdl"));
    link("self.kdl", "other.kdl");
    write("self.kdl", "pipeline \"x\"\ninclude \"other.kdl\"\n");
    assert!(
        said("self.kdl").contains("error[include-cycle]: a file includes itself"),
        "{}",
        said("self.kdl")
    );
    std::fs::write(folder.path().join("wide.kdl"), b"\xff\xfex").unwrap();
    write("utf.kdl", "pipeline \"x\"\ninclude \"wide.kdl\"\ninclude \"/dev/zero\"\ninclude \".\"\n");
    let text = said("utf.kdl");
    let codes = ["2:9: error[not-utf8]", "3:9: error[unreadable-file]", "4:9: error[unreadable-file]"];
    assert!(codes.iter().all(|code| text.contains(code)), "{text}");
}

/// Every field of every stage, with its origin.
fn fields(pipeline: &Pipeline) -> Vec<String> {
    let of = |stage: &fmflow_engine::pipeline::stage::Stage| {
        let line = |field: &fmflow_engine::pipeline::stage::FieldValue| {
            format!("{} {} = {} ({:?})", stage.name, field.path, field.value, field.origin)
        };
        stage.fields.iter().map(line).collect::<Vec<_>>()
    };
    let mut lines: Vec<_> = pipeline.stages.iter().flat_map(of).collect();
    lines.push(format!("seed {}, budget {:?}", pipeline.seed, pipeline.budget));
    lines
}

#[test]
fn a_set_option_changes_one_field_or_says_why_not() {
    let path = folder("set.kdl");
    let before = fields(&check_path(&path, &CheckOptions::default()).pipeline.expect("the case is fine"));
    let mut text = String::new();
    for line in std::fs::read_to_string(folder("set.txt")).unwrap().lines() {
        let settings: Vec<_> = line.split(" --set ").map(str::to_owned).collect();
        let checked = check_path(&path, &CheckOptions { settings, ..CheckOptions::default() });
        text += &format!("--set {line}\n{}", render_concise_lines(&checked.diagnostics));
        let after = checked.pipeline.map(|pipeline| fields(&pipeline)).unwrap_or_default();
        let changed = after.iter().filter(|line| !before.contains(line));
        text += &changed.map(|line| format!("  {line}\n")).collect::<String>();
        text.push('\n');
    }
    known("", "set", &text);
}

#[test]
fn a_wrong_set_option_is_drawn_in_its_own_text() {
    let settings = ["train.sft.batch.per-device=5", "rows.text.tokenizer=bpee", "train.sft.lr=1e-4"];
    let mut text = String::new();
    for setting in settings {
        let options = CheckOptions { settings: vec![setting.to_owned()], ..CheckOptions::default() };
        text += &render_drawings(&check_path(&folder("set.kdl"), &options).diagnostics, DrawingStyle::PLAIN);
    }
    known("", "set-drawn", &text);
}

#[test]
fn the_command_line_overrides_the_levels_of_the_file() {
    let given = |allow: &[&str], deny: &[&str]| {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let options = CheckOptions { allow: words(allow), deny: words(deny), ..CheckOptions::default() };
        let checked = check_path(&folder("levels.kdl"), &options);
        let codes = checked.diagnostics.iter().map(|found| (found.severity.word(), found.code.name()));
        (codes.collect::<Vec<_>>(), checked.allowed)
    };
    let secret = ("warning", "absent-secret");
    assert_eq!(given(&[], &[]), (vec![secret, ("error", "unused")], 1));
    assert_eq!(given(&["unused"], &[]), (vec![secret], 2));
    assert_eq!(given(&["unused"], &["warnings"]), (vec![("error", "absent-secret")], 2));
    let all = vec![("error", "unpinned-revision"), secret, ("error", "unused")];
    assert_eq!(given(&[], &["unpinned-revision"]), (all, 0));
}
#[test]
fn syntax_traps_are_reported_with_a_fix() {
    for case in cases("trap") {
        let text = std::fs::read_to_string(&case).unwrap();
        let name = format!("{}.kdl", stem(&case));
        let checked = check_text(&name, &text, &folder(""), &CheckOptions::default());
        known("trap", stem(&case), &render_drawings(&checked.diagnostics, DrawingStyle::PLAIN));
    }
}

/// The rows of the table after a heading of the guide, as pairs of cells.
fn table(heading: &str) -> Vec<(String, String)> {
    let guide = std::fs::read_to_string("docs/language.md").unwrap();
    let (_, text) = guide.split_once(heading).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cells = |line: &str| {
        let (left, right) = line.trim_matches('|').split_once(" | ").unwrap();
        (left.trim().to_owned(), right.trim().to_owned())
    };
    rows.take_while(|line| line.starts_with('|')).map(cells).collect()
}

#[test]
fn the_guide_lists_the_traps_with_their_codes() {
    let rows = table("## Traps");
    assert!(rows.len() >= 15, "{rows:?}");
    for (written, message) in rows {
        let text = written.trim_matches('`').to_owned();
        let said = |text: &str| {
            render_concise_lines(
                &check_text("t.kdl", text, &folder(""), &CheckOptions::default()).diagnostics,
            )
        };
        let found = [said(&text), said(&format!("train \"t\" {{ {text} }}"))];
        assert!(found.iter().any(|said| said.contains(&message)), "{written}: {message}\n{found:?}");
    }
}

#[test]
fn the_guide_shows_the_real_messages() {
    let guide = std::fs::read_to_string("docs/language.md").unwrap();
    let checked = check_path(&folder("include/fault-inside.kdl"), &CheckOptions::default());
    assert!(guide.contains(render_drawings(&checked.diagnostics, DrawingStyle::PLAIN).trim_end()));
}

#[test]
fn every_kind_of_name_is_in_the_guide() {
    let text: String =
        table("## Names").into_iter().map(|(kind, rest)| format!("{kind} | {rest}\n")).collect();
    for node in &fmflow_engine::language::schema::load_schema().nodes {
        let named = node.arguments.first().is_some_and(|field| field.name == "name") && !node.single;
        assert!(!named || text.contains(&format!("`{}`", node.name)), "{}", node.name);
    }
}

#[test]
fn the_example_in_two_files_checks() {
    let checked = check_path(Path::new("examples/split/pipeline.kdl"), &CheckOptions::default());
    assert_eq!(render_concise_lines(&checked.diagnostics), "");
    assert_eq!(checked.pipeline.unwrap().stages.len(), 4);
}

/// A `--set` argument made of words of the language and of nonsense, in any order.
fn settings() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        proptest::sample::select(vec![
            "train",
            "sft",
            "steps",
            "batch",
            "rows",
            "text",
            "optimizer",
            "no-decay",
            "use",
            "learning-rate",
            "peak",
            "mixture",
            "both",
            "dataset",
            "weight",
            "generate",
            "samples",
            "prompt",
            "0",
            "7",
            "recipe",
            "common",
            "random-init",
            "qwen3-1",
            "7b",
            "shape",
            "pipeline",
            "seed",
            "lint",
            "allow",
            "include",
            "attention",
            "size",
        ])
        .prop_map(str::to_owned),
        "[a-zé\"#{}() /=.-]{0,4}",
    ];
    let value = prop_oneof![
        "[0-9a-z#\"{}();\\\\/%.,= -]{0,12}",
        proptest::sample::select(vec![
            "20",
            "#true",
            "\"a\" \"b\"",
            "1e999",
            "(((",
            "\"\"\"",
            "/-3",
            "é",
            "9223372036854775808"
        ])
        .prop_map(str::to_owned),
    ];
    (proptest::collection::vec(word, 1..6), value)
        .prop_map(|(words, value)| format!("{}={value}", words.join(".")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_setting_panics(settings in proptest::collection::vec(settings(), 1..4)) {
        let options = CheckOptions { settings, ..CheckOptions::default() };
        let checked = check_path(&folder("set.kdl"), &options);
        prop_assert_eq!(checked.failed(), checked.pipeline.is_none());
        let _ = render_drawings(&checked.diagnostics, DrawingStyle::PLAIN);
    }
}

/// The name that a field had before names the same field, in a file and on the command line.
#[test]
fn an_old_name_is_the_same_field_and_told() {
    let told = |text: &str, setting: Option<&str>| {
        let text = format!("pipeline \"p\" seed=1\n{text}\n");
        let settings = setting.map(str::to_owned).into_iter().collect();
        let checked =
            check_text("p.kdl", &text, Path::new("."), &CheckOptions { settings, ..CheckOptions::default() });
        render_concise_lines(&checked.diagnostics)
    };
    let (new, old) = ("sampler \"s\" kind=\"euler\" passes=0", "sampler \"s\" kind=\"euler\" steps=0");
    let renamed = "warning[old-name]: `steps` of `sampler` is called `passes` now";
    assert!(!told(new, None).contains("old-name"));
    assert!(told(old, None).contains(renamed) && told(old, None).contains("error[out-of-range]"));
    // Either name of the setting replaces either name in the file.
    for file in [new, old] {
        for setting in ["sampler.s.passes=3", "sampler.s.steps=3"] {
            let found = told(file, Some(setting));
            assert_eq!(found.matches("error[").count(), 1, "only `no-stages`: {file} {setting}: {found}");
            assert_eq!(found.contains(renamed), setting.contains("steps"), "{file} {setting}: {found}");
        }
    }
    let twice = told("sampler \"s\" kind=\"euler\" passes=3 steps=4", None);
    assert!(twice.contains("`passes` is written twice"), "{twice}");
}
