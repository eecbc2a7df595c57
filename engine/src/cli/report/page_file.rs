//! The file of a report: complete or absent, and in place of nothing but another report.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::report::page::GENERATOR;
use crate::text::escape::show_path;

/// Refuses to replace a file that is no report: `-o` is easily the wrong word.
pub(super) fn refuse_foreign_file(path: &Path) -> Result<()> {
    if is_report(path)? {
        return Ok(());
    }
    let message = format!("{} exists and is no report of fmflow; nothing is overwritten", show_path(path));
    Err(Error::usage(message, "name another file with `-o`, or remove it"))
}

/// Whether the file is a report, or does not exist.
fn is_report(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other.map_err(|error| file_error("open", path, error))?,
    };
    let mut head = Vec::new();
    file.take(4096).read_to_end(&mut head).map_err(|error| file_error("read", path, error))?;
    Ok(String::from_utf8_lossy(&head).contains(GENERATOR))
}

/// Writes the page under a name of its own, and then renames it: it is complete or absent.
pub(super) fn write_page(path: &Path, page: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| {
        Error::usage(format!("{} is no name of a file", show_path(path)), "name a file with `-o`")
    })?;
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{}", std::process::id()));
    let unfinished = folder.join(unfinished);
    let written = File::create_new(&unfinished)
        .and_then(|mut file| file.write_all(page).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unfinished, path))
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|error| {
        // The file may not have been created, and nothing more can be done about one that cannot be removed.
        let _ = fs::remove_file(&unfinished);
        file_error("write", path, error)
    })
}

/// The error for a refused file operation. Another folder helps against everything but a full disk.
fn file_error(action: &'static str, path: &Path, error: io::Error) -> Error {
    let error = Error::io(action, path)(error);
    match error.exit_code() {
        1 => Error::usage(error.to_string(), "name a file that you may write with `-o`"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_replaces_a_page_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        refuse_foreign_file(&path).unwrap();
        let page = format!("<html>{GENERATOR} 1\"/>");
        write_page(&path, page.as_bytes()).unwrap();
        refuse_foreign_file(&path).unwrap();
        write_page(&path, page.as_bytes()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
        fs::write(&path, "my thesis").unwrap();
        assert_eq!(refuse_foreign_file(&path).unwrap_err().exit_code(), 2);
        let nowhere = folder.path().join("no/report.html");
        assert_eq!(write_page(&nowhere, b"").unwrap_err().exit_code(), 2);
    }
}
