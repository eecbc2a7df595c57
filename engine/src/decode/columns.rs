//! Fields that a dataset names against those that its files have.

use std::path::PathBuf;

use super::Decoder;
use crate::config::Format;
use crate::diagnostic::{Code, Diagnostic};
use crate::file;
use crate::pipeline::Origin;
use crate::record::{Leaf, Record};
use crate::suggest;

impl Decoder<'_> {
    /// Reports fields that the first line of the first file does not have.
    pub(super) fn columns(&mut self, record: &Record, files: &[PathBuf], format: &Format) {
        let chat = |name: &str| record.child("chat").and_then(|chat| chat.leaf(name));
        let wanted: Vec<(&str, Option<&Leaf>)> = match format {
            Format::Text => return,
            Format::Jsonl { text } => vec![(text, record.leaf("text"))],
            Format::Chat { user, assistant, .. } => {
                vec![(user, chat("user")), (assistant, chat("assistant"))]
            }
        };
        let Some((first, names)) = files.first().and_then(|path| Some((path, file::names(path)?))) else {
            return;
        };
        for (name, leaf) in wanted.into_iter().filter(|(name, _)| names.iter().all(|found| found != name)) {
            let known = || names.iter().map(String::as_str);
            let shown = first.file_name().unwrap_or_default().to_string_lossy();
            let message = format!("the lines of `{shown}` have no field `{name}`");
            let written = leaf.filter(|leaf| leaf.origin != Origin::Default);
            let help = match (suggest::closest(name, known()), written) {
                (Some(near), Some(_)) => format!("did you mean `{near}`?"),
                (_, Some(_)) => format!("they have {}", suggest::list(known())),
                (near, None) => unnamed(record, near, names.as_slice()),
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

/// Help for lines whose document stands in no field called `text`, the default.
fn unnamed(record: &Record, near: Option<&str>, names: &[String]) -> String {
    let known = || names.iter().map(String::as_str);
    let turns = record.spec.child("chat").and_then(|chat| chat.example.as_deref()).unwrap_or("chat ...");
    let Some(field) = near.or(known().next()) else { return "the first line has no fields".to_owned() };
    let list = suggest::list(known());
    format!(
        "they have {list}; name the one with the document, as in `text={field:?}`, or two with a question and its answer, as in `{{ {turns} }}`"
    )
}
