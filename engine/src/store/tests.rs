//! The store under bit flips, races and a fault at every operation.

mod collected;
mod faults;
mod growing;
mod hostile;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use proptest::prelude::*;

use super::*;
use crate::error::{Error, Result};
use crate::pipeline::fingerprint::{IngredientKind, Ledger};
use crate::store::manifest::CHUNK_BYTES;
use crate::store::summary::Summary;
use crate::store::vfs::fault::FaultyVfs;
use crate::store::vfs::{Disk, Vfs};

fn key(name: &str) -> StageKey {
    let (what, name_of, value) = (IngredientKind::Field, "steps".to_owned(), name.to_owned());
    let ledger =
        Ledger(vec![crate::pipeline::fingerprint::Ingredient { what, name: name_of, value, label: None }]);
    let fingerprint = ledger.fingerprint();
    StageKey { kind: "train".into(), name: name.into(), fingerprint, ledger, inputs: IndexMap::new() }
}

fn summary() -> Summary {
    Summary { headline: "held-out 2.31".into(), lines: vec![], metrics: IndexMap::new() }
}

fn fill(mut writer: ArtifactWriter, step: u64) -> Result<PathBuf> {
    writer.write("config.json", b"{}\n")?;
    let mut file = writer.file("model.safetensors")?;
    for part in 0..3_u64 {
        let bytes = (part + step).to_le_bytes();
        file.write_all(&bytes).map_err(Error::io("write", Path::new("model.safetensors")))?;
    }
    file.finish()?;
    writer.publish(&summary(), &IndexMap::new())
}

/// A small stage: from its newest checkpoint on, one update at a time, then the artifact.
fn work(slot: &Slot) -> Result<PathBuf> {
    let start = slot.latest_checkpoint()?.map_or(0, |checkpoint| checkpoint.step);
    slot.truncate_metrics_from(start)?;
    for step in start..4 {
        slot.append_metrics(&format!("{{\"step\":{step}}}"))?;
        if step % 2 == 1 {
            fill(slot.checkpoint(step + 1)?, step + 1)?;
            slot.prune_checkpoints(1, |_| false)?;
        }
    }
    fill(slot.artifact()?, 9)
}

fn run(vfs: Arc<dyn Vfs>, root: &Path) -> Result<PathBuf> {
    let store = Store::create_in(vfs, root)?;
    let lock = store.lock()?;
    let key = key("a/b");
    let artifact = store.artifact(&key.name, &key.fingerprint);
    if artifact.is_dir() {
        return Ok(artifact);
    }
    work(&store.open_slot(&lock, key, IndexMap::new())?)
}

fn published() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let artifact = run(FaultyVfs::sound(), &folder.path().join("store")).unwrap();
    (folder, artifact)
}

/// Overwrites a read-only file.
fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_flipped_bit_anywhere_is_found(file in 0..5_usize, place in any::<prop::sample::Index>(), bit in 0..8) {
        let (_folder, artifact) = published();
        let name = ["manifest.json", "model.safetensors", "config.json", "summary.json", "metrics.jsonl"][file];
        rewrite(&artifact.join(name), |bytes| {
            let place = place.index(bytes.len());
            bytes[place] ^= 1_u8 << bit;
        });
        let error = verify::verify_folder(&Disk, &artifact).unwrap_err();
        prop_assert_eq!(error.exit_code(), 4);
        prop_assert!(error.to_string().contains(name), "{}", error);
    }
}

#[test]
fn missing_extra_short_and_linked_files_are_named() {
    let (_folder, artifact) = published();
    let model = artifact.join("model.safetensors");
    let problem = || verify::verify_folder(&Disk, &artifact).unwrap_err().to_string();
    rewrite(&model, |bytes| bytes.truncate(5));
    assert!(problem().contains("it has 5 bytes, but the manifest says 24"), "{}", problem());
    fs::remove_file(&model).unwrap();
    assert!(problem().contains("`model.safetensors`") && problem().contains("it is missing"));
    std::os::unix::fs::symlink("config.json", &model).unwrap();
    assert!(problem().contains("not a regular file"));
    let (_folder, artifact) = published();
    fs::write(artifact.join("more"), "x").unwrap();
    assert!(verify::verify_folder(&Disk, &artifact).unwrap_err().to_string().contains("does not list it"));
}

