//! The folder that a program runs in. It lies in the store, beside what is published, and nothing in it is trusted: a program may
//! leave links, pipes and names of any bytes, so the folder is never searched, only removed.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::Slot;
use crate::error::{Error, Result};
use crate::store::foreign::PROGRAMS;
use crate::store::layout::{Store, make_unique_name};
use crate::store::publish::ArtifactWriter;

/// The file of a program's output, in its artifact or, if it failed, in its unfinished work.
pub(crate) const OUTPUT_LOG: &str = "output.log";

/// A folder that a program runs in. It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct ProgramFolder(PathBuf);

impl Slot {
    /// A new, empty folder for a program.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn program_folder(&self) -> Result<ProgramFolder> {
        self.store().ensure_folder(PROGRAMS)?;
        loop {
            let path = self.store().root().join(PROGRAMS).join(make_unique_name(&self.key.kind));
            match self.vfs().create_dir(&path) {
                // Left by another process with the same id, perhaps in another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(Error::io("create", &path))?,
            }
            return Ok(ProgramFolder(path));
        }
    }

    /// Keeps the output of a program that failed, and returns its path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn keep_output(&self, output: &[u8]) -> Result<PathBuf> {
        let path = self.work().join(OUTPUT_LOG);
        self.store().replace_file(&path, output)?;
        Ok(path)
    }
}

impl Store {
    /// Removes the folders of programs: the store has no run.
    pub(in crate::store) fn sweep_programs(&self) -> Result<()> {
        let path = self.root().join(PROGRAMS);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(Error::io("list", &path))?,
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &path))?;
            let place = entry.path();
            let removed = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => remove_folder(&place),
                false => fs::remove_file(&place),
            };
            removed.map_err(Error::io("remove", &place))?;
        }
        Ok(())
    }
}

impl ProgramFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Copies a file to a place below the folder.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub(crate) fn copy(&self, from: &Path, place: &Path) -> Result<()> {
        let to = self.make_parent(place)?;
        fs::copy(from, &to).map(drop).map_err(Error::io("copy", from))
    }

    /// Makes a link at a place below the folder, so that nothing large is copied.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn link(&self, to: &Path, place: &Path) -> Result<()> {
        let at = self.make_parent(place)?;
        symlink(to, &at).map_err(Error::io("create", &at))
    }

    fn make_parent(&self, place: &Path) -> Result<PathBuf> {
        let path = self.0.join(place);
        let parent = path.parent().expect("a place is below the folder");
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        Ok(path)
    }

    /// Paths below the folder of the regular files that match a pattern, sorted, and whether something else matches.
    ///
    /// # Errors
    /// If the folder cannot be searched.
    pub(crate) fn find(&self, pattern: &str) -> Result<(Vec<PathBuf>, Option<PathBuf>)> {
        let root = glob::Pattern::escape(&self.0.to_string_lossy());
        let options = glob::MatchOptions {
            require_literal_separator: true,
            require_literal_leading_dot: true,
            ..Default::default()
        };
        let found = glob::glob_with(&format!("{root}/{pattern}"), options);
        let found = found.map_err(|error| Error::Defect(format!("an output is a pattern: {error}")))?;
        let (mut files, mut other) = (Vec::new(), None);
        for path in found {
            let path = path.map_err(|error| Error::io("search", &self.0)(error.into()))?;
            let kind = fs::symlink_metadata(&path).map_err(Error::io("inspect", &path))?.file_type();
            match kind.is_file() {
                true => files.push(path),
                false => other = Some(path),
            }
        }
        files.sort();
        Ok((files, other))
    }

    /// Copies a file that the program made into its artifact, under its own name.
    ///
    /// # Errors
    /// If the name is not plain, or the file cannot be read or written.
    pub(crate) fn publish(&self, file: &Path, name: &str, writer: &mut ArtifactWriter) -> Result<u64> {
        let mut from = fs::File::open(file).map_err(Error::io("read", file))?;
        let mut to = writer.file(name)?;
        let bytes = io::copy(&mut from, &mut to).map_err(Error::io("copy", file))?;
        to.finish()?;
        Ok(bytes)
    }

    /// Names of at most `most` files and folders in the folder, sorted.
    pub(crate) fn list(&self, most: usize) -> Vec<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names.truncate(most);
        names
    }
}

impl Drop for ProgramFolder {
    fn drop(&mut self) {
        // What cannot be removed now, the next run removes or reports.
        let _ = remove_folder(&self.0);
    }
}

/// Removes a folder with everything in it; it follows no links. A program may leave folders that not even their owner may write to.
fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// Gives the owner all rights on a folder and the folders in it.
fn make_writable(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only an ordinary user sees the difference: root may always write.
    #[test]
    fn a_folder_without_permissions_is_removed() {
        let home = tempfile::TempDir::new().expect("there is a folder for temporary files");
        let outside = home.path().join("outside");
        let root = home.path().join("left");
        let inner = root.join("a/b");
        fs::create_dir_all(&inner).and_then(|()| fs::create_dir(&outside)).expect("folders can be created");
        fs::write(inner.join("file"), "x").expect("a file can be written");
        symlink(&outside, inner.join("link")).expect("a link can be made");
        for folder in [&inner, &root.join("a"), &root, &outside] {
            let none = fs::Permissions::from_mode(if folder == &outside { 0o500 } else { 0 });
            fs::set_permissions(folder, none).expect("permissions can be set");
        }
        remove_folder(&root).expect("it can be removed");
        assert!(!root.exists());
        let mode = fs::metadata(&outside).expect("it is still there").permissions().mode();
        assert_eq!(mode & 0o777, 0o500, "what a link leads to is not touched");
    }
}
