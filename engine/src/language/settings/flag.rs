//! Splits the text of a `--set` option, `PATH=VALUE`, into words with their places.

use std::ops::Range;
use std::sync::Arc;

use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::{ConfigFile, Span};

/// A word of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathWord {
    pub(super) text: String,
    pub(super) range: Range<usize>,
}

/// A path and the place of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SettingFlag {
    pub(super) path: Vec<PathWord>,
    pub(super) value: Range<usize>,
}

/// Why a text is not a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FlagError {
    range: Range<usize>,
    message: &'static str,
}

impl FlagError {
    pub(super) fn diagnostic(&self, file: &Arc<ConfigFile>) -> Diagnostic {
        let place = Span { file: file.clone(), offset: self.range.start, length: self.range.len() };
        Diagnostic::new(Code::Syntax, self.message)
            .at(&place, "here")
            .help("write a path and a value, as in `--set train.sft.steps=20`")
    }
}

/// Splits a setting into words. Quotes around a word protect its dots and `=`.
pub(super) fn parse_flag(text: &str) -> Result<SettingFlag, FlagError> {
    let fault = |range, message| Err(FlagError { range, message });
    let mut path = Vec::new();
    let mut start = 0;
    loop {
        let rest = &text[start..];
        let (word, length) = match rest.strip_prefix('"') {
            Some(quoted) => match quoted.find('"') {
                Some(end) => (&quoted[..end], end + 2),
                None => return fault(start..text.len(), "a quote is missing in this path"),
            },
            None => {
                let end = rest.find(['.', '=']).unwrap_or(rest.len());
                (&rest[..end], end)
            }
        };
        let range = start..start + length;
        if word.trim().is_empty() {
            return fault(range, "a word is missing in this path");
        }
        path.push(PathWord { text: word.trim().to_owned(), range: range.clone() });
        start = range.end + 1;
        match text.get(range.end..).and_then(|rest| rest.chars().next()) {
            Some('.') => {}
            Some('=') if text.get(start..).is_some_and(|value| !value.trim().is_empty()) => {
                return Ok(SettingFlag { path, value: start..text.len() });
            }
            Some('=') => return fault(range.end..text.len(), "the value after `=` is missing"),
            Some(_) => return fault(range.end..text.len(), "a `.` or `=` is missing after this name"),
            None => return fault(0..text.len(), "`=` and a value are missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let flag = parse_flag(text).unwrap();
        let value = text[flag.value].to_owned();
        flag.path.into_iter().map(|word| word.text).chain([value]).collect()
    }

    #[test]
    fn paths_and_values_are_split() {
        assert_eq!(words("train.sft.steps=20"), ["train", "sft", "steps", "20"]);
        assert_eq!(words("train.\"a.b=c\".use=x=y.z"), ["train", "a.b=c", "use", "x=y.z"]);
        assert_eq!(words("pipeline.seed = 7"), ["pipeline", "seed", " 7"]);
    }

    #[test]
    fn malformed_settings_are_refused() {
        for text in ["", "=", "a", "a=", "a= ", "a..b=1", ".a=1", "a.=1", "\"a=1", "a.\"b\"c=1", "é"] {
            assert!(parse_flag(text).is_err(), "{text}");
        }
    }
}
