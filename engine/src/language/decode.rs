//! Records become the typed settings of stages. Nothing is checked twice: what the field table can say, it has said.

mod attention;
mod columns;
mod data;
mod model;
mod sample;
mod sampler;
mod train;

use std::path::{Path, PathBuf};

use crate::language::draft::Draft;
use crate::language::names::Declarations;
use crate::language::record::{Leaf, Record};
use crate::pipeline::Budget;
use crate::pipeline::config::{ExportConfig, ExportDtype, StageConfig};
use crate::pipeline::stage::SourceFiles;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::glob;
use crate::text::glob::PatternError;
use crate::text::place::Span;

/// What decoding one stage gives, besides diagnostics.
pub struct DecodedStage {
    /// Its settings.
    pub config: StageConfig,
    /// Files it reads.
    pub sources: Vec<SourceFiles>,
    /// Why `run` refuses it, beyond what the field table says.
    pub unsupported: Vec<(Span, String)>,
}

/// Decodes stages of one world.
pub struct Decoder<'a> {
    /// Names and nodes.
    pub world: &'a Declarations,
    /// Where faults go.
    pub sink: &'a mut Sink,
    sources: Vec<SourceFiles>,
    unsupported: Vec<(Span, String)>,
}

impl<'a> Decoder<'a> {
    /// A decoder for one stage.
    pub fn new(world: &'a Declarations, sink: &'a mut Sink) -> Self {
        Self { world, sink, sources: Vec::new(), unsupported: Vec::new() }
    }

    /// The settings of a stage; `None` when something that it needs is broken, which has been told.
    pub fn stage(mut self, draft: &Draft<'_>) -> Option<DecodedStage> {
        let config = self.config(draft)?;
        Some(DecodedStage { config, sources: self.sources, unsupported: self.unsupported })
    }

    fn config(&mut self, draft: &Draft<'_>) -> Option<StageConfig> {
        let record = draft.record;
        Some(match record.spec.name.as_str() {
            "convert" if draft.implicit_fetch => StageConfig::Fetch(self.fetch(record)?),
            "fetch" => StageConfig::Fetch(self.fetch(record)?),
            "tokenizer" => StageConfig::Tokenizer(self.tokenizer(record)?),
            "rows" => {
                StageConfig::Rows(self.rows(record, draft.dataset.expect("rows are made of a dataset"))?)
            }
            "random-init" => StageConfig::RandomInit(self.random_init(record)?),
            "convert" => StageConfig::Convert(self.convert(record)?),
            "train" => StageConfig::Train(Box::new(self.train(record)?)),
            "evaluate" => StageConfig::Evaluate(self.evaluate(record)?),
            "generate" => StageConfig::Generate(self.generate(record)?),
            "export" => StageConfig::Export(decode_export(record)?),
            other => unreachable!("a stage is one of the kinds above, not `{other}`"),
        })
    }

    fn mark_unsupported(&mut self, span: &Span, reason: &str) {
        self.unsupported.push((span.clone(), reason.to_owned()));
    }

    /// The one file that a field names, which becomes the source called `name`, or a diagnostic.
    fn one_file(&mut self, what: &str, name: &str, leaf: &Leaf) -> Option<PathBuf> {
        let pattern = leaf.text()?;
        let files = self.files(what, pattern, &leaf.span)?;
        let [file] = &*files else {
            self.sink.push(several_files(what, pattern, &leaf.span, &files));
            return None;
        };
        let file = file.clone();
        self.sources.push(SourceFiles { name: name.to_owned(), files });
        Some(file)
    }

    /// Files by pattern, or a diagnostic.
    fn files(&mut self, what: &str, pattern: &str, span: &Span) -> Option<Vec<PathBuf>> {
        match glob::expand_pattern(&span.file.folder, pattern) {
            Ok(files) => Some(files),
            Err(missing) => {
                self.sink.push(pattern_without_files(what, pattern, span, missing));
                None
            }
        }
    }
}

fn several_files(what: &str, pattern: &str, span: &Span, files: &[PathBuf]) -> Diagnostic {
    let base = &span.file.folder;
    let first = files[0].strip_prefix(base).unwrap_or(&files[0]).display();
    Diagnostic::new(Code::NoFiles, format!("{what} is one file, and `{pattern}` names {}", files.len()))
        .at(span, "several files")
        .help(format!("name one of them, such as `{first}`"))
}

fn pattern_without_files(what: &str, pattern: &str, span: &Span, missing: PatternError) -> Diagnostic {
    let base = &span.file.folder;
    let relative = "paths are relative to the file that they stand in";
    match missing {
        PatternError::Forbidden(folder) => {
            let message = format!("{what} leads into `{folder}`, which is never read");
            Diagnostic::new(Code::ForbiddenFolder, message)
                .at(span, "hidden folders, `target/` and stores are never read")
                .help("move the files into an ordinary folder")
        }
        PatternError::Pattern(reason) => {
            Diagnostic::new(Code::NoFiles, format!("`{pattern}` is not a pattern: {reason}"))
                .at(span, "cannot be matched")
                .help("`*` stands for any letters, `**` for any folders")
        }
        PatternError::TooMany => {
            Diagnostic::new(Code::NoFiles, format!("`{pattern}` looks at too many files"))
                .at(span, "too wide")
                .help("name the folder that holds the files")
        }
        PatternError::Folder => Diagnostic::new(Code::NoFiles, format!("{what} names a folder"))
            .at(span, "a folder, not its files")
            .help(format!("name the files in it, such as `{}/*`", pattern.trim_end_matches('/'))),
        PatternError::Unreadable(path, why) => {
            let path = path.strip_prefix(base).unwrap_or(&path).display();
            Diagnostic::new(Code::NoFiles, format!("{what}: cannot read `{path}`: {why}"))
                .at(span, "it matches this")
                .help(format!("make `{path}` readable, move it away, or name other files"))
        }
        PatternError::NoMatch(absent) => {
            let absent = absent.map(|path| path.strip_prefix(base).map(Path::to_owned).unwrap_or(path));
            let label = match &absent {
                Some(path) => format!("`{}` does not exist", path.display()),
                None => "nothing matches".to_owned(),
            };
            let relative = match pattern {
                _ if pattern.starts_with('~') => "`~` is not replaced by your folder",
                _ if pattern.contains('$') => "variables of the environment are not replaced",
                _ => relative,
            };
            Diagnostic::new(Code::NoFiles, format!("{what} has no files"))
                .at(span, label)
                .help(format!("{relative}; correct `{pattern}` or make the files"))
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
    Some(ExportConfig { dtype, shard_bytes: record.count("shard-size")? })
}

/// Name, seed and budget of a `pipeline` node.
#[must_use]
pub fn decode_pipeline(record: &Record) -> Option<(String, u64, Budget)> {
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
