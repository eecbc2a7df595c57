//! The lock file: its text, reading it back, damage, disk errors.

use proptest::prelude::*;

use super::*;
use crate::pipeline::repository::{PinnedFile, RepositoryKind};
use crate::store::vfs::Disk;
use crate::store::vfs::fault::{FaultMode, FaultyVfs};
use crate::text::render::render_concise_lines;

fn asked(kind: RepositoryKind, name: &str, revision: Option<&str>) -> RepositoryRequest {
    RepositoryRequest { kind, name: name.to_owned(), revision: revision.map(str::to_owned) }
}

fn example() -> Lockfile {
    let mut lock = Lockfile::default();
    let file = |path: &str, sha256: Option<String>| {
        let blob = sha256.is_none().then(|| "cd".repeat(20));
        PinnedFile { path: path.to_owned(), size: 7, sha256, blob }
    };
    let files = vec![file("config.json", None), file("model.safetensors", Some("ab".repeat(32)))];
    let left = vec!["pytorch_model.bin".to_owned()];
    let model =
        Pin { commit: "0a".repeat(20), count: 3, size: 21, files: files.clone(), left, ..Pin::default() };
    let mut documents = Pin { commit: "1b".repeat(20), count: 40_000, size: 1 << 42, ..Pin::default() };
    let text = |text: &str| Some(text.to_owned());
    let whole = FileSelection {
        by: "card".to_owned(),
        subset: text("en"),
        split: text("train"),
        commit: None,
        files,
    };
    let converted = FileSelection {
        by: "parquet-branch".to_owned(),
        commit: Some("2c".repeat(20)),
        files: vec![file("en/train/0000.parquet", Some("ef".repeat(32)))],
        ..whole.clone()
    };
    documents.selections.insert(SelectionRequest::default(), whole);
    let request = SelectionRequest { subset: text("en"), split: text("train"), files: text("**/0*") };
    documents.selections.insert(request, converted);
    lock.pins.insert(asked(RepositoryKind::Dataset, "b/c", None), documents);
    lock.pins.insert(asked(RepositoryKind::Model, "a", Some("main")), model);
    lock
}

/// Reads a text as the lock file beside `p.kdl`.
fn reading(text: &str) -> (Lockfile, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.lock"), text).unwrap();
    let mut sink = Sink::default();
    let lock = read_lockfile(&folder.path().join("p.kdl"), &mut sink);
    let place = format!("{}/", folder.path().display());
    (lock, render_concise_lines(&sink.finish()).replace(&place, ""))
}

#[test]
fn the_text_is_known_and_reads_back() {
    insta::assert_snapshot!(example().render());
    let (lock, faults) = reading(&example().render());
    assert_eq!(faults, "");
    assert_eq!(lock.pins, example().pins);
    assert_eq!(lock.places.len(), 2);
}

#[test]
fn no_lock_file_pins_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = Sink::default();
    assert!(read_lockfile(&folder.path().join("p.kdl"), &mut sink).pins.is_empty());
    assert!(sink.finish().is_empty());
}

#[test]
fn a_damaged_lock_file_is_refused_with_its_line() {
    let whole = example().render();
    let conflict = whole.replace("\nmodel", "\n<<<<<<< ours\nmodel");
    let cases = [
        ("empty", String::new()),
        ("other", "pipeline \"x\"\n".to_owned()),
        ("newer", whole.replace("lock/1", "lock/2")),
        ("conflict", conflict),
        ("commit", whole.replace("0a0a0a", "main")),
        ("twice", format!("{whole}{}", whole.split_once("\n\n").unwrap().1)),
        ("size", whole.replace(" size=21", "")),
        ("negative", whole.replace("size=7", "size=-7")),
        ("field", whole.replace("revision=", "branch=")),
        ("node", whole.replace("dataset", "bucket")),
        ("hash", whole.replace("cdcd", "cdc")),
        ("how", whole.replace("by=\"card\"", "by=\"luck\"")),
        ("selected twice", whole.replace(" subset=\"en\" split=\"train\" files=\"**/0*\"", "")),
        ("of a model", whole.replace("dataset \"b/c\"", "model \"b/c\"")),
        (
            "of nothing",
            whole.replacen(
                "selection ",
                "model \"x\" commit=\"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a\" files=1 size=1 //",
                1,
            ),
        ),
        ("cut", whole[..whole.len() - 20].to_owned()),
    ];
    let mut reported = String::new();
    for (name, text) in cases {
        let (_, faults) = reading(&text);
        assert!(faults.contains("error[lock-invalid]"), "{name}: {faults}");
        reported += &format!("{name}:\n{faults}");
    }
    insta::assert_snapshot!(reported);
}

#[test]
fn a_lock_file_that_nobody_could_read_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.lock");
    let mut lock = example();
    let documents = lock.pins.get_mut(&asked(RepositoryKind::Dataset, "b/c", None)).unwrap();
    let files = &mut documents.selections.get_mut(&SelectionRequest::default()).unwrap().files;
    let long: Vec<_> = std::iter::repeat_n(files[1].clone(), 200_000).collect();
    *files = long.clone();
    lock.write(&Disk, &path).unwrap();
    let (read, faults) = reading(&std::fs::read_to_string(&path).unwrap());
    assert_eq!(faults, "");
    assert!(read.pins == lock.pins, "as many as one selection has at most");
    *lock
        .pins
        .get_mut(&asked(RepositoryKind::Dataset, "b/c", None))
        .unwrap()
        .selections
        .get_mut(&SelectionRequest::default())
        .unwrap() = FileSelection {
        files: [long.clone(), long.clone(), long.clone(), long].concat(),
        by: "files".to_owned(),
        subset: None,
        split: None,
        commit: None,
    };
    assert_eq!(lock.write(&Disk, &path).unwrap_err().exit_code(), 2);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the old one stays");
    // The files of a model are parsed, so that there may not be as many.
    let mut lock = example();
    let model = lock.pins.get_mut(&asked(RepositoryKind::Model, "a", Some("main"))).unwrap();
    model.files = vec![model.files[0].clone(); 20_001];
    let error = lock.write(&Disk, &path).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(
        error.to_string().contains("without the lines of files of datasets, is larger than 1 MiB"),
        "{error}"
    );
    assert!(std::fs::read(&path).unwrap().len() > 10_000_000, "the old one stays");
}

