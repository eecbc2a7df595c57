//! Ten thousand mutations of correct and incorrect pipelines: whatever a file contains, the check ends soon, without a panic,
//! and its findings point to places that exist.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fmflow_engine::check::{CheckOptions, check_text};
use fmflow_engine::text::diagnostic::{Code, Severity};
use fmflow_engine::text::render::{
    DrawingStyle, render_concise_lines, render_drawings, render_github_annotations,
};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// Total number of mutations, over all threads.
const MUTATIONS: u32 = 10_000;

/// Number of threads; each has its own seed.
const THREADS: u32 = 4;

/// Limit for one check. It takes milliseconds; this is a thousand times that.
const LONGEST: Duration = Duration::from_secs(30);

/// Limit for all mutations. They take some ten seconds on two cores; after this time, something hangs.
const HANGS: Duration = Duration::from_secs(600);

/// One in this many reports is drawn as well, because drawing takes longer than checking.
const DRAWN: usize = 8;

/// A way in which a file gets damaged.
#[derive(Clone, Debug)]
enum Mutation {
    /// Flips a bit of a byte.
    Flip(usize, u8),
    /// Drops words.
    Lose(usize, usize),
    /// Repeats words.
    Repeat(usize, usize),
    /// Swaps two words.
    Swap(usize, usize),
    /// Inserts something between two words.
    Put(usize, String),
    /// Replaces a word.
    Become(usize, String),
    /// Cuts off the rest of the file.
    End(usize),
}

fn pieces() -> impl Strategy<Value = String> {
    let odd = [
        "{",
        "}",
        "(",
        ")",
        "{{{{{{{{",
        "}}}}",
        "\"",
        "\"\"\"",
        "#\"",
        "/*",
        "*/",
        "/-",
        "//",
        ";",
        "=",
        "\\",
        "\n",
        "\r\n",
        "\t",
        "\u{feff}",
        "\u{202e}",
        "\u{0}",
        "é",
        "🦀",
        "\u{301}",
        "名",
        "#true",
        "#null",
        "#inf",
        "#nan",
        "-",
        "0",
        "-1",
        "1e999",
        "1e-999",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551616",
        "0x_f",
        "1__0",
        ".5",
        "5.",
        "1e400",
        "\"100%\"",
        "\"99999999999TiB\"",
        "\"-1\"",
        "\"\"",
        "\"**\"",
        "\"../*\"",
        "\"hf:a/b\"",
        "steps",
        "from=",
        "use=\"common\"",
        "size 4 until=1",
        "weight=0",
        "(u8)",
        "lr:",
        "tokens=\"9e18\"",
        "seed=#true",
    ];
    proptest::sample::select(odd.to_vec()).prop_map(str::to_owned)
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<usize>;
    prop_oneof![
        (place(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (place(), 1..6_usize).prop_map(|(at, count)| Mutation::Lose(at, count)),
        (place(), 1..12_usize).prop_map(|(at, count)| Mutation::Repeat(at, count)),
        (place(), place()).prop_map(|(a, b)| Mutation::Swap(a, b)),
        (place(), pieces()).prop_map(|(at, piece)| Mutation::Put(at, piece)),
        (place(), pieces()).prop_map(|(at, piece)| Mutation::Become(at, piece)),
        place().prop_map(Mutation::End),
    ]
}

/// Words and the separators between them, alternating.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for letter in text.chars() {
        let blank = |letter: char| letter.is_whitespace() || "{}();=".contains(letter);
        match words.last_mut() {
            Some(word) if word.chars().all(blank) == blank(letter) => word.push(letter),
            _ => words.push(letter.to_string()),
        }
    }
    words
}

