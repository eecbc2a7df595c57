//! An artifact whose largest file grows over several runs: what was noted of it is there after a kill.
//!
//! ```text
//! work/<stage>-<12 digits>/
//!   growing/        the artifact under construction; the next run keeps only the file that grows
//!   growing.json    size and digest of that file when it was synced last, and what the stage said then
//! ```
//!
//! The note is replaced by a rename after the file was synced. So the file has at least the bytes that the note speaks of; what is
//! behind them is cut off, and they are hashed again before the stage goes on.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::store::growth_note::{GrowthNote, NOTE, read_note};
use crate::store::hashing_file::HashingFile;
use crate::store::layout::Store;
use crate::store::publish::ArtifactWriter;
use crate::store::seal;
use crate::store::slot::Slot;
use crate::store::vfs::remove_if_there;

/// The folder of the artifact, in the work folder.
const FOLDER: &str = "growing";

/// A file of an artifact that grows over several runs.
pub struct GrowingFile {
    file: HashingFile,
    name: String,
    store: Store,
    /// The folder that it is in.
    folder: PathBuf,
    note: PathBuf,
}

/// Where a stage goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// Units of work that are done.
    pub step: u64,
    /// What the stage noted then.
    pub state: Value,
}

impl Slot {
    /// A writer for the stage's artifact whose file `name` grows: that file, and where the stage goes on if an earlier run noted it.
    ///
    /// # Errors
    /// If the folder cannot be made or read, or the file cannot be opened.
    pub fn growing_artifact(&self, name: &str) -> Result<(ArtifactWriter, GrowingFile, Option<Growth>)> {
        let (folder, note) = (self.work().join(FOLDER), self.work().join(NOTE));
        let vfs = self.shared_vfs();
        vfs.ensure_dir(&folder).map_err(Error::io("create", &folder))?;
        let found = read_note(&*vfs, &note)?.filter(|found| found.name == name);
        for (other, _) in vfs.list(&folder).map_err(Error::io("list", &folder))? {
            if other != name || found.is_none() {
                let path = folder.join(other);
                vfs.remove_all(&path).map_err(Error::io("remove", &path))?;
            }
        }
        let mut writer = self.artifact_in(folder.clone());
        let known = found.as_ref().map(|found| (found.size, found.blake3.as_str()));
        let reopened = known.map(|(size, digest)| writer.reopen(name, size, digest)).transpose()?.flatten();
        let (file, found) = match reopened {
            Some(file) => (file, found),
            None => {
                remove_if_there(&*vfs, &folder.join(name))?;
                (writer.file(name)?, None)
            }
        };
        let growth = found.map(|found| Growth { step: found.step, state: found.state });
        let file = GrowingFile { file, name: name.to_owned(), store: self.store().clone(), folder, note };
        Ok((writer, file, growth))
    }

    /// Forgets what was noted of a file that grows: it begins again.
    ///
    /// # Errors
    /// If the note cannot be removed.
    pub fn forget_growth(&self) -> Result<()> {
        remove_if_there(&*self.shared_vfs(), &self.work().join(NOTE))
    }
}

impl GrowingFile {
    /// Brings what was written to stable storage, and notes what is needed to go on behind it; `step` counts the units of work.
    ///
    /// # Errors
    /// If one of the two cannot be written.
    pub fn note(&mut self, step: u64, state: Value) -> Result<()> {
        let (size, blake3) = self.file.settle()?;
        self.store.vfs().sync_dir(&self.folder).map_err(Error::io("sync", &self.folder))?;
        let note = GrowthNote { name: self.name.clone(), size, blake3, step, state, root: None };
        let text = serde_json::to_string_pretty(&note).expect("a note is texts, numbers and what JSON has");
        self.store.replace_file(&self.note, seal::seal_object(&text).as_bytes())
    }

    /// Finishes the file; it belongs to the artifact.
    ///
    /// # Errors
    /// As [`HashingFile::finish`].
    pub fn finish(self) -> Result<()> {
        self.file.finish()
    }
}

impl Write for GrowingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
