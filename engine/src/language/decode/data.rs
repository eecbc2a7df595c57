//! Decodes the stages that read text: fetch, tokenizer and rows, and the datasets that they refer to.

use super::{Decoder, unknown_word};
use crate::language::record::Record;
use crate::language::schema::{CanonicalValue, foreign_names};
use crate::pipeline::config::{
    DatasetConfig, DatasetFormat, FetchConfig, Packing, RowsConfig, TokenizerConfig, TurnFields,
};
use crate::pipeline::repository::{RepositoryFiles, find_data_kind};
use crate::pipeline::stage::SourceFiles;
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::glob;
use crate::text::glob::PatternError;

/// Why `run` refuses a dataset whose files no word of `format=` stands for.
pub(crate) const UNREADABLE_FILES: &str = "files of a repository in another format";

/// Help for a hub repository that is written like a folder, such as `Qwen/Qwen3-0.6B`.
fn suggest_repository(record: &Record, from: &str) -> Option<String> {
    let repository = foreign_names::parse_repository(from)?;
    Some(match record.spec.name.as_str() {
        "fetch" => format!(
            "did you mean `\"{}\"`? Paths are relative to the file in which they are written",
            repository.address()
        ),
        _ => repository.declaration_help("from"),
    })
}

impl Decoder<'_> {
    pub(super) fn fetch(&mut self, record: &Record) -> Option<FetchConfig> {
        let leaf = record.leaf("from")?;
        let from = leaf.text()?;
        if matches!(leaf.value, CanonicalValue::Hub(_)) {
            let remote = self.pinned_files(record);
            self.sources.push(SourceFiles { remote, ..SourceFiles::local("folder", Vec::new()) });
            let revision = record.text("revision").map(str::to_owned);
            return Some(FetchConfig::Hub { from: from.to_owned(), revision });
        }
        let folder = leaf.span.file.folder.join(from);
        match glob::list_folder(&folder) {
            Ok(files) => self.sources.push(SourceFiles::local("folder", files)),
            Err(missing) => {
                let what = format!("the checkpoint folder `{from}`");
                let help =
                    suggest_repository(record, from).filter(|_| matches!(missing, PatternError::NoMatch(_)));
                self.sink
                    .push(super::pattern_without_files(&what, from, &leaf.span, missing).maybe_help(help));
                return None;
            }
        }
        Some(FetchConfig::Folder(folder))
    }

    pub(super) fn tokenizer(&mut self, record: &Record) -> Option<TokenizerConfig> {
        if let Some(leaf) = record.leaf("from") {
            return Some(TokenizerConfig::File(self.one_file("the tokenizer", "tokenizer", leaf)?));
        }
        record.text("kind")?;
        let parts: Vec<_> = record.children("dataset").filter_map(|part| part.leaf("name")).collect();
        let mut datasets = Vec::new();
        for part in &parts {
            let dataset = self.world.target(part);
            datasets.extend(dataset.and_then(|dataset| self.dataset(dataset)));
        }
        if datasets.len() < parts.len() {
            return None;
        }
        Some(TokenizerConfig::ByteLevelBpe {
            vocabulary: record.size("vocabulary")?,
            special: record.text("special")?.to_owned(),
            datasets,
        })
    }

    pub(super) fn rows(&mut self, record: &Record, dataset: &Record) -> Option<RowsConfig> {
        if record.broken || dataset.broken {
            return None;
        }
        let mut dataset = self.dataset(dataset)?;
        if dataset.held_out == 0.0 {
            dataset.held_out = record.number("held-out").unwrap_or(dataset.held_out);
        }
        if let (Some(leaf), false) =
            (record.leaf("canvas"), matches!(dataset.format, DatasetFormat::Chat { .. }))
        {
            self.report_rows_without_chat(&dataset.name, record, leaf);
            return None;
        }
        Some(RowsConfig {
            dataset,
            length: record.size("length")?,
            packing: match record.text("packing")? {
                "concat" => Packing::Concat,
                "first-fit" => Packing::FirstFit,
                word => unknown_word(word),
            },
            end_of_document: record.boolean("end-of-document")?,
            canvas: record.size("canvas"),
        })
    }

    fn report_rows_without_chat(
        &mut self,
        dataset: &str,
        rows: &Record,
        canvas: &crate::language::record::Leaf,
    ) {
        let declared = self.world.named("dataset", dataset);
        let name = rows.expect_name();
        let message = format!("rows `{name}` have a canvas for answers, but dataset `{dataset}` has none");
        let mut diagnostic =
            Diagnostic::new(Code::NoChatData, message).at(&canvas.span, "a canvas holds an answer");
        if let Some(place) = declared.and_then(Record::name_leaf) {
            diagnostic = diagnostic.also(&place.span, "declared here");
        }
        let help =
            "give the dataset a `chat user=\"question\" assistant=\"answer\"`, or use rows without `canvas`";
        self.sink.push(diagnostic.help(help));
    }

    /// Decodes a dataset; its files become a source of the stage.
    pub(super) fn dataset(&mut self, record: &Record) -> Option<DatasetConfig> {
        let name = record.name()?.to_owned();
        let from = record.leaf("from")?;
        let local = matches!(from.value, CanonicalValue::Path(_));
        let files = match &from.value {
            CanonicalValue::Path(pattern) => self.files(&format!("dataset `{name}`"), pattern, &from.span),
            _ => Some(Vec::new()),
        };
        let remote = if local { None } else { self.pinned_files(record) };
        let format = self.format(record, local, remote.as_ref());
        let (files, format) = (files?, format?);
        let unread = record.child("unread").into_iter().flat_map(|child| child.all("field"));
        let dataset = DatasetConfig {
            name: name.clone(),
            format,
            held_out: record.number("held-out")?,
            strict: record.boolean("strict").unwrap_or(false),
            unread: unread.map(|leaf| leaf.expect_text().to_owned()).collect(),
        };
        self.check_data(record, &files, &dataset);
        self.sources.push(SourceFiles { remote, ..SourceFiles::local(&name, files) });
        Some(dataset)
    }

    /// The files of a repository that the lock file pins. Without any, `run` refuses the stage.
    fn pinned_files(&mut self, record: &Record) -> Option<RepositoryFiles> {
        match record.pinned.clone()? {
            Ok(files) => Some(files),
            Err(why) => {
                self.refusals.push(why);
                None
            }
        }
    }

    /// The word of `format=` that the names of pinned files stand for, if the node does not say one.
    fn infer_format(&mut self, record: &Record, remote: &RepositoryFiles) -> Option<&'static str> {
        let kind = find_data_kind(remote.files.iter().map(|file| file.path.as_str()));
        let spec = record.spec.fields().find(|field| field.name == "format");
        let spec = spec.expect("every node that names data has `format`");
        let word = kind.and_then(|kind| spec.words.iter().find(|word| *word == kind));
        let from = &record.leaf("from")?.span;
        match word {
            None => self.mark_unsupported(from, UNREADABLE_FILES),
            Some(word) if spec.not_yet.contains(word) => self.mark_unsupported(from, &spec.reason),
            Some(_) => {}
        }
        word.map(String::as_str)
    }

    fn format(
        &mut self,
        record: &Record,
        local: bool,
        remote: Option<&RepositoryFiles>,
    ) -> Option<DatasetFormat> {
        let text = record.text("text")?.to_owned();
        let format = record.leaf("format");
        let inferred = match (format, remote) {
            (None, Some(remote)) => self.infer_format(record, remote),
            _ => None,
        };
        if let Some(chat) = record.child("chat") {
            if let Some(leaf) = format.filter(|leaf| leaf.text() == Some("text")) {
                let message = "`chat` names fields, but files of `format=\"text\"` have no fields";
                self.sink.push(
                    Diagnostic::new(Code::FieldDoesNotApply, message)
                        .at(&leaf.span, "plain text")
                        .also(&chat.span, "fields of JSON lines")
                        .help("write `format=\"jsonl\"`"),
                );
                return None;
            }
            let text = |name: &str| chat.text(name).map(str::to_owned);
            let turns = match text("messages") {
                Some(messages) => TurnFields::List { messages },
                None => TurnFields::Pair {
                    user: text("user")?,
                    input: text("input"),
                    assistant: text("assistant")?,
                },
            };
            return Some(DatasetFormat::Chat { turns, system: text("system"), group: text("group") });
        }
        match format.and_then(crate::language::record::Leaf::text).or(inferred) {
            Some("text") => Some(DatasetFormat::Text),
            None if local => {
                let name = record.expect_name();
                self.sink.push(
                    Diagnostic::new(Code::MissingField, format!("dataset `{name}` needs `format`"))
                        .at(&record.span, "reads files on this machine")
                        .help("add `format=\"text\"` (one document per file) or `format=\"jsonl\"` (one per line)"),
                );
                None
            }
            // `run` refuses `parquet`.
            None | Some("jsonl" | "parquet") => Some(DatasetFormat::Jsonl { text }),
            Some(word) => unknown_word(word),
        }
    }
}
