//! What the parser says, in words that help: keywords without `#`, missing quotes, habits from other languages.

mod foreign;
mod habit;
mod number;
mod parser;

use std::sync::Arc;

use kdl::KdlError;

use self::foreign::foreign;
pub use self::foreign::yaml;
pub(crate) use self::habit::foreign_quotes;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::{File, Span};

/// Most syntax errors that one run tells; after the first ones the parser only guesses.
const MOST: usize = 8;

/// Reports why a text cannot be parsed: known habits at their exact places, or else what the parser found in the
/// piece of text from byte `start`.
pub fn report(file: &Arc<File>, start: usize, error: &KdlError, sink: &mut Sink) {
    if let Some(diagnostic) = control(file).or_else(|| foreign(file)) {
        sink.push(diagnostic);
        return;
    }
    let known = habit::habits(file);
    if !known.is_empty() {
        known.into_iter().take(MOST).for_each(|diagnostic| sink.push(diagnostic));
        return;
    }
    if error.diagnostics.is_empty() {
        sink.push(Diagnostic::new(Code::Syntax, "the text is not KDL").help("see https://kdl.dev"));
    }
    parser::findings(file, start, &error.diagnostics, sink);
}

/// The first character that KDL allows nowhere.
fn control(file: &Arc<File>) -> Option<Diagnostic> {
    let forbidden = |letter: char| letter.is_control() && !matches!(letter, '\t'..='\r' | '\u{85}');
    let (offset, letter) = file.text.char_indices().find(|(_, letter)| forbidden(*letter))?;
    let span = span(file, offset, letter.len_utf8());
    let message =
        format!("the control character U+{:04X} may not stand in a configuration", u32::from(letter));
    Some(Diagnostic::new(Code::Syntax, message).at(&span, "here").help("remove it; is this a text file?"))
}

fn span(file: &Arc<File>, offset: usize, length: usize) -> Span {
    Span { file: file.clone(), offset, length }
}

/// The rest of the line from a byte.
fn line(text: &str, offset: usize) -> &str {
    text.get(offset..).unwrap_or_default().lines().next().unwrap_or_default()
}

/// What stands before a byte in its line.
fn before(text: &str, offset: usize) -> &str {
    text.get(..offset).unwrap_or_default().rsplit('\n').next().unwrap_or_default()
}
