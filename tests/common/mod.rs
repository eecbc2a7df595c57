//! A project in a temporary folder, and the fmflow binary run inside it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "every test binary uses only a part of it; helpers fail a test by panicking"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

pub(crate) mod pretend;

/// A folder with a pipeline and its data.
pub(crate) struct Project {
    folder: TempDir,
}

/// Exit code and output of a command.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The oracle set called `name`. If it is missing: `None` with a printed note, or a failure in CI and where `FMFLOW_ORACLE` is
/// set, so that nobody mistakes a skipped comparison for a passed one.
pub(crate) fn oracle(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("FMFLOW_ORACLE");
    let insist = named.is_some() || std::env::var_os("CI").is_some();
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/oracle/dev");
    let folder = named.map_or_else(default, PathBuf::from).join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(!insist, "oracle set {} is missing", folder.display());
    println!("SKIPPED: no oracle set at {}", folder.display());
    None
}

/// A model without practice, and one update of it on the rows `r` of the mixture `m` with the tokenizer `t`.
pub(crate) const TINY_TRAINING: &str = r#"
random-init "i" tokenizer="t" { shape "qwen3" hidden=8 layers=1 heads=2 head-dim=4 feed-forward=16 }
train "ar" from="i" {
    data rows="r" mixture="m"
    objective "autoregressive"
    attention "causal"
    batch rows=2
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
    steps 1
}
"#;

/// Sends a signal such as `INT` to a process that is there.
#[track_caller]
pub(crate) fn send_signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), process.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A number in [0, 1) of a sequence that spreads evenly.
pub(crate) fn golden(i: i32) -> f64 {
    (f64::from(i) * 0.618_034).fract()
}

/// The bytes, compressed.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).and_then(|()| packer.finish()).unwrap()
}

impl Project {
    /// An empty folder.
    pub(crate) fn empty() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// A project with `text` as `p.kdl`, and a document in `text/`.
    pub(crate) fn of(text: &str) -> Self {
        let project = Self::empty();
        project.write("text/a.txt", "hello");
        project.write("p.kdl", text);
        project
    }

    /// A project with `tests/cases/data/tiny.kdl` as `tiny.kdl`, and small data for it.
    pub(crate) fn tiny() -> Self {
        let project = Self::empty();
        project.write("tiny.kdl", include_str!("../cases/data/tiny.kdl"));
        let text = |i: usize| {
            let words = ["river", "model", "token", "noise", "flow", "mask", "row", "step", "path", "time"];
            let word = |k: usize| words[(i * 7 + k * k + 3 * k) % words.len()];
            (0..60)
                .map(|k| format!("The {} meets the {} at {}.", word(k), word(k + 1), (i + k) % 10))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let texts: Vec<String> = (0..12).map(text).collect();
        project.write("tiny/text.txt", &texts.join("\n\n"));
        let letters = ["a", "b", "c", "d", "e"];
        let mut tasks = String::new();
        for (i, a) in letters.iter().enumerate() {
            for b in letters {
                for c in letters {
                    let (task, answer) = if i % 2 == 0 { ("first", *a) } else { ("last", c) };
                    tasks += &format!(
                        r#"{{"task":"{task}","question":"{task}: {a} {b} {c}","answer":"{answer}"}}"#
                    );
                    tasks.push('\n');
                }
            }
        }
        project.write("tiny/tasks.jsonl", &tasks);
        project
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces text in a file of the project; the text must be there.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let path = self.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from:?} is in {name}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// The command, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fmflow"));
        command.args(arguments).current_dir(self.path()).env_remove("RUST_BACKTRACE").stdin(Stdio::null());
        command
    }

    /// Runs the binary and waits for it.
    pub(crate) fn fmflow(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }

    /// Starts the binary.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The artifact folder of a stage.
    pub(crate) fn artifact(&self, stage: &str) -> PathBuf {
        let ran = self.fmflow(&["show", "tiny.kdl", stage, "--path"]).ok();
        assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
        let path = PathBuf::from(ran.stdout.trim_end());
        assert!(path.is_absolute() && path.is_dir(), "{}", path.display());
        path
    }

    /// Starts the binary, kills it after a while, and asserts that it was killed or had ended well.
    pub(crate) fn kill_after(&self, arguments: &[&str], pause: Duration) -> Output {
        let mut child = self.spawn(arguments);
        std::thread::sleep(pause);
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.signal() == Some(9) || ended.status.code() == Some(0), "{ended:?}");
        ended
    }

    /// Adds text to the end of a file.
    pub(crate) fn append(&self, name: &str, more: &str) {
        let text = fs::read_to_string(self.path().join(name)).unwrap();
        self.write(name, &(text + more));
    }

    /// The lines of a file of an artifact.
    pub(crate) fn json_lines(&self, stage: &str, file: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.artifact(stage).join(file)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Digest of the weights of a stage.
    pub(crate) fn digest_of(&self, stage: &str) -> String {
        let bytes = fs::read(self.artifact(stage).join("model.safetensors")).unwrap();
        blake3::hash(&bytes).to_hex().to_string()
    }

    /// Digests of the weights of all stages that make a model.
    pub(crate) fn weights(&self) -> Vec<(&'static str, String)> {
        ["tiny", "ar", "flow", "sft"].map(|stage| (stage, self.digest_of(stage))).into()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    /// Asserts that either stream contains a text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "{text:?} in\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}
