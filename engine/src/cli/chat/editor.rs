//! Edits messages at a terminal: keys, a cursor that moves, earlier messages, text of several lines that is pasted.

use std::io::{self, IsTerminal, Read, Stdin};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use super::keys::read_key;
use super::line::{MessageLine, Typed};
use super::screen::DrawnRows;
use crate::cli::output::Output;
use crate::error::{Error, Result};

/// Lets the terminal mark what is pasted, and no longer.
const BRACKETED_PASTE: [&str; 2] = ["\x1b[?2004h", "\x1b[?2004l"];

/// How long a key is waited for before the editor looks whether it has to end, in nanoseconds.
const LOOK: i64 = 100_000_000;

/// What was read where a line is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReadLine {
    /// The line without its end.
    Text(String),
    /// What was typed was given up (Ctrl-C).
    Dropped,
    /// Nothing more comes (Ctrl-D).
    End,
}

/// Edits messages at a terminal.
pub(super) struct LineEditor {
    line: MessageLine,
    /// Once it is set nothing more is read.
    end: Arc<AtomicBool>,
}

impl LineEditor {
    /// An editor if people type at a terminal that can be drawn on; `end` ends its work.
    pub(super) fn open(output: Output, end: &Arc<AtomicBool>) -> Option<Self> {
        let fits = io::stdin().is_terminal() && output.draws_on_stderr() && tcgetattr(io::stdin()).is_ok();
        fits.then(|| Self { line: MessageLine::default(), end: end.clone() })
    }

    /// The next line.
    ///
    /// # Errors
    /// If the terminal cannot be read or set.
    pub(super) fn read(&mut self, output: Output) -> Result<ReadLine> {
        let mode = RawMode::enter(output).map_err(Error::io("set", Path::new("the terminal")))?;
        let mut rows = DrawnRows::default();
        loop {
            output.draw(&rows.draw(self.line.view(), output.stderr_size()));
            let mut source = Unbuffered(&mode.stdin, &self.end);
            let key = read_key(&mut source).map_err(Error::io("read", Path::new("stdin")))?;
            let Some(key) = key else {
                output.draw(&rows.leave());
                return Ok(ReadLine::End);
            };
            match self.line.press(key) {
                Typed::Changed => {}
                Typed::Cleared => {
                    rows = DrawnRows::default();
                    output.draw("\x1b[H\x1b[2J");
                }
                Typed::Dropped => {
                    output.draw(&rows.leave());
                    return Ok(ReadLine::Dropped);
                }
                Typed::Closed => {
                    output.draw(&rows.leave());
                    return Ok(ReadLine::End);
                }
                Typed::Taken(text) => {
                    output.draw(&rows.leave());
                    return Ok(ReadLine::Text(text));
                }
            }
        }
    }
}

/// Stdin, of which nothing is read ahead: what is typed while an answer is written belongs to the next message. It is at its end once the
/// flag is set, because a signal does not end a read.
struct Unbuffered<'a>(&'a Stdin, &'a AtomicBool);

impl Read for Unbuffered<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.1.load(Ordering::SeqCst) {
                return Ok(0);
            }
            let wait = Timespec { tv_sec: 0, tv_nsec: LOOK };
            match poll(&mut [PollFd::new(self.0, PollFlags::IN)], Some(&wait)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(rustix::io::read(self.0, bytes)?),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The terminal sends every key at once and shows none, until this is dropped.
struct RawMode {
    stdin: Stdin,
    before: Termios,
    output: Output,
}

impl RawMode {
    fn enter(output: Output) -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
        raw.input_modes.remove(InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR | InputModes::IXON);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        output.draw(BRACKETED_PASTE[0]);
        Ok(Self { stdin, before, output })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.output.draw(BRACKETED_PASTE[1]);
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(&self.stdin, OptionalActions::Drain, &self.before);
    }
}
