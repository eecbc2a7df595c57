//! Compares the fields that a dataset names with those that its first file has.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Decoder;
use super::heads::MAX_BYTES;
use super::unfit::turns_in_two_lists;
use crate::documents::{find_field, has_later_object, read_first_object};
use crate::language::record::{Leaf, Record};
use crate::pipeline::config::{DatasetConfig, DatasetFormat, FileLayout, TurnFields};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::escape::escape_line;
use crate::text::file_head;
use crate::text::file_head::FileBeginning;
use crate::text::place::Origin;
use crate::text::suggest;

/// The usual names of fields that hold a list of turns.
const TURN_LIST_FIELDS: [&str; 2] = ["messages", "conversations"];

/// How many files of a dataset are looked at.
pub(super) const MAX_FILES: usize = 4;

/// What was reported of the beginning of a file, so that the same is not reported of every line after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FirstLine {
    /// Nothing.
    Open,
    /// A fault of its first line.
    Reported,
    /// That it is not such a file, or does not have the fields: its lines need no look.
    Unfit,
}

impl Decoder<'_> {
    /// Reports files that do not match the format, judged by their first bytes, by the fields of the first line, and by the lines
    /// after it as far as [`super::heads`] looks.
    pub(super) fn check_data(&mut self, record: &Record, files: &[PathBuf], dataset: &DatasetConfig) {
        let leads_out = |path: &Path| matches!(file_head::find_link_out(path), Ok(Some(_)));
        let fits = |this: &mut Self, path: &PathBuf| match dataset.layout {
            _ if leads_out(path) => FirstLine::Unfit,
            FileLayout::Parquet | FileLayout::Arrow => this.check_table(record, path, dataset),
            _ => this.check_beginning(record, path, path == &files[0], dataset),
        };
        let first: Vec<(&PathBuf, FirstLine)> =
            files.iter().take(MAX_FILES).map(|path| (path, fits(self, path))).collect();
        self.check_data_heads(record, &first, files, dataset);
    }

    /// Reports the beginning of a file. Only of the `first` file the fields are compared with the settings.
    fn check_beginning(
        &mut self,
        record: &Record,
        path: &Path,
        first: bool,
        dataset: &DatasetConfig,
    ) -> FirstLine {
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let (shown, format) = (escape_line(&name), &dataset.format);
        match (file_head::read_beginning(path), dataset.layout) {
            (None, _)
            | (Some(FileBeginning::JsonLine(_) | FileBeginning::JsonArray), FileLayout::Text(_)) => {
                FirstLine::Open
            }
            (Some(FileBeginning::JsonArray), FileLayout::Json) => {
                let object = file_head::open_regular_file(path).ok().filter(|_| first);
                let object = object.and_then(|(file, _)| read_first_object(file, &name, MAX_BYTES));
                let file = (path, &*name, true);
                object.map_or(FirstLine::Open, |object| self.check_first_line(record, file, &object, format))
            }
            (Some(FileBeginning::JsonLine(_)), FileLayout::Json) => {
                self.report_unfit_file(record, &shown, first, &FileBeginning::JsonLines);
                FirstLine::Unfit
            }
            (Some(FileBeginning::JsonLine(line)), _) if first => {
                self.check_first_line(record, (path, &*name, false), &line, format)
            }
            (Some(FileBeginning::JsonLine(_)), _) => FirstLine::Open,
            (Some(beginning), _) => {
                self.report_unfit_file(record, &shown, first, &beginning);
                FirstLine::Unfit
            }
        }
    }

    /// Reports required fields that no line has, or whose values in the first line have the wrong type. A field that other lines have is
    /// missing in this one, which is a fault of the line.
    fn check_first_line(
        &mut self,
        record: &Record,
        (path, file, is_array): (&Path, &str, bool),
        line: &Map<String, Value>,
        format: &DatasetFormat,
    ) -> FirstLine {
        let (mut found, shown) = (FirstLine::Open, escape_line(file));
        let shown = &*shown;
        let names = list_short_names(line);
        if let Some((found, place)) = turns_in_two_lists(record, shown, line, format) {
            self.sink.push(found.at(place, "a list of turns"));
            return FirstLine::Reported;
        }
        for (name, leaf) in list_required_fields(record, format) {
            let written = leaf.filter(|leaf| leaf.origin != Origin::Default);
            let place = written.or(record.leaf("format")).map_or(&record.span, |leaf| &leaf.span);
            let Some(value) = find_field(line, name) else {
                if has_later(path, (file, is_array), name) {
                    continue;
                }
                self.sink.push(
                    absent_field(record, shown, name, written, format, &names)
                        .at(place, label_absent_field(written)),
                );
                found = FirstLine::Unfit;
                continue;
            };
            let list = matches!(format, DatasetFormat::Chat { turns: TurnFields::List { messages }, .. } if messages == name);
            let fault = match list {
                true => check_turns_field(name, value),
                false if is_key_field(format, name) && value.is_number() => None,
                false => check_text_field(name, value),
            };
            let Some((problem, help)) = fault else { continue };
            let message = format!("the first line of `{shown}`: {problem}");
            self.sink.push(Diagnostic::new(Code::UnfitData, message).at(place, "named here").help(help));
            found = found.max(FirstLine::Reported);
        }
        found
    }
}

