//! A file that a command writes for people: complete or absent, and in place of nothing but another of its kind.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::report::{frontier, page};
use crate::text::escape::show_path;

/// Pages of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageKind {
    /// What one is called.
    name: &'static str,
    /// What each has near its beginning.
    mark: &'static str,
    /// The option that names the file.
    option: &'static str,
}

impl PageKind {
    /// The page about a run.
    pub(super) const REPORT: Self = Self { name: "report", mark: page::GENERATOR, option: "-o" };
    /// The drawing of a frontier.
    pub(super) const FRONTIER: Self = Self { name: "frontier", mark: frontier::GENERATOR, option: "--svg" };
}

/// Refuses to replace a file of another kind: a name is easily the wrong word.
pub(super) fn refuse_foreign_file(path: &Path, kind: PageKind) -> Result<()> {
    if is_of_kind(path, kind)? {
        return Ok(());
    }
    let PageKind { name, option, .. } = kind;
    let message = format!("{} exists and is no {name} of fmflow; nothing is overwritten", show_path(path));
    Err(Error::usage(message, format!("name another file with `{option}`, or remove it")))
}

/// Whether the file is of the kind, or does not exist.
fn is_of_kind(path: &Path, kind: PageKind) -> Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other.map_err(|error| file_error("open", (path, kind), error))?,
    };
    let mut head = Vec::new();
    file.take(4096).read_to_end(&mut head).map_err(|error| file_error("read", (path, kind), error))?;
    Ok(String::from_utf8_lossy(&head).contains(kind.mark))
}

/// Refuses a file in a folder that takes none, before work whose result would go there.
pub(super) fn refuse_unwritable_folder(path: &Path, kind: PageKind) -> Result<()> {
    let (_, unfinished) = find_unfinished(path, kind)?;
    File::create_new(&unfinished)
        .and_then(|_| fs::remove_file(&unfinished))
        .map_err(|error| file_error("write", (path, kind), error))
}

/// Folder of the page, and the name that it has there until it is complete.
fn find_unfinished(path: &Path, kind: PageKind) -> Result<(&Path, PathBuf)> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| {
        let help = format!("name a file with `{}`", kind.option);
        Error::usage(format!("{} is no name of a file", show_path(path)), help)
    })?;
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{}", std::process::id()));
    Ok((folder, folder.join(unfinished)))
}

/// Writes the page under a name of its own, and then renames it: it is complete or absent.
pub(super) fn write_page(path: &Path, kind: PageKind, page: &[u8]) -> Result<()> {
    let (folder, unfinished) = find_unfinished(path, kind)?;
    let written = File::create_new(&unfinished)
        .and_then(|mut file| file.write_all(page).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unfinished, path))
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|error| {
        // The file may not have been created, and nothing more can be done about one that cannot be removed.
        let _ = fs::remove_file(&unfinished);
        file_error("write", (path, kind), error)
    })
}

/// The error for a refused file operation. Another folder helps against everything but a full disk.
fn file_error(action: &'static str, (path, kind): (&Path, PageKind), error: io::Error) -> Error {
    let error = Error::io(action, path)(error);
    match error.exit_code() {
        1 => {
            Error::usage(error.to_string(), format!("name a file that you may write with `{}`", kind.option))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_replaces_a_page_of_its_kind_and_nothing_else() {
        let kinds = [PageKind::REPORT, PageKind::FRONTIER];
        for (kind, other) in [(kinds[0], kinds[1]), (kinds[1], kinds[0])] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("page");
            refuse_foreign_file(&path, kind).unwrap();
            let page = format!("<html>{} 1\"/>", kind.mark);
            write_page(&path, kind, page.as_bytes()).unwrap();
            refuse_foreign_file(&path, kind).unwrap();
            assert_eq!(refuse_foreign_file(&path, other).unwrap_err().exit_code(), 2);
            write_page(&path, kind, page.as_bytes()).unwrap();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
            fs::write(&path, "my thesis").unwrap();
            assert_eq!(refuse_foreign_file(&path, kind).unwrap_err().exit_code(), 2);
            refuse_unwritable_folder(&path, kind).unwrap();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a try leaves nothing");
            let nowhere = folder.path().join("no/page");
            assert_eq!(refuse_unwritable_folder(&nowhere, kind).unwrap_err().exit_code(), 2);
            assert_eq!(write_page(&nowhere, kind, b"").unwrap_err().exit_code(), 2);
        }
    }
}
