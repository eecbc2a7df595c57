//! More than forty real disasters, each one mistake in an otherwise correct pipeline: one file each in `tests/cases/disasters`.
//!
//! The comments at the top of a file say where the disaster is known from, which code reports it at which line, and which
//! replacement fixes it; or why it is not caught.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fmflow_engine::check::{CheckOptions, check_path, check_text};
use fmflow_engine::text::diagnostic::{Code, Diagnostic};
use fmflow_engine::text::render::render_concise_lines;

/// The share of disasters that has to be caught before step 0: 38 of 40.
const CAUGHT: (usize, usize) = (38, 40);

/// Maximum number of findings for one mistake.
const MOST: usize = 2;

struct Disaster {
    path: PathBuf,
    text: String,
    story: String,
    source: String,
    /// Code and line, or why it is not caught.
    expected: Result<(String, usize), String>,
    /// What to replace, and with what.
    fix: Option<(String, String)>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/disasters")
}

fn disasters() -> Vec<Disaster> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "kdl")).collect();
    files.sort();
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Disaster {
    let text = fs::read_to_string(path).unwrap();
    let head: Vec<_> = text.lines().map_while(|line| line.strip_prefix("// ")).collect();
    let tagged =
        |tag: &str| head.iter().find_map(|line| line.strip_prefix(tag)).map(|rest| rest.trim().to_owned());
    let expected = tagged("expect:").map(|expected| {
        let (code, line) = expected.split_once(" at ").expect("code and line");
        (code.to_owned(), line.parse().expect("a line"))
    });
    let missed = tagged("not caught:").unwrap_or_default();
    let fix = tagged("fix:").and_then(|fix| {
        let (old, new) = fix.split_once(" => ")?;
        Some((old.to_owned(), new.to_owned()))
    });
    Disaster {
        path: path.to_owned(),
        story: head.first().copied().unwrap_or_default().to_owned(),
        source: tagged("source:").expect("a source"),
        expected: expected.ok_or(missed),
        fix,
        text,
    }
}

impl Disaster {
    fn name(&self) -> String {
        self.path.file_stem().unwrap().to_string_lossy().into_owned()
    }

    /// The findings of a text in this disaster's folder, without unsupported features, which are not mistakes.
    fn findings(&self, text: &str) -> Vec<Diagnostic> {
        let checked = check_text("disaster.kdl", text, &folder(), &CheckOptions::default());
        checked.diagnostics.into_iter().filter(|finding| finding.code != Code::NotSupportedYet).collect()
    }
}

#[test]
fn every_disaster_is_reported_at_its_line_with_a_fix_to_paste() {
    for disaster in disasters() {
        let (name, found) = (disaster.name(), disaster.findings(&disaster.text));
        let said = render_concise_lines(&found);
        let Ok((code, line)) = &disaster.expected else {
            assert_eq!(said, "", "{name} is marked as not caught");
            continue;
        };
        let finding = found.iter().find(|finding| finding.code.name() == code);
        let finding = finding.unwrap_or_else(|| panic!("{name}: no `{code}` in\n{said}"));
        assert_eq!(finding.place().map(|span| span.position().0), Some(*line), "{name}:\n{said}");
        let help = finding.help.as_deref().unwrap_or_default();
        assert!(help.matches('`').count() >= 2, "{name}: nothing to paste in\n{said}");
        if let Some((old, new)) = &disaster.fix {
            for word in new.split(' ').filter(|word| !old.split(' ').any(|other| other == *word)) {
                let value = word.split('=').next_back().unwrap_or_default().trim_matches(['"', '{', '}']);
                assert!(help.contains(value), "{name}: `{word}` is not in\n{help}");
            }
            let fixed = disaster.findings(&apply_fix(&disaster.text, *line, old, new));
            assert!(
                fixed.iter().all(|finding| finding.code.name() != code),
                "{name}:\n{}",
                render_concise_lines(&fixed)
            );
        }
    }
}

/// The text with the fix applied: at the line of the finding, or else at the first line that contains `old`.
fn apply_fix(text: &str, line: usize, old: &str, new: &str) -> String {
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let fits = |at: &usize| lines[*at].contains(old) && !lines[*at].starts_with("//");
    let at = Some(line - 1).filter(fits).or_else(|| (0..lines.len()).find(fits));
    let at = at.unwrap_or_else(|| panic!("no {old:?} to fix"));
    let fixed = lines[at].replacen(old, new, 1);
    lines.iter().enumerate().map(|(i, line)| if i == at { fixed.as_str() } else { line }).collect()
}

#[test]
fn one_mistake_is_reported_once() {
    for disaster in disasters() {
        let found = disaster.findings(&disaster.text);
        assert!(found.len() <= MOST, "{}:\n{}", disaster.name(), render_concise_lines(&found));
        if let Ok((code, _)) = &disaster.expected {
            let others = found.iter().filter(|finding| finding.code.name() != code).count();
            assert_eq!(others, 0, "{}:\n{}", disaster.name(), render_concise_lines(&found));
        }
    }
}

#[test]
fn checking_a_file_equals_checking_its_text() {
    for disaster in disasters() {
        let checked = check_path(&disaster.path, &CheckOptions::default());
        let found =
            checked.diagnostics.iter().filter(|finding| finding.code != Code::NotSupportedYet).count();
        assert_eq!(found, disaster.findings(&disaster.text).len(), "{}", disaster.name());
    }
}

#[test]
fn the_table_matches_the_files() {
    let all = disasters();
    let caught = all.iter().filter(|disaster| disaster.expected.is_ok()).count();
    assert!(all.len() >= CAUGHT.1 && caught * CAUGHT.1 >= CAUGHT.0 * all.len(), "{caught} of {}", all.len());
    let mut text = format!(
        "# Disasters\n\nMistakes that cost others days, each planted in an otherwise correct pipeline. `fmflow check` reports {caught} \
         of {} before\nstep 0. A test writes this table; it also checks code, line and fix of every file, and that one mistake is reported once.\n\n\
         | disaster | known from | reported as | line |\n|---|---|---|---|\n",
        all.len()
    );
    for disaster in &all {
        let (reported, line) = match &disaster.expected {
            Ok((code, line)) => (format!("`{code}`"), line.to_string()),
            Err(reason) => (format!("not caught: {reason}"), String::new()),
        };
        let (story, source) = (disaster.story.replace('|', "\\|"), disaster.source.replace('|', "\\|"));
        let _ = writeln!(text, "| [{story}]({}.kdl) | {source} | {reported} | {line} |", disaster.name());
    }
    let path = folder().join("README.md");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{} does not match the files; run with INSTA_UPDATE=always", path.display());
}
