//! Verifies an artifact before a stage reads it. A file that was compared in an earlier run and has not changed since is not read again.
//!
//! What is remembered is what the digests of sources are remembered by: device, inode, size, mtime and ctime ([`Digests`]). So a program
//! that changes a file is noticed, and a disk that loses a bit is not: `verify` reads everything.

use std::path::Path;

use crate::error::{Error, Result};
use crate::store::chunked_file::is_left_to_reader;
use crate::store::digest::Digests;
use crate::store::layout::Store;
use crate::store::manifest::Manifest;
use crate::store::source_file::SourceStat;
use crate::store::verify::{VerifyDepth, check_file_bytes, require_sound};

/// Verifies a folder before a stage reads it: every byte that was not compared before, except of records that the stage compares
/// chunk by chunk.
///
/// # Errors
/// [`Error::Corrupt`] with the first problem, or [`Error::Io`] if the folder cannot be read.
pub(crate) fn verify_for_reading(store: &Store, folder: &Path) -> Result<Manifest> {
    let vfs = store.vfs();
    let manifest = require_sound(vfs, folder, VerifyDepth::Sizes)?;
    let mut digests = Digests::new(Some(store));
    for file in manifest.files.iter().filter(|file| !is_left_to_reader(file)) {
        let path = folder.join(&file.name);
        let stat = || SourceStat::read(&path).map_err(Error::io("inspect", &path));
        let before = stat()?;
        if before.as_ref().and_then(|stat| digests.recall(stat)) == Some(&file.blake3) {
            continue;
        }
        if let Some(problem) = check_file_bytes(vfs, &path, file).map_err(Error::io("read", &path))? {
            return Err(problem.refuse(folder));
        }
        if let Some(before) = before.filter(|_| stat().is_ok_and(|after| after == before)) {
            digests.remember(&before, &file.blake3);
        }
    }
    digests.save();
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use indexmap::IndexMap;

    use super::*;
    use crate::pipeline::fingerprint::Ledger;
    use crate::store::vfs::fault::{FaultMode, FaultyVfs};
    use crate::store::{Facts, StageKey, Summary};

    fn publish(store: &Store) -> PathBuf {
        let lock = store.lock().unwrap();
        let ledger = Ledger::default();
        let fingerprint = ledger.fingerprint();
        let (kind, name, inputs) = ("train".into(), "ar".into(), IndexMap::new());
        let key = StageKey { kind, name, fingerprint, ledger, inputs };
        let slot = store.open_slot(&lock, key, Facts::default()).unwrap();
        let mut writer = slot.artifact().unwrap();
        writer.write("model.safetensors", &[7; 5000]).unwrap();
        let summary = Summary { headline: "x".into(), lines: vec![], metrics: IndexMap::new() };
        writer.publish(&summary, &IndexMap::new()).unwrap()
    }

    #[test]
    fn what_was_compared_is_read_again_only_if_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let vfs = FaultyVfs::new(u64::MAX, FaultMode::Crash);
        let store = Store::create_in(Arc::new(vfs.clone()), &root).unwrap();
        let artifact = publish(&store);
        let remembered = || fs::read_to_string(root.join("digests")).unwrap_or_default().lines().count();
        verify_for_reading(&store, &artifact).unwrap();
        assert_eq!(remembered(), 0, "the files could still change without a new time");
        std::thread::sleep(Duration::from_millis(3100));
        verify_for_reading(&store, &artifact).unwrap();
        assert_eq!(remembered(), 2, "model and summary");
        assert_eq!(vfs.count_opened("model.safetensors"), 2);
        verify_for_reading(&store, &artifact).unwrap();
        assert_eq!(vfs.count_opened("model.safetensors"), 2, "it is remembered");
        // A memory of another digest is none.
        let read = || fs::read_to_string(root.join("digests")).unwrap();
        let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let digests = read();
        let digest = blake3::hash(&[7; 5000]).to_hex().to_string();
        assert_eq!(digests.matches(&digest).count(), 1, "{digests}");
        fs::write(root.join("digests"), digests.replace(&digest, &"0".repeat(64))).unwrap();
        verify_for_reading(&store, &artifact).unwrap();
        assert_eq!(vfs.count_opened("model.safetensors"), 3, "it is read again");
        assert_eq!(sorted(&read()), sorted(&digests));
        // The same size and the same time of modification.
        let model = artifact.join("model.safetensors");
        let modified = fs::metadata(&model).unwrap().modified().unwrap();
        let mut permissions = fs::metadata(&model).unwrap().permissions();
        #[expect(clippy::permissions_set_readonly_false, reason = "it is removed at the end of the test")]
        permissions.set_readonly(false);
        fs::set_permissions(&model, permissions).unwrap();
        let mut bytes = fs::read(&model).unwrap();
        bytes[4000] ^= 1;
        fs::write(&model, bytes).unwrap();
        fs::File::options().write(true).open(&model).unwrap().set_modified(modified).unwrap();
        let error = verify_for_reading(&store, &artifact).unwrap_err();
        assert_eq!(error.exit_code(), 4);
    }
}
