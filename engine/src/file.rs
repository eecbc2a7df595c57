//! Reading configurations and finding data files: the only place of the language room that touches the disk.

mod glob;
mod head;
mod include;
mod scan;
mod value;
mod words;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kdl::KdlDocument;

pub use self::glob::{Missing, expand, folder};
pub use self::head::{Beginning, beginning, names, size, small};
pub use self::include::{Loaded, load};
use self::scan::Refusal;
pub(crate) use self::scan::string as text_length;
pub use self::value::values;
pub use self::words::words;
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::pipeline::{File, Role, Span};
use crate::suggest;

/// Largest configuration in bytes.
const LARGEST: u64 = 1 << 20;

/// Most entries of a folder that are looked at for a name that is meant.
const MOST_ENTRIES: usize = 1000;

/// Stack of the thread that parses: `kdl` recurses once per level.
const STACK: usize = 32 << 20;

/// Reads the configuration that was named. `None` after a diagnostic.
pub fn read(path: &Path, sink: &mut Sink) -> Option<Arc<File>> {
    match text(path) {
        Ok(text) => Some(named(&shown(path), text, folder_of(path))),
        Err(diagnostic) => {
            sink.push(diagnostic);
            None
        }
    }
}

/// Reads the lock file. `None` where there is none, and after a diagnostic.
pub fn read_lock(path: &Path, sink: &mut Sink) -> Option<Arc<File>> {
    let absent =
        std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if absent {
        return None;
    }
    match text(path) {
        // After all files of the configuration.
        Ok(text) => {
            let (name, folder) = (shown(path), folder_of(path));
            Some(Arc::new(File { name, text, folder, number: usize::MAX, role: Role::Lock }))
        }
        Err(diagnostic) => {
            sink.push(diagnostic);
            None
        }
    }
}

/// The file that was named, from its text.
#[must_use]
pub fn named(name: &str, text: String, folder: PathBuf) -> Arc<File> {
    Arc::new(File { name: name.to_owned(), text, folder, number: 0, role: Role::Root })
}

/// The folder that paths in a file are relative to.
fn folder_of(path: &Path) -> PathBuf {
    absolute(path).parent().map(Path::to_owned).unwrap_or_default()
}

/// The absolute path of an existing configuration; as written where that fails.
#[must_use]
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Names of the environment variables that are set and not empty.
#[must_use]
pub fn environment() -> Vec<String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    set.filter_map(|(name, _)| name.into_string().ok()).collect()
}

/// The value of an environment variable without blanks around it, if it is set, not empty, and text.
#[must_use]
pub fn secret(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?.trim().to_owned();
    (!value.is_empty()).then_some(value)
}

/// The text of a configuration.
fn text(path: &Path) -> Result<String, Diagnostic> {
    let name = shown(path);
    let refuse = |why: &str| Diagnostic::new(Code::UnreadableFile, format!("cannot read `{name}`: {why}"));
    let about = std::fs::metadata(path).map_err(|error| refuse(&reason(&error)).help(absent_help(path)))?;
    if about.is_dir() {
        return Err(
            refuse("it is a folder").help(format!("name a file in it, such as `{name}/pipeline.kdl`"))
        );
    }
    if !about.is_file() {
        return Err(refuse("it is not a regular file").help("name a `.kdl` file"));
    }
    let mut bytes = Vec::new();
    let unreadable = |error: &std::io::Error| refuse(&reason(error)).help("make it readable for this user");
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| refuse(&reason(&error)))?;
    if bytes.len() as u64 > LARGEST {
        return Err(too_large(&name));
    }
    String::from_utf8(bytes).map_err(|error| not_utf8(&name, &error))
}

fn too_large(name: &str) -> Diagnostic {
    Diagnostic::new(Code::FileTooLarge, format!("`{name}` is larger than 1 MiB"))
        .help("a pipeline is a few kilobytes; keep data in files and name them with `dataset`")
}

fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Diagnostic {
    let place = error.utf8_error().valid_up_to();
    let wide = [[0xff, 0xfe], [0xfe, 0xff]].iter().any(|mark| error.as_bytes().starts_with(mark));
    let from = if wide { "utf-16" } else { "latin1" };
    Diagnostic::new(
        Code::NotUtf8,
        format!("`{name}` is not UTF-8: byte {place} is the first that does not fit"),
    )
    .help(format!("convert it: `iconv -f {from} -t utf-8 {name}`"))
}

