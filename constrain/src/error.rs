//! Why a constraint cannot be understood or kept.

/// Most states of an automaton. A choice: sets of states stay at 2 KiB, and what leads to an automaton below about a second.
pub(crate) const MOST_STATES: usize = 16_384;

/// Why a constraint cannot be understood or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// It is no regular expression, or has a part that no automaton without memory knows.
    #[error("the regular expression cannot be read: {0}")]
    Regex(String),
    /// The text is no JSON.
    #[error("the schema is not JSON: {0}")]
    Json(String),
    /// A part of a schema.
    #[error("the schema at `{place}`: {what}")]
    Schema {
        /// Where, as a JSON pointer behind `#`.
        place: String,
        /// What is wrong.
        what: String,
        /// What to write instead.
        fix: String,
    },
    /// Its automaton is too large to be kept beside a model.
    #[error(
        "it is too large: its automaton has more than {MOST_STATES} states, or takes too long to be joined with the vocabulary"
    )]
    TooLarge,
    /// It contradicts itself.
    #[error("no text matches it")]
    Nothing,
}

impl ConstraintError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Regex(_) => {
                "write it in the syntax of the crate `regex`, without back references and look-around"
                    .to_owned()
            }
            Self::Json(_) => "mend it; json-schema.org describes schemas".to_owned(),
            Self::Schema { fix, .. } => fix.clone(),
            Self::TooLarge => {
                "use smaller bounds such as `{0,40}` or `maxLength`, fewer optional parts, or less nesting"
                    .to_owned()
            }
            Self::Nothing => "allow at least one text".to_owned(),
        }
    }
}
