//! How commands write to stdout and stderr. Everything passes through [`crate::text::escape`] here, or before it is colored.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::Color;
use crate::error::{Error, Result};
use crate::run::last_words;
use crate::text::diagnostic::Diagnostic;
use crate::text::escape::{escape_json, escape_message, escape_text, show_path};
use crate::text::render::{self, DrawingStyle};
use crate::text::wrap::wrap_message;

/// Whether this process has printed its one JSON answer.
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

    /// Prints a result on stdout. A closed pipe, as in `fmflow schema | head`, is not a failure.
    pub(super) fn result(self, text: &str) -> Result<()> {
        write_stdout(escape_text(text).as_bytes())
    }

    /// Prints a result on stdout whose words are escaped already, because it has colors of its own.
    pub(super) fn styled(self, text: &str) -> Result<()> {
        write_stdout(text.as_bytes())
    }

    /// Whether a result on stdout has colors.
    pub(super) fn colors_stdout(self) -> bool {
        self.wants_color(io::stdout().is_terminal())
    }

    /// Columns of a result on stdout; they fit its terminal.
    pub(super) fn stdout_columns(self) -> usize {
        read_terminal_columns(io::stdout()).map_or(DrawingStyle::PLAIN.width, clamp_drawing_width)
    }

    /// Columns that tables on stdout may have; `None`: stdout is no terminal.
    pub(super) fn find_table_columns(self) -> Option<usize> {
        let stdout = io::stdout();
        let told = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
        stdout.is_terminal().then(|| read_terminal_columns(&stdout).or_else(told)).flatten()
    }

    /// Prints words of a model on stdout: its own bytes for a program that reads them, and nothing that acts on a terminal.
    pub(super) fn text(self, text: &str) -> Result<()> {
        match io::stdout().is_terminal() {
            true => self.result(text),
            false => write_stdout(text.as_bytes()),
        }
    }

    /// Prints a path on stdout: its own bytes for a program that reads them, and as messages show it on a terminal.
    pub(super) fn path(self, path: &Path) -> Result<()> {
        match io::stdout().is_terminal() {
            true => self.result(&format!("{}\n", show_path(path))),
            false => write_stdout(&[path.as_os_str().as_bytes(), b"\n"].concat()),
        }
    }

    /// Before the next version of a result on stdout: on a terminal it replaces the last one, otherwise a blank line separates them.
    pub(super) fn separate_from(self, last: &str) -> Result<()> {
        let stdout = io::stdout();
        match read_terminal_columns(&stdout).filter(|_| stdout.is_terminal()) {
            _ if last.is_empty() => Ok(()),
            Some(columns) => self.erase_rows(count_terminal_rows(last, columns)),
            None => self.result("\n"),
        }
    }

    /// Moves the cursor of the terminal `rows` up and erases what is below, so that the next text replaces the last one.
    fn erase_rows(self, rows: usize) -> Result<()> {
        write_stdout(format!("\x1b[{rows}A\x1b[J").as_bytes())
    }

    /// Whether stderr is a terminal on which a cursor can be moved.
    pub(super) fn draws_on_stderr(self) -> bool {
        io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb")
    }

    /// Whether what is drawn on stderr has colors.
    pub(super) fn colors_stderr(self) -> bool {
        self.uses_color()
    }

    /// Columns and rows of the terminal of stderr.
    pub(super) fn stderr_size(self) -> (usize, usize) {
        read_terminal_size(io::stderr()).unwrap_or((DrawingStyle::PLAIN.width, USUAL_ROWS))
    }

    /// Draws on the terminal of stderr: text that moves the cursor, in which the words of others are escaped already.
    pub(super) fn draw(self, text: &str) {
        write_stderr(text);
    }

    /// Prints the answer on stdout as one JSON object.
    pub(super) fn json(self, value: &Value) -> Result<()> {
        ANSWERED.store(true, Ordering::Relaxed);
        let text = serde_json::to_string_pretty(value).expect("a JSON value has a text") + "\n";
        write_stdout(escape_json(&text).as_bytes())
    }

    /// Prints a message on stderr; its sentences fit the terminal.
    pub(super) fn message(self, text: &str) {
        write_stderr(&fit_message(&escape_text(text)));
    }

    /// Draws findings on stderr. The drawing escapes the words of others itself, because it has colors of its own.
    pub(super) fn drawings(self, findings: &[Diagnostic]) {
        write_stderr(&render::render_drawings(findings, self.style()));
    }

    /// Prints an error with its help, unless the command has shown it already.
    pub(super) fn error(self, error: &Error) {
        if matches!(
            error,
            Error::Config | Error::UnfitCheckpoint | Error::WorkToDo(_) | Error::NotRunnable(_)
        ) {
            return;
        }
        if let Error::Contradiction { stage, findings } = error {
            self.drawings(findings);
            let again = "change one of the two; the stage was not started";
            return self.labelled(&format!("stage `{stage}` contradicts its inputs\nhelp: {again}\n"));
        }
        let help = error.help().map(|help| format!("help: {}\n", escape_message(&help))).unwrap_or_default();
        self.labelled(&format!("{}\n{help}", escape_message(&error.to_string())));
    }

    /// Prints a message behind the label of an error.
    fn labelled(self, text: &str) {
        let text = fit_message(&escape_text(&format!("error: {text}")));
        write_stderr(self.label());
        write_stderr(text.strip_prefix("error:").unwrap_or(&text));
    }

    fn label(self) -> &'static str {
        if self.uses_color() { "\x1b[1;31merror:\x1b[0m" } else { "error:" }
    }

    /// How diagnostics are drawn on stderr; they fit its terminal.
    pub(super) fn style(self) -> DrawingStyle {
        let width =
            read_terminal_columns(io::stderr()).map_or(DrawingStyle::PLAIN.width, clamp_drawing_width);
        DrawingStyle { color: self.uses_color(), width, ..DrawingStyle::PLAIN }
    }

    fn uses_color(self) -> bool {
        self.wants_color(io::stderr().is_terminal())
    }

    fn wants_color(self, on_terminal: bool) -> bool {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => wanted && on_terminal,
        }
    }
}

