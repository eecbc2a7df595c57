//! Datasets.

use super::contamination::{decode_contamination, decode_originals};
use super::{Decoder, unknown_word};
use crate::language::draft::find_made_files;
use crate::language::record::{Leaf, Record};
use crate::language::schema::CanonicalValue;
use crate::pipeline::config::{
    ColumnFilter, DatasetConfig, DatasetFormat, FileLayout, FilterValue, TextDocuments, TokenCap, TurnFields,
};
use crate::pipeline::repository::{RepositoryFiles, data_kind_of, find_data_kind};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::{MadeFiles, SourceFiles};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::escape::escape_line;
use crate::text::file_head;

/// Why `run` refuses a dataset whose files no word of `format=` stands for.
pub(crate) const UNREADABLE_FILES: &str = "files of a repository in another format";
/// Help for a dataset without a format: the one that the names of its files speak of, else the two that need no tools.
fn suggest_format(from: &str) -> String {
    match data_kind_of(from).filter(|word| !["text", "jsonl"].contains(word)) {
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

/// What makes the files plain text: the format that is written, or where they come from.
pub(super) fn find_plain_text<'r>(record: &'r Record, word: Option<&str>) -> Option<&'r Leaf> {
    let said = || record.leaf("format").or_else(|| record.leaf("from"));
    word.filter(|word| *word == "text").and_then(|_| said())
}

/// How records are found in the files. A dataset on a hub that is not pinned yet need not say it.
fn decode_layout(record: &Record, word: Option<&str>) -> FileLayout {
    match word {
        Some("text") => FileLayout::Text(decode_text_documents(record)),
        None | Some("jsonl") => FileLayout::Jsonl,
        Some("json") => FileLayout::Json,
        Some("parquet") => FileLayout::Parquet,
        Some("arrow") => FileLayout::Arrow,
        Some(word) => unknown_word(word),
    }
}

impl Decoder<'_> {
    /// Decodes a dataset; its files become a source of the stage.
    pub(super) fn dataset(&mut self, record: &Record) -> Option<DatasetConfig> {
        let name = record.name()?.to_owned();
        let from = record.leaf("from")?;
        let local = matches!(from.value, CanonicalValue::Path(_));
        let made = self.made_files(from, InputRole::Documents(name.clone()))?;
        let files = match &from.value {
            CanonicalValue::Path(_) if made.is_some() => Some(Vec::new()),
            CanonicalValue::Path(pattern) => self.files(&format!("dataset `{name}`"), pattern, &from.span),
            _ => Some(Vec::new()),
        };
        let remote = if local { None } else { self.pinned_files(record) };
        let word = match (record.text("format"), remote.as_ref()) {
            (None, Some(remote)) => self.infer_format(record, remote),
            (word, _) => word,
        };
        let (files, format) = (files?, self.format(record, local, word));
        let unread = record.child("unread").into_iter().flat_map(|child| child.all("field"));
        let dataset = DatasetConfig {
            name: name.clone(),
            layout: decode_layout(record, word),
            format: format?,
            held_out: record.number("held-out")?,
            strict: record.boolean("strict").unwrap_or(false),
            unread: unread.map(|leaf| leaf.expect_text().to_owned()).collect(),
            filters: self.decode_filters(record, word)?,
            skipped: decode_skipped(record),
            drops_duplicates: record.child("duplicates").and_then(|child| child.text("value"))
                == Some("drop"),
            originals: decode_originals(record)?,
            contamination: decode_contamination(record, &name)?,
            cap: decode_token_cap(record),
        };
        self.check_data(record, &files, &dataset);
        self.sources.push(SourceFiles { remote, made, ..SourceFiles::local(&name, files) });
        Some(dataset)
    }

    /// The files of a command that a path names; the outer `None` if it also names something on this machine.
    pub(super) fn made_files(&mut self, from: &Leaf, role: InputRole) -> Option<Option<MadeFiles>> {
        let Some((command, pattern)) = find_made_files(self.world, from) else { return Some(None) };
        let name = command.expect_name();
        if file_head::is_present(&from.span.file.folder.join(name)) {
            self.sink.push(
                Diagnostic::new(Code::DuplicateName, format!("`{name}` is a command and a file or folder"))
                    .at(&from.span, "which of them?")
                    .also(&command.span, "the command")
                    .help(format!("rename the command, or write `./{name}` for the file or folder")),
            );
            return None;
        }
        if let Some(Err(error)) = pattern.map(glob::Pattern::new) {
            let message = format!("`{}` is not a pattern: {error}", escape_line(pattern.unwrap_or_default()));
            self.sink.push(Diagnostic::new(Code::NoFiles, message).at(&from.span, "not a pattern"));
            return None;
        }
        Some(Some(MadeFiles { role, pattern: pattern.map(str::to_owned) }))
    }

    /// The files of a repository that the lock file pins. Without any, `run` refuses the stage.
    pub(super) fn pinned_files(&mut self, record: &Record) -> Option<RepositoryFiles> {
        match record.pinned.clone()? {
            Ok(files) => Some(files),
            Err(why) => {
                self.refusals.push(why);
                None
            }
        }
    }

    /// The word of `format=` that the names of pinned files stand for, if the node does not say one.
    fn infer_format<'r>(&mut self, record: &'r Record, remote: &RepositoryFiles) -> Option<&'r str> {
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

    /// The filters of a dataset. Plain text has no fields, and a filter must say which values it wants.
    fn decode_filters(&mut self, record: &Record, word: Option<&str>) -> Option<Vec<ColumnFilter>> {
        let Some(filter) = record.child("filter") else { return Some(Vec::new()) };
        if let Some(leaf) = find_plain_text(record, word) {
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

    /// How documents are told apart, given the word of `format=`, said or inferred.
    fn format(&mut self, record: &Record, local: bool, word: Option<&str>) -> Option<DatasetFormat> {
        let text = record.text("text")?.to_owned();
        let known = word.is_some() || !local;
        if let Some(contents) = record.child("contents").filter(|_| known) {
            let contents = self.contents(record, contents, word)?;
            return Some(DatasetFormat::Contents(Box::new(contents)));
        }
        if let Some(chat) = record.child("chat") {
            if let Some(leaf) = find_plain_text(record, word) {
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
        match word {
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
