//! The files of the shards of a window, as its decisions see them.

use std::fs::File;

use fmflow_engine::error::Failure;
use fmflow_engine::store::{RowsWindow, ShardEntry};

/// The files of the shards that are there.
pub(super) trait ShardFiles {
    /// Opens one after comparing it; `None` if it is gone or damaged.
    fn open_shard(&self, entry: &ShardEntry) -> Result<Option<File>, Failure>;

    /// Removes one, if it is there.
    fn drop_shard(&self, shard: u64) -> Result<(), Failure>;
}

impl ShardFiles for RowsWindow {
    fn open_shard(&self, entry: &ShardEntry) -> Result<Option<File>, Failure> {
        Ok(self.open(entry)?)
    }

    fn drop_shard(&self, shard: u64) -> Result<(), Failure> {
        Ok(RowsWindow::drop_shard(self, shard)?)
    }
}
