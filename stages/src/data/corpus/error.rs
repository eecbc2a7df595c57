//! Why a dataset cannot be read: one fault, or all of them.

use fmflow_engine::documents::RecordPlace;
use fmflow_engine::error::Failure;
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::{escape_line, show_path};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Most faults that are shown; the others are counted.
const SHOWN_FAULTS: usize = 20;

/// Why a dataset cannot be read. Every message names the file, the line if there is one, and a fix.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CorpusError {
    /// The operating system reported an error.
    #[error("`{}` cannot be read: {cause}", show_path(file))]
    Io {
        /// The file.
        file: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: std::io::Error,
    },
    /// The path is a folder, pipe, device or socket.
    #[error("`{}` is {what}, not a regular file; name the dataset's files instead", show_path(file))]
    NotAFile {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The path is a link that leads out of its folder. Such a link could read any file of the machine into a training set.
    #[error(
        "`{}` is a link out of its folder, to `{}`; copy the file or name its real path",
        show_path(file),
        show_path(target)
    )]
    Escape {
        /// The link.
        file: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// The file has not a single document.
    #[error("`{}` contains no document; fill it or remove it from the dataset", show_path(file))]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// The file is not what the dataset says, such as a table without the column that it names.
    #[error("`{}`: {problem}; {fix}", show_path(file))]
    Unfit {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// How to fix it.
        fix: Cow<'static, str>,
    },
    /// A record is not clean text, or not of the expected format.
    #[error("{}: {problem}; {fix}", place.in_file(&show_path(file)))]
    Record {
        /// The file.
        file: PathBuf,
        /// Where in the file the record is.
        place: RecordPlace,
        /// What is wrong with it.
        problem: String,
        /// How to fix it.
        fix: Cow<'static, str>,
        /// Whether the rest of the file cannot be read after it.
        last: bool,
    },
    /// The dataset names a field that no line has.
    #[error("no line has the field `{name}`; name another one in the dataset, or remove it there")]
    NoSuchField {
        /// The name of the field.
        name: String,
    },
    /// The filter of the dataset leaves out every record.
    #[error("the filter leaves out all {records} records; correct its values, or remove it")]
    AllFiltered {
        /// How many there are.
        records: u64,
    },
    /// More records are at fault than the dataset allows.
    #[error("{text} are at fault, more than `max` allows ({most}); the first: {first}")]
    TooManySkipped {
        /// How many, and their share.
        text: String,
        /// The largest share.
        most: String,
        /// The first fault.
        first: String,
    },
    /// Digests of documents that do not fit into memory cannot be kept on disk.
    #[error("what was seen of the documents cannot be kept: {cause}")]
    Digests {
        /// The error of the storage.
        #[source]
        cause: std::io::Error,
    },
    /// More contents are missing than may be.
    #[error("{text}, and at most 1 % may be: {first}")]
    TooManyMissing {
        /// How many, and their share.
        text: String,
        /// The addresses of the first ones.
        first: String,
    },
    /// A content could not be fetched or kept.
    #[error(transparent)]
    Contents(#[from] Failure),
    /// Several faults, the first of them one by one.
    #[error("{text}")]
    Several {
        /// The number of faults, then one line for each that is shown.
        text: String,
    },
}

impl CorpusError {
    pub(super) fn no_such_field(name: &str) -> Self {
        Self::NoSuchField { name: name.to_owned() }
    }

    /// The text with the names of files alone, which does not depend on the folder that holds them.
    pub(super) fn without_folders(&self) -> String {
        match self {
            Self::Record { file, place, problem, fix, .. } => {
                let name = file.file_name().map_or(file.as_path(), Path::new);
                format!("{}: {problem}; {fix}", place.in_file(&show_path(name)))
            }
            _ => self.to_string(),
        }
    }

    /// The fault with the number of its line, which is counted now if its part was read alone.
    pub(super) fn counted(self) -> Self {
        match self {
            Self::Record { file, place, problem, fix, last } => {
                let place = place.counted_in(&file);
                Self::Record { file, place, problem, fix, last }
            }
            other => other,
        }
    }

    /// Whether nothing more of its file can be read.
    pub(super) fn ends_its_file(&self) -> bool {
        match self {
            Self::Record { last, .. } => *last,
            _ => true,
        }
    }

    /// Whether the dataset as a whole is at fault, so that reading on shows nothing more.
    pub(super) fn ends_the_dataset(&self) -> bool {
        matches!(
            self,
            Self::TooManySkipped { .. }
                | Self::Digests { .. }
                | Self::TooManyMissing { .. }
                | Self::Contents(_)
        )
    }
}

/// Faults in the order of files and lines.
pub(super) struct FaultList {
    shown: Vec<CorpusError>,
    count: u64,
}

impl FaultList {
    pub(super) fn new(first: CorpusError) -> Self {
        Self { shown: vec![first], count: 1 }
    }

    pub(super) fn push(&mut self, fault: CorpusError) {
        self.count += 1;
        if self.shown.len() < SHOWN_FAULTS {
            self.shown.push(fault);
        }
    }

    /// The first fault.
    pub(super) fn first(&self) -> &CorpusError {
        &self.shown[0]
    }

    /// The only fault, or one error that shows the first ones and counts all. `whole` says that everything was looked through.
    pub(super) fn into_error(mut self, whole: bool) -> CorpusError {
        if self.count == 1 && whole {
            return self.shown.remove(0);
        }
        let mut text = match whole {
            true => format!("the data have {} faults", self.count),
            false => format!("{} found before the search was stopped", count_noun(self.count, "fault")),
        };
        for fault in &self.shown {
            text += &format!("\n  {}", escape_line(&fault.to_string()));
        }
        match self.count - self.shown.len() as u64 {
            0 => {}
            more => text += &format!("\n  and {more} more"),
        }
        CorpusError::Several { text }
    }
}
