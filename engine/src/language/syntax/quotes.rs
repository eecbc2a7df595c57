//! Recognizes quotation marks of other languages and of word processors.

/// Quotation marks that KDL does not know, each with the marks that can close it.
const FOREIGN_QUOTES: &[(char, &str)] = &[
    ('\'', "'"),
    ('`', "`"),
    ('“', "”“\""),
    ('”', "”“\""),
    ('„', "“”\""),
    ('‘', "’‘"),
    ('‚', "‘’"),
    ('’', "’‘"),
    ('«', "»"),
    ('»', "«"),
];

/// The text between foreign quotation marks at the start of `rest`: its start, its end, and the end of the closing mark.
/// Without a closing mark it ends with the word.
pub(crate) fn find_foreign_quotes(rest: &str) -> Option<(usize, (usize, usize))> {
    let first = rest.chars().next()?;
    let (_, closing) = FOREIGN_QUOTES.iter().find(|(open, _)| *open == first)?;
    let open = first.len_utf8();
    let inside = &rest[open..];
    let found = inside.char_indices().find(|(_, letter)| closing.contains(*letter));
    let end = inside.find([' ', '{', '}', ';', '=']).unwrap_or(inside.len());
    let (end, length) = found.map_or((end, 0), |(at, letter)| (at, letter.len_utf8()));
    Some((open, (open + end, open + end + length)))
}
