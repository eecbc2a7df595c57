//! A fault at every operation of a small stage, then a run without faults, which must end with the same result.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::*;
use super::run;
use crate::store::vfs::Disk;
use crate::store::vfs::fault::{FaultMode, FaultyVfs};

/// Checks that everything under a published name is complete.
fn check_whole(root: &Path) {
    let Some(store) = Store::open(root).unwrap() else { return };
    let listing = StoreListing::read(&store).unwrap();
    for found in listing.artifacts {
        verify::verify_folder(&Disk, &found.path).unwrap();
    }
    for found in listing.unfinished {
        found.manifest.unwrap();
        for (_, path) in listing::list_checkpoints(&Disk, &found.path.join("checkpoints")).unwrap() {
            verify::verify_folder(&Disk, &path).unwrap();
        }
    }
}

/// Fails at each operation in turn, then runs again without a fault and compares the result with an undisturbed run.
fn strike_everywhere(mode: FaultMode, power: bool) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let expected =
        fs::read(run(FaultyVfs::sound(), &folder.path().join("whole")).unwrap().join("model.safetensors"));
    let expected = expected.unwrap();
    for at in 0.. {
        let root = folder.path().join(format!("{at}"));
        let vfs = FaultyVfs::new(at, mode);
        let result = run(Arc::new(vfs.clone()), &root);
        if !vfs.struck() {
            result.unwrap();
            return at;
        }
        if power {
            vfs.cut_power();
        }
        if root.is_dir() {
            check_whole(&root);
        }
        if let (FaultMode::Fail(io::ErrorKind::StorageFull), Err(error)) = (mode, &result) {
            assert_eq!(error.exit_code(), 6, "operation {at}: {error}");
        }
        let artifact =
            run(FaultyVfs::sound(), &root).unwrap_or_else(|error| panic!("operation {at}: {error}"));
        verify::verify_folder(&Disk, &artifact).unwrap();
        assert_eq!(fs::read(artifact.join("model.safetensors")).unwrap(), expected, "operation {at}");
        let metrics = fs::read_to_string(artifact.join("metrics.jsonl")).unwrap();
        let steps: Vec<_> = metrics.lines().map(str::to_string).collect();
        assert_eq!(
            steps,
            (0..4).map(|step| format!("{{\"step\":{step}}}")).collect::<Vec<_>>(),
            "operation {at}"
        );
        let store = Store::open(&root).unwrap().unwrap();
        drop(store.lock().unwrap());
        for empty in ["tmp", "trash", "work"] {
            assert_eq!(fs::read_dir(root.join(empty)).unwrap().count(), 0, "operation {at}: {empty}");
        }
    }
    unreachable!()
}

#[test]
fn after_a_crash_at_any_operation_the_next_run_ends_the_same() {
    assert!(strike_everywhere(FaultMode::Crash, false) > 60);
}

#[test]
fn after_a_power_cut_at_any_operation_nothing_is_torn() {
    strike_everywhere(FaultMode::Crash, true);
}

#[test]
fn a_full_disk_at_any_operation_is_a_plain_error() {
    strike_everywhere(FaultMode::Fail(io::ErrorKind::StorageFull), false);
}

#[test]
fn an_interrupted_system_at_any_operation_is_a_plain_error() {
    strike_everywhere(FaultMode::Fail(io::ErrorKind::ReadOnlyFilesystem), false);
}
