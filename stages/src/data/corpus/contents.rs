//! Contents that records only name: they are asked for ahead of the documents, and taken in the order of the records.

use std::collections::VecDeque;
use std::path::Path;

use fmflow_engine::documents::{
    Document, DocumentParser, ParsedDocument, ParsedRecord, RecordPlace, RecordReader,
};
use fmflow_engine::error::Failure;

use super::CorpusError;
use super::left_out::LeftOut;
use super::open::place_fault;

/// Records that are read ahead of the document that is awaited.
const AHEAD: usize = 256;

/// Largest share of contents that may be missing.
const MOST_MISSING: f64 = 0.01;

/// As many contents may be missing in a part of a dataset, however small it is: there are too few for a share.
const FEW_MISSING: u64 = 10;

/// Missing contents that an error names.
const NAMED: usize = 5;

/// A place from which contents come. What is asked for is taken in the same order.
pub(crate) trait ContentStore {
    /// Begins with the contents that a file names.
    ///
    /// # Errors
    /// If what was kept of them cannot be read.
    fn begin(&mut self, file: &Path) -> Result<(), Failure>;

    /// Asks for a content.
    ///
    /// # Errors
    /// If what was kept cannot be read.
    fn ask(&mut self, key: &str) -> Result<(), Failure>;

    /// The first content that was asked for and not taken; `encoding` is the name of its encoding, if it is not UTF-8.
    ///
    /// # Errors
    /// If it cannot be fetched or kept.
    fn take(&mut self, encoding: Option<&str>) -> Result<Content, Failure>;

    /// Ends with a file, all of whose contents were taken.
    ///
    /// # Errors
    /// If they cannot be kept.
    fn end(&mut self) -> Result<(), Failure>;
}

/// A content that was taken.
pub(crate) enum Content {
    /// Its text.
    Text(String),
    /// There is none with this address, which is safe for a terminal.
    Missing(String),
    /// It is no text: what is wrong, and how to fix it.
    Unfit(String, &'static str),
}

/// What a record turned out to be.
pub(super) enum CorpusRecord {
    /// It was parsed, and its document is here.
    Parsed(ParsedRecord),
    /// Its content is missing, which has this address.
    Missing(String),
}

/// The records of a file that were read ahead.
#[derive(Debug, Default)]
pub(super) struct RecordsAhead {
    records: VecDeque<(RecordPlace, Result<ParsedRecord, CorpusError>)>,
    read_all: bool,
    /// Where the record is that was returned last.
    pub(super) place: Option<RecordPlace>,
}

impl RecordsAhead {
    /// The next record with its document, after asking for those behind it.
    pub(super) fn next_record(
        &mut self,
        file: &Path,
        reader: &mut RecordReader,
        parser: &DocumentParser,
        contents: &mut dyn ContentStore,
    ) -> Result<Option<CorpusRecord>, CorpusError> {
        self.read_ahead(file, reader, parser, contents)?;
        let Some((place, record)) = self.records.pop_front() else {
            contents.end()?;
            return Ok(None);
        };
        self.place = Some(place);
        let named = match record? {
            ParsedRecord::Named(named) => named,
            other => return Ok(Some(CorpusRecord::Parsed(other))),
        };
        match contents.take(named.encoding.as_deref())? {
            Content::Text(text) => {
                let parsed = ParsedDocument { document: Document::Text(text), leftovers: named.leftovers };
                Ok(Some(CorpusRecord::Parsed(ParsedRecord::Document(Box::new(parsed)))))
            }
            Content::Missing(address) => Ok(Some(CorpusRecord::Missing(address))),
            Content::Unfit(problem, fix) => {
                let file = file.to_owned();
                Err(CorpusError::Record { file, place, problem, fix: fix.into(), last: false })
            }
        }
    }

    fn read_ahead(
        &mut self,
        file: &Path,
        reader: &mut RecordReader,
        parser: &DocumentParser,
        contents: &mut dyn ContentStore,
    ) -> Result<(), CorpusError> {
        while !self.read_all && self.records.len() < AHEAD {
            let record = match reader.next_record(parser) {
                Ok(None) => {
                    self.read_all = true;
                    break;
                }
                Ok(Some(record)) => Ok(record),
                Err(fault) => Err(place_fault(file, fault)),
            };
            match &record {
                Ok(ParsedRecord::Named(named)) => contents.ask(&named.key)?,
                Ok(_) => {}
                Err(fault) => self.read_all = fault.ends_its_file(),
            }
            self.records.push_back((reader.place(), record));
        }
        Ok(())
    }
}

/// Counts contents that are missing, and compares their share with the largest that is allowed.
#[derive(Debug, Default)]
pub(super) struct MissingContents {
    contents: LeftOut,
    /// The addresses of the first ones.
    first: Vec<String>,
}

impl MissingContents {
    /// Counts a content that is here.
    pub(super) fn count(&mut self) {
        self.contents.keep();
    }

    /// Leaves out a record whose content is missing.
    pub(super) fn miss(&mut self, address: &str) -> Result<(), CorpusError> {
        self.contents.leave();
        if self.first.len() < NAMED {
            self.first.push(address.to_owned());
        }
        if self.contents.are_enough() { self.check(false) } else { Ok(()) }
    }

    /// Refuses a share that is too large; in a part of a dataset it may be larger if only a few are missing.
    pub(super) fn check(&self, partial: bool) -> Result<(), CorpusError> {
        let few = partial && self.contents.left <= FEW_MISSING;
        if few || !self.contents.is_over(MOST_MISSING) {
            return Ok(());
        }
        let more = if self.contents.left > NAMED as u64 { ", ..." } else { "" };
        Err(CorpusError::TooManyMissing {
            text: self.share(),
            first: format!("{}{more}", self.first.join(", ")),
        })
    }

    fn share(&self) -> String {
        let verb = if self.contents.left == 1 { "is" } else { "are" };
        format!("{} {verb} missing", self.contents.describe("content"))
    }

    /// What is missing; `None` if nothing is.
    pub(super) fn describe(&self) -> Option<String> {
        let first = self.first.first()?;
        Some(format!("contents: {}, the first: {first}", self.share()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(missing: u64, contents: u64, partial: bool) -> bool {
        MissingContents { contents: LeftOut { all: contents, left: missing }, first: Vec::new() }
            .check(partial)
            .is_ok()
    }

    #[test]
    fn one_in_a_hundred_may_be_missing_and_ten_in_a_part() {
        assert!(
            check(0, 0, false) && check(1, 100, false) && !check(1, 99, false) && !check(101, 10_000, false)
        );
        assert!(check(10, 20, true) && !check(11, 1_000, true) && check(11, 1_100, true));
    }

    #[test]
    fn a_dataset_ends_early_only_after_many_contents() {
        let mut missing = MissingContents::default();
        for _ in 0..9_999 {
            assert!(missing.miss("s3://b/k").is_ok());
        }
        assert!(missing.miss("s3://b/k").is_err());
    }
}
