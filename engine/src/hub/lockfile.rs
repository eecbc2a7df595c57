//! The lock file: what branches and tags stood for, beside the pipeline, to be committed with it.
//!
//! One writer, [`crate::hub`]; its text depends on nothing but the pins, so that two equal lock files are equal bytes.

mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub use read::read_lockfile;

use crate::error::{Error, Result};
use crate::pipeline::repository::RepositoryRequest;
use crate::store::vfs::Vfs;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;

/// Version of the form of a lock file.
pub const LOCKFILE_SCHEMA: &str = "fmflow.lock/1";

/// What a lock file says.
#[derive(Clone, Debug, Default)]
pub struct Lockfile {
    /// The file's name as people know it.
    pub name: String,
    /// The command that brings it up to date.
    pub update_command: String,
    /// Whether it is damaged, so that nothing more is said about what it lacks.
    pub broken: bool,
    /// Pins by what they are for.
    pub pins: BTreeMap<RepositoryRequest, Pin>,
    /// Where each pin stands in the file; empty where it was not read.
    pub places: BTreeMap<RepositoryRequest, Span>,
    /// What was asked for and could not be pinned, which was told already.
    pub unresolved: BTreeSet<RepositoryRequest>,
}

/// A repository at one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// 40 hexadecimal digits.
    pub commit: String,
    /// Number of files in the repository.
    pub count: u64,
    /// Bytes of all of them.
    pub size: u64,
    /// Of a checkpoint, the files that it consists of, by name.
    pub files: Vec<PinnedFile>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedFile {
    /// Its name in the repository.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its contents in hexadecimal, if the hub tells it.
    pub sha256: Option<String>,
}

/// Where the lock file of a configuration lies: beside it, with its name.
#[must_use]
pub fn to_lockfile_path(config: &Path) -> PathBuf {
    match config.extension() {
        // Never the configuration itself.
        Some(extension) if extension == "lock" => config.with_extension("lock.lock"),
        _ => config.with_extension("lock"),
    }
}

impl Lockfile {
    /// Tells pins that nothing asks for.
    pub fn report_stale_pins(&self, asked: &[&RepositoryRequest], sink: &mut Sink) {
        let mut stale = self.places.iter().filter(|(pin, _)| !asked.contains(pin));
        let Some((pin, place)) = stale.next() else { return };
        let message = format!("`{}` pins {pin}, which the pipeline does not ask for", self.name);
        let mut diagnostic = Diagnostic::new(Code::LockStale, message).at(place, "nothing asks for this");
        for (_, place) in stale {
            diagnostic = diagnostic.also(place, "nor for this");
        }
        sink.push(diagnostic.help(format!("`{}` brings it up to date", self.update_command)));
    }

    /// The text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!(
            "// Commits that branches and tags stood for, with the files there. `fmflow check FILE --online` writes this;\n\
             // commit it together with the pipeline.\nlock {}\n",
            quote_kdl_string(LOCKFILE_SCHEMA)
        );
        for (asked, pin) in &self.pins {
            pin.render_into(asked, &mut text);
        }
        text
    }

    /// Writes the file as a whole or not at all.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, vfs: &dyn Vfs, path: &Path) -> Result<()> {
        let name = path.file_name().expect("a lock file has the name of its configuration").to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let written = self.write_through(vfs, path, &temporary);
        if written.is_err() {
            // What is left over is of no use; the error is what matters.
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

/// A KDL string. Names come from a hub, so nothing in them may end the string or be refused by the reader.
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
