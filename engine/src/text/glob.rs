//! Finds data files by pattern. The result is sorted; hidden folders and `target/` are never read, and `**` does not
//! follow linked folders.

use std::io;
use std::path::{Component, Path, PathBuf};

use glob::Pattern;

/// Most folder entries that one pattern may visit.
const MAX_PATTERN_ENTRIES: usize = 200_000;

/// Deepest folder that a pattern may reach.
const MAX_FOLDER_DEPTH: usize = 32;

const PERMISSION_DENIED: &str = "permission denied";

/// A folder that cannot be listed completely is an error, because files that nobody saw would be left out in silence.
const UNLISTABLE: &str = "it cannot be listed";

/// Why a pattern yields no files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PatternError {
    /// Nothing matches. If that is because a folder or file does not exist, its path.
    NoMatch(Option<PathBuf>),
    /// The pattern is malformed, and why.
    Pattern(String),
    /// The pattern leads into this folder, which is never read.
    Forbidden(String),
    /// The pattern visits too many entries or too deep folders.
    TooMany,
    /// The pattern names a folder where files are needed.
    Folder,
    /// This path matches but cannot be read, and why. Skipping it would silently drop data.
    Unreadable(PathBuf, &'static str),
    /// This file of a folder is a link to the second path, which lies outside the folder.
    Escape(PathBuf, PathBuf),
}

struct PatternWalk {
    found: Vec<PathBuf>,
    entries_seen: usize,
}