#[test]
fn the_wrong_chunk_is_numbered() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create_in(FaultyVfs::sound(), folder.path()).unwrap();
    let lock = store.lock().unwrap();
    let mut writer = store.open_slot(&lock, key("big"), IndexMap::new()).unwrap().artifact().unwrap();
    writer.write("big.bin", &vec![7; 2 * manifest::CHUNK_BYTES + 5]).unwrap();
    let artifact = writer.publish(&summary(), &IndexMap::new()).unwrap();
    assert_eq!(verify::verify_folder(&Disk, &artifact).unwrap().files[0].chunks.len(), 3);
    rewrite(&artifact.join("big.bin"), |bytes| bytes[manifest::CHUNK_BYTES + 1] = 8);
    let (_, problems) = verify::inspect_folder(&Disk, &artifact, verify::VerifyDepth::Bytes).unwrap();
    assert_eq!((problems[0].file.as_str(), problems[0].chunk), ("big.bin", Some(1)));
    // The hash of the whole is what counts: sound chunks do not excuse another file.
    rewrite(&artifact.join("big.bin"), |bytes| bytes[manifest::CHUNK_BYTES + 1] = 7);
    verify::verify_folder(&Disk, &artifact).unwrap();
    rewrite(&artifact.join(manifest::MANIFEST_FILE), |bytes| {
        let mut manifest = manifest::Manifest::decode(bytes).unwrap();
        manifest.files[0].blake3 = "0".repeat(64);
        *bytes = manifest.encode().into_bytes();
    });
    let (_, problems) = verify::inspect_folder(&Disk, &artifact, verify::VerifyDepth::Bytes).unwrap();
    assert!(problems[0].what.contains("its hash is not") && problems[0].chunk.is_none(), "{problems:?}");
}

#[test]
fn a_file_that_is_read_by_chunk_is_compared_where_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create_in(FaultyVfs::sound(), folder.path()).unwrap();
    let lock = store.lock().unwrap();
    let mut writer = store.open_slot(&lock, key("rows"), IndexMap::new()).unwrap().artifact().unwrap();
    let bytes: Vec<u8> = (0..CHUNK_BYTES as u32 / 2 * 5).map(|i| (i / 7) as u8).collect();
    writer.write("rows.bin", &bytes).unwrap();
    let artifact = writer.publish(&summary(), &IndexMap::new()).unwrap();
    let read = |at: usize, size: usize| {
        let file = ChunkedFile::open(&artifact, "rows.bin").unwrap();
        let mut found = vec![0; size];
        file.read_at(&mut found, at as u64).map(|()| assert_eq!(found, bytes[at..at + size]))
    };
    for (at, size) in [(0, 10), (CHUNK_BYTES - 3, 9), (bytes.len() - 4, 4), (7, 0), (0, bytes.len())] {
        read(at, size).unwrap();
    }
    assert!(matches!(ChunkedFile::open(&artifact, "other"), Err(Error::Corrupt { .. })));
    // Damage in the second of three chunks.
    rewrite(&artifact.join("rows.bin"), |bytes| bytes[CHUNK_BYTES + 5] ^= 1);
    trusted::verify_for_reading(&store, &artifact).unwrap();
    assert!(verify::verify_folder(&Disk, &artifact).unwrap_err().to_string().contains("chunk 1"));
    read(0, CHUNK_BYTES).unwrap();
    read(2 * CHUNK_BYTES, 8).unwrap();
    for (at, size) in [(CHUNK_BYTES, 1), (CHUNK_BYTES - 1, 2), (2 * CHUNK_BYTES - 1, 2)] {
        let error = read(at, size).unwrap_err();
        assert!(error.exit_code() == 4 && error.to_string().contains("(chunk 1)"), "{error}");
    }
    rewrite(&artifact.join("rows.bin"), |bytes| bytes.truncate(10));
    assert!(matches!(ChunkedFile::open(&artifact, "rows.bin"), Err(Error::Corrupt { .. })));
    assert_eq!(trusted::verify_for_reading(&store, &artifact).unwrap_err().exit_code(), 4);
}

