//! Parses and suggests numbers with units: `60.17B`, `300MiB`, `30min`, `2%`, `8..64`.

use super::CanonicalValue;

/// Suffixes of counts and their scales.
pub(super) const COUNT_UNITS: &[(&str, f64)] = &[("K", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12)];
/// Units of sizes, in bytes. `B` comes last because it is a suffix of all others.
pub(super) const SIZE_UNITS: &[(&str, f64)] = &[
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
/// Units of times, in seconds. `ms` comes before `s`, which is a suffix of it.
pub(super) const TIME_UNITS: &[(&str, f64)] =
    &[("ms", 1e-3), ("min", 60.0), ("s", 1.0), ("h", 3600.0), ("d", 86_400.0)];

/// Suffixes that people write after a number, each with its decimal and its binary scale.
const MULTIPLES: &[(&str, f64, f64)] = &[
    ("k", 1e3, 1024.0),
    ("m", 1e6, 1_048_576.0),
    ("g", 1e9, 1_073_741_824.0),
    ("b", 1e9, 1_073_741_824.0),
    ("t", 1e12, 1_099_511_627_776.0),
];

/// Help for a number with a suffix: `8k` can mean `8_000` or `8_192`. `None` for other text.
#[must_use]
pub(crate) fn suggest_full_number(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let (number, (_, thousands, powers)) =
        MULTIPLES.iter().find_map(|multiple| Some((text.strip_suffix(multiple.0)?, multiple)))?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = number.parse().ok().filter(|number| plain && *number < 1e5)?;
    let exact = |scale: f64| number * scale;
    let other = exact(*powers);
    let other = if other.fract() == 0.0 {
        format!(", or `{}` for units of 1024", format_grouped_number(other))
    } else {
        String::new()
    };
    Some(format!("write the number in full: `{}`{other}", format_grouped_number(exact(*thousands))))
}

/// Spellings of the units of time, each with the unit that the language has.
const TIME_WORDS: &[(&[&str], &str)] = &[
    (&["ms", "msec", "millisecond", "milliseconds"], "ms"),
    (&["s", "sec", "secs", "second", "seconds"], "s"),
    (&["m", "mn", "min", "mins", "minute", "minutes"], "min"),
    (&["h", "hr", "hrs", "hour", "hours"], "h"),
    (&["d", "day", "days"], "d"),
];

/// The time in the form that the language accepts, for `30m`, `2 hours` or `1h30m`. `None` for other text.
#[must_use]
pub(crate) fn normalize_time(text: &str) -> Option<String> {
    let mut rest = text.trim();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (number, unit, after) = split_quantity(rest)?;
        let (_, own) = TIME_WORDS.iter().find(|(words, _)| words.contains(&unit.to_lowercase().as_str()))?;
        parts.push((number, *own));
        rest = after;
    }
    if let [(number, unit)] = parts.as_slice() {
        return Some(format!("{number}{unit}"));
    }
    let seconds: Option<Vec<f64>> = parts
        .iter()
        .map(|(number, unit)| parse_scaled_number(&format!("{number}{unit}"), TIME_UNITS))
        .collect();
    let seconds: f64 = seconds.filter(|parts| !parts.is_empty())?.iter().sum();
    let (unit, scale) =
        [("h", 3600.0), ("min", 60.0)].into_iter().find(|(_, scale)| seconds % scale == 0.0)?;
    Some(format!("{}{unit}", seconds / scale))
}

/// Splits a text into the number and the unit that it starts with, and the rest.
fn split_quantity(text: &str) -> Option<(&str, &str, &str)> {
    let digits = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.'))?;
    let (number, rest) = text.split_at_checked(digits)?;
    let rest = rest.trim_start();
    let letters = rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at_checked(letters)?;
    number.parse::<f64>().ok().map(|_| (number, unit, after.trim_start()))
}

/// The size in the form that the language accepts, for `100M`, `5gb` or `2 gib`. `None` for other text.
#[must_use]
pub(crate) fn normalize_size(text: &str) -> Option<String> {
    let (number, unit, "") = split_quantity(text.trim())? else { return None };
    let unit = unit.to_lowercase();
    let fits = |own: &&str| {
        let own = own.to_lowercase();
        own == unit || own.strip_suffix('b').is_some_and(|own| !own.is_empty() && own == unit)
    };
    let own = SIZE_UNITS.iter().map(|(own, _)| *own).find(fits).or((unit == "bytes").then_some("B"))?;
    Some(format!("{number}{own}"))
}

