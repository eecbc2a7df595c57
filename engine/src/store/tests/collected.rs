//! A crash at every operation of a garbage collection: what is needed stays complete, the rest is complete or gone, and the
//! next collection finishes the work.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::super::garbage::{GcRoot, collect_store_items};
use super::super::*;
use super::{key, work};
use crate::error::Result;
use crate::store::vfs::fault::{FaultMode, FaultyVfs};
use crate::store::vfs::{Disk, Vfs};

/// A store with three artifacts and an unfinished stage; only `b` is needed.
fn prepared(root: &Path) -> GcRoot {
    let store = Store::create_in(FaultyVfs::sound(), root).unwrap();
    let lock = store.lock().unwrap();
    for name in ["a", "b", "c"] {
        work(&store.open_slot(&lock, key(name), indexmap::IndexMap::new()).unwrap()).unwrap();
    }
    store.open_slot(&lock, key("d"), indexmap::IndexMap::new()).unwrap();
    GcRoot::new("p.kdl", [key("b").fingerprint].iter())
}

fn collect(vfs: Arc<dyn Vfs>, root: &Path, needed: &GcRoot) -> Result<()> {
    let store = Store::create_in(vfs, root)?;
    let lock = store.lock()?;
    for item in collect_store_items(&store, std::slice::from_ref(needed))? {
        if item.users.is_empty() {
            store.discard(&lock, &item.path)?;
        }
    }
    Ok(())
}

fn check_whole(root: &Path) -> Vec<String> {
    let store = Store::open(root).unwrap().unwrap();
    let whole = |found: StoredFolder| verify::verify_folder(&Disk, &found.path).unwrap().stage.name;
    StoreListing::read(&store).unwrap().artifacts.into_iter().map(whole).collect()
}

#[test]
fn after_a_crash_at_any_operation_nothing_is_torn_and_nothing_needed_is_lost() {
    for power in [false, true] {
        for at in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("store");
            let needed = prepared(&root);
            let vfs = FaultyVfs::new(at, FaultMode::Crash);
            let result = collect(Arc::new(vfs.clone()), &root, &needed);
            if !vfs.struck() {
                result.unwrap();
                assert!(at > 20, "{at}");
                break;
            }
            if power {
                vfs.cut_power();
            }
            assert!(check_whole(&root).contains(&"b".to_owned()), "operation {at}");
            collect(FaultyVfs::sound(), &root, &needed).unwrap();
            assert_eq!(check_whole(&root), ["b"], "operation {at}");
            for empty in ["tmp", "trash", "work"] {
                assert_eq!(fs::read_dir(root.join(empty)).unwrap().count(), 0, "operation {at}: {empty}");
            }
        }
    }
}
