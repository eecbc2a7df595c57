//! Fields that a dataset names against those that its files have.

use std::path::PathBuf;

use super::Decoder;
use crate::config::Format;
use crate::diagnostic::{Code, Diagnostic};
use crate::file;
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
            let help = match suggest::closest(name, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("they have {}", suggest::list(known())),
            };
            let place = leaf.map_or(&record.span, |leaf| &leaf.span);
            self.sink
                .push(Diagnostic::new(Code::NoColumn, message).at(place, "not in the first line").help(help));
        }
    }
}