#[test]
fn files_are_read_only_and_a_copy_elsewhere_is_valid() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, artifact) = published();
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(&artifact).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o444);
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    verify::verify_folder(&Disk, &copy).unwrap();
}

#[test]
fn when_two_publish_the_same_artifact_one_wins_and_both_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create_in(FaultyVfs::sound(), folder.path()).unwrap();
    let lock = store.lock().unwrap();
    let slot = store.open_slot(&lock, key("a"), IndexMap::new()).unwrap();
    let (first, second) = (slot.artifact().unwrap(), slot.artifact().unwrap());
    let path = fill(first, 1).unwrap();
    assert_eq!(fill(second, 2).unwrap(), path);
    let third = slot.artifact().unwrap();
    rewrite(&path.join("config.json"), |bytes| bytes[0] ^= 1);
    assert_eq!(fill(third, 3).unwrap_err().exit_code(), 4, "a corrupt winner is reported, not replaced");
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_corrupt_newest_checkpoint_is_skipped_with_a_note_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create_in(FaultyVfs::sound(), folder.path()).unwrap();
    let lock = store.lock().unwrap();
    let slot = store.open_slot(&lock, key("a"), IndexMap::new()).unwrap();
    assert_eq!(slot.latest_checkpoint().unwrap(), None);
    for step in [100, 200] {
        fill(slot.checkpoint(step).unwrap(), step).unwrap();
    }
    let newest = slot.latest_checkpoint().unwrap().unwrap();
    assert_eq!((newest.step, newest.notes.len()), (200, 0));
    rewrite(&newest.path.join("model.safetensors"), |bytes| bytes[3] ^= 4);
    let older = slot.latest_checkpoint().unwrap().unwrap();
    assert_eq!(older.step, 100);
    assert!(older.notes[0].contains("checkpoint 200") && older.notes[0].contains("model.safetensors"));
    fill(slot.checkpoint(200).unwrap(), 200).unwrap();
    assert_eq!(slot.latest_checkpoint().unwrap().unwrap().step, 200);
    slot.prune_checkpoints(0, |_| false).unwrap();
    let last = slot.latest_checkpoint().unwrap().unwrap();
    assert_eq!(last.step, 200, "one always stays");
    rewrite(&last.path.join("model.safetensors"), |bytes| bytes[3] ^= 4);
    assert_eq!(slot.latest_checkpoint().unwrap_err().exit_code(), 4, "never silently started over");
}

#[test]
fn truncated_metrics_lose_repeated_updates_and_torn_lines() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create_in(FaultyVfs::sound(), folder.path()).unwrap();
    let lock = store.lock().unwrap();
    let slot = store.open_slot(&lock, key("a"), IndexMap::new()).unwrap();
    for step in 0..5 {
        slot.append_metrics(&format!("{{\"step\": {step}}}")).unwrap();
    }
    slot.append_metrics("{\"event\": \"no step\"}").unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(slot.metrics_path()).unwrap();
    file.write_all(b"{\"step\": 1").unwrap();
    slot.truncate_metrics_from(3).unwrap();
    slot.append_metrics("{\"step\": 3}").unwrap();
    let found = metrics::read_metrics(&Disk, slot.metrics_path().parent().unwrap()).unwrap().unwrap();
    assert_eq!(
        found.text(),
        "{\"step\": 0}\n{\"step\": 1}\n{\"step\": 2}\n{\"event\": \"no step\"}\n{\"step\": 3}\n"
    );
}

#[test]
fn a_metric_that_is_not_finite_is_a_defect_and_publishes_nothing() {
    for value in [f64::NAN, f64::INFINITY] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create_in(FaultyVfs::sound(), folder.path()).unwrap();
        let slot = store.open_slot(&store.lock().unwrap(), key("a"), IndexMap::new()).unwrap();
        let summary = Summary { metrics: [("loss".to_owned(), value)].into(), ..summary() };
        let error = slot.artifact().unwrap().publish(&summary, &IndexMap::new()).unwrap_err();
        assert!(error.exit_code() == 70 && error.to_string().contains("`loss`"), "{error}");
        assert_eq!(fs::read_dir(store.root().join("artifacts")).unwrap().count(), 0);
    }
}

