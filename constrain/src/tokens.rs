//! An automaton over bytes, read token by token.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use crate::automaton::Automaton;
use crate::edges::{Edges, WordGroup};
use crate::error::ConstraintError;
use crate::set::NumberSet;
use crate::subsets::DEAD;

/// No word.
pub(crate) const NONE: u32 = u32::MAX;

/// Most steps of all walks through the vocabulary. A choice, not measured.
const MOST_STEPS: usize = 1 << 29;

/// Most numbers of four bytes that remember which states words lead to, and which words lead from a state to another: 64 MiB.
const MOST_REMEMBERED: usize = 1 << 24;

/// An automaton over bytes with a vocabulary. Tokens whose bytes are alike to the automaton are one *word*.
pub struct TokenConstraint {
    pub(crate) automaton: Arc<Automaton>,
    /// The word of each token; [`NONE`] for those that may not be written: they have no bytes, or lead nowhere.
    words: Vec<u32>,
    /// Whether a token ends a text.
    ends: Vec<bool>,
    /// The classes of all words, and where each begins.
    spelled: Vec<u8>,
    starts: Vec<usize>,
    tree: Vec<TreeNode>,
    edges: Vec<Edges>,
    /// About how many steps [`TokenConstraint::reach`] takes for each place.
    steps_of_a_place: usize,
    /// About how many bytes of memory it takes, without its automaton.
    bytes: usize,
    /// By the number of open places: the states from which they can be filled so that the text is accepted; with ends, and without.
    pub(crate) tails: [Mutex<Vec<NumberSet>>; 2],
}

/// Beginnings of words, each followed by those that it begins.
struct TreeNode {
    class: u8,
    /// How many classes the beginning has.
    depth: u32,
    /// The word, if it is one.
    word: u32,
    /// The number of the next node that it does not begin.
    skip: u32,
}

/// Tokens that a place may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSet {
    pub(crate) words: NumberSet,
    pub(crate) end: bool,
}

impl TokenConstraint {
    /// Joins an automaton with a vocabulary: the bytes of each token, or nothing for one that may not be written, and the tokens that
    /// end a text.
    ///
    /// # Errors
    /// If that would take too long, or too much memory.
    pub fn new(
        automaton: Arc<Automaton>,
        vocabulary: &[Option<Vec<u8>>],
        ends: &[u32],
    ) -> Result<Self, ConstraintError> {
        Self::join(automaton, vocabulary, ends, (MOST_REMEMBERED, MOST_REMEMBERED))
    }

    /// [`Self::new`] with bounds of its own on the states that words lead to, and on these and the words together.
    pub(crate) fn join(
        automaton: Arc<Automaton>,
        vocabulary: &[Option<Vec<u8>>],
        ends: &[u32],
        most: (usize, usize),
    ) -> Result<Self, ConstraintError> {
        let is_end = |id: usize| ends.contains(&(id as u32));
        let spell = |(id, bytes): (usize, &Option<Vec<u8>>)| {
            let bytes = bytes.as_ref().filter(|bytes| !bytes.is_empty() && !is_end(id))?;
            Some((bytes.iter().map(|byte| automaton.class(*byte)).collect::<Vec<u8>>(), id))
        };
        let mut spellings: Vec<(Vec<u8>, usize)> = vocabulary.iter().enumerate().filter_map(spell).collect();
        spellings.par_sort_unstable();
        let mut words = vec![NONE; vocabulary.len()];
        let (mut spelled, mut starts) = (Vec::new(), vec![0]);
        for group in spellings.chunk_by(|a, b| a.0 == b.0) {
            group.iter().for_each(|(_, id)| words[*id] = starts.len() as u32 - 1);
            spelled.extend_from_slice(&group[0].0);
            starts.push(spelled.len());
        }
        let ends = (0..vocabulary.len()).map(is_end).collect();
        let (tree, edges, tails) = (Vec::new(), Vec::new(), [Mutex::default(), Mutex::default()]);
        let (steps_of_a_place, bytes) = (0, 0);
        let mut constraint =
            Self { automaton, words, ends, spelled, starts, tree, edges, steps_of_a_place, bytes, tails };
        constraint.plant();
        constraint.edges = constraint.find_edges(most)?;
        let steps = (0..constraint.done()).map(|state| 1 + constraint.targets(state, true).count());
        constraint.steps_of_a_place = steps.sum();
        constraint.bytes = constraint.count_bytes();
        Ok(constraint)
    }

