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
