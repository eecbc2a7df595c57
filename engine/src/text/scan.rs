//! A look at the text before the parser sees it: how deep it nests, and where it can be cut.
//!
//! The parser recurses once per level, and its time grows with the square of the number of faults; both are bounded here.

/// Deepest nesting that is parsed.
pub(crate) const DEEPEST: usize = 64;

/// Deepest nesting of braces wherever they stand, for texts whose strings the parser sees in another way.
const DEEPEST_RAW: isize = 500;

/// Longest piece of text between two places where it can be cut, in bytes.
pub(crate) const LONGEST: usize = 64 << 10;

/// Most lines and semicolons outside of strings and comments: the parser's time grows faster than their number.
const MOST_LINES: usize = 20_000;

/// Why a text is not parsed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanError {
    /// Braces or comments nest too deep at this byte.
    Deep(usize),
    /// The closing brace at this byte closes nothing.
    Unmatched(usize),
    /// The top-level node at this byte is too long.
    Long(usize),
    /// There are too many lines; this byte is in the first of those.
    Many(usize),
}

/// Where a text can be cut: ends of lines outside of braces, strings and comments; the last is its end.
pub(crate) fn find_cuts(text: &str) -> Result<Vec<usize>, ScanError> {
    bound_raw_depth(text)?;
    let mut scan = Scan { at: 0, depth: 0, dashes: 0, lines: 0, cuts: Vec::new() };
    while let Some(rest) = text.as_bytes().get(scan.at..).filter(|rest| !rest.is_empty()) {
        scan.step(rest)?;
    }
    scan.cut(text.len())?;
    Ok(scan.cuts)
}

struct Scan {
    at: usize,
    depth: usize,
    dashes: usize,
    lines: usize,
    cuts: Vec<usize>,
}

impl Scan {
    fn step(&mut self, rest: &[u8]) -> Result<(), ScanError> {
        let dashes = std::mem::take(&mut self.dashes);
        match rest {
            [b'/', b'/', ..] => self.at += line_length(rest),
            [b'/', b'*', ..] => {
                self.at += block_comment_length(rest).map_err(|offset| ScanError::Deep(self.at + offset))?;
            }
            [b'/', b'-', ..] => {
                self.dashes = dashes + 1;
                self.bound(self.dashes)?;
                self.at += 2;
            }
            [b'"' | b'#', ..] => self.at += string_length(rest),
            [b'{' | b'(', ..] => {
                self.depth += 1;
                self.bound(self.depth)?;
                self.at += 1;
            }
            [b'}' | b')', ..] => {
                self.depth = self.depth.checked_sub(1).ok_or(ScanError::Unmatched(self.at))?;
                self.at += 1;
            }
            [byte, ..] => {
                self.lines += usize::from(matches!(byte, b'\n' | b';'));
                if self.lines > MOST_LINES {
                    return Err(ScanError::Many(self.at));
                }
                self.at += 1;
                self.dashes = if byte.is_ascii_whitespace() { dashes } else { 0 };
                if *byte == b'\n' && self.depth == 0 && self.dashes == 0 {
                    self.cut(self.at)?;
                }
            }
            [] => {}
        }
        Ok(())
    }

    fn bound(&self, depth: usize) -> Result<(), ScanError> {
        if depth > DEEPEST { Err(ScanError::Deep(self.at)) } else { Ok(()) }
    }

    fn cut(&mut self, end: usize) -> Result<(), ScanError> {
        let start = self.cuts.last().copied().unwrap_or(0);
        if end - start > LONGEST {
            return Err(ScanError::Long(start));
        }
        self.cuts.push(end);
        Ok(())
    }
}

/// A bound on nesting that does not depend on what is a string or a comment.
fn bound_raw_depth(text: &str) -> Result<(), ScanError> {
    let (mut depth, mut comments) = (0_isize, 0_isize);
    for (at, pair) in text.as_bytes().windows(2).enumerate() {
        match pair {
            [b'{' | b'(', _] => depth += 1,
            [b'}' | b')', _] => depth -= 1,
            b"/*" | b"/-" => comments += 1,
            b"*/" | [b'\n', _] => comments = (comments - 1).max(0),
            _ => {}
        }
        if depth.abs() > DEEPEST_RAW || comments > DEEPEST_RAW {
            return Err(ScanError::Deep(at));
        }
    }
    Ok(())
}

/// Length of the rest of the line.
pub(crate) fn line_length(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

/// Length of a block comment, which nests; or where it nests too deep.
pub(crate) fn block_comment_length(rest: &[u8]) -> Result<usize, usize> {
    let (mut at, mut depth) = (0, 0_usize);
    while at + 1 < rest.len() {
        match rest.get(at..at + 2) {
            Some(b"/*") => {
                depth += 1;
                at += 2;
                if depth > DEEPEST {
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

/// Length of a string that starts here, raw (`#"..."#`) or not, of one line or many; 1 for a lone `#`.
pub(crate) fn string_length(rest: &[u8]) -> usize {
    let hashes = count_hashes(rest);
    let after = rest.get(hashes..).unwrap_or_default();
    let quotes = if after.starts_with(b"\"\"\"") { 3 } else { usize::from(after.starts_with(b"\"")) };
    if quotes == 0 {
        return hashes.max(1);
    }
    let mut close = vec![b'"'; quotes];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let mut at = hashes + quotes;
    while at < rest.len() {
        let here = rest.get(at..).unwrap_or_default();
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

/// Number of `#` at the start.
pub(crate) fn count_hashes(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| **byte == b'#').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_deep(text: &str) -> Option<usize> {
        match find_cuts(text) {
            Err(ScanError::Deep(at)) => Some(at),
            _ => None,
        }
    }

    #[test]
    fn depth_is_counted_outside_of_strings_and_comments() {
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
        assert_eq!(find_cuts(&format!("a\nb {}", "1 ".repeat(40_000))), Err(ScanError::Long(2)));
    }
}
