//! Files that a stage needs while it works and nobody else sees.

use std::fs::File;

use crate::error::{Error, Result};
use crate::store::layout::make_unique_name;
use crate::store::slot::Slot;

impl Slot {
    /// An empty file for reading and writing, on the disk of the store. It has no name, so that it is gone with its stage, also after a
    /// kill.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn scratch_file(&self) -> Result<File> {
        let (store, vfs) = (self.store(), self.store().vfs());
        let path = store.root().join("tmp").join(make_unique_name("scratch"));
        let file = vfs.open_lock_file(&path).map_err(Error::io("create", &path))?;
        vfs.remove_file(&path).map_err(Error::io("remove", &path))?;
        Ok(file)
    }
}