/// Whether one of the records after the first has a field.
fn has_later(path: &Path, file: (&str, bool), field: &str) -> bool {
    let Ok((opened, _)) = file_head::open_regular_file(path) else { return false };
    let fits = |object: &Map<String, Value>| find_field(object, field).is_some_and(|value| !value.is_null());
    has_later_object(opened, file, MAX_BYTES, fits)
}

/// The names of the fields, and of the fields of objects in them, that are short enough to show.
pub(super) fn list_short_names(line: &Map<String, Value>) -> Vec<String> {
    let inner = |name: &String| {
        let inner = line[name].as_object().into_iter().flat_map(Map::keys);
        inner.map(|key| format!("{name}.{key}")).collect::<Vec<_>>()
    };
    let names = line.keys().flat_map(|name| std::iter::once(name.clone()).chain(inner(name)));
    names.filter(|name| name.len() <= file_head::MAX_NAME_BYTES).collect()
}

/// `written` is the setting that names the field; without it the name is the default.
pub(super) fn absent_field(
    record: &Record,
    shown: &str,
    name: &str,
    written: Option<&Leaf>,
    format: &DatasetFormat,
    names: &[String],
) -> Diagnostic {
    let help = match written {
        // An address holds more than a name.
        Some(_) if is_key_field(format, name) => {
            format!("the fields are {}", suggest::format_name_list(names.iter().map(String::as_str)))
        }
        Some(_) => suggest_other_field(name, format, names),
        None => suggest_document_field(record, name, names),
    };
    Diagnostic::new(Code::NoColumn, format!("the lines of `{shown}` have no field `{name}`")).help(help)
}

pub(super) fn label_absent_field(written: Option<&Leaf>) -> &'static str {
    match written {
        Some(_) => "not in the first line",
        None => "the document is read from the field `text` unless you name another",
    }
}

/// What is wrong with a field that should be text, and how to fix it.
fn check_text_field(name: &str, value: &Value) -> Option<(String, String)> {
    let what = match value {
        Value::String(_) => return None,
        Value::Array(turns) if turns.first().is_some_and(Value::is_object) => {
            let help = format!("to read turns from a list, write `chat messages={name:?}`");
            return Some((format!("`{name}` is a list of turns, not text"), help));
        }
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
    };
    Some((
        format!("`{name}` is {what}, not text"),
        "name a field that holds text, or convert its values to text".to_owned(),
    ))
}

