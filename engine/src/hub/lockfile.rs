//! The lock file: the commits that branches and tags pointed to. It is kept beside the pipeline and committed with it.
//!
//! Only [`crate::hub`] writes it. Its text depends on nothing but the pins, so that equal pins give equal bytes.

mod lines;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(crate) use read::read_lockfile;

use crate::error::{Error, Result};
use crate::pipeline::repository::{PinnedFile, RepositoryRequest};
use crate::store::vfs::Vfs;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::escape::show_path;
use crate::text::place::Span;
use crate::text::read::{MAX_LOCK_BYTES, build_lock_file};

/// Format version, written in the first node of a lock file.
pub(crate) const LOCKFILE_SCHEMA: &str = "fmflow.lock/1";

/// The contents of a lock file, and how messages refer to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lockfile {
    /// Path of the file as messages show it.
    pub name: String,
    /// The command that brings the file up to date.
    pub update_command: String,
    /// Whether the file is damaged. Missing and stale pins are then not reported: the damage explains them.
    pub broken: bool,
    /// The pin of each requested repository.
    pub pins: BTreeMap<RepositoryRequest, Pin>,
    /// Where each pin is in the file; empty if the file was not read.
    pub places: BTreeMap<RepositoryRequest, Span>,
    /// Requests that a hub could not resolve. They have been reported and are not reported again as unpinned.
    pub unresolved: BTreeSet<RepositoryRequest>,
}

/// A repository at one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pin {
    /// 40 hexadecimal digits.
    pub commit: String,
    /// Number of files in the repository.
    pub count: u64,
    /// Bytes of all of them.
    pub size: u64,
    /// For a model, the files of the checkpoint, sorted by name; empty for a dataset.
    pub files: Vec<PinnedFile>,
    /// For a model, the first names of the files that are left out.
    pub left: Vec<String>,
    /// For a dataset, the files of each part of it that the pipeline reads.
    pub selections: BTreeMap<SelectionRequest, FileSelection>,
}

/// Which part of a dataset a pipeline asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SelectionRequest {
    /// `subset=`.
    pub subset: Option<String>,
    /// `split=`.
    pub split: Option<String>,
    /// `files=`.
    pub files: Option<String>,
}

/// The files of a part of a dataset, and how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSelection {
    /// How they were found, one of [`SELECTED_BY`].
    pub by: String,
    /// The subset that was found, if the dataset has subsets.
    pub subset: Option<String>,
    /// The split that was found, if the files say what split they are of.
    pub split: Option<String>,
    /// The commit of the branch that the files are on, if it is not the pin's own.
    pub commit: Option<String>,
    /// The files, in the order in which they are read.
    pub files: Vec<PinnedFile>,
}

/// How the files of a part of a dataset are found: `card`, from the front matter of its README; `folders`, from names of folders
/// and files; `files`, from the pattern of the pipeline; `parquet-branch`, on the branch of files that the hub converted.
pub(crate) const SELECTED_BY: [&str; 4] = ["card", "folders", "files", "parquet-branch"];

/// Path of the lock file of a configuration: beside it, with the extension `lock`.
#[must_use]
pub(crate) fn to_lockfile_path(config: &Path) -> PathBuf {
    match config.extension() {
        // A configuration may itself be called `*.lock`; it must not be overwritten.
        Some(extension) if extension == "lock" => config.with_extension("lock.lock"),
        _ => config.with_extension("lock"),
    }
}

impl Lockfile {
    /// Warns about pins that none of the requests in `asked` needs.
    pub(crate) fn report_stale_pins(&self, asked: &[&RepositoryRequest], sink: &mut Sink) {
        let mut stale = self.places.iter().filter(|(pin, _)| !asked.contains(pin));
        let Some((pin, place)) = stale.next() else { return };
        let message = format!("`{}` pins {pin}, which the pipeline does not ask for", self.name);
        let mut diagnostic = Diagnostic::new(Code::LockStale, message).at(place, "nothing asks for this");
        for (_, place) in stale {
            diagnostic = diagnostic.also(place, "nor for this");
        }
        sink.push(diagnostic.help(format!("`{}` brings it up to date", self.update_command)));
    }

    /// Renders the file as KDL.
    #[must_use]
    pub(crate) fn render(&self) -> String {
        let mut text = format!(
            "// The commits that branches and tags pointed to, and the files there. `fmflow check FILE --online` writes this\n\
             // file; commit it together with the pipeline.\nlock {}\n",
            quote_kdl_string(LOCKFILE_SCHEMA)
        );
        for (asked, pin) in &self.pins {
            pin.render_into(asked, &mut text);
        }
        text
    }

