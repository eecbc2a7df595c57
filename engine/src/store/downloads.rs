//! Files that a stage downloads. They lie in the stage's unfinished work, so that a killed stage goes on where it stopped, and go
//! with it when the stage is finished.
//!
//! ```text
//! work/<stage>-<12 digits>/downloads/
//!   parts/<digits>      what has arrived of a file, by its hash and source; parts/<digits>.tag: the version that the server named
//!   files/<source>/      files that are complete
//! ```
//!
//! A complete file gets its name by a rename after it was synced. It is hashed again before each use, so that its name alone is
//! believed by nobody.

use std::collections::BTreeSet;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::store::slot::Slot;
use crate::store::vfs::{EntryKind, Vfs, VfsFile, is_absent, remove_if_there};
use crate::text::escape::escape_line;

/// The longest name of a version that a server may give.
const MAX_TAG_BYTES: usize = 1024;

/// The downloads of one source of a stage.
#[derive(Debug)]
pub struct Downloads {
    vfs: Arc<dyn Vfs>,
    parts: PathBuf,
    complete: PathBuf,
}

/// A file that has not arrived completely.
pub struct PartialFile {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    tag: PathBuf,
    file: Box<dyn VfsFile>,
    length: u64,
}

impl Slot {
    /// The downloads of the source called `source`.
    ///
    /// # Errors
    /// If their folders cannot be created.
    pub fn downloads(&self, source: &str) -> Result<Downloads> {
        let top = self.downloads_folder();
        let (parts, complete) = (top.join("parts"), top.join("files").join(source.replace('/', ".")));
        let vfs = self.shared_vfs();
        for folder in [Some(&*top), Some(&*parts), complete.parent(), Some(&*complete)].into_iter().flatten()
        {
            vfs.ensure_dir(folder).map_err(Error::io("create", folder))?;
        }
        Ok(Downloads { vfs, parts, complete })
    }
}

impl Downloads {
    /// The folder of the complete files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.complete
    }

    /// Where the file with this path in its repository will be.
    ///
    /// # Errors
    /// [`Error::Input`] for a path that leads elsewhere or that no file can have.
    pub fn place(&self, path: &str) -> Result<PathBuf> {
        let plain = |part: &str| {
            let letters = part.chars().all(|letter| !letter.is_control() && letter != '\\');
            !matches!(part, "" | "." | "..") && part.len() <= 255 && letters
        };
        match path.len() <= 1024 && path.split('/').all(plain) {
            true => Ok(self.complete.join(path)),
            false => {
                let message = format!("`{}` is not a file name that can be downloaded to", escape_line(path));
                Err(Error::Input {
                    message,
                    help: Some("correct the lock file, or choose other files".into()),
                })
            }
        }
    }

    /// Removes what is not among the places `kept`, and returns the names: a stage reads the folder as a whole.
    ///
    /// # Errors
    /// If the folder cannot be read, or something cannot be removed.
    pub fn remove_others(&self, kept: &[PathBuf]) -> Result<Vec<String>> {
        let (mut removed, files) = (Vec::new(), kept.iter().map(PathBuf::as_path).collect());
        let folders = kept.iter().flat_map(|place| place.ancestors().skip(1)).collect();
        self.remove_others_in(&self.complete, &files, &folders, &mut removed)?;
        Ok(removed)
    }

    fn remove_others_in(
        &self,
        folder: &Path,
        files: &BTreeSet<&Path>,
        folders: &BTreeSet<&Path>,
        removed: &mut Vec<String>,
    ) -> Result<()> {
        for (name, _) in self.vfs.list(folder).map_err(Error::io("list", folder))? {
            let path = folder.join(&name);
            if folders.contains(&*path) {
                self.remove_others_in(&path, files, folders, removed)?;
            } else if !files.contains(&*path) {
                self.remove(&path)?;
                removed.push(name);
            }
        }
        Ok(())
    }

    /// Bytes of the complete file at `place`; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be inspected.
    pub fn size(&self, place: &Path) -> Result<Option<u64>> {
        match self.vfs.stat(place) {
            Err(error) if is_absent(&error) => Ok(None),
            found => {
                let found = found.map_err(Error::io("inspect", place))?;
                Ok((found.kind == EntryKind::File).then_some(found.size))
            }
        }
    }

    /// The content of the complete file at `place`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(&self, place: &Path) -> Result<Box<dyn Read + Send>> {
        self.vfs.open(place).map_err(Error::io("open", place))
    }

    /// Removes the file or folder at `place`, if it is there.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, place: &Path) -> Result<()> {
        remove_if_there(&*self.vfs, place)
    }

    /// What has arrived of the file with this hash; nothing so far for a new one.
    ///
    /// # Errors
    /// If it cannot be opened.
    ///
    /// # Panics
    /// If the hash is not hexadecimal, which the reader of the lock file rules out.
    pub fn partial(&self, hash: &str) -> Result<PartialFile> {
        assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "a hash is a plain name");
        // Sources of one stage may be read at the same time, and have the same file.
        let source = self.complete.file_name().expect("a source has a folder").as_encoded_bytes();
        let name = blake3::hash(&[source, b"\0", hash.as_bytes()].concat()).to_hex();
        let (path, tag) = (self.parts.join(name.as_str()), self.parts.join(format!("{name}.tag")));
        let length = match self.vfs.stat(&path) {
            Err(error) if is_absent(&error) => 0,
            found => found.map_err(Error::io("inspect", &path))?.size,
        };
        let file = self.vfs.append(&path).map_err(Error::io("open", &path))?;
        Ok(PartialFile { vfs: self.vfs.clone(), path, tag, file, length })
    }

    /// Gives a file that has arrived completely its name.
    ///
    /// # Errors
    /// If it cannot be synced or renamed.
    pub fn complete(&self, mut part: PartialFile, place: &Path) -> Result<()> {
        part.file.sync().map_err(Error::io("sync", &part.path))?;
        let inside =
            place.strip_prefix(&self.complete).expect("a place lies in the folder of complete files");
        let mut folder = self.complete.clone();
        for name in inside.parent().into_iter().flat_map(Path::components) {
            folder.push(name);
            self.vfs.ensure_dir(&folder).map_err(Error::io("create", &folder))?;
        }
        self.vfs.rename(&part.path, place).map_err(Error::io("complete", place))?;
        self.vfs.sync_dir(&folder).map_err(Error::io("sync", &folder))?;
        part.forget_tag()
    }
}

