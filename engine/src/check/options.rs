//! Options of a check.

use crate::text::environment;

/// Everything besides the files that a check depends on.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// Names of the environment variables that are set. Values never enter a check.
    pub secrets: Vec<String>,
    /// Settings that override the file's, as `path=value`; later ones win.
    pub settings: Vec<String>,
    /// Codes of warnings to hide; `warnings` means all.
    pub allow: Vec<String>,
    /// Codes of warnings to treat as errors; `warnings` means all that no rule allows.
    pub deny: Vec<String>,
    /// Whether the file is checked for `run --smoke`, which replaces what is not on disk: files may be absent, and neither pins nor
    /// machines nor profiles count.
    pub smoke: bool,
}

impl CheckOptions {
    /// Default options, with the names of this process's environment variables.
    #[must_use]
    pub(crate) fn from_environment() -> Self {
        Self { secrets: environment::list_variable_names(), ..Self::default() }
    }
}
