//! Files that two folders of the store have in common, such as the weights under an adapter: stored once, under two names.
//!
//! A published file never changes, so two names of the same bytes are as good as two copies; removing one leaves the other.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::store::hashing_file::lock_files;
use crate::store::manifest::{FileEntry, MANIFEST_FILE, read_manifest};
use crate::store::publish::ArtifactWriter;
use crate::store::vfs::{Vfs, has_no_links};

impl ArtifactWriter {
    /// Gives the folder a file of a finished one, so that its bytes are stored once: a second name of them, with the size and the
    /// digests in the manifest of `folder`. Where the file system has no second names, it is a copy.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the manifest of `folder` is damaged or does not list the file, or a copy has another digest; else as
    /// [`Self::file`].
    pub fn share(&mut self, name: &str, folder: &Path, file: &str) -> Result<()> {
        let listed = find_listed_file(&*self.vfs, folder, file)?;
        let (from, to) = (folder.join(file), self.folder().join(name));
        match self.vfs.link(&from, &to) {
            Ok(()) => {
                let entry = FileEntry { name: name.to_owned(), ..listed };
                lock_files(&self.files).insert(name.to_owned(), Some(entry));
                Ok(())
            }
            Err(error) if has_no_links(&error) => self.copy(name, folder, &listed),
            Err(error) => Err(Error::io("link", &to)(error)),
        }
    }

    fn copy(&mut self, name: &str, folder: &Path, listed: &FileEntry) -> Result<()> {
        let from = folder.join(&listed.name);
        let mut source = self.vfs.open(&from).map_err(Error::io("open", &from))?;
        let mut file = self.file(name)?;
        io::copy(&mut source, &mut file).map_err(Error::io("copy", &from))?;
        file.finish()?;
        let copied = lock_files(&self.files).get(name).cloned().flatten();
        match copied.is_some_and(|copied| copied.blake3 == listed.blake3) {
            true => Ok(()),
            false => Err(damaged(folder, &listed.name, "its content is not what was written")),
        }
    }
}

/// What the manifest of `folder` says of a file.
fn find_listed_file(vfs: &dyn Vfs, folder: &Path, file: &str) -> Result<FileEntry> {
    let manifest = read_manifest(vfs, folder)?.ok_or_else(|| damaged(folder, MANIFEST_FILE, "is missing"))?;
    let manifest = manifest.map_err(|what| damaged(folder, MANIFEST_FILE, &what))?;
    let listed = manifest.files.into_iter().find(|entry| entry.name == file);
    listed.ok_or_else(|| damaged(folder, file, "the manifest does not list it"))
}

fn damaged(folder: &Path, file: &str, what: &str) -> Error {
    Error::Corrupt { folder: folder.into(), file: file.into(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;
    use std::sync::Arc;

    use indexmap::IndexMap;

    use super::*;
    use crate::pipeline::fingerprint::{Fingerprint, Ledger};
    use crate::store::verify::verify_folder;
    use crate::store::vfs::fault::{FaultMode, FaultyVfs};
    use crate::store::{Facts, StageKey, Store, Summary};

    fn writer(store: &Store, name: &str) -> ArtifactWriter {
        let lock = store.lock().unwrap();
        let fingerprint = Fingerprint(blake3::hash(name.as_bytes()).to_hex().to_string());
        let (kind, ledger, inputs) = ("train".into(), Ledger::default(), IndexMap::new());
        let key = StageKey { kind, name: name.into(), fingerprint, ledger, inputs };
        store.open_slot(&lock, key, Facts::default()).unwrap().artifact().unwrap()
    }

    fn publish(writer: ArtifactWriter) -> Result<PathBuf> {
        let summary = Summary { headline: "x".into(), lines: vec![], metrics: IndexMap::new() };
        writer.publish(&summary, &IndexMap::new())
    }

    fn publish_base(store: &Store) -> PathBuf {
        let mut base = writer(store, "base");
        base.write("model.safetensors", &[7; 70_000]).unwrap();
        publish(base).unwrap()
    }

    #[test]
    fn a_shared_file_is_one_file_and_outlives_either_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store")).unwrap();
        let base = publish_base(&store);
        let mut child = writer(&store, "child");
        child.share("base-model.safetensors", &base, "model.safetensors").unwrap();
        child.write("adapter", b"small").unwrap();
        let child = publish(child).unwrap();
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(base.join("model.safetensors")), inode(child.join("base-model.safetensors")));
        let (own, shared) = (verify_folder(store.vfs(), &base), verify_folder(store.vfs(), &child));
        let digest = |manifest: &crate::store::Manifest, name: &str| {
            manifest.files.iter().find(|file| file.name == name).unwrap().blake3.clone()
        };
        let (own, shared) = (own.unwrap(), shared.unwrap());
        assert_eq!(digest(&own, "model.safetensors"), digest(&shared, "base-model.safetensors"));
        fs::remove_dir_all(&base).unwrap();
        verify_folder(store.vfs(), &child).unwrap();
    }

    #[test]
    fn what_is_missing_or_damaged_is_not_shared() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store")).unwrap();
        let base = publish_base(&store);
        let mut child = writer(&store, "child");
        let absent = child.share("base-other", &base, "other").unwrap_err().to_string();
        assert!(absent.contains("does not list"), "{absent}");
        // A name is given once.
        child.share("base-model.safetensors", &base, "model.safetensors").unwrap();
        child.share("base-model.safetensors", &base, "model.safetensors").unwrap_err();
        let manifest = base.join("manifest.json");
        fs::remove_file(&manifest).unwrap();
        for damage in ["", "{}"] {
            if !damage.is_empty() {
                fs::write(&manifest, damage).unwrap();
            }
            let refused = child.share("base-again", &base, "model.safetensors").unwrap_err();
            assert!(matches!(refused, Error::Corrupt { .. }), "{damage:?}: {refused}");
        }
    }

    #[test]
    fn without_second_names_it_is_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let vfs = FaultyVfs::new(u64::MAX, FaultMode::Crash);
        let store = Store::create_in(Arc::new(vfs.clone()), &folder.path().join("store")).unwrap();
        let base = publish_base(&store);
        vfs.forbid_links();
        let mut child = writer(&store, "child");
        child.share("base-model.safetensors", &base, "model.safetensors").unwrap();
        let child = publish(child).unwrap();
        verify_folder(store.vfs(), &child).unwrap();
        let of = |path: PathBuf| fs::metadata(path).unwrap();
        let (own, copy) = (of(base.join("model.safetensors")), of(child.join("base-model.safetensors")));
        assert_eq!((own.nlink(), copy.nlink()), (1, 1));
        assert_ne!(own.ino(), copy.ino());
    }
}
