//! Turns syntax errors into helpful diagnostics: keywords without `#`, missing quotes, habits from other languages.
//!
//! `kdl` says little about the usual mistakes: for `resume true` only "expected identifier string". So known mistakes are
//! searched for in the text first, and only if there are none the parser's own errors are translated.

mod foreign_languages;
mod habit;
mod number;
mod parser_errors;
mod quotes;

use std::sync::Arc;

use kdl::KdlError;

use self::foreign_languages::detect_foreign_language;
pub(crate) use self::foreign_languages::detect_yaml;
pub(crate) use self::quotes::find_foreign_quotes;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::{ConfigFile, Span};

/// Most syntax errors that are reported at once. After the first ones the parser only guesses.
const MAX_SYNTAX_ERRORS: usize = 8;

/// Reports why a text cannot be parsed: known mistakes at their exact places, or else the parser's errors in the piece of
/// the text that starts at byte `start`.
pub(crate) fn report_syntax_errors(file: &Arc<ConfigFile>, start: usize, error: &KdlError, sink: &mut Sink) {
    if let Some(diagnostic) = control_character(file).or_else(|| detect_foreign_language(file)) {
        sink.push(diagnostic);
        return;
    }
    let known = habit::find_habits(file);
    if !known.is_empty() {
        known.into_iter().take(MAX_SYNTAX_ERRORS).for_each(|diagnostic| sink.push(diagnostic));
        return;
    }
    if error.diagnostics.is_empty() {
        sink.push(Diagnostic::new(Code::Syntax, "the text is not valid KDL").help("see https://kdl.dev"));
    }
    parser_errors::report_parser_errors(file, start, &error.diagnostics, sink);
}

/// A diagnostic for the first character that KDL allows nowhere.
fn control_character(file: &Arc<ConfigFile>) -> Option<Diagnostic> {
    let forbidden = |letter: char| letter.is_control() && !matches!(letter, '\t'..='\r' | '\u{85}');
    let (offset, letter) = file.text.char_indices().find(|(_, letter)| forbidden(*letter))?;
    let span = build_span(file, offset, letter.len_utf8());
    let message =
        format!("the control character U+{:04X} is not allowed in a configuration", u32::from(letter));
    Some(Diagnostic::new(Code::Syntax, message).at(&span, "here").help("remove it; is this a text file?"))
}

fn build_span(file: &Arc<ConfigFile>, offset: usize, length: usize) -> Span {
    Span { file: file.clone(), offset, length }
}

/// The rest of the line, from a byte on.
fn take_line_rest(text: &str, offset: usize) -> &str {
    text[offset..].lines().next().unwrap_or_default()
}

/// The part of the line before a byte.
fn take_line_start(text: &str, offset: usize) -> &str {
    let before = &text[..offset];
    before.rsplit_once('\n').map_or(before, |(_, line)| line)
}