impl PartialFile {
    /// Bytes that have arrived.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// What has arrived.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(&self) -> Result<Box<dyn Read + Send>> {
        self.vfs.open(&self.path).map_err(Error::io("open", &self.path))
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what has arrived.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn restart(&mut self) -> Result<()> {
        self.vfs.remove_file(&self.path).map_err(Error::io("remove", &self.path))?;
        self.forget_tag()?;
        self.file = self.vfs.append(&self.path).map_err(Error::io("open", &self.path))?;
        self.length = 0;
        Ok(())
    }

    /// The version that the server named when the download began, if it did.
    #[must_use]
    pub fn tag(&self) -> Option<String> {
        // Without it the whole file is asked for without a condition, and its hash decides.
        let bytes = self.vfs.read(&self.tag).ok().filter(|bytes| bytes.len() <= MAX_TAG_BYTES)?;
        String::from_utf8(bytes).ok().filter(|tag| tag.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
    }

    /// Notes the version that the server names.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn set_tag(&mut self, tag: &str) -> Result<()> {
        self.forget_tag()?;
        if tag.is_empty() || tag.len() > MAX_TAG_BYTES {
            return Ok(());
        }
        let written = self.vfs.create_new(&self.tag).and_then(|mut file| file.write_all(tag.as_bytes()));
        written.map_err(Error::io("write", &self.tag))
    }

    fn forget_tag(&self) -> Result<()> {
        match self.vfs.remove_file(&self.tag) {
            Err(error) if !is_absent(&error) => Err(Error::io("remove", &self.tag)(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::vfs::Disk;

    fn downloads(folder: &Path) -> Downloads {
        let (parts, complete) = (folder.join("parts"), folder.join("files"));
        std::fs::create_dir(&parts).unwrap();
        std::fs::create_dir(&complete).unwrap();
        Downloads { vfs: Arc::new(Disk), parts, complete }
    }

    #[test]
    fn what_has_arrived_is_there_for_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let downloads = downloads(folder.path());
        let mut part = downloads.partial("ab").unwrap();
        part.write(b"hel").unwrap();
        part.set_tag("\"v1\"").unwrap();
        drop(part);
        let mut part = downloads.partial("ab").unwrap();
        assert_eq!((part.length(), part.tag().as_deref()), (3, Some("\"v1\"")));
        part.write(b"lo").unwrap();
        let place = downloads.place("data/en/a.jsonl").unwrap();
        assert_eq!(downloads.size(&place).unwrap(), None);
        downloads.complete(part, &place).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"hello");
        assert_eq!(std::fs::read_dir(folder.path().join("parts")).unwrap().count(), 0, "nothing is left");
        let mut again = downloads.partial("ab").unwrap();
        again.write(b"x").unwrap();
        again.restart().unwrap();
        assert_eq!((again.length(), again.tag()), (0, None));
    }

    #[test]
    fn sources_with_the_same_file_do_not_share_its_part() {
        let folder = tempfile::tempdir().unwrap();
        let first = downloads(folder.path());
        let complete = folder.path().join("other");
        std::fs::create_dir(&complete).unwrap();
        let second = Downloads { vfs: Arc::new(Disk), parts: folder.path().join("parts"), complete };
        let [mut one, mut two] = [&first, &second].map(|source| source.partial("ab").unwrap());
        one.write(b"first").unwrap();
        two.write(b"second").unwrap();
        for (source, part, text) in [(&first, one, "first"), (&second, two, "second")] {
            let place = source.place("a").unwrap();
            source.complete(part, &place).unwrap();
            assert_eq!(std::fs::read_to_string(place).unwrap(), text);
        }
    }

    #[test]
    fn what_nobody_asked_for_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let downloads = downloads(folder.path());
        for name in ["a", "data/b", "data/c", "data/more/d", "other/e"] {
            let place = downloads.place(name).unwrap();
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, name).unwrap();
        }
        let kept = ["a", "data/b"].map(|name| downloads.place(name).unwrap());
        assert_eq!(downloads.remove_others(&kept).unwrap(), ["c", "more", "other"]);
        assert!(kept.iter().all(|place| place.exists()) && !folder.path().join("files/other").exists());
    }

    #[test]
    fn no_path_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        let downloads = downloads(folder.path());
        for path in
            ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/.", "a\\b", "a\nb", "a\0", &"x".repeat(256)]
        {
            assert!(matches!(downloads.place(path), Err(Error::Input { .. })), "{path:?}");
        }
        assert!(downloads.place("data/en-00000-of-00001.jsonl.zst").is_ok());
    }
}
