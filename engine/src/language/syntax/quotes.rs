//! Quotation marks of other languages.

/// Quotation marks that are none in KDL, with those that close them.
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

/// The text at the start between quotation marks that are none in KDL: where it begins, where it ends, and where its
/// closing mark ends.
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
