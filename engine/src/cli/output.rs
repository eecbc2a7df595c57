//! The only door to stdout and stderr of the commands.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::Color;
use crate::error::{Error, Result};
use crate::render::{self, Style};

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
        written(io::stdout().lock().write_all(text.as_bytes()))
    }

    /// Prints the answer, one JSON object, on stdout.
    pub(super) fn json(self, value: &Value) -> Result<()> {
        ANSWERED.store(true, Ordering::Relaxed);
        self.result(&(serde_json::to_string_pretty(value).unwrap_or_default() + "\n"))
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
            let drawn = render::graphical(findings, self.style());
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
        if self.colour() { "\x1b[1;31merror:\x1b[0m" } else { "error:" }
    }

    /// How diagnostics are drawn on stderr.
    pub(super) fn style(self) -> Style {
        Style { colour: self.colour(), ..Style::PLAIN }
    }

    fn colour(self) -> bool {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => wanted && io::stderr().is_terminal(),
        }
    }
}

/// Whether something that was written reached stdout. A reader that went away is no failure.
pub(super) fn written(result: io::Result<()>) -> Result<()> {
    match result.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", std::path::Path::new("stdout"))(error))
        }
        _ => Ok(()),
    }
}

/// Whether [`Output::json`] was called: a failure after it is told by its exit code, not by a second object.
pub(super) fn answered() -> bool {
    ANSWERED.load(Ordering::Relaxed)
}

/// Writes a line to stderr where no [`Output`] is at hand.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
