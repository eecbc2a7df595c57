//! Sentences on a terminal: what is longer than a line goes on in the next one, between words.

use unicode_width::UnicodeWidthStr;

use crate::text::table::find_columns;

/// Where a sentence goes on.
const INDENT: usize = 4;

/// Sentences of a result, each in a line of its own, in lines that fit the terminal of stdout; as they are if there is none.
#[must_use]
pub(crate) fn fit_sentences(sentences: &str) -> String {
    let Some(columns) = find_columns() else { return sentences.to_owned() };
    sentences.split('\n').map(|line| wrap_line(line, columns, INDENT)).collect::<Vec<_>>().join("\n")
}

/// A line as lines of at most `columns` columns; `indent` spaces begin all but the first. No word is broken, and nothing between backquotes:
/// somebody may want to copy it.
#[must_use]
pub(crate) fn wrap_line(line: &str, columns: usize, indent: usize) -> String {
    if line.width() <= columns {
        return line.to_owned();
    }
    let (mut text, mut used) = (String::new(), 0);
    for piece in split_pieces(line) {
        let word = piece.trim_start_matches(' ');
        if used > indent && used + piece.width() > columns {
            text += &format!("\n{}{word}", " ".repeat(indent));
            used = indent + word.width();
        } else {
            text += piece;
            used += piece.width();
        }
    }
    text
}

/// The sentences of a message, each as [`wrap_line`] has it. Lines that begin with a space are drawings or lists, and what `next:` and `see:`
/// name is a command.
#[must_use]
pub(crate) fn wrap_message(message: &str, columns: usize) -> String {
    let wrap = |line: &str| {
        if line.starts_with([' ', '\x1b']) || ["next: ", "see: "].iter().any(|head| line.starts_with(head)) {
            return line.to_owned();
        }
        let label = line.split_once(": ").map(|(label, _)| label).filter(|label| label.width() < 2 * INDENT);
        wrap_line(line, columns, label.map_or(INDENT, |label| label.width() + 2))
    };
    message.split('\n').map(wrap).collect::<Vec<_>>().join("\n")
}

/// Parts between dots, in lines of at most `columns` columns that `indent` spaces begin. No part is broken.
#[must_use]
pub(crate) fn wrap_parts(parts: &str, columns: usize, indent: usize) -> String {
    let dot = " · ";
    let mut lines: Vec<String> = Vec::new();
    for part in parts.split(dot) {
        match lines.last_mut() {
            Some(line) if line.width() + dot.width() + part.width() <= columns => {
                line.push_str(dot);
                line.push_str(part);
            }
            _ => lines.push(" ".repeat(indent) + part),
        }
    }
    lines.join("\n")
}

/// Words with the spaces before them.
fn split_pieces(line: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut quoted, mut in_word) = (Vec::new(), 0, false, false);
    for (at, letter) in line.char_indices() {
        match letter {
            ' ' if !quoted => {
                if in_word {
                    pieces.push(&line[start..at]);
                    start = at;
                }
                in_word = false;
            }
            _ => {
                in_word = true;
                // A backquote without another one quotes nothing.
                quoted = if letter == '`' { !quoted && line[at + 1..].contains('`') } else { quoted };
            }
        }
    }
    pieces.push(&line[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_not_in_commands() {
        let line = "note: 4 stages are finished: `--store ../other/.fmflow` uses it";
        let wrapped = "note: 4 stages are finished:\n      `--store ../other/.fmflow` uses it";
        assert_eq!(wrap_line(line, 40, 6), wrapped);
        assert_eq!(wrap_line(line, 63, 6), line, "it fits");
        assert_eq!(wrap_line("a lone ` is a word", 8, 2), "a lone `\n  is a\n  word");
        assert_eq!(wrap_line("abc         done in 1.0s", 20, 12), "abc         done in\n            1.0s");
        assert_eq!(wrap_line("    0123456789 0", 12, 4), "    0123456789\n    0", "a long word stays whole");
    }

    #[test]
    fn sentences_of_messages_are_wrapped_and_drawings_and_commands_are_not() {
        let message = "note: one two three\n  │ drawn as wide as this\nnext: fmflow run somewhere/pipeline.kdl\nhelp: four five\n";
        let wrapped = "note: one\n      two\n      three\n  │ drawn as wide as this\nnext: fmflow run somewhere/pipeline.kdl\nhelp: four\n      five\n";
        assert_eq!(wrap_message(message, 12), wrapped);
        assert_eq!(
            wrap_message("a sentence about: something\n", 14),
            "a sentence\n    about:\n    something\n"
        );
    }

    #[test]
    fn parts_stay_whole() {
        let parts = "loss 4.062 · lr 2.0e-3 · grad norm 2.14";
        assert_eq!(wrap_parts(parts, 26, 2), "  loss 4.062 · lr 2.0e-3\n  grad norm 2.14");
        assert_eq!(wrap_parts(parts, 80, 2), format!("  {parts}"));
        assert_eq!(wrap_parts(parts, 5, 0).lines().count(), 3);
    }

    proptest::proptest! {
        /// Nothing is lost, and a line is too long only if a word is.
        #[test]
        fn words_and_their_order_stay(line in "[a-z]{1,9}( {1,3}[a-z`]{1,9}){0,20}", columns in 14_usize..60) {
            let wrapped = wrap_line(&line, columns, 4);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            proptest::prop_assert_eq!(words(&wrapped), words(&line));
            for line in wrapped.lines().filter(|line| !line.contains('`')) {
                proptest::prop_assert!(line.width() <= columns, "{}", line);
            }
        }
    }
}
