//! Decodes validated records into the typed settings of stages. Types, ranges and required fields have already been
//! checked against the field table, so only what the table cannot express is checked here.

mod attention;
mod average;
mod benchmark;
mod columns;
mod command;
mod constraint;
mod contamination;
mod contents;
mod data;
mod dataset;
mod frontier;
mod growth;
mod heads;
mod model;
mod probe;
mod sample;
mod sampler;
mod small_dataset;
mod tables;
mod train;
mod unfit;
mod watchers;

pub(crate) use data::UNWINDOWED_COPIES;
pub(crate) use dataset::UNREADABLE_FILES;
pub(crate) use small_dataset::find_shortest_answer;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
pub(crate) use watchers::decode_watchers;

use crate::language::draft::Draft;
use crate::language::names::Declarations;
use crate::language::record::{Leaf, Record};
use crate::pipeline::Budget;
use crate::pipeline::config::{
    Constraint, ConstraintSource, ExportConfig, ExportDtype, ExportFormat, StageConfig,
};
use crate::pipeline::stage::{FieldValue, SourceFiles};
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::escape::show_path;
use crate::text::glob;
use crate::text::glob::PatternError;
use crate::text::place::Span;

/// A decoded stage.
pub(crate) struct DecodedStage {
    /// The typed settings.
    pub config: StageConfig,
    /// The files on this machine that the stage reads.
    pub sources: Vec<SourceFiles>,
    /// The files that its probe reads.
    pub observed: Vec<SourceFiles>,
    /// Settings besides those of the field table: names of files that count.
    pub named: Vec<FieldValue>,
    /// Places and reasons of features that `run` refuses, in addition to those that the field table marks.
    pub unsupported: Vec<(Span, String)>,
    /// Other reasons why `run` refuses the stage, each as a sentence.
    pub refusals: Vec<String>,
}

/// Decodes one stage.
pub(crate) struct Decoder<'a> {
    /// All declarations of the configuration, to resolve references.
    pub world: &'a Declarations,
    /// Receives the diagnostics.
    pub sink: &'a mut Sink,
    /// Whether files may be absent, because something else takes their place.
    may_lack_files: bool,
    sources: Vec<SourceFiles>,
    observed: Vec<SourceFiles>,
    named: Vec<FieldValue>,
    unsupported: Vec<(Span, String)>,
    refusals: Vec<String>,
    /// Constraints that were read, since many requests of a stage have the same.
    constraints: HashMap<ConstraintSource, Constraint>,
}

impl<'a> Decoder<'a> {
    /// A decoder for one stage.
    pub(crate) fn new(world: &'a Declarations, may_lack_files: bool, sink: &'a mut Sink) -> Self {
        let (unsupported, refusals) = (Vec::new(), Vec::new());
        let (sources, observed, named) = (Vec::new(), Vec::new(), Vec::new());
        let constraints = HashMap::new();
        Self { world, sink, may_lack_files, sources, observed, named, unsupported, refusals, constraints }
    }

    /// Decodes a stage. `None` if something that it needs is broken; that has already been reported.
    pub(crate) fn stage(mut self, draft: &Draft<'_>) -> Option<DecodedStage> {
        let config = self.config(draft)?;
        let Self { sources, observed, named, unsupported, refusals, .. } = self;
        Some(DecodedStage { config, sources, observed, named, unsupported, refusals })
    }

    fn config(&mut self, draft: &Draft<'_>) -> Option<StageConfig> {
        let record = draft.record;
        Some(match record.spec.name.as_str() {
            // An implicit fetch is declared by the `convert` node, so its record is that node.
            "convert" if draft.implicit_fetch => StageConfig::Fetch(self.fetch(record)?),
            "fetch" => StageConfig::Fetch(self.fetch(record)?),
            "tokenizer" => StageConfig::Tokenizer(self.tokenizer(record)?),
            "rows" => StageConfig::Rows(Box::new(
                self.rows(record, draft.dataset.expect("rows are made of a dataset"))?,
            )),
            "random-init" => StageConfig::RandomInit(self.random_init(record)?),
            "convert" => StageConfig::Convert(self.convert(record)?),
            "train" => StageConfig::Train(Box::new(self.train(record)?)),
            "average" => StageConfig::Average(self.average(record)?),
            "evaluate" => StageConfig::Evaluate(self.evaluate(record)?),
            "frontier" => StageConfig::Frontier(self.frontier(record)?),
            "generate" => StageConfig::Generate(self.generate(record)?),
            "export" => StageConfig::Export(decode_export(record)?),
            "command" => StageConfig::Command(self.command(record)?),
            "report" => StageConfig::Report,
            other => unreachable!("a stage is one of the kinds above, not `{other}`"),
        })
    }

    fn mark_unsupported(&mut self, span: &Span, reason: &str) {
        self.unsupported.push((span.clone(), reason.to_owned()));
    }

    /// The single file that a field names, or a diagnostic. The file becomes a source called `name`.
    fn one_file(&mut self, what: &str, name: &str, leaf: &Leaf) -> Option<PathBuf> {
        let pattern = leaf.text()?;
        let files = self.files(what, pattern, &leaf.span)?;
        if files.is_empty() {
            self.sources.push(SourceFiles::local(name, files));
            return Some(leaf.span.file.folder.join(pattern));
        }
        let [file] = &*files else {
            self.sink.push(several_files(what, pattern, &leaf.span, &files));
            return None;
        };
        let file = file.clone();
        self.sources.push(SourceFiles::local(name, files));
        Some(file)
    }

