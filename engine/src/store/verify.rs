//! Verifies a published folder. It is valid if its manifest parses, it has exactly the files that the manifest lists, and
//! every hash matches.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Error, Result};
use crate::store::manifest::{self, CHUNK_BYTES, FileEntry, Manifest, read_manifest};
use crate::store::vfs::{EntryKind, Vfs, is_absent};

/// One way in which a folder differs from its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrityError {
    /// Name of the file.
    pub file: String,
    /// Index of the first wrong chunk of 16 MiB, if the contents are wrong.
    pub chunk: Option<usize>,
    /// What is wrong, as a sentence about the file.
    pub what: String,
}

impl fmt::Display for IntegrityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.chunk.map_or(Ok(()), |chunk| write!(f, " (chunk {chunk})"))
    }
}

/// How thoroughly a folder is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerifyDepth {
    /// The manifest, and the names and sizes of the files.
    Sizes,
    /// The hash of every file too.
    Bytes,
}

/// Verifies every byte of a folder.
///
/// # Errors
/// [`Error::Corrupt`] with the first problem, or [`Error::Io`] if the folder cannot be read.
pub(crate) fn verify_folder(vfs: &dyn Vfs, folder: &Path) -> Result<Manifest> {
    require_sound(vfs, folder, VerifyDepth::Bytes)
}

/// Checks a folder to a depth and returns its manifest.
///
/// # Errors
/// As [`verify_folder`].
pub(super) fn require_sound(vfs: &dyn Vfs, folder: &Path, depth: VerifyDepth) -> Result<Manifest> {
    let (manifest, problems) = inspect_folder(vfs, folder, depth)?;
    match (manifest, problems.into_iter().next()) {
        (Some(manifest), None) => Ok(manifest),
        (_, problem) => {
            let problem = problem.expect("a folder without a manifest has a problem");
            Err(problem.refuse(folder))
        }
    }
}

impl IntegrityError {
    /// The error of a folder with this problem.
    pub(super) fn refuse(self, folder: &Path) -> Error {
        let what = self.to_string();
        Error::Corrupt { folder: folder.to_path_buf(), file: self.file, what }
    }
}

/// Checks a folder and returns its manifest, if it can be read, and every problem.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read. A missing file is a problem and not an error.
pub(crate) fn inspect_folder(
    vfs: &dyn Vfs,
    folder: &Path,
    depth: VerifyDepth,
) -> Result<(Option<Manifest>, Vec<IntegrityError>)> {
    let manifest = match read_manifest(vfs, folder)? {
        Some(Ok(manifest)) => manifest,
        Some(Err(what)) => return Ok((None, vec![build_integrity_error(manifest::MANIFEST_FILE, what)])),
        None => return Ok((None, vec![build_integrity_error(manifest::MANIFEST_FILE, "it is missing")])),
    };
    let mut problems = find_unlisted_entries(vfs, folder, &manifest)?;
    for file in manifest.files.iter().filter(|file| !leaves_folder(&file.name)) {
        let path = folder.join(&file.name);
        let found = check_file_size(vfs, &path, file)?;
        let reads = depth == VerifyDepth::Bytes;
        let found = match found {
            None if reads => check_file_bytes(vfs, &path, file).map_err(Error::io("read", &path))?,
            found => found,
        };
        problems.extend(found);
    }
    Ok((Some(manifest), problems))
}

/// Entries that the manifest does not list, and lists of names that could leave the folder.
fn find_unlisted_entries(vfs: &dyn Vfs, folder: &Path, manifest: &Manifest) -> Result<Vec<IntegrityError>> {
    let mut problems = Vec::new();
    for (name, _) in vfs.list(folder).map_err(Error::io("list", folder))? {
        if name != manifest::MANIFEST_FILE && !manifest.files.iter().any(|file| file.name == name) {
            problems.push(build_integrity_error(&name, "the manifest does not list it"));
        }
    }
    for file in &manifest.files {
        if leaves_folder(&file.name) {
            problems.push(build_integrity_error(&file.name, "its name leaves the folder"));
        }
    }
    Ok(problems)
}

/// Whether a name in a manifest is not that of a file in the folder. Nothing may be opened under it.
fn leaves_folder(name: &str) -> bool {
    name.contains('/') || matches!(name, "" | "." | "..")
}

fn check_file_size(vfs: &dyn Vfs, path: &Path, file: &FileEntry) -> Result<Option<IntegrityError>> {
    match vfs.stat(path) {
        Err(error) if is_absent(&error) => Ok(Some(build_integrity_error(&file.name, "it is missing"))),
        Err(error) => Err(Error::io("inspect", path)(error)),
        Ok(stat) if stat.kind != EntryKind::File => {
            Ok(Some(build_integrity_error(&file.name, "it is not a regular file")))
        }
        Ok(stat) if stat.size != file.size => {
            let what = format!("it has {} bytes, but the manifest says {}", stat.size, file.size);
            Ok(Some(build_integrity_error(&file.name, what)))
        }
        Ok(_) => Ok(None),
    }
}

/// Compares the hash of a file with the manifest. Only a file that is damaged is read again, to find the first wrong chunk: the hash
/// of the whole covers every byte.
pub(super) fn check_file_bytes(
    vfs: &dyn Vfs,
    path: &Path,
    file: &FileEntry,
) -> io::Result<Option<IntegrityError>> {
    let mut whole = blake3::Hasher::new();
    read_by_chunk(vfs, path, |_, bytes| {
        whole.update_rayon(bytes);
        Ok(true)
    })?;
    if whole.finalize().to_hex().as_str() == file.blake3 {
        return Ok(None);
    }
    let chunk = find_wrong_chunk(vfs, path, file)?;
    let what = match chunk {
        Some(_) => "its contents are not what was written",
        None => "its hash is not the one in the manifest",
    };
    Ok(Some(IntegrityError { chunk, ..build_integrity_error(&file.name, what) }))
}

/// The first chunk whose hash is not the one in the manifest.
fn find_wrong_chunk(vfs: &dyn Vfs, path: &Path, file: &FileEntry) -> io::Result<Option<usize>> {
    let mut wrong = None;
    read_by_chunk(vfs, path, |number, bytes| {
        let found = blake3::Hasher::new().update_rayon(bytes).finalize().to_hex();
        if file.chunks.get(number).map(String::as_str) != Some(found.as_str()) {
            wrong = Some(number);
        }
        Ok(wrong.is_none())
    })?;
    Ok(wrong)
}

/// Calls `take` with the number and the bytes of each chunk, in order, until it returns false.
fn read_by_chunk(
    vfs: &dyn Vfs,
    path: &Path,
    mut take: impl FnMut(usize, &[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    let mut reader = vfs.open(path)?;
    let mut buffer = Vec::with_capacity(CHUNK_BYTES);
    for number in 0.. {
        buffer.clear();
        reader.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut buffer)?;
        if buffer.is_empty() || !take(number, &buffer)? {
            break;
        }
    }
    Ok(())
}

fn build_integrity_error(file: &str, what: impl Into<String>) -> IntegrityError {
    IntegrityError { file: file.to_string(), chunk: None, what: what.into() }
}
