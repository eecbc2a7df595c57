//! Which words lead from a state to which others.

use crate::set::NumberSet;

/// Where words lead from a state.
pub(crate) struct Edges {
    /// States that some word leads to, in ascending order.
    pub(crate) targets: Vec<u32>,
    /// By target, the words; `None` if there were too many to remember.
    pub(crate) words: Option<Vec<WordGroup>>,
}

/// Words, in the form that takes less room.
pub(crate) enum WordGroup {
    Few(Vec<u32>),
    Many(NumberSet),
}

impl Edges {
    /// Adds the words that lead to one of the states `to`, of those `listed` by target.
    pub(crate) fn unite(&self, listed: &[WordGroup], to: &NumberSet, words: &mut NumberSet) {
        for (_, group) in self.targets.iter().zip(listed).filter(|(target, _)| to.contains(**target)) {
            match group {
                WordGroup::Few(few) => few.iter().for_each(|word| words.insert(*word)),
                WordGroup::Many(many) => words.unite(many),
            }
        }
    }

    /// About how many bytes they take, if there are `count` words.
    pub(crate) fn bytes(&self, count: usize) -> usize {
        let words = self.words.iter().flatten().map(|group| size_of::<WordGroup>() + group.bytes(count));
        size_of::<Self>() + size_of_val(self.targets.as_slice()) + words.sum::<usize>()
    }
}

impl WordGroup {
    /// The words of pairs of a target and a word below `count`.
    pub(crate) fn new(pairs: &[(u32, u32)], count: usize) -> Self {
        let words = pairs.iter().map(|(_, word)| *word);
        if pairs.len() <= count / 32 {
            return Self::Few(words.collect());
        }
        let mut set = NumberSet::new(count);
        words.for_each(|word| set.insert(word));
        Self::Many(set)
    }

    fn bytes(&self, count: usize) -> usize {
        match self {
            Self::Few(words) => size_of_val(words.as_slice()),
            Self::Many(_) => count / 8,
        }
    }
}
