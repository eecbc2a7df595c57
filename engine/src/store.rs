//! The store holds finished artifacts and the checkpoints of unfinished stages. Each is published completely or not at all.
//!
//! ```text
//! .fmflow/
//!   format                          version of the store
//!   lock                            locked by a run; names the process
//!   digests                         digests of sources and of files of artifacts that were compared; may be deleted
//!   artifacts/<stage>-<12 digits>/  finished, read-only; manifest.json has the hash of every file
//!   work/<stage>-<12 digits>/       unfinished: manifest.json, checkpoints/<update>/, metrics.jsonl, downloads/, growing/
//!   permanent/<stage>-<12 digits>/  <update>/: checkpoints that stay when the stage is finished
//!   windows/<stage>-<12 digits>/    shards of rows that training reads while they are made; dropped and made again
//!   runs/                           journal.jsonl, and a record of the inputs of every run
//!   pins                            artifacts that `gc` never removes, one per line
//!   tmp/ trash/                     folders being built or removed; emptied by the next run
//! ```
//!
//! Everything under a final name got there by one rename ([`publish`]). Nothing is written in place except the two `.jsonl`
//! files, whose torn last lines are ignored. Therefore a process may die at any instant. What has no hash in a manifest carries a
//! checksum of its own ([`seal`]): damage is an error or is told and passed over, never another text.

mod chunked_file;
pub(crate) mod digest;
mod downloads;
pub(crate) mod events;
mod foreign;
pub mod garbage;
mod growing;
mod growth_note;
pub(crate) mod hashing_file;
pub(crate) mod journal;
pub(crate) mod layout;
pub(crate) mod listing;
pub(crate) mod lock;
pub(crate) mod manifest;
pub(crate) mod metrics;
pub(crate) mod probe;
pub(crate) mod publish;
mod scratch;
mod seal;
mod sharing;
pub(crate) mod slot;
mod source_file;
pub mod summary;
#[cfg(test)]
mod tests;
pub(crate) mod trusted;
pub(crate) mod verify;
pub(crate) mod vfs;
pub(crate) mod window;

pub use chunked_file::{CHUNKED_FILES, ChunkedFile};
pub use downloads::{Downloads, PartialFile};
pub use growing::{GrowingFile, Growth};
pub use hashing_file::HashingFile;
pub use layout::Store;
pub use listing::{PermanentCheckpoints, StoreListing, StoredFolder};
pub(crate) use lock::{StageLock, StoreLock};
pub(crate) use manifest::Manifest;
pub use publish::ArtifactWriter;
pub(crate) use slot::{Facts, Slot, StageKey, compare_facts};
pub use summary::Summary;
pub use vfs::StoreTrust;
pub use window::{RowsWindow, ShardEntry, ShardWriter, WindowShard, WindowShards};
