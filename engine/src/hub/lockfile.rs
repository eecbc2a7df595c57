//! The lock file: the commits that branches and tags pointed to. It is kept beside the pipeline and committed with it.
//!
//! Only [`crate::hub`] writes it. Its text depends on nothing but the pins, so that equal pins give equal bytes.

mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(crate) use read::read_lockfile;

use crate::error::{Error, Result};
use crate::pipeline::repository::RepositoryRequest;
use crate::store::vfs::Vfs;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    /// 40 hexadecimal digits.
    pub commit: String,
    /// Number of files in the repository.
    pub count: u64,
    /// Bytes of all of them.
    pub size: u64,
    /// For a model, the files of the checkpoint, sorted by name; empty for a dataset.
    pub files: Vec<PinnedFile>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedFile {
    /// Path within the repository.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of its contents in hexadecimal, if the hub gives it.
    pub sha256: Option<String>,
}

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
    /// If the temporary file cannot be written or cannot replace `path`.
    pub(crate) fn write(&self, vfs: &dyn Vfs, path: &Path) -> Result<()> {
        let name = path.file_name().expect("a lock file has the name of its configuration").to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let written = self.write_through(vfs, path, &temporary);
        if written.is_err() {
            // The write error is what the user needs to see, not whether the cleanup worked.
            let _ = vfs.remove_file(&temporary);
        }
        written
    }

    fn write_through(&self, vfs: &dyn Vfs, path: &Path, temporary: &Path) -> Result<()> {
        let mut file = vfs.create_new(temporary).map_err(Error::io("create", temporary))?;
        file.write_all(self.render().as_bytes()).map_err(Error::io("write", temporary))?;
        file.sync().map_err(Error::io("sync", temporary))?;
        drop(file);
        vfs.rename(temporary, path).map_err(Error::io("replace", path))?;
        let folder = path.parent().expect("a lock file lies in a folder");
        vfs.sync_dir(folder).map_err(Error::io("sync", folder))
    }
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
        if self.files.is_empty() {
            text.push('\n');
            return;
        }
        text.push_str(" {\n");
        for file in &self.files {
            let _ = write!(text, "    file {} size={}", quote_kdl_string(&file.path), file.size);
            if let Some(digest) = &file.sha256 {
                let _ = write!(text, " sha256={}", quote_kdl_string(digest));
            }
            text.push('\n');
        }
        text.push_str("}\n");
    }
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
