//! A small pipeline, its undisturbed result, and what trials need to compare with it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::common::{Project, Ran};

/// Files whose text has times in it.
const TIMED: [&str; 4] = ["manifest.json", "summary.json", "metrics.jsonl", "samples.jsonl"];

/// Digests of the files of a store's artifacts, by path within the store.
pub(crate) type Tree = BTreeMap<PathBuf, String>;

/// The pipeline `tiny.kdl`, and what it makes when nothing disturbs it.
pub(crate) struct Bench {
    pub(crate) project: Project,
    /// The result of a run in the store `whole`.
    pub(crate) whole: Tree,
    state: u64,
}

/// How trials of one kind ended.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How many ended in each way, in words.
    ends: BTreeMap<String, u32>,
    /// The first trials that did not end well.
    bad: Vec<String>,
    bad_count: u32,
    count: u32,
}

impl Bench {
    pub(crate) fn new(seed: u64) -> Self {
        let project = Project::tiny();
        project.fmflow(&["run", "tiny.kdl", "--store", "whole"]).ok();
        let whole = read_tree(&project.path().join("whole"));
        Self { project, whole, state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    /// A number below `end`, by xorshift.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % end
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    pub(crate) fn run(&self, command: &[&str], store: &str) -> Ran {
        self.project.fmflow(&[command, &["--store", store]].concat())
    }

    /// Copies a store of the project; an old copy is removed.
    pub(crate) fn copy_store(&self, from: &str, to: &str) {
        let (from, to) = (self.project.path().join(from), self.project.path().join(to));
        remove_store(&to);
        for entry in WalkDir::new(&from) {
            let entry = entry.unwrap();
            let target = to.join(entry.path().strip_prefix(&from).unwrap());
            match entry.file_type().is_dir() {
                true => fs::create_dir(target).unwrap(),
                false => _ = fs::copy(entry.path(), target).unwrap(),
            }
        }
    }

    /// Flips one bit of a file, chosen by chance.
    pub(crate) fn flip(&mut self, file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        let bit = usize::try_from(self.below(bytes.len() as u64 * 8)).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::remove_file(file).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

/// Removes a store; its read-only files need no other rights than its folders.
pub(crate) fn remove_store(store: &Path) {
    if store.exists() {
        fs::remove_dir_all(store).unwrap();
    }
}

/// Files of a folder that are not empty.
pub(crate) fn list_files(folder: &Path) -> Vec<PathBuf> {
    let files = WalkDir::new(folder).sort_by_file_name().into_iter().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_type().is_file() && entry.metadata().unwrap().len() > 0);
    files.map(walkdir::DirEntry::into_path).collect()
}

/// What a store has made, apart from times.
pub(crate) fn read_tree(store: &Path) -> Tree {
    let files = list_files(&store.join("artifacts")).into_iter();
    let files = files.filter(|file| !TIMED.iter().any(|name| file.ends_with(name)));
    files
        .map(|file| {
            let digest = blake3::hash(&fs::read(&file).unwrap()).to_hex().to_string();
            (file.strip_prefix(store).unwrap().to_owned(), digest)
        })
        .collect()
}

/// Whether every file that a store has made is the one of an undisturbed run.
pub(crate) fn is_part_of(store: &Path, whole: &Tree) -> bool {
    read_tree(store).iter().all(|(file, digest)| whole.get(file) == Some(digest))
}

/// Whether an output shows a bug.
pub(crate) fn has_bug(ran: &Ran) -> bool {
    ran.code == 70 || ran.stderr.contains("panicked") || ran.stderr.contains("bug:")
}

impl Tally {
    /// Counts a trial; `why` explains one that did not end well.
    pub(crate) fn add(&mut self, end: impl Into<String>, good: bool, why: impl FnOnce() -> String) {
        let end = end.into();
        self.count += 1;
        if !good {
            self.bad_count += 1;
            if self.bad.len() < 5 {
                self.bad.push(format!("{end}: {}", why()));
            }
        }
        *self.ends.entry(end).or_default() += 1;
    }

    pub(crate) fn is_good(&self) -> bool {
        self.bad_count == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} well", self.count - self.bad_count, self.count)?;
        let ends: Vec<_> = self.ends.iter().map(|(end, count)| format!("{count} {end}")).collect();
        write!(f, " ({})", ends.join(", "))?;
        self.bad.iter().try_for_each(|bad| write!(f, "\n  NOT WELL {bad}"))
    }
}
