//! What the parser says, in words that help: keywords without `#`, missing quotes, habits from other languages.

use std::sync::Arc;

use kdl::{KdlDiagnostic, KdlError};

use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::file::words;
use crate::pipeline::{File, Span};
use crate::schema::units::in_full;

/// Most syntax errors that one run tells; after the first ones the parser only guesses.
const MOST: usize = 8;

/// Reports why a text cannot be parsed: known habits at their exact places, or else what the parser found in the
/// piece of text from byte `start`.
pub fn report(file: &Arc<File>, start: usize, error: &KdlError, sink: &mut Sink) {
    if let Some(diagnostic) = control(file) {
        sink.push(diagnostic);
        return;
    }
    let known: Vec<_> = words(&file.text).filter_map(|(offset, word)| habit(file, offset, word)).collect();
    if !known.is_empty() {
        known.into_iter().take(MOST).for_each(|diagnostic| sink.push(diagnostic));
        return;
    }
    if error.diagnostics.is_empty() {
        sink.push(Diagnostic::new(Code::Syntax, "the text is not KDL").help("see https://kdl.dev"));
    }
    let mut last = None;
    for found in innermost(&error.diagnostics).take(MOST) {
        let diagnostic = from_parser(file, start, found);
        let line = diagnostic.place().map(|span| line_of(&file.text, span.offset));
        if line != last {
            last = line;
            sink.push(diagnostic);
        }
    }
}

/// The first character that KDL allows nowhere.
fn control(file: &Arc<File>) -> Option<Diagnostic> {
    let forbidden = |letter: char| letter.is_control() && !matches!(letter, '\t'..='\r' | '\u{85}');
    let (offset, letter) = file.text.char_indices().find(|(_, letter)| forbidden(*letter))?;
    let span = Span { file: file.clone(), offset, length: letter.len_utf8() };
    let message =
        format!("the control character U+{:04X} may not stand in a configuration", u32::from(letter));
    Some(Diagnostic::new(Code::Syntax, message).at(&span, "here").help("remove it; is this a text file?"))
}

/// Of several braces that are not closed the parser means the innermost.
fn innermost(found: &[KdlDiagnostic]) -> impl Iterator<Item = &KdlDiagnostic> {
    let unclosed = |found: &&KdlDiagnostic| {
        found.message.as_deref().is_some_and(|message| message.to_lowercase().contains("closing '}'"))
    };
    let inner = found.iter().filter(unclosed).map(|found| found.span.offset()).max();
    found.iter().filter(move |one| !unclosed(one) || Some(one.span.offset()) == inner)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or_default().matches('\n').count()
}

fn from_parser(file: &Arc<File>, start: usize, found: &KdlDiagnostic) -> Diagnostic {
    let message = found.message.as_deref().unwrap_or("the text is not KDL");
    let label = found.label.as_deref().unwrap_or("here");
    let help = found.help.as_deref().map(fragment);
    let unclosed = message.to_lowercase().contains("closing '}'");
    let help = if unclosed { Some("add the missing `}`".to_owned()) } else { help };
    if let Some(span) = message.contains("property value").then(|| valueless(file)).flatten() {
        return Diagnostic::new(Code::Syntax, "a property without a value")
            .at(&span, "nothing follows")
            .help("write the value after `=`, or remove the property");
    }
    Diagnostic::new(Code::Syntax, fragment(message))
        .at(&place(file, start, found), fragment(label))
        .maybe_help(help)
}

/// The first `name=` at the end of a line; the parser's own place for it is the start of the text.
fn valueless(file: &Arc<File>) -> Option<Span> {
    let mut offset = 0;
    for line in file.text.split_inclusive('\n') {
        let code = line.split("//").next().unwrap_or_default().trim_end();
        let name = code.trim_end_matches('=').rsplit([' ', '{', ';']).next().unwrap_or_default();
        if code.ends_with('=') && !name.is_empty() {
            let start = offset + code.trim_end_matches('=').len() - name.len();
            return Some(Span { file: file.clone(), offset: start, length: name.len() + 1 });
        }
        offset += line.len();
    }
    None
}