/// The files that match `pattern`, which is relative to `base`. The paths are sorted, and absolute if `base` is.
///
/// # Errors
/// If nothing matches, or if anything that matches cannot be read.
pub(crate) fn expand_pattern(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, PatternError> {
    let (start, parts) = split_pattern(base, pattern)?;
    if parts.iter().all(|part| !is_pattern_part(part)) {
        let path = parts.iter().fold(start, |path, part| path.join(part));
        return match explain_unreadable(&path) {
            None if path.is_dir() => Err(PatternError::Folder),
            None => Ok(vec![path]),
            Some(why) => Err(match find_first_absent(&path) {
                None => PatternError::Unreadable(path, why),
                absent => PatternError::NoMatch(absent),
            }),
        };
    }
    let mut walk = PatternWalk { found: Vec::new(), entries_seen: 0 };
    walk.step(&start, &parts, 0)?;
    walk.found.sort();
    walk.found.dedup();
    if walk.found.is_empty() {
        let literal =
            parts.iter().take_while(|part| !is_pattern_part(part)).fold(start, |path, part| path.join(part));
        return Err(PatternError::NoMatch(find_first_absent(&literal)));
    }
    Ok(walk.found)
}

/// The visible files of a checkpoint folder, sorted. A file may be a link inside the folder, or one into the `blobs` of the hub
/// cache that the folder is a snapshot in.
///
/// # Errors
/// If the folder has no files, or if one of them is not a readable regular file or a link that leads elsewhere.
pub(crate) fn list_folder(path: &Path) -> Result<Vec<PathBuf>, PatternError> {
    let entries = std::fs::read_dir(path).map_err(|error| match is_absent(&error) {
        true => PatternError::NoMatch(find_first_absent(path)),
        false => unlistable_folder(path, &error),
    })?;
    let mut files: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .map_err(|_| PatternError::Unreadable(path.to_owned(), UNLISTABLE))?;
    files.retain(|path| !is_hidden(path) && !path.is_dir());
    files.sort();
    if let Some((path, why)) = files.iter().find_map(|path| Some((path, explain_unreadable(path)?))) {
        return Err(PatternError::Unreadable(path.clone(), why));
    }
    for file in &files {
        if let Some(target) = find_escape(path, file)? {
            return Err(PatternError::Escape(file.clone(), target));
        }
    }
    if files.is_empty() { Err(PatternError::NoMatch(None)) } else { Ok(files) }
}

/// Where a file of a folder leads, if that is neither in the folder nor among the blobs of its hub cache. What a stranger's folder
/// links to would be copied into an artifact, and published with it.
///
/// # Errors
/// If that cannot be found out.
fn find_escape(folder: &Path, file: &Path) -> Result<Option<PathBuf>, PatternError> {
    if !file.is_symlink() {
        return Ok(None);
    }
    let unknown = |_| PatternError::Unreadable(file.to_owned(), "where its link leads cannot be found out");
    let (folder, target) = (folder.canonicalize().map_err(unknown)?, file.canonicalize().map_err(unknown)?);
    let snapshots =
        folder.ancestors().find(|above| above.file_name().is_some_and(|name| name == "snapshots"));
    let blobs = snapshots.and_then(Path::parent).map(|repository| repository.join("blobs"));
    let inside = target.starts_with(&folder) || blobs.is_some_and(|blobs| target.starts_with(blobs));
    Ok((!inside).then_some(target))
}

/// The error for a folder that exists and cannot be listed.
fn unlistable_folder(folder: &Path, error: &io::Error) -> PatternError {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    PatternError::Unreadable(folder.to_owned(), if denied { PERMISSION_DENIED } else { UNLISTABLE })
}

fn split_pattern(base: &Path, pattern: &str) -> Result<(PathBuf, Vec<String>), PatternError> {
    let mut start = base.to_owned();
    let mut parts = Vec::new();
    for component in Path::new(pattern).components() {
        match component {
            Component::Normal(part) => {
                let part = part.to_string_lossy().into_owned();
                if part.starts_with('.') || part == "target" {
                    return Err(PatternError::Forbidden(part));
                }
                if is_pattern_part(&part) {
                    Pattern::new(&part).map_err(|error| PatternError::Pattern(error.to_string()))?;
                }
                parts.push(part);
            }
            Component::ParentDir if parts.is_empty() => start = to_parent_path(&start),
            Component::ParentDir => parts.push("..".to_owned()),
            Component::RootDir | Component::Prefix(_) => start = PathBuf::from("/"),
            Component::CurDir => {}
        }
    }
    Ok((start, parts))
}

fn to_parent_path(path: &Path) -> PathBuf {
    match path.components().next_back() {
        Some(Component::Normal(_)) => path.parent().expect("a path with a last part has a parent").to_owned(),
        _ => path.join(".."),
    }
}

fn is_pattern_part(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.') || name == "target")
}

/// Why a path is neither a folder nor a readable file. A file is opened to find out, because mode bits alone do not decide
/// whether it can be read.
fn explain_unreadable(path: &Path) -> Option<&'static str> {
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    match std::fs::metadata(path) {
        Ok(about) if about.is_dir() => None,
        Ok(about) if about.is_file() => match std::fs::File::open(path) {
            Ok(_) => None,
            Err(error) if denied(&error) => Some(PERMISSION_DENIED),
            Err(_) => Some("it cannot be opened"),
        },
        Ok(_) => Some("it is not a regular file"),
        Err(error) if denied(&error) => Some(PERMISSION_DENIED),
        Err(_) if path.is_symlink() => Some("it is a link to nothing"),
        Err(_) => Some("there is no such file"),
    }
}

