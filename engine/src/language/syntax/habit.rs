//! Finds bare words that KDL never allows, and suggests what their author probably meant.

use std::sync::Arc;

use super::number::{is_huge_number, is_number};
use super::quotes::find_foreign_quotes;
use super::{build_span, number, take_line_rest, take_line_start};
use crate::language::schema::foreign_names::{self, KnownCounts};
use crate::text::bare_words::find_bare_words;
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::ConfigFile;
use crate::text::scan::measure_string;

/// Invisible characters that come with copied text.
const INVISIBLE_LETTERS: &[char] = &['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{ad}'];

/// The diagnostics for all habits in a text. Text that belongs to one habit is not searched for another.
pub(super) fn find_habits(file: &Arc<ConfigFile>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut done = if file.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    for (offset, word) in find_bare_words(&file.text) {
        if offset + word.len() <= done {
            continue;
        }
        if let Some((diagnostic, length)) = detect_habit(file, offset, word) {
            found.push(diagnostic);
            done = offset + length;
        }
    }
    found
}

/// The name of the property whose value starts at `offset`, or of the node whose first value starts there; otherwise empty.
fn find_value_owner(file: &Arc<ConfigFile>, offset: usize) -> &str {
    let before = take_line_start(&file.text, offset).trim_end();
    let property = before.strip_suffix('=').map(str::trim_end);
    let node = || before.rsplit(['{', ';']).next().map(str::trim).filter(|node| !node.contains(' '));
    match property {
        Some(text) => text.rsplit([' ', '\t', '{', ';']).next().expect("a split text has a last part"),
        None => node().unwrap_or_default(),
    }
}

/// A diagnostic, and the number of bytes that belong to it.
type HabitMatch = Option<(Diagnostic, usize)>;

fn detect_habit(file: &Arc<ConfigFile>, offset: usize, word: &str) -> HabitMatch {
    let rest = take_line_rest(&file.text, offset);
    let word = word.trim_start_matches('\u{feff}');
    detect_bare_keyword(file, offset, word)
        .or_else(|| detect_hash_sign(file, offset, word, rest))
        .or_else(|| detect_colon(file, offset, word, rest))
        .or_else(|| detect_braced_value(file, offset, word))
        .or_else(|| detect_quotation_marks(file, offset, rest))
        .or_else(|| detect_list(file, offset, rest))
        .or_else(|| detect_raw_text(file, offset, word, rest))
        .or_else(|| detect_call(file, offset, word, rest))
        .or_else(|| detect_continuation(file, offset, word, rest))
        .or_else(|| detect_invisible_letter(file, offset, word))
        .or_else(|| detect_assignment(file, offset, word, rest))
        .or_else(|| detect_missing_quote(file, offset, word))
        .or_else(|| detect_unquoted_word(file, offset, word))
}

fn build_habit(
    file: &Arc<ConfigFile>,
    offset: usize,
    length: usize,
    message: &str,
    label: &str,
    help: String,
) -> HabitMatch {
    let diagnostic = Diagnostic::new(Code::Syntax, message).at(&build_span(file, offset, length), label);
    Some((diagnostic.help(help), length))
}

fn detect_bare_keyword(file: &Arc<ConfigFile>, offset: usize, word: &str) -> HabitMatch {
    let bare = word.trim_end_matches(',');
    let keyword =
        ["true", "false", "null", "inf", "-inf", "nan"].into_iter().find(|keyword| *keyword == bare)?;
    let place = build_span(file, offset, word.len());
    let found =
        |message: &str| Diagnostic::new(Code::KeywordWithoutHash, message).at(&place, "a bare word here");
    let owner = find_value_owner(file, offset);
    let truth = ["true", "false"].contains(&keyword);
    let diagnostic =
        match truth.then(|| foreign_names::suggest_boolean_replacement(owner, keyword == "true")).flatten() {
            Some(help) => found(&format!("`{owner}` does not take `{keyword}`")).help(help),
            None => found(&format!("`{bare}` needs a `#` in front")).help(format!("write `#{keyword}`")),
        };
    Some((diagnostic, word.len()))
}

