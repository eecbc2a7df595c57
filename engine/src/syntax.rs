//! What the parser says, in words that help: keywords without `#`, missing quotes, habits from other languages.

use std::sync::Arc;

use kdl::{KdlDiagnostic, KdlError};

use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::pipeline::{File, Span};

/// Most syntax errors that one run tells; after the first ones the parser only guesses.
const MOST: usize = 8;

/// Reports the parser's findings.
pub fn report(file: &Arc<File>, error: &KdlError, sink: &mut Sink) {
    if error.diagnostics.is_empty() {
        sink.push(Diagnostic::new(Code::Syntax, "the text is not KDL").help("see https://kdl.dev"));
    }
    let known: Vec<_> = error.diagnostics.iter().map(|found| explain(file, found)).collect();
    let sure = known.iter().any(|(_, sure)| *sure);
    let mut last = None;
    for (diagnostic, certain) in known.into_iter().filter(|(_, certain)| *certain || !sure).take(MOST) {
        let line = diagnostic.place().map(|span| line_of(&span.file.text, span.offset));
        if certain || line != last {
            last = line;
            sink.push(diagnostic);
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or_default().matches('\n').count()
}

/// A diagnostic, and whether its cause is known for sure.
fn explain(file: &Arc<File>, found: &KdlDiagnostic) -> (Diagnostic, bool) {
    let span = place(file, found);
    let text = file.text.get(span.offset..).unwrap_or_default();
    let word = text.split([' ', '\n', '\t', ';', '}', '{', ')', '=']).next().unwrap_or_default();
    if let Some(word) = keyword(word) {
        let message = format!("`{word}` needs a `#` in front");
        let diagnostic = Diagnostic::new(Code::KeywordWithoutHash, message);
        let span = Span { length: word.len(), ..span };
        return (diagnostic.at(&span, "a bare word here").help(format!("write `#{word}`")), true);
    }
    let known = habit(word, text);
    let message = found.message.clone().unwrap_or_else(|| "the text is not KDL".to_owned());
    let label = found.label.clone().unwrap_or_else(|| "here".to_owned());
    let length = if known.is_some() { word.len().max(1) } else { span.length };
    let diagnostic = Diagnostic::new(Code::Syntax, fragment(&message));
    let help = known.clone().or_else(|| found.help.clone());
    (diagnostic.at(&Span { length, ..span }, fragment(&label)).maybe_help(help), known.is_some())
}

/// The place of a finding, moved to the start of the word it lies in.
fn place(file: &Arc<File>, found: &KdlDiagnostic) -> Span {
    let text = &file.text;
    let mut offset = found.span.offset().min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = text.get(..offset).unwrap_or_default();
    let word = before.rsplit([' ', '\n', '\t', ';', '{', '}', '=', '(', '"']).next().unwrap_or_default();
    let rest = text.get(offset..).unwrap_or_default();
    let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let start = if word.is_empty() { offset + blank } else { offset - word.len() };
    let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    let end = found.span.offset().saturating_add(found.span.len());
    let length = end.saturating_sub(start).clamp(1, line.len().max(1));
    Span { file: file.clone(), offset: start, length }
}

fn keyword(word: &str) -> Option<&'static str> {
    let word = word.trim_end_matches([',', ';']);
    let words = [("true", "true"), ("false", "false"), ("null", "null"), ("inf", "inf"), ("nan", "nan")];
    let other = [("True", "true"), ("False", "false"), ("None", "null")];
    words.iter().chain(&other).find(|(from, _)| *from == word).map(|(_, to)| *to)
}

/// Help for what people write out of habit.
fn habit(word: &str, rest: &str) -> Option<String> {
    let digits = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic() || letter == '%');
    let unit = word.get(digits.len()..).unwrap_or_default();
    let number = !digits.is_empty() && digits.parse::<f64>().is_ok();
    if number && matches!(unit, "k" | "K" | "m" | "M") {
        let scale = if unit.eq_ignore_ascii_case("k") { 1e3 } else { 1e6 };
        let value = digits.parse::<f64>().ok()? * scale;
        return Some(format!("write the number in full: `{value}`"));
    }
    if number && !unit.is_empty() && unit != "e" {
        return Some(format!("a value with a unit stands in quotes: `\"{word}\"`"));
    }
    if word.starts_with('.') && word.get(1..).is_some_and(|rest| rest.parse::<u64>().is_ok()) {
        return Some(format!("write `0{word}`"));
    }
    if rest.starts_with("# ") {
        return Some("a comment starts with `//`".to_owned());
    }
    if let Some(word) = word.strip_suffix(',').filter(|word| !word.is_empty()) {
        return Some(format!("KDL has no commas between values: write `{word}`"));
    }
    let special = word.contains(['/', '@', '%', '[', ']', ',']) || word.contains("..");
    (special && !word.contains('"')).then(|| format!("put it in quotes: `\"{word}\"`"))
}

/// The parser's sentences as lower-case fragments.
fn fragment(message: &str) -> String {
    let message = message.trim_end_matches('.');
    let mut letters = message.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