    /// The files that a pattern matches, or a diagnostic that begins with `what`. None at all only if files may be absent.
    fn files(&mut self, what: &str, pattern: &str, span: &Span) -> Option<Vec<PathBuf>> {
        match glob::expand_pattern(&span.file.folder, pattern) {
            Ok(files) => Some(files),
            Err(PatternError::NoMatch(_)) if self.may_lack_files => Some(Vec::new()),
            Err(missing) => {
                self.sink.push(pattern_without_files(what, pattern, span, missing));
                None
            }
        }
    }
}

fn several_files(what: &str, pattern: &str, span: &Span, files: &[PathBuf]) -> Diagnostic {
    let base = &span.file.folder;
    let first = show_path(files[0].strip_prefix(base).unwrap_or(&files[0]));
    let message = format!("{what} must be one file, but `{pattern}` matches {}", files.len());
    Diagnostic::new(Code::NoFiles, message)
        .at(span, "several files")
        .help(format!("name one of them, such as `{first}`"))
}

fn pattern_without_files(what: &str, pattern: &str, span: &Span, missing: PatternError) -> Diagnostic {
    let base = &span.file.folder;
    let relative = "paths are relative to the file in which they are written";
    match missing {
        PatternError::Forbidden(folder) => {
            let message = format!("{what} leads into `{folder}`, which is never read");
            Diagnostic::new(Code::ForbiddenFolder, message)
                .at(span, "hidden folders, `target/` and stores are never read")
                .help("move the files into an ordinary folder")
        }
        PatternError::Pattern(reason) => {
            Diagnostic::new(Code::NoFiles, format!("`{pattern}` is not a pattern: {reason}"))
                .at(span, "not a pattern")
                .help("`*` matches any characters of a name, `**` any folders")
        }
        PatternError::TooMany => {
            Diagnostic::new(Code::NoFiles, format!("`{pattern}` searches too many files or folders"))
                .at(span, "too broad")
                .help("name the folder that holds the files")
        }
        PatternError::Folder => Diagnostic::new(Code::NoFiles, format!("{what} names a folder"))
            .at(span, "a folder, not a file")
            .help(format!("name the files in it, such as `{}/*`", pattern.trim_end_matches('/'))),
        PatternError::Unreadable(path, why) => {
            let path = show_path(path.strip_prefix(base).unwrap_or(&path));
            Diagnostic::new(Code::NoFiles, format!("{what}: cannot read `{path}`: {why}"))
                .at(span, "this matches it")
                .help(format!("make `{path}` readable, move it away, or name other files"))
        }
        PatternError::Escape(path, target) => {
            let path = show_path(path.strip_prefix(base).unwrap_or(&path));
            let message = format!(
                "{what}: `{path}` is a link that leads out of the folder, to `{}`",
                show_path(target)
            );
            Diagnostic::new(Code::NoFiles, message)
                .at(span, "has a link that leads out of it")
                .help(format!("if it belongs to the checkpoint, put the file itself in the place of `{path}`; if not, remove it"))
        }
        PatternError::NoMatch(absent) => {
            let absent = absent.map(|path| path.strip_prefix(base).map(Path::to_owned).unwrap_or(path));
            let label = match &absent {
                Some(path) => format!("`{}` does not exist", show_path(path)),
                None => "nothing matches".to_owned(),
            };
            let relative = match pattern {
                _ if pattern.starts_with('~') => "`~` is not expanded to your home folder",
                _ if pattern.contains('$') => "environment variables are not expanded",
                _ => relative,
            };
            Diagnostic::new(Code::NoFiles, format!("{what} has no files"))
                .at(span, label)
                .help(format!("{relative}; fix `{pattern}` or create the files"))
        }
    }
}

/// A word that the field table has and the decoder has not would pass for another one: that must not go unseen.
fn unknown_word(word: &str) -> ! {
    unreachable!("the field table has no word `{word}` here")
}

fn decode_export(record: &Record) -> Option<ExportConfig> {
    let dtype = match record.text("dtype")? {
        "bf16" => ExportDtype::Bf16,
        "f32" => ExportDtype::F32,
        word => unknown_word(word),
    };
    let format = match record.text("format")? {
        "huggingface" => ExportFormat::HuggingFace,
        "peft" => ExportFormat::Peft,
        "sdar" => ExportFormat::Sdar,
        word => unknown_word(word),
    };
    Some(ExportConfig { format, dtype, shard_bytes: record.count("shard-size")? })
}

/// Name, seed and budget of a `pipeline` node. `None` if the name or the seed is missing.
#[must_use]
pub(crate) fn decode_pipeline(record: &Record) -> Option<(String, u64, Budget)> {
    let budget = record.child("budget");
    let machine = record.child("machine");
    let days = budget.and_then(|budget| budget.number("days")).map(|days| days * 86_400.0);
    let budget = Budget {
        seconds: budget.and_then(|budget| budget.number("time")).or(days),
        disk: budget.and_then(|budget| budget.count("disk")),
        gpu: machine.and_then(|machine| machine.text("gpu")).map(str::to_owned),
        mfu: machine.and_then(|machine| machine.number("mfu")),
    };
    Some((record.name()?.to_owned(), record.count("seed")?, budget))
}
