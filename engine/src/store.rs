//! The store holds finished artifacts and the checkpoints of unfinished stages. Each is published completely or not at all.
//!
//! ```text
//! .fmflow/
//!   format                          version of the store
//!   lock                            locked by a run; names the process
//!   digests                         cache of source file digests; may be deleted
//!   artifacts/<stage>-<12 digits>/  finished, read-only; manifest.json has the hash of every file
//!   work/<stage>-<12 digits>/       unfinished: manifest.json, checkpoints/<update>/, metrics.jsonl
//!   runs/                           journal.jsonl, and a record of the inputs of every run
//!   pins                            artifacts that `gc` never removes, one per line
//!   tmp/ trash/                     folders being built or removed; emptied by the next run
//! ```
//!
//! Everything under a final name got there by one rename ([`publish`]). Nothing is written in place except the two `.jsonl`
//! files, whose torn last lines are ignored. Therefore a process may die at any instant.

pub mod digest;
pub mod garbage;
pub mod hashing_file;
pub mod journal;
pub mod layout;
pub mod listing;
pub mod lock;
pub mod manifest;
pub mod probe;
pub mod publish;
pub mod slot;
pub mod summary;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod vfs;

pub use hashing_file::HashingFile;
pub use layout::Store;
pub use listing::{StoreListing, StoredFolder};
pub use lock::StoreLock;
pub use manifest::Manifest;
pub use publish::ArtifactWriter;
pub use slot::{CheckpointDir, Slot, StageKey};
pub use summary::Summary;
