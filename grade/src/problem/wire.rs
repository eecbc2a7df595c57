//! What the judge reads of a problem.

use crate::literal::{encode_float, encode_list, encode_text};

/// Inputs in EvalPlus's layout, and how their outputs are compared.
#[derive(Clone, Copy)]
pub(crate) struct PlusInputs<'a> {
    /// The literal of a list of lists of arguments.
    pub inputs: &'a str,
    pub tolerance: f64,
    /// What arguments stand for, in a word of the judge.
    pub shape: Option<&'static str>,
    /// A rule of its own, in a word of the judge.
    pub rule: Option<&'static str>,
}

/// The literal that the judge reads: what it runs before the tests, the tests, the function that `check` gets, whether the first part
/// holds a reference solution, and EvalPlus's inputs.
pub(crate) fn encode_problem(
    before: &[String],
    tests: &[String],
    entry: Option<&str>,
    reference: bool,
    plus: Option<PlusInputs<'_>>,
) -> String {
    let texts = |all: &[String]| encode_list(&all.iter().map(|text| encode_text(text)).collect::<Vec<_>>());
    let word = |text: Option<&str>| text.map_or("N".to_owned(), encode_text);
    let fields = [
        ("before", texts(before)),
        ("tests", texts(tests)),
        ("entry", word(entry)),
        ("reference", if reference { "T" } else { "F" }.to_owned()),
        ("inputs", plus.map_or("N", |plus| plus.inputs).to_owned()),
        ("tolerance", encode_float(plus.map_or(0.0, |plus| plus.tolerance))),
        ("shape", word(plus.and_then(|plus| plus.shape))),
        ("rule", word(plus.and_then(|plus| plus.rule))),
    ];
    let pairs: String = fields.iter().map(|(name, value)| encode_text(name) + value).collect();
    format!("M{};{pairs}", fields.len())
}
