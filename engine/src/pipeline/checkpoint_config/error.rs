//! Why a `config.json` is refused.

/// Why a `config.json` is refused. Every variant about a key names it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not a JSON object.
    #[error("config.json is not a JSON object: {0}")]
    Json(String),
    /// A required key is absent.
    #[error("config.json has no `{0}`")]
    Missing(&'static str),
    /// The value has the wrong type or range.
    #[error("config.json: `{key}` is {value}, expected {expected}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// Its value as JSON.
        value: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// The value is legal but asks for a computation that is not implemented.
    #[error("config.json: `{key}` = {value} is not supported ({supported})")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Its value as JSON.
        value: String,
        /// The supported values.
        supported: &'static str,
    },
}
