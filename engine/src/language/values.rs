//! Parses KDL values without a node around them, as in the `--set` option.

use kdl::{KdlDocument, KdlEntry};

use crate::language::parse::{ParserFailure, UnreadCause, parse_on_thread};
use crate::text::scan;

/// Put in front of the values, because `kdl` parses values only as part of a node.
const NODE_PREFIX: &str = "v ";

/// The values that a text consists of, each with its offset in the text. `None` if the text is not a list of KDL values;
/// callers then take it as a string.
///
/// # Errors
/// If the parser did not run to its end, so that nobody knows.
pub(crate) fn parse_values(text: &str) -> Result<Option<Vec<KdlEntry>>, UnreadCause> {
    let whole = format!("{NODE_PREFIX}{text}");
    let Ok(cuts) = scan::find_cuts(&whole) else { return Ok(None) };
    match parse_on_thread(&whole, &cuts) {
        Ok(document) => Ok(take_values(document, &whole)),
        Err(ParserFailure::Syntax(..)) => Ok(None),
        Err(ParserFailure::Unread(cause)) => Err(cause),
    }
}

fn take_values(mut document: KdlDocument, whole: &str) -> Option<Vec<KdlEntry>> {
    let [node] = document.nodes_mut().as_mut_slice() else { return None };
    let end = node.entries().last().map(|entry| entry.span().offset() + entry.span().len())?;
    let plain = node.children().is_none() && node.entries().iter().all(|entry| entry.name().is_none());
    if !plain || end != whole.trim_end().len() {
        return None;
    }
    let mut entries = std::mem::take(node.entries_mut());
    for entry in &mut entries {
        let span = entry.span();
        entry.set_span((span.offset() - NODE_PREFIX.len(), span.len()));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_distinguished_from_text() {
        let count = |text| parse_values(text).unwrap().map(|found| found.len());
        assert_eq!(["20", "1e-4", "#true", "cosine", "\"a b\"", " 7 "].map(count), [Some(1); 6]);
        assert_eq!(count("\"norm\" \"embedding\""), Some(2));
        let text =
            ["", "400GiB", "true", "https://x/y", "20 // x", "a=1", "x { y }", "1; 2", "\"a", "(((", "{{{"];
        assert_eq!(text.map(count), [None; 11]);
    }
}
