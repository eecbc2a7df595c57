//! Reports data files that are not of their dataset's format, judged by their first bytes or by their first line.

use serde_json::{Map, Value};

use super::Decoder;
use crate::documents::find_field;
use crate::language::record::Record;
use crate::pipeline::config::{DatasetFormat, TurnFields};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::escape::escape_line;
use crate::text::file_head::FileBeginning;
use crate::text::place::Span;

pub(super) const REPAIR: &str = "repair the file, or remove it from the dataset";

impl Decoder<'_> {
    /// Reports a file that does not consist of JSON lines or of UTF-8 text.
    pub(super) fn report_unfit_file(
        &mut self,
        record: &Record,
        shown: &str,
        first: bool,
        beginning: &FileBeginning,
    ) {
        let (message, help) = match beginning {
            FileBeginning::Empty => {
                (format!("`{shown}` is empty"), "remove it, or add data to it".to_owned())
            }
            FileBeginning::Unreadable(cause) => {
                (format!("`{shown}`: {}", escape_line(cause)), REPAIR.to_owned())
            }
            FileBeginning::Packed(kind @ ("Parquet" | "Arrow")) => {
                (format!("`{shown}` is a {kind} file"), format!("write `format={:?}`", kind.to_lowercase()))
            }
            FileBeginning::Packed(kind) => {
                let help = format!("write its documents as JSON lines or text: fmflow reads no {kind}");
                (format!("`{shown}` is a {kind} file"), help)
            }
            FileBeginning::JsonLines => {
                let help = "write `format=\"jsonl\"`".to_owned();
                (format!("`{shown}` is a file of JSON lines, not one JSON array"), help)
            }
            FileBeginning::Utf16 => {
                let help = format!("convert it: `iconv -f utf-16 -t utf-8 {shown}`");
                (format!("`{shown}` is UTF-16, not UTF-8"), help)
            }
            FileBeginning::ByteOrderMark => {
                let help = format!("remove its first three bytes: `sed -i '1s/^\\xEF\\xBB\\xBF//' {shown}`");
                (format!("`{shown}` starts with a byte order mark"), help)
            }
            FileBeginning::JsonArray | FileBeginning::JsonLine(_) => {
                let help = format!("write `format=\"json\"`, or one object per line: `jq -c '.[]' {shown}`");
                (format!("`{shown}` is one JSON array, not JSON lines"), help)
            }
        };
        let place = record.leaf("from").map_or(&record.span, |leaf| &leaf.span);
        let label = if first { "the first file of this dataset" } else { "a file of this dataset" };
        self.sink.push(Diagnostic::new(Code::UnfitData, message).at(place, label).help(help));
    }
}

/// A question and its answer that are two lists of turns, as TRL writes them: neither list alone is a conversation.
pub(super) fn turns_in_two_lists<'a>(
    record: &'a Record,
    shown: &str,
    line: &Map<String, Value>,
    format: &DatasetFormat,
) -> Option<(Diagnostic, &'a Span)> {
    let DatasetFormat::Chat { turns: TurnFields::Pair { user, assistant, .. }, .. } = format else {
        return None;
    };
    let is_turns = |name: &str| {
        let turns = find_field(line, name).and_then(Value::as_array);
        turns.and_then(|turns| turns.first()).is_some_and(Value::is_object)
    };
    (is_turns(user) && is_turns(assistant)).then_some(())?;
    let message =
        format!("the first line of `{shown}`: `{user}` and `{assistant}` are two lists of turns, not text");
    let help = format!(
        "join them with `jq -c '{{messages: (.{user} + .{assistant})}}' {shown} > joined.jsonl`, then name that file in `from=`, with \
         `chat messages=\"messages\"`"
    );
    let place = record.child("chat").map_or(&record.span, |chat| &chat.span);
    Some((Diagnostic::new(Code::UnfitData, message).help(help), place))
}