/// `from:"ar"`. With a space after the colon, it would be two values.
fn detect_colon(file: &Arc<ConfigFile>, offset: usize, word: &str, rest: &str) -> HabitMatch {
    let name = word.strip_suffix(':')?;
    let value = rest.get(word.len()..).filter(|after| after.starts_with('"'))?;
    let value = value.get(..measure_string(value.as_bytes()))?;
    let before = take_line_start(&file.text, offset).trim_end();
    let node = before.is_empty() || before.ends_with(['{', ';']);
    let help = format!("KDL has no colons: write `{name}{}{value}`", if node { " " } else { "=" });
    let message = format!("`{word}` ends with a colon");
    let place = build_span(file, offset, word.len());
    Some((Diagnostic::new(Code::TrailingColon, message).at(&place, "no colon here").help(help), word.len()))
}

/// `steps { 400 }`: a value between the braces of its node.
fn detect_braced_value(file: &Arc<ConfigFile>, offset: usize, word: &str) -> HabitMatch {
    let opened = file.text.get(..offset)?.trim_end().strip_suffix('{')?.trim_end();
    let name = opened.rsplit(['\n', '{', '}', ';']).next()?.trim();
    let one = is_number(word) && !name.is_empty() && !name.contains([' ', '"', '=']);
    let help = format!("a value follows the name of its node: write `{name} {word}`");
    one.then(|| build_habit(file, offset, word.len(), "a number is not a node", "a value in braces", help))?
}

/// `#` that starts a comment in other languages, or an unknown keyword such as `#yes`.
fn detect_hash_sign(file: &Arc<ConfigFile>, offset: usize, word: &str, rest: &str) -> HabitMatch {
    let name = word.strip_prefix('#')?;
    if ["true", "false", "null", "inf", "-inf", "nan"].contains(&name) {
        return None;
    }
    let meant = match name.to_lowercase().as_str() {
        "true" | "yes" | "on" => Some("#true"),
        "false" | "no" | "off" => Some("#false"),
        "none" | "nil" | "null" => Some("#null"),
        _ => None,
    };
    match meant.filter(|_| !take_line_start(&file.text, offset).trim().is_empty()) {
        Some(meant) => {
            let message = format!("KDL has no `{word}`");
            build_habit(file, offset, word.len(), &message, "unknown keyword", format!("write `{meant}`"))
        }
        None => {
            let (diagnostic, _) = build_habit(
                file,
                offset,
                word.len(),
                "`#` does not start a comment",
                "here",
                "write `//`".to_owned(),
            )?;
            Some((diagnostic, rest.len()))
        }
    }
}

fn detect_quotation_marks(file: &Arc<ConfigFile>, offset: usize, rest: &str) -> HabitMatch {
    let (open, close) = find_foreign_quotes(rest)?;
    let inside = &rest[open..close.0];
    let mark = &rest[..open];
    let message = format!("{mark} is not a quotation mark in KDL");
    build_habit(file, offset, close.1, &message, "not a string", format!("write `\"{inside}\"`"))
}

/// `[a, b]`, which KDL writes as values one after another.
fn detect_list(file: &Arc<ConfigFile>, offset: usize, rest: &str) -> HabitMatch {
    let inside = rest.strip_prefix('[')?;
    let Some(end) = inside.find(']') else {
        let help = "write the values one after another, separated by spaces".to_owned();
        return build_habit(file, offset, 1, "KDL has no lists in brackets", "here", help);
    };
    let values = inside[..end].split(',').map(str::trim).filter(|value| !value.is_empty());
    let values = values.collect::<Vec<_>>().join(" ");
    let foreign =
        foreign_names::compute_replacement(find_value_owner(file, offset), &values, &KnownCounts::default());
    let help = match (foreign, values.is_empty()) {
        (Some(help), _) => help,
        (None, true) => "remove it".to_owned(),
        (None, false) => format!("write the values one after another: `{values}`"),
    };
    build_habit(file, offset, end + 2, "KDL has no lists in brackets", "not KDL syntax", help)
}

/// `r"..."`, the raw string of KDL version 1.
fn detect_raw_text(file: &Arc<ConfigFile>, offset: usize, word: &str, rest: &str) -> HabitMatch {
    let hashes = word.strip_prefix('r').filter(|hashes| hashes.bytes().all(|byte| byte == b'#'))?;
    let inside = rest.get(word.len()..)?.strip_prefix('"')?;
    let close = format!("\"{hashes}");
    let text = inside.get(..inside.find(&close)?)?;
    let length = word.len() + 1 + text.len() + close.len();
    let marks = if hashes.is_empty() { "#" } else { hashes };
    let help = format!("write `{marks}\"{text}\"{marks}`");
    build_habit(file, offset, length, "raw strings have no `r` in KDL version 2", "version 1 syntax", help)
}

