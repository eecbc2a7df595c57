//! What is typed, at a terminal or through a pipe.

use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::editor::{LineEditor, ReadLine};
use crate::cli::output::Output;
use crate::error::{Error, Result};

/// Most bytes of a message.
pub(super) const MESSAGE_BYTES: usize = 16 << 20;

/// A line that begins and ends a message of several lines.
const FENCE: &str = "\"\"\"";

/// Where messages come from. A line is a message; one that ends with a backslash goes on in the next line, and lines between two
/// lines of three quotes are one message. At a terminal lines are edited, and a text of several lines that is pasted is a line.
pub(super) struct ChatInput {
    output: Output,
    terminal: bool,
    editor: Option<LineEditor>,
}

impl ChatInput {
    /// What is typed, until `end` is set: lines that are edited end then, others may go on.
    pub(super) fn open(output: Output, end: &Arc<AtomicBool>) -> Self {
        let (terminal, editor) = (std::io::stdin().is_terminal(), LineEditor::open(output, end));
        Self { output, terminal, editor }
    }

    /// Whether lines are edited.
    pub(super) fn is_edited(&self) -> bool {
        self.editor.is_some()
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The next message; `None` at the end (Ctrl-D).
    pub(super) fn read(&mut self) -> Result<Option<String>> {
        if let Some(editor) = &mut self.editor {
            let output = self.output;
            return read_message(&mut |room| match editor.read(output)? {
                ReadLine::Text(line) if line.len() > room => Err(too_long()),
                line => Ok(line),
            });
        }
        if self.terminal {
            self.output.message("> ");
        }
        let mut source = std::io::stdin().lock();
        read_message(&mut |room| read_line(&mut source, room))
    }
}

/// A message of lines; `next` reads one of at most so many bytes.
fn read_message(next: &mut dyn FnMut(usize) -> Result<ReadLine>) -> Result<Option<String>> {
    let (mut message, mut fenced, mut begun) = (String::new(), false, false);
    loop {
        let line = match next(MESSAGE_BYTES.saturating_sub(message.len()))? {
            ReadLine::Text(line) => line,
            ReadLine::Dropped => {
                // The lines before it are those of the same message.
                (message, fenced, begun) = (String::new(), false, false);
                continue;
            }
            ReadLine::End => {
                return match (begun, fenced) {
                    (false, _) => Ok(None),
                    (true, false) => Ok(Some(message)),
                    (true, true) => Err(refused(
                        "a message of several lines does not end",
                        "end it with a line of `\"\"\"`",
                    )),
                };
            }
        };
        match (fenced, line.trim() == FENCE) {
            (true, true) => return Ok(Some(message.strip_suffix('\n').unwrap_or(&message).to_owned())),
            (true, false) => message = message + &line + "\n",
            (false, true) if !begun => fenced = true,
            (false, _) => match line.strip_suffix('\\') {
                None => return Ok(Some(message + &line)),
                Some(part) => message = message + part + "\n",
            },
        }
        begun = true;
    }
}

/// A line of at most `room` bytes without its end.
fn read_line(source: &mut dyn BufRead, room: usize) -> Result<ReadLine> {
    let mut line = Vec::new();
    let read = Read::take(source, room as u64 + 1).read_until(b'\n', &mut line);
    let count = read.map_err(Error::io("read", Path::new("stdin")))?;
    if count > room {
        return Err(too_long());
    }
    if count == 0 {
        return Ok(ReadLine::End);
    }
    let line = String::from_utf8(line)
        .map_err(|_| refused("a message is not UTF-8", "convert the messages to UTF-8"))?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(ReadLine::Text(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

fn too_long() -> Error {
    refused("a message of more than 16 MiB", "write a shorter one")
}

fn refused(what: &str, help: &str) -> Error {
    Error::Input { message: what.to_owned(), help: Some(help.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(mut bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(text) = read_message(&mut |room| read_line(&mut bytes, room)).unwrap() {
            found.push(text);
        }
        found
    }

    #[test]
    fn a_line_is_a_message_unless_it_goes_on() {
        assert_eq!(read_all(b"one\r\ntwo\n\nlast"), ["one", "two", "", "last"]);
        assert_eq!(read_all(b"a\\\nb\\\nc\nd\n"), ["a\nb\nc", "d"]);
        assert_eq!(read_all(b"a\\"), ["a\n"]);
        assert!(read_all(b"").is_empty());
        assert!(read_message(&mut |room| read_line(&mut &b"\xff\n"[..], room)).is_err());
    }

    #[test]
    fn who_gives_up_a_line_gives_up_its_message() {
        let text = |line: &str| ReadLine::Text(line.to_owned());
        for begun in ["\"\"\"", "a\\"] {
            let lines = [text(begun), text("b\\"), ReadLine::Dropped, text("c"), ReadLine::End];
            let mut lines = lines.into_iter();
            let mut next = |_: usize| Ok(lines.next().unwrap());
            assert_eq!(read_message(&mut next).unwrap().as_deref(), Some("c"));
            assert_eq!(read_message(&mut next).unwrap(), None);
        }
    }

    #[test]
    fn lines_between_quotes_are_one_message() {
        assert_eq!(read_all(b"\"\"\"\na\\\n\n  b\n\"\"\"\nc\n"), ["a\\\n\n  b", "c"]);
        assert_eq!(read_all(b"\"\"\"\n\"\"\"\n"), [""]);
        let mut endless: &[u8] = b"\"\"\"\na\n";
        assert!(read_message(&mut |room| read_line(&mut endless, room)).is_err(), "it has no end");
    }
}
