//! Scans a text before the KDL parser sees it: how deep it nests, and where it can be cut into pieces.
//!
//! `kdl` 6.7 recurses once per nesting level and overflows the stack on a few hundred levels, which aborts the process. Its
//! time grows with the square of the number of syntax errors. The limits here bound both.

/// Deepest nesting of braces or comments that is parsed.
pub(crate) const MAX_NESTING_DEPTH: usize = 64;

/// Deepest nesting of braces anywhere, even in strings and comments. If this scan and the parser disagree about what is a
/// string, the parser still cannot recurse further than this.
const MAX_RAW_DEPTH: isize = 500;

/// Longest piece of text between two cuts, in bytes.
pub(crate) const MAX_PIECE_BYTES: usize = 64 << 10;

/// Most lines and semicolons outside strings and comments, because the parser's time grows faster than their number.
const MAX_LINES: usize = 20_000;

/// Why a text is refused before it is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanError {
    /// Braces or comments nest too deeply at this byte.
    TooDeep(usize),
    /// The brace or parenthesis at this byte closes nothing.
    Unmatched(usize),
    /// The piece that starts at this byte, usually one top-level node, is too long.
    TooLong(usize),
    /// There are too many lines; this byte ends the first line too many.
    TooManyLines(usize),
}

/// The offsets at which a text can be cut: ends of lines outside braces, strings and comments. The last is the end of the
/// text.
pub(crate) fn find_cuts(text: &str) -> Result<Vec<usize>, ScanError> {
    check_raw_depth(text)?;
    let mut scan = Scan { at: 0, depth: 0, dashes: 0, lines: 0, cuts: Vec::new() };
    while let Some(rest) = text.as_bytes().get(scan.at..).filter(|rest| !rest.is_empty()) {
        scan.step(rest)?;
    }
    scan.add_cut(text.len())?;
    Ok(scan.cuts)
}

struct Scan {
    at: usize,
    /// Open braces and parentheses.
    depth: usize,
    /// Consecutive `/-` before this byte. They count as nesting, and the node that they disable may begin on a later line.
    dashes: usize,
    lines: usize,
    cuts: Vec<usize>,
}

impl Scan {
    fn step(&mut self, rest: &[u8]) -> Result<(), ScanError> {
        let dashes = std::mem::take(&mut self.dashes);
        match rest {
            [b'/', b'/', ..] => self.at += measure_line(rest),
            [b'/', b'*', ..] => {
                self.at +=
                    measure_block_comment(rest).map_err(|offset| ScanError::TooDeep(self.at + offset))?;
            }
            [b'/', b'-', ..] => {
                self.dashes = dashes + 1;
                self.check_depth(self.dashes)?;
                self.at += 2;
            }
            [b'"' | b'#', ..] => self.at += measure_string(rest),
            [b'{' | b'(', ..] => {
                self.depth += 1;
                self.check_depth(self.depth)?;
                self.at += 1;
            }
            [b'}' | b')', ..] => {
                self.depth = self.depth.checked_sub(1).ok_or(ScanError::Unmatched(self.at))?;
                self.at += 1;
            }
            [byte, ..] => {
                self.lines += usize::from(matches!(byte, b'\n' | b';'));
                if self.lines > MAX_LINES {
                    return Err(ScanError::TooManyLines(self.at));
                }
                self.at += 1;
                self.dashes = if byte.is_ascii_whitespace() { dashes } else { 0 };
                if *byte == b'\n' && self.depth == 0 && self.dashes == 0 {
                    self.add_cut(self.at)?;
                }
            }
            [] => unreachable!("a scan steps only while something is left"),
        }
        Ok(())
    }

    fn check_depth(&self, depth: usize) -> Result<(), ScanError> {
        if depth > MAX_NESTING_DEPTH { Err(ScanError::TooDeep(self.at)) } else { Ok(()) }
    }

    fn add_cut(&mut self, end: usize) -> Result<(), ScanError> {
        let start = self.cuts.last().copied().unwrap_or(0);
        if end - start > MAX_PIECE_BYTES {
            return Err(ScanError::TooLong(start));
        }
        self.cuts.push(end);
        Ok(())
    }
}

