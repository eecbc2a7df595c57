//! The only door to stdout and stderr of the commands.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::Color;
use crate::error::{Error, Result};
use crate::text::render::{self, DrawingStyle};

/// Whether this process has given its one JSON answer.
static ANSWERED: AtomicBool = AtomicBool::new(false);

/// Where commands print.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    color: Color,
}

impl Output {
    pub(super) fn new(color: Color) -> Self {
        Self { color }
    }

    /// Prints a result on stdout. A reader that went away is no failure.
    pub(super) fn result(self, text: &str) -> Result<()> {
        confirm_stdout_write(io::stdout().lock().write_all(text.as_bytes()))
    }

    /// Prints the answer, one JSON object, on stdout.
    pub(super) fn json(self, value: &Value) -> Result<()> {
        ANSWERED.store(true, Ordering::Relaxed);
        self.result(&(serde_json::to_string_pretty(value).expect("a JSON value has a text") + "\n"))
    }

    /// Prints a message on stderr.
    pub(super) fn message(self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Prints an error with its cause and cure, unless it was shown already.
    pub(super) fn error(self, error: &Error) {
        if matches!(error, Error::Config | Error::WorkToDo(_)) {
            return;
        }
        if let Error::Contradiction { stage, findings } = error {
            let drawn = render::render_drawings(findings, self.style());
            let again = "change one of the two; nothing was done";
            return self.message(&format!(
                "{drawn}{} stage `{stage}` contradicts what it is given\nhelp: {again}\n",
                self.label()
            ));
        }
        let label = self.label();
        let help = error.help().map(|help| format!("help: {help}\n")).unwrap_or_default();
        self.message(&format!("{label} {error}\n{help}"));
    }

    fn label(self) -> &'static str {
        if self.uses_colour() { "\x1b[1;31merror:\x1b[0m" } else { "error:" }
    }

    /// How diagnostics are drawn on stderr: no wider than a terminal there.
    pub(super) fn style(self) -> DrawingStyle {
        let width =
            read_terminal_columns(io::stderr()).map_or(DrawingStyle::PLAIN.width, clamp_drawing_width);
        DrawingStyle { colour: self.uses_colour(), width, ..DrawingStyle::PLAIN }
    }

    fn uses_colour(self) -> bool {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => wanted && io::stderr().is_terminal(),
        }
    }
}

/// Columns of the terminal behind a stream; nothing where there is none, or it does not tell.
pub(super) fn read_terminal_columns(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The width of a drawing in a terminal of so many columns: below 40 nothing can be drawn, above 100 nobody reads.
fn clamp_drawing_width(columns: usize) -> usize {
    columns.clamp(40, DrawingStyle::PLAIN.width)
}

/// Rows that a text takes in a terminal of so many columns.
pub(super) fn count_terminal_rows(text: &str, columns: usize) -> usize {
    text.lines().map(|line| line.chars().count().div_ceil(columns.max(1)).max(1)).sum()
}

/// Whether something that was written reached stdout. A reader that went away is no failure.
pub(super) fn confirm_stdout_write(result: io::Result<()>) -> Result<()> {
    match result.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", std::path::Path::new("stdout"))(error))
        }
        _ => Ok(()),
    }
}

/// Whether [`Output::json`] was called: a failure after it is told by its exit code, not by a second object.
pub(super) fn has_answered() -> bool {
    ANSWERED.load(Ordering::Relaxed)
}

/// Writes a line to stderr where no [`Output`] is at hand.
pub(super) fn write_stderr_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_wraps_takes_more_rows() {
        assert_eq!(
            [
                count_terminal_rows("", 10),
                count_terminal_rows("a\n\nb\n", 10),
                count_terminal_rows("0123456789", 10),
                count_terminal_rows("0123456789ä", 10)
            ],
            [0, 3, 1, 2]
        );
        assert_eq!(count_terminal_rows("x", 0), 1);
    }

    #[test]
    fn a_drawing_fits_its_terminal() {
        assert_eq!([20, 80, 200].map(clamp_drawing_width), [40, 80, 100]);
        let file = tempfile::tempfile().unwrap();
        assert_eq!(read_terminal_columns(&file), None, "a file is no terminal");
    }
}