fn mutate(text: &str, mutation: &Mutation) -> String {
    let mut words = words(text);
    let count = words.len().max(1);
    match mutation {
        Mutation::Flip(at, bit) => {
            let mut bytes = text.as_bytes().to_vec();
            let at = at % bytes.len().max(1);
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Mutation::Lose(at, many) => drop(words.splice(run(&words, at % count, *many), [])),
        Mutation::Repeat(at, many) => {
            let run = run(&words, at % count, *many);
            let copy = words.get(run.clone()).unwrap_or_default().to_vec();
            drop(words.splice(run.end..run.end, copy));
        }
        Mutation::Swap(a, b) if !words.is_empty() => words.swap(a % count, b % count),
        Mutation::Put(at, piece) if !words.is_empty() => words.insert(at % count, piece.clone()),
        Mutation::Become(at, piece) => {
            words.iter_mut().skip(at % count).take(1).for_each(|word| piece.clone_into(word));
        }
        Mutation::End(at) => words.truncate(at % count),
        Mutation::Swap(..) | Mutation::Put(..) => {}
    }
    words.concat()
}

fn run(words: &[String], at: usize, many: usize) -> std::ops::Range<usize> {
    at.min(words.len())..(at + many).min(words.len())
}

/// Files, each with the folder that its paths are relative to.
fn files() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["pipelines", "tests/cases/check", "tests/cases/disasters"].map(|folder| root.join(folder))
    {
        let paths = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> =
            paths.filter(|path| path.extension().is_some_and(|end| end == "kdl")).collect();
        paths.sort();
        files.extend(paths.iter().map(|path| (folder.clone(), std::fs::read_to_string(path).unwrap())));
    }
    files
}

fn survives(folder: &Path, text: &str, drawn: bool) -> Result<(), TestCaseError> {
    let start = Instant::now();
    let checked = check_text("mutation.kdl", text, folder, &CheckOptions::default());
    // A valid file may name data with faulty lines: that is an error beside a pipeline.
    let faults = [Code::FaultyLines, Code::UnreadField, Code::OddTurns, Code::RepeatedKey];
    let errors = checked.diagnostics.iter().filter(|finding| finding.severity == Severity::Error);
    match checked.pipeline {
        None => prop_assert!(checked.failed()),
        Some(_) => prop_assert!(errors.into_iter().all(|finding| faults.contains(&finding.code))),
    }
    for label in checked.diagnostics.iter().flat_map(|finding| &finding.labels) {
        let span = &label.span;
        prop_assert!(span.file.text.get(span.offset..span.offset + span.length).is_some(), "{:?}", span);
    }
    let lines = render_concise_lines(&checked.diagnostics).lines().count();
    prop_assert_eq!(lines, checked.diagnostics.len());
    prop_assert_eq!(render_github_annotations(&checked.diagnostics).lines().count(), lines);
    if drawn {
        let _ = render_drawings(&checked.diagnostics, DrawingStyle::PLAIN);
    }
    prop_assert!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
    Ok(())
}

/// The mutations of one thread. Failures are shrunk to as few mutations as possible.
fn share(thread: u32) {
    let files = files();
    let config = ProptestConfig {
        cases: MUTATIONS / THREADS,
        failure_persistence: None,
        max_shrink_iters: 500,
        ..ProptestConfig::default()
    };
    let seed = [thread as u8; 32];
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let cases = (0..files.len(), proptest::collection::vec(mutation(), 1..4), 0..DRAWN);
    let result = runner.run(&cases, |(file, mutations, draw)| {
        let (folder, text) = &files[file];
        let mutated = mutations.iter().fold(text.clone(), |text, mutation| mutate(&text, mutation));
        survives(folder, &mutated, draw == 0)
    });
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

#[test]
fn ten_thousand_mutations_never_panic() {
    let (done, ended) = std::sync::mpsc::channel();
    for thread in 0..THREADS {
        let done = done.clone();
        std::thread::spawn(move || {
            let result = std::panic::catch_unwind(|| share(thread));
            let _ = done.send(result.map_err(|panic| *panic.downcast::<String>().unwrap_or_default()));
        });
    }
    for _ in 0..THREADS {
        let result = ended.recv_timeout(HANGS).expect("a mutation hangs, or aborts its thread");
        assert_eq!(result, Ok(()));
    }
}
