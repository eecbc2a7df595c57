//! A store that somebody else prepared: nothing outside it is read, changed or removed, and nothing blocks.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use super::super::*;
use super::{key, run, summary};
use crate::store::journal::RunRecord;
use crate::store::vfs::Disk;
use crate::store::vfs::fault::FaultyVfs;

/// Everything that a store can contain, for a run whose stage is unfinished and one whose stage is finished.
const PLACES: &[&str] = &[
    "format",
    "lock",
    "digests",
    "pins",
    "runs",
    "runs/journal.jsonl",
    "runs/1.json",
    "runs/last.json",
    "artifacts",
    "artifacts/a.b-0123456789ab",
    "artifacts/ar-0123456789ab/model.safetensors",
    "work",
    "work/ar-0123456789ab",
    "work/ar-0123456789ab/metrics.jsonl",
    "work/ar-0123456789ab/checkpoints",
    "work/ar-0123456789ab/checkpoints/00000002/manifest.json",
    "tmp",
    "tmp/left.1.0",
    "trash",
];

type Make = fn(&Path, &Path);

const KINDS: &[(&str, Make)] = &[
    ("a link", |place, outside| symlink(outside, place).unwrap()),
    ("a link", |place, outside| symlink(outside.join("letter"), place).unwrap()),
    ("a link", |place, outside| symlink(outside.join("nothing"), place).unwrap()),
    ("a pipe", |place, _| {
        rustix::fs::mknodat(CWD, place, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }),
    ("a socket", |place, _| drop(UnixListener::bind(place).unwrap())),
];

/// A whole store, and a folder of somebody's own beside it.
fn prepared(folder: &Path) -> (PathBuf, PathBuf) {
    let (root, outside) = (folder.join("s"), folder.join("own"));
    run(FaultyVfs::sound(), &root).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("letter"), "dear").unwrap();
    (root, outside)
}

/// Puts a thing in the place of whatever the store has there.
fn put(root: &Path, name: &str, make: Make, outside: &Path) {
    let place = root.join(name);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    match fs::symlink_metadata(&place) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(&place).unwrap(),
        Ok(_) => fs::remove_file(&place).unwrap(),
        Err(_) => {}
    }
    make(&place, outside);
}

fn check_untouched(outside: &Path) {
    assert_eq!(fs::read_dir(outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.join("letter")).unwrap(), "dear");
}

#[test]
fn a_store_with_anything_that_leads_elsewhere_is_refused() {
    for name in PLACES {
        for (what, make) in KINDS {
            let folder = tempfile::tempdir().unwrap();
            let (root, outside) = prepared(folder.path());
            put(&root, name, *make, &outside);
            for error in [Store::open(&root).unwrap_err(), Store::create(&root).unwrap_err()] {
                assert_eq!(error.exit_code(), 2, "{name} is {what}: {error}");
                assert!(error.to_string().contains(&format!("is {what}")), "{name} is {what}: {error}");
                assert!(error.help().is_some_and(|help| help.contains("--store")));
            }
            check_untouched(&outside);
        }
    }
}

#[test]
fn what_appears_after_the_store_was_opened_is_not_followed_either() {
    for name in ["lock", "tmp", "trash", "artifacts", "work", "runs", "runs/journal.jsonl"] {
        for (what, make) in KINDS {
            let folder = tempfile::tempdir().unwrap();
            let (root, outside) = prepared(folder.path());
            let store = Store::open(&root).unwrap().unwrap();
            put(&root, name, *make, &outside);
            let error = store.lock().map(drop).and_then(|()| store.begin_run(&record())).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{name} is {what}: {error}");
            check_untouched(&outside);
        }
    }
}

fn record() -> RunRecord {
    let text = r#"{"schema": "", "file": "/p.kdl", "started": "", "device": "cpu", "stages": {}}"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_folder_that_turns_into_a_link_while_a_stage_works_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = prepared(folder.path());
    let store = Store::open(&root).unwrap().unwrap();
    let slot = store.open_slot(&store.lock().unwrap(), key("x"), indexmap::IndexMap::new()).unwrap();
    let mut writer = slot.artifact().unwrap();
    writer.write("config.json", b"{}").unwrap();
    fs::rename(root.join("tmp"), root.join("aside")).unwrap();
    symlink(&outside, root.join("tmp")).unwrap();
    assert_eq!(writer.publish(&summary(), &indexmap::IndexMap::new()).unwrap_err().exit_code(), 2);
    let metrics = slot.metrics_path();
    symlink(outside.join("letter"), &metrics).unwrap();
    assert_eq!(slot.append_metrics("{\"step\": 1}").unwrap_err().exit_code(), 2);
    check_untouched(&outside);
}