/// A size for a number without a unit. A number below a million is probably meant in MiB.
#[must_use]
pub(super) fn format_size(number: i128) -> String {
    let exact = SIZE_UNITS.iter().rev().filter(|(_, scale)| *scale <= 1e12 && number % (*scale as i128) == 0);
    let decimal = exact.filter(|(unit, _)| !unit.contains('i')).max_by_key(|(_, scale)| *scale as i128);
    match decimal {
        Some((unit, scale)) if number >= 1_000_000 => format!("{}{unit}", number / (*scale as i128)),
        _ => format!("{number}MiB"),
    }
}

/// Parses a number with separators or a decimal comma: `1,000`, `0,5`, `1 000`.
#[must_use]
pub(super) fn parse_separated_number(text: &str) -> Option<f64> {
    let text = text.trim().replace([' ', '_'], "");
    let parts: Vec<_> = text.split(',').collect();
    let thousands =
        |rest: &[&str]| rest.iter().all(|part| part.split('.').next().is_some_and(|part| part.len() == 3));
    let plain = match parts.as_slice() {
        [first, rest @ ..] if !rest.is_empty() && *first != "0" && thousands(rest) => parts.concat(),
        [whole, rest] => format!("{whole}.{rest}"),
        _ => text.clone(),
    };
    plain.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A whole number with `_` between thousands; other numbers unchanged.
#[must_use]
pub(crate) fn format_grouped_number(number: f64) -> String {
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

/// Parses a number with one of the units and scales it. The first unit that is a suffix of the text is used.
pub(super) fn parse_scaled_number(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, scale) = units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    let plain = number.trim_end().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'_');
    let number: f64 = number.trim_end().replace('_', "").parse().ok()?;
    (plain && number.is_finite()).then(|| number * scale)
}

/// Rounds to an integer value. 9e15 is just below 2^53, up to which `f64` holds every integer.
pub(super) fn to_integer_value(number: f64) -> Option<CanonicalValue> {
    (number <= 9e15).then(|| CanonicalValue::Integer(number.round() as i64))
}

/// Parses a range of positive whole numbers.
pub(super) fn parse_range(text: &str) -> Option<CanonicalValue> {
    let (low, high) = text.split_once("..")?;
    let (low, high): (u32, u32) = (low.parse().ok()?, high.parse().ok()?);
    (low >= 1 && low <= high).then(|| CanonicalValue::Range(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_normalized() {
        let times = ["30m", "1h", "2d", "90s", "30 minutes", "1.5 hrs", "1h30m", "1d12h", "500ms"]
            .map(normalize_time);
        let written = ["30min", "1h", "2d", "90s", "30min", "1.5h", "90min", "36h", "500ms"];
        assert_eq!(times, written.map(|time| Some(time.to_owned())));
        assert_eq!(["30", "m", "30x", "", "h1", "1.2.3h"].map(normalize_time), [const { None }; 6]);
        let sizes = ["100M", "5gb", "2 gib", "1Ti", "10k", "7 bytes"].map(normalize_size);
        let written = ["100MB", "5GB", "2GiB", "1TiB", "10KB", "7B"];
        assert_eq!(sizes, written.map(|size| Some(size.to_owned())));
        assert_eq!(["100", "5x", "1g2"].map(normalize_size), [const { None }; 3]);
        assert_eq!([300_000_000, 2_000_000_123, 300].map(format_size), ["300MB", "2000000123B", "300MiB"]);
    }

    #[test]
    fn separators_of_numbers_are_understood() {
        let numbers =
            ["1,000", "0,05", "1,5", "1 000", "2_000", "1,234.5", "0,125"].map(parse_separated_number);
        assert_eq!(numbers, [1000.0, 0.05, 1.5, 1000.0, 2000.0, 1234.5, 0.125].map(Some));
        assert_eq!(["", "x", "1,2,3", "inf"].map(parse_separated_number), [None; 4]);
    }

    #[test]
    fn numbers_are_written_in_full() {
        let help = suggest_full_number("8k").unwrap();
        assert!(help.contains("`8_000`, or `8_192`"), "{help}");
        assert!(suggest_full_number("1.5M").unwrap().contains("`1_500_000`, or `1_572_864`"));
        assert_eq!(["8", "k", "8kk", "4GiB", "é", "1e99k"].map(suggest_full_number), [const { None }; 6]);
        assert_eq!(
            [7.0, 999.0, 1000.0, 1_234_567.0, 0.5].map(format_grouped_number),
            ["7", "999", "1_000", "1_234_567", "0.5"]
        );
    }
}
