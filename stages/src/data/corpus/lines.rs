//! Reads the lines of one file, checks them, and extracts documents.

use super::non_text::describe_non_text;
use fmflow_engine::pipeline::config::{DatasetFormat, TurnFields};
use fmflow_engine::text::escape::show_path;

use super::{Conversation, Document, GROUP_BYTES, LINE_BYTES, turns};
use serde_json::{Map, Value};
use std::fs::{File, canonicalize, symlink_metadata};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

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
    /// A line is not clean text, or not a record of the expected format.
    #[error("{}:{line}: {problem}; {fix}", show_path(file))]
    Line {
        /// The file.
        file: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What is wrong with the line.
        problem: String,
        /// How to fix it.
        fix: &'static str,
    },
}

/// The fix for a file that is one JSON array.
const ARRAY: &str = "write one object per line, as `jq -c '.[]'` does";

/// The lines of one file.
#[derive(Debug)]
pub(super) struct LineReader {
    pub(super) file: PathBuf,
    reader: BufReader<File>,
    pub(super) number: u64,
    pub(super) found: bool,
}

impl LineReader {
    pub(super) fn open(file: PathBuf) -> Result<Self, CorpusError> {
        let reader = BufReader::new(open_regular_file(&file)?);
        Ok(Self { file, reader, number: 0, found: false })
    }

    /// The next document; `None` at the end of the file.
    pub(super) fn document(&mut self, format: &DatasetFormat) -> Result<Option<Document>, CorpusError> {
        match format {
            DatasetFormat::Text => Ok(self.paragraphs()?.map(Document::Text)),
            DatasetFormat::Jsonl { text } => match self.record()? {
                Some(record) => Ok(Some(Document::Text(self.field(&record, text)?))),
                None => Ok(None),
            },
            DatasetFormat::Chat { turns: TurnFields::Pair { user, assistant }, group } => {
                match self.record()? {
                    Some(record) => {
                        let (prompt, answer) =
                            (self.nonblank_field(&record, user)?, self.nonblank_field(&record, assistant)?);
                        let group = self.group(&record, group.as_deref())?;
                        Ok(Some(Document::Chat(Conversation::pair(prompt, answer, group))))
                    }
                    None => Ok(None),
                }
            }
            DatasetFormat::Chat { turns: TurnFields::List { messages }, group } => match self.record()? {
                Some(record) => {
                    Ok(Some(Document::Chat(self.read_conversation(&record, messages, group.as_deref())?)))
                }
                None => Ok(None),
            },
        }
    }

    /// The conversation in the field `messages` of a line, with system rules from other fields of the line.
    fn read_conversation(
        &self,
        record: &Map<String, Value>,
        messages: &str,
        group: Option<&str>,
    ) -> Result<Conversation, CorpusError> {
        let list = record.get(messages).ok_or_else(|| self.missing_field(record, messages))?;
        let kind = self.group(record, group)?;
        let taken = [messages, group.unwrap_or(messages)];
        let talk = turns::parse_conversation(list, messages, kind);
        let talk = talk.and_then(|talk| {
            turns::add_system_rules(talk, messages, turns::find_line_rules(record, &taken)?)
        });
        talk.map_err(|(problem, fix)| self.line_error(problem, fix))
    }

    /// The kind of a conversation; "" if the dataset does not name a field for it.
    fn group(&self, record: &Map<String, Value>, name: Option<&str>) -> Result<String, CorpusError> {
        name.map_or(Ok(String::new()), |name| self.field(record, name))
    }

    /// Paragraphs up to the first blank line after [`GROUP_BYTES`] bytes, trimmed of blank lines at both ends.
    fn paragraphs(&mut self) -> Result<Option<String>, CorpusError> {
        let mut text = String::new();
        while let Some(line) = self.line()? {
            if !line.trim().is_empty() || !text.is_empty() {
                text.push_str(&line);
                text.push('\n');
            }
            if line.trim().is_empty() && text.len() > GROUP_BYTES {
                break;
            }
        }
        text.truncate(text.trim_end().len());
        Ok((!text.is_empty()).then_some(text))
    }