#[test]
fn a_file_that_has_a_second_name_outside_is_not_written() {
    for name in ["lock", "runs/journal.jsonl"] {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = prepared(folder.path());
        let hard: Make = |place, outside| fs::hard_link(outside.join("letter"), place).unwrap();
        put(&root, name, hard, &outside);
        let store = Store::open(&root).unwrap().unwrap();
        let error = store.lock().map(drop).and_then(|()| store.begin_run(&record())).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("several names"), "{error}");
        check_untouched(&outside);
    }
}

#[test]
fn a_store_that_is_a_link_has_to_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let (root, link) = (folder.path().join("s"), folder.path().join("link"));
    let (artifact, _) = (run(FaultyVfs::sound(), &root).unwrap(), symlink(&root, &link).unwrap());
    for result in [
        Store::open_as(&link, StoreTrust::Found).map(drop),
        Store::create_as(&link, StoreTrust::Found).map(drop),
    ] {
        let error = result.unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().ends_with("is a link"), "{error}");
        assert!(error.help().unwrap().contains("`--store "), "{error}");
    }
    let store = Store::create(&link).unwrap();
    let key = key("a/b");
    assert_eq!(store.artifact(&key.name, &key.fingerprint), link.join(artifact.strip_prefix(&root).unwrap()));
    drop(store.lock().unwrap());
    fs::remove_dir_all(&root).unwrap();
    for error in [Store::open(&link).map(drop).unwrap_err(), Store::create(&link).map(drop).unwrap_err()] {
        assert!(error.exit_code() == 2 && error.to_string().contains("leads to no folder"), "{error}");
    }
}

#[test]
fn a_link_that_cannot_be_opened_as_a_store_is_refused_with_the_true_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let long = "a".repeat(300);
    let cases = [
        ("ring", "leads to no folder", 2),
        ("none", "leads to no folder", 2),
        ("file", "is a file", 2),
        (&long, "too long", 1),
    ];
    for (at, (target, why, exit)) in cases.into_iter().enumerate() {
        let link = folder.path().join(if target == "ring" { "ring".to_owned() } else { format!("link{at}") });
        symlink(target, &link).unwrap();
        for error in [Store::open(&link).map(drop).unwrap_err(), Store::create(&link).map(drop).unwrap_err()]
        {
            let text = error.to_string();
            assert!(error.exit_code() == exit && text.contains(why), "{text}");
            assert_eq!(text.contains("leads to no folder"), why == "leads to no folder", "{text}");
        }
    }
}

#[test]
fn a_store_of_another_user_has_to_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("s");
    drop(Store::create_as(&root, StoreTrust::Found).unwrap());
    // Only root can give a folder away.
    if std::os::unix::fs::chown(&root, Some(65_533), None).is_err() {
        return;
    }
    let error = Store::open_as(&root, StoreTrust::Found).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("another user (number 65533)"), "{error}");
    assert!(Store::open(&root).unwrap().is_some());
}

#[test]
fn a_store_that_is_too_deep_or_has_names_of_another_kind_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("s");
    Store::create(&root).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"a\xff");
    fs::write(root.join("tmp").join(name), "x").unwrap();
    let error = Store::open(&root).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("not named in UTF-8"), "{error}");
    fs::remove_file(root.join("tmp").join(name)).unwrap();
    fs::create_dir_all(root.join("tmp").join("d/".repeat(40))).unwrap();
    let error = Store::open(&root).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("deeper"), "{error}");
}

#[test]
fn a_manifest_cannot_name_a_file_outside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = prepared(folder.path());
    let pipe = outside.parent().unwrap().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let key = key("a/b");
    let artifact = Store::open(&root).unwrap().unwrap().artifact(&key.name, &key.fingerprint);
    for name in ["../../../own/letter", "../../../pipe", pipe.to_str().unwrap(), ".", ""] {
        let path = artifact.join(manifest::MANIFEST_FILE);
        let mut manifest = Manifest::decode(&fs::read(&path).unwrap()).unwrap();
        manifest.files[0].name = name.to_owned();
        super::rewrite(&path, |bytes| *bytes = manifest.encode().into_bytes());
        let (_, problems) = verify::inspect_folder(&Disk, &artifact, verify::VerifyDepth::Bytes).unwrap();
        assert!(
            problems.iter().any(|problem| problem.what.contains("leaves the folder")),
            "{name}: {problems:?}"
        );
    }
}
