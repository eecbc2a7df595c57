//! Documents promise nothing that is not there: every command and option that they name exists, every link leads somewhere, and
//! what `check` calls unsupported, `run` refuses.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use fmflow_engine::check::{CheckOptions, check_path};
use fmflow_engine::text::diagnostic::Code;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Everything that tells a user what to type. The changelog tells what was.
fn documents() -> Vec<(String, String)> {
    let folders = ["docs", "schemas", "pipelines", "examples"].map(|folder| root().join(folder));
    let files = folders.iter().flat_map(walkdir::WalkDir::new).map(|entry| entry.unwrap().into_path());
    let written = |path: &PathBuf| path.extension().is_some_and(|end| end == "md" || end == "kdl");
    let mut files: Vec<_> = files.filter(written).collect();
    files.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    let read = |path: &PathBuf| (path.display().to_string(), std::fs::read_to_string(path).unwrap());
    files.iter().map(read).collect()
}

/// The help page of a command, or of the program.
fn help(command: Option<&str>) -> String {
    let arguments = command.into_iter().chain(["--help"]);
    let ran =
        Command::new(env!("CARGO_BIN_EXE_fmflow")).args(arguments).output().expect("the program starts");
    String::from_utf8(ran.stdout).unwrap()
}

/// Commands below `fmflow data`.
const DATA_COMMANDS: [&str; 2] = ["show", "stats"];

fn data_help(command: &str) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_fmflow")).args(["data", command, "--help"]).output();
    String::from_utf8(ran.expect("the program starts").stdout).unwrap()
}

/// Help pages by command; that of `data` has those of the commands below it.
fn commands() -> BTreeMap<String, String> {
    let page = help(None);
    let list = page.split("\nCommands:\n").nth(1).expect("a list of commands");
    let names =
        list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let page = |name: &str| match name {
        "data" => help(Some(name)) + &DATA_COMMANDS.map(data_help).concat(),
        _ => help(Some(name)),
    };
    names.filter(|name| *name != "help").map(|name| (name.to_owned(), page(name))).collect()
}

/// The words of every `fmflow ...` in a text, up to the end of the code that it stands in.
fn typed(text: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    for (at, front) in text.match_indices("fmflow ") {
        let before = &text[..at];
        // Prose has sentences that begin with the name, too.
        let fenced = before.ends_with('\n') && before.matches("```").count() % 2 == 1;
        let code = text[at + front.len()..]
            .split(['`', '\n', '|', '>', '#', ';', ')', '"'])
            .next()
            .unwrap_or_default();
        // Three blanks lead to a comment.
        let code = code.split("   ").next().unwrap_or_default();
        let words: Vec<_> = code.split_whitespace().collect();
        let command =
            words.first().is_some_and(|word| word.chars().all(|letter| letter.is_ascii_lowercase()));
        if command && (fenced || before.ends_with('`') || before.ends_with("//   ")) {
            found.push(words);
        }
    }
    found
}

/// Whether a help page has an option; `--format json` is an option with a value.
fn has_option(page: &str, option: &str) -> bool {
    let name = option.split('=').next().unwrap_or(option);
    page.match_indices(name).any(|(at, _)| {
        let next = page[at + name.len()..].chars().next();
        next.is_none_or(|letter| !letter.is_ascii_alphanumeric() && letter != '-')
    })
}

#[test]
fn every_command_and_option_in_the_documents_exists() {
    let commands = commands();
    let (mut seen, mut absent) = (0, Vec::new());
    for (name, text) in documents() {
        for words in typed(&text) {
            seen += 1;
            let Some(page) = commands.get(words[0]) else {
                absent.push(format!("{name}: fmflow {}", words.join(" ")));
                continue;
            };
            let options = words.iter().filter(|word| word.starts_with("--"));
            let missing =
                options.filter(|option| !has_option(page, option.trim_end_matches([',', '.', '\'', ']'])));
            absent.extend(missing.map(|option| format!("{name}: fmflow {} has no {option}", words[0])));
        }
    }
    assert!(absent.is_empty(), "{absent:#?}");
    assert!(seen > 100, "the walk found only {seen} commands");
}

/// Options of cargo and git in documents.
const OTHER_OPTIONS: &[&str] = &[
    "--release",
    "--locked",
    "--features",
    "--no-default-features",
    "--workspace",
    "--test",
    "--list",
    "--path",
];

#[test]
fn every_option_in_backticks_exists() {
    let pages: String = commands().into_values().collect();
    let mut absent = Vec::new();
    for (name, text) in documents() {
        for code in text
            .split('`')
            .filter(|code| code.starts_with("--") && !code.starts_with("-- ") && !code.contains('\n'))
        {
            let option = code.split(' ').next().unwrap_or(code);
            if !has_option(&pages, option) && !OTHER_OPTIONS.contains(&option) {
                absent.push(format!("{name}: {code}"));
            }
        }
    }
    assert!(absent.is_empty(), "{absent:#?}");
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for (name, text) in documents().into_iter().filter(|(name, _)| name.ends_with(".md")) {
        let folder = Path::new(&name).parent().unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
                broken.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Things that were promised once and are not there.
#[test]
fn nothing_is_promised_that_was_never_built() {
    for (name, text) in documents() {
        for word in ["keyring", "init quickstart", "--profile"] {
            assert!(!text.contains(word), "{name} promises `{word}`");
        }
    }
}

#[test]
fn what_check_calls_unsupported_run_refuses() {
    let folders = ["pipelines", "examples", "tests/cases"].map(|folder| root().join(folder));
    let files = folders.iter().flat_map(walkdir::WalkDir::new).map(|entry| entry.unwrap().into_path());
    let mut refused = 0;
    for file in files.filter(|path| path.extension().is_some_and(|end| end == "kdl")) {
        let checked = check_path(&file, &CheckOptions::default());
        let Some(pipeline) = &checked.pipeline else { continue };
        let warned = checked.diagnostics.iter().filter(|finding| finding.code == Code::NotSupportedYet);
        let warned: BTreeSet<_> = warned.map(|finding| finding.message.as_str()).collect();
        let refuses = pipeline.stages.iter().flat_map(|stage| &stage.unsupported).map(String::as_str);
        // The others are repositories that are not pinned, which have a warning of their own.
        let (refuses, unpinned): (BTreeSet<_>, BTreeSet<_>) =
            refuses.partition(|reason| reason.starts_with("not supported yet"));
        assert!(unpinned.iter().all(|reason| reason.contains("hf:")), "{unpinned:?}");
        let allowed = checked.allowed > 0;
        assert!(allowed || warned == refuses, "{}: {warned:?} {refuses:?}", file.display());
        refused += refuses.len();
    }
    assert!(refused > 10, "the pipelines ask for {refused} unsupported features");
}
