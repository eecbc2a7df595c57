//! The lines of files in a lock file, as fmflow writes them. A dataset may have tens of thousands, and the parser of the language takes
//! milliseconds for each of a few. So what is exactly such a line is read here, and the parser gets the rest.

use std::sync::Arc;

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
        let (mut at, mut plain) = (0, true);
        for line in whole.text.split_inclusive('\n') {
            match read_file_line(line) {
                Some(file) => files.push((rest.len(), at, file)),
                None => {
                    plain &= is_plain_line(line);
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

/// Whether nothing in a line can reach into the next one, or keep it from being read: no comment over several lines, no raw or long
/// string, no escaped line end, no brace that a line of a selection could be inside of.
fn is_plain_line(line: &str) -> bool {
    let line = line.trim_end();
    if line.starts_with("//") {
        return true;
    }
    let mut outside = String::new();
    let (mut inside, mut escaped) = (false, false);
    for letter in line.chars() {
        match letter {
            '"' if !escaped => {
                inside = !inside;
                outside.push(letter);
            }
            _ if !inside => outside.push(letter),
            _ => {}
        }
        escaped = inside && letter == '\\' && !escaped;
    }
    let strange = ["/*", "*/", "/-", "#", "\"\"\"", "\\", ";"];
    // The files of a model are inside braces, four blanks deep.
    let opens = outside.ends_with('{') || outside == "}";
    let braces = outside.matches(['{', '}']).count();
    !inside && strange.iter().all(|mark| !outside.contains(mark)) && braces == usize::from(opens)
}

/// The file of a line such as `        file "a/b" size=7 sha256="<64 digits>"`; `None` for every other line, also one that means the
/// same.
fn read_file_line(line: &str) -> Option<PinnedFile> {
    let (path, rest) = line.strip_prefix(BEGINNING)?.split_once('"')?;
    // What is escaped, or not allowed in a string, is left to the parser.
    let plain = |letter: char| letter != '\\' && (matches!(letter, ' '..='~') || letter.is_alphanumeric());
    if !path.chars().all(plain) {
        return None;
    }
    let mut words = rest.strip_suffix('\n')?.split(' ');
    let (first, size) = (words.next()?, words.next()?.strip_prefix("size=")?);
    let digits = size.bytes().all(|byte| byte.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
    let mut file = PinnedFile {
        path: path.to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fmflow_writes_is_taken_out() {
        let hash = "ab".repeat(32);
        let line = format!("        file \"a/b c.parquet\" size=7 sha256=\"{hash}\"\n");
        let expected = PinnedFile { path: "a/b c.parquet".into(), size: 7, sha256: Some(hash), blob: None };
        assert_eq!(read_file_line(&line), Some(expected));
        for (from, to) in [
            ("        file", "    file"),
            ("\n", ""),
            ("size=7", "size=07"),
            ("size=7", "size=-7"),
            ("size=7", "size=7 size=8"),
            ("size=7", "size=7  "),
            ("a/b", "a\\u{62}"),
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
        for plain in
            ["", "lock \"x\"", "// any /* thing", "dataset \"a/*b\" {", "}", "selection files=\"**/\\\"0*\""]
        {
            assert!(is_plain_line(plain), "{plain}");
        }
        for strange in [
            "/* x",
            "*/",
            "/-dataset",
            "x #\"a",
            "x \"\"\"",
            "x \\",
            "x \"open",
            "{ file \"x\" }",
            "a; b",
            "}}",
        ] {
            assert!(!is_plain_line(strange), "{strange}");
        }
    }
}
