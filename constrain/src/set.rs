//! Sets of small numbers.

/// A set of numbers below a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NumberSet(Vec<u64>);

impl NumberSet {
    /// An empty set of numbers below `bound`.
    pub(crate) fn new(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)])
    }

    /// Adds a number.
    pub(crate) fn insert(&mut self, number: u32) {
        self.0[number as usize / 64] |= 1 << (number % 64);
    }

    /// Adds all numbers of another set below the same bound.
    pub(crate) fn unite(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own |= other);
    }

    /// Whether it has a number.
    pub(crate) fn contains(&self, number: u32) -> bool {
        self.0[number as usize / 64] >> (number % 64) & 1 == 1
    }

    /// Whether it has none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Keeps what `keep` says of each.
    pub(crate) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        let dropped: Vec<u32> = self.iter().filter(|number| !keep(*number)).collect();
        for number in dropped {
            self.0[number as usize / 64] &= !(1 << (number % 64));
        }
    }

    /// Its numbers, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let next = |left: &u64| Some(left & (left - 1)).filter(|left| *left != 0);
            let first = Some(*word).filter(|word| *word != 0);
            std::iter::successors(first, next).map(move |left| at as u32 * 64 + left.trailing_zeros())
        })
    }
}
