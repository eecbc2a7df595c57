//! How a check is asked for.

use crate::text::environment;

/// What a check may know about the world besides the text.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// Names of the secrets that are there.
    pub secrets: Vec<String>,
    /// Settings that stand in for the file's, as `path=value`; later ones win.
    pub settings: Vec<String>,
    /// Codes of warnings that are not told.
    pub allow: Vec<String>,
    /// Codes of warnings that are errors; `warnings` stands for all that nothing allows.
    pub deny: Vec<String>,
}

impl CheckOptions {
    /// Secrets taken from the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        Self { secrets: environment::list_variable_names(), ..Self::default() }
    }
}
