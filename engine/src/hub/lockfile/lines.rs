//! The lines of files in a lock file, as fmflow writes them. A dataset may have tens of thousands, and the parser of the language takes
//! milliseconds for each of a few. So what is exactly such a line is read here, and the parser gets the rest.

use std::sync::Arc;

use super::quote_kdl_string;
use crate::pipeline::repository::{PinnedFile, is_hash};
use crate::text::diagnostic::Diagnostic;
use crate::text::place::{ConfigFile, Span};

/// How the line of a file in a selection begins.
const BEGINNING: &str = "        file \"";

/// A lock file without the lines of its files.
pub(super) struct DividedLock {
    /// The file on disk.
    whole: Arc<ConfigFile>,
    /// What is left of it.
    pub(super) rest: Arc<ConfigFile>,
    /// The files, each with the place in the rest where its line was, and where that begins in the whole.
    pub(super) files: Vec<(usize, usize, PinnedFile)>,
    /// Where parts of the rest begin, there and in the whole.
    runs: Vec<(usize, usize)>,
}

impl DividedLock {
    /// Takes out the lines of files, as far as they are what fmflow writes, in a text in which they cannot mean anything else.
    pub(super) fn new(whole: Arc<ConfigFile>) -> Self {
        let (mut rest, mut files, mut runs) = (String::new(), Vec::new(), vec![(0, 0)]);
        let (mut at, mut open, mut plain) = (0, OpenParts::default(), true);
        for line in whole.text.split_inclusive('\n') {
            match read_file_line(line).filter(|_| open.is_empty()) {
                Some(file) => files.push((rest.len(), at, file)),
                None => {
                    plain &= open.pass(line);
                    if runs.last().is_none_or(|(kept, start)| at - start != rest.len() - kept) {
                        runs.push((rest.len(), at));
                    }
                    rest.push_str(line);
                }
            }
            at += line.len();
        }
        if !plain {
            (files, runs) = (Vec::new(), vec![(0, 0)]);
            rest.clone_from(&whole.text);
        }
        let ConfigFile { name, folder, number, .. } = &*whole;
        let (name, folder, role) = (name.clone(), folder.clone(), crate::text::place::FileRole::Lock);
        let rest = Arc::new(ConfigFile { name, text: rest, folder, number: *number, role });
        Self { whole, rest, files, runs }
    }

    /// The place in the file on disk that a place in the rest stands for.
    pub(super) fn find_place(&self, place: &Span) -> Span {
        let run = self.runs.partition_point(|(kept, _)| *kept <= place.offset) - 1;
        let (kept, start) = self.runs[run];
        let offset = (start + place.offset - kept).min(self.whole.text.len());
        Span { file: self.whole.clone(), offset, length: place.length }
    }

    /// The place of a line of a file that begins at `start`.
    pub(super) fn find_file(&self, start: usize) -> Span {
        let offset = start + BEGINNING.len() - "file \"".len();
        Span { file: self.whole.clone(), offset, length: "file".len() }
    }

    /// A problem with its places in the file on disk.
    pub(super) fn find_places(&self, mut problem: Diagnostic) -> Diagnostic {
        for label in &mut problem.labels {
            if Arc::ptr_eq(&label.span.file, &self.rest) {
                label.span = self.find_place(&label.span);
            }
        }
        problem
    }
}

/// What is open where a line begins.
#[derive(Debug, Default)]
struct OpenParts {
    /// Comments inside each other.
    comments: usize,
    /// Whether the line is inside braces, as the files of a model are.
    braces: bool,
}

impl OpenParts {
    /// Whether a line can be that of a file of a selection.
    fn is_empty(&self) -> bool {
        self.comments == 0 && !self.braces
    }

    /// Passes a line. Whether nothing else in it can reach into the next one, or keep it from being read: no raw or long string, no
    /// escaped line end, no brace within a line.
    fn pass(&mut self, line: &str) -> bool {
        let Some(outside) = self.remove_comments_and_strings(line.trim_end()) else { return false };
        let outside = outside.trim_end();
        let (opens, closes) = (outside.ends_with('{') && !self.braces, outside == "}" && self.braces);
        self.braces = (self.braces || opens) && !closes;
        let strange = ["*/", "/-", "#", "\"\"\"", "\\", ";"];
        let braces = outside.matches(['{', '}']).count();
        strange.iter().all(|mark| !outside.contains(mark)) && braces == usize::from(opens || closes)
    }

    /// What a line has outside of comments and between the quotes of its strings; `None` if a string goes on in the next line.
    fn remove_comments_and_strings(&mut self, line: &str) -> Option<String> {
        let (mut outside, mut rest) = (String::new(), line);
        let (mut inside, mut escaped) = (false, false);
        while let Some(letter) = rest.chars().next() {
            let mark = if inside {
                None
            } else {
                ["//", "/*", "*/"].into_iter().find(|mark| rest.starts_with(mark))
            };
            match (mark, self.comments) {
                (Some("//"), 0) => break,
                (Some("/*"), depth) => (self.comments, rest) = (depth + 1, &rest[2..]),
                (Some("*/"), 1..) => (self.comments, rest) = (self.comments - 1, &rest[2..]),
                (_, 1..) => rest = &rest[letter.len_utf8()..],
                (_, 0) => {
                    let quote = letter == '"' && !escaped;
                    if quote || !inside {
                        outside.push(letter);
                    }
                    inside ^= quote;
                    escaped = inside && letter == '\\' && !escaped;
                    rest = &rest[letter.len_utf8()..];
                }
            }
        }
        (!inside).then_some(outside)
    }
}

