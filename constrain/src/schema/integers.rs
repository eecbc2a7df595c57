//! Whole numbers within bounds, as an expression.

use super::{Fields, refuse};
use crate::error::ConstraintError;

/// The largest number: of 15 digits, which every reader of JSON takes exactly.
const LARGEST: i64 = 999_999_999_999_999;

/// The expression of the whole numbers that a part describes.
pub(super) fn write(fields: &Fields, place: &str) -> Result<String, ConstraintError> {
    let (mut low, mut high) = (-LARGEST, LARGEST);
    for (word, step) in [("minimum", 0), ("exclusiveMinimum", 1), ("maximum", 0), ("exclusiveMaximum", -1)] {
        let Some(value) = fields.get(word) else { continue };
        let bound = value.as_i64().filter(|bound| (-LARGEST..=LARGEST).contains(bound)).ok_or_else(|| {
            refuse(
                &format!("{place}/{word}"),
                "it is no whole number of at most 15 digits",
                "write such a number",
            )
        })?;
        if word.ends_with("inimum") {
            low = low.max(bound + step);
        } else {
            high = high.min(bound + step);
        }
    }
    if low > high {
        return Err(refuse(
            place,
            "no number lies within the bounds",
            "write a `minimum` that is at most the `maximum`",
        ));
    }
    let mut parts = Vec::new();
    if low < 0 {
        let negative = write_range(high.min(-1).unsigned_abs(), low.unsigned_abs());
        parts.push(format!("-(?:{negative})"));
    }
    if high >= 0 {
        parts.push(write_range(low.max(0).unsigned_abs(), high.unsigned_abs()));
    }
    Ok(format!("(?:{})", parts.join("|")))
}

/// The numbers from `low` to `high`, without zeros before them.
fn write_range(low: u64, high: u64) -> String {
    let digits = |number: u64| number.to_string().len() as u32;
    let of_length = |length: u32| {
        let smallest = if length == 1 { 0 } else { 10_u64.pow(length - 1) };
        let (from, to) = (low.max(smallest), high.min(10_u64.pow(length) - 1));
        write_alike(from.to_string().as_bytes(), to.to_string().as_bytes())
    };
    (digits(low)..=digits(high)).map(of_length).collect::<Vec<_>>().join("|")
}

/// The numbers between two of as many digits.
fn write_alike(low: &[u8], high: &[u8]) -> String {
    let rest = low.len().saturating_sub(1);
    match (low, high) {
        (low, high) if low.iter().all(|d| *d == b'0') && high.iter().all(|d| *d == b'9') => {
            any_digits(low.len())
        }
        ([a, low @ ..], [b, high @ ..]) if a == b => format!("{}{}", char::from(*a), write_alike(low, high)),
        ([a, low @ ..], [b, high @ ..]) => {
            let mut parts = vec![format!("{}{}", char::from(*a), write_alike(low, &vec![b'9'; rest]))];
            if a + 1 < *b {
                let (from, to) = (char::from(a + 1), char::from(b - 1));
                parts.push(format!("[{from}-{to}]{}", any_digits(rest)));
            }
            parts.push(format!("{}{}", char::from(*b), write_alike(&vec![b'0'; rest], high)));
            format!("(?:{})", parts.join("|"))
        }
        _ => String::new(),
    }
}

fn any_digits(count: usize) -> String {
    if count == 0 { String::new() } else { format!("[0-9]{{{count}}}") }
}
