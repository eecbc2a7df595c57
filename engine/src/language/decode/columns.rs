//! Fields that a dataset names against those that its files have.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::Decoder;
use crate::language::record::{Leaf, Record};
use crate::pipeline::config::{Format, Turns};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::head;
use crate::text::head::Beginning;
use crate::text::place::Origin;
use crate::text::suggest;

/// Fields that lists of turns are usually in.
const LISTS: [&str; 2] = ["messages", "conversations"];

impl Decoder<'_> {
    /// Reports what the first file shows to be no data of this format: its first bytes, and the fields of its first line.
    pub(super) fn columns(&mut self, record: &Record, files: &[PathBuf], format: &Format) {
        let Some((first, beginning)) =
            files.first().and_then(|path| Some((path, head::read_beginning(path)?)))
        else {
            return;
        };
        let shown = first.file_name().unwrap_or_default().to_string_lossy();
        match (beginning, format) {
            (Beginning::Line(_) | Beginning::Array, Format::Text) => {}
            (Beginning::Line(line), _) => self.line(record, &shown, &line, format),
            (beginning, _) => self.unfit(record, &shown, &beginning),
        }
    }

    /// A file that holds no lines of text.
    fn unfit(&mut self, record: &Record, shown: &str, beginning: &Beginning) {
        let (message, help) = match beginning {
            Beginning::Empty => (format!("`{shown}` is empty"), "remove it, or fill it".to_owned()),
            Beginning::Compressed(program) => {
                (format!("`{shown}` is compressed"), format!("unpack it: `{program} {shown}`"))
            }
            Beginning::Wide => {
                let help = format!("convert it: `iconv -f utf-16 -t utf-8 {shown}`");
                (format!("`{shown}` is UTF-16, not UTF-8"), help)
            }
            Beginning::Mark => {
                let help = format!("remove its first three bytes: `sed -i '1s/^\\xEF\\xBB\\xBF//' {shown}`");
                (format!("`{shown}` starts with a byte order mark"), help)
            }
            Beginning::Array | Beginning::Line(_) => {
                let help = format!("write one object a line: `jq -c '.[]' {shown}`");
                (format!("`{shown}` is one JSON array, not lines"), help)
            }
        };
        let place = record.leaf("from").map_or(&record.span, |leaf| &leaf.span);
        self.sink.push(Diagnostic::new(Code::UnfitData, message).at(place, "the first file here").help(help));
    }

    /// Fields that the first line does not have, or that hold something else.
    fn line(&mut self, record: &Record, shown: &str, line: &Map<String, Value>, format: &Format) {
        let names = head::short_names(line);
        for (name, leaf) in wanted(record, format) {
            let written = leaf.filter(|leaf| leaf.origin != Origin::Default);
            let place = written.or(record.leaf("format")).map_or(&record.span, |leaf| &leaf.span);
            let Some(value) = line.get(name) else {
                self.sink
                    .push(absent(record, shown, name, written, format, &names).at(place, unseen(written)));
                continue;
            };
            let list =
                matches!(format, Format::Chat { turns: Turns::List { messages }, .. } if messages == name);
            let problem = if list { no_turns(name, value) } else { no_text(name, value) };
            let Some((problem, help)) = problem else { continue };
            let message = format!("the first line of `{shown}`: {problem}");
            self.sink.push(Diagnostic::new(Code::UnfitData, message).at(place, "named here").help(help));
        }
    }
}

/// A field that is not in the first line.
fn absent(
    record: &Record,
    shown: &str,
    name: &str,
    written: Option<&Leaf>,
    format: &Format,
    names: &[String],
) -> Diagnostic {
    let help = match written {
        Some(_) => other(name, format, names),
        None => unnamed(record, name, names),
    };
    Diagnostic::new(Code::NoColumn, format!("the lines of `{shown}` have no field `{name}`")).help(help)
}

fn unseen(written: Option<&Leaf>) -> &'static str {
    match written {
        Some(_) => "not in the first line",
        None => "a line's document is its field `text` where nothing else is named",
    }
}

/// What is wrong with a field that should be text, and what to do.
fn no_text(name: &str, value: &Value) -> Option<(String, String)> {
    let what = match value {
        Value::String(_) => return None,
        Value::Array(turns) if turns.first().is_some_and(Value::is_object) => {
            let help = format!("the turns are in a list: write `chat messages={name:?}`");
            return Some((format!("`{name}` is a list of turns, not text"), help));
        }
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
    };
    Some((
        format!("`{name}` is {what}, not text"),
        "name a field that holds text, or write it as text".to_owned(),
    ))
}

/// What is wrong with a field that should be a list of turns, and what to do.
fn no_turns(name: &str, value: &Value) -> Option<(String, String)> {
    let Value::Array(turns) = value else {
        let help = "name the field with the list: [{\"role\": \"user\", \"content\": \"...\"}, ...]";
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

/// Fields that every line must have, and where they are named.
fn wanted<'a>(record: &'a Record, format: &'a Format) -> Vec<(&'a str, Option<&'a Leaf>)> {
    let chat = |name: &str| record.child("chat").and_then(|chat| chat.leaf(name));
    let mut wanted: Vec<(&'a str, Option<&'a Leaf>)> = match format {
        Format::Text => vec![],
        Format::Jsonl { text } => vec![(text, record.leaf("text"))],
        Format::Chat { turns: Turns::Pair { user, assistant }, .. } => {
            vec![(user, chat("user")), (assistant, chat("assistant"))]
        }
        Format::Chat { turns: Turns::List { messages }, .. } => vec![(messages, chat("messages"))],
    };
    if let Format::Chat { group: Some(group), .. } = format {
        wanted.push((group, chat("group")));
    }
    wanted
}

/// Help for a field that is written and not there.
fn other(name: &str, format: &Format, names: &[String]) -> String {
    let known = || names.iter().map(String::as_str);
    let list = list_of_turns(names);
    let list = list.filter(|_| !matches!(format, Format::Chat { turns: Turns::List { .. }, .. }));
    match (list, suggest::closest(name, known())) {
        (Some(list), _) => format!("the turns are in a list: write `{list}`"),
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => format!("they have {}", suggest::list(known())),
    }
}

/// Help for lines whose document stands in no field called `name`, the default.
fn unnamed(record: &Record, name: &str, names: &[String]) -> String {
    let known = || names.iter().map(String::as_str);
    let mut texts = known().filter(|name| !LISTS.contains(name));
    let Some(field) = suggest::closest(name, known()).or(texts.next()).or(known().next()) else {
        return "the first line has no fields".to_owned();
    };
    let pair = || record.spec.child("chat").and_then(|chat| chat.example.clone());
    let (turns, what) = match list_of_turns(names) {
        Some(list) => (list, "the one with the turns of a conversation"),
        None => (pair().unwrap_or_default(), "two with a question and its answer"),
    };
    let list = suggest::list(known());
    format!(
        "they have {list}; name the one with the document, as in `text={field:?}`, or {what}, as in `{{ {turns} }}`"
    )
}

/// How conversations are named that stand in a list.
fn list_of_turns(names: &[String]) -> Option<String> {
    let list = names.iter().find(|name| LISTS.contains(&name.as_str()))?;
    Some(format!("chat messages={list:?}"))
}
