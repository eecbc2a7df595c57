//! Measures how far apart two sets of logits are.
//!
//! NaN and missing values count as infinitely far. With `f64::max` alone NaN would be ignored, and a broken model would pass.

/// |x|, or infinity if x is NaN.
pub(super) fn abs_or_infinity(x: f64) -> f64 {
    if x.is_nan() { f64::INFINITY } else { x.abs() }
}

/// The largest |difference| and the largest |reference|, leaving out the vocabulary entry `excluded`.
pub(super) fn compare_logits(
    reference: &[f32],
    found: &[f32],
    vocab: usize,
    excluded: Option<u32>,
) -> (f64, f64) {
    let kept = |i: &usize| excluded.is_none_or(|id| i % vocab != id as usize);
    let pairs =
        || (0..reference.len().max(found.len())).filter(kept).map(|i| (reference.get(i), found.get(i)));
    let difference = pairs().map(|pair| match pair {
        (Some(a), Some(b)) => abs_or_infinity(f64::from(*a) - f64::from(*b)),
        _ => f64::INFINITY,
    });
    let largest = pairs().filter_map(|(a, _)| a.map(|a| abs_or_infinity(f64::from(*a)))).fold(0.0, f64::max);
    (difference.fold(0.0, f64::max), largest)
}
