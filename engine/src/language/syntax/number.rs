//! Recognizes numbers in the notation of other languages, and suggests how to write them in KDL.

use crate::language::schema::units::{
    format_grouped_number, normalize_size, normalize_time, suggest_full_number,
};
use crate::language::schema::{FieldType, load_schema};

/// Whether the parser accepts a word as a number.
pub(super) fn is_number(word: &str) -> bool {
    let plain = word.trim_start_matches(['-', '+']);
    if let Some((prefix, digits)) = plain.split_at_checked(2).filter(|(prefix, _)| prefix.starts_with('0')) {
        let radix = match prefix {
            "0x" => Some(16),
            "0o" => Some(8),
            "0b" => Some(2),
            _ => None,
        };
        if let Some(radix) = radix {
            let valid = |letter: char| letter.is_digit(radix) || letter == '_';
            return digits.starts_with(|letter: char| letter.is_digit(radix)) && digits.chars().all(valid);
        }
    }
    let decimal = !plain.starts_with('.') && !plain.ends_with('.') && !plain.contains("._");
    decimal && !plain.contains(".e") && plain.replace('_', "").parse::<f64>().is_ok()
}

/// Whether a number is too large for the parser: more than 38 digits, or an exponent of more than nine digits.
pub(super) fn is_huge_number(word: &str) -> bool {
    let (digits, exponent) = word.split_once(['e', 'E']).unwrap_or((word, ""));
    let count = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    count(digits) > 38 || count(exponent) > 9
}

/// Help for a word that starts like a number but is not one, in a field called `field`.
pub(super) fn suggest_number(word: &str, field: &str) -> String {
    let time = normalize_time(word).filter(|_| load_schema().takes(field, FieldType::Duration));
    let size = normalize_size(word).filter(|_| load_schema().takes(field, FieldType::Bytes));
    if let Some(measure) = time.or(size) {
        return format!("a value with a unit needs quotes: `\"{measure}\"`");
    }
    if let Some(help) = suggest_full_number(word) {
        return help;
    }
    if let Some(number) = rewrite_separated_number(word) {
        return format!("write `{number}`");
    }
    let merged = word.replace(',', "");
    if word.contains(',') && merged.contains('e') && is_number(&merged) {
        return format!("write `{merged}`");
    }
    if word.ends_with(['e', 'E']) || word.starts_with("0x") || word.starts_with("0b") {
        return "write the number in full, such as `1e-4` or `16`".to_owned();
    }
    let (sign, plain) = match word.strip_prefix(['-', '+']) {
        Some(plain) => (&word[..1], plain),
        None => ("", word),
    };
    let number = word.parse::<f64>().is_ok();
    match plain {
        _ if number && plain.starts_with('.') => format!("write `{sign}0{plain}`"),
        _ if number && plain.ends_with('.') => format!("write `{sign}{plain}0`"),
        _ if number && plain.contains(".e") => format!("write `{sign}{}`", plain.replace(".e", ".0e")),
        _ => format!("a value with a unit needs quotes: `\"{word}\"`"),
    }
}

/// Rewrites `1,000` and `10.000.000` with `_`, and `1,5` with a decimal point.
fn rewrite_separated_number(word: &str) -> Option<String> {
    let mark = if word.contains(',') { ',' } else { '.' };
    let parts: Vec<_> = word.split(mark).collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() < 2 || !parts.iter().all(digits) {
        return None;
    }
    let thousands = parts.iter().skip(1).all(|part| part.len() == 3);
    match (thousands, parts.as_slice()) {
        (true, _) if mark == ',' || parts.len() > 2 => {
            parts.concat().parse::<f64>().ok().map(format_grouped_number)
        }
        (false, [whole, rest]) if mark == ',' => Some(format!("{whole}.{rest}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_kdl_are_known() {
        assert!(["1", "-1.5", "1e-4", "2.0E3", "0x1F", "0b1_0", "210_000", "+7"].into_iter().all(is_number));
        let others = [".5", "5.", "1.e5", "0x1G", "0x", "0b12", "1,000", "8k", "1e", "10.000.000", "1._0"];
        assert!(!others.into_iter().any(is_number));
    }

    #[test]
    fn suggestions_can_be_pasted() {
        let pairs = [
            (".5", "write `0.5`"),
            ("-.5", "write `-0.5`"),
            ("5.", "write `5.0`"),
            ("1.e5", "write `1.0e5`"),
            ("1,000", "write `1_000`"),
            ("10.000.000", "write `10_000_000`"),
            ("1,5", "write `1.5`"),
            ("1,e-3", "write `1e-3`"),
            ("2%", "a value with a unit needs quotes: `\"2%\"`"),
        ];
        assert!(
            pairs.iter().all(|(word, help)| suggest_number(word, "") == *help),
            "{:?}",
            pairs.map(|(word, _)| suggest_number(word, ""))
        );
    }
}
