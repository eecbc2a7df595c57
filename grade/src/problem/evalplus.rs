//! What EvalPlus does for single problems, in its version 0.3.1 (`mbpp_deserialize_inputs` in `evalplus/data/mbpp.py`, and
//! `evalplus/eval/_special_oracle.py` with its uses). The words are those of the judge.

use super::Layout;

/// The words of what arguments stand for, each with the numbers of the problems of MBPP+: JSON has neither tuples nor sets nor complex
/// numbers.
const SHAPES: [(&str, &[u64]); 12] = [
    (
        "tuples",
        &[
            2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740,
            744, 809,
        ],
    ),
    ("lists of tuples", &[63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780]),
    ("tuples of tuples", &[259, 401, 445]),
    ("first a list of tuples", &[75, 413, 444, 753]),
    ("first a tuple", &[250, 307, 405, 446, 617, 720, 763, 808]),
    ("first a mixed tuple", &[278]),
    ("first a list of sets", &[115]),
    ("first a table of tuples", &[722]),
    ("first complex", &[252]),
    ("second a tuple", &[106, 750]),
    ("float and complex", &[124]),
    ("no lists", &[580, 615, 791]),
];

/// The words of rules that compare outputs, each with the functions that have it.
const RULES: [(&str, Layout, &[&str]); 7] = [
    ("root", Layout::HumanEval, &["find_zero"]),
    ("anything", Layout::Mbpp, &["are_equivalent"]),
    ("or zero", Layout::Mbpp, &["sum_div"]),
    ("or surface", Layout::Mbpp, &["surface_Area"]),
    ("or digits", Layout::Mbpp, &["digit_distance_nums"]),
    (
        "as sets",
        Layout::Mbpp,
        &[
            "similar_elements",
            "find_char_long",
            "common_in_nested_lists",
            "extract_singly",
            "larg_nnum",
            "intersection_array",
            "find_dissimilar",
            "Diff",
        ],
    ),
    ("not none", Layout::Mbpp, &["check_str", "text_match_three", "text_starta_endb"]),
];

/// What the inputs of a problem of MBPP+ stand for, if JSON cannot say it.
pub(super) fn find_shape(number: u64) -> Option<&'static str> {
    SHAPES.iter().find(|(_, numbers)| numbers.contains(&number)).map(|(word, _)| *word)
}

/// The rule that compares the outputs of a function, if it has one of its own.
pub(super) fn find_rule(layout: Layout, entry: &str) -> Option<&'static str> {
    let of = |(_, whose, entries): &&(_, Layout, &[&str])| *whose == layout && entries.contains(&entry);
    RULES.iter().find(of).map(|(word, _, _)| *word)
}
