//! The guides are true: their files are written, their commands run, and what they show is printed.

#![cfg(all(feature = "cpu", feature = "hub"))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::common::{Project, Ran};
use crate::download::checkpoint;

const GUIDES: &str = include_str!("../../docs/guides.md");

/// The sections, each run by a test below.
const SECTIONS: [&str; 5] = [
    "From my checkpoint to a flow model",
    "SFT on my conversations",
    "My data",
    "Watching and leading a run",
    "When it goes wrong",
];

/// A fenced block: its info string and its lines.
struct Block {
    info: &'static str,
    lines: Vec<&'static str>,
}

/// The blocks of each section, by its heading.
fn sections() -> BTreeMap<&'static str, Vec<Block>> {
    let mut sections: BTreeMap<&'static str, Vec<Block>> = BTreeMap::new();
    let mut heading: Option<&'static str> = None;
    let mut open: Option<Block> = None;
    for line in GUIDES.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(info), None) => open = Some(Block { info, lines: Vec::new() }),
            (Some(_), Some(block)) => {
                let heading = heading.expect("a block is in a section");
                sections.entry(heading).or_default().push(block);
            }
            (None, Some(mut block)) => {
                block.lines.push(line);
                open = Some(block);
            }
            (None, None) => heading = line.strip_prefix("## ").or(heading),
        }
    }
    assert!(open.is_none(), "every block is closed");
    sections
}

/// Words of a line with one space between them: columns are as wide as what is in them.
fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a line is as an excerpt shows it; `…` stands for anything.
fn shows(excerpt: &str, line: &str) -> bool {
    let Some((first, rest)) = excerpt.split_once('…') else { return excerpt == line };
    let Some(mut left) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('…').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, behind)) = left.split_once(part) else { return false };
        left = behind;
    }
    left.ends_with(last)
}

/// Runs a line of a console block as a shell in the folder does, with fmflow in its PATH.
fn shell(folder: &Path, state: &Path, line: &str) -> Ran {
    let program = Path::new(env!("CARGO_BIN_EXE_fmflow")).parent().unwrap();
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([program.to_owned()].into_iter().chain(env::split_paths(&path))).unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).current_dir(folder).stdin(Stdio::null());
    command.env("PATH", path).env("XDG_STATE_HOME", state).env_remove("RUST_BACKTRACE");
    Ran::from(command.output().unwrap())
}

/// Runs the commands of a block, and looks for what it shows of each.
fn console(name: &str, folder: &Path, state: &Path, block: &Block) {
    let mut ran: Option<(&str, Ran)> = None;
    for line in &block.lines {
        if let Some(command) = line.strip_prefix("$ ") {
            let wanted: i32 =
                command.split_once(" # exit ").map_or(0, |(_, code)| code.trim().parse().unwrap());
            let done = shell(folder, state, command);
            let output = format!("stdout:\n{}\nstderr:\n{}", done.stdout, done.stderr);
            assert_eq!(done.code, wanted, "{name}: `{command}`\n{output}");
            ran = Some((command, done));
            continue;
        }
        let excerpt = squeezed(line);
        if excerpt.is_empty() || excerpt == "..." {
            continue;
        }
        let (command, done) = ran.as_ref().expect("a console block begins with a command");
        let mut printed = done.stdout.lines().chain(done.stderr.lines());
        let found = printed.any(|line| shows(&excerpt, &squeezed(line)));
        let output = format!("stdout:\n{}\nstderr:\n{}", done.stdout, done.stderr);
        assert!(found, "{name}: `{command}` prints `{excerpt}`\n{output}");
    }
}

/// Follows a guide in an empty folder that has only a checkpoint.
fn follow(name: &str) {
    let blocks = sections().remove(name).expect("a section of the guides");
    let (project, state) = (Project::empty(), TempDir::new().unwrap());
    let model = project.path().join("my-model");
    fs::create_dir(&model).unwrap();
    for (file, bytes) in checkpoint() {
        fs::write(model.join(file), bytes).unwrap();
    }
    let mut commands = 0;
    for block in &blocks {
        match block.info.split_once(' ') {
            Some((_, file)) => project.write(file, &(block.lines.join("\n") + "\n")),
            None if block.info == "console" => {
                commands += 1;
                console(name, project.path(), state.path(), block);
            }
            None => panic!("{name}: a block is a file or a console, and not `{}`", block.info),
        }
    }
    assert!(commands > 0, "{name}: nothing is run");
}

#[test]
fn every_guide_is_followed() {
    let headings: Vec<&str> = GUIDES.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings, SECTIONS);
    let sections = sections();
    assert!(SECTIONS.iter().all(|name| sections.contains_key(name)));
    let links = SECTIONS.map(|name| format!("(#{})", name.to_lowercase().replace(' ', "-")));
    links.iter().for_each(|link| assert!(GUIDES.contains(link), "{link}"));
}

#[test]
fn excerpts_are_compared_as_the_guides_say() {
    assert!(shows("a … c", "a b c") && shows("a …", "a b") && shows("… c", "b c") && shows("a", "a"));
    assert!(shows("a … c … e", "a b c d e") && shows("…b…", "abc"));
    assert!(!shows("a … c", "a b d") && !shows("a", "a b") && !shows("a … c … e", "a b d e"));
}

#[test]
fn a_checkpoint_becomes_a_flow_model() {
    follow(SECTIONS[0]);
}

#[test]
fn conversations_become_an_sft() {
    follow(SECTIONS[1]);
}

#[test]
fn files_become_data() {
    follow(SECTIONS[2]);
}

#[test]
fn a_run_is_watched_and_led() {
    follow(SECTIONS[3]);
}

#[test]
fn what_goes_wrong_is_mended() {
    follow(SECTIONS[4]);
}
