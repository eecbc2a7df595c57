//! Decimal numbers in texts: the last one of an answer, compared without rounding.

use std::fmt;

/// Name and version of the rule by which [`find_last_number`] reads an answer: a change is another rule.
pub const LAST_NUMBER: &str = "last-number/1";

/// A decimal number, with all its digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// Digits before the point, without zeros in front.
    whole: String,
    /// Digits after the point, without zeros at the end.
    fraction: String,
}

/// The last number of a text, as it is written: digits, with commas between groups of three and a decimal part. `-` or `−` before it, also
/// before its `$`, is a sign, unless a letter, a digit or a bracket is before that: the last number of `10-5` is 5. Percent signs, units
/// and a point that ends a sentence are no part of it.
#[must_use]
pub fn find_last_number(text: &str) -> Option<&str> {
    let (mut at, mut last) = (0, None);
    while at < text.len() {
        let end = end_of_number(&text.as_bytes()[at..]).map_or(0, |length| at + length);
        if end > 0 {
            last = Some(&text[find_sign(text, at)..end]);
        }
        at = end.max(at + 1);
    }
    last
}

/// How many bytes of `rest` a number takes that begins with its first one.
fn end_of_number(rest: &[u8]) -> Option<usize> {
    let digits = |from: usize| rest[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    if (1..=3).contains(&end) {
        while rest.get(end) == Some(&b',') && digits(end + 1) == 3 {
            end += 4;
        }
    }
    let fraction = if rest.get(end) == Some(&b'.') { digits(end + 1) } else { 0 };
    let end = if fraction > 0 { end + 1 + fraction } else { end };
    (end > 0).then_some(end)
}

/// Where the number that has its first digit or point at `at` begins, with its sign.
fn find_sign(text: &str, at: usize) -> usize {
    let before = &text[..at];
    let before = before.strip_suffix('$').unwrap_or(before);
    let Some(left) = before.strip_suffix(['-', '\u{2212}']) else { return at };
    let joined = |letter: char| letter.is_alphanumeric() || matches!(letter, ')' | ']' | '}');
    if left.ends_with(joined) { at } else { left.len() }
}

impl Decimal {
    /// Reads a number as [`find_last_number`] gives it; `None` if the text is no such number from its beginning to its end.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if find_last_number(text)?.len() != text.len() {
            return None;
        }
        let negative = text.starts_with(['-', '\u{2212}']);
        let plain: String = text.chars().filter(|letter| letter.is_ascii_digit() || *letter == '.').collect();
        let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let negative = negative && !(whole.is_empty() && fraction.is_empty());
        Some(Self { negative, whole: whole.to_owned(), fraction: fraction.to_owned() })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let whole = if self.whole.is_empty() { "0" } else { &self.whole };
        let point = if self.fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{}", self.fraction)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_number_is_found_with_its_sign() {
        let cases = [
            ("", None),
            ("none here.", None),
            ("48/2 = <<48/2=24>>24 clips.\n#### 72", Some("72")),
            ("The answer is $1,234.50.", Some("1,234.50")),
            ("It costs 5%.", Some("5")),
            ("3 apples and 4.", Some("4")),
            ("10-5", Some("5")),
            ("f(x)-5", Some("5")),
            ("10 - 5", Some("5")),
            ("= -5", Some("-5")),
            ("-$5", Some("-$5")),
            ("$-5", Some("-5")),
            ("\u{2212}7", Some("\u{2212}7")),
            ("1, 2, 3", Some("3")),
            ("1,2,3", Some("3")),
            ("1,2345", Some("2345")),
            ("1234,567", Some("567")),
            ("12,345,678", Some("12,345,678")),
            (".5", Some(".5")),
            ("1.5.2", Some(".2")),
            ("3.", Some("3")),
            ("x2", Some("2")),
            ("ä\u{2212}", None),
        ];
        for (text, expected) in cases {
            assert_eq!(find_last_number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_equal_by_their_value() {
        for (a, b) in [
            ("1,234", "1234.00"),
            ("-0", "0"),
            ("007", "7"),
            (".5", "0.50"),
            ("\u{2212}$3", "-3"),
            ("99999999999999999999.1", "99,999,999,999,999,999,999.10"),
        ] {
            assert_eq!(Decimal::read(a).unwrap(), Decimal::read(b).unwrap(), "{a} {b}");
        }
        let shown = ["1,234.50", ".5", "-$03.0", "-0"].map(|text| Decimal::read(text).unwrap().to_string());
        assert_eq!(shown, ["1234.5", "0.5", "-3", "0"]);
        for (a, b) in [("5", "-5"), ("0.1", "0.10000000000000001"), ("1", "10"), ("10", "100")] {
            assert_ne!(Decimal::read(a).unwrap(), Decimal::read(b).unwrap(), "{a} {b}");
        }
        for none in ["", "5 apples", "$5", "five", "1,23", "5-5", "#### 5"] {
            assert_eq!(Decimal::read(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn every_number_in_a_sentence_is_found_and_read(units in 0_u64.., cents in 0_u8..100, negative: bool) {
            let sign = if negative { "-" } else { "" };
            let text = format!("So 12 of them make {sign}{units}.{cents:02} in all.");
            let found = Decimal::read(find_last_number(&text).unwrap()).unwrap();
            let expected = Decimal::read(&format!("{sign}0{units}.{cents:02}0")).unwrap();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            if let Some(number) = find_last_number(&text) {
                prop_assert!(Decimal::read(number).is_some(), "{:?}", number);
            }
        }
    }
}
