//! Words and numbers in markup: escaped, short, and the same everywhere on the page.

use crate::text::escape::{escape_line, escape_text};

/// Words of others in one line of HTML or SVG, as text or as the value of an attribute in double quotes.
#[must_use]
pub(super) fn escape_markup(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in escape_line(text).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// One line of words for the template, which escapes what HTML acts on.
#[must_use]
pub(super) fn show_line(text: &str) -> String {
    escape_line(text).into_owned()
}

/// Words of several lines for the template.
#[must_use]
pub(super) fn show_text(text: &str) -> String {
    escape_text(text).into_owned()
}

/// A number with three significant digits: `0`, `0.0213`, `3.44`, `152`, `12400`, `2.0e-4`.
#[must_use]
pub(super) fn format_number(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if !(1e-2..1e6).contains(&size) => format!("{value:.1e}"),
        _ if size < 0.0995 => format!("{value:.4}"),
        _ if size < 0.9995 => format!("{value:.3}"),
        _ if size < 99.95 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// A share as a percentage: `99.2 %`.
#[must_use]
pub(super) fn format_percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// The beginning of a text that is too long for its place, with an ellipsis.
#[must_use]
pub(super) fn shorten(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// A time without its fractions of a second.
#[must_use]
pub(super) fn show_time(time: &str) -> String {
    match time.get(..16) {
        Some(minutes) => format!("{} UTC", minutes.replace('T', " ")),
        None => show_line(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_word_is_markup() {
        let hostile = "<script>alert('x')</script>\"&\u{202e}\n";
        let safe = r"&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;\u{202e}\n";
        assert_eq!(escape_markup(hostile), safe);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.0213, 0.444, 3.4412, 152.3, 12_400.0, 2e-4, -1.5, 3e9].map(format_number);
        assert_eq!(shown, ["0", "0.0213", "0.444", "3.44", "152", "12400", "2.0e-4", "-1.50", "3.0e9"]);
        assert_eq!(shorten("gradient", 5), "grad…");
        assert_eq!(shorten("grad", 5), "grad");
    }
}
