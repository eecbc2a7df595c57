//! Translates the parser's errors into diagnostics in the user's terms, at the place that has to change.

use std::sync::Arc;

use kdl::KdlDiagnostic;

use super::{MAX_SYNTAX_ERRORS, build_span, take_line_rest};
use crate::text::bare_words::find_bare_words;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::{ConfigFile, Span};
use crate::text::scan::measure_string;

/// Reports the parser's errors, at most one per line. Stops after an error that makes the following ones guesses.
pub(super) fn report_parser_errors(
    file: &Arc<ConfigFile>,
    start: usize,
    found: &[KdlDiagnostic],
    sink: &mut Sink,
) {
    if let Some(place) = found.iter().map(|found| find_error_place(file, start, found)).find(is_endless_text)
    {
        let help = "close it with `\"\"\"` on a line of its own";
        sink.push(
            Diagnostic::new(Code::Syntax, "this text is not closed").at(&place, "starts here").help(help),
        );
        return;
    }
    let mut last = None;
    for found in skip_outer_braces(found).take(MAX_SYNTAX_ERRORS) {
        let (diagnostic, open) = translate_parser_error(file, start, found);
        let line = diagnostic.place().map(|span| count_lines_before(&file.text, span.offset));
        if line != last {
            last = line;
            sink.push(diagnostic);
        }
        if open {
            return;
        }
    }
}

/// Whether a multi-line string starts at `place` and is never closed.
fn is_endless_text(place: &Span) -> bool {
    let (before, rest) = place.file.text.split_at(place.offset);
    if before.matches("\"\"\"").count() % 2 == 1 {
        return false;
    }
    let opened = rest.trim_start_matches('#').strip_prefix("\"\"\"");
    opened.is_some_and(|after| measure_string(rest.as_bytes()) == rest.len() && !after.contains("\"\"\""))
}

/// Drops all unclosed braces but the innermost: if one brace is missing, the parser also reports those around it.
fn skip_outer_braces(found: &[KdlDiagnostic]) -> impl Iterator<Item = &KdlDiagnostic> {
    let unclosed = |found: &&KdlDiagnostic| has_message(found, "closing '}'");
    let inner = found.iter().filter(unclosed).map(|found| found.span.offset()).max();
    found.iter().filter(move |one| !unclosed(one) || Some(one.span.offset()) == inner)
}

fn has_message(found: &KdlDiagnostic, words: &str) -> bool {
    found.message.as_deref().is_some_and(|message| message.to_lowercase().contains(words))
}

fn count_lines_before(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count()
}

/// The diagnostic for an error, and whether the error leaves a string or comment open, so that later errors are guesses.
fn translate_parser_error(file: &Arc<ConfigFile>, start: usize, found: &KdlDiagnostic) -> (Diagnostic, bool) {
    let place = find_error_place(file, start, found);
    let new = |message: &str, label: &str, help: &str| {
        Diagnostic::new(Code::Syntax, message).at(&place, label).help(help)
    };
    let rest = &file.text[place.offset..];
    if has_message(found, "newline in single-line") {
        let help = "close it with `\"`; text of several lines goes between `\"\"\"` and `\"\"\"`";
        return (new("this text is not closed on its line", "starts here", help), true);
    }
    if has_message(found, "string prefix") {
        let help = "indent every line at least as far as the closing `\"\"\"`";
        return (
            new("a line of this text is indented less than its closing quotes", "this text", help),
            true,
        );
    }
    if has_message(found, "opening quotes must be") {
        let help = "break the line after `\"\"\"`, or write text of one line as `\"...\"`";
        return (new("text after `\"\"\"` must start on the next line", "starts here", help), true);
    }
    if has_message(found, "multi-line comment") {
        return (new("this comment is not closed", "starts here", "add `*/`"), true);
    }
    if has_message(found, "closing '}'") {
        return (new("this `{` is not closed", "starts here", "add the missing `}`"), false);
    }
    if has_message(found, "child block instead") {
        let help = "a brace opens on the line of its node, as in `train \"sft\" from=\"flow\" {`";
        return (new("these braces do not belong to a node", "no node before them", help), false);
    }
    if let Some(diagnostic) = property_without_value(file, found) {
        return (diagnostic, false);
    }
    if has_message(found, "invalid node name") {
        return (node_without_name(&new, rest), false);
    }
    let specific = unknown_escape(file, &place, found).or_else(|| missing_blank(file, &place, found));
    (specific.unwrap_or_else(|| other_parser_error(&place, found)), false)
}

fn node_without_name(new: &dyn Fn(&str, &str, &str) -> Diagnostic, rest: &str) -> Diagnostic {
    match rest {
        _ if rest.starts_with(';') => {
            new("there is nothing before this `;`", "here", "remove it; a comment starts with `//`")
        }
        _ if rest.starts_with("/-") => {
            new("there is nothing after this `/-`", "here", "remove it, or put it before the node to disable")
        }
        _ => {
            let help = "a node starts with a word; text with special characters needs quotes";
            new("this is not the name of a node", "here", help)
        }
    }
}

