//! Settings of a `fetch`: where a checkpoint comes from.

use std::path::PathBuf;

/// Brings a checkpoint into the store.
#[derive(Clone, Debug, PartialEq)]
pub enum FetchConfig {
    /// Absolute path of a Hugging Face checkpoint folder on this machine.
    Folder(PathBuf),
    /// The artifact of a command, in role `made`.
    Made,
    /// A repository on a hub, pinned by the lock file.
    Hub {
        /// `hf:<owner>/<name>`.
        from: String,
        /// Branch, tag or commit.
        revision: Option<String>,
    },
}