    /// The next non-blank line as a JSON object.
    fn record(&mut self) -> Result<Option<Map<String, Value>>, CorpusError> {
        while let Some(line) = self.line()? {
            if line.trim().is_empty() {
                continue;
            }
            return match serde_json::from_str(&line) {
                Ok(Value::Object(record)) => Ok(Some(record)),
                _ if !self.found && line.trim_start().starts_with('[') => {
                    Err(self.line_error("the file is one JSON array", ARRAY))
                }
                Ok(_) => Err(self
                    .line_error("the line is JSON, but not an object", "write {\"field\": \"text\", ...}")),
                Err(cause) => Err(self.line_error(
                    format!("the line is not JSON ({cause})"),
                    "write one complete object per line",
                )),
            };
        }
        Ok(None)
    }

    fn field(&self, record: &Map<String, Value>, name: &str) -> Result<String, CorpusError> {
        match record.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            Some(Value::String(_)) => {
                Err(self.line_error(format!("field `{name}` is empty"), "fill it or remove the line"))
            }
            Some(other) => {
                let (what, fix) = describe_non_text(other);
                let problem = format!("field `{name}` is not a string but {what}");
                Err(self.line_error(problem, fix.unwrap_or("fill it or remove the line")))
            }
            None => Err(self.missing_field(record, name)),
        }
    }

    /// A field that must not be blank: a question or an answer.
    fn nonblank_field(&self, record: &Map<String, Value>, name: &str) -> Result<String, CorpusError> {
        let text = self.field(record, name)?;
        match text.trim().is_empty() {
            true => Err(self.line_error(format!("field `{name}` is blank"), "fill it or remove the line")),
            false => Ok(text),
        }
    }

    fn missing_field(&self, record: &Map<String, Value>, name: &str) -> CorpusError {
        let names: Vec<String> = record.keys().map(|key| format!("`{key}`")).collect();
        let problem = format!("field `{name}` is missing, the line has {}", names.join(", "));
        self.line_error(problem, "add the field, or name another one in the dataset")
    }

    /// The next line without its line ending.
    fn line(&mut self) -> Result<Option<String>, CorpusError> {
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(LINE_BYTES + 1).read_until(b'\n', &mut bytes);
        let count = read.map_err(|cause| CorpusError::Io { file: self.file.clone(), cause })?;
        if count == 0 {
            return Ok(None);
        }
        self.number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        self.decode_line(bytes).map(Some)
    }

    /// The line as text, if it is clean UTF-8.
    fn decode_line(&self, bytes: Vec<u8>) -> Result<String, CorpusError> {
        if bytes.len() as u64 > LINE_BYTES {
            let fix = if bytes.starts_with(b"[") {
                ARRAY
            } else {
                "split it; if the file is not text, convert it first"
            };
            return Err(self.line_error("the line is longer than 64 MiB", fix));
        }
        if self.number == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(
                self.line_error("the file starts with a byte order mark", "remove its first three bytes")
            );
        }
        if bytes.contains(&0) {
            return Err(self.line_error(
                "the line holds a NUL byte",
                "remove the byte; if the file is not text, convert it first",
            ));
        }
        if bytes.last() == Some(&b'\r') {
            return Err(self.line_error("the line ends in CR LF", "convert the file to LF line endings"));
        }
        String::from_utf8(bytes).map_err(|cause| {
            let place = cause.utf8_error().valid_up_to();
            self.line_error(format!("the line is not UTF-8 at byte {place}"), "convert the file to UTF-8")
        })
    }

    fn line_error(&self, problem: impl Into<String>, fix: &'static str) -> CorpusError {
        CorpusError::Line { file: self.file.clone(), line: self.number, problem: problem.into(), fix }
    }
}

/// Opens a regular file. A link is followed only if it stays inside its own folder.
///
/// The kind is checked before opening, because opening a pipe blocks until somebody writes to it.
fn open_regular_file(file: &Path) -> Result<File, CorpusError> {
    let io = |cause| CorpusError::Io { file: file.to_owned(), cause };
    if symlink_metadata(file).map_err(io)?.is_symlink() {
        let target = canonicalize(file).map_err(io)?;
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !target.starts_with(canonicalize(parent).map_err(io)?) {
            return Err(CorpusError::Escape { file: file.to_owned(), target });
        }
    }
    let kind = std::fs::metadata(file).map_err(io)?;
    if !kind.is_file() {
        let what = if kind.is_dir() { "a folder" } else { "a pipe, device or socket" };
        return Err(CorpusError::NotAFile { file: file.to_owned(), what });
    }
    File::open(file).map_err(io)
}
