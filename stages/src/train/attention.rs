//! The attention pattern of an update: blocks that grow, or attention annealed from causal to bidirectional.

use std::ops::Range;

use fmflow_engine::pipeline::config::AttentionSchedule;
use fmflow_engine::pipeline::contract::find_trained_attention;

use crate::backbone::{Attention, WORD};
use crate::rng::{RandomPurpose, derive_stream};

/// Random bits per coin. The probability of an open pair is rounded to a multiple of 2^-16.
const COIN: u32 = 16;

/// The attention of update `k`, and its annealing if there is any, with draws named by (`seed`, `step`).
#[must_use]
pub(crate) fn choose_attention(
    config: &AttentionSchedule,
    k: u64,
    seed: u64,
    step: u64,
) -> (Attention, Option<Anneal>) {
    let share = config.later_share_at(k);
    match config {
        AttentionSchedule::Annealed { .. } if share < 1.0 => {
            (Attention::Causal, Some(Anneal { share, seed, step }))
        }
        _ => (find_trained_attention(config, k + 1), None),
    }
}

/// Causal attention that also sees a random share of the later positions.
///
/// Every pair (row, query, key) has its own coin, a function of (seed, step, row, query, key) alone. So the mask is the
/// same for every layer and head, in a recomputed block, and on every device. This is the mask of `DiffuLLaMA` (Gong et
/// al., "Scaling Diffusion Language Models via Adaptation", 2024), drawn for each row instead of once per batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anneal {
    /// Probability that a later position is visible.
    pub share: f64,
    /// Seed of the coins.
    pub seed: u64,
    /// Number of the update.
    pub step: u64,
}

impl Anneal {
    /// The open later pairs of `rows` of the update, as bits [rows, length, ceil(length / 32)].
    #[must_use]
    pub(crate) fn opened(&self, rows: Range<u64>, length: usize) -> Vec<u32> {
        let words = length.div_ceil(WORD);
        let limit = (self.share * f64::from(1u32 << COIN)).round() as u64;
        let mut opened = Vec::with_capacity(rows.clone().count() * length * words);
        for (row, query) in rows.flat_map(|row| (0..length).map(move |query| (row, query))) {
            let mut coins = derive_stream(self.seed, RandomPurpose::Anneal, [self.step, row, query as u64]);
            // Words that hold only earlier keys are never read, because those keys are visible anyway.
            let first = query / WORD;
            opened.resize(opened.len() + first, 0);
            opened.extend((first..words).map(|_| draw_coin_word(limit, || coins.bits())));
        }
        opened
    }
}

/// 32 coins, each set with probability `limit` / 2^16.
fn draw_coin_word(limit: u64, mut bits: impl FnMut() -> u64) -> u32 {
    let (mut word, mut random) = (0, 0);
    for at in 0..WORD {
        if at.is_multiple_of(4) {
            random = bits();
        }
        word |= u32::from(random & 0xFFFF < limit) << at;
        random >>= COIN;
    }
    word
}

#[cfg(test)]
mod tests {
    use fmflow_engine::pipeline::config::BlockPhase;

    use super::*;

    #[test]
    fn attention_follows_the_schedule() {
        let phases = vec![BlockPhase { size: 4, until: Some(2) }, BlockPhase { size: 8, until: None }];
        let blocks = AttentionSchedule::Block { phases };
        let block = |block| (Attention::BlockCausal { block }, None);
        assert_eq!([0, 1, 2].map(|k| choose_attention(&blocks, k, 1, k)), [block(4), block(4), block(8)]);
        let annealed = AttentionSchedule::Annealed { until: 2 };
        let first = Anneal { share: 0.5, seed: 1, step: 7 };
        assert_eq!(choose_attention(&annealed, 0, 1, 7), (Attention::Causal, Some(first)));
        assert_eq!(choose_attention(&annealed, 1, 1, 8), (Attention::Bidirectional, None));
    }

    #[test]
    fn a_pair_is_a_function_of_its_coordinates() {
        let anneal = Anneal { share: 0.3, seed: 1, step: 5 };
        let (both, second) = (anneal.opened(0..2, 70), anneal.opened(1..2, 70));
        assert_eq!(both[both.len() / 2..], second);
        assert_ne!(both[..both.len() / 2], second);
        assert_ne!(second, Anneal { step: 6, ..anneal }.opened(1..2, 70));
        // A longer row has the same pairs and more.
        let longer = anneal.opened(1..2, 100);
        for query in 0..70 {
            assert_eq!(longer[query * 4..][..2], second[query * 3..][..2], "{query}");
        }
    }

    #[test]
    fn the_share_of_later_pairs_is_what_was_asked() {
        for share in [0.0, 0.25, 1.0] {
            let words = Anneal { share, seed: 1, step: 0 }.opened(0..4, 256);
            let bit = |row: usize, query: usize, key: usize| {
                words[(row * 256 + query) * 8 + key / WORD] >> (key % WORD) & 1
            };
            let pairs = (0..256).flat_map(|query| (query + 1..256).map(move |key| (query, key)));
            let open: u32 =
                pairs.map(|(query, key)| (0..4).map(|row| bit(row, query, key)).sum::<u32>()).sum();
            // 130,560 pairs: standard deviation at most 181; limit 5 of them.
            assert!(
                f64::from(open.abs_diff((130_560.0 * share) as u32)) <= 905.0 * (share % 1.0).sqrt(),
                "{open}"
            );
        }
    }
}
