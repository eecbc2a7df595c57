//! Reads a lock file. A person may have edited it, or a merge may have left conflict markers, so that every problem is
//! reported with its line.

use std::path::Path;
use std::sync::Arc;

use kdl::{KdlEntry, KdlNode};

use super::lines::DividedLock;
use super::{FileSelection, LOCKFILE_SCHEMA, Lockfile, Pin, SELECTED_BY, SelectionRequest, to_lockfile_path};
use crate::language::parse;
use crate::pipeline::repository::{PinnedFile, RepositoryKind, RepositoryRequest, is_commit, is_hash};
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::{ConfigFile, Span};
use crate::text::read;

/// Reads the lock file beside a configuration. Without one, the result is empty; problems are reported to `sink`.
pub(crate) fn read_lockfile(config: &Path, sink: &mut Sink) -> Lockfile {
    let path = to_lockfile_path(config);
    let name = read::display_path(&path);
    let update_command = format!("fmflow check {} --online", read::display_path(config));
    let mut problems = Sink::default();
    let divided = read::read_lock_text(&path, &mut problems).map(DividedLock::new);
    let parsed = divided.as_ref().map(|divided| parse_lockfile(divided, &mut problems));
    let mut lock = parsed.unwrap_or_default();
    let broken = problems.errors() > 0;
    for problem in problems.finish() {
        let placed = divided.iter().fold(problem, |problem, divided| divided.find_places(problem));
        sink.push(invalid_lockfile(placed, &name, &update_command));
    }
    if let Some(divided) = &divided {
        lock.places.values_mut().for_each(|place| *place = divided.find_place(place));
    }
    Lockfile { name, update_command, broken, ..lock }
}

/// Gives a problem of a lock file the code and the help that all of them share.
fn invalid_lockfile(problem: Diagnostic, name: &str, update_command: &str) -> Diagnostic {
    let message = match problem.code {
        Code::LockInvalid | Code::UnreadableFile | Code::FileTooLarge | Code::NotUtf8 => problem.message,
        _ => format!("`{name}` is not KDL: {}", problem.message),
    };
    let mut diagnostic = Diagnostic::new(Code::LockInvalid, message);
    diagnostic.labels = problem.labels;
    let help = format!("restore `{name}`, or remove it and make a new one with `{update_command}`");
    diagnostic.help(help)
}

