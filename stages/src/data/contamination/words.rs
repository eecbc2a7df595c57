//! Runs of words, found in a text by a rolling hash.

use std::collections::VecDeque;
use std::ops::Range;

use fmflow_engine::text::display::format_bytes;

/// Most different runs of one comparison: 256 MiB, twice that while texts are added, and their texts.
const MAX_RUNS: usize = 1 << 24;

/// Most bytes of their texts, in lower case.
const MAX_TEXT_BYTES: usize = 1 << 30;

/// The base of the rolling hash: odd, so that multiplying by it loses nothing.
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// A run of words that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run<'r> {
    /// The words, in lower case, with blanks between them.
    pub words: &'r str,
    /// The record that has it, from 0.
    pub record: u64,
}

/// All runs of some texts.
#[derive(Debug)]
pub(super) struct RunIndex {
    /// Words in a run.
    length: usize,
    /// Most runs, and most bytes of their texts.
    most: (usize, usize),
    /// The words of all texts that have a run, in lower case, each with a blank behind it.
    words: String,
    /// Where in `words` the texts of each record begin; ascending.
    records: Vec<(usize, u64)>,
    /// The hash of each run, and where in `words` it begins; sorted, and each run once, when all texts are added.
    runs: Vec<(u64, u32)>,
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

    /// Whether the last words are those of a run.
    fn is(&self, run: &str) -> bool {
        let words = self.words.iter().map(|(_, word)| self.text[word.clone()].to_lowercase());
        words.eq(run.split(' '))
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
        Self {
            length,
            most: (MAX_RUNS, MAX_TEXT_BYTES),
            words: String::new(),
            records: Vec::new(),
            runs: Vec::new(),
            bits: vec![0],
        }
    }

    /// Adds the runs of a text of a record. Whether it has any.
    ///
    /// # Errors
    /// If there are too many.
    pub(super) fn add(&mut self, text: &str, record: u64) -> Result<bool, String> {
        let mut window = Window::new(text, self.length);
        let (begin, mut any) = (self.words.len(), false);
        self.records.push((begin, record));
        // Where each of the last words begins.
        let mut starts = VecDeque::with_capacity(self.length);
        for word in split_words(text) {
            let lower = text[word.clone()].to_lowercase();
            if self.words.len() + lower.len() >= self.most.1 {
                return Err(format!(
                    "the texts to look for have more than {}; take fewer",
                    format_bytes(self.most.1 as u64)
                ));
            }
            starts.push_back(self.words.len());
            self.words.push_str(&lower);
            self.words.push(' ');
            let Some(hash) = window.push(word) else { continue };
            let start = starts.pop_front().expect("a run has a word");
            self.runs.push((hash, u32::try_from(start).expect("the texts are bounded")));
            any = true;
            // So seldom that sorting takes no more than a part of the time.
            if self.runs.len() > 2 * self.most.0 {
                self.drop_repeated_runs()?;
            }
        }
        if !any {
            // No run is in it: it would only take room.
            self.words.truncate(begin);
            self.records.pop();
        }
        Ok(any)
    }

    /// Sorts the runs and keeps each once.
    fn drop_repeated_runs(&mut self) -> Result<(), String> {
        let mut runs = std::mem::take(&mut self.runs);
        runs.sort_unstable();
        // Of equal runs the first one stays. Others with the same hash are rare, and may lie between them.
        runs.dedup_by(|next, kept| next.0 == kept.0 && self.run_at(next.1) == self.run_at(kept.1));
        self.runs = runs;
        if self.runs.len() > self.most.0 {
            return Err(format!(
                "there are more than {} runs of {} words to look for; take fewer texts",
                self.most.0, self.length
            ));
        }
        Ok(())
    }

    /// Prepares the look-up, once all texts are added.
    ///
    /// # Errors
    /// If there are too many runs.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.drop_repeated_runs()?;
        let mut runs = std::mem::take(&mut self.runs);
        runs.shrink_to_fit();
        // Sixteen bits for each run leave one in sixteen of the words of a text to the look-up.
        self.bits = vec![0; (runs.len() / 4 + 1).next_power_of_two()];
        let words = self.bits.len();
        for (hash, _) in &runs {
            let (word, bit) = place_bit(*hash, words);
            self.bits[word] |= bit;
        }
        self.runs = runs;
        Ok(())
    }

    /// The first run of the texts in `text`.
    pub(super) fn find(&self, text: &str) -> Option<Run<'_>> {
        let mut window = Window::new(text, self.length);
        split_words(text).find_map(|word| {
            let hash = window.push(word)?;
            let (word, bit) = place_bit(hash, self.bits.len());
            if self.bits[word] & bit == 0 {
                return None;
            }
            let first = self.runs.partition_point(|(other, _)| *other < hash);
            let same = self.runs[first..].iter().take_while(|(other, _)| *other == hash);
            let found = same.map(|(_, start)| *start).find(|start| window.is(self.run_at(*start)))?;
            Some(Run { words: self.run_at(found), record: self.record_at(found) })
        })
    }

    /// The words of the run that begins there.
    fn run_at(&self, start: u32) -> &str {
        let rest = &self.words[start as usize..];
        let (end, _) = rest.match_indices(' ').nth(self.length - 1).expect("a blank is behind every word");
        &rest[..end]
    }

    fn record_at(&self, start: u32) -> u64 {
        let behind = self.records.partition_point(|(begin, _)| *begin <= start as usize);
        self.records[behind - 1].1
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

    #[test]
    fn only_different_runs_and_texts_that_have_one_take_room() {
        let index = || RunIndex { most: (4, 40), ..RunIndex::new(3) };
        let mut runs = index();
        for record in 0..50 {
            // Each would take ten of the forty bytes.
            assert!(!runs.add("too short!", record).unwrap());
        }
        assert_eq!(runs.words.len() + runs.records.len(), 0);
        assert!(runs.add("a b c a b c a b c a b c a b c", 7).unwrap(), "13 runs, 3 different ones");
        runs.finish().unwrap();
        assert_eq!(runs.find("x b c a").unwrap(), Run { words: "b c a", record: 7 });
        let mut many = index();
        assert!(many.add("a b c d e f g", 0).unwrap(), "five runs, counted at the end");
        assert!(many.finish().unwrap_err().contains("more than 4 runs of 3 words"));
        let fails = |text: &str| index().add(text, 0).unwrap_err();
        assert!(fails("a b c d e f g h i j k").contains("more than 4 runs of 3 words"));
        assert!(fails(&"a".repeat(40)).contains("the texts to look for have more than 40 B; take fewer"));
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
            runs.finish().unwrap();
            prop_assert_eq!(runs.find(&text).is_some(), find_slowly(&benchmark, &text, length));
        }
    }
}
