//! Reads documents from files, one at a time, in file order.
//!
//! `text`: a document is a group of paragraphs, cut at the first blank line after [`GROUP_BYTES`] bytes and at the end of a
//! file. `jsonl` and `chat`: a document is a line, a JSON object whose fields are read by name. Files are UTF-8 with `\n`
//! line ends. Anything else is refused with its file and line, because a silent repair would change what a model learns.

mod conversation;
mod lines;
mod non_text;
mod turns;

pub(crate) use conversation::{Chat, Conversation, Message, Speaker};
use fmflow_engine::pipeline::config::DatasetFormat;
pub(crate) use lines::CorpusError;
use lines::LineReader;
use std::path::{Path, PathBuf};

/// A document of `text` ends at the first blank line after this many bytes.
pub(crate) const GROUP_BYTES: usize = 1024;

/// The longest line that is read, in bytes. A longer one means a damaged file, and reading it whole could exhaust the memory.
pub(crate) const LINE_BYTES: u64 = 64 << 20;

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// Text, all of which is learned.
    Text(String),
    /// A conversation whose answers are learned.
    Chat(Conversation),
}

impl Document {
    /// Whether the document is held out. For a conversation the first question decides, so that all its answers stay
    /// together and a held-out question is never learned in another conversation that opens with it.
    #[must_use]
    pub(crate) fn is_held_out(&self, fraction: f64) -> bool {
        match self {
            Self::Text(text) => is_held_out(text, fraction),
            Self::Chat(chat) => is_held_out(chat.opening(), fraction),
        }
    }
}

/// Whether a text belongs to the held-out `fraction` (0 to 1) of its dataset.
///
/// The split hashes the text instead of drawing random numbers, so it is a function of the text alone: order, file names
/// and other documents do not matter, copies stay on the same side, the tokenizer and the rows agree, and a larger fraction
/// holds out a superset.
#[must_use]
pub(crate) fn is_held_out(text: &str, fraction: f64) -> bool {
    let digest = blake3::derive_key("fmflow 2026 held-out split", text.as_bytes());
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    // The upper 53 bits as a number in [0, 1), as in `rng`.
    ((u64::from_le_bytes(head) >> 11) as f64) * (1.0 / 9_007_199_254_740_992.0) < fraction
}

/// The documents of `files`, in the order of the list and of each file. The iterator ends after the first error.
#[must_use]
pub(crate) fn read_documents(files: Vec<PathBuf>, format: DatasetFormat) -> Documents {
    Documents { files: files.into_iter(), format, open: None }
}

/// Iterator of [`read_documents`]. One file is open and one document is in memory at a time.
#[derive(Debug)]
pub(crate) struct Documents {
    files: std::vec::IntoIter<PathBuf>,
    format: DatasetFormat,
    open: Option<LineReader>,
}

impl Iterator for Documents {
    type Item = Result<Document, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            (self.files, self.open) = (Vec::new().into_iter(), None);
        }
        next
    }
}

impl Documents {
    /// Where the last document ends: file and line number. `None` before the first document and at the end of a file.
    #[must_use]
    pub(crate) fn place(&self) -> Option<(&Path, u64)> {
        self.open.as_ref().map(|lines| (lines.file.as_path(), lines.number))
    }

    fn advance(&mut self) -> Result<Option<Document>, CorpusError> {
        loop {
            let lines = match &mut self.open {
                Some(lines) => lines,
                none => match self.files.next() {
                    Some(file) => none.insert(LineReader::open(file)?),
                    None => return Ok(None),
                },
            };
            if let Some(document) = lines.document(&self.format)? {
                lines.found = true;
                return Ok(Some(document));
            }
            if !lines.found {
                return Err(CorpusError::Empty { file: lines.file.clone() });
            }
            self.open = None;
        }
    }
}

#[cfg(test)]
mod tests;
