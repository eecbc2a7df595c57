//! Learns the merges of a byte-level BPE (Sennrich et al., 2016), the same ones in every process.
//!
//! The trainer of the crate `tokenizers` is not deterministic: it keeps several heap entries for a pair that can be formed
//! in two ways, each with its own positions, and the iteration order of a randomly seeded hash map decides which one is
//! used first. Here a pair is merged everywhere at once, and ties go to the smaller pair of ids, so the result is a
//! function of the word counts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

/// Two neighboring tokens.
pub(super) type TokenPair = (u32, u32);

/// A pair that occurs less often is not worth a token.
const MIN_COUNT: i64 = 2;

/// What was learned: `tokens[id]` in byte-level letters, and merges, most frequent first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Merges {
    pub(super) tokens: Vec<String>,
    pub(super) merges: Vec<TokenPair>,
}

/// The printable letter that represents each byte (Radford et al., 2019), in the order of code points.
pub(super) fn list_byte_letters() -> Vec<String> {
    let printable = |b: &u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..256).filter(|b| !printable(b)).count() as u32;
    let letters = (0..256).filter(printable).chain(256..256 + others);
    letters
        .map(|code| char::from_u32(code).expect("below U+0200 every code is a letter").to_string())
        .collect()
}

/// Learns merges from words in byte-level letters and their counts until there are `size` tokens or no pair repeats. `None` once
/// `interrupt` is set.
pub(super) fn learn_merges(
    words: &BTreeMap<String, u64>,
    size: usize,
    interrupt: &AtomicBool,
) -> Option<Merges> {
    let mut learner = MergeLearner::new(words);
    while learner.tokens.len() < size && learner.merge_next() {
        if interrupt.load(Ordering::SeqCst) {
            return None;
        }
    }
    Some(Merges { tokens: learner.tokens, merges: learner.merges })
}

/// The hash maps are only looked up, never iterated, so their random order cannot reach the result.
struct MergeLearner {
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
    merges: Vec<TokenPair>,
    words: Vec<(Vec<u32>, i64)>,
    counts: HashMap<TokenPair, i64>,
    places: HashMap<TokenPair, Vec<usize>>,
    heap: BinaryHeap<(i64, Reverse<TokenPair>)>,
}

impl MergeLearner {
    fn new(words: &BTreeMap<String, u64>) -> Self {
        let tokens = list_byte_letters();
        let ids: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
        let id = |letter: char| ids.get(letter.to_string().as_str()).copied();
        let spell = |word: &str| {
            word.chars().map(|letter| id(letter).expect("words are in byte-level letters")).collect()
        };
        let words = words.iter().map(|(word, &count)| (spell(word), count as i64)).collect();
        let (merges, counts, places, heap) = Default::default();
        let mut learner = Self { tokens, ids, merges, words, counts, places, heap };
        let fresh = (0..learner.words.len()).flat_map(|at| learner.count(at, 1)).collect();
        learner.offer(fresh);
        learner
    }

    /// Adds (`sign` 1) or removes (-1) the pairs of a word; returns them.
    fn count(&mut self, at: usize, sign: i64) -> Vec<TokenPair> {
        let (word, count) = &self.words[at];
        let pairs: Vec<TokenPair> = word.windows(2).map(|w| (w[0], w[1])).collect();
        for &pair in &pairs {
            *self.counts.entry(pair).or_default() += sign * count;
            if sign > 0 {
                self.places.entry(pair).or_default().push(at);
            }
        }
        pairs
    }

    fn offer(&mut self, pairs: BTreeSet<TokenPair>) {
        self.heap.extend(pairs.into_iter().map(|pair| (self.counts[&pair], Reverse(pair))));
    }