fn absent_help(path: &Path) -> String {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Some(near) = near(path, folder) {
        return format!("did you mean `{}`?", shown(&near));
    }
    format!("see what is there: `ls {}`", shown(folder))
}

/// The configuration in a folder whose name is closest to that of an absent one.
fn near(path: &Path, folder: &Path) -> Option<PathBuf> {
    let wanted = path.file_name()?.to_str()?;
    let entries = std::fs::read_dir(folder).ok()?.take(MOST_ENTRIES).filter_map(Result::ok);
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let mut names: Vec<_> = names.iter().filter_map(|name| name.strip_suffix(".kdl")).collect();
    names.sort_unstable();
    let stem = wanted.strip_suffix(".kdl").unwrap_or(wanted);
    let near = suggest::closest(stem, names.into_iter().filter(|name| *name != wanted))?;
    let file = format!("{near}.kdl");
    Some(
        path.parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .map_or(file.clone().into(), |parent| parent.join(file)),
    )
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// The path as people know it: relative to the current directory where possible.
#[must_use]
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// Parses a text. `None` after diagnostics.
pub fn parse(file: &Arc<File>, sink: &mut Sink) -> Option<KdlDocument> {
    if file.text.len() as u64 > LARGEST {
        sink.push(too_large(&file.name));
        return None;
    }
    // YAML may well parse as nodes whose names end with a colon.
    if let Some(diagnostic) = crate::syntax::yaml(file) {
        sink.push(diagnostic);
        return None;
    }
    let cuts = match scan::cuts(&file.text) {
        Ok(cuts) => cuts,
        Err(refusal) => {
            sink.push(refused(file, refusal));
            return None;
        }
    };
    match parse_on_thread(&file.text, &cuts) {
        Ok(document) => Some(document),
        Err((start, error)) => {
            crate::syntax::report(file, start, &error, sink);
            None
        }
    }
}

fn refused(file: &Arc<File>, refusal: Refusal) -> Diagnostic {
    let place = |offset| Span { file: file.clone(), offset, length: 1 };
    match refusal {
        Refusal::Deep(at) => Diagnostic::new(
            Code::NestedTooDeep,
            format!("braces or comments nest deeper than {}", scan::DEEPEST),
        )
        .at(&place(at), "one level too many")
        .help("a pipeline needs four levels; is a closing `}` missing?"),
        Refusal::Unmatched(at) => Diagnostic::new(Code::Syntax, "this bracket closes nothing")
            .at(&place(at), "not opened")
            .help("remove it, or find the `{` or `(` that is missing before it"),
        Refusal::Many(at) => Diagnostic::new(Code::FileTooLarge, "a configuration of more than 20 000 lines")
            .at(&place(at), "one line too many")
            .help("keep data in files and name them with `dataset`"),
        Refusal::Long(at) => {
            let message = format!("a top-level node is longer than {} KiB", scan::LONGEST >> 10);
            Diagnostic::new(Code::FileTooLarge, message)
                .at(&place(at), "starts here")
                .help("keep data in files and name them with `dataset`; is a closing quote or brace missing?")
        }
    }
}

/// `kdl` overflows a small stack on deep nesting; the scan bounds the depth, the thread gives the room.
fn parse_on_thread(text: &str, cuts: &[usize]) -> Result<KdlDocument, (usize, kdl::KdlError)> {
    let work = || {
        check_pieces(text, cuts)?;
        KdlDocument::parse_v2(text).map_err(|error| (0, error))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            _ => Err((0, kdl::KdlError { input: Arc::new(String::new()), diagnostics: Vec::new() })),
        }
    })
}

/// Parses a large text piece by piece up to the first with faults: the parser's time grows with their number squared.
fn check_pieces(text: &str, cuts: &[usize]) -> Result<(), (usize, kdl::KdlError)> {
    if text.len() <= scan::LONGEST {
        return Ok(());
    }
    let mut start = 0;
    for (at, end) in cuts.iter().enumerate() {
        let next = cuts.get(at + 1).copied().unwrap_or(usize::MAX);
        if next - start > scan::LONGEST / 4 {
            let piece = text.get(start..*end).unwrap_or_default();
            KdlDocument::parse_v2(piece).map_err(|error| (start, error))?;
            start = *end;
        }
    }
    Ok(())
}
