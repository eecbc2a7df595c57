//! Looks through the first lines of a dataset's files, with the parser that the `rows` stage reads all lines with.

use std::path::PathBuf;

use indexmap::IndexMap;

use super::Decoder;
use super::columns::{FirstLine, REPAIR, suggest_other_field};
use crate::documents::{DocumentParser, LineFault, Remark, RemarkKind, Tally, decode_line};
use crate::language::record::Record;
use crate::pipeline::config::{DatasetConfig, DatasetFormat};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::escape::{escape_line, show_path};
use crate::text::file_head;
use crate::text::place::Span;
use crate::text::suggest;

/// How much of a file is looked at.
const MAX_LINES: usize = 1000;
const MAX_BYTES: u64 = 512 << 10;

/// Most kinds of faults that are reported, and most places of one kind.
const MAX_KINDS: usize = 20;
const MAX_PLACES: usize = 20;

/// What the first lines of a dataset's files show.
#[derive(Default)]
struct DataHeads {
    /// Whether nothing of the data is left out.
    whole: bool,
    tally: Tally,
    /// Faults by their fix.
    faults: IndexMap<String, HeadFaults>,
    /// Files that cannot be read or unpacked that far, and why.
    unreadable: Vec<(String, String)>,
    /// The fields of the first document.
    names: Vec<String>,
}

/// Faults with one fix.
#[derive(Default)]
struct HeadFaults {
    problem: String,
    /// File and line of the first ones.
    places: Vec<(String, u64)>,
    count: u64,
}

impl DataHeads {
    fn read(
        files: &[(&PathBuf, FirstLine)],
        dataset: &DatasetConfig,
        all: bool,
        shown: impl Fn(&PathBuf) -> String,
    ) -> Self {
        let parser = DocumentParser::new(dataset);
        let mut heads = Self { whole: all, ..Self::default() };
        for (path, first) in files {
            if *first == FirstLine::Unfit {
                heads.whole = false;
                continue;
            }
            match file_head::read_head(path, MAX_LINES, MAX_BYTES) {
                Ok(head) => {
                    heads.whole &= head.whole;
                    heads.add_lines(head.lines, &parser, *first, &shown(path));
                }
                Err(cause) => heads.unreadable.push((shown(path), cause.to_string())),
            }
        }
        heads
    }

    fn add_lines(&mut self, lines: Vec<Vec<u8>>, parser: &DocumentParser, first: FirstLine, file: &str) {
        let (mut found, mut reported) = (false, None);
        for (number, bytes) in (1..).zip(lines) {
            let place = || format!("{file}:{number}");
            match self.add_line(bytes, number, parser, &mut found, &place) {
                Ok(()) => {}
                // What was reported of the first line is not reported again for every line like it.
                Err(fault) if number == 1 && first == FirstLine::Reported => reported = Some(fault),
                Err(fault) if reported.as_ref() == Some(&fault) => {}
                Err(fault) => self.add_fault(fault, file, number),
            }
        }
    }

    fn add_line(
        &mut self,
        bytes: Vec<u8>,
        number: u64,
        parser: &DocumentParser,
        found: &mut bool,
        place: &dyn Fn() -> String,
    ) -> Result<(), LineFault> {
        let line = decode_line(bytes, number)?;
        if *parser.format() == DatasetFormat::Text || line.trim().is_empty() {
            return Ok(());
        }
        let first = !std::mem::replace(found, true);
        self.tally.add(&parser.parse(&line, first)?.leftovers, place);
        if self.names.is_empty()
            && let Ok(fields) = serde_json::from_str(&line)
        {
            self.names = file_head::list_short_names(&fields);
        }
        Ok(())
    }

    fn add_fault(&mut self, fault: LineFault, file: &str, number: u64) {
        if self.faults.len() >= MAX_KINDS && !self.faults.contains_key(fault.fix.as_ref()) {
            return;
        }
        let faults = self.faults.entry(fault.fix.into_owned()).or_default();
        faults.count += 1;
        if faults.count == 1 {
            faults.problem = fault.problem;
        }
        if faults.places.len() < MAX_PLACES {
            faults.places.push((file.to_owned(), number));
        }
    }
}

