//! Arrays and objects, as expressions.

use serde_json::Value;

use super::strings;
use super::{COLON, COMMA, Fields, Writer, any_of, any_value, count, list, refuse, write_bounds, write_text};
use crate::error::ConstraintError;

/// An object of any properties with such values.
pub(super) fn write_map(value: &str) -> String {
    let name = strings::any();
    format!(r"\{{(?:{name}{COLON}{value}(?:{COMMA}{name}{COLON}{value})*)?\}}")
}

impl<'a> Writer<'a> {
    /// The objects that a part describes.
    pub(super) fn object(&mut self, fields: &'a Fields, place: &str) -> Result<String, ConstraintError> {
        let required = self.required(fields, place)?;
        let others = fields.get("additionalProperties");
        let Some(properties) = fields.get("properties") else {
            return match (required.first(), others) {
                (Some(name), _) => Err(undescribed(place, name)),
                (None, Some(Value::Bool(false))) => Ok(r"\{\}".to_owned()),
                (None, None | Some(Value::Bool(true))) => Ok(write_map(&any_value(self.free_levels()))),
                (None, Some(schema)) => {
                    Ok(write_map(&self.value(schema, &format!("{place}/additionalProperties"))?))
                }
            };
        };
        let place = format!("{place}/properties");
        let properties = properties
            .as_object()
            .ok_or_else(|| refuse(&place, "it is no object", "write the properties by name"))?;
        if let Some(name) = required.iter().find(|name| !properties.contains_key(**name)) {
            return Err(undescribed(&place, name));
        }
        let mut parts = Vec::new();
        for (name, schema) in properties {
            let value =
                self.value(schema, &format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")))?;
            parts.push((format!("{}{COLON}{value}", write_text(name)), required.contains(&name.as_str())));
        }
        self.in_order(&parts, &place)
    }

    /// Parts with commas between them; those that are not required may be absent.
    fn in_order(&mut self, parts: &[(String, bool)], place: &str) -> Result<String, ConstraintError> {
        // What may follow if a part stands before, and what if none does, the last choice first.
        let (mut rest, mut first) = (String::new(), vec![String::new()]);
        for (part, required) in parts.iter().rev() {
            let begun = format!("{part}{rest}");
            self.note(begun.len(), place)?;
            if *required {
                first.clear();
            }
            first.push(begun);
            rest = match required {
                true => format!("{COMMA}{part}{rest}"),
                false => format!("(?:{COMMA}{part})?{rest}"),
            };
        }
        first.reverse();
        Ok(format!(r"\{{{}\}}", any_of(&first)))
    }

    fn required(&self, fields: &'a Fields, place: &str) -> Result<Vec<&'a str>, ConstraintError> {
        let Some(value) = fields.get("required") else { return Ok(Vec::new()) };
        let place = format!("{place}/required");
        let name = |name: &'a Value| {
            name.as_str()
                .ok_or_else(|| refuse(&place, format!("{name} is no name"), "write names of properties"))
        };
        list(value, &place)?.iter().map(name).collect()
    }

    /// The arrays that a part describes.
    pub(super) fn array(&mut self, fields: &'a Fields, place: &str) -> Result<String, ConstraintError> {
        let mut first = self.first_items(fields, place)?;
        let (low, high) = bound_items(fields, place, first.len() as u64)?;
        let item = match fields.get("items") {
            Some(Value::Bool(false)) => String::new(),
            Some(schema) => self.value(schema, &format!("{place}/items"))?,
            None => any_value(self.free_levels()),
        };
        // All parts of their own are there, unless that are too many.
        first.truncate(high.map_or(usize::MAX, |high| usize::try_from(high).unwrap_or(usize::MAX)));
        let written = first.len() as u64;
        let (low, high) = (low.saturating_sub(written), high.map(|high| high - written));
        let first = first.join(COMMA);
        Ok(match (written, high) {
            (_, Some(0)) => format!(r"\[{first}\]"),
            (0, _) => {
                let more = write_bounds(low.saturating_sub(1), high.map(|high| high - 1));
                let some = format!("{item}(?:{COMMA}{item}){more}");
                if low == 0 { format!(r"\[(?:{some})?\]") } else { format!(r"\[{some}\]") }
            }
            _ => format!(r"\[{first}(?:{COMMA}{item}){}\]", write_bounds(low, high)),
        })
    }

    /// What `prefixItems` describes, item by item.
    fn first_items(&mut self, fields: &'a Fields, place: &str) -> Result<Vec<String>, ConstraintError> {
        let Some(parts) = fields.get("prefixItems") else { return Ok(Vec::new()) };
        let place = format!("{place}/prefixItems");
        let parts = list(parts, &place)?.iter().enumerate();
        parts.map(|(at, part)| self.value(part, &format!("{place}/{at}"))).collect()
    }
}

/// How many items an array may have of which `known` are described one by one: at least, and at most.
fn bound_items(fields: &Fields, place: &str, known: u64) -> Result<(u64, Option<u64>), ConstraintError> {
    let (low, high) = (count(fields, "minItems", place)?, count(fields, "maxItems", place)?);
    // Behind parts of their own there are others only if they are asked for.
    let open = fields.contains_key("items") || known == 0 || low.is_some_and(|low| low > known);
    let closed = fields.get("items") == Some(&Value::Bool(false)) || !open;
    let high = if closed { Some(high.map_or(known, |high| high.min(known))) } else { high };
    let low = low.unwrap_or(0);
    match high.is_some_and(|high| high < low) {
        true => {
            Err(refuse(place, "no array has so many items and so few", "write a `minItems` that is possible"))
        }
        false => Ok((low, high)),
    }
}

fn undescribed(place: &str, name: &str) -> ConstraintError {
    let what = format!("`{name}` is required, but not described");
    refuse(place, what, "describe it in `properties`")
}
