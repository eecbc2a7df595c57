//! Two evaluations of the same problems: which are solved by only one of the two, and whether that is more than chance.

use std::collections::HashMap;

use fmflow_grade::score::compare_paired;

/// Whether each problem was solved, by the name of the problem.
pub(crate) type Outcomes = [(String, bool)];

/// The problems that both evaluations have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flips {
    /// Solved by both.
    pub both: usize,
    /// Solved by neither.
    pub neither: usize,
    /// Solved by the first alone.
    pub only_first: Vec<String>,
    /// Solved by the second alone.
    pub only_second: Vec<String>,
    /// Problems that only one of the two has.
    pub unpaired: usize,
}

impl Flips {
    /// Pairs problems by their names, in the order of the first evaluation.
    #[must_use]
    pub(crate) fn between(first: &Outcomes, second: &Outcomes) -> Self {
        let of_second: HashMap<&str, bool> =
            second.iter().map(|(name, passed)| (name.as_str(), *passed)).collect();
        let mut flips = Self::default();
        for (name, passed) in first {
            match (passed, of_second.get(name.as_str())) {
                (_, None) => flips.unpaired += 1,
                (true, Some(true)) => flips.both += 1,
                (false, Some(false)) => flips.neither += 1,
                (true, Some(false)) => flips.only_first.push(name.clone()),
                (false, Some(true)) => flips.only_second.push(name.clone()),
            }
        }
        flips.unpaired += second.len() - flips.paired();
        flips
    }

    /// Problems that both have.
    #[must_use]
    pub(crate) fn paired(&self) -> usize {
        self.both + self.neither + self.only_first.len() + self.only_second.len()
    }

    /// McNemar's exact p: the probability of flips at least this uneven if both are equally good.
    #[must_use]
    pub(crate) fn p(&self) -> f64 {
        compare_paired(self.only_first.len(), self.only_second.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_paired_by_name() {
        let outcomes = |all: &[(&str, bool)]| -> Vec<(String, bool)> {
            all.iter().map(|(name, passed)| ((*name).to_owned(), *passed)).collect()
        };
        let first = outcomes(&[("a", true), ("b", true), ("c", false), ("d", false), ("e", true)]);
        let second =
            outcomes(&[("d", true), ("c", false), ("b", false), ("a", true), ("f", true), ("g", true)]);
        let flips = Flips::between(&first, &second);
        let expected = Flips {
            both: 1,
            neither: 1,
            only_first: vec!["b".into()],
            only_second: vec!["d".into()],
            unpaired: 3,
        };
        assert_eq!((&flips, flips.paired(), flips.p()), (&expected, 4, 1.0));
        // 2 / 2^6: all of six flips in one direction.
        let all: Vec<_> = (0..6).map(|at| (at.to_string(), true)).collect();
        let none: Vec<_> = (0..6).map(|at| (at.to_string(), false)).collect();
        assert!((Flips::between(&all, &none).p() - 0.03125).abs() < 1e-12);
    }
}