impl HeadFaults {
    /// The first fault with its place, and the places of the others.
    fn describe(&self) -> String {
        let ((file, line), others) = self.places.split_first().expect("a fault has a place");
        let first = format!("{file}:{line}: {}", self.problem);
        if others.is_empty() {
            return first;
        }
        let name = |(other, line): &(String, u64)| match other == file {
            true => line.to_string(),
            false => format!("{other}:{line}"),
        };
        let names: Vec<String> = others.iter().map(name).collect();
        let rest = if self.count > self.places.len() as u64 { ", ..." } else { "" };
        let lines = if self.count == 2 { "line" } else { "lines" };
        format!("{first}; {} more in {lines} {}{rest}", self.count - 1, names.join(", "))
    }
}

impl Decoder<'_> {
    /// Reports the faults of the first lines of `files`, and what their documents leave unused; `all` says that the dataset has
    /// no other files.
    pub(super) fn check_data_heads(
        &mut self,
        record: &Record,
        files: &[(&PathBuf, FirstLine)],
        all: bool,
        dataset: &DatasetConfig,
    ) {
        let place = record.leaf("from").map_or(&record.span, |leaf| &leaf.span);
        let base = &place.file.folder;
        let shown = |path: &PathBuf| show_path(path.strip_prefix(base).unwrap_or(path));
        let heads = DataHeads::read(files, dataset, all, shown);
        for (fix, faults) in &heads.faults {
            let message = faults.describe();
            self.sink.push(Diagnostic::new(Code::FaultyLines, message).at(place, "its data").help(fix));
        }
        for (file, cause) in &heads.unreadable {
            let message = format!("`{file}`: {}", escape_line(cause));
            self.sink.push(Diagnostic::new(Code::UnfitData, message).at(place, "its data").help(REPAIR));
        }
        let scope = if heads.whole { "" } else { "the first " };
        let remarks = heads.tally.describe(&dataset.format, scope).into_iter();
        self.sink.extend(
            remarks.filter(|remark| remark.is_warning).map(|remark| warn_of_leftovers(remark, record, place)),
        );
        self.check_optional_fields(record, &heads, &dataset.format);
    }

    /// Reports a field that the dataset names, that lines may lack, and that no line has.
    fn check_optional_fields(&mut self, record: &Record, heads: &DataHeads, format: &DatasetFormat) {
        let Some(name) = heads.tally.find_absent_field() else { return };
        let known = heads.names.iter().map(String::as_str);
        if !heads.whole && suggest::find_closest_name(name, known).is_none() {
            return; // it may come later
        }
        let chat = record.child("chat").expect("only conversations have such fields");
        let leaf = ["input", "system"].iter().filter_map(|field| chat.leaf(field));
        let leaf =
            leaf.into_iter().find(|leaf| leaf.text() == Some(name)).expect("a setting names the field");
        let lines = heads.tally.documents();
        let message = format!("none of the first {lines} lines has the field `{name}`");
        self.sink.push(
            Diagnostic::new(Code::NoColumn, message)
                .at(&leaf.span, "not in the data")
                .help(suggest_other_field(name, format, &heads.names)),
        );
    }
}

fn warn_of_leftovers(remark: Remark, record: &Record, files: &Span) -> Diagnostic {
    let (code, label) = match remark.kind {
        RemarkKind::UnreadField => (Code::UnreadField, "reads other fields"),
        RemarkKind::LaterTurns | RemarkKind::RepeatedRoles => (Code::OddTurns, "its turns"),
        RemarkKind::RepeatedKeys => (Code::RepeatedKey, "its data"),
    };
    let chat = record.child("chat").filter(|_| remark.kind != RemarkKind::RepeatedKeys);
    let place = chat.map_or(files, |chat| &chat.span);
    Diagnostic::new(code, remark.text).at(place, label).help(remark.fix)
}