/// The file of a line such as `        file "a/b" size=7 sha256="<64 digits>"`; `None` for every other line, also one that means the
/// same.
fn read_file_line(line: &str) -> Option<PinnedFile> {
    let (path, rest) = split_quoted(line.strip_prefix(BEGINNING)?)?;
    let rest = rest.strip_suffix('\n')?;
    // A checkout may have changed the ends of lines.
    let mut words = rest.strip_suffix('\r').unwrap_or(rest).split(' ');
    let (first, size) = (words.next()?, words.next()?.strip_prefix("size=")?);
    let digits = size.bytes().all(|byte| byte.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
    let mut file = PinnedFile {
        path,
        size: size.parse().ok().filter(|size| digits && i64::try_from(*size).is_ok())?,
        sha256: None,
        blob: None,
    };
    for word in words {
        let (name, value) = word.split_once('=')?;
        let value = value.strip_prefix('"')?.strip_suffix('"')?;
        let (place, digits) = match name {
            "sha256" => (&mut file.sha256, 64),
            "blob" => (&mut file.blob, 40),
            _ => return None,
        };
        if !is_hash(value, digits) || place.replace(value.to_owned()).is_some() {
            return None;
        }
    }
    first.is_empty().then_some(file)
}

/// The text up to a closing quote, if it is written as fmflow writes it, and what is behind the quote.
fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    let end = text.find(|letter| {
        let ends = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    })?;
    let (quoted, behind) = (&text[..end], &text[end + 1..]);
    let (mut plain, mut rest) = (String::new(), quoted);
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let (letter, after) = read_escape(escape)?;
        plain.push(letter);
        rest = after;
    }
    plain.push_str(rest);
    // What is spelled otherwise, or not allowed in a string, is left to the parser.
    (quote_kdl_string(&plain) == format!("\"{quoted}\"")).then_some((plain, behind))
}

/// The letter that an escape stands for, without its backslash, and what follows it.
fn read_escape(text: &str) -> Option<(char, &str)> {
    match text.strip_prefix("u{") {
        Some(digits) => {
            let (digits, rest) = digits.split_once('}')?;
            Some((char::from_u32(u32::from_str_radix(digits, 16).ok()?)?, rest))
        }
        None => {
            let letter = text.chars().next().filter(|letter| matches!(letter, '"' | '\\'))?;
            Some((letter, &text[1..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fmflow_writes_is_taken_out() {
        let hash = "ab".repeat(32);
        let line = format!("        file \"a/b c.parquet\" size=7 sha256=\"{hash}\"\n");
        let expected = PinnedFile { path: "a/b c.parquet".into(), size: 7, sha256: Some(hash), blob: None };
        assert_eq!(read_file_line(&line), Some(expected.clone()));
        assert_eq!(read_file_line(&line.replace('\n', "\r\n")), Some(expected.clone()));
        let odd = "\"\\ \u{1}\u{301}{}\u{1f600}";
        let escaped = line.replacen("a/b", "\\\"\\\\ \\u{1}\\u{301}{}\\u{1f600}", 1);
        let path = format!("{odd} c.parquet");
        assert_eq!(read_file_line(&escaped), Some(PinnedFile { path, ..expected }));
        for (from, to) in [
            ("        file", "    file"),
            ("\n", ""),
            ("size=7", "size=07"),
            ("size=7", "size=-7"),
            ("size=7", "size=7 size=8"),
            ("size=7", "size=7  "),
            ("a/b", "a\\u{62}"),
            ("a/b", "\\u{1F600}"),
            ("a/b", "\\u{d800}"),
            ("a/b", "\\u{"),
            ("a/b", "\\n"),
            ("c.parquet", "\\"),
            ("sha256=\"ab", "sha256=\"xb"),
            ("sha256", "blob"),
            (" size", "size"),
            ("\"\n", "\" // why\n"),
        ] {
            assert_eq!(read_file_line(&line.replacen(from, to, 1)), None, "{from:?} {to:?}");
        }
    }

    #[test]
    fn lines_that_can_change_others_are_seen() {
        let plain = |line: &str| {
            let mut open = OpenParts { comments: 0, braces: line == "}" };
            (open.pass(line), open.comments, open.braces)
        };
        for line in [
            "",
            "lock \"x\"",
            "// any /* thing",
            "    // it's \"odd",
            "dataset \"a/*b\" // \"",
            "dataset \"a\" /* \"odd /* inside */ { */ size=7",
            "}",
            "selection files=\"**/\\\"0*\"",
        ] {
            assert_eq!(plain(line), (true, 0, false), "{line}");
        }
        assert_eq!(plain("dataset \"a/*b\" { // why"), (true, 0, true));
        assert_eq!(plain("/* x /* y"), (true, 2, false));
        for strange in
            ["*/", "/-dataset", "x #\"a", "x \"\"\"", "x \\", "x \"open", "{ file \"x\" }", "a; b", "}}"]
        {
            assert!(!plain(strange).0, "{strange}");
        }
        let mut nested = OpenParts { comments: 0, braces: true };
        assert!(!nested.pass("x {") && !OpenParts::default().pass("}"));
        let mut comment = OpenParts { comments: 2, braces: false };
        assert!(
            comment.pass("\" # { // */")
                && !comment.is_empty()
                && comment.pass(" */ // \"")
                && comment.is_empty()
        );
    }
}