/// Reads the nodes of a lock file, as far as they can be understood.
pub(super) fn parse_lockfile(divided: &DividedLock, sink: &mut Sink) -> Lockfile {
    let mut lock = Lockfile::default();
    let file = &divided.rest;
    let Some(document) = parse::parse_kdl_file(file, sink) else { return lock };
    let mut nodes = document.nodes().iter();
    let mut reader = LockfileReader { file, sink };
    if !reader.check_header(nodes.next()) {
        return lock;
    }
    let mut last: Option<(RepositoryRequest, Option<SelectionRequest>)> = None;
    let mut files = divided.files.iter().peekable();
    for node in nodes.map(Some).chain([None]) {
        let start = node.map_or(usize::MAX, |node| node.span().offset());
        while let Some((_, line, found)) = files.next_if(|(at, ..)| *at <= start) {
            reader.add_file(found.clone(), &divided.find_file(*line), last.as_ref(), &mut lock);
        }
        let Some(node) = node else { break };
        match node.name().value() {
            "selection" => reader.add_selection(node, &mut last, &mut lock),
            "file" => reader.add_selected_file(node, last.as_ref(), &mut lock),
            _ => {
                last = None;
                let Some((asked, pin)) = reader.pin(node) else { continue };
                if lock.pins.insert(asked.clone(), pin).is_some() {
                    reader.refuse(node.name().span(), format!("{asked} is pinned twice"), "again here");
                }
                lock.places.insert(asked.clone(), reader.place(node.name().span()));
                last = Some((asked, None));
            }
        }
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
        self.string(node, "commit", "`commit`")?;
        let commit = self.commit(node)??;
        let (count, size) = (self.number(node, "files")?, self.number(node, "size")?);
        let mut pin = Pin { commit, count, size, ..Pin::default() };
        for child in node.children().map(kdl::KdlDocument::nodes).unwrap_or_default() {
            self.part(child, &mut pin)?;
        }
        Some((RepositoryRequest { kind, name, revision }, pin))
    }

    /// The commit of a node, if it has one; the outer `None` if it is not a commit.
    #[expect(clippy::option_option, reason = "absent and wrong are two things")]
    fn commit(&mut self, node: &KdlNode) -> Option<Option<String>> {
        let Some(entry) = node.entry("commit") else { return Some(None) };
        if let Some(commit) = entry.value().as_string().filter(|commit| is_commit(commit)) {
            return Some(Some(commit.to_owned()));
        }
        self.refuse(entry.span(), "a commit must have 40 hexadecimal digits", "not a commit");
        None
    }

    /// Adds a node below a pin to it.
    fn part(&mut self, node: &KdlNode, pin: &mut Pin) -> Option<()> {
        match node.name().value() {
            "file" => pin.files.push(self.file(node)?),
            "left" => {
                pin.left = node
                    .entries()
                    .iter()
                    .filter_map(|entry| read_entry_text(Some(entry)).map(str::to_owned))
                    .collect()
            }
            _ => {
                self.refuse(node.name().span(), "a pin may contain only files", "expected `file`");
                return None;
            }
        }
        Some(())
    }

    /// Adds a selection to the dataset above it.
    fn add_selection(
        &mut self,
        node: &KdlNode,
        last: &mut Option<(RepositoryRequest, Option<SelectionRequest>)>,
        lock: &mut Lockfile,
    ) {
        let Some((asked, found)) = self.selection(node) else {
            *last = None;
            return;
        };
        let pin = last.as_ref().filter(|(pin, _)| pin.kind == RepositoryKind::Dataset);
        let Some((pin, _)) = pin else {
            // What follows a node that was refused is a consequence.
            if self.sink.errors() > 0 {
                return;
            }
            return self.refuse(node.name().span(), "a selection must follow its dataset", "of no dataset");
        };
        let selections = &mut lock.pins.get_mut(pin).expect("the last pin was inserted").selections;
        if selections.insert(asked.clone(), found).is_some() {
            self.refuse(node.name().span(), "a part of a dataset is selected twice", "again here");
        }
        *last = Some((pin.clone(), Some(asked)));
    }

    /// Adds a file to the selection above it.
    fn add_selected_file(
        &mut self,
        node: &KdlNode,
        last: Option<&(RepositoryRequest, Option<SelectionRequest>)>,
        lock: &mut Lockfile,
    ) {
        let Some(file) = self.file(node) else { return };
        let place = self.place(node.name().span());
        self.add_file(file, &place, last, lock);
    }

    fn add_file(
        &mut self,
        file: PinnedFile,
        place: &Span,
        last: Option<&(RepositoryRequest, Option<SelectionRequest>)>,
        lock: &mut Lockfile,
    ) {
        let Some((pin, Some(asked))) = last else {
            if self.sink.errors() > 0 {
                return;
            }
            let message = "a file must follow its selection";
            return self.sink.push(Diagnostic::new(Code::LockInvalid, message).at(place, "of no selection"));
        };
        let pin = lock.pins.get_mut(pin).expect("the last pin was inserted");
        pin.selections.get_mut(asked).expect("the last selection was inserted").files.push(file);
    }

    fn selection(&mut self, node: &KdlNode) -> Option<(SelectionRequest, FileSelection)> {
        self.check_properties(
            node,
            &["subset", "split", "files", "by", "found-subset", "found-split", "commit"],
        );
        let text = |name: &str| read_entry_text(node.entry(name)).map(str::to_owned);
        let asked = SelectionRequest { subset: text("subset"), split: text("split"), files: text("files") };
        let by = self.string(node, "by", "`by`")?;
        if !SELECTED_BY.contains(&by.as_str()) {
            let message = format!("`by` must be one of {}", SELECTED_BY.join(", "));
            self.refuse(node.name().span(), message, "in this line");
            return None;
        }
        let commit = self.commit(node)?;
        let (subset, split) = (text("found-subset"), text("found-split"));
        Some((asked, FileSelection { by, subset, split, commit, files: Vec::new() }))
    }

    fn file(&mut self, node: &KdlNode) -> Option<PinnedFile> {
        self.check_properties(node, &["size", "sha256", "blob"]);
        let (path, size) = (self.string(node, 0, "a name")?, self.number(node, "size")?);
        let (sha256, blob) = (self.hash(node, "sha256", 64)?, self.hash(node, "blob", 40)?);
        Some(PinnedFile { path, size, sha256, blob })
    }

    /// The hash of a file, if it has one; the outer `None` if it is not a hash.
    #[expect(clippy::option_option, reason = "absent and wrong are two things")]
    fn hash(&mut self, node: &KdlNode, key: &str, digits: usize) -> Option<Option<String>> {
        let Some(entry) = node.entry(key) else { return Some(None) };
        if let Some(hash) = entry.value().as_string().filter(|hash| is_hash(hash, digits)) {
            return Some(Some(hash.to_owned()));
        }
        self.refuse(entry.span(), format!("`{key}` must have {digits} hexadecimal digits"), "not a hash");
        None
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
