//! Runs of words, found in a text by a rolling hash.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

/// Most runs of one benchmark. Their words are kept too, so memory grows with their length.
const MAX_RUNS: usize = 1 << 21;

/// The base of the rolling hash: odd, so that multiplying by it loses nothing.
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// A run of words of a benchmark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The words, in lower case, with blanks between them.
    pub words: Box<str>,
    /// The record of the benchmark that has it, from 0.
    pub record: u64,
}

/// All runs of a benchmark.
#[derive(Debug)]
pub(super) struct RunIndex {
    /// Words in a run.
    length: usize,
    runs: HashMap<u64, Vec<Run>>,
    count: usize,
    /// A bit for some digits of each hash: most words of a text need no look-up. Its length is a power of two.
    bits: Vec<u64>,
}

/// The last words of a text.
struct Window<'t> {
    text: &'t str,
    length: usize,
    words: VecDeque<(u64, Range<usize>)>,
    hash: u64,
    /// BASE to the power of the words in a run, less one.
    oldest: u64,
}

impl<'t> Window<'t> {
    fn new(text: &'t str, length: usize) -> Self {
        let oldest = (1..length).fold(1_u64, |power, _| power.wrapping_mul(BASE));
        Self { text, length, words: VecDeque::with_capacity(length), hash: 0, oldest }
    }

    /// Adds a word; returns the hash of the last words if there are enough.
    fn push(&mut self, word: Range<usize>) -> Option<u64> {
        if self.words.len() == self.length {
            let (gone, _) = self.words.pop_front().expect("a run has a word");
            self.hash = self.hash.wrapping_sub(gone.wrapping_mul(self.oldest));
        }
        let own = hash_word(&self.text[word.clone()]);
        self.hash = self.hash.wrapping_mul(BASE).wrapping_add(own);
        self.words.push_back((own, word));
        (self.words.len() == self.length).then_some(self.hash)
    }

    /// The last words, in lower case.
    fn run(&self) -> String {
        let words = self.words.iter().map(|(_, word)| self.text[word.clone()].to_lowercase());
        words.collect::<Vec<_>>().join(" ")
    }
}

/// FNV-1a of a word in lower case.
fn hash_word(word: &str) -> u64 {
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    const START: u64 = 0xCBF2_9CE4_8422_2325;
    if word.is_ascii() {
        return word.bytes().fold(START, |hash, byte| add(hash, byte.to_ascii_lowercase()));
    }
    word.to_lowercase().bytes().fold(START, add)
}

/// The places of the words in a text.
fn split_words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(char::is_alphanumeric)?;
        let end = text[start..].find(|letter: char| !letter.is_alphanumeric());
        rest = end.map_or(text.len(), |end| start + end);
        Some(start..rest)
    })
}

impl RunIndex {
    pub(super) fn new(length: usize) -> Self {
        Self { length, runs: HashMap::new(), count: 0, bits: vec![0] }
    }

    /// Adds the runs of a text of a record. Whether it has any.
    ///
    /// # Errors
    /// If there are too many.
    pub(super) fn add(&mut self, text: &str, record: u64) -> Result<bool, String> {
        let mut window = Window::new(text, self.length);
        let mut any = false;
        for word in split_words(text) {
            let Some(hash) = window.push(word) else { continue };
            any = true;
            let same = self.runs.entry(hash).or_default();
            let words = window.run();
            if same.iter().all(|run| *run.words != *words) {
                same.push(Run { words: words.into(), record });
                self.count += 1;
            }
            if self.count > MAX_RUNS {
                return Err(format!("it has more than {MAX_RUNS} runs of {} words; divide it", self.length));
            }
        }
        Ok(any)
    }

    /// Prepares the look-up, once all texts are added.
    pub(super) fn finish(&mut self) {
        // Sixteen bits for each run leave one in sixteen of the words of a text to the look-up.
        self.bits = vec![0; (self.count / 4 + 1).next_power_of_two()];
        let words = self.bits.len();
        let mut set = |hash: &u64| {
            let (word, bit) = place_bit(*hash, words);
            self.bits[word] |= bit;
        };
        self.runs.keys().for_each(&mut set);
    }

    /// The first run of the benchmark in `text`.
    pub(super) fn find(&self, text: &str) -> Option<&Run> {
        let mut window = Window::new(text, self.length);
        split_words(text).find_map(|word| {
            let hash = window.push(word)?;
            let (word, bit) = place_bit(hash, self.bits.len());
            if self.bits[word] & bit == 0 {
                return None;
            }
            let same = self.runs.get(&hash)?;
            let words = window.run();
            same.iter().find(|run| *run.words == *words)
        })
    }
}

/// The word and the bit of a hash in a table of so many words, a power of two.
fn place_bit(hash: u64, words: usize) -> (usize, u64) {
    let high = (hash >> 32) as usize;
    (high & (words - 1), 1 << (hash & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_letters_and_digits() {
        let words = |text: &'static str| split_words(text).map(|word| &text[word]).collect::<Vec<_>>();
        assert_eq!(words(" f(x1) == 'a_b', Öl二\n"), ["f", "x1", "a", "b", "Öl二"]);
        assert!(words("..., ").is_empty());
    }

    /// Does the same without hashes.
    fn find_slowly(benchmark: &[String], text: &str, length: usize) -> bool {
        let list = |text: &str| split_words(text).map(|word| text[word].to_lowercase()).collect::<Vec<_>>();
        let text = list(text);
        benchmark.iter().any(|one| {
            let one = list(one);
            one.windows(length).any(|run| text.windows(length).any(|other| other == run))
        })
    }

    proptest! {
        #[test]
        fn runs_are_found_as_by_comparing_all_words(
            benchmark in proptest::collection::vec("([abAB]{1,2}[ ,]){0,12}", 1..4),
            text in "([abAB]{1,2}[ .]){0,40}",
            length in 1_usize..6,
        ) {
            let mut runs = RunIndex::new(length);
            for (number, one) in benchmark.iter().enumerate() {
                let any = runs.add(one, number as u64).unwrap();
                prop_assert_eq!(any, split_words(one).count() >= length);
            }
            runs.finish();
            prop_assert_eq!(runs.find(&text).is_some(), find_slowly(&benchmark, &text, length));
        }
    }
}
