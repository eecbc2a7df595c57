//! What is wrong with a checkpoint folder, and what to do about it.

/// The cure for a folder that is something else.
pub(super) const NAME_A_CHECKPOINT: &str =
    "name the folder of a Hugging Face checkpoint: config.json, model.safetensors, tokenizer.json";

/// What a fault means for whoever names the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The folder cannot be used.
    Unfit,
    /// The contract cannot be read. Nothing is known of the model then.
    Contract,
    /// The folder can perhaps be used: only its weights tell, and a check reads none.
    Doubtful,
    /// The folder can be used, but says something that nothing reads.
    Unread,
}

/// Something in a checkpoint folder that keeps it from being used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FolderFault {
    /// What it means.
    pub kind: FaultKind,
    /// What is wrong, with the file. Without the folder, which whoever reports it names.
    pub message: String,
    /// What to do about it.
    pub cure: String,
}

impl FolderFault {
    /// A fault that makes the folder unfit.
    pub(crate) fn new(message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { kind: FaultKind::Unfit, message: message.into(), cure: cure.into() }
    }

    /// Something that nothing reads.
    pub(crate) fn unread(message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { kind: FaultKind::Unread, ..Self::new(message, cure) }
    }

    /// Whether the folder is refused, whatever its weights are.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !matches!(self.kind, FaultKind::Doubtful | FaultKind::Unread)
    }

    /// A file that was damaged on its way here.
    pub(crate) fn damaged(file: &str, why: impl std::fmt::Display) -> Self {
        Self::new(
            format!("`{file}`: {why}"),
            format!("copy `{file}` again from where the checkpoint comes from"),
        )
    }
}

/// Whether a path can be pasted into a command or a text as it is. A stranger's name must not become a part of either.
pub(super) fn is_plain(path: &str) -> bool {
    path.chars().all(|letter| letter.is_alphanumeric() || "._-/".contains(letter))
}
