//! Looks through the first records of a dataset's files, with the parser that the `rows` stage reads all lines with.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::Decoder;
use super::columns::{FirstLine, list_short_names, suggest_other_field};
use super::unfit::REPAIR;
use crate::documents::{
    DocumentParser, LineFault, ParsedRecord, RecordFault, RecordPlace, RecordReader, Remark, RemarkKind,
    Tally,
};
use crate::language::record::Record;
use crate::pipeline::config::{DatasetConfig, DatasetFormat, FileLayout};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::display::count_noun;
use crate::text::escape::{escape_line, show_path};
use crate::text::file_head;
use crate::text::file_head::FileBeginning;
use crate::text::place::Span;
use crate::text::suggest;

/// How much of a file is looked at.
pub(super) const MAX_RECORDS: usize = 1000;
pub(super) const MAX_BYTES: u64 = 512 << 10;

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
    /// Files that cannot be read that far, why, and how to fix it.
    unreadable: Vec<(String, LineFault)>,
    /// The fields of the first document.
    names: Vec<String>,
    /// Records, those at fault included, and those at fault.
    records: u64,
    at_fault: u64,
}

/// Faults with one fix.
#[derive(Default)]
struct HeadFaults {
    problem: String,
    /// File and place of the first ones.
    places: Vec<(String, RecordPlace)>,
    count: u64,
}

impl DataHeads {
    fn read(
        files: &[(&PathBuf, FirstLine)],
        dataset: &DatasetConfig,
        all: &[PathBuf],
        shown: impl Fn(&PathBuf) -> String,
    ) -> Self {
        let parser = DocumentParser::new(dataset);
        let links = all.iter().filter_map(|path| Some((shown(path), refuse_link_out(path)?)));
        let unreadable = links.collect();
        let mut heads = Self { whole: files.len() == all.len(), unreadable, ..Self::default() };
        for (path, first) in files {
            if *first == FirstLine::Unfit {
                heads.whole = false;
                continue;
            }
            heads.names = match file_head::read_beginning(path) {
                Some(FileBeginning::JsonLine(line)) if heads.names.is_empty() => list_short_names(&line),
                _ => heads.names,
            };
            if let Err(fault) = heads.read_file(path, &parser, *first, &shown(path)) {
                heads.unreadable.push((shown(path), fault));
            }
        }
        heads
    }

    fn read_file(
        &mut self,
        path: &Path,
        parser: &DocumentParser,
        first: FirstLine,
        file: &str,
    ) -> Result<(), LineFault> {
        let unreadable = |cause: std::io::Error| LineFault { problem: cause.to_string(), fix: REPAIR.into() };
        let (opened, _) = file_head::open_regular_file(path).map_err(unreadable)?;
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let records = RecordReader::open(opened, &name, parser, MAX_BYTES);
        let read = records.and_then(|records| self.add_records(records, parser, first, file));
        self.whole &= matches!(read, Ok(true));
        let read = read.map(|_| ());
        match read {
            Ok(()) => Ok(()),
            Err(RecordFault::Unreadable(cause)) => Err(unreadable(cause)),
            Err(RecordFault::Unfit(fault) | RecordFault::Record { fault, .. }) => Err(fault),
        }
    }

    /// Adds the first records of a file; returns whether these are all of them.
    fn add_records(
        &mut self,
        mut records: RecordReader,
        parser: &DocumentParser,
        first: FirstLine,
        file: &str,
    ) -> Result<bool, RecordFault> {
        let mut reported = None;
        for number in 0..MAX_RECORDS {
            let next = records.next_record(parser);
            self.records += u64::from(!matches!(next, Ok(None)));
            match next {
                Ok(None) => return Ok(!records.is_cut()),
                Ok(Some(_)) if matches!(parser.layout(), FileLayout::Text(_)) => {}
                Ok(Some(ParsedRecord::FilteredOut)) => {}
                Ok(Some(ParsedRecord::Document(parsed))) => {
                    self.tally.add(&parsed.leftovers, || records.place().in_file(file))
                }
                Ok(Some(ParsedRecord::Named(named))) => {
                    self.tally.add(&named.leftovers, || records.place().in_file(file))
                }
                // An array that the limit cuts off is not at fault.
                Err(RecordFault::Record { last: true, .. }) if records.is_cut() => return Ok(false),
                Err(RecordFault::Record { place, fault, last }) => {
                    self.at_fault += 1;
                    match &reported {
                        // What was reported of the first record is not reported again for every one like it.
                        None if number == 0 && first == FirstLine::Reported => reported = Some(fault),
                        Some(known) if *known == fault => {}
                        _ => self.add_fault(fault, file, place),
                    }
                    if last {
                        return Ok(false);
                    }
                }
                Err(other) => return Err(other),
            }
        }
        Ok(false)
    }

    /// The share of records at fault in whole percents, rounded up, if it is at most a half: else the dataset is not what it says.
    fn find_share(&self) -> Option<u64> {
        let percent = (self.at_fault * 100).div_ceil(self.records.max(1));
        Some(percent).filter(|percent| (1..=50).contains(percent))
    }