/// The place of a finding: within the text, on one line.
fn place(file: &Arc<File>, start: usize, found: &KdlDiagnostic) -> Span {
    let text = &file.text;
    let mut offset = found.span.offset().saturating_add(start).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let rest = text.get(offset..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let mut length = found.span.len().min(line.len());
    while !rest.is_char_boundary(length) {
        length -= 1;
    }
    Span { file: file.clone(), offset, length }
}

/// A diagnostic for a bare word that KDL never allows.
fn habit(file: &Arc<File>, offset: usize, word: &str) -> Option<Diagnostic> {
    let span = Span { file: file.clone(), offset, length: word.len() };
    if let Some(keyword) = keyword(word.trim_end_matches(',')) {
        let message = format!("`{word}` needs a `#` in front");
        let diagnostic = Diagnostic::new(Code::KeywordWithoutHash, message);
        return Some(diagnostic.at(&span, "a bare word here").help(format!("write `#{keyword}`")));
    }
    let (message, label, help) = syntax_habit(word)?;
    let before = file.text.get(..offset).is_some_and(|text| text.ends_with('"'));
    let after = file.text.get(offset + word.len()..).is_some_and(|text| text.starts_with('"'));
    if (before && !word.starts_with(',')) || after {
        return Some(
            Diagnostic::new(Code::Syntax, "a quote is missing in this line")
                .at(&span, "outside of quotes")
                .help("text stands between two quotes; look for a missing one before this place"),
        );
    }
    Some(Diagnostic::new(Code::Syntax, message).at(&span, label).help(help))
}

fn keyword(word: &str) -> Option<&'static str> {
    ["true", "false", "null", "inf", "-inf", "nan"].into_iter().find(|keyword| *keyword == word)
}

/// Message, label and help for what people write out of habit.
fn syntax_habit(word: &str) -> Option<(String, &'static str, String)> {
    let digit = word.trim_start_matches(['-', '+', '.']).starts_with(|letter: char| letter.is_ascii_digit());
    if word.starts_with('#') && !["#true", "#false", "#null", "#inf", "#-inf", "#nan"].contains(&word) {
        return Some(("`#` does not start a comment".to_owned(), "here", "write `//`".to_owned()));
    }
    if word.starts_with([',', '[', ']']) {
        let message = "KDL has no commas and no lists in brackets".to_owned();
        return Some((message, "here", "write the values one after another, with blanks between".to_owned()));
    }
    if let Some(number) = word.strip_suffix(',').filter(|_| digit) {
        return Some(("KDL has no commas".to_owned(), "ends with a comma", format!("write `{number}`")));
    }
    if digit && is_number(word) && is_huge(word) {
        let help = format!("the largest whole number is {}", i64::MAX);
        return Some(("this number is too large".to_owned(), "too large", help));
    }
    if digit && !is_number(word) {
        return Some((format!("`{word}` is not a number"), "not a number", number_help(word)));
    }
    let special = word.contains(['/', '[', ']', '\\']) && word.len() > 1;
    special.then(|| (format!("`{word}` needs quotes"), "a bare word here", format!("write `\"{word}\"`")))
}

fn is_number(word: &str) -> bool {
    let plain = word.trim_start_matches(['-', '+']);
    let based = ["0x", "0o", "0b"].iter().any(|prefix| plain.starts_with(prefix));
    let decimal = !plain.starts_with('.') && !plain.ends_with('.') && !plain.contains("._");
    based || decimal && plain.replace('_', "").parse::<f64>().is_ok()
}

/// Whether the parser cannot hold a number: more than 38 digits, or an exponent of more than nine.
fn is_huge(word: &str) -> bool {
    let (digits, exponent) = word.split_once(['e', 'E']).unwrap_or((word, ""));
    let count = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    count(digits) > 38 || count(exponent) > 9
}

fn number_help(word: &str) -> String {
    if let Some(help) = in_full(word) {
        return help;
    }
    let number = word.parse::<f64>().is_ok();
    match word {
        _ if number && word.starts_with('.') => format!("write `0{word}`"),
        _ if number && word.ends_with('.') => format!("write `{word}0`"),
        _ => format!("a value with a unit stands in quotes: `\"{word}\"`"),
    }
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