/// The first ancestor of a path, or the path itself, that does not exist. A dangling link exists, and so does a path that
/// permissions hide.
fn find_first_absent(path: &Path) -> Option<PathBuf> {
    let absent = |path: &&Path| {
        let about = std::fs::symlink_metadata(path);
        about.is_err_and(|error| is_absent(&error))
    };
    let chain: Vec<_> = path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
    chain.into_iter().rev().find(absent).map(Path::to_owned)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl PatternWalk {
    fn step(&mut self, folder: &Path, parts: &[String], depth: usize) -> Result<(), PatternError> {
        let Some((part, rest)) = parts.split_first() else { return Ok(()) };
        if depth > MAX_FOLDER_DEPTH {
            return Err(PatternError::TooMany);
        }
        if part == "**" {
            return self.step_everywhere(folder, parts, rest, depth);
        }
        if !is_pattern_part(part) {
            return self.match_rest(folder.join(part), rest, depth);
        }
        let pattern = Pattern::new(part).map_err(|error| PatternError::Pattern(error.to_string()))?;
        for path in self.list_visible_entries(folder)? {
            if path.file_name().is_some_and(|name| pattern.matches(&name.to_string_lossy())) {
                self.match_rest(path, rest, depth)?;
            }
        }
        Ok(())
    }

    fn step_everywhere(
        &mut self,
        folder: &Path,
        parts: &[String],
        rest: &[String],
        depth: usize,
    ) -> Result<(), PatternError> {
        let all = ["*".to_owned()];
        self.step(folder, if rest.is_empty() { &all } else { rest }, depth + 1)?;
        for path in self.list_visible_entries(folder)? {
            if path.is_dir() && !path.is_symlink() {
                self.step(&path, parts, depth + 1)?;
            }
        }
        Ok(())
    }

    fn match_rest(&mut self, path: PathBuf, rest: &[String], depth: usize) -> Result<(), PatternError> {
        if !rest.is_empty() {
            return self.step(&path, rest, depth + 1);
        }
        match explain_unreadable(&path) {
            None if path.is_dir() => {}
            None => self.found.push(path),
            // In `*/data.txt`, not every folder that `*` matches has a `data.txt`.
            Some(_) if !path.is_symlink() && matches!(path.try_exists(), Ok(false)) => {}
            Some(why) => return Err(PatternError::Unreadable(path, why)),
        }
        Ok(())
    }

    fn list_visible_entries(&mut self, folder: &Path) -> Result<Vec<PathBuf>, PatternError> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(unlistable_folder(folder, &error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|_| PatternError::Unreadable(folder.to_owned(), UNLISTABLE))?;
            self.entries_seen += 1;
            if self.entries_seen > MAX_PATTERN_ENTRIES {
                return Err(PatternError::TooMany);
            }
            paths.push(entry.path());
        }
        paths.retain(|path| !is_hidden(path));
        paths.sort();
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in ["a/2.txt", "a/1.txt", "a/x.md", "a/b/3.txt", "target/4.txt", ".git/5.txt"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    fn names(found: &[PathBuf], base: &Path) -> Vec<String> {
        found.iter().map(|path| path.strip_prefix(base).unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_link_in_a_checkpoint_folder_may_lead_to_the_blobs_of_its_cache_and_nowhere_else() {
        use std::os::unix::fs::symlink;
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        let repository = base.join("models--a--b");
        let snapshot = repository.join("snapshots/0123");
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir(repository.join("blobs")).unwrap();
        std::fs::write(repository.join("blobs/ab12"), "{}").unwrap();
        std::fs::write(snapshot.join("plain.json"), "{}").unwrap();
        symlink("../../blobs/ab12", snapshot.join("config.json")).unwrap();
        symlink("plain.json", snapshot.join("same.json")).unwrap();
        assert_eq!(list_folder(&snapshot).unwrap().len(), 3);
        std::fs::write(base.join("secret"), "x").unwrap();
        for target in ["../../../secret", "../../blobs/out"] {
            let link = snapshot.join("chat_template.jinja");
            symlink("../../secret", repository.join("blobs/out")).ok();
            symlink(target, &link).unwrap();
            let escape = PatternError::Escape(link.clone(), base.join("secret"));
            assert_eq!(list_folder(&snapshot), Err(escape), "{target}");
            std::fs::remove_file(link).unwrap();
        }
        let plain = base.join("checkpoint");
        std::fs::create_dir(&plain).unwrap();
        symlink("../models--a--b/blobs/ab12", plain.join("config.json")).unwrap();
        assert!(matches!(list_folder(&plain), Err(PatternError::Escape(..))), "blobs of another folder");
        symlink(&snapshot, base.join("named")).unwrap();
        assert_eq!(list_folder(&base.join("named")).unwrap().len(), 3, "the folder itself may be a link");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_whose_end_is_unknown_does_not_count_as_inside() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("config.json");
        std::os::unix::fs::symlink("config.json", &link).unwrap();
        let unknown = PatternError::Unreadable(link.clone(), "where its link leads cannot be found out");
        assert_eq!(find_escape(folder.path(), &link), Err(unknown));
    }

    #[cfg(unix)]
    #[test]
    fn only_an_absent_folder_has_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let (ring, absent) = (folder.path().join("ring"), folder.path().join("absent"));
        std::os::unix::fs::symlink("ring", &ring).unwrap();
        assert_eq!(list_folder(&ring), Err(PatternError::Unreadable(ring, UNLISTABLE)));
        assert_eq!(list_folder(&absent), Err(PatternError::NoMatch(Some(absent))));
    }

    #[test]
    fn patterns_are_sorted_and_skip_hidden_folders() {
        let folder = tree();
        let base = folder.path();
        assert_eq!(names(&expand_pattern(base, "a/*.txt").unwrap(), base), ["a/1.txt", "a/2.txt"]);
        assert_eq!(
            names(&expand_pattern(base, "**/*.txt").unwrap(), base),
            ["a/1.txt", "a/2.txt", "a/b/3.txt"]
        );
        assert_eq!(names(&expand_pattern(&base.join("a"), "../a/x.md").unwrap(), base), ["a/x.md"]);
    }

    #[cfg(unix)]
    #[test]
    fn unreadable_matches_are_not_skipped() {
        let folder = tree();
        let base = folder.path();
        assert_eq!(expand_pattern(base, "a"), Err(PatternError::Folder));
        std::os::unix::fs::symlink("/nowhere", base.join("a/0.txt")).unwrap();
        let dangling = Err(PatternError::Unreadable(base.join("a/0.txt"), "it is a link to nothing"));
        assert_eq!(expand_pattern(base, "a/*.txt"), dangling);
        assert_eq!(expand_pattern(base, "**/*.txt"), dangling);
        std::fs::remove_file(base.join("a/0.txt")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", base.join("a/0.txt")).unwrap();
        let device = Err(PatternError::Unreadable(base.join("a/0.txt"), "it is not a regular file"));
        assert_eq!(expand_pattern(base, "a/*.txt"), device);
        assert_eq!(expand_pattern(base, "a/0.txt"), device);
    }

    /// A file that even root cannot read: without permissions, or, for root, one that the kernel makes write-only.
    #[cfg(unix)]
    fn secret(folder: &Path) -> PathBuf {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let (own, link) = (folder.join("own.txt"), folder.join("kernel.txt"));
        std::fs::write(&own, "x").unwrap();
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o000)).unwrap();
        if std::fs::File::open(&own).is_err() {
            return own;
        }
        std::fs::remove_file(own).unwrap();
        symlink("/proc/sys/vm/compact_memory", &link).unwrap();
        link
    }

    #[cfg(unix)]
    #[test]
    fn unreadable_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        let path = secret(base);
        let denied = Err(PatternError::Unreadable(path.clone(), "permission denied"));
        assert_eq!(expand_pattern(base, "*.txt"), denied);
        assert_eq!(expand_pattern(base, &path.file_name().unwrap().to_string_lossy()), denied);
        assert_eq!(list_folder(base), denied);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        let dangling = Err(PatternError::Unreadable(path.clone(), "it is a link to nothing"));
        assert_eq!(expand_pattern(base, &path.file_name().unwrap().to_string_lossy()), dangling);
        assert_eq!(list_folder(base), dangling);
    }

    #[test]
    fn missing_parts_are_named() {
        let folder = tree();
        let base = folder.path();
        assert_eq!(expand_pattern(base, "none/*.txt"), Err(PatternError::NoMatch(Some(base.join("none")))));
        assert_eq!(expand_pattern(base, "a/*.csv"), Err(PatternError::NoMatch(None)));
        assert_eq!(expand_pattern(base, ".git/*.txt"), Err(PatternError::Forbidden(".git".to_owned())));
        assert_eq!(expand_pattern(base, "target/*.txt"), Err(PatternError::Forbidden("target".to_owned())));
    }
}