/// What is wrong with a field that should be a list of turns, and how to fix it.
fn check_turns_field(name: &str, value: &Value) -> Option<(String, String)> {
    let Value::Array(turns) = value else {
        let help = "name a field with a list of turns: [{\"role\": \"user\", \"content\": \"...\"}, ...]";
        return Some((format!("`{name}` is not a list of turns"), help.to_owned()));
    };
    let role = |turn: &Value| turn.get("role").or_else(|| turn.get("from"))?.as_str().map(str::to_owned);
    match turns.first().map(role) {
        None => Some((format!("`{name}` has no turns"), "add turns, or remove the line".to_owned())),
        Some(None) => {
            let help = "write every turn as {\"role\": \"user\", \"content\": \"...\"}";
            Some((format!("turn 1 of `{name}` does not say who speaks"), help.to_owned()))
        }
        Some(Some(role)) if role == "assistant" || role == "gpt" => {
            Some((format!("turn 1 of `{name}` is the assistant's"), "begin with a user's turn".to_owned()))
        }
        Some(Some(_)) => None,
    }
}

/// The fields that every line must have, each with the setting that names it.
pub(super) fn list_required_fields<'a>(
    record: &'a Record,
    format: &'a DatasetFormat,
) -> Vec<(&'a str, Option<&'a Leaf>)> {
    let chat = |name: &str| record.child("chat").and_then(|chat| chat.leaf(name));
    let mut wanted: Vec<(&'a str, Option<&'a Leaf>)> = match format {
        DatasetFormat::Text => vec![],
        DatasetFormat::Jsonl { text } => vec![(text, record.leaf("text"))],
        DatasetFormat::Contents(contents) => {
            let child = record.child("contents");
            let leaf = |name: &str| child.and_then(|child| child.leaf(name));
            let key = contents.key.fields().map(|name| (name, leaf("from")));
            key.chain(contents.encoding.as_deref().map(|name| (name, leaf("encoding")))).collect()
        }
        DatasetFormat::Chat { turns: TurnFields::Pair { user, assistant, .. }, .. } => {
            vec![(user, chat("user")), (assistant, chat("assistant"))]
        }
        DatasetFormat::Chat { turns: TurnFields::List { messages }, .. } => {
            vec![(messages, chat("messages"))]
        }
    };
    if let DatasetFormat::Chat { group: Some(group), .. } = format {
        wanted.push((group, chat("group")));
    }
    wanted
}

/// Whether a field is a part of the keys of contents. Numbers may be.
pub(super) fn is_key_field(format: &DatasetFormat, name: &str) -> bool {
    matches!(format, DatasetFormat::Contents(contents) if contents.key.fields().any(|field| field == name))
}

/// Help if the dataset names a field that the lines do not have.
pub(super) fn suggest_other_field(name: &str, format: &DatasetFormat, names: &[String]) -> String {
    let known = || names.iter().map(String::as_str);
    let list = suggest_turns_list(names);
    let list = list.filter(|_| !matches!(format, DatasetFormat::Chat { turns: TurnFields::List { .. }, .. }));
    match (list, suggest::find_closest_name(name, known())) {
        (Some(list), _) => format!("to read turns from a list, write `{list}`"),
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => format!("the fields are {}", suggest::format_name_list(known())),
    }
}

/// Help if the dataset names no field and the lines do not have the default, `name`.
fn suggest_document_field(record: &Record, name: &str, names: &[String]) -> String {
    let known = || names.iter().map(String::as_str);
    let mut texts = known().filter(|name| !TURN_LIST_FIELDS.contains(name));
    let Some(field) = suggest::find_closest_name(name, known()).or(texts.next()).or(known().next()) else {
        return "the first line has no fields".to_owned();
    };
    let pair = || record.spec.child("chat").and_then(|chat| chat.example.clone());
    let (turns, what) = match suggest_turns_list(names) {
        Some(list) => (list, "the field with the turns of a conversation"),
        None => (
            pair().expect("the table has an example of `chat`"),
            "the two fields with a question and its answer",
        ),
    };
    let list = suggest::format_name_list(known());
    format!(
        "the fields are {list}; name the one with the document, as in `text={field:?}`, or {what}, as in `{{ {turns} }}`"
    )
}

/// The setting for conversations in a list, if the lines have a field with one of the usual names.
fn suggest_turns_list(names: &[String]) -> Option<String> {
    let list = names.iter().find(|name| TURN_LIST_FIELDS.contains(&name.as_str()))?;
    Some(format!("chat messages={list:?}"))
}
