//! Parts of data files: what of a file is read, and what is known of the lines before it.

use std::ops::Range;
use std::path::PathBuf;

use fmflow_engine::documents::LinesRead;

use super::open::OpenCorpusFile;

/// A data file to be read, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CorpusPart {
    /// The file.
    pub file: PathBuf,
    /// What begins in this range of its bytes is read; `None` for a whole file. That of the last part ends with `u64::MAX`.
    pub bytes: Option<Range<u64>>,
}

impl From<PathBuf> for CorpusPart {
    fn from(file: PathBuf) -> Self {
        Self { file, bytes: None }
    }
}

impl CorpusPart {
    /// Whether the file begins with it.
    pub(super) fn is_first(&self) -> bool {
        self.bytes.as_ref().is_none_or(|bytes| bytes.start == 0)
    }

    /// Whether the file ends with it.
    pub(super) fn is_last(&self) -> bool {
        self.bytes.as_ref().is_none_or(|bytes| bytes.end == u64::MAX)
    }
}

/// Files that are read whole.
pub(crate) fn list_whole_files(files: Vec<PathBuf>) -> Vec<CorpusPart> {
    files.into_iter().map(CorpusPart::from).collect()
}

/// What was read of a file before a part of it.
#[derive(Debug, Default)]
pub(super) struct BeforePart {
    /// The file, and how far its lines were read.
    read: Option<(PathBuf, LinesRead)>,
    /// Whether all of the file was read, and no record was found.
    nothing: bool,
}

impl BeforePart {
    /// Begins with a part; how far its file was read before, if that is known.
    pub(super) fn begin(&mut self, part: &CorpusPart) -> Option<LinesRead> {
        self.nothing |= part.is_first();
        self.read.take().filter(|(file, _)| *file == part.file).map(|(_, read)| read)
    }

    /// Ends with what was read; the file, if it ends there and has no record.
    pub(super) fn end(&mut self, open: &OpenCorpusFile) -> Option<PathBuf> {
        self.nothing &= !open.has_found();
        self.read = open.lines_read().map(|read| (open.file.clone(), read));
        (open.is_last && self.nothing).then(|| open.file.clone())
    }
}