/// Rows of a terminal that does not report them.
const USUAL_ROWS: usize = 24;

/// Columns of the terminal behind a stream; `None` if it is not a terminal or does not report its size.
pub(super) fn read_terminal_columns(stream: impl AsFd) -> Option<usize> {
    read_terminal_size(stream).map(|(columns, _)| columns)
}

/// Columns and rows of the terminal behind a stream, as [`read_terminal_columns`].
fn read_terminal_size(stream: impl AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    let rows = Some(usize::from(size.ws_row)).filter(|rows| *rows > 0);
    Some((usize::from(size.ws_col), rows.unwrap_or(USUAL_ROWS))).filter(|(columns, _)| *columns > 0)
}

/// The width of a drawing in a terminal with `columns` columns: below 40 there is no room to draw, above 100 lines are hard to
/// read.
fn clamp_drawing_width(columns: usize) -> usize {
    columns.clamp(40, DrawingStyle::PLAIN.width)
}

/// Rows that a text takes in a terminal with `columns` columns, which wraps long lines.
fn count_terminal_rows(text: &str, columns: usize) -> usize {
    text.lines().map(|line| line.chars().count().div_ceil(columns.max(1)).max(1)).sum()
}

/// Flushes stdout after a write and reports whether both worked. A closed pipe is not a failure.
pub(super) fn confirm_stdout_write(result: io::Result<()>) -> Result<()> {
    match result.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", std::path::Path::new("stdout"))(error))
        }
        _ => Ok(()),
    }
}

/// Whether [`Output::json`] was called. A failure after that shows in the exit code only, not in a second object.
pub(super) fn has_answered() -> bool {
    ANSWERED.load(Ordering::Relaxed)
}

/// Writes a line to stderr where there is no [`Output`].
pub(super) fn write_stderr_line(text: &str) {
    write_stderr(&format!("{}\n", escape_text(text)));
}

/// Tells that memory ran out, and ends the process.
pub(super) fn end_out_of_memory() -> ! {
    if !last_words::is_first_to_tell() {
        // The thread that tells it ends this one, too.
        loop {
            std::thread::park();
        }
    }
    let mut text = String::new();
    last_words::write_out_of_memory(None, &mut text).expect("a string takes every text");
    write_stderr(&escape_text(&text));
    std::process::exit(i32::from(last_words::OUT_OF_MEMORY_EXIT))
}

/// A message in lines that fit the terminal of stderr, if that is one.
fn fit_message(text: &str) -> String {
    read_terminal_columns(io::stderr()).map_or_else(|| text.to_owned(), |columns| wrap_message(text, columns))
}

/// Writes to stderr. A command must not fail because its stderr was closed, so errors are ignored.
fn write_stderr(safe: &str) {
    let _ = io::stderr().lock().write_all(safe.as_bytes());
}

fn write_stdout(safe: &[u8]) -> Result<()> {
    confirm_stdout_write(io::stdout().lock().write_all(safe))
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
        assert_eq!(read_terminal_columns(&file), None, "a file is not a terminal");
    }
}
