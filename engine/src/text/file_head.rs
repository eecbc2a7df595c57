//! Bounded reads of files that came from elsewhere: their size, the contents of a small one, the beginning of a data file.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::unpack::UnpackedFile;

/// Longest first line that is read, in bytes.
const MAX_FIRST_LINE_BYTES: u64 = 1 << 20;

/// Longest field name that is shown in a message, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 80;

/// The contents of a regular file of at most `largest` bytes. Links are followed, because checkpoint caches consist of them.
#[must_use]
pub(crate) fn read_small_file(path: &Path, largest: u64) -> Option<Vec<u8>> {
    if read_file_size(path)? > largest {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(largest).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A regular file, open for reading, and its size in bytes.
///
/// # Errors
/// If it cannot be opened, or is something else: a pipe would block.
pub(crate) fn open_regular_file(path: &Path) -> std::io::Result<(std::fs::File, u64)> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// Where a link leads, if that is not in its own folder: what a stranger's folder links to would become training data. `None` for
/// anything else.
///
/// # Errors
/// If that cannot be found out.
pub fn find_link_out(path: &Path) -> io::Result<Option<PathBuf>> {
    if !std::fs::symlink_metadata(path)?.is_symlink() {
        return Ok(None);
    }
    let target = path.canonicalize()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((!target.starts_with(parent.canonicalize()?)).then_some(target))
}

/// The names of the entries of a folder, sorted, files and folders apart. Both are empty if it cannot be listed.
#[must_use]
pub(crate) fn list_entries(folder: &Path) -> (Vec<String>, Vec<String>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<(bool, String)> = entries
        .map(|entry| (entry.path().is_dir(), entry.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let (folders, files): (Vec<_>, Vec<_>) = names.into_iter().partition(|(is_folder, _)| *is_folder);
    let strip = |names: Vec<(bool, String)>| names.into_iter().map(|(_, name)| name).collect();
    (strip(files), strip(folders))
}

/// Whether anything has this path, readable or not. A link counts even if it leads to nothing.
#[must_use]
pub(crate) fn is_present(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Whether this path is a folder, or a link to one.
#[must_use]
pub(crate) fn is_folder(path: &Path) -> bool {
    path.is_dir()
}

/// Size of a regular file in bytes; `None` for everything else.
#[must_use]
pub(crate) fn read_file_size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|about| about.len())
}

/// Line ends in the first `bytes` bytes of a plain file.
pub(crate) fn count_line_ends(path: &Path, bytes: u64) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, std::fs::File::open(path)?.take(bytes));
    let mut count = 0;
    loop {
        let read = reader.fill_buf()?;
        if read.is_empty() {
            return Ok(count);
        }
        count += read.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = read.len();
        reader.consume(length);
    }
}

/// What the beginning of a data file shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FileBeginning {
    /// The file is empty.
    Empty,
    /// The file cannot be read or unpacked, and why.
    Unreadable(String),
    /// The file is binary; what it is.
    Packed(&'static str),
    /// The file is UTF-16.
    Utf16,
    /// The file starts with a UTF-8 byte order mark.
    ByteOrderMark,
    /// The file has one JSON object per line instead of being one array.
    JsonLines,
    /// The file is one JSON array instead of one object per line.
    JsonArray,
    /// The JSON object of the first line, with its fields in their order.
    JsonLine(serde_json::Map<String, serde_json::Value>),
}

/// Classifies a data file by its first bytes and its first line. `None` if that shows nothing, or if the line is too long.
#[must_use]
pub(crate) fn read_beginning(path: &Path) -> Option<FileBeginning> {
    if read_file_size(path)? == 0 {
        return Some(FileBeginning::Empty);
    }
    let line = match read_first_line(path) {
        Ok(line) => line,
        Err(cause) => return Some(FileBeginning::Unreadable(cause.to_string())),
    };
    match line.as_slice() {
        [] => Some(FileBeginning::Empty),
        [b'P', b'A', b'R', b'1', ..] => Some(FileBeginning::Packed("Parquet")),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Some(FileBeginning::Packed("Arrow")),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(FileBeginning::Packed("ZIP")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(FileBeginning::Utf16),
        [0xef, 0xbb, 0xbf, ..] => Some(FileBeginning::ByteOrderMark),
        [b'[', ..] => Some(FileBeginning::JsonArray),
        _ => serde_json::from_slice(&line).ok().map(FileBeginning::JsonLine),
    }
}

fn read_first_line(path: &Path) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(open_unpacked(path)?.take(MAX_FIRST_LINE_BYTES)).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// The bytes of a regular file, unpacked.
fn open_unpacked(path: &Path) -> io::Result<UnpackedFile> {
    let (file, _) = open_regular_file(path)?;
    let name = path.file_name().expect("a file has a name").to_string_lossy();
    UnpackedFile::new(file, &name)
}
