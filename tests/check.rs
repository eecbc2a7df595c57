//! The language as its users meet it: the pipelines of this repository check clean, every code has a case whose report
//! is a snapshot, and hostile texts are refused in peace.

use std::path::{Path, PathBuf};

use fmflow_engine::check::{Checked, Options, check, check_text};
use fmflow_engine::diagnostic::{Code, Severity};
use fmflow_engine::render::{Style, concise, graphical};

/// Codes without a text that triggers them: files that are no text, and defects.
const WITHOUT_CASE: &[Code] = &[Code::UnreadableFile, Code::FileTooLarge, Code::NotUtf8, Code::Internal];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shipped(name: &str) -> Checked {
    check(&root().join("pipelines").join(name), &Options::default())
}

fn case(code: Code) -> PathBuf {
    root().join("tests/check").join(format!("{}.kdl", code.name()))
}

/// Checks a case under the name that its report shows.
fn checked(code: Code) -> Checked {
    let path = case(code);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("no case {}", path.display()));
    let name = format!("{}.kdl", code.name());
    check_text(&name, &text, path.parent().unwrap(), &Options::default())
}

#[test]
fn the_quickstart_checks_without_a_word() {
    let checked = shipped("quickstart.kdl");
    assert_eq!(concise(&checked.diagnostics), "");
    let pipeline = checked.pipeline.unwrap();
    let names: Vec<_> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
    insta::assert_debug_snapshot!("quickstart-stages", names);
    let sft = pipeline.stage("sft").unwrap();
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
fn the_full_pipeline_checks_with_warnings_only() {
    let checked = shipped("full.kdl");
    insta::assert_snapshot!("full-warnings", concise(&checked.diagnostics));
    assert!(checked.pipeline.is_some());
}

#[test]
fn every_code_has_a_case_and_its_report_is_known() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("check");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for code in Code::ALL.iter().filter(|code| !WITHOUT_CASE.contains(code)) {
            let checked = checked(*code);
            insta::assert_snapshot!(code.name(), graphical(&checked.diagnostics, Style::PLAIN));
            let found = checked.diagnostics.iter().any(|diagnostic| diagnostic.code == *code);
            assert!(found, "the case of `{}` does not trigger it", code.name());
        }
    });
}

#[test]
fn cases_show_their_own_fault_only() {
    for code in Code::ALL.iter().filter(|code| !WITHOUT_CASE.contains(code)) {
        let checked = checked(*code);
        let errors = checked.diagnostics.iter().filter(|found| found.severity == Severity::Error);
        let others: Vec<_> =
            errors.filter(|found| found.code != *code).map(|found| found.code.name()).collect();
        assert_eq!(others, Vec::<&str>::new(), "besides `{}`", code.name());
    }
}
