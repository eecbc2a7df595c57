//! A file that grows over several runs: killed, cut off or damaged anywhere, the artifact is the same.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::json;

use super::super::*;
use super::{key, summary};
use crate::error::{Error, Result};
use crate::store::manifest::CHUNK_BYTES;
use crate::store::vfs::fault::{FaultMode, FaultyVfs};
use crate::store::vfs::{Disk, Vfs};

const UNITS: u64 = 3;

/// Writes `bytes` for each unit, beginning where the last run noted; returns the artifact and the unit that it began with.
fn grow(vfs: Arc<dyn Vfs>, root: &Path, bytes: usize) -> Result<(PathBuf, u64)> {
    let store = Store::create_in(vfs, root)?;
    let lock = store.lock()?;
    let slot = store.open_slot(&lock, key("rows"), Facts::default())?;
    let (mut writer, mut file, growth) = slot.growing_artifact("rows.bin")?;
    let begin = growth.as_ref().map_or(0, |growth| growth.step);
    if let Some(growth) = &growth {
        assert_eq!(growth.state, json!({ "units": begin }));
    }
    for unit in begin..UNITS {
        let bytes = vec![unit as u8 + 1; bytes];
        file.write_all(&bytes).map_err(Error::io("write", root))?;
        file.note(unit + 1, json!({ "units": unit + 1 }))?;
    }
    // What was not noted is written again.
    file.write_all(b"the end").map_err(Error::io("write", root))?;
    file.finish()?;
    writer.write("about.json", b"{}")?;
    Ok((writer.publish(&summary(), &IndexMap::new())?, begin))
}

fn strike_everywhere(mode: FaultMode, power: bool) {
    let folder = tempfile::tempdir().unwrap();
    let whole = grow(FaultyVfs::sound(), &folder.path().join("whole"), 40).unwrap().0;
    let expected = fs::read(whole.join("rows.bin")).unwrap();
    assert_eq!(expected.len(), 3 * 40 + 7);
    let mut latest = 0;
    for at in 0.. {
        let root = folder.path().join(format!("{at}"));
        let vfs = FaultyVfs::new(at, mode);
        let result = grow(Arc::new(vfs.clone()), &root, 40);
        if !vfs.struck() {
            result.unwrap();
            assert_eq!(latest, UNITS, "it never went on");
            return;
        }
        if power {
            vfs.cut_power();
        }
        let again = grow(FaultyVfs::sound(), &root, 40);
        // A run that was struck after its artifact was in place has nothing left to do.
        let finished = fs::read_dir(root.join("artifacts")).unwrap().count();
        assert_eq!(finished, 1, "operation {at}");
        let (artifact, begin) = again.unwrap_or_else(|error| panic!("operation {at}: {error}"));
        latest = latest.max(begin);
        verify::verify_folder(&Disk, &artifact).unwrap();
        assert_eq!(fs::read(artifact.join("rows.bin")).unwrap(), expected, "operation {at}");
    }
}

#[test]
fn after_a_crash_at_any_operation_a_file_goes_on() {
    strike_everywhere(FaultMode::Crash, false);
}

#[test]
fn after_a_power_cut_at_any_operation_a_file_goes_on_or_begins_again() {
    strike_everywhere(FaultMode::Crash, true);
}

#[test]
fn after_a_full_disk_at_any_operation_a_file_goes_on() {
    strike_everywhere(FaultMode::Fail(io::ErrorKind::StorageFull), false);
}

#[test]
fn chunks_of_a_file_that_went_on_are_those_of_one_that_did_not() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = CHUNK_BYTES / 2 + 7;
    let whole = grow(FaultyVfs::sound(), &folder.path().join("whole"), bytes).unwrap().0;
    let chunks = |artifact: &Path| {
        let manifest = verify::verify_folder(&Disk, artifact).unwrap();
        manifest.files.into_iter().map(|file| (file.name, file.blake3, file.chunks)).collect::<Vec<_>>()
    };
    let root = folder.path().join("cut");
    {
        let store = Store::create_in(FaultyVfs::sound(), &root).unwrap();
        let lock = store.lock().unwrap();
        let slot = store.open_slot(&lock, key("rows"), Facts::default()).unwrap();
        let (_, mut file, _) = slot.growing_artifact("rows.bin").unwrap();
        file.write_all(&vec![1; bytes]).unwrap();
        file.note(1, json!({ "units": 1 })).unwrap();
        file.write_all(&[9; 1000]).unwrap();
    }
    let (artifact, begin) = grow(FaultyVfs::sound(), &root, bytes).unwrap();
    assert_eq!(begin, 1);
    assert_eq!(chunks(&artifact), chunks(&whole));
}

#[test]
fn a_file_with_another_name_is_made_anew_and_the_other_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    {
        let store = Store::create_in(Arc::new(Disk), &root).unwrap();
        let lock = store.lock().unwrap();
        let slot = store.open_slot(&lock, key("rows"), Facts::default()).unwrap();
        let (_, mut file, _) = slot.growing_artifact("rows.bin").unwrap();
        file.write_all(&[1; 40]).unwrap();
        file.note(1, json!({ "units": 1 })).unwrap();
    }
    let work = fs::read_dir(root.join("work")).unwrap().next().unwrap().unwrap().path();
    let copy = folder.path().join("copy");
    fs::hard_link(work.join("growing/rows.bin"), &copy).unwrap();
    let (artifact, begin) = grow(Arc::new(Disk), &root, 40).unwrap();
    assert_eq!((begin, fs::read(artifact.join("rows.bin")).unwrap().len()), (0, 127));
    assert_eq!(fs::read(copy).unwrap(), [1; 40]);
}
