//! JSON strings, as an expression.

use super::pattern;
use super::{Fields, count, refuse, write_bounds};
use crate::error::ConstraintError;

/// One letter of a string: itself, or as an escape. Halves of a surrogate pair stand only together.
pub(super) const LETTER: &str = concat!(
    r#"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}"#,
    r"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))",
);

/// Days that every year has.
const DATE: &str = "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))";
const TIME: &str =
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
const UUID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";

/// Any string.
pub(super) fn any() -> String {
    format!(r#""{LETTER}*""#)
}

/// The strings that a part describes.
pub(super) fn write(fields: &Fields, place: &str) -> Result<String, ConstraintError> {
    let (low, high) = (count(fields, "minLength", place)?, count(fields, "maxLength", place)?);
    let bounded = low.is_some() || high.is_some();
    if let Some(high) = high.filter(|high| low.unwrap_or(0) > *high) {
        let what = format!("`maxLength` {high} is less than `minLength`");
        return Err(refuse(place, what, "exchange the two"));
    }
    let text = |word: &str| match fields.get(word).map(|value| value.as_str()) {
        None => Ok(None),
        Some(Some(text)) => Ok(Some(text)),
        Some(None) => Err(refuse(&format!("{place}/{word}"), "it is no text", "write a text")),
    };
    let inner = match (text("pattern")?, text("format")?) {
        (None, None) => format!("{LETTER}{}", write_bounds(low.unwrap_or(0), high)),
        (Some(pattern), None) if !bounded => pattern::write(pattern, &format!("{place}/pattern"))?,
        (None, Some(format)) if !bounded => write_format(format, &format!("{place}/format"))?,
        _ => {
            let what = "`pattern`, `format` and bounds of the length beside each other are not supported";
            return Err(refuse(
                place,
                what,
                "write one of them; a `pattern` may have bounds, such as `^[a-z]{2,8}$`",
            ));
        }
    };
    Ok(format!(r#""{inner}""#))
}

fn write_format(format: &str, place: &str) -> Result<String, ConstraintError> {
    Ok(match format {
        "date" => DATE.to_owned(),
        "time" => TIME.to_owned(),
        "date-time" => format!("{DATE}T{TIME}"),
        "uuid" => UUID.to_owned(),
        other => {
            let what = format!("the format `{other}` is not supported");
            return Err(refuse(place, what, "write date, time, date-time or uuid, or a `pattern`"));
        }
    })
}
