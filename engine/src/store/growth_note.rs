//! What is noted of a file that grows over several runs: see [`super::growing`].

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::store::seal;
use crate::store::vfs::{Vfs, is_absent};

/// Name of the note in the work folder.
pub(super) const NOTE: &str = "growing.json";

/// What is known of a file that grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrowthNote {
    /// Name of the file.
    pub(super) name: String,
    /// Bytes that are on stable storage, and their digest.
    pub(super) size: u64,
    pub(super) blake3: String,
    /// Units of work that they stand for.
    pub(super) step: u64,
    /// What the stage needs to go on.
    pub(super) state: Value,
    /// The checksum; see [`seal`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) root: Option<String>,
}

/// Units of work that the file of an unfinished stage stands for; `None` if it has none that grows.
pub(super) fn read_growth_step(vfs: &dyn Vfs, work: &Path) -> Result<Option<u64>> {
    Ok(read_note(vfs, &work.join(NOTE))?.map(|found| found.step))
}

/// A note; `None` if there is none, or it is damaged: then the stage begins again.
pub(super) fn read_note(vfs: &dyn Vfs, path: &Path) -> Result<Option<GrowthNote>> {
    let bytes = match vfs.read(path) {
        Err(error) if is_absent(&error) => return Ok(None),
        read => read.map_err(Error::io("read", path))?,
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text)
        .filter(|text| seal::is_object_whole(text))
        .and_then(|text| serde_json::from_str(&text).ok()))
}
