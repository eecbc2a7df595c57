//! What the judge reads of a problem.

use crate::literal::{encode_float, encode_list, encode_text};

/// The literal that the judge reads: what it runs before the tests, the tests, the function that `check` gets, whether the first part
/// holds a reference solution, and EvalPlus's inputs with their tolerance.
pub(crate) fn encode_problem(
    before: &[String],
    tests: &[String],
    entry: Option<&str>,
    reference: bool,
    inputs: Option<(&str, f64)>,
) -> String {
    let texts = |all: &[String]| encode_list(&all.iter().map(|text| encode_text(text)).collect::<Vec<_>>());
    let (inputs, tolerance) = inputs.unwrap_or(("N", 0.0));
    let fields = [
        ("before", texts(before)),
        ("tests", texts(tests)),
        ("entry", entry.map_or("N".to_owned(), encode_text)),
        ("reference", if reference { "T" } else { "F" }.to_owned()),
        ("inputs", inputs.to_owned()),
        ("tolerance", encode_float(tolerance)),
    ];
    let pairs: String = fields.iter().map(|(name, value)| encode_text(name) + value).collect();
    format!("M{};{pairs}", fields.len())
}
