//! The store: finished artifacts and the checkpoints of unfinished stages, published complete or not at all.
//!
//! ```text
//! .fmflow/
//!   format                          version of the store
//!   lock                            held by a run; says by whom
//!   digests                         memory of source files' digests; may be deleted
//!   artifacts/<stage>-<12 digits>/  finished, read-only; manifest.json has the hash of every byte
//!   work/<stage>-<12 digits>/       unfinished: manifest.json, checkpoints/<update>/, metrics.jsonl
//!   runs/                           journal.jsonl, and what every run was made of
//!   pins                            artifacts that are kept whatever happens, a line each
//!   tmp/ trash/                     on the way in and out; swept by the next run
//! ```
//!
//! Everything under a final name got there by one rename ([`publish`]); nothing here is ever written in place, apart
//! from the two line-by-line files, whose torn tails are ignored. A process may die at any instant.

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
