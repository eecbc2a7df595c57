//! Measures how far apart two sets of logits are.
//!
//! A proof must not be satisfied by nonsense. NaN and missing values count as infinitely far: with `f64::max` alone NaN would
//! be ignored, and a broken model would pass. Logits that are all 0 prove nothing, because any broken model can give them.

use std::fmt;

/// How far logits are from their reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LogitDistance {
    /// The largest |difference|; infinite if a logit is not finite or missing.
    pub difference: f64,
    /// The largest |logit| of the reference; infinite if one is not finite.
    pub largest: f64,
    /// The largest |difference| of a position divided by the largest |logit| of its reference, at the worst position; infinite
    /// if a reference has only zeros.
    pub ratio: f64,
}

impl LogitDistance {
    /// The distance of no logits, which never holds.
    pub(super) const NONE: Self = Self { difference: 0.0, largest: 0.0, ratio: 0.0 };

    /// Compares logits position by position, `vocab` each, leaving out the vocabulary entry `excluded`.
    pub(super) fn measure(reference: &[f32], found: &[f32], vocab: usize, excluded: Option<u32>) -> Self {
        let positions = reference.len().max(found.len()).div_ceil(vocab);
        let part = |logits: &[f32], position: usize| -> Vec<Option<f32>> {
            (0..vocab).map(|id| logits.get(position * vocab + id).copied()).collect()
        };
        (0..positions)
            .map(|position| Self::at_position(&part(reference, position), &part(found, position), excluded))
            .fold(Self::NONE, Self::and)
    }

    /// The distance at one position; `None` is a missing logit.
    fn at_position(reference: &[Option<f32>], found: &[Option<f32>], excluded: Option<u32>) -> Self {
        let kept = |id: &usize| excluded != Some(*id as u32);
        let pairs = (0..reference.len()).filter(kept).map(|id| (reference[id], found[id]));
        let (mut difference, mut largest) = (0.0f64, 0.0f64);
        for (expected, found) in pairs {
            let own = expected.map_or(f64::INFINITY, |x| abs_or_infinity(f64::from(x)));
            let apart = expected.zip(found).map(|(a, b)| abs_or_infinity(f64::from(a) - f64::from(b)));
            difference = difference.max(apart.unwrap_or(f64::INFINITY));
            largest = largest.max(own);
        }
        Self { difference, largest, ratio: divide_or_infinity(difference, largest) }
    }

    /// The distance over the positions of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            difference: self.difference.max(other.difference),
            largest: self.largest.max(other.largest),
            ratio: self.ratio.max(other.ratio),
        }
    }

    /// Whether everything compared is finite, not all of it is 0, and every position is within the tolerance.
    #[must_use]
    pub(crate) fn holds(&self, tolerance: f64) -> bool {
        self.is_meaningful() && self.ratio <= tolerance
    }

    /// Whether everything compared is finite, and not all of it is 0.
    fn is_meaningful(&self) -> bool {
        self.difference.is_finite() && self.largest.is_finite() && self.largest > 0.0
    }
}

impl fmt::Display for LogitDistance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { largest: 0.0, .. } => write!(f, "all logits are 0, which proves nothing"),
            _ if !self.is_meaningful() => write!(f, "some logits are not finite"),
            Self { ratio: 0.0, .. } => write!(f, "no difference"),
            Self { ratio, .. } => write!(f, "{ratio:.2e} of the largest logit of its position"),
        }
    }
}

/// What makes logits unfit to be compared with: values that are not finite, or a position where all are 0.
#[must_use]
pub(super) fn find_meaningless_logits(logits: &[f32], vocab: usize) -> Option<String> {
    let position = |at: usize| format!("position {at}");
    if let Some(at) = logits.iter().position(|x| !x.is_finite()) {
        return Some(format!("are not finite at {}", position(at / vocab)));
    }
    let zero = logits.chunks(vocab).position(|row| row.iter().all(|x| *x == 0.0));
    match zero {
        _ if logits.is_empty() => Some("are none".to_owned()),
        zero => zero.map(|at| format!("are all 0 at {}", position(at))),
    }
}

/// |x|, or infinity if x is NaN.
pub(super) fn abs_or_infinity(x: f64) -> f64 {
    if x.is_nan() { f64::INFINITY } else { x.abs() }
}

/// a / b, or infinity if that is no number: nothing is within a tolerance of 0, or of infinity.
pub(super) fn divide_or_infinity(a: f64, b: f64) -> f64 {
    if b.is_finite() && b > 0.0 { abs_or_infinity(a / b) } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [f32; 6] = [1.0, -2.0, 0.5, 100.0, 3.0, 0.0];

    /// `GOOD` with another value at `at`.
    fn with(at: usize, value: f32) -> Vec<f32> {
        let mut logits = GOOD.to_vec();
        logits[at] = value;
        logits
    }

    fn holds(reference: &[f32], found: &[f32]) -> bool {
        LogitDistance::measure(reference, found, 3, None).holds(1e-4)
    }

    #[test]
    fn nonsense_never_holds() {
        assert!(holds(&GOOD, &GOOD));
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..GOOD.len() {
                let broken = with(at, value);
                assert!(!holds(&broken, &broken) && !holds(&GOOD, &broken) && !holds(&broken, &GOOD), "{at}");
                assert!(find_meaningless_logits(&broken, 3).unwrap().contains("not finite"));
            }
        }
        assert!(!holds(&[0.0; 6], &[0.0; 6]) && !holds(&[], &[]));
        assert!(!holds(&GOOD, &GOOD[..5]) && !holds(&GOOD[..5], &GOOD));
        assert!(!LogitDistance::measure(&GOOD, &GOOD, 3, None).holds(f64::NAN));
        assert_eq!(find_meaningless_logits(&GOOD, 3), None);
        assert!(find_meaningless_logits(&[], 3).is_some());
    }

    #[test]
    fn a_large_position_does_not_excuse_a_small_one() {
        // Within 1e-4 of 100, the largest logit of all, but not of 2, the largest at its position.
        assert!(!holds(&GOOD, &with(0, 1.005)));
        assert!(holds(&GOOD, &with(3, 100.005)));
        let zeros = [1.0, 2.0, 3.0, 0.0, 0.0, 0.0];
        assert!(!holds(&zeros, &zeros));
        assert!(find_meaningless_logits(&zeros, 3).unwrap().contains("position 1"));
    }

    #[test]
    fn an_excluded_entry_is_not_compared() {
        let distance = |found: &[f32]| LogitDistance::measure(&GOOD, found, 3, Some(0));
        assert!(distance(&with(0, f32::NAN)).holds(1e-4) && !distance(&with(1, f32::NAN)).holds(1e-4));
    }
}
