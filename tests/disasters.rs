//! Forty real disasters and more, each a mistake in a pipeline that is right otherwise: one file each in `tests/disasters`.
//!
//! The comments at the top of a file say where the disaster is known from, which code tells it at which line, and what to
//! replace by what to be cured; or why it is not caught.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fmflow_engine::check::{CheckOptions, check_path, check_text};
use fmflow_engine::text::diagnostic::{Code, Diagnostic};
use fmflow_engine::text::render::render_concise_lines;

/// Share of the disasters that have to be caught before step 0: 38 of 40.
const CAUGHT: (usize, usize) = (38, 40);

/// Most findings that one mistake may bring forth.
const MOST: usize = 2;

struct Disaster {
    path: PathBuf,
    text: String,
    story: String,
    source: String,
    /// Code and line, or why it is not caught.
    expected: Result<(String, usize), String>,
    /// What to replace by what.
    cure: Option<(String, String)>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disasters")
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
    let cure = tagged("cure:").and_then(|cure| {
        let (old, new) = cure.split_once(" => ")?;
        Some((old.to_owned(), new.to_owned()))
    });
    Disaster {
        path: path.to_owned(),
        story: head.first().copied().unwrap_or_default().to_owned(),
        source: tagged("source:").expect("a source"),
        expected: expected.ok_or(missed),
        cure,
        text,
    }
}

impl Disaster {
    fn name(&self) -> String {
        self.path.file_stem().unwrap().to_string_lossy().into_owned()
    }

    /// The findings of a text in this disaster's place; what is not supported yet is no mistake.
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
            assert_eq!(said, "", "{name} is said not to be caught");
            continue;
        };
        let told = found.iter().find(|finding| finding.code.name() == code);
        let told = told.unwrap_or_else(|| panic!("{name}: no `{code}` in\n{said}"));
        assert_eq!(told.place().map(|span| span.position().0), Some(*line), "{name}:\n{said}");
        let help = told.help.as_deref().unwrap_or_default();
        assert!(help.matches('`').count() >= 2, "{name}: nothing to paste in\n{said}");
        if let Some((old, new)) = &disaster.cure {
            for word in new.split(' ').filter(|word| !old.split(' ').any(|other| other == *word)) {
                let value = word.split('=').next_back().unwrap_or_default().trim_matches(['"', '{', '}']);
                assert!(help.contains(value), "{name}: `{word}` is not in\n{help}");
            }
            let cured = disaster.findings(&cured(&disaster.text, *line, old, new));
            assert!(
                cured.iter().all(|finding| finding.code.name() != code),
                "{name}:\n{}",
                render_concise_lines(&cured)
            );
        }
    }
}

/// The text with the cure applied: at the line of the finding, or else where it fits first.
fn cured(text: &str, line: usize, old: &str, new: &str) -> String {
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let fits = |at: &usize| lines[*at].contains(old) && !lines[*at].starts_with("//");
    let at = Some(line - 1).filter(fits).or_else(|| (0..lines.len()).find(fits));
    let at = at.unwrap_or_else(|| panic!("no {old:?} to cure"));
    let cured = lines[at].replacen(old, new, 1);
    lines.iter().enumerate().map(|(i, line)| if i == at { cured.as_str() } else { line }).collect()
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
        "# Disasters\n\nMistakes that cost others days, each seeded into a pipeline that is right otherwise. `fmflow check` tells {caught} \
         of {} before\nstep 0. A test makes this table; it also holds code, line and cure of every file, and that one mistake is told once.\n\n\
         | disaster | known from | told as | line |\n|---|---|---|---|\n",
        all.len()
    );
    for disaster in &all {
        let (told, line) = match &disaster.expected {
            Ok((code, line)) => (format!("`{code}`"), line.to_string()),
            Err(reason) => (format!("not caught: {reason}"), String::new()),
        };
        let (story, source) = (disaster.story.replace('|', "\\|"), disaster.source.replace('|', "\\|"));
        let _ = writeln!(text, "| [{story}]({}.kdl) | {source} | {told} | {line} |", disaster.name());
    }
    let path = folder().join("README.md");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{} is not what the files say; run with INSTA_UPDATE=always", path.display());
}
