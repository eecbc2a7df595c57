//! Reads configurations and lock files from disk, with limits on their size and diagnostics for everything unreadable.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::escape::escape_line;
use crate::text::place::{ConfigFile, FileRole};
use crate::text::suggest;

/// Largest configuration file, in bytes.
pub(crate) const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Largest lock file, in bytes: those of some hundred thousand files.
pub(crate) const MAX_LOCK_BYTES: u64 = 64 << 20;

/// Most folder entries that are compared with the name of a missing file.
const MAX_FOLDER_ENTRIES: usize = 1000;

/// Reads the root file of a configuration. `None` after a diagnostic.
pub(crate) fn read_configuration(path: &Path, sink: &mut Sink) -> Option<Arc<ConfigFile>> {
    match read_config_text(path) {
        Ok(text) => Some(build_root_file(&display_path(path), text, find_parent_folder(path))),
        Err(diagnostic) => {
            sink.push(diagnostic);
            None
        }
    }
}

/// Reads the lock file. `None` if there is none, or after a diagnostic.
pub(crate) fn read_lock_text(path: &Path, sink: &mut Sink) -> Option<Arc<ConfigFile>> {
    let absent =
        std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if absent {
        return None;
    }
    match read_text(path, MAX_LOCK_BYTES) {
        Ok(text) => Some(build_lock_file(path, text)),
        Err(diagnostic) => {
            sink.push(diagnostic);
            None
        }
    }
}

/// A lock file of this text. The largest number sorts its diagnostics after those of all files of the configuration.
#[must_use]
pub(crate) fn build_lock_file(path: &Path, text: String) -> Arc<ConfigFile> {
    let (name, folder) = (display_path(path), find_parent_folder(path));
    Arc::new(ConfigFile { name, text, folder, number: usize::MAX, role: FileRole::Lock })
}

/// The root file of a configuration, from text that has already been read.
#[must_use]
pub(crate) fn build_root_file(name: &str, text: String, folder: PathBuf) -> Arc<ConfigFile> {
    Arc::new(ConfigFile { name: name.to_owned(), text, folder, number: 0, role: FileRole::Root })
}

/// The absolute folder that paths in a file are relative to; `/` is its own.
pub(crate) fn find_parent_folder(path: &Path) -> PathBuf {
    let path = to_absolute_path(path);
    path.parent().unwrap_or(&path).to_owned()
}

/// The absolute path of a configuration without resolving links; as written if that fails.
#[must_use]
pub(crate) fn to_absolute_path(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The text of a configuration file, or the diagnostic that says why it cannot be read.
pub(crate) fn read_config_text(path: &Path) -> Result<String, Diagnostic> {
    read_text(path, MAX_CONFIG_BYTES)
}

fn read_text(path: &Path, most: u64) -> Result<String, Diagnostic> {
    let name = display_path(path);
    let refuse = |why: &str| Diagnostic::new(Code::UnreadableFile, format!("cannot read `{name}`: {why}"));
    let about = std::fs::metadata(path)
        .map_err(|error| refuse(&describe_io_error(&error)).help(suggest_existing_file(path)))?;
    if about.is_dir() {
        return Err(refuse("it is a folder")
            .help(format!("name a file in it, such as `{}/pipeline.kdl`", name.trim_end_matches('/'))));
    }
    if !about.is_file() {
        return Err(refuse("it is not a regular file").help("name a `.kdl` file"));
    }
    // The size is limited while reading, not by `about.len()`: the file may grow, and pseudo files report no size.
    let mut bytes = Vec::new();
    let unreadable =
        |error: &std::io::Error| refuse(&describe_io_error(error)).help("make it readable for this user");
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| refuse(&describe_io_error(&error)))?;
    if bytes.len() as u64 > most {
        return Err(file_too_large(&format!("`{name}`"), most));
    }
    String::from_utf8(bytes).map_err(|error| file_not_utf8(&name, &error))
}

/// Refuses `what` because it has more bytes than `most`, whole MiB.
pub(crate) fn file_too_large(what: &str, most: u64) -> Diagnostic {
    Diagnostic::new(Code::FileTooLarge, format!("{what} is larger than {} MiB", most >> 20))
        .help("a pipeline is a few kilobytes; keep data in separate files and name them in a `dataset`")
}

fn file_not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Diagnostic {
    let place = error.utf8_error().valid_up_to();
    let wide = [[0xff, 0xfe], [0xfe, 0xff]].iter().any(|mark| error.as_bytes().starts_with(mark));
    let from = if wide { "utf-16" } else { "latin1" };
    Diagnostic::new(
        Code::NotUtf8,
        format!("`{name}` is not UTF-8: the first invalid byte is at offset {place}"),
    )
    .help(format!("convert it: `iconv -f {from} -t utf-8 {name}`"))
}

fn suggest_existing_file(path: &Path) -> String {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Some(near) = find_similar_file(path, folder) {
        return format!("did you mean `{}`?", escape_line(&display_path(&near)));
    }
    format!("see what is there: `ls {}`", escape_line(&display_path(folder)))
}

/// The configuration in `folder` whose name is closest to that of the missing file.
fn find_similar_file(path: &Path, folder: &Path) -> Option<PathBuf> {
    let wanted = path.file_name()?.to_str()?;
    let entries = std::fs::read_dir(folder).ok()?.take(MAX_FOLDER_ENTRIES).filter_map(Result::ok);
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let mut names: Vec<_> = names.iter().filter_map(|name| name.strip_suffix(".kdl")).collect();
    names.sort_unstable();
    let stem = wanted.strip_suffix(".kdl").unwrap_or(wanted);
    let near = suggest::find_closest_name(stem, names.into_iter().filter(|name| *name != wanted))?;
    let file = format!("{near}.kdl");
    Some(
        path.parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .map_or(file.clone().into(), |parent| parent.join(file)),
    )
}

fn describe_io_error(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// The path as messages show it: relative to the current directory where possible.
#[must_use]
pub(crate) fn display_path(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