    /// Merges the most frequent pair everywhere; returns false if none is left.
    fn merge_next(&mut self) -> bool {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            let now = self.counts[&pair];
            if now < MIN_COUNT {
                continue;
            }
            if now == count {
                self.merge(pair);
                return true;
            }
            // The entry is outdated. Counts only fall between offers, so requeueing it with its current count is enough.
            self.heap.push((now, Reverse(pair)));
        }
        false
    }

    fn merge(&mut self, pair: TokenPair) {
        let name = format!("{}{}", self.tokens[pair.0 as usize], self.tokens[pair.1 as usize]);
        let id = *self.ids.entry(name.clone()).or_insert(self.tokens.len() as u32);
        if id as usize == self.tokens.len() {
            self.tokens.push(name);
        }
        self.merges.push(pair);
        let places = self.places.remove(&pair).expect("a pair that is counted has places");
        let places: BTreeSet<usize> = places.into_iter().collect();
        let mut changed = BTreeSet::new();
        for at in places {
            self.count(at, -1);
            self.words[at].0 = replace_pair(&self.words[at].0, pair, id);
            changed.extend(self.count(at, 1));
        }
        self.offer(changed);
    }
}

/// `word` with every occurrence of `pair`, from the left, replaced by `id`.
fn replace_pair(word: &[u32], pair: TokenPair, id: u32) -> Vec<u32> {
    let mut out = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        let hit = word[at] == pair.0 && word.get(at + 1) == Some(&pair.1);
        out.push(if hit { id } else { word[at] });
        at += 1 + usize::from(hit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::models::bpe::{BPE, BpeTrainer};
    use tokenizers::tokenizer::{Model as _, Trainer as _};

    fn words(text: &str) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        text.split(' ').for_each(|word| *counts.entry(word.to_owned()).or_default() += 1);
        counts
    }

    fn learn(words: &BTreeMap<String, u64>, size: usize) -> Merges {
        learn_merges(words, size, &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn learning_stops_when_it_is_interrupted() {
        assert_eq!(learn_merges(&words("abc abc"), 1000, &AtomicBool::new(true)), None);
    }

    #[test]
    fn the_textbook_example() {
        let text =
            "low low low low low lower lower newest newest newest newest newest newest widest widest widest";
        let learned = learn(&words(text), 256 + 3);
        assert_eq!(learned.tokens[256..], ["es", "est", "lo"]); // es 9 before st 9: smaller ids; then est 9; then lo 7
    }

    #[test]
    fn learning_stops_when_nothing_repeats() {
        let learned = learn(&words("abc abc"), 1000);
        assert_eq!(learned.tokens[256..], ["ab", "abc"]);
        assert_eq!(learn(&BTreeMap::new(), 1000).tokens.len(), 256);
    }

    #[test]
    fn repeated_letters_do_not_overlap() {
        assert_eq!(replace_pair(&[1, 1, 1], (1, 1), 9), [9, 1]);
        assert_eq!(replace_pair(&[1, 2, 1, 2], (1, 2), 9), [9, 9]);
        assert_eq!(learn(&words("aaaa aaaa"), 258).tokens[256..], ["aa", "aaaa"]);
    }

    #[test]
    fn the_alphabet_has_a_letter_for_each_byte() {
        let letters = list_byte_letters();
        assert_eq!(letters.len(), 256);
        assert_eq!((letters[0].as_str(), letters[220].as_str(), letters[198].as_str()), ("!", "Ġ", "Ċ"));
    }

    /// An independent implementation learns the same tokens where its several heap entries cannot matter.
    #[test]
    fn the_trainer_of_the_tokenizers_crate_agrees() {
        let text = include_str!("bpe.rs").split_whitespace().collect::<Vec<_>>().join(" ");
        let learned = learn(&words(&text), 400);
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .min_frequency(2)
            .vocab_size(400)
            .initial_alphabet(list_byte_letters().iter().filter_map(|s| s.chars().next()).collect())
            .build();
        let split = |s: &str| Ok(s.split(' ').map(String::from).collect());
        trainer.feed([text.as_str()].into_iter(), split).unwrap();
        let mut model = BPE::default();
        trainer.train(&mut model).unwrap();
        let theirs: Vec<_> =
            (0..model.get_vocab_size() as u32).filter_map(|id| model.id_to_token(id)).collect();
        assert_eq!(learned.tokens, theirs);
    }
}
