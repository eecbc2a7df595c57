//! Reads a lock file. A person may have edited it, or a merge may have left conflict markers, so that every problem is
//! reported with its line.

use std::path::Path;
use std::sync::Arc;

use kdl::{KdlEntry, KdlNode};

use super::{LOCKFILE_SCHEMA, Lockfile, Pin, PinnedFile, to_lockfile_path};
use crate::language::parse;
use crate::pipeline::repository::{RepositoryKind, RepositoryRequest, is_commit};
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::{ConfigFile, Span};
use crate::text::read;

/// Reads the lock file beside a configuration. Without one, the result is empty; problems are reported to `sink`.
pub(crate) fn read_lockfile(config: &Path, sink: &mut Sink) -> Lockfile {
    let path = to_lockfile_path(config);
    let name = read::display_path(&path);
    let update_command = format!("fmflow check {} --online", read::display_path(config));
    let mut problems = Sink::default();
    let lock = match read::read_lock_text(&path, &mut problems) {
        Some(file) => parse_lockfile(&file, &mut problems),
        None => Lockfile::default(),
    };
    let broken = problems.errors() > 0;
    problems
        .finish()
        .into_iter()
        .for_each(|problem| sink.push(invalid_lockfile(problem, &name, &update_command)));
    Lockfile { name, update_command, broken, ..lock }
}

/// Gives a problem of a lock file the code and the help that all of them share.
fn invalid_lockfile(problem: Diagnostic, name: &str, update_command: &str) -> Diagnostic {
    let message = match problem.code {
        Code::LockInvalid | Code::UnreadableFile => problem.message,
        _ => format!("`{name}` is not KDL: {}", problem.message),
    };
    let mut diagnostic = Diagnostic::new(Code::LockInvalid, message);
    diagnostic.labels = problem.labels;
    let help = format!("restore `{name}`, or remove it and make a new one with `{update_command}`");
    diagnostic.help(help)
}

/// Reads the nodes of a lock file, as far as they can be understood.
fn parse_lockfile(file: &Arc<ConfigFile>, sink: &mut Sink) -> Lockfile {
    let mut lock = Lockfile::default();
    let Some(document) = parse::parse_kdl_file(file, sink) else { return lock };
    let mut nodes = document.nodes().iter();
    let mut reader = LockfileReader { file, sink };
    if !reader.check_header(nodes.next()) {
        return lock;
    }
    for node in nodes {
        let Some((asked, pin)) = reader.pin(node) else { continue };
        if lock.pins.insert(asked.clone(), pin).is_some() {
            reader.refuse(node.name().span(), format!("{asked} is pinned twice"), "again here");
        }
        lock.places.insert(asked, reader.place(node.name().span()));
    }
    lock
}

struct LockfileReader<'a> {
    file: &'a Arc<ConfigFile>,
    sink: &'a mut Sink,
}

impl LockfileReader<'_> {
    fn place(&self, span: miette::SourceSpan) -> Span {
        Span { file: self.file.clone(), offset: span.offset(), length: span.len() }
    }

    fn refuse(&mut self, span: miette::SourceSpan, message: impl Into<String>, label: &str) {
        let place = self.place(span);
        self.sink.push(Diagnostic::new(Code::LockInvalid, message).at(&place, label));
    }

    /// Whether the file starts with the format version that this program knows.
    fn check_header(&mut self, first: Option<&KdlNode>) -> bool {
        let version = first
            .filter(|node| node.name().value() == "lock")
            .and_then(|node| read_entry_text(node.entry(0)));
        if version == Some(LOCKFILE_SCHEMA) {
            return true;
        }
        let span = first.map_or_else(|| (0, 0).into(), |node| node.name().span());
        let message = match version {
            Some(version) => {
                format!(
                    "the lock file has format `{version}`, but this program knows only `{LOCKFILE_SCHEMA}`"
                )
            }
            None => format!("a lock file must start with `lock \"{LOCKFILE_SCHEMA}\"`"),
        };
        self.refuse(span, message, "expected here");
        false
    }

    fn pin(&mut self, node: &KdlNode) -> Option<(RepositoryRequest, Pin)> {
        let word = node.name().value();
        let Some(kind) = RepositoryKind::ALL.into_iter().find(|kind| kind.word() == word) else {
            self.refuse(
                node.name().span(),
                format!("unknown node `{word}` in a lock file"),
                "expected `model` or `dataset`",
            );
            return None;
        };
        self.check_properties(node, &["revision", "commit", "files", "size"]);
        let name = self.string(node, 0, "a name")?;
        let revision = read_entry_text(node.entry("revision")).map(str::to_owned);
        let commit = self.string(node, "commit", "`commit`")?;
        if !is_commit(&commit) {
            let span = node.entry("commit").map_or(node.name().span(), KdlEntry::span);
            self.refuse(span, "a commit must have 40 hexadecimal digits", "not a commit");
            return None;
        }
        let (count, size) = (self.number(node, "files")?, self.number(node, "size")?);
        let children = node.children().map(kdl::KdlDocument::nodes).unwrap_or_default();
        let files = children.iter().map(|child| self.file(child)).collect::<Option<_>>()?;
        Some((RepositoryRequest { kind, name, revision }, Pin { commit, count, size, files }))
    }

    fn file(&mut self, node: &KdlNode) -> Option<PinnedFile> {
        if node.name().value() != "file" {
            self.refuse(node.name().span(), "a pin may contain only files", "expected `file`");
            return None;
        }
        self.check_properties(node, &["size", "sha256"]);
        let sha256 = read_entry_text(node.entry("sha256")).map(str::to_owned);
        Some(PinnedFile { path: self.string(node, 0, "a name")?, size: self.number(node, "size")?, sha256 })
    }

    /// Reports properties that the format does not have.
    fn check_properties(&mut self, node: &KdlNode, names: &[&str]) {
        for entry in node.entries() {
            let Some(name) = entry.name().map(|name| name.value()) else { continue };
            if !names.contains(&name) {
                self.refuse(entry.span(), format!("unknown property `{name}` in a lock file"), "unknown");
            }
        }
    }

    fn string(&mut self, node: &KdlNode, key: impl Into<kdl::NodeKey>, what: &str) -> Option<String> {
        let found = read_entry_text(node.entry(key)).map(str::to_owned);
        if found.is_none() {
            self.refuse(node.name().span(), format!("{what} is missing"), "in this line");
        }
        found
    }

    fn number(&mut self, node: &KdlNode, key: &str) -> Option<u64> {
        let found = node.entry(key).and_then(|entry| entry.value().as_integer());
        let found = found.and_then(|number| u64::try_from(number).ok());
        if found.is_none() {
            self.refuse(
                node.name().span(),
                format!("`{key}` is missing or is not a whole number"),
                "in this line",
            );
        }
        found
    }
}

fn read_entry_text(entry: Option<&KdlEntry>) -> Option<&str> {
    entry?.value().as_string()
}
