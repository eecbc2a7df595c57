//! A Python interpreter: its real binary, and the files that it reads.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::sandbox::Isolation;

/// The script that an interpreter runs to describe itself.
const EXAMINE: &str = include_str!("python/examine.py");

/// Flags of every start: no module of the user, no packages, no compiled files.
pub(crate) const FLAGS: [&str; 4] = ["-s", "-S", "-B", "-c"];

/// How long an interpreter may take to describe itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the rest of its answer may take once it has ended: it is in the pipe already.
const REST: Duration = Duration::from_secs(5);

/// Most bytes of its answer: far more than the paths of a standard library have.
const MOST_WORDS: u64 = 1 << 20;

/// An interpreter, and what the sandbox lets it read.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// Its real binary, behind links and shims.
    pub program: PathBuf,
    /// Such as `3.11.2`.
    pub version: String,
    /// How programs in it are kept from the machine.
    pub isolation: Isolation,
    pub(crate) execute: Vec<PathBuf>,
    pub(crate) read: Vec<PathBuf>,
}

/// What an interpreter says of itself.
#[derive(Deserialize)]
struct Description {
    version: String,
    program: Option<PathBuf>,
    #[serde(default)]
    paths: Vec<PathBuf>,
    #[serde(default)]
    files: Vec<PathBuf>,
}

impl Interpreter {
    /// Asks an interpreter about itself.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub(crate) fn examine(candidate: &Path, isolation: Isolation) -> Result<Self, String> {
        build_interpreter(describe(candidate)?, isolation)
    }
}

fn build_interpreter(found: Description, isolation: Isolation) -> Result<Interpreter, String> {
    let Some(program) = found.program else {
        return Err(format!("it is Python {}, and 3.8 or newer is needed", found.version));
    };
    let loader = |path: &&PathBuf| path.file_name().is_some_and(is_loader);
    let execute: Vec<PathBuf> = found.files.iter().filter(loader).cloned().chain([program.clone()]).collect();
    let cache = Some(PathBuf::from("/etc/ld.so.cache")).filter(|path| path.is_file());
    let mut read: Vec<PathBuf> = found.files.into_iter().chain(cache).collect();
    for path in &found.paths {
        read.extend(list_readable(path).map_err(|error| format!("{path:?}: {error}"))?);
    }
    Ok(Interpreter { program, version: found.version, isolation, execute, read })
}

/// Whether a library is the one that the kernel starts to load a program.
fn is_loader(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with("ld-")
}

/// A folder of modules, or what is in it except the packages that somebody installed.
fn list_readable(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let foreign = ["site-packages", "dist-packages"];
    if !foreign.iter().any(|name| path.join(name).is_dir()) {
        return Ok(vec![path.to_owned()]);
    }
    let entries: Vec<PathBuf> =
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    let own = |entry: &PathBuf| !foreign.iter().any(|name| entry.ends_with(name));
    Ok(entries.into_iter().filter(own).collect())
}

/// Asks an interpreter about itself, outside the sandbox: it is a program of this machine, maybe a shim that needs its environment.
fn describe(candidate: &Path) -> Result<Description, String> {
    let mut child = Command::new(candidate)
        .args(["-I", "-S", "-B", "-c", EXAMINE])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let words = read_aside(child.stdout.take().expect("its stdout is a pipe"));
    let start = Instant::now();
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
            return Err(format!("it does not answer within {} seconds", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let open = |_| "it has ended, and something else keeps its output open".to_owned();
    let text = words.recv_timeout(REST).map_err(open)?.map_err(|error| error.to_string())?;
    if !status.success() && (text.len() as u64) < MOST_WORDS {
        return Err(format!("it ends with {status}"));
    }
    serde_json::from_slice(&text).map_err(|_| "it does not answer like Python".to_owned())
}

/// What a program writes, once it has written everything. Nobody can be made to wait for that: its children may keep the pipe open.
fn read_aside(stdout: ChildStdout) -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, words) = channel();
    // The program ends if it goes on writing when nobody reads any more.
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.take(MOST_WORDS).read_to_end(&mut text);
        // Maybe nobody waits any more.
        let _ = sender.send(read.map(|_| text));
    });
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(list_readable(path).unwrap(), [path]);
        for name in ["site-packages", "json"] {
            std::fs::create_dir(path.join(name)).unwrap();
        }
        assert_eq!(list_readable(path).unwrap(), [path.join("json")]);
    }
}
