//! Shards of rows that are made while training reads them, and dropped when the disk space of their window is needed.
//!
//! ```text
//! windows/<stage>-<12 digits>/  of the stage that planned the rows
//!   <8 digits>.rows             a shard that is there; a rename put it in its place
//!   <8 digits>.json             what the shard has, with its digest; stays when the shard is dropped
//! ```
//!
//! Nothing here is the only copy of anything: a shard can be made again from its sources, and then it must have the digest that it had.

mod entry;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::Fingerprint;
use crate::pipeline::role::InputRole;
use crate::store::layout::{Store, WINDOWS, make_unique_name};
use crate::store::seal;
use crate::store::slot::Slot;
use crate::store::source_file::open_source;
use crate::store::vfs::{EntryKind, Vfs, VfsFile, is_absent};
pub use entry::ShardEntry;
pub(crate) use entry::find_damaged_shards;
use entry::{hash_reader, parse_entry, parse_number};

/// The window of the rows of a dataset.
#[derive(Clone, Debug)]
pub struct RowsWindow {
    store: Store,
    folder: PathBuf,
}

/// What a window has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WindowSize {
    /// Shards that were made at least once.
    pub made: u64,
    /// Shards that are there.
    pub present: u64,
    /// Bytes of those.
    pub bytes: u64,
}

/// The shards of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowShards {
    /// Those that are there, in their order.
    pub there: Vec<WindowShard>,
    /// How many were made so far.
    pub made: u64,
}

/// A shard of a window that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowShard {
    /// Its number.
    pub shard: u64,
    /// Its rows.
    pub rows: u64,
    /// The file of its records.
    pub file: PathBuf,
}

impl Slot {
    /// The window of the rows that this stage reads in a role; `stage` is the name of the stage that planned them.
    ///
    /// # Errors
    /// If its folder cannot be created, or the stage has no such input.
    pub fn window(&self, role: &InputRole, stage: &str) -> Result<RowsWindow> {
        let fingerprint = self.input(role)?;
        let window = RowsWindow::of(self.store(), stage, fingerprint);
        window.store.ensure_folder(WINDOWS)?;
        let vfs = window.store.vfs();
        vfs.ensure_dir(&window.folder).map_err(Error::io("create", &window.folder))?;
        Ok(window)
    }
}

impl RowsWindow {
    /// The window of the rows with this fingerprint, whether it exists or not.
    pub(crate) fn of(store: &Store, stage: &str, fingerprint: &Fingerprint) -> Self {
        Self { store: store.clone(), folder: store.window(stage, fingerprint) }
    }

    /// What is known of each shard that was made. A damaged entry is removed and told: its shard is made again.
    ///
    /// # Errors
    /// If the folder cannot be read, or an entry cannot be removed.
    pub fn entries(&self) -> Result<(BTreeMap<u64, ShardEntry>, Vec<String>)> {
        let (mut entries, mut notes) = (BTreeMap::new(), Vec::new());
        for (name, kind) in self.list()? {
            let Some(number) = parse_number(&name, ".json").filter(|_| kind == EntryKind::File) else {
                continue;
            };
            let path = self.folder.join(&name);
            let bytes = self.vfs().read(&path).map_err(Error::io("read", &path))?;
            match parse_entry(&bytes).filter(|entry| entry.shard == number) {
                Some(entry) => drop(entries.insert(number, entry)),
                None => {
                    self.vfs().remove_file(&path).map_err(Error::io("remove", &path))?;
                    notes.push(format!("what a window knew of shard {number} was damaged; it is made again"));
                }
            }
        }
        Ok((entries, notes))
    }

    /// The shards that are there and have the size that their entry says. Other files of shards are removed.
    ///
    /// # Errors
    /// If the folder cannot be read, or a file cannot be removed.
    pub fn find_present(&self, entries: &BTreeMap<u64, ShardEntry>) -> Result<Vec<u64>> {
        let mut present = Vec::new();
        for (name, _) in self.list()? {
            let Some(number) = parse_number(&name, ".rows") else { continue };
            let path = self.folder.join(&name);
            let size = self.vfs().stat(&path).map_err(Error::io("inspect", &path))?.size;
            match entries.get(&number).is_some_and(|entry| entry.bytes == size) {
                true => present.push(number),
                false => self.vfs().remove_file(&path).map_err(Error::io("remove", &path))?,
            }
        }
        Ok(present)
    }

    /// Begins the file of a shard. It has its name only after [`ShardWriter::publish`].
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn begin(&self, shard: u64) -> Result<ShardWriter> {
        let aside = self.store.root().join("tmp").join(make_unique_name(&format!("{shard:08}.rows")));
        let file = self.vfs().create_new(&aside).map_err(Error::io("create", &aside))?;
        let (window, hash) = (self.clone(), blake3::Hasher::new());
        Ok(ShardWriter { window, shard, aside, file, hash, bytes: 0 })
    }

