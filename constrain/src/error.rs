//! Why a constraint cannot be understood or kept.

/// Most bytes of a regular expression. A choice: a class of Unicode becomes a thousand times its letters.
pub(crate) const REGEX_BYTES: usize = 4 << 10;

/// Most bytes of a schema. A choice.
pub const SCHEMA_BYTES: usize = 64 << 10;

/// Refuses a text of more than `most` bytes.
pub(crate) fn refuse_long(text: &str, most: usize) -> Result<(), ConstraintError> {
    if text.len() > most { Err(ConstraintError::TooLong { bytes: text.len(), most }) } else { Ok(()) }
}

/// Most states of an automaton. A choice: sets of states stay at 2 KiB.
pub(crate) const MOST_STATES: usize = 16_384;

/// Why a constraint cannot be understood or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// It has too many bytes to be read.
    #[error("it has {bytes} bytes, and at most {most} are read")]
    TooLong {
        /// How many it has.
        bytes: usize,
        /// How many are read.
        most: usize,
    },
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
        "it is too large: its automaton has more than {MOST_STATES} states, or takes too long to be built or joined with the vocabulary"
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
            Self::TooLong { .. } => {
                "write it shorter, with bounds such as `{2,9}` instead of copies, or `$ref` in a schema"
                    .to_owned()
            }
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