    /// Writes the file completely or not at all: to a temporary file beside it, which then replaces it.
    ///
    /// # Errors
    /// If it is too long to be read again, the temporary file cannot be written, or it cannot replace `path`.
    pub(crate) fn write(&self, vfs: &dyn Vfs, path: &Path) -> Result<()> {
        let text = self.render();
        self.refuse_unreadable(path, &text)?;
        let name = path.file_name().expect("a lock file has the name of its configuration").to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let written = write_through(vfs, path, &temporary, &text);
        if written.is_err() {
            // The write error is what the user needs to see, not whether the cleanup worked.
            let _ = vfs.remove_file(&temporary);
        }
        written
    }

    /// Refuses a text that no command would read as these pins: what it replaces may be good.
    fn refuse_unreadable(&self, path: &Path, text: &str) -> Result<()> {
        let refuse = |why: &str| {
            let message = format!("{} would not be read by any command: {why}", show_path(path));
            Err(Error::usage(message, "choose fewer files of datasets with `files=`"))
        };
        if text.len() as u64 > MAX_LOCK_BYTES {
            return refuse("it would be larger than 64 MiB");
        }
        let mut sink = Sink::default();
        let divided = lines::DividedLock::new(build_lock_file(path, text.to_owned()));
        let read = read::parse_lockfile(&divided, &mut sink);
        match sink.finish().first() {
            Some(problem) if problem.code == Code::FileTooLarge => refuse(&problem.message),
            Some(problem) => {
                Err(Error::Defect(format!("a lock file does not read back: {}", problem.message)))
            }
            None if read.pins != self.pins => {
                Err(Error::Defect("a lock file reads back as another one".into()))
            }
            None => Ok(()),
        }
    }
}

fn write_through(vfs: &dyn Vfs, path: &Path, temporary: &Path, text: &str) -> Result<()> {
    let mut file = vfs.create_new(temporary).map_err(Error::io("create", temporary))?;
    file.write_all(text.as_bytes()).map_err(Error::io("write", temporary))?;
    file.sync().map_err(Error::io("sync", temporary))?;
    drop(file);
    vfs.rename(temporary, path).map_err(Error::io("replace", path))?;
    let folder = path.parent().expect("a lock file lies in a folder");
    vfs.sync_dir(folder).map_err(Error::io("sync", folder))
}

impl Pin {
    fn render_into(&self, asked: &RepositoryRequest, text: &mut String) {
        let _ = write!(text, "\n{} {}", asked.kind.word(), quote_kdl_string(&asked.name));
        if let Some(revision) = &asked.revision {
            let _ = write!(text, " revision={}", quote_kdl_string(revision));
        }
        let _ = write!(
            text,
            " commit={} files={} size={}",
            quote_kdl_string(&self.commit),
            self.count,
            self.size
        );
        if self.files.is_empty() && self.left.is_empty() {
            text.push('\n');
            // Not below the pin: a node is parsed in one piece, and a dataset may have thousands of files.
            self.selections.iter().for_each(|(asked, found)| found.render_into(asked, text));
            return;
        }
        text.push_str(" {\n");
        self.files.iter().for_each(|file| render_file(file, "    ", text));
        if !self.left.is_empty() {
            let names: Vec<String> = self.left.iter().map(|name| quote_kdl_string(name)).collect();
            let _ = writeln!(text, "    left {}", names.join(" "));
        }
        text.push_str("}\n");
    }
}

impl FileSelection {
    fn render_into(&self, asked: &SelectionRequest, text: &mut String) {
        text.push_str("    selection");
        let found = |name: &'static str, value: &Option<String>| Some((name, value.clone()?));
        let words = [
            found("subset", &asked.subset),
            found("split", &asked.split),
            found("files", &asked.files),
            Some(("by", self.by.clone())),
            found("found-subset", &self.subset),
            found("found-split", &self.split),
            found("commit", &self.commit),
        ];
        for (name, value) in words.into_iter().flatten() {
            let _ = write!(text, " {name}={}", quote_kdl_string(&value));
        }
        text.push('\n');
        self.files.iter().for_each(|file| render_file(file, "        ", text));
    }
}

fn render_file(file: &PinnedFile, indent: &str, text: &mut String) {
    let _ = write!(text, "{indent}file {} size={}", quote_kdl_string(&file.path), file.size);
    for (name, hash) in [("sha256", &file.sha256), ("blob", &file.blob)] {
        if let Some(hash) = hash {
            let _ = write!(text, " {name}={}", quote_kdl_string(hash));
        }
    }
    text.push('\n');
}

/// Quotes text as a KDL string. Names come from a hub, so that anything which could end the string, or which the parser
/// refuses, is escaped.
fn quote_kdl_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            _ if letter.is_alphanumeric() => quoted.push(letter),
            _ => _ = write!(quoted, "\\u{{{:x}}}", u32::from(letter)),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
