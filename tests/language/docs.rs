//! The documents are true: every KDL block is valid, and every command of the README exists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fmflow_engine::check::{CheckOptions, check_text};
use fmflow_engine::text::diagnostic::Severity;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Markdown files of the repository, except those in build folders.
fn documents() -> Vec<PathBuf> {
    let hidden = |e: &walkdir::DirEntry| {
        let name = e.file_name().to_string_lossy();
        e.depth() > 0 && (name.starts_with('.') || name.starts_with("target"))
    };
    let entries = walkdir::WalkDir::new(root()).into_iter().filter_entry(|e| !hidden(e));
    let files = entries.map(|e| e.expect("a readable folder").into_path());
    files.filter(|p| p.extension().is_some_and(|e| e == "md")).collect()
}

/// Blocks of a document fenced as ```` ```<info> ````: (line of the fence, info, text).
pub(crate) fn blocks(file: &Path) -> Vec<(usize, String, String)> {
    let text = fs::read_to_string(file).expect("a readable document");
    let (mut found, mut open): (Vec<_>, Option<(usize, String, String)>) = (Vec::new(), None);
    for (number, line) in text.lines().enumerate() {
        match (line.trim().strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some((number + 1, info.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some((_, _, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// Completes a block that is not a whole pipeline with a header and a stage.
fn whole(text: &str) -> String {
    match text.contains("pipeline \"") {
        true => text.to_owned(),
        false => {
            format!("{text}\npipeline \"block\" seed=1\nfetch \"block\" from=\"tests/cases/check/stored\"\n")
        }
    }
}

#[test]
fn every_kdl_block_is_valid_unless_marked_must_fail() {
    let mut seen = 0;
    for file in documents().into_iter().filter(|file| !file.ends_with(PAGES) && !file.ends_with(WORDS)) {
        // Blocks with the name of a file belong to the guides, which are tested by following them.
        let kdl = |info: &str| info.starts_with("kdl") && !info.ends_with(".kdl");
        for (line, info, text) in blocks(&file).into_iter().filter(|(_, info, _)| kdl(info)) {
            seen += 1;
            let name = format!("{}:{line}", file.display());
            let checked = check_text(&name, &whole(&text), root(), &CheckOptions::default());
            assert_eq!(checked.failed(), info.contains("must-fail"), "{name}: {:#?}", checked.diagnostics);
        }
    }
    assert!(seen >= 1, "the README shows the language");
}

/// The pages on codes; their examples follow rules of their own.
pub(crate) const PAGES: &str = "schemas/codes.md";
/// The pages on words; their examples are parts of the pipeline of the pages on codes.
const WORDS: &str = "schemas/words.md";

#[test]
fn examples_of_words_have_no_errors() {
    let mut faults = String::new();
    for (line, info, text) in blocks(&root().join(WORDS)) {
        let checked =
            check_text(&format!("words.md:{line}"), &example(&info, &text), root(), &CheckOptions::default());
        if checked.failed() {
            faults += &fmflow_engine::text::render::render_concise_lines(&checked.diagnostics);
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// Top-level nodes of a pipeline with indented bodies: kind and name of each, and its text.
fn nodes(text: &str) -> Vec<(String, String)> {
    let mut nodes: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("//")) {
        match nodes.last_mut() {
            Some((_, node)) if line.is_empty() || line.starts_with([' ', '}']) => {
                *node += &format!("{line}\n")
            }
            _ => {
                let kind = line.split(' ').next().unwrap_or_default();
                let name = line.split('"').nth(1).filter(|_| kind != "pipeline").unwrap_or_default();
                nodes.push((format!("{kind} {name}"), format!("{line}\n")));
            }
        }
    }
    nodes
}

/// An example, completed with the nodes of `tests/cases/data/pages.kdl` that it does not declare itself.
pub(crate) fn example(info: &str, text: &str) -> String {
    if info.ends_with("whole") {
        return text.to_owned();
    }
    let own = nodes(text);
    let others = nodes(include_str!("../cases/data/pages.kdl"));
    let others = others.iter().filter(|(key, _)| own.iter().all(|(mine, _)| mine != key));
    others.map(|(_, text)| text.as_str()).chain([text]).collect()
}

#[test]
fn bad_examples_trigger_only_their_code_and_good_ones_pass() {
    let path = root().join(PAGES);
    let text = fs::read_to_string(&path).expect("the pages");
    let headings: Vec<_> = text.lines().enumerate().filter(|(_, line)| line.starts_with("## ")).collect();
    let blocks = blocks(&path);
    let mut faults = Vec::new();
    for (at, (line, heading)) in headings.iter().enumerate() {
        let code = heading.trim_start_matches("## ");
        let end = headings.get(at + 1).map_or(usize::MAX, |(line, _)| *line);
        let mine: Vec<_> = blocks.iter().filter(|(at, _, _)| (*line..end).contains(at)).collect();
        let kinds: Vec<_> =
            mine.iter().map(|(_, info, _)| info.split(' ').nth(1).unwrap_or_default()).collect();
        let page: String =
            text.lines().skip(*line).take(end.min(line + 1000) - line).collect::<Vec<_>>().join("\n");
        if page.contains("\nNo example: ") {
            assert!(kinds.is_empty(), "the page of `{code}` has an example but says that it has none");
            continue;
        }
        assert_eq!(kinds, ["bad", "good"], "examples of `{code}`");
        for (line, info, text) in mine {
            let whole = example(info, text);
            let checked = check_text(&format!("codes.md:{line}"), &whole, root(), &CheckOptions::default());
            let said = fmflow_engine::text::render::render_concise_lines(&checked.diagnostics);
            let found = checked.diagnostics.iter().any(|finding| finding.code.name() == code);
            let errors = checked.diagnostics.iter().filter(|finding| finding.severity == Severity::Error);
            let others = errors.filter(|finding| finding.code.name() != code).count();
            let bad = kinds[0] == info.split(' ').nth(1).unwrap_or_default();
            if found != bad || others > 0 {
                faults.push(format!("`{code}`, line {line}, found: {found}, others: {others}\n{said}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_pipeline_of_the_examples_is_valid() {
    let text = include_str!("../cases/data/pages.kdl");
    let checked = check_text("pages.kdl", text, root(), &CheckOptions::default());
    let said = fmflow_engine::text::render::render_concise_lines(&checked.diagnostics);
    assert_eq!(said, "");
    assert_eq!(
        nodes(text).iter().map(|(_, text)| text.as_str()).collect::<String>().lines().count() + 1,
        text.lines().count()
    );
}

#[test]
fn ci_runs_the_two_commands_of_the_readme() {
    let commands = commands("cargo ");
    let ci = fs::read_to_string(root().join(".ci/run")).expect("a readable script");
    for wanted in ["cargo run --release -- run pipelines/quickstart.kdl", "cargo test --release --workspace"]
    {
        assert!(commands.iter().any(|c| c == wanted), "{wanted} in {commands:?}");
        let (words, mut rest) = (wanted.split(' '), ci.as_str());
        for word in words {
            let at = rest.find(word).unwrap_or_else(|| panic!("{wanted} in .ci/run"));
            rest = &rest[at + word.len()..];
        }
    }
}

/// Lines of the README's `sh` blocks that start with `prefix`, without comments.
fn commands(prefix: &str) -> Vec<String> {
    let blocks = blocks(&root().join("README.md")).into_iter().filter(|(_, info, _)| info == "sh");
    let lines = blocks.flat_map(|(_, _, text)| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let bare = |line: String| line.split(" #").next().unwrap_or_default().trim().to_owned();
    lines.map(bare).filter(|line| line.starts_with(prefix)).collect()
}

#[test]
fn every_fmflow_command_of_the_readme_exists() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let commands = commands("fmflow ");
    assert!(commands.len() >= 5, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        // These need no artifact; for the others, the help page shows that they exist.
        let quick = ["check", "plan", "graph", "explain"].contains(&words[0]);
        let arguments = if quick { words.clone() } else { vec![words[0], "--help"] };
        let ran = Command::new(env!("CARGO_BIN_EXE_fmflow"))
            .args(&arguments)
            .arg("--store")
            .arg(store.path().join("store"))
            .current_dir(root())
            .output()
            .expect("the program starts");
        assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}