#[test]
fn a_long_lock_file_is_read_with_any_names_ends_of_lines_and_comments() {
    let mut lock = example();
    let documents = lock.pins.get_mut(&asked(RepositoryKind::Dataset, "b/c", None)).unwrap();
    for found in documents.selections.values_mut() {
        let file = |at: usize| PinnedFile { path: format!("te\u{301}xt \"{at}\""), ..found.files[0].clone() };
        found.files = (0..20_000).map(file).collect();
    }
    let text = lock.render();
    let comments = "  // it's \"odd\n/* and\n        file \"x\" size=7\n \"this */\n    selection";
    for text in [text.clone(), text.replace('\n', "\r\n"), text.replacen("    selection", comments, 1)] {
        let (read, faults) = reading(&text);
        assert_eq!(faults, "");
        assert!(read.pins == lock.pins);
    }
}

#[test]
fn a_lock_file_that_is_too_large_is_called_so() {
    let (_, faults) = reading(&"// x\n".repeat((MAX_LOCK_BYTES / 5 + 1) as usize));
    assert!(faults.contains("`p.lock` is larger than 64 MiB ("), "{faults}");
    let (_, faults) = reading(&"x\n".repeat(20_001));
    assert!(
        faults.contains("`p.lock`, without the lines of files of datasets, has more than 20 000"),
        "{faults}"
    );
}

#[test]
fn files_keep_their_order_and_faults_their_lines() {
    let mut lock = example();
    let documents = lock.pins.get_mut(&asked(RepositoryKind::Dataset, "b/c", None)).unwrap();
    for found in documents.selections.values_mut() {
        let file = |at: usize| PinnedFile {
            // Some have names that only the parser reads.
            path: if at % 7 == 3 { format!("a\u{1}{at}") } else { format!("a{at}") },
            ..found.files[0].clone()
        };
        found.files = (0..500).map(file).collect();
    }
    let text = lock.render();
    let (read, faults) = reading(&text);
    assert_eq!(faults, "");
    assert_eq!(read.pins, lock.pins);
    for (pin, place) in &read.places {
        assert_eq!(&place.file.text[place.offset..place.offset + place.length], pin.kind.word());
    }
    let line = text.lines().position(|line| line.starts_with("model")).unwrap() + 1;
    let (_, faults) = reading(&text.replace("0a0a0a", "main"));
    assert!(faults.contains(&format!("p.lock:{line}:")), "{faults}");
    let (_, faults) = reading(&text.replacen("file \"a400\" size=7", "file \"a400\" size=x", 1));
    let line = text.lines().position(|line| line.contains("\"a400\"")).unwrap() + 1;
    assert!(faults.contains(&format!("p.lock:{line}:")), "{faults}");
    // What is commented out is not read, whatever its lines look like.
    let plain = text.replace("**/0*", "0");
    let (first, rest) = plain.split_once("    selection").unwrap();
    let rest: String = rest.split_inclusive('\n').take(50).collect();
    let (read, faults) = reading(&format!("{first}/*    selection{rest}*/\n"));
    assert_eq!(faults, "");
    assert!(read.pins.values().all(|pin| pin.selections.is_empty()));
}

#[test]
fn the_configuration_is_never_its_own_lock_file() {
    assert_eq!(to_lockfile_path(Path::new("/a/full.kdl")), Path::new("/a/full.lock"));
    assert_eq!(to_lockfile_path(Path::new("/a/full")), Path::new("/a/full.lock"));
    assert_eq!(to_lockfile_path(Path::new("/a/full.lock")), Path::new("/a/full.lock.lock"));
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.lock");
    let old = Lockfile::default();
    old.write(&Disk, &path).unwrap();
    for at in 0.. {
        let fault = FaultyVfs::new(at, FaultMode::Fail(std::io::ErrorKind::PermissionDenied));
        match example().write(&fault, &path) {
            Ok(()) => break,
            Err(_) => {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text == old.render() || text == example().render(), "whole at {at}: {text}");
                assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left at {at}");
            }
        }
        assert!(at < 100, "the write ends");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), example().render());
}

proptest! {
    /// Names come from a hub; whatever they hold, the file reads back.
    #[test]
    fn any_name_reads_back(path in "\\PC{0,20}|[\"\\\\\n\r\t\u{0}-\u{1f}\u{7f}\u{200e}\u{2028}\u{feff}a]{0,8}") {
        let mut lock = example();
        let pin = lock.pins.get_mut(&asked(RepositoryKind::Model, "a", Some("main"))).unwrap();
        pin.files[0].path = path;
        let (read, faults) = reading(&lock.render());
        prop_assert_eq!(faults, "");
        prop_assert_eq!(read.pins, lock.pins);
    }
}