/// Bounds the nesting independently of what counts as a string or a comment.
fn check_raw_depth(text: &str) -> Result<(), ScanError> {
    let (mut depth, mut comments) = (0_isize, 0_isize);
    for (at, pair) in text.as_bytes().windows(2).enumerate() {
        match pair {
            [b'{' | b'(', _] => depth += 1,
            [b'}' | b')', _] => depth -= 1,
            b"/*" | b"/-" => comments += 1,
            b"*/" | [b'\n', _] => comments = (comments - 1).max(0),
            _ => {}
        }
        if depth.abs() > MAX_RAW_DEPTH || comments > MAX_RAW_DEPTH {
            return Err(ScanError::TooDeep(at));
        }
    }
    Ok(())
}

/// Length of the rest of the line, without its line break.
pub(crate) fn measure_line(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

/// Length of a block comment, whose nested comments count. `Err` is the offset at which they nest too deeply.
pub(crate) fn measure_block_comment(rest: &[u8]) -> Result<usize, usize> {
    let (mut at, mut depth) = (0, 0_usize);
    while at + 1 < rest.len() {
        match rest.get(at..at + 2) {
            Some(b"/*") => {
                depth += 1;
                at += 2;
                if depth > MAX_NESTING_DEPTH {
                    return Err(at - 2);
                }
            }
            Some(b"*/") => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Ok(at);
                }
            }
            _ => at += 1,
        }
    }
    Ok(rest.len())
}

/// Length of the string that starts here, raw (`#"..."#`) or not, on one line or on several. For `#` without a quote it is
/// the number of `#`. An unclosed one-line string ends with its line.
pub(crate) fn measure_string(rest: &[u8]) -> usize {
    let hashes = count_hashes(rest);
    let after = &rest[hashes..];
    let quotes = if after.starts_with(b"\"\"\"") { 3 } else { usize::from(after.starts_with(b"\"")) };
    if quotes == 0 {
        return hashes.max(1);
    }
    let mut close = vec![b'"'; quotes];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let mut at = hashes + quotes;
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with(&close) {
            return at + close.len();
        }
        if quotes == 1 && here.starts_with(b"\n") {
            return at;
        }
        at += if hashes == 0 && here.starts_with(b"\\") { 2 } else { 1 };
    }
    rest.len()
}

/// Number of `#` at the start of a text.
pub(crate) fn count_hashes(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| **byte == b'#').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_deep(text: &str) -> Option<usize> {
        match find_cuts(text) {
            Err(ScanError::TooDeep(at)) => Some(at),
            _ => None,
        }
    }

    #[test]
    fn depth_is_counted_outside_strings_and_comments() {
        assert_eq!(too_deep(&"a {".repeat(64)), None);
        assert_eq!(too_deep(&"a {".repeat(65)), Some(64 * 3 + 2));
        assert_eq!(too_deep(&format!("a \"{}\"", "{".repeat(100))), None);
        assert_eq!(too_deep(&format!("a #\"{}\"#", "{".repeat(100))), None);
        assert_eq!(too_deep(&format!("// {}", "{".repeat(100))), None);
        assert_eq!(too_deep(&format!("/* {} */", "{".repeat(100))), None);
        assert_eq!(too_deep(&"a { }".repeat(100)), None);
    }

    #[test]
    fn comments_may_not_nest_without_end() {
        assert!(too_deep(&"/*".repeat(65)).is_some());
        assert!(too_deep(&"/-".repeat(65)).is_some());
        assert!(too_deep(&"/- ".repeat(65)).is_some());
    }

    #[test]
    fn an_unclosed_string_hides_only_its_line() {
        assert!(too_deep(&format!("a \"\n{}", "a {".repeat(70))).is_some());
    }

    #[test]
    fn texts_are_cut_between_top_level_nodes() {
        assert_eq!(find_cuts("a {\n b\n}\nc \"\"\"\n x\n \"\"\"\nd"), Ok(vec![9, 23, 24]));
        assert_eq!(find_cuts("a }"), Err(ScanError::Unmatched(2)));
        assert_eq!(find_cuts(&format!("a\nb {}", "1 ".repeat(40_000))), Err(ScanError::TooLong(2)));
    }
}