#[test]
fn a_strange_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create_in(FaultyVfs::sound(), folder.path()).unwrap();
    let lock = store.lock().unwrap();
    let slot = store.open_slot(&lock, key("a"), IndexMap::new()).unwrap();
    let mut writer = slot.artifact().unwrap();
    for name in ["", "..", "a/b", ".hidden", "manifest.json", "summary.json", "é"] {
        assert!(writer.write(name, b"x").is_err(), "{name}");
    }
}

#[test]
#[should_panic(expected = "file `open` of the artifact was not finished")]
fn an_unfinished_file_is_a_defect_of_its_stage() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create_in(FaultyVfs::sound(), folder.path()).unwrap();
    let slot = store.open_slot(&store.lock().unwrap(), key("a"), IndexMap::new()).unwrap();
    let mut writer = slot.artifact().unwrap();
    let _file = writer.file("open").unwrap();
    drop(writer.publish(&summary(), &IndexMap::new()));
}

#[test]
fn a_store_of_another_version_and_a_foreign_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    assert!(Store::open(&root).unwrap().is_none());
    Store::create(&root).unwrap();
    fs::write(root.join("format"), "fmflow.store/9\n").unwrap();
    let error = Store::open(&root).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("fmflow.store/9"), "{error}");
    for damaged in ["fmflow.store/1", "gmflow.store/1\n", "fmflow.store/q\n", ""] {
        fs::write(root.join("format"), damaged).unwrap();
        let error = Store::open(&root).unwrap_err();
        assert_eq!(error.exit_code(), 4, "{damaged:?}: {error}");
    }
    fs::write(root.join("format"), "fmflow.store/1\n").unwrap();
    assert!(Store::open(&root).unwrap().is_some(), "of an earlier version");
    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "x").unwrap();
    assert_eq!(Store::create(&foreign).unwrap_err().exit_code(), 2);
    for file in [foreign.join("thesis.tex"), foreign.join("thesis.tex/store")] {
        let error = Store::create(&file).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("it is a file"), "{error}");
    }
}

#[test]
fn a_file_in_the_place_of_an_artifact_is_corrupt() {
    let (folder, artifact) = published();
    fs::rename(&artifact, folder.path().join("aside")).unwrap();
    fs::write(&artifact, "x").unwrap();
    let store = Store::open(artifact.parent().unwrap().parent().unwrap()).unwrap().unwrap();
    let listing = StoreListing::read(&store).unwrap();
    let [found] = listing.artifacts.as_slice() else { panic!("{listing:?}") };
    assert_eq!(found.manifest.as_ref().unwrap_err().what, "the artifact is not a folder");
}

/// Two classes of processors give two results under one fingerprint, so mixing them is told.
#[test]
fn a_stage_that_goes_on_with_other_arithmetic_says_so() {
    let world = tempfile::tempdir().unwrap();
    let store = Store::create(world.path()).unwrap();
    let lock = store.lock().unwrap();
    let facts = |class: &str| -> Facts {
        [("device".into(), "cpu".into()), ("operations".into(), 1.into()), ("processor".into(), class.into())]
            .into()
    };
    let slot = store.open_slot(&lock, key("a"), facts("x86-64-v3")).unwrap();
    assert_eq!(slot.notes(), [""; 0]);
    drop(slot);
    let again = |facts: Facts| store.open_slot(&lock, key("a"), facts).unwrap().notes().to_vec();
    assert_eq!(again(facts("x86-64-v3")), [""; 0]);
    assert_eq!(again(IndexMap::new()), [""; 0], "what is not known differs from nothing");
    let told =
        "it was begun with processor x86-64-v3, and now x86-64-v4: its bits are those of neither alone";
    assert_eq!(again(facts("x86-64-v4")), [told]);
    let slot = store.open_slot(&lock, key("a"), facts("x86-64-v4")).unwrap();
    let folder = fill(slot.artifact().unwrap(), 1).unwrap();
    let manifest = crate::store::manifest::read_manifest(store.vfs(), &folder).unwrap().unwrap().unwrap();
    assert_eq!(manifest.facts, facts("x86-64-v4"));
}
