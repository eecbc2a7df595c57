//! What is known of a dataset that is small enough to be read whole before a run: whether it has documents on both sides of its held-out
//! share, and its shortest answer.

use std::path::PathBuf;

use super::Decoder;
use super::columns::MAX_FILES;
use super::heads::{MAX_BYTES, MAX_RECORDS};
use crate::documents::{
    Conversation, Document, DocumentParser, ParsedRecord, RecordReader, find_split_point,
};
use crate::language::record::Record;
use crate::pipeline::config::DatasetConfig;
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::display::count_noun;
use crate::text::file_head;

/// Fewer are a stand-in for data that are yet to come.
const LEAST_DOCUMENTS: usize = 5;

impl Decoder<'_> {
    /// Reports rows of a dataset whose documents are all on one side of the held-out share: the stage would end with that.
    pub(super) fn check_split(
        &mut self,
        [rows, record]: [&Record; 2],
        dataset: &DatasetConfig,
        files: &[PathBuf],
    ) {
        let share = dataset.held_out;
        if share <= 0.0 {
            return;
        }
        let documents = read_documents(files, dataset);
        let Some(documents) = documents.filter(|documents| documents.len() >= LEAST_DOCUMENTS) else {
            return;
        };
        let points: Vec<f64> =
            documents.iter().map(|document| find_split_point(document.opening())).collect();
        if points.iter().all(|point| *point == points[0]) {
            // They all begin alike: the stage says so, and what to do.
            return;
        }
        let held = points.iter().filter(|point| **point < share).count();
        if (1..points.len()).contains(&held) {
            return;
        }
        let (message, help) = describe_one_side(&dataset.name, &points, held == 0);
        let own = record.leaf("held-out").filter(|_| record.number("held-out").is_some_and(|own| own > 0.0));
        let place = own.or(rows.leaf("held-out")).map_or(&record.span, |leaf| &leaf.span);
        self.sink.push(
            Diagnostic::new(Code::NothingHeldOut, message)
                .at(place, "each is held out by a hash of its text")
                .help(help),
        );
    }
}

/// What is wrong with these split points, of which none or all are held out, and what to do.
fn describe_one_side(name: &str, points: &[f64], none: bool) -> (String, String) {
    let many = count_noun(points.len(), "document");
    let (message, percent) = match none {
        true => {
            let lowest = points.iter().copied().fold(1.0, f64::min);
            (
                format!("dataset `{name}` has {many}, of which none is held out"),
                (100.0 * lowest).floor() + 1.0,
            )
        }
        false => {
            let highest = points.iter().copied().fold(0.0, f64::max);
            (format!("dataset `{name}` has {many}, all of which are held out"), (100.0 * highest).floor())
        }
    };
    let suits = |point: &&f64| **point * 100.0 < percent;
    let help = match (1..points.len()).contains(&points.iter().filter(suits).count()) {
        true => format!("write `held-out=\"{percent}%\"`, or add documents"),
        false => "add documents".to_owned(),
    };
    (message, help)
}

/// Bytes of the shortest answer in the documents of `files` that are not held out; `None` if there is none, or not all are read here.
pub(crate) fn find_shortest_answer(files: &[PathBuf], dataset: &DatasetConfig) -> Option<usize> {
    let documents = read_documents(files, dataset)?;
    let trained = documents.iter().filter(|document| !document.is_held_out(dataset.held_out));
    let chats = trained.filter_map(|document| match document {
        Document::Chat(chat) => Some(chat),
        Document::Text(_) => None,
    });
    chats.flat_map(Conversation::chats).map(|chat| chat.answer.len()).min()
}

/// All documents; `None` if not all are read here, or one is at fault.
fn read_documents(files: &[PathBuf], dataset: &DatasetConfig) -> Option<Vec<Document>> {
    let small = |path: &PathBuf| file_head::read_file_size(path).is_some_and(|bytes| bytes <= MAX_BYTES);
    if files.is_empty() || files.len() > MAX_FILES || !files.iter().all(small) {
        return None;
    }
    let parser = DocumentParser::new(dataset);
    let mut documents = Vec::new();
    for path in files {
        let (file, _) = file_head::open_regular_file(path).ok()?;
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let mut records = RecordReader::open(file, &name, &parser, MAX_BYTES).ok()?;
        while let Some(record) = records.next_record(&parser).ok()? {
            match record {
                ParsedRecord::Document(parsed) => documents.push(parsed.document),
                ParsedRecord::FilteredOut => {}
                ParsedRecord::Named(_) => return None,
            }
            if documents.len() > MAX_RECORDS {
                return None;
            }
        }
        if records.is_cut() {
            return None;
        }
    }
    Some(documents)
}
