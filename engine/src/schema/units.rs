//! Numbers with units: `60.17B`, `300MiB`, `30min`, `2%`, `8..64`.

use super::Value;

/// Suffixes of counts.
pub(super) const COUNTS: &[(&str, f64)] = &[("K", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12)];
/// Units of sizes.
pub(super) const SIZES: &[(&str, f64)] = &[
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("B", 1.0),
];
/// Units of times.
pub(super) const TIMES: &[(&str, f64)] =
    &[("ms", 1e-3), ("min", 60.0), ("s", 1.0), ("h", 3600.0), ("d", 86_400.0)];

/// Multiples that people write behind a number, in thousands and in units of 1024.
const MULTIPLES: &[(&str, f64, f64)] = &[
    ("k", 1e3, 1024.0),
    ("m", 1e6, 1_048_576.0),
    ("g", 1e9, 1_073_741_824.0),
    ("b", 1e9, 1_073_741_824.0),
    ("t", 1e12, 1_099_511_627_776.0),
];

/// What to write for `8k`: `8_000`, or `8_192`. Nothing for other text.
#[must_use]
pub fn in_full(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let (number, (_, thousands, powers)) =
        MULTIPLES.iter().find_map(|multiple| Some((text.strip_suffix(multiple.0)?, multiple)))?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = number.parse().ok().filter(|number| plain && *number < 1e5)?;
    let exact = |scale: f64| number * scale;
    let other = exact(*powers);
    let other = if other.fract() == 0.0 {
        format!(", or `{}` for units of 1024", grouped(other))
    } else {
        String::new()
    };
    Some(format!("write the number in full: `{}`{other}", grouped(exact(*thousands))))
}

/// A whole number with `_` between thousands; other numbers as they are.
#[must_use]
pub fn grouped(number: f64) -> String {
    let digits = format!("{number}");
    if digits.len() <= 3 || digits.contains(['.', 'e', '-', 'i', 'N']) {
        return digits;
    }
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// The number before the first unit that fits, times its scale.
pub(super) fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, scale) = units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    let plain = number.trim_end().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'_');
    let number: f64 = number.trim_end().replace('_', "").parse().ok()?;
    (plain && number.is_finite()).then(|| number * scale)
}

/// A whole number of bytes or things.
pub(super) fn whole(number: f64) -> Option<Value> {
    (number <= 9e15).then(|| Value::Integer(number.round() as i64))
}

/// A range of whole numbers.
pub(super) fn range(text: &str) -> Option<Value> {
    let (low, high) = text.split_once("..")?;
    let (low, high): (u32, u32) = (low.parse().ok()?, high.parse().ok()?);
    (low >= 1 && low <= high).then(|| Value::Range(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        let help = in_full("8k").unwrap();
        assert!(help.contains("`8_000`, or `8_192`"), "{help}");
        assert!(in_full("1.5M").unwrap().contains("`1_500_000`, or `1_572_864`"));
        assert_eq!(["8", "k", "8kk", "4GiB", "é", "1e99k"].map(in_full), [const { None }; 6]);
        assert_eq!(
            [7.0, 999.0, 1000.0, 1_234_567.0, 0.5].map(grouped),
            ["7", "999", "1_000", "1_234_567", "0.5"]
        );
    }
}
