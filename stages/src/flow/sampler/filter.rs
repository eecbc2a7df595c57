//! From logits to a token: forbidden ids, temperature, then top-k and top-p in a named order.
//!
//! Tokens that tie with the k-th are kept, as in transformers: choosing among equal tokens would be arbitrary.

use fmflow_engine::pipeline::config::{FilterOrder, GrowthTokens, Sampler};

use super::SamplerRules;
use crate::rng::RandomStream;

/// A drawn token and its confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pick {
    /// The token.
    pub token: u32,
    /// Its probability at temperature 1 among the ids that may be emitted, before top-k and top-p.
    pub confidence: f64,
}

/// How probable a token is at temperature 1 among those that may be emitted, before top-k and top-p, in nats; and the most probable
/// tokens in its place, the most probable first.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedLaw {
    /// The token.
    pub token: u32,
    /// Its log-probability.
    pub log_probability: f64,
    /// The most probable tokens with theirs; of equal ones the smallest id comes first.
    pub top: Vec<(u32, f64)>,
}

/// The rules for drawing a token from logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitFilter {
    temperature: f64,
    top_k: Option<usize>,
    top_p: Option<f64>,
    order: FilterOrder,
    mask: Option<u32>,
    /// The tokens of growth, where text keeps its length.
    growth: Option<GrowthTokens>,
    used: u32,
}

impl LogitFilter {
    /// The filter of a sampler, which never emits the mask.
    #[must_use]
    pub fn new(sampler: &Sampler, rules: &SamplerRules) -> Self {
        Self { mask: Some(rules.mask), growth: rules.growth, ..Self::autoregressive(sampler, rules.used) }
    }

    /// The same for a canvas that grows.
    #[must_use]
    pub(super) fn letting_grow(self) -> Self {
        Self { growth: None, ..self }
    }

    /// The filter of an autoregressive sampler.
    #[must_use]
    pub fn autoregressive(sampler: &Sampler, used: u32) -> Self {
        Self {
            temperature: sampler.temperature,
            top_k: sampler.top_k,
            top_p: sampler.top_p,
            order: sampler.order,
            mask: None,
            growth: None,
            used,
        }
    }

    /// The law that [`LogitFilter::pick`] draws from, `[V]`: softmax(logits / temperature) over the kept tokens.
    #[must_use]
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f64> {
        let (mut logits, mut law) = (logits.to_vec(), vec![0.0; logits.len()]);
        self.forbid(&mut logits);
        let kept = self.kept(&logits, find_largest_logit(&logits));
        let total: f64 = kept.iter().map(|(_, w)| w).sum();
        kept.iter().for_each(|&(token, w)| law[token as usize] = w / total);
        law
    }

    /// Draws a token. Overwrites forbidden entries of `logits`.
    pub(crate) fn pick(&self, logits: &mut [f32], random: &mut RandomStream) -> Pick {
        self.forbid(logits);
        let best = find_largest_logit(logits);
        let log_sum = log_sum_exp(logits);
        let token = if self.temperature == 0.0 { best } else { self.draw(logits, best, random) };
        Pick { token: token.0, confidence: (f64::from(token.1) - log_sum).exp() }
    }

    /// As [`LogitFilter::pick`], without the confidence.
    pub(super) fn pick_token(&self, logits: &mut [f32], random: &mut RandomStream) -> u32 {
        self.forbid(logits);
        let best = find_largest_logit(logits);
        if self.temperature == 0.0 { best.0 } else { self.draw(logits, best, random).0 }
    }

    /// The probability of a token at temperature 1 among those that may be emitted, as [`Pick::confidence`].
    pub(super) fn find_probability(&self, logits: &[f32], token: u32) -> f64 {
        let mut logits = logits.to_vec();
        self.forbid(&mut logits);
        logits.get(token as usize).map_or(0.0, |logit| (f64::from(*logit) - log_sum_exp(&logits)).exp())
    }

