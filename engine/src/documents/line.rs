//! Lines of data files: bytes become text, or a fault with a fix.

use std::borrow::Cow;

/// The longest line that is read, in bytes. A longer one means a damaged file, and reading it whole could exhaust the memory.
pub const LINE_BYTES: u64 = 64 << 20;

/// The fix for a file that is one JSON array.
pub(super) const ARRAY: &str = "write `format=\"json\"`, or one object per line, as `jq -c '.[]'` does";

/// What is wrong with a line, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFault {
    /// What is wrong.
    pub problem: String,
    /// How to fix it.
    pub fix: Cow<'static, str>,
}

impl LineFault {
    pub(super) fn new(problem: impl Into<String>, fix: impl Into<Cow<'static, str>>) -> Self {
        Self { problem: problem.into(), fix: fix.into() }
    }

    /// Whether the file is one JSON array although it should have lines, so that [`ARRAY`] is advised.
    pub(crate) fn is_one_array(&self) -> bool {
        self.fix == ARRAY
    }

    /// The same fault of a record that is called `word`: "element" or "row". Most faults speak of lines.
    pub(super) fn of_a(self, word: &str) -> Self {
        if word == "line" {
            return self;
        }
        let call = |text: &str| text.replace("the line", &format!("the {word}"));
        Self { problem: call(&self.problem), fix: call(&self.fix).into() }
    }
}

/// The fault of a line with more than [`LINE_BYTES`] bytes, which begins with `bytes` at byte `at` of its file.
pub(super) fn long_line(bytes: &[u8], at: u64) -> LineFault {
    let fix =
        if bytes.starts_with(b"[") { ARRAY } else { "split it; if the file is not text, convert it first" };
    LineFault::new(format!("the line, which begins at byte {at}, is longer than 64 MiB"), fix)
}

/// The line with this number (from 1) as text, if it is clean UTF-8. `bytes` come without their line end; of CR LF, the CR is
/// dropped here.
///
/// # Errors
/// A byte order mark, a NUL byte, or bytes that are not UTF-8: a silent repair would change what a model learns. Bytes are counted from
/// 0 within the line.
pub(super) fn decode_line(mut bytes: Vec<u8>, number: u64) -> Result<String, LineFault> {
    if number == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(LineFault::new("the file starts with a byte order mark", "remove its first three bytes"));
    }
    if let Some(place) = bytes.iter().position(|byte| *byte == 0) {
        let fix = "remove the byte; if the file is not text, convert it first";
        return Err(LineFault::new(format!("the line holds a NUL byte at byte {place}"), fix));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|cause| {
        let place = cause.utf8_error().valid_up_to();
        LineFault::new(format!("the line is not UTF-8 at byte {place}"), "convert the file to UTF-8")
    })
}
