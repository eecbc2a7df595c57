//! Reads documents from files, one at a time, in file order.
//!
//! The engine's [`RecordReader`](fmflow_engine::documents::RecordReader) makes documents of one file: lines, arrays, tables, plain text. Files are UTF-8 with `\n`
//! or `\r\n` as line ends, and may be compressed (gzip, Zstandard). Anything else is refused with its file and line, because a silent
//! repair would change what a model learns. After the first fault the rest is only looked through, so that one error names all faults.

mod contents;
mod digests;
mod duplicates;
mod error;
mod left_out;
mod open;
mod parts;
mod shares;
mod skipped;

pub(crate) use contents::{Content, ContentStore};
use contents::{CorpusRecord, MissingContents};
#[cfg(test)]
pub(crate) use digests::AnonymousFiles;
pub(crate) use digests::ScratchFiles;
pub(crate) use duplicates::{Copies, SeenDocuments};
pub(crate) use error::CorpusError;
use error::FaultList;
pub(crate) use fmflow_engine::documents::{Chat, Conversation, Document, Message, Speaker};
use fmflow_engine::documents::{DocumentParser, ParsedRecord, RecordPlace, Tally};
use fmflow_engine::pipeline::config::{DatasetConfig, FileLayout};
use fmflow_engine::run::execute::ProgressReporter;
use open::OpenCorpusFile;
use parts::BeforePart;
pub(crate) use parts::{CorpusPart, list_whole_files};
pub(crate) use shares::LeftOutShares;
use skipped::SkippedRecords;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The documents of `parts` of files, in the order of the list and of each file. The iterator ends after an error, which names the
/// faults of all files. `scratch` gives files for what does not fit into memory.
#[must_use]
pub(crate) fn read_documents<'a>(
    parts: Vec<CorpusPart>,
    dataset: &DatasetConfig,
    patience: Patience<'a>,
    scratch: &'a dyn ScratchFiles,
) -> Documents<'a> {
    let (parser, tally) = (DocumentParser::new(dataset), Tally::default());
    let copies = dataset.drops_duplicates.then(|| Copies::Seen(SeenDocuments::new(scratch)));
    let skipped = dataset.skipped.map(SkippedRecords::new);
    let (parts, filtered) = (parts.into_iter(), Filtered::default());
    let (opened, partial, carried) = (0, false, false);
    Documents {
        parts,
        parser,
        open: None,
        opened,
        before: BeforePart::default(),
        tally,
        copies,
        skipped,
        filtered,
        contents: None,
        missing: MissingContents::default(),
        ended: false,
        partial,
        carried,
        patience,
    }
}

/// After this time a first fault is told while others are still looked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who waits while faults are looked for.
#[derive(Clone, Copy)]
pub(crate) struct Patience<'a> {
    /// Once set, the search stops.
    pub interrupt: &'a AtomicBool,
    /// Told of the first fault if the search takes long.
    pub tell: Option<&'a dyn ProgressReporter>,
}

/// Iterator of [`read_documents`]. One file is open and one document is in memory at a time.
pub(crate) struct Documents<'a> {
    parts: std::vec::IntoIter<CorpusPart>,
    parser: DocumentParser,
    open: Option<OpenCorpusFile>,
    /// Parts that were opened so far.
    opened: usize,
    before: BeforePart,
    tally: Tally,
    copies: Option<Copies<'a>>,
    skipped: Option<SkippedRecords>,
    filtered: Filtered,
    /// Where the documents are, if records only name them.
    contents: Option<Box<dyn ContentStore + 'a>>,
    missing: MissingContents,
    ended: bool,
    /// Whether the files are a part of their dataset.
    partial: bool,
    /// Whether shares of what is left out are compared once all parts were read.
    carried: bool,
    patience: Patience<'a>,
}

/// Records that the filter of a dataset let pass, and that it left out.
#[derive(Debug, Default)]
struct Filtered {
    passed: u64,
    left_out: u64,
}

impl Iterator for Documents<'_> {
    type Item = Result<Document, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance();
        self.ended = !matches!(next, Ok(Some(_)));
        match next {
            Ok(Some(document)) => Some(Ok(document)),
            Ok(None) => self.find_fault_of_all().map(Err),
            // Looking through the rest would fetch all of it.
            Err(fault) if fault.ends_the_dataset() || self.contents.is_some() => Some(Err(fault)),
            Err(first) => Some(Err(self.find_all_faults(first.counted()))),
        }
    }
}

impl<'a> Documents<'a> {
    /// The documents of records that only name them.
    #[must_use]
    pub(crate) fn with_contents(self, contents: Box<dyn ContentStore + 'a>) -> Self {
        Self { contents: Some(contents), ..self }
    }

    /// Leaves out these copies, in place of those that are found on the way; with `None`, none.
    #[must_use]
    pub(crate) fn with_copies(self, copies: Option<Copies<'a>>) -> Self {
        Self { copies, ..self }
    }

    /// The copies of documents of other datasets, as lines of JSON; `None` if none are looked for.
    #[must_use]
    pub(crate) fn list_copies(&self) -> Option<&[u8]> {
        self.copies.as_ref().and_then(Copies::listed)
    }