    /// Builds the tree of all words, which are sorted.
    fn plant(&mut self) {
        let (mut tree, mut open): (Vec<TreeNode>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut before: &[u8] = &[];
        for word in 0..self.count_words() as u32 {
            let spelling = self.spelling(word);
            let common = before.iter().zip(spelling).take_while(|(a, b)| a == b).count();
            for node in open.drain(common..) {
                tree[node].skip = tree.len() as u32;
            }
            for (at, class) in spelling.iter().enumerate().skip(common) {
                open.push(tree.len());
                let word = if at + 1 == spelling.len() { word } else { NONE };
                tree.push(TreeNode { class: *class, depth: at as u32 + 1, word, skip: 0 });
            }
            before = spelling;
        }
        for node in open {
            tree[node].skip = tree.len() as u32;
        }
        self.tree = tree;
    }

    /// What leads where. There is no way around the states that words lead to, of which there may be `most_targets`; words are forgotten
    /// rather than that all numbers together are more than `most_remembered`.
    fn find_edges(
        &self,
        (most_targets, most_remembered): (usize, usize),
    ) -> Result<Vec<Edges>, ConstraintError> {
        let counters = [const { AtomicUsize::new(0) }; 3];
        let [steps, listed, remembered] = &counters;
        let add = |counter: &AtomicUsize, count: usize| counter.fetch_add(count, Ordering::Relaxed) + count;
        let find = |state: u32| {
            let mut found: Vec<(u32, u32)> = Vec::new();
            let taken = self.walk(state, |word, to| found.push((to, word)));
            // With this state: whether all of them fit does not depend on the order of the threads.
            if add(steps, taken) > MOST_STEPS {
                return Err(ConstraintError::TooLarge);
            }
            found.sort_unstable();
            let groups: Vec<&[(u32, u32)]> = found.chunk_by(|a, b| a.0 == b.0).collect();
            let targets: Vec<u32> = groups.iter().map(|group| group[0].0).collect();
            if add(listed, targets.len()) > most_targets {
                return Err(ConstraintError::TooLarge);
            }
            let room = |group: &&[_]| size_of::<WordGroup>() / 4 + group.len().min(self.count_words() / 32);
            let room = targets.len() + groups.iter().map(room).sum::<usize>();
            let fits = add(remembered, room) <= most_remembered;
            let list = || groups.iter().map(|group| WordGroup::new(group, self.count_words())).collect();
            Ok(Edges { targets, words: fits.then(list) })
        };
        (0..self.automaton.states() as u32).into_par_iter().map(find).collect()
    }

    /// Tells of every word that leads somewhere from a state, and where. Returns the steps that it took.
    fn walk(&self, from: u32, mut tell: impl FnMut(u32, u32)) -> usize {
        let (mut states, mut at, mut steps) = (vec![from], 0, 0);
        while let Some(node) = self.tree.get(at) {
            steps += 1;
            states.truncate(node.depth as usize);
            let to = self.automaton.step(states[node.depth as usize - 1], node.class);
            if to == DEAD {
                at = node.skip as usize;
                continue;
            }
            if node.word != NONE {
                tell(node.word, to);
            }
            states.push(to);
            at += 1;
        }
        steps
    }

    /// About how many bytes of memory it takes, without its automaton.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn count_bytes(&self) -> usize {
        let vocabulary = size_of_val(self.words.as_slice()) + self.ends.len() + self.spelled.len();
        let tree = size_of_val(self.starts.as_slice()) + size_of_val(self.tree.as_slice());
        vocabulary + tree + self.edges.iter().map(|edges| edges.bytes(self.count_words())).sum::<usize>()
    }

