//! Which records of a dataset are documents, by the values of their fields.

use serde_json::{Map, Value};

use super::fields::find_field;
use super::line::LineFault;
use super::non_text::describe_non_text;
use crate::pipeline::config::{ColumnFilter, FilterValue};

/// Whether a record passes all `filters`. A field that is absent or null passes none.
///
/// # Errors
/// If a field has another type than the filter, which would compare nothing.
pub(super) fn passes_filters(
    filters: &[ColumnFilter],
    fields: &Map<String, Value>,
) -> Result<bool, LineFault> {
    for filter in filters {
        let passes = match find_field(fields, &filter.column) {
            None | Some(Value::Null) => false,
            Some(Value::Array(items)) if filter.is_of_values() => {
                let mut any = false;
                for item in items {
                    any |= has_accepted_value(filter, item)?;
                }
                any
            }
            Some(value) if filter.is_of_values() => has_accepted_value(filter, value)?,
            Some(value) => is_in_range(filter, value)?,
        };
        if !passes {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a value is one of those that the filter gives.
fn has_accepted_value(filter: &ColumnFilter, value: &Value) -> Result<bool, LineFault> {
    let mut comparable = false;
    for accepted in &filter.accepted {
        let equal = match (accepted, value) {
            (FilterValue::Text(accepted), Value::String(text)) => text == accepted,
            (FilterValue::Number(accepted), Value::Number(number)) => number.as_f64() == Some(*accepted),
            (FilterValue::Boolean(accepted), Value::Bool(found)) => found == accepted,
            _ => continue,
        };
        if equal {
            return Ok(true);
        }
        comparable = true;
    }
    if comparable { Ok(false) } else { Err(misfit(filter, value)) }
}

fn is_in_range(filter: &ColumnFilter, value: &Value) -> Result<bool, LineFault> {
    let number = value.as_f64().ok_or_else(|| misfit(filter, value))?;
    Ok(filter.at_least.is_none_or(|least| number >= least)
        && filter.at_most.is_none_or(|most| number <= most))
}

fn misfit(filter: &ColumnFilter, value: &Value) -> LineFault {
    let (what, _) = describe_non_text(value);
    let problem = format!("field `{}` is {what}, which the filter's values are not", filter.column);
    LineFault::new(problem, "filter it by values of that type")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(column: &str, accepted: Vec<FilterValue>) -> ColumnFilter {
        ColumnFilter { column: column.into(), accepted, at_least: None, at_most: None }
    }

    fn passes(filter: &ColumnFilter, record: Value) -> Result<bool, String> {
        let Value::Object(fields) = record else { panic!("an object") };
        passes_filters(std::slice::from_ref(filter), &fields).map_err(|fault| fault.problem)
    }

    #[test]
    fn a_record_passes_by_one_of_the_values_or_by_the_range() {
        let license =
            values("meta.license", ["mit", "apache-2.0"].map(|text| FilterValue::Text(text.into())).into());
        assert_eq!(passes(&license, json!({"meta": {"license": "mit"}})), Ok(true));
        assert_eq!(passes(&license, json!({"meta": {"license": "MIT"}})), Ok(false));
        assert_eq!(passes(&license, json!({"meta": {"license": ["gpl", "apache-2.0"]}})), Ok(true));
        for absent in [
            json!({}),
            json!({"meta": {"license": null}}),
            json!({"meta": 1}),
            json!({"meta": {"license": []}}),
        ] {
            assert_eq!(passes(&license, absent), Ok(false));
        }
        let said = passes(&license, json!({"meta.license": 3})).unwrap_err();
        assert_eq!(said, "field `meta.license` is a number, which the filter's values are not");
        let stars = ColumnFilter { at_least: Some(5.0), ..values("stars", vec![]) };
        for (record, expected) in
            [(json!(5), true), (json!(4.5), false), (json!(1e9), true), (Value::Null, false)]
        {
            assert_eq!(passes(&stars, json!({ "stars": record })), Ok(expected));
        }
        assert!(passes(&stars, json!({"stars": "5"})).is_err());
        let mixed = values("x", vec![FilterValue::Number(2.0), FilterValue::Boolean(true)]);
        let found =
            [json!(2), json!(2.0), json!(true), json!(false)].map(|x| passes(&mixed, json!({ "x": x })));
        assert_eq!(found, [Ok(true), Ok(true), Ok(true), Ok(false)]);
    }
}
