//! Finds the nodes that name a repository, and gives them the commits that the lock file pins.

mod benchmarks;

use crate::hub::lockfile::{Lockfile, Pin, SelectionRequest};
use crate::language::names::Declarations;
use crate::language::record::{Leaf, Record, RecordPath};
use crate::language::schema::CanonicalValue;
use crate::pipeline::benchmark_repository::BenchmarkRepository;
use crate::pipeline::repository::{PinnedRepository, RepositoryFiles, RepositoryKind, RepositoryRequest};
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::escape::escape_line;
use crate::text::place::{Origin, Span};

/// A node that names a repository.
#[derive(Clone, Debug)]
pub(crate) struct RepositoryUse {
    /// The repository and revision that the node asks for.
    pub asked: RepositoryRequest,
    /// The node.
    pub record: RecordPath,
    /// Where the node names the repository.
    pub from: Span,
    /// Where the node names the revision, if it does.
    pub revision: Option<Span>,
    /// Which part of the repository it reads; everything for a model.
    pub part: SelectionRequest,
    /// The benchmark whose problems are read, if the node names one and no file.
    pub benchmark: Option<&'static BenchmarkRepository>,
}

impl RepositoryUse {
    /// Where the node names the revision; if it names none, where it names the repository.
    #[must_use]
    pub(crate) fn place(&self) -> &Span {
        self.revision.as_ref().unwrap_or(&self.from)
    }
}

/// Collects every node that names a repository on the hub, in the order of the text, and reports malformed addresses.
pub(crate) fn collect_repository_uses(world: &Declarations, sink: &mut Sink) -> Vec<RepositoryUse> {
    let mut uses = Vec::new();
    for (at, record) in world.records.iter().enumerate() {
        benchmarks::collect_benchmark_uses(
            record,
            RecordPath { top: at, inner: Vec::new() },
            &mut uses,
            sink,
        );
        let kind = RepositoryKind::ALL.into_iter().find(|kind| kind.node() == record.spec.name);
        let Some((kind, from)) = kind.zip(record.leaf("from")) else { continue };
        let CanonicalValue::Hub(address) = &from.value else {
            refuse_fields_of_repositories(record, from, sink);
            continue;
        };
        let Some(name) = address.strip_prefix("hf:") else { continue };
        if !is_repository_name(name) {
            sink.push(invalid_repository_name(kind, name, from));
            continue;
        }
        let revision = record.leaf("revision");
        let text = revision.and_then(Leaf::text).map(str::to_owned);
        uses.push(RepositoryUse {
            asked: RepositoryRequest { kind, name: name.to_owned(), revision: text },
            record: RecordPath { top: at, inner: Vec::new() },
            from: from.span.clone(),
            revision: revision.map(|leaf| leaf.span.clone()),
            part: read_part(record),
            benchmark: None,
        });
    }
    uses
}

/// The part of a dataset that a node names.
fn read_part(record: &Record) -> SelectionRequest {
    let text = |name: &str| record.leaf(name).and_then(Leaf::text).map(str::to_owned);
    SelectionRequest { subset: text("subset"), split: text("split"), files: text("files") }
}

/// Whether a hub accepts this name for a repository: one or two parts of letters, digits, `-`, `_` and `.`.
fn is_repository_name(text: &str) -> bool {
    let part = |part: &str| {
        let letters = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let ends = part.starts_with(['.', '-']) || part.ends_with(['.', '-']);
        letters && !ends && !part.is_empty() && part.len() <= 96 && !part.contains("..")
    };
    text.split('/').count() <= 2 && text.split('/').all(part)
}

fn invalid_repository_name(kind: RepositoryKind, name: &str, from: &Leaf) -> Diagnostic {
    let last = guess_repository_name(name);
    let help = match name.split_once('@') {
        Some((_, revision)) if is_repository_name(&last) => {
            format!("write `from=\"hf:{last}\" revision=\"{revision}\"`")
        }
        _ if is_repository_name(&last) => format!("write `from=\"hf:{last}\"`"),
        _ => format!("write `from=\"hf:OWNER/NAME\"`, as shown on the page of the {}", kind.word()),
    };
    Diagnostic::new(Code::WrongType, format!("`hf:{name}` is not the name of a repository"))
        .at(&from.span, "expected `hf:OWNER/NAME`")
        .help(help)
}