    /// The law that `logits` give for `token`, with the `count` most probable tokens; `None` if it may not be emitted.
    pub(super) fn rank(&self, logits: &[f32], token: u32, count: usize) -> Option<RankedLaw> {
        let mut logits = logits.to_vec();
        self.forbid(&mut logits);
        // Unlike a confidence, which is compared with a threshold, in f64 throughout.
        let largest = f64::from(find_largest_logit(&logits).1);
        let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
        let log_probability = |logit: f32| f64::from(logit) - largest - sum.ln();
        let own = logits.get(token as usize).copied().filter(|logit| logit.is_finite())?;
        let mut ranked: Vec<(u32, f32)> = (0..).zip(logits).filter(|(_, logit)| logit.is_finite()).collect();
        // In the order of numbers both zeros are one; the sum has no other effect.
        let before = |a: &(u32, f32), b: &(u32, f32)| (b.1 + 0.0).total_cmp(&(a.1 + 0.0)).then(a.0.cmp(&b.0));
        if count < ranked.len() {
            ranked.select_nth_unstable_by(count, before);
            ranked.truncate(count);
        }
        ranked.sort_by(before);
        let top = ranked.into_iter().map(|(token, logit)| (token, log_probability(logit))).collect();
        Some(RankedLaw { token, log_probability: log_probability(own), top })
    }

    /// Removes the probability of the mask, of the tokens of growth and of ids that the tokenizer does not use.
    fn forbid(&self, logits: &mut [f32]) {
        let used = (self.used as usize).min(logits.len());
        logits[used..].fill(f32::NEG_INFINITY);
        let growth = self.growth.into_iter().flat_map(|tokens| [tokens.expand, tokens.delete]);
        for token in self.mask.into_iter().chain(growth) {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Draws at a temperature above 0. Returns the token and its logit.
    fn draw(&self, logits: &[f32], best: (u32, f32), random: &mut RandomStream) -> (u32, f32) {
        let kept = self.kept(logits, best);
        let total: f64 = kept.iter().map(|(_, w)| w).sum();
        let mut target = random.uniform() * total;
        for &(token, w) in &kept {
            target -= w;
            if target < 0.0 {
                return (token, logits[token as usize]);
            }
        }
        // Rounding may leave a remainder of about 1e-16, which belongs to the last token with weight.
        kept.last().map_or(best, |&(token, _)| (token, logits[token as usize]))
    }

    /// The tokens that may be drawn, with their unnormalized weights.
    fn kept(&self, logits: &[f32], best: (u32, f32)) -> Vec<(u32, f64)> {
        if self.temperature == 0.0 {
            return vec![(best.0, 1.0)];
        }
        let weight = |logit: f32| (f64::from(logit - best.1) / self.temperature).exp();
        let weights = logits.iter().enumerate().map(|(i, &l)| (i as u32, weight(l)));
        let mut kept: Vec<(u32, f64)> = weights.filter(|(_, w)| *w > 0.0).collect();
        if self.top_k.is_none() && self.top_p.is_none() {
            return kept;
        }
        kept.sort_by(|a, b| b.1.total_cmp(&a.1));
        match self.order {
            FilterOrder::TopKFirst => {
                self.cut_top_k(&mut kept);
                self.cut_top_p(&mut kept);
            }
            FilterOrder::TopPFirst => {
                self.cut_top_p(&mut kept);
                self.cut_top_k(&mut kept);
            }
        }
        kept
    }

    /// Keeps the k heaviest tokens and all that tie with the last of them. `kept` must be sorted.
    fn cut_top_k(&self, kept: &mut Vec<(u32, f64)>) {
        let last = self.top_k.and_then(|k| kept.get(k.max(1) - 1)).map(|(_, w)| *w);
        kept.retain(|(_, w)| last.is_none_or(|last| *w >= last));
    }

    /// Keeps the fewest heaviest tokens that together have probability p. Lower ids win ties. `kept` must be sorted.
    fn cut_top_p(&self, kept: &mut Vec<(u32, f64)>) {
        let Some(p) = self.top_p else { return };
        let total: f64 = kept.iter().map(|(_, w)| w).sum();
        let mut before = 0.0;
        let within = kept.iter().take_while(|(_, w)| {
            let keep = before < p * total;
            before += w;
            keep
        });
        let count = within.count().max(1);
        kept.truncate(count);
    }
}

/// The largest logit and its id; the lowest id wins ties.
fn find_largest_logit(logits: &[f32]) -> (u32, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (i as u32, logit);
        }
    }
    best
}

