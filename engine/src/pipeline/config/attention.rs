//! Which positions see which in training, as a pure function of the optimizer update.

/// Which positions of a document see which others, and how that changes during training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttentionSchedule {
    /// A position sees itself and earlier ones.
    Causal,
    /// Every position sees every other.
    Bidirectional,
    /// Causal at first; later positions become visible at random, more of them with every update.
    Annealed {
        /// Number of updates after which attention is bidirectional.
        until: u64,
    },
    /// Block diffusion: a noisy position sees its own noisy block and the clean blocks before it.
    Block {
        /// Block sizes in the order in which they are used; never empty, and only the last has no end.
        phases: Vec<BlockPhase>,
    },
}

/// One phase of a block size schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPhase {
    /// Tokens in a block.
    pub size: usize,
    /// First update of the next phase; `None` for the last phase.
    pub until: Option<u64>,
}

impl AttentionSchedule {
    /// Tokens in a block in update `k`, counted from 0; `None` if the attention has no blocks.
    ///
    /// ```
    /// use fmflow_engine::pipeline::config::{AttentionSchedule, BlockPhase};
    ///
    /// let phases = vec![BlockPhase { size: 4, until: Some(10) }, BlockPhase { size: 32, until: None }];
    /// let attention = AttentionSchedule::Block { phases };
    /// assert_eq!([attention.block_at(0), attention.block_at(9), attention.block_at(10)], [Some(4), Some(4), Some(32)]);
    /// ```
    #[must_use]
    pub fn block_at(&self, k: u64) -> Option<usize> {
        let Self::Block { phases } = self else { return None };
        let now = phases.iter().find(|phase| phase.until.is_none_or(|until| k < until));
        Some(now.expect("the last size of blocks has no end").size)
    }

    /// Share of the later positions that a position sees in update `k`, counted from 0. Annealed attention uses
    /// min(1, (k + 1) / until), as `DiffuLLaMA` does (Gong et al., "Scaling Diffusion Language Models via Adaptation", 2024).
    #[must_use]
    pub fn later_share_at(&self, k: u64) -> f64 {
        match self {
            Self::Causal | Self::Block { .. } => 0.0,
            Self::Bidirectional => 1.0,
            Self::Annealed { until } => ((k as f64 + 1.0) / *until as f64).min(1.0),
        }
    }
}

impl std::fmt::Display for AttentionSchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Causal => f.write_str("causal"),
            Self::Bidirectional => f.write_str("bidirectional"),
            Self::Annealed { until } => write!(f, "bidirectional from {until}"),
            Self::Block { phases } => {
                f.write_str("block")?;
                phases.iter().try_for_each(|phase| match phase.until {
                    Some(until) => write!(f, " {} to {until},", phase.size),
                    None => write!(f, " {}", phase.size),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annealing_ends_at_its_update() {
        let attention = AttentionSchedule::Annealed { until: 4 };
        let shares = [0, 1, 2, 3, 4, 100].map(|k| attention.later_share_at(k));
        assert_eq!(shares, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        assert_eq!(attention.block_at(0), None);
    }

    #[test]
    fn attention_reads_as_people_say_it() {
        let phases = vec![BlockPhase { size: 4, until: Some(20_000) }, BlockPhase { size: 32, until: None }];
        assert_eq!(AttentionSchedule::Block { phases }.to_string(), "block 4 to 20000, 32");
        assert_eq!(AttentionSchedule::Annealed { until: 7 }.to_string(), "bidirectional from 7");
    }
}