fn other_parser_error(place: &Span, found: &KdlDiagnostic) -> Diagnostic {
    let label = found.label.as_deref().unwrap_or("here");
    let help = found.help.as_deref().map(format_fragment);
    Diagnostic::new(Code::Syntax, format_fragment(&read_parser_message(found)))
        .at(place, format_fragment(label))
        .maybe_help(help)
}

fn read_parser_message(found: &KdlDiagnostic) -> String {
    found.message.as_deref().unwrap_or("the text is not valid KDL").to_owned()
}

/// An unknown escape in a string, at its exact place. The parser reports only the whole string.
fn unknown_escape(file: &Arc<ConfigFile>, place: &Span, found: &KdlDiagnostic) -> Option<Diagnostic> {
    if !has_message(found, "quoted string") || found.help.is_some() {
        return None;
    }
    let rest = take_line_rest(&file.text, place.offset);
    let quoted = rest.get(..measure_string(rest.as_bytes()))?;
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        if letter != '\\' {
            continue;
        }
        let (_, next) = letters.next()?;
        if !"nrt\\\"bfsu".contains(next) && !next.is_whitespace() {
            let message = format!("`\\{next}` is not an escape");
            let inside = quoted.trim_matches('"');
            let path = inside.replace('\\', "/");
            let help = format!("write `\"{path}\"` if it is a path, or else a raw string, `#\"{inside}\"#`");
            let place = build_span(file, place.offset + at, 1 + next.len_utf8());
            return Some(Diagnostic::new(Code::Syntax, message).at(&place, "unknown escape").help(help));
        }
    }
    None
}

/// A word that follows a value without a space between them.
fn missing_blank(file: &Arc<ConfigFile>, place: &Span, found: &KdlDiagnostic) -> Option<Diagnostic> {
    let partial = found.help.as_deref().is_some_and(|help| help.contains("partially parsed"));
    let rest = take_line_rest(&file.text, place.offset).get(..)?;
    let first = rest.bytes().next().filter(|_| partial)?;
    let length = match first {
        b'"' | b'#' => measure_string(rest.as_bytes()),
        _ => rest.find(['"', '{', '(']).unwrap_or(rest.len()),
    };
    let (own, after) = rest.split_at_checked(length).filter(|(_, after)| !after.is_empty())?;
    let next = after.split([' ', '{', '}', ';']).find(|word| !word.is_empty())?;
    if next.starts_with('"') && rest.matches('"').count() % 2 == 1 {
        let place = build_span(file, place.offset, length);
        let help = format!("write `\"{own}\"`");
        return Some(
            Diagnostic::new(Code::Syntax, "a quote is missing").at(&place, "before this").help(help),
        );
    }
    let place = build_span(file, place.offset + length, 0);
    let help = format!("write `{own} {next}`");
    Some(Diagnostic::new(Code::Syntax, "a space is missing").at(&place, "between these").help(help))
}

/// The first `name=` without a value. `kdl` 6.7 reports this error at the start of the document, so its place is searched
/// for in the text.
fn property_without_value(file: &Arc<ConfigFile>, found: &KdlDiagnostic) -> Option<Diagnostic> {
    if !has_message(found, "property value") {
        return None;
    }
    let empty = |after: &str| {
        let after = after.trim_start_matches([' ', '\t']);
        after.is_empty()
            || after.starts_with(['\n', '\r', ';', '}', '{', '='])
            || after.starts_with("//")
            || after.starts_with("/-")
    };
    let (offset, word) = find_bare_words(&file.text).find(|(offset, word)| {
        let after = &file.text[offset + word.len()..];
        after.trim_start_matches([' ', '\t']).strip_prefix('=').is_some_and(empty)
    })?;
    Some(
        Diagnostic::new(Code::Syntax, "a property without a value")
            .at(&build_span(file, offset, word.len()), "no value follows")
            .help("write the value after `=`, or remove the property"),
    )
}

/// The place of an error, clipped to the text and to one line.
fn find_error_place(file: &Arc<ConfigFile>, start: usize, found: &KdlDiagnostic) -> Span {
    let text = &file.text;
    let mut offset = found.span.offset().saturating_add(start).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let line = take_line_rest(text, offset);
    let mut length = found.span.len().min(line.len());
    while !line.is_char_boundary(length) {
        length -= 1;
    }
    build_span(file, offset, length)
}

/// A sentence of the parser as a lower-case fragment, like our own messages.
fn format_fragment(message: &str) -> String {
    let message = message.trim_end_matches('.');
    let mut letters = message.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
