//! Checks that a repository has the files that a pipeline needs.

use glob::{MatchOptions, Pattern};

use super::clean_hub_text;
use super::session::Session;
use crate::hub::lockfile::Pin;
use crate::hub::pins::RepositoryUse;
use crate::language::record::{Leaf, Record};
use crate::pipeline::repository::{PinnedFile, RepositoryKind};
use crate::text::diagnostic::{Code, Diagnostic};

impl Pin {
    /// Pins a repository with these files. The pin of a model lists the files of the checkpoint, and the first of those that are
    /// left out; that of a dataset gets its selections later.
    #[must_use]
    pub(crate) fn from_files(kind: RepositoryKind, commit: &str, files: &[PinnedFile]) -> Self {
        let model = kind == RepositoryKind::Model;
        let (mut parts, mut left): (Vec<_>, Vec<_>) =
            files.iter().filter(|_| model).cloned().partition(|file| is_checkpoint_file(&file.path));
        parts.sort_by(|a, b| a.path.cmp(&b.path));
        left.sort_by(|a, b| a.path.cmp(&b.path));
        let left = left.into_iter().take(MOST_LEFT).map(|file| file.path).collect();
        let size = files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size));
        let (commit, count) = (commit.to_owned(), files.len() as u64);
        Self { commit, count, size, files: parts, left, ..Self::default() }
    }
}

/// The most names of left-out files in a lock file.
const MOST_LEFT: usize = 20;

/// Whether a file belongs to a checkpoint: weights, settings, tokenizer or chat template, in the top folder. Never a pickle.
fn is_checkpoint_file(path: &str) -> bool {
    let kinds = [".safetensors", ".json", ".jinja"];
    let kind = kinds.iter().any(|kind| path.ends_with(kind)) || path == "merges.txt";
    !path.contains('/') && !path.starts_with('.') && kind
}

impl Session<'_> {
    /// Requires `config.json`, weights as safetensors, and, if the pipeline takes the checkpoint's tokenizer,
    /// `tokenizer.json`.
    pub(super) fn check_checkpoint_files(
        &mut self,
        one: &RepositoryUse,
        record: &Record,
        files: &[PinnedFile],
    ) {
        let has = |test: &dyn Fn(&str) -> bool| files.iter().any(|file| test(&file.path));
        let mut missing = Vec::new();
        if !has(&|path| path == "config.json") {
            missing.push("`config.json`");
        }
        if !has(&|path| path.ends_with(".safetensors") && !path.contains('/')) {
            missing.push("`*.safetensors`");
        }
        if self.gives_tokenizer(record) && !has(&|path| path == "tokenizer.json") {
            missing.push("`tokenizer.json`");
        }
        if missing.is_empty() {
            return;
        }
        let message = format!("`{}` has no {}", one.asked.name, missing.join(", no "));
        self.sink.push(
            Diagnostic::new(Code::NoFiles, message)
                .at(&one.from, format!("it has {} files, none of this name", files.len()))
                .help(suggest_checkpoint(files)),
        );
    }

    /// Whether any node takes its tokenizer from this checkpoint.
    fn gives_tokenizer(&self, fetch: &Record) -> bool {
        let is_fetch =
            |leaf: &Leaf| self.world.any_target(leaf).is_some_and(|found| std::ptr::eq(found, fetch));
        self.world.records.iter().any(|record| {
            let named = record.leaf("tokenizer").is_some_and(is_fetch);
            let beside = record.spec.name == "convert"
                && record.leaf("from").is_some_and(is_fetch)
                && record.child("tokenizer").and_then(|child| child.text("value")) == Some("beside");
            named || beside
        })
    }

    /// Requires that the pattern `files=` matches something. Returns whether it does, or is not given.
    pub(super) fn check_file_pattern(
        &mut self,
        one: &RepositoryUse,
        record: &Record,
        files: &[PinnedFile],
    ) -> bool {
        let Some(leaf) = record.leaf("files") else { return true };
        let text = leaf.expect_text();
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
        let diagnostic = match Pattern::new(text) {
            Ok(pattern) if files.iter().any(|file| pattern.matches_with(&file.path, options)) => return true,
            Ok(_) => {
                let (count, name) = (files.len(), &one.asked.name);
                Diagnostic::new(
                    Code::NoFiles,
                    format!("`{text}` matches none of the {count} files of `{name}`"),
                )
                .at(&leaf.span, "nothing matches")
                .also(&one.from, "in this repository")
                .maybe_help(suggest_nearest_files(text, files))
            }
            Err(error) => Diagnostic::new(Code::NoFiles, format!("`{text}` is not a pattern: {error}"))
                .at(&leaf.span, "cannot be matched")
                .help("`*` matches any characters of a name, `**` any folders"),
        };
        self.sink.push(diagnostic);
        false
    }
}

/// Advice for a repository without a checkpoint, naming weights in another format if it has any.
fn suggest_checkpoint(files: &[PinnedFile]) -> String {
    let others = [".bin", ".gguf", ".pt", ".pth", ".h5", ".msgpack", ".onnx"];
    let other = files.iter().find(|file| others.iter().any(|kind| file.path.ends_with(kind)));
    match other {
        Some(file) => {
            format!(
                "name a repository with safetensors weights; this one has `{}`",
                clean_hub_text(&file.path)
            )
        }
        None => "name a repository in the layout of Hugging Face transformers".to_owned(),
    }
}

/// Suggests up to three files that share the longest prefix with the pattern.
fn suggest_nearest_files(pattern: &str, files: &[PinnedFile]) -> Option<String> {
    let shared = |path: &str| path.bytes().zip(pattern.bytes()).take_while(|(a, b)| a == b).count();
    let most = files.iter().map(|file| shared(&file.path)).max()?;
    let near = files.iter().filter(|file| shared(&file.path) == most).take(3);
    let names: Vec<_> = near.map(|file| format!("`{}`", clean_hub_text(&file.path))).collect();
    Some(format!("the closest files are {}", names.join(", ")))
}
