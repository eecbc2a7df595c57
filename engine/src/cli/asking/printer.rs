//! Prints answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::output::Output;
use crate::error::{Error, Result};
use crate::run::text::TextListener;

/// Prints an answer while it is written.
pub(in crate::cli) struct Printer {
    output: Output,
    silent: bool,
    /// Stops the answer once it is set.
    interrupt: Arc<AtomicBool>,
    /// Whether a piece was printed.
    printed: bool,
    failed: Option<Error>,
}

impl Printer {
    /// A printer that prints nothing if it is `silent`.
    pub(in crate::cli) fn new(output: Output, silent: bool, interrupt: Arc<AtomicBool>) -> Self {
        Self { output, silent, interrupt, printed: false, failed: None }
    }

    /// Ends the line of an answer that was heard, or prints all `texts`.
    ///
    /// # Errors
    /// If stdout could not be written, now or before.
    pub(in crate::cli) fn finish(self, texts: &[&str]) -> Result<()> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.silent {
            return Ok(());
        }
        if self.printed {
            return self.output.text("\n");
        }
        for (at, text) in texts.iter().enumerate() {
            if texts.len() > 1 {
                self.output.message(&format!("{} of {}:\n", at + 1, texts.len()));
            }
            self.output.text(&format!("{text}\n"))?;
        }
        Ok(())
    }
}

impl TextListener for Printer {
    fn hear(&mut self, piece: &str) {
        if !self.silent && self.failed.is_none() {
            self.printed = true;
            self.failed = self.output.text(piece).err();
        }
    }

    fn goes_on(&mut self) -> bool {
        self.failed.is_none() && !self.interrupt.load(Ordering::SeqCst)
    }
}