/// Guesses the name that was meant: people paste the URL of a page, or append a revision after `@`. The result need not be
/// a valid name.
fn guess_repository_name(text: &str) -> String {
    let page = text.split_once("://").map(|(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    let path = page.unwrap_or(text).trim_start_matches('/');
    let path = path.strip_prefix("datasets/").or_else(|| path.strip_prefix("models/")).unwrap_or(path);
    let path = path.split_once('@').map_or(path, |(name, _)| name);
    match page {
        Some(_) => path.split('/').take(2).collect::<Vec<_>>().join("/"),
        None => path.to_owned(),
    }
}

/// Reports fields of local files that only a repository has, which would otherwise be ignored silently.
fn refuse_fields_of_repositories(record: &Record, from: &Leaf, sink: &mut Sink) {
    if !matches!(from.value, CanonicalValue::Path(_)) {
        return;
    }
    for leaf in ["revision", "subset", "split", "files"].iter().filter_map(|name| record.leaf(name)) {
        let name = &leaf.spec.name;
        let message = format!("`{name}` belongs to a repository, but `from` names files on this machine");
        let help = match name.as_str() {
            _ if record.spec.name == "benchmark" => format!("remove `{name}`, or `from`"),
            "files" | "split" => "name the files in `from=`, such as `from=\"folder/*.jsonl\"`".to_owned(),
            _ => format!("remove `{name}`, or write `from=\"hf:OWNER/NAME\"`"),
        };
        sink.push(
            Diagnostic::new(Code::FieldDoesNotApply, message)
                .at(&leaf.span, "no effect")
                .also(&from.span, "a path")
                .help(help),
        );
    }
}

/// Gives every node the commit and the files that the lock file pins, and warns about unpinned nodes and stale pins.
///
/// Returns the pinned repositories, without duplicates, in the order of the text.
pub(crate) fn pin_repositories(
    world: &mut Declarations,
    lock: &Lockfile,
    sink: &mut Sink,
) -> Vec<PinnedRepository> {
    let uses = collect_repository_uses(world, sink);
    let mut pinned: Vec<PinnedRepository> = Vec::new();
    let (mut unpinned, mut unlisted) = (Vec::new(), Vec::new());
    for one in &uses {
        let found = lock.pins.get(&one.asked).map(|pin| (pin, pin.files_of(one)));
        let record = world.at_mut(&one.record);
        record.pinned = Some(match &found {
            Some((_, Some(files))) => Ok(files.clone()),
            _ => Err(explain_unpinned(one, found.is_some(), lock)),
        });
        match found {
            Some((pin, files)) => {
                if !one.asked.is_commit() {
                    let commit = files.as_ref().map_or(&pin.commit, |files| &files.commit);
                    set_revision(record, commit, one);
                    let new = PinnedRepository { asked: one.asked.clone(), commit: pin.commit.clone() };
                    if !pinned.contains(&new) {
                        pinned.push(new);
                    }
                }
                if files.is_none() && !lock.unresolved.contains(&one.asked) {
                    unlisted.push(one);
                }
            }
            // A commit never changes; that its files are not listed is said by what `run` refuses.
            None if one.asked.is_commit() || lock.unresolved.contains(&one.asked) => {}
            None => unpinned.push(one),
        }
    }
    if lock.broken {
        return pinned;
    }
    let unpinned = unpinned_repositories(&unpinned, &lock.update_command);
    let unlisted = unlisted_repositories(&unlisted, lock);
    unpinned.into_iter().chain(unlisted).for_each(|diagnostic| sink.push(diagnostic));
    lock.report_stale_pins(&uses.iter().map(|one| &one.asked).collect::<Vec<_>>(), sink);
    pinned
}

impl Pin {
    /// The pinned files of a node; `None` if the lock file does not list them.
    fn files_of(&self, one: &RepositoryUse) -> Option<RepositoryFiles> {
        let RepositoryRequest { kind, name, .. } = one.asked.clone();
        let (commit, files, left) = match kind {
            RepositoryKind::Model => {
                let left = self.count.saturating_sub(self.files.len() as u64);
                (&self.commit, &self.files, (self.left.clone(), left))
            }
            RepositoryKind::Dataset => {
                let found = self.selections.get(&one.part)?;
                (found.commit.as_ref().unwrap_or(&self.commit), &found.files, (Vec::new(), 0))
            }
        };
        // An old lock file has no hashes of small files, which cannot be verified without.
        let hashed = files.iter().all(|file| file.sha256.is_some() || file.blob.is_some());
        let (commit, files) = (commit.clone(), files.clone());
        (hashed && !files.is_empty()).then_some(RepositoryFiles { kind, name, commit, files, left })
    }
}

/// Why `run` refuses a node without pinned files.
fn explain_unpinned(one: &RepositoryUse, pinned: bool, lock: &Lockfile) -> String {
    let name = &one.asked.name;
    let (command, file) = (&lock.update_command, escape_line(&lock.name));
    match pinned || one.asked.is_commit() {
        true => format!("`{file}` does not list the files of `hf:{name}`: run `{command}`"),
        false => format!("`hf:{name}` is not pinned: run `{command}`"),
    }
}

/// Sets the revision of a node to the commit.
fn set_revision(record: &mut Record, commit: &str, one: &RepositoryUse) {
    let order = record.spec.fields().position(|field| field.name == "revision");
    let spec = record.spec.fields().find(|field| field.name == "revision");
    let spec = spec.expect("every node that names a repository has `revision`");
    let leaf = Leaf {
        spec,
        value: CanonicalValue::Text(commit.to_owned()),
        span: one.place().clone(),
        origin: Origin::Lock,
    };
    match record.leaves.iter_mut().find(|leaf| leaf.spec.name == "revision") {
        Some(old) => *old = leaf,
        // Leaves are kept in the order of the field table.
        None => {
            let before =
                |leaf: &&Leaf| record.spec.fields().position(|field| field.name == leaf.spec.name) < order;
            let at = record.leaves.iter().take_while(before).count();
            record.leaves.insert(at, leaf);
        }
    }
}

/// The uses without those at the place of an earlier one: a recipe is used by many stages.
pub(crate) fn drop_repeated_places<'a>(uses: &[&'a RepositoryUse]) -> Vec<&'a RepositoryUse> {
    let mut kept: Vec<&RepositoryUse> = Vec::new();
    for one in uses {
        if !kept.iter().any(|other| other.place().key() == one.place().key()) {
            kept.push(one);
        }
    }
    kept
}

