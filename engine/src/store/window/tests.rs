//! Tests of windows in a store.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::*;
use crate::pipeline::fingerprint::Ledger;
use crate::store::StageKey;
use crate::store::garbage::{GcRoot, ItemKind, collect_store_items};
use crate::store::vfs::fault::{FaultMode, FaultyVfs};

const STAGE: &str = "8k/web";

fn role() -> InputRole {
    InputRole::rows_of("web")
}

fn rows_key() -> Fingerprint {
    Fingerprint("ab".repeat(32))
}

fn open(vfs: Arc<dyn Vfs>, root: &Path) -> Result<RowsWindow> {
    let store = Store::create_in(vfs, root)?;
    let lock = store.lock()?;
    let ledger = Ledger::default();
    let key = StageKey {
        kind: "train".into(),
        name: "t".into(),
        fingerprint: ledger.fingerprint(),
        ledger,
        inputs: IndexMap::from([(role().to_string(), rows_key())]),
    };
    store.open_slot(&lock, key, IndexMap::new())?.window(&role(), STAGE)
}

fn counts(shard: u64) -> ShardEntry {
    let (bytes, blake3, ends_the_dataset) = (0, String::new(), false);
    ShardEntry { shard, rows: 1, tokens: 4, left_out: 1, ends_the_dataset, bytes, blake3 }
}

fn make(window: &RowsWindow, shard: u64, content: &[u8]) -> Result<ShardEntry> {
    let known = window.entries()?.0.remove(&shard);
    let mut writer = window.begin(shard)?;
    writer.write_all(content).map_err(Error::io("write", Path::new("shard")))?;
    writer.publish(counts(shard), known.as_ref())
}

fn sound(root: &Path) -> RowsWindow {
    open(FaultyVfs::sound(), root).unwrap()
}

#[test]
fn a_shard_that_was_dropped_is_made_again_as_it_was_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let window = sound(folder.path());
    let entry = make(&window, 7, b"rows of seven").unwrap();
    assert_eq!(
        (entry.bytes, entry.blake3.clone()),
        (13, blake3::hash(b"rows of seven").to_hex().to_string())
    );
    let mut found = [0; 5];
    window.open(&entry).unwrap().unwrap().read_exact_at(&mut found, 8).unwrap();
    assert_eq!(&found, b"seven");
    window.drop_shard(7).unwrap();
    assert!(window.open(&entry).unwrap().is_none());
    assert_eq!(window.entries().unwrap().0[&7], entry, "what is known of it stays");
    let refused = make(&window, 7, b"rows of eight").unwrap_err();
    assert!(matches!(&refused, Error::Corrupt { what, .. } if what.contains("made again")), "{refused}");
    assert!(window.open(&entry).unwrap().is_none(), "what was refused is not there");
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(make(&window, 7, b"rows of seven").unwrap(), entry);
    assert_eq!(window.find_present(&window.entries().unwrap().0).unwrap(), [7]);
}

#[test]
fn damage_is_found_and_never_read() {
    let folder = tempfile::tempdir().unwrap();
    let window = sound(folder.path());
    let entries: Vec<_> = (0..3).map(|shard| make(&window, shard, &[shard as u8; 100]).unwrap()).collect();
    assert!(window.find_damage().unwrap().is_empty());
    let (rows, about) = (window.rows_path(0), window.folder().join("00000001.json"));
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[50] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    flip(&rows);
    flip(&about);
    let damage: Vec<String> = window.find_damage().unwrap().into_iter().map(|(file, _)| file).collect();
    assert_eq!(damage, ["00000000.rows", "00000001.json", "00000001.rows"]);
    assert!(window.open(&entries[0]).unwrap().is_none() && !rows.exists());
    let (known, notes) = window.entries().unwrap();
    assert_eq!((known.keys().copied().collect::<Vec<_>>(), notes.len()), (vec![0, 2], 1));
    assert_eq!(window.find_present(&known).unwrap(), [2], "without its entry a shard is nothing");
    let size = window.measure().unwrap();
    assert_eq!(size, WindowSize { made: 2, present: 1, bytes: 100 });
}

#[test]
fn an_entry_whose_size_does_not_fit_its_rows_is_damage() {
    let is_read = |rows, bytes| {
        let line = serde_json::to_string(&ShardEntry { rows, bytes, tokens: 0, ..counts(0) }).unwrap();
        parse_entry(seal::seal_line(&line).as_bytes()).is_some()
    };
    assert!(is_read(3, 30) && is_read(0, 0));
    assert!(!is_read(3, 31) && !is_read(0, 8) && !is_read(8, 0));
}

#[test]
fn after_a_crash_at_any_operation_a_shard_is_whole_or_absent() {
    for power in [false, true] {
        for at in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let before = make(&sound(folder.path()), 1, b"first").unwrap();
            let vfs = FaultyVfs::new(at, FaultMode::Crash);
            let made =
                open(Arc::new(vfs.clone()), folder.path()).and_then(|window| make(&window, 2, b"second"));
            if !vfs.struck() {
                made.unwrap();
                assert!(at > 20, "{at}");
                break;
            }
            if power {
                vfs.cut_power();
            }
            let window = sound(folder.path());
            let (entries, _) = window.entries().unwrap();
            assert_eq!(entries[&1], before, "operation {at}");
            let present = window.find_present(&entries).unwrap();
            assert!(
                present.iter().all(|shard| window.open(&entries[shard]).unwrap().is_some()),
                "operation {at}"
            );
            assert_eq!(make(&window, 2, b"second").unwrap().bytes, 6);
        }
    }
}

#[test]
fn a_window_is_kept_as_long_as_its_plan_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    make(&sound(folder.path()), 0, b"rows").unwrap();
    let store = Store::open(folder.path()).unwrap().unwrap();
    let users = |roots: &[GcRoot]| {
        let items = collect_store_items(&store, roots).unwrap();
        let window = items.into_iter().find(|item| item.kind == ItemKind::Window).unwrap();
        (window.users, window.size.bytes > 4)
    };
    assert_eq!(users(&[]), (vec![], true));
    assert_eq!(users(&[GcRoot::new("p.kdl", [rows_key()].iter())]), (vec!["p.kdl".to_owned()], true));
    let lock = store.lock().unwrap();
    store.discard(&lock, &store.window(STAGE, &rows_key())).unwrap();
    assert_eq!(RowsWindow::of(&store, STAGE, &rows_key()).measure().unwrap(), WindowSize::default());
}
