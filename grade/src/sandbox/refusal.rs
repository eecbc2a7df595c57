//! Why a process does not become the interpreter.

#[cfg(target_os = "linux")]
use std::{fmt::Display, path::Path};

/// The kind of the message of a process that cannot be limited.
pub(crate) const NO_SANDBOX: &str = "no-sandbox";

/// The kind of the message of a process that cannot become the interpreter.
pub(crate) const NO_INTERPRETER: &str = "no-interpreter";

/// The part of the sandbox that needs a right of root.
pub(crate) const OWN_USER: &str = "a user of its own";

/// What the process says before it ends.
#[cfg(target_os = "linux")]
pub(super) struct Refusal {
    pub kind: &'static str,
    pub what: String,
}

#[cfg(target_os = "linux")]
impl Refusal {
    /// The machine does not offer a part of the sandbox.
    pub(super) fn sandbox(part: &str, error: impl Display) -> Self {
        Self { kind: NO_SANDBOX, what: format!("{part}: {error}") }
    }

    /// A file of the interpreter cannot be used inside.
    pub(super) fn interpreter(path: &Path, error: &dyn Display) -> Self {
        Self { kind: NO_INTERPRETER, what: format!("{path:?}: {error}") }
    }
}

#[cfg(target_os = "linux")]
impl From<landlock::RulesetError> for Refusal {
    fn from(error: landlock::RulesetError) -> Self {
        Self::sandbox("Landlock", error)
    }
}
