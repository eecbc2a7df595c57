//! Tables and numbers as people read them, so that every command prints them in the same way.

use std::fmt;

pub(crate) use crate::text::table::render_table;

/// A number with three significant digits and a decimal unit: `819K`, `1.72G`.
#[must_use]
pub(crate) fn format_count(value: f64) -> String {
    const UNITS: [&str; 8] = ["", "K", "M", "G", "T", "P", "E", "Z"];
    // The limits are halfway values: from them on, rounding would print one digit too many.
    let (mut value, mut unit) = (value, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

/// A number with what it counts: `1 file`, `2 files`, `1 pass`, `2 passes`. `noun` is the singular.
#[must_use]
pub fn count_noun(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let ending = match count {
        1 => "",
        _ if noun.ends_with(['s', 'x']) || noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{count} {noun}{ending}")
}

/// A number of bytes with a binary unit: `300 MiB`.
#[must_use]
pub fn format_bytes(value: u64) -> String {
    ByteCount(value).to_string()
}

/// As [`format_bytes`], for a text that must not allocate.
pub(crate) struct ByteCount(pub(crate) u64);

impl fmt::Display for ByteCount {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let (mut scaled, mut unit) = (self.0 as f64, 0);
        while scaled >= 1023.5 && unit + 1 < UNITS.len() {
            scaled /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(unit > 0 && scaled < 9.95);
        write!(text, "{scaled:.digits$} {}", UNITS[unit])
    }
}

/// Updates, ascending, as a list that stays short: `10, 20, 30, ..., 400`. `None` if there are none.
#[must_use]
pub fn list_kept_updates(updates: &[u64]) -> Option<String> {
    /// More than these are shortened.
    const MOST: usize = 12;
    let words: Vec<String> = updates.iter().map(u64::to_string).collect();
    match words.as_slice() {
        [] => None,
        [first @ .., last] if words.len() > MOST => {
            Some(format!("{}, ..., {last}", first[..MOST - 1].join(", ")))
        }
        all => Some(all.join(", ")),
    }
}

/// A time as a store writes it, `2026-11-28T21:25:29.556023Z`, to the second: people compare it with a clock. What is no such time stays.
#[must_use]
pub(crate) fn format_time(time: &str) -> String {
    match time.split_once('.').filter(|(seconds, _)| seconds.len() == 19) {
        Some((seconds, _)) => format!("{} UTC", seconds.replace('T', " ")),
        None => time.to_owned(),
    }
}

/// A duration in seconds as its two largest units: `3.2s`, `2m05s`, `4h10m`, `12d03h`.
#[must_use]
pub(crate) fn format_duration(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{:02}h", whole / 86400, whole % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_thing_is_no_plural() {
        let words = [(0_u64, "row"), (1, "row"), (2, "row"), (1, "pass"), (2, "pass"), (2, "batch")];
        let said = words.map(|(count, noun)| count_noun(count, noun));
        assert_eq!(said, ["0 rows", "1 row", "2 rows", "1 pass", "2 passes", "2 batches"]);
    }

    #[test]
    fn a_long_list_of_updates_keeps_its_ends() {
        assert_eq!(list_kept_updates(&[]), None);
        assert_eq!(list_kept_updates(&[7, 14]).unwrap(), "7, 14");
        let many: Vec<u64> = (1..=40).map(|count| count * 10).collect();
        assert_eq!(
            list_kept_updates(&many).unwrap(),
            "10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, ..., 400"
        );
    }

    #[test]
    fn times_are_those_of_a_clock() {
        assert_eq!(format_time("2026-11-28T21:25:29.556023Z"), "2026-11-28 21:25:29 UTC");
        assert_eq!(format_time("long ago. Or so"), "long ago. Or so");
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!([0.0, 999.0, 999.7, 1_720_574_976.0].map(format_count), ["0", "999", "1.00K", "1.72G"]);
        assert_eq!([0, 1023, 1024, 300 << 20].map(format_bytes), ["0 B", "1023 B", "1.0 KiB", "300 MiB"]);
        assert_eq!(
            [3.21, 59.97, 125.0, 15000.0, 1e6].map(format_duration),
            ["3.2s", "1m00s", "2m05s", "4h10m", "11d13h"]
        );
    }
}
