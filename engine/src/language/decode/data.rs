//! Decodes the stages that read text: fetch, tokenizer and rows, and the datasets that they refer to.

use super::{Decoder, unknown_word};
use crate::language::record::Record;
use crate::language::schema::{CanonicalValue, foreign_names};
use crate::pipeline::config::{
    ColumnFilter, DatasetConfig, DatasetFormat, FetchConfig, FileLayout, FilterValue, Packing, RowsConfig,
    TextDocuments, TokenCap, TokenizerConfig, TurnFields,
};
use crate::pipeline::stage::SourceFiles;
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::escape::escape_line;
use crate::text::glob;
use crate::text::glob::PatternError;

/// Help for a dataset without a format: the one that the names of its files speak of, else the two that need no tools.
fn suggest_format(from: &str) -> String {
    let from = from.trim_end_matches(".gz").trim_end_matches(".zst");
    let word = ["jsonl", "json", "parquet", "arrow"]
        .into_iter()
        .find(|word| from.ends_with(&format!(".{word}")) && *word != "jsonl");
    match word {
        Some(word) => format!("add `format={word:?}`"),
        None => "add `format=\"text\"` (paragraphs) or `format=\"jsonl\"` (one document per line)".to_owned(),
    }
}

/// Largest share of records at fault that may be skipped; `None` if one is an error.
fn decode_skipped(record: &Record) -> Option<f64> {
    let child = record.child("on-bad-record")?;
    match child.text("value")? {
        "error" => None,
        "skip" => child.number("max"),
        word => unknown_word(word),
    }
}

fn decode_token_cap(record: &Record) -> Option<TokenCap> {
    let exact = record.count("tokens").map(|tokens| TokenCap { tokens, may_end_before: false });
    let most = || record.count("tokens-at-most").map(|tokens| TokenCap { tokens, may_end_before: true });
    exact.or_else(most)
}

fn decode_filter_value(value: &CanonicalValue) -> FilterValue {
    match value {
        CanonicalValue::Text(text) => FilterValue::Text(text.clone()),
        CanonicalValue::Number(number) => FilterValue::Number(*number),
        CanonicalValue::Bool(value) => FilterValue::Boolean(*value),
        other => unreachable!("a filter takes text, numbers and booleans, not {other:?}"),
    }
}

fn decode_text_documents(record: &Record) -> TextDocuments {
    match record.text("documents") {
        None => TextDocuments::Groups,
        Some("file") => TextDocuments::File,
        Some("lines") => TextDocuments::Lines,
        Some("blank-line") => TextDocuments::BlankLine,
        Some(word) => unknown_word(word),
    }
}

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
            self.mark_unsupported(&leaf.span, "repositories on a hub");
            let revision = record.text("revision").map(str::to_owned);
            return Some(FetchConfig::Hub { from: from.to_owned(), revision });
        }
        let folder = leaf.span.file.folder.join(from);
        match glob::list_folder(&folder) {
            Ok(files) => self.sources.push(SourceFiles { name: "folder".to_owned(), files }),
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
        let files = match &from.value {
            CanonicalValue::Path(pattern) => self.files(&format!("dataset `{name}`"), pattern, &from.span),
            _ => {
                self.mark_unsupported(&from.span, "datasets on a hub");
                Some(Vec::new())
            }
        };
        let format = self.format(record, matches!(from.value, CanonicalValue::Path(_)));
        let layout = self.layout(record);
        let (files, format) = (files?, format?);
        let unread = record.child("unread").into_iter().flat_map(|child| child.all("field"));
        let dataset = DatasetConfig {
            name: name.clone(),
            layout,
            format,
            held_out: record.number("held-out")?,
            strict: record.boolean("strict").unwrap_or(false),
            unread: unread.map(|leaf| leaf.expect_text().to_owned()).collect(),
            filters: self.decode_filters(record)?,
            skipped: decode_skipped(record),
            drops_duplicates: record.child("duplicates").and_then(|child| child.text("value"))
                == Some("drop"),
            cap: decode_token_cap(record),
        };
        self.check_data(record, &files, &dataset);
        self.sources.push(SourceFiles { name, files });
        Some(dataset)
    }

    /// The filters of a dataset. Plain text has no fields, and a filter must say which values it wants.
    fn decode_filters(&mut self, record: &Record) -> Option<Vec<ColumnFilter>> {
        let Some(filter) = record.child("filter") else { return Some(Vec::new()) };
        if let Some(leaf) = record.leaf("format").filter(|leaf| leaf.text() == Some("text")) {
            let message = "`filter` names fields, but files of `format=\"text\"` have no fields";
            self.sink.push(
                Diagnostic::new(Code::FieldDoesNotApply, message)
                    .at(&filter.span, "fields of records")
                    .also(&leaf.span, "plain text")
                    .help("remove the `filter`, or use a format with fields"),
            );
            return None;
        }
        filter.children("column").map(|column| self.decode_filter(column)).collect()
    }

    fn decode_filter(&mut self, record: &Record) -> Option<ColumnFilter> {
        let column = record.text("name")?.to_owned();
        let accepted: Vec<FilterValue> =
            record.all("value").map(|leaf| decode_filter_value(&leaf.value)).collect();
        let (at_least, at_most) = (record.number("at-least"), record.number("at-most"));
        if accepted.is_empty() == (at_least.is_none() && at_most.is_none()) {
            let (what, code) = match accepted.is_empty() {
                true => ("says no value", Code::MissingField),
                false => ("has both values and a range", Code::ConflictingFields),
            };
            let help = "write the values, as in `license \"mit\" \"apache-2.0\"`, or a range, as in `stars at-least=5`";
            let message = format!("the filter of `{}` {what}", escape_line(&column));
            self.sink.push(Diagnostic::new(code, message).at(&record.span, "here").help(help));
            return None;
        }
        Some(ColumnFilter { column, accepted, at_least, at_most })
    }

    /// How records are found in the files. A dataset on a hub need not say it.
    fn layout(&mut self, record: &Record) -> FileLayout {
        match record.text("format") {
            Some("text") => FileLayout::Text(decode_text_documents(record)),
            None | Some("jsonl") => FileLayout::Jsonl,
            Some("json") => FileLayout::Json,
            Some("parquet") => FileLayout::Parquet,
            Some("arrow") => FileLayout::Arrow,
            Some(word) => unknown_word(word),
        }
    }

    fn format(&mut self, record: &Record, local: bool) -> Option<DatasetFormat> {
        let text = record.text("text")?.to_owned();
        let format = record.leaf("format");
        if let Some(chat) = record.child("chat") {
            if let Some(leaf) = format.filter(|leaf| leaf.text() == Some("text")) {
                let message = "`chat` names fields, but files of `format=\"text\"` have no fields";
                self.sink.push(
                    Diagnostic::new(Code::FieldDoesNotApply, message)
                        .at(&leaf.span, "plain text")
                        .also(&chat.span, "fields of records")
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
        match format.and_then(crate::language::record::Leaf::text) {
            Some("text") => Some(DatasetFormat::Text),
            None if local => {
                let name = record.expect_name();
                let from = record.text("from").unwrap_or_default();
                self.sink.push(
                    Diagnostic::new(Code::MissingField, format!("dataset `{name}` needs `format`"))
                        .at(&record.span, "reads files on this machine")
                        .help(suggest_format(from)),
                );
                None
            }
            None | Some("jsonl" | "json" | "parquet" | "arrow") => Some(DatasetFormat::Jsonl { text }),
            Some(word) => unknown_word(word),
        }
    }
}
