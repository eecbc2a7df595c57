//! Fields that a dataset names against those that its files have.

use std::path::PathBuf;

use super::Decoder;
use crate::config::{Format, Turns};
use crate::diagnostic::{Code, Diagnostic};
use crate::file;
use crate::pipeline::Origin;
use crate::record::{Leaf, Record};
use crate::suggest;

/// Fields that lists of turns are usually in.
const LISTS: [&str; 2] = ["messages", "conversations"];

impl Decoder<'_> {
    /// Reports fields that the first line of the first file does not have.
    pub(super) fn columns(&mut self, record: &Record, files: &[PathBuf], format: &Format) {
        let Some((first, names)) = files.first().and_then(|path| Some((path, file::names(path)?))) else {
            return;
        };
        let absent = |(name, _): &(&str, _)| names.iter().all(|found| found != name);
        for (name, leaf) in wanted(record, format).into_iter().filter(absent) {
            let shown = first.file_name().unwrap_or_default().to_string_lossy();
            let message = format!("the lines of `{shown}` have no field `{name}`");
            let written = leaf.filter(|leaf| leaf.origin != Origin::Default);
            let help = match written {
                Some(_) => other(name, format, &names),
                None => unnamed(record, name, &names),
            };
            let leaf = written.or(record.leaf("format"));
            let place = leaf.map_or(&record.span, |leaf| &leaf.span);
            let label = match written {
                Some(_) => "not in the first line",
                None => "a line's document is its field `text` where nothing else is named",
            };
            self.sink.push(Diagnostic::new(Code::NoColumn, message).at(place, label).help(help));
        }
    }
}

/// Fields that every line must have, and where they are named.
fn wanted<'a>(record: &'a Record, format: &'a Format) -> Vec<(&'a str, Option<&'a Leaf>)> {
    let chat = |name: &str| record.child("chat").and_then(|chat| chat.leaf(name));
    match format {
        Format::Text => vec![],
        Format::Jsonl { text } => vec![(text, record.leaf("text"))],
        Format::Chat { turns: Turns::Pair { user, assistant }, .. } => {
            vec![(user, chat("user")), (assistant, chat("assistant"))]
        }
        Format::Chat { turns: Turns::List { messages }, .. } => vec![(messages, chat("messages"))],
    }
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
