//! Finds an interpreter that works in the sandbox, once.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::interpreter::Interpreter;
use crate::problem::encode_problem;
use crate::sandbox::{Isolation, LIMITS, OWN_USER};
use crate::session::{Attempt, SessionError, run_attempt};

/// Where a system has its own interpreter.
const SYSTEM: &str = "/usr/bin/python3";

/// A program that passes the problem of [`build_probe`].
const PROBE: &str = "def probe(x):\n    return [x, x + 1]\n";

/// Why no program can be graded on this machine.
#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    /// Nothing that was tried works; one line for each.
    #[error("no Python interpreter can be used: {}", .0.join("; "))]
    None(Vec<String>),
    /// The kernel does not offer what the sandbox needs.
    #[error("programs cannot be kept from this machine: {0}")]
    NoSandbox(String),
}

impl InterpreterError {
    /// Whether this program lacks a right, and not the kernel a part of the sandbox: it runs as root, but may not become another user.
    #[must_use]
    pub fn is_of_rights(&self) -> bool {
        matches!(self, Self::NoSandbox(what) if what.starts_with(OWN_USER))
    }
}

/// Finds an interpreter: the first `python3` of PATH, and `/usr/bin/python3` if that one cannot be used, for example because it lies in a
/// home folder that a user of its own cannot enter.
///
/// # Errors
/// If there is none, or if the machine offers no sandbox and `isolation` asks for one.
pub fn find_interpreter(isolation: Isolation) -> Result<Interpreter, InterpreterError> {
    find_among(&list_candidates(std::env::var_os("PATH").as_deref()), isolation)
}

/// The first of `candidates` that works.
///
/// # Errors
/// As [`find_interpreter`].
pub fn find_among(candidates: &[PathBuf], isolation: Isolation) -> Result<Interpreter, InterpreterError> {
    let mut tried = Vec::new();
    for candidate in candidates {
        match try_candidate(candidate, isolation)? {
            Ok(interpreter) => return Ok(interpreter),
            Err(why) => tried.push(format!("{candidate:?}: {why}")),
        }
    }
    if candidates.is_empty() {
        tried.push(format!("there is no `python3` in PATH, and no {SYSTEM}"));
    }
    Err(InterpreterError::None(tried))
}

fn list_candidates(path: Option<&OsStr>) -> Vec<PathBuf> {
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    let first = folders.map(|folder| folder.join("python3")).find(|path| path.is_file());
    let system = Some(PathBuf::from(SYSTEM)).filter(|path| path.is_file());
    let mut all: Vec<PathBuf> = first.into_iter().chain(system).collect();
    all.dedup();
    all
}

/// The interpreter, or why it cannot be used.
fn try_candidate(
    candidate: &Path,
    isolation: Isolation,
) -> Result<Result<Interpreter, String>, InterpreterError> {
    let interpreter = match Interpreter::examine(candidate, isolation) {
        Ok(interpreter) => interpreter,
        Err(why) => return Ok(Err(why)),
    };
    let problem = build_probe();
    let attempt = Attempt {
        interpreter: &interpreter,
        problem: &problem,
        program: PROBE,
        limits: LIMITS,
        stop: &|| false,
    };
    match run_attempt(&attempt) {
        Ok(verdict) if verdict.passed() => Ok(Ok(interpreter)),
        Ok(verdict) => Ok(Err(format!("it fails in the sandbox: {}", verdict.detail))),
        Err(SessionError::NoSandbox(what)) => Err(InterpreterError::NoSandbox(what)),
        Err(error) => Ok(Err(format!("it does not start in the sandbox: {error}"))),
    }
}

/// A problem that shows whether an interpreter works.
fn build_probe() -> String {
    let tests = vec!["import math, re, json\nassert probe(1) == [1, 2]".to_owned()];
    encode_problem(&[], &tests, None, false, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_no_old_kernel() {
        let error = |what: &str| InterpreterError::NoSandbox(what.into());
        assert!(error(&format!("{OWN_USER}: Operation not permitted")).is_of_rights());
        assert!(!error("Landlock: not supported").is_of_rights());
        assert!(!InterpreterError::None(Vec::new()).is_of_rights());
    }

    #[test]
    fn the_first_of_path_comes_before_that_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("python3");
        std::fs::write(&own, "").unwrap();
        let path = std::env::join_paths([Path::new("/nowhere"), folder.path()]).unwrap();
        assert_eq!(list_candidates(Some(&path)).first(), Some(&own));
        let without = list_candidates(Some(OsStr::new("/nowhere")));
        assert!(without.iter().all(|path| path == Path::new(SYSTEM)), "{without:?}");
    }
}