    /// What to write so that such records are left out, behind another help; empty if that is no way.
    fn suggest_skipping(&self) -> String {
        let share = self.find_share();
        let write =
            |percent| format!("; or leave such records out: `on-bad-record \"skip\" max=\"{percent}%\"`");
        share.map(write).unwrap_or_default()
    }

    fn add_fault(&mut self, fault: LineFault, file: &str, place: RecordPlace) {
        if self.faults.len() >= MAX_KINDS && !self.faults.contains_key(fault.fix.as_ref()) {
            return;
        }
        let faults = self.faults.entry(fault.fix.into_owned()).or_default();
        faults.count += 1;
        if faults.count == 1 {
            faults.problem = fault.problem;
        }
        if faults.places.len() < MAX_PLACES {
            faults.places.push((file.to_owned(), place));
        }
    }
}

/// Why a link is not read, if it leads out of its folder.
fn refuse_link_out(path: &Path) -> Option<LineFault> {
    let target = file_head::find_link_out(path).ok().flatten()?;
    let problem = format!("it is a link out of its folder, to `{}`", show_path(&target));
    Some(LineFault { problem, fix: "copy the file, or name its real path".into() })
}

impl HeadFaults {
    /// The first fault with its place, and the places of the others.
    fn describe(&self) -> String {
        let ((file, place), others) = self.places.split_first().expect("a fault has a place");
        let first = format!("{}: {}", place.in_file(file), self.problem);
        if others.is_empty() {
            return first;
        }
        let name = |(other, place): &(String, RecordPlace)| match other == file {
            true => place.briefly(),
            false => place.in_file(other),
        };
        let names: Vec<String> = others.iter().map(name).collect();
        let rest = if self.count > self.places.len() as u64 { ", ..." } else { "" };
        let lines = match place {
            RecordPlace::Line(_) if self.count == 2 => "line ",
            RecordPlace::Line(_) => "lines ",
            _ => "",
        };
        format!("{first}; {} more in {lines}{}{rest}", self.count - 1, names.join(", "))
    }
}

impl Decoder<'_> {
    /// Reports the faults of the first lines of `files`, the first of `all`, and what their documents leave unused.
    pub(super) fn check_data_heads(
        &mut self,
        record: &Record,
        files: &[(&PathBuf, FirstLine)],
        all: &[PathBuf],
        dataset: &DatasetConfig,
    ) {
        let place = record.leaf("from").map_or(&record.span, |leaf| &leaf.span);
        let base = &place.file.folder;
        let shown = |path: &PathBuf| show_path(path.strip_prefix(base).unwrap_or(path));
        let heads = DataHeads::read(files, dataset, all, shown);
        // The stage counts those that it skips, and compares their share with the largest.
        let faults = heads.faults.iter().filter(|_| dataset.skipped.is_none());
        let skip = heads.suggest_skipping();
        for (fix, faults) in faults {
            let (message, fix) = (faults.describe(), format!("{fix}{skip}"));
            self.sink.push(Diagnostic::new(Code::FaultyLines, message).at(place, "its data").help(fix));
        }
        self.check_skipped_share(record, &heads, dataset);
        for (file, LineFault { problem, fix }) in &heads.unreadable {
            let message = format!("`{file}`: {}", escape_line(problem));
            self.sink.push(Diagnostic::new(Code::UnfitData, message).at(place, "its data").help(fix.clone()));
        }
        let scope = if heads.whole { "" } else { "the first " };
        let remarks = heads.tally.describe(&dataset.format, scope).into_iter();
        self.sink.extend(
            remarks.filter(|remark| remark.is_warning).map(|remark| warn_of_leftovers(remark, record, place)),
        );
        self.check_optional_fields(record, &heads, &dataset.format);
    }

    /// Reports that more records are at fault than the dataset allows to be left out. Only of data that were seen whole the share is known.
    fn check_skipped_share(&mut self, record: &Record, heads: &DataHeads, dataset: &DatasetConfig) {
        let Some(most) = dataset.skipped.filter(|_| heads.whole && heads.unreadable.is_empty()) else {
            return;
        };
        if heads.at_fault as f64 <= most * heads.records as f64 {
            return;
        }
        let first =
            heads.faults.values().next().map_or(String::new(), |faults| format!("; {}", faults.describe()));
        let message = format!(
            "{} of {} are at fault, more than `on-bad-record` allows to be left out{first}",
            heads.at_fault,
            count_noun(heads.records, "record")
        );
        let child = record.child("on-bad-record").expect("it says that records are skipped");
        let place = child.leaf("max").map_or(&child.span, |leaf| &leaf.span);
        let help = match heads.find_share() {
            Some(percent) => format!("fix them, or write `max=\"{percent}%\"`"),
            None => "fix them: most of the records are not what the dataset says".to_owned(),
        };
        self.sink.push(Diagnostic::new(Code::FaultyLines, message).at(place, "a smaller share").help(help));
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