    /// Says that the files are a part of their dataset: what all records together have to be is not asked of them.
    #[must_use]
    pub(crate) fn of_a_part(self) -> Self {
        Self { partial: true, ..self }
    }

    /// The number of the part of the last document, from 0.
    #[must_use]
    pub(crate) fn part_number(&self) -> usize {
        self.opened.saturating_sub(1)
    }

    /// Where the last document ends. `None` before the first document and at the end of a file.
    #[must_use]
    pub(crate) fn place(&self) -> Option<(&Path, RecordPlace)> {
        self.open.as_ref().map(|open| (open.file.as_path(), open.place()))
    }

    /// The place of the last document, with the name of its file alone.
    #[must_use]
    pub(crate) fn describe_place(&self) -> String {
        self.open.as_ref().map(OpenCorpusFile::describe_place).expect("a document was read")
    }

    /// What the documents so far left unused.
    #[must_use]
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Looks through what is left, and adds its faults to the first one.
    fn find_all_faults(&mut self, first: CorpusError) -> CorpusError {
        let mut faults = FaultList::new(first);
        let (start, mut tell) = (Instant::now(), self.patience.tell);
        while !self.patience.interrupt.load(Ordering::SeqCst) {
            match self.advance() {
                Ok(Some(_)) => {}
                Ok(None) => return faults.into_error(true),
                Err(fault) => {
                    let ends = fault.ends_the_dataset();
                    faults.push(fault.counted());
                    if ends {
                        break;
                    }
                }
            }
            if let Some(report) = tell.take_if(|_| start.elapsed() > PATIENCE) {
                report.note(&format!("{}; the rest of the data is looked through", faults.first()));
            }
        }
        faults.into_error(false)
    }

    fn advance(&mut self) -> Result<Option<Document>, CorpusError> {
        loop {
            let open = match &mut self.open {
                Some(open) => open,
                none => match self.parts.next() {
                    Some(part) => {
                        self.opened += 1;
                        self.contents.iter_mut().try_for_each(|contents| contents.begin(&part.file))?;
                        let (file, read) = (part.file.clone(), self.before.begin(&part));
                        match OpenCorpusFile::open(part, read, &self.parser) {
                            Ok(opened) => none.insert(opened),
                            Err(fault) => {
                                self.leave_file(&file);
                                return Err(fault);
                            }
                        }
                    }
                    None => return Ok(None),
                },
            };
            match open.next_record(&self.parser, self.contents.as_deref_mut()) {
                Ok(Some(CorpusRecord::Parsed(ParsedRecord::Document(parsed)))) => {
                    self.filtered.passed += 1;
                    self.missing.count();
                    self.skipped.iter_mut().for_each(SkippedRecords::count);
                    if !matches!(self.parser.layout(), FileLayout::Text(_)) {
                        self.tally.add(&parsed.leftovers, || open.describe_place());
                    }
                    let place = || open.describe_place();
                    let copies = self.copies.as_mut();
                    if copies.map_or(Ok(true), |copies| copies.admits(&parsed.document, place))? {
                        return Ok(Some(parsed.document));
                    }
                    continue;
                }
                Ok(Some(CorpusRecord::Parsed(ParsedRecord::FilteredOut))) => {
                    self.filtered.left_out += 1;
                    self.skipped.iter_mut().for_each(SkippedRecords::count);
                    continue;
                }
                Ok(Some(CorpusRecord::Parsed(ParsedRecord::Named(_)))) => {
                    unreachable!("a store of contents comes with a dataset whose records name them")
                }
                Ok(Some(CorpusRecord::Missing(address))) => {
                    self.filtered.passed += 1;
                    self.skipped.iter_mut().for_each(SkippedRecords::count);
                    self.missing.miss(&address)?;
                    continue;
                }
                Err(fault @ CorpusError::Record { last: false, .. }) if self.skipped.is_some() => {
                    let skipped = self.skipped.as_mut().expect("it is there");
                    skipped.skip(&fault)?;
                    continue;
                }
                Err(fault) => {
                    if let Some(open) = self.open.take_if(|_| fault.ends_its_file()) {
                        self.leave_file(&open.file);
                    }
                    return Err(fault);
                }
                Ok(None) => {}
            }
            let empty = self.before.end(open);
            self.open = None;
            if let Some(file) = empty {
                return Err(CorpusError::Empty { file });
            }
        }
    }

    /// Leaves out the other parts of a file that cannot be read on.
    fn leave_file(&mut self, file: &Path) {
        let left =
            self.parts.as_slice().iter().take_while(|part| part.file == file && !part.is_first()).count();
        self.opened += left;
        self.parts.by_ref().take(left).for_each(drop);
    }
}

/// All documents of `files`.
#[cfg(test)]
pub(crate) fn read_all(
    files: Vec<std::path::PathBuf>,
    format: fmflow_engine::pipeline::config::DatasetFormat,
) -> Result<Vec<Document>, CorpusError> {
    let patience = Patience { interrupt: &AtomicBool::new(false), tell: None };
    let dataset = DatasetConfig::of_format("d", format);
    read_documents(list_whole_files(files), &dataset, patience, &AnonymousFiles).collect()
}

#[cfg(test)]
mod tests;
