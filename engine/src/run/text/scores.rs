//! What is measured of answers.

use serde::Serialize;

use super::TextAnswer;
use crate::pipeline::config::SamplerCache;
use crate::text::display::count_noun;

/// Most texts of a request or a stage that are written again without a cache. A choice: it bounds the time that the comparison takes.
pub const DISAGREEMENT_TEXTS: usize = 64;

/// Answers, and the time that all took together.
#[derive(Clone, Debug, PartialEq)]
pub struct TextAnswers {
    /// One for each sample, in order.
    pub answers: Vec<TextAnswer>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

impl TextAnswers {
    /// New tokens of all answers.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.answers.iter().map(|answer| answer.tokens).sum()
    }

    /// Forward passes of all answers.
    #[must_use]
    pub fn passes(&self) -> usize {
        self.answers.iter().map(|answer| answer.passes).sum()
    }

    /// New tokens per wall-clock second.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens() as f64 / self.seconds
    }
}

/// Answers to questions, and how many are right.
#[derive(Clone, Debug, PartialEq)]
pub struct TextScores {
    /// One for each question, in order.
    pub answers: TextAnswers,
    /// How many equal the expected answer, as exact match counts them.
    pub exact: usize,
    /// Tokens per second of the autoregressive baseline, as [`TextModel::measure_twin`](super::TextModel::measure_twin), in the same
    /// batches.
    pub twin: f64,
    /// How often an approximate cache changed an answer, as
    /// [`TextModel::measure_disagreement`](super::TextModel::measure_disagreement).
    pub disagreement: Option<CacheDisagreement>,
}

/// How often an approximate cache changed what was written: the same requests and seeds, with it and without a cache.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CacheDisagreement {
    /// The cache: `prefix` or `dual`.
    pub cache: &'static str,
    /// Texts that were written twice.
    pub texts: usize,
    /// Texts with at least one other token.
    pub differing_texts: usize,
    /// Tokens of these texts up to and including their ends, of the longer one of each pair.
    pub tokens: usize,
    /// Places where the two have not the same token, or only one has a token.
    pub differing_tokens: usize,
}

impl CacheDisagreement {
    /// Nothing is compared yet.
    #[must_use]
    pub fn new(cache: SamplerCache) -> Self {
        Self { cache: cache.word(), texts: 0, differing_texts: 0, tokens: 0, differing_tokens: 0 }
    }

    /// Compares answers with those to the same requests without a cache.
    #[must_use]
    pub fn compare(cache: SamplerCache, found: &[TextAnswer], uncached: &[TextAnswer]) -> Self {
        let mut all = Self::new(cache);
        for (one, other) in found.iter().zip(uncached) {
            all.note((list_written(one), list_written(other)), one.tokens.max(other.tokens));
        }
        all
    }

    /// Compares the tokens of a text that count with those without a cache. There are `tokens` in the longer one, besides those that were
    /// given.
    pub fn note(&mut self, (one, other): (&[u32], &[u32]), tokens: usize) {
        let changed = one.iter().zip(other).filter(|(a, b)| a != b).count() + one.len().abs_diff(other.len());
        self.texts += 1;
        self.differing_texts += usize::from(changed > 0);
        self.tokens += tokens;
        self.differing_tokens += changed;
    }

    /// Adds what was compared elsewhere, with the same cache.
    pub fn add(&mut self, other: &Self) {
        self.texts += other.texts;
        self.differing_texts += other.differing_texts;
        self.tokens += other.tokens;
        self.differing_tokens += other.differing_tokens;
    }

    /// Share of other tokens, in [0, 1]; 0 of no tokens.
    #[must_use]
    pub fn token_share(&self) -> f64 {
        self.differing_tokens as f64 / self.tokens.max(1) as f64
    }

    /// Share of other texts, in [0, 1]; 0 of no texts.
    #[must_use]
    pub fn text_share(&self) -> f64 {
        self.differing_texts as f64 / self.texts.max(1) as f64
    }

    /// Both shares in words, with their counts: of tokens, and of texts.
    #[must_use]
    pub fn shares(&self) -> [String; 2] {
        let of =
            |share: f64, all: usize, noun| format!("{:.1} % of {}", 100.0 * share, count_noun(all, noun));
        [of(self.token_share(), self.tokens, "token"), of(self.text_share(), self.texts, "text")]
    }

    /// As a sentence, with its counts.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("the approximate cache `{}` changed {}", self.cache, self.shares().join(" and "))
    }
}

/// Tokens that count: up to and including the end; of several gaps, all with those that are given between them.
fn list_written(answer: &TextAnswer) -> &[u32] {
    if answer.gaps.is_empty() { &answer.ids[..answer.tokens.min(answer.ids.len())] } else { &answer.ids }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ids: &[u32], tokens: usize, gaps: &[&str]) -> TextAnswer {
        TextAnswer {
            text: String::new(),
            raw: String::new(),
            ids: ids.to_vec(),
            gaps: gaps.iter().map(|gap| (*gap).to_owned()).collect(),
            tokens,
            passes: 1,
            log_likelihood: None,
            stopped: false,
            ended: true,
        }
    }

    #[test]
    fn other_tokens_and_other_texts_are_counted() {
        let compare = |one: &[TextAnswer], other: &[TextAnswer]| {
            let found = CacheDisagreement::compare(SamplerCache::Dual, one, other);
            [found.texts, found.differing_texts, found.tokens, found.differing_tokens]
        };
        let found = answer(&[1, 2, 3, 9], 3, &[]);
        // What stands behind the end does not count.
        assert_eq!(compare(std::slice::from_ref(&found), &[answer(&[1, 2, 3], 3, &[])]), [1, 0, 3, 0]);
        assert_eq!(compare(std::slice::from_ref(&found), &[answer(&[1, 7, 3, 4, 5], 5, &[])]), [1, 1, 5, 3]);
        assert_eq!(compare(std::slice::from_ref(&found), &[answer(&[], 0, &[])]), [1, 1, 3, 3]);
        // Between gaps both have what was given.
        let gaps = [answer(&[1, 5, 5, 2], 2, &["a", "b"]), found];
        let others = [answer(&[1, 5, 5, 3], 2, &["a", "c"]), answer(&[1, 2, 3], 3, &[])];
        assert_eq!(compare(&gaps, &others), [2, 1, 5, 1]);
        let found = CacheDisagreement::compare(SamplerCache::Dual, &gaps, &others);
        let told = "the approximate cache `dual` changed 20.0 % of 5 tokens and 50.0 % of 2 texts";
        assert_eq!(found.describe(), told);
    }
}