    /// The shards that are there, with their files, and how many were made. Nothing is changed: another run may be at work.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(crate) fn list_shards(&self) -> Result<WindowShards> {
        let mut found = WindowShards::default();
        for (name, _) in self.list()? {
            let Some(number) = parse_number(&name, ".json") else { continue };
            found.made += 1;
            let about = self.folder.join(&name);
            let file = self.rows_path(number);
            // One that is dropped meanwhile is not there.
            let entry = self.vfs().read(&about).ok().and_then(|bytes| parse_entry(&bytes));
            let size = self.vfs().stat(&file).ok().map(|stat| stat.size);
            if let Some(entry) = entry.filter(|entry| entry.shard == number && size == Some(entry.bytes)) {
                found.there.push(WindowShard { shard: number, rows: entry.rows, file });
            }
        }
        found.there.sort_by_key(|shard| shard.shard);
        Ok(found)
    }

    /// Opens a shard that is there, after comparing every byte; `None` if it is gone or damaged, and then it is removed.
    ///
    /// # Errors
    /// If it cannot be read or removed.
    pub fn open(&self, entry: &ShardEntry) -> Result<Option<File>> {
        let path = self.rows_path(entry.shard);
        let mut file = match open_source(&path) {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other.map_err(Error::io("open", &path))?,
        };
        if hash_reader(&mut file).map_err(Error::io("read", &path))? == entry.blake3 {
            return Ok(Some(file));
        }
        self.drop_shard(entry.shard)?;
        Ok(None)
    }

    /// Removes the file of a shard; what is known of it stays.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn drop_shard(&self, shard: u64) -> Result<()> {
        let path = self.rows_path(shard);
        match self.vfs().remove_file(&path) {
            Err(error) if is_absent(&error) => Ok(()),
            other => other.map_err(Error::io("remove", &path)),
        }
    }

    /// How many shards were made, and what is there.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(crate) fn measure(&self) -> Result<WindowSize> {
        let mut size = WindowSize::default();
        for (name, _) in self.list()? {
            size.made += u64::from(parse_number(&name, ".json").is_some());
            if parse_number(&name, ".rows").is_some() {
                let path = self.folder.join(&name);
                size.present += 1;
                size.bytes += self.vfs().stat(&path).map_or(0, |stat| stat.size);
            }
        }
        Ok(size)
    }

    /// Compares every byte of every shard that is there, as [`find_damaged_shards`].
    #[cfg(test)]
    fn find_damage(&self) -> Result<Vec<(String, &'static str)>> {
        find_damaged_shards(self.vfs(), &self.folder)
    }

    /// Its folder.
    #[cfg(test)]
    fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    fn list(&self) -> Result<Vec<(String, EntryKind)>> {
        match self.vfs().list(&self.folder) {
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            other => other.map_err(Error::io("list", &self.folder)),
        }
    }

    fn rows_path(&self, shard: u64) -> PathBuf {
        self.folder.join(format!("{shard:08}.rows"))
    }

    fn vfs(&self) -> &dyn Vfs {
        self.store.vfs()
    }
}

/// The file of a shard while it is made. One that is not published is removed.
pub struct ShardWriter {
    window: RowsWindow,
    shard: u64,
    aside: PathBuf,
    file: Box<dyn VfsFile>,
    hash: blake3::Hasher,
    bytes: u64,
}

impl ShardWriter {
    /// Puts the shard in its place, and returns what is known of it: `found`, with its size and digest. `before` is what was known of
    /// it when it was made the last time.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not the shard that was made before, [`Error::Io`] if it cannot be written.
    pub fn publish(mut self, found: ShardEntry, before: Option<&ShardEntry>) -> Result<ShardEntry> {
        let blake3 = self.hash.finalize().to_hex().to_string();
        let entry = ShardEntry { shard: self.shard, bytes: self.bytes, blake3, ..found };
        let window = self.window.clone();
        let path = window.rows_path(self.shard);
        if before.is_some_and(|before| *before != entry) {
            let what =
                "it was made again and is not what it was: its sources or the program changed".to_owned();
            let file = format!("{:08}.rows", self.shard);
            return Err(Error::Corrupt { folder: window.folder.clone(), file, what });
        }
        self.file.sync().map_err(Error::io("sync", &self.aside))?;
        window.vfs().rename(&self.aside, &path).map_err(Error::io("write", &path))?;
        window.vfs().sync_dir(&window.folder).map_err(Error::io("sync", &window.folder))?;
        if before.is_none() {
            let line = serde_json::to_string(&entry).expect("an entry is plain data");
            let about = window.folder.join(format!("{:08}.json", self.shard));
            window.store.replace_file(&about, seal::seal_line(&line).as_bytes())?;
        }
        Ok(entry)
    }
}

impl Write for ShardWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes).map_err(Error::io("write", &self.aside))?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.file.flush().map_err(Error::io("write", &self.aside))?)
    }
}

impl Drop for ShardWriter {
    fn drop(&mut self) {
        // After a rename nothing has this name; otherwise the next run would remove it with all leftovers.
        let _ = self.window.vfs().remove_file(&self.aside);
    }
}

#[cfg(test)]
mod tests;
