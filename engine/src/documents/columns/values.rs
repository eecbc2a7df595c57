//! A cell of a table as a JSON value, so that rows are parsed like lines.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, StructArray};
use arrow_schema::DataType;
use serde_json::{Map, Number, Value};

/// The value of `array` in this row.
///
/// What JSON has no form for, such as bytes and dates, becomes an object that names its type: it is never taken for text.
pub(super) fn to_value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Struct(_) => Value::Object(to_object(array.as_struct(), row)),
        DataType::List(_) => to_list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => to_list(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => to_list(&array.as_fixed_size_list().value(row)),
        DataType::Dictionary(..) => to_dictionary_value(array, row),
        kind => to_number(array, row).unwrap_or_else(|| describe_type(kind)),
    }
}

fn to_object(array: &StructArray, row: usize) -> Map<String, Value> {
    let fields = array.fields().iter().zip(array.columns());
    fields.map(|(field, column)| (field.name().clone(), to_value(column, row))).collect()
}

fn to_list(items: &dyn Array) -> Value {
    (0..items.len()).map(|row| to_value(items, row)).collect()
}

fn to_dictionary_value(array: &dyn Array, row: usize) -> Value {
    let dictionary = array.as_any_dictionary();
    let key = to_number(dictionary.keys(), row).and_then(|key| key.as_u64());
    let key = key.and_then(|key| usize::try_from(key).ok()).filter(|key| *key < dictionary.values().len());
    // The library has validated the keys.
    to_value(dictionary.values(), key.expect("a key of a dictionary is one of its values"))
}

/// A number; one that is not finite is null, because JSON has no form for it.
fn to_number(array: &dyn Array, row: usize) -> Option<Value> {
    let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    Some(match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        _ => return None,
    })
}

fn describe_type(kind: &DataType) -> Value {
    Value::Object(Map::from_iter([("type".to_owned(), Value::from(kind.to_string()))]))
}
