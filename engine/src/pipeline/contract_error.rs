//! Why the contract of a folder is refused, in the words of the file that holds it.

/// File name in a checkpoint's folder.
pub const PROVENANCE: &str = "provenance.json";

/// File name in an exported folder, which has its contract in this file and no [`PROVENANCE`].
pub const SIDECAR: &str = "fmflow.json";

/// Why a `provenance.json` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Unreadable, or not the JSON of [`Contract`].
    #[error("{PROVENANCE}: {0}")]
    Json(String),
    /// The copy of the contract in an exported folder is refused.
    #[error("{SIDECAR}: {0}")]
    Sidecar(String),
    /// The folder has two contracts.
    #[error("{PROVENANCE} and {SIDECAR} say different things of the model")]
    Disagreement,
    /// Written by another version, with the opposite direction of time, or out of range.
    #[error("{PROVENANCE}: `{key}` is `{found}`, expected `{expected}`")]
    Value {
        /// Key in the JSON object.
        key: &'static str,
        /// Value in the file.
        found: String,
        /// Value that this program writes.
        expected: &'static str,
    },
}

impl ContractError {
    /// The same reason, about the contract in a [`SIDECAR`].
    #[must_use]
    pub(super) fn in_sidecar(self) -> Self {
        match self {
            Self::Json(reason) => Self::Sidecar(reason),
            Self::Value { key, found, expected } => {
                Self::Sidecar(format!("`{key}` is `{found}`, expected `{expected}`"))
            }
            Self::Sidecar(_) | Self::Disagreement => self,
        }
    }
}