/// `name(a, b)`.
fn detect_call(file: &Arc<ConfigFile>, offset: usize, word: &str, rest: &str) -> HabitMatch {
    let inside = rest.get(word.len()..)?.strip_prefix('(')?;
    let end = inside.find(')')?;
    let values = inside.get(..end)?.split(',').map(str::trim).collect::<Vec<_>>().join(" ");
    let length = word.len() + end + 2;
    let help = format!("write the values one after another: `{}`", format!("{word} {values}").trim_end());
    build_habit(file, offset, length, "KDL has no calls with parentheses", "not KDL syntax", help)
}

/// A backslash in the middle of a line.
fn detect_continuation(file: &Arc<ConfigFile>, offset: usize, word: &str, rest: &str) -> HabitMatch {
    let after = rest.get(word.len()..).unwrap_or_default().trim();
    if word != "\\" || after.is_empty() || after.starts_with("//") {
        return None;
    }
    let help = "put it at the end of the line, or remove it".to_owned();
    build_habit(
        file,
        offset,
        1,
        "`\\` joins a line with the next one only at the end of the line",
        "in the middle of a line",
        help,
    )
}

fn detect_invisible_letter(file: &Arc<ConfigFile>, offset: usize, word: &str) -> HabitMatch {
    let letter = word.chars().find(|letter| INVISIBLE_LETTERS.contains(letter))?;
    let message = format!("an invisible character, U+{:04X}", u32::from(letter));
    let help = "remove it; it often comes with copied text".to_owned();
    build_habit(file, offset, word.len(), &message, "in this word", help)
}

/// `steps = 400` where `steps` is a node, not a property.
fn detect_assignment(file: &Arc<ConfigFile>, offset: usize, word: &str, rest: &str) -> HabitMatch {
    let before = take_line_start(&file.text, offset).trim_end();
    if !before.is_empty() && !before.ends_with(['{', ';']) {
        return None;
    }
    let value = rest.get(word.len()..)?.trim_start().strip_prefix('=')?.trim_start();
    let value =
        value.split([' ', ';', '}']).next().filter(|value| !value.is_empty() && !value.contains('('))?;
    let help = format!("a value follows the name of its node after a space: write `{word} {value}`");
    build_habit(file, offset, word.len(), "only properties are written with `=`", "a node", help)
}

fn detect_missing_quote(file: &Arc<ConfigFile>, offset: usize, word: &str) -> HabitMatch {
    detect_unquoted_word(file, offset, word)?;
    let before = file.text.get(..offset).is_some_and(|text| text.ends_with('"'));
    let after = file.text.get(offset + word.len()..).is_some_and(|text| text.starts_with('"'));
    if (!before || word.starts_with(',')) && !after {
        return None;
    }
    let help = "a string needs two quotes; look for the missing one before this place".to_owned();
    build_habit(file, offset, word.len(), "a quote is missing on this line", "outside quotes", help)
}

/// Words that fail because of commas, number formats or characters that need quotes.
fn detect_unquoted_word(file: &Arc<ConfigFile>, offset: usize, word: &str) -> HabitMatch {
    let report = |message: &str, label: &str, help: String| {
        build_habit(file, offset, word.len(), message, label, help)
    };
    let digit = word.trim_start_matches(['-', '+', '.']).starts_with(|letter: char| letter.is_ascii_digit());
    if word.starts_with([',', ']']) {
        let help = "write the values one after another, separated by spaces".to_owned();
        return report("KDL has no commas and no lists in brackets", "here", help);
    }
    if let Some(number) = word.strip_suffix(',').filter(|_| digit) {
        return report("KDL has no commas", "ends with a comma", format!("write `{number}`"));
    }
    if digit && is_number(word) && is_huge_number(word) {
        return report(
            "this number is too large",
            "too large",
            format!("the largest whole number is {}", i64::MAX),
        );
    }
    if digit && !is_number(word) {
        return report(
            &format!("`{word}` is not a number"),
            "not a number",
            number::suggest_number(word, find_value_owner(file, offset)),
        );
    }
    let special = word.contains(['/', '[', ']', '\\']) && word.len() > 1;
    special.then(|| {
        report(&format!("`{word}` needs quotes"), "a bare word here", format!("write `\"{word}\"`"))
    })?
}