/// ln of the sum of e^logit.
pub(super) fn log_sum_exp(logits: &[f32]) -> f64 {
    let (_, largest) = find_largest_logit(logits);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fmflow_engine::pipeline::config::SamplerKind;

    use crate::rng::{RandomPurpose, derive_stream};

    fn filter(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> LogitFilter {
        let sampler = Sampler { temperature, top_k, top_p, ..Sampler::new("s", SamplerKind::Autoregressive) };
        LogitFilter { mask: Some(3), ..LogitFilter::autoregressive(&sampler, 5) }
    }

    fn counts(filter: &LogitFilter, logits: &[f32], n: usize) -> Vec<usize> {
        let mut random = derive_stream(1, RandomPurpose::Sample, [0; 3]);
        let mut counts = vec![0; logits.len()];
        (0..n).for_each(|_| counts[filter.pick(&mut logits.to_vec(), &mut random).token as usize] += 1);
        counts
    }

    #[test]
    fn temperature_zero_is_the_arg_max_of_what_may_be_emitted() {
        // 3 is the mask, 5 and 6 are not used.
        let pick = filter(0.0, None, None).pick(
            &mut [0.0, 1.0, 0.5, 9.0, 1.0, 8.0, 7.0],
            &mut derive_stream(1, RandomPurpose::Sample, [0; 3]),
        );
        assert_eq!(pick.token, 1);
        let others = 1.0 + 2.0 * 1f64.exp() + 0.5f64.exp();
        assert!((pick.confidence - 1f64.exp() / others).abs() < 1e-12);
    }

    #[test]
    fn a_law_is_that_of_what_may_be_emitted_and_ties_are_ranked_by_id() {
        // 3 is the mask, 5 is not used; temperature and top-k do not matter.
        let logits = [0.0, 1.0, 0.5, 9.0, 1.0, 8.0];
        let law = filter(0.0, Some(1), None).rank(&logits, 2, 3).unwrap();
        let sum = (1.0 + 2.0 * 1f64.exp() + 0.5f64.exp()).ln();
        assert!((law.log_probability - (0.5 - sum)).abs() < 1e-12, "{law:?}");
        assert_eq!(law.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 4, 2]);
        assert_eq!(law.top[2].1, law.log_probability);
        let all = filter(1.0, None, None).rank(&logits, 0, 99).unwrap().top;
        let total: f64 = all.iter().map(|(_, log)| log.exp()).sum();
        assert!(all.len() == 4 && (total - 1.0).abs() < 1e-12, "{all:?}");
        for none in [3, 5, 6, u32::MAX] {
            assert_eq!(filter(1.0, None, None).rank(&logits, none, 1), None);
        }
        assert!(filter(1.0, None, None).rank(&logits, 0, 0).unwrap().top.is_empty());
        let zeros = filter(1.0, None, None).rank(&[-0.0, 0.0], 0, 2).unwrap();
        assert_eq!(
            zeros.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(),
            [0, 1],
            "both zeros are one"
        );
    }

    #[test]
    fn ties_with_the_last_of_k_are_kept_and_the_order_of_cuts_has_a_name() {
        let law = filter(1.0, Some(2), None).probabilities(&[1.0, 0.0, 0.0, 9.0, -1.0]);
        assert!(law[1] > 0.0 && law[1] == law[2] && law[4] == 0.0, "{law:?}");
        // Shares .4, .3, .2, .1: the first two are .7 of all, and 1 of what top-k = 2 leaves.
        let logits = [(4.0f32).ln(), (3.0f32).ln(), (2.0f32).ln(), 9.0, 0.0];
        let count = |order| {
            let filter = LogitFilter { order, ..filter(1.0, Some(2), Some(0.5)) };
            filter.probabilities(&logits).iter().filter(|p| **p > 0.0).count()
        };
        assert_eq!((count(FilterOrder::TopKFirst), count(FilterOrder::TopPFirst)), (1, 2));
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0, (2.0f32).ln(), (3.0f32).ln(), 9.0, (4.0f32).ln(), 9.0];
        let counts = counts(&filter(1.0, None, None), &logits, 10_000);
        // Expected 1000, 2000, 3000, 0, 4000: standard deviations up to 49; limit 5 of them.
        for (count, expected) in counts.iter().zip([1000, 2000, 3000, 0, 4000, 0]) {
            assert!(count.abs_diff(expected) <= if expected == 0 { 0 } else { 245 }, "{counts:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [0.0, (2.0f32).ln(), (3.0f32).ln(), 9.0, (4.0f32).ln(), 9.0];
        let zero = |counts: Vec<usize>| counts.iter().map(|&c| c == 0).collect::<Vec<_>>();
        assert_eq!(
            zero(counts(&filter(1.0, Some(2), None), &logits, 500)),
            [true, true, false, true, false, true]
        );
        // Shares .4, .3, .2, .1: 0.65 needs two tokens, 0.75 three.
        assert_eq!(
            zero(counts(&filter(1.0, None, Some(0.65)), &logits, 500)),
            [true, true, false, true, false, true]
        );
        assert_eq!(
            zero(counts(&filter(1.0, None, Some(0.75)), &logits, 500)),
            [true, false, false, true, false, true]
        );
    }
}