    /// About how many steps [`TokenConstraint::reach`] takes for each place.
    #[must_use]
    pub fn steps_of_a_place(&self) -> usize {
        self.steps_of_a_place
    }

    /// Whether some token ends a text.
    pub(crate) fn has_ends(&self) -> bool {
        self.ends.contains(&true)
    }

    fn count_words(&self) -> usize {
        self.starts.len() - 1
    }

    fn spelling(&self, word: u32) -> &[u8] {
        &self.spelled[self.starts[word as usize]..self.starts[word as usize + 1]]
    }

    /// The number that stands for a text whose end was written, behind which only ends may stand.
    pub(crate) fn done(&self) -> u32 {
        self.automaton.states() as u32
    }

    /// An empty set of states.
    pub(crate) fn no_states(&self) -> NumberSet {
        NumberSet::new(self.automaton.states() + 1)
    }

    /// Where a token leads from a state; `None` if nowhere.
    pub(crate) fn follow(&self, state: u32, token: u32, ends: bool) -> Option<u32> {
        if self.ends.get(token as usize) == Some(&true) {
            return (ends && self.may_end(state)).then(|| self.done());
        }
        let word = self.words.get(token as usize).copied().filter(|word| *word != NONE)?;
        if state == self.done() {
            return None;
        }
        self.automaton.follow(state, self.spelling(word).iter().copied())
    }

    /// Whether a text in this state may be at its end.
    pub(crate) fn may_end(&self, state: u32) -> bool {
        state == self.done() || self.automaton.is_accepting(state)
    }

    /// The states that any token leads to.
    pub(crate) fn targets(&self, state: u32, ends: bool) -> impl Iterator<Item = u32> + '_ {
        let words = self.edges.get(state as usize).map_or(&[][..], |edges| &edges.targets);
        let end = (ends && self.may_end(state)).then(|| self.done());
        words.iter().copied().chain(end)
    }

    /// By place, the tokens that lead from one of the states `from` to one of the states `to`. However many places there are, a state
    /// whose words are not remembered is walked from once.
    pub(crate) fn between(&self, places: &[(&NumberSet, &NumberSet)], ends: bool) -> Vec<TokenSet> {
        let mut sets = vec![NumberSet::new(self.count_words()); places.len()];
        for (state, edges) in (0..).zip(&self.edges) {
            let mut at = (0..places.len()).filter(|i| places[*i].0.contains(state)).peekable();
            if at.peek().is_none() {
                continue;
            }
            match &edges.words {
                Some(listed) => at.for_each(|i| edges.unite(listed, places[i].1, &mut sets[i])),
                None => self.unite_walked(state, &at.collect::<Vec<_>>(), places, &mut sets),
            }
        }
        let end = |(from, to): &(&NumberSet, &NumberSet)| {
            ends && to.contains(self.done()) && from.iter().any(|state| self.may_end(state))
        };
        sets.into_iter().zip(places).map(|(words, place)| TokenSet { words, end: end(place) }).collect()
    }

    /// Adds the words that lead from a state to those of the places `at`.
    fn unite_walked(
        &self,
        state: u32,
        at: &[usize],
        places: &[(&NumberSet, &NumberSet)],
        sets: &mut [NumberSet],
    ) {
        self.walk(state, |word, target| {
            at.iter().filter(|i| places[**i].1.contains(target)).for_each(|i| sets[*i].insert(word));
        });
    }

    /// Whether a set has a token.
    #[must_use]
    pub fn has(&self, set: &TokenSet, token: u32) -> bool {
        let at = token as usize;
        match self.ends.get(at) {
            Some(true) => set.end,
            Some(false) => self.words[at] != NONE && set.words.contains(self.words[at]),
            None => false,
        }
    }

    /// Gives all tokens but those of a set the logit minus infinity.
    pub fn keep(&self, set: &TokenSet, logits: &mut [f32]) {
        for (token, logit) in (0..).zip(logits) {
            if !self.has(set, token) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}