/// Warns about nodes without a commit: one warning for all of them.
fn unpinned_repositories(unpinned: &[&RepositoryUse], update_command: &str) -> Option<Diagnostic> {
    let unpinned = drop_repeated_places(unpinned);
    let (first, others) = unpinned.split_first()?;
    let mut names: Vec<_> = unpinned.iter().map(|one| &one.asked).collect();
    names.sort();
    names.dedup();
    let message = match names.len() - 1 {
        0 => format!("`hf:{}` may change between two runs", first.asked.name),
        more => format!("`hf:{}` and {more} more repositories may change between two runs", first.asked.name),
    };
    let mut diagnostic = Diagnostic::new(Code::UnpinnedRevision, message).at(first.place(), "not a commit");
    for other in others {
        diagnostic = diagnostic.also(other.place(), "nor this");
    }
    let help = format!(
        "run `{update_command}` to pin it in a lock file, or write the 40 digits of a commit in `revision=`"
    );
    Some(diagnostic.help(help))
}

/// Warns about pinned nodes whose files the lock file does not list: one warning for all of them.
fn unlisted_repositories(unlisted: &[&RepositoryUse], lock: &Lockfile) -> Option<Diagnostic> {
    let unlisted = drop_repeated_places(unlisted);
    let (first, others) = unlisted.split_first()?;
    let message = format!("`{}` does not list the files of `hf:{}`", lock.name, first.asked.name);
    let mut diagnostic = Diagnostic::new(Code::UnpinnedRevision, message).at(first.place(), "files unknown");
    for other in others {
        diagnostic = diagnostic.also(other.place(), "nor of this");
    }
    Some(diagnostic.help(format!("run `{}` to list them with their hashes", lock.update_command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_or_two_parts() {
        for name in ["gpt2", "Qwen/Qwen3-1.7B", "a/b_c.d"] {
            assert!(is_repository_name(name), "{name}");
        }
        let long = "x".repeat(97);
        for name in ["", "/", "a/", "a/b/c", "a b/c", "a/..", "../a", "a/.b", "a/b?c", "é/a", "a/b%2f", &long]
        {
            assert!(!is_repository_name(name), "{name}");
        }
    }
}
