//! Which positions see which in training, as a pure function of the optimizer update.

/// Which positions of a document see which others, and how that changes during training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttentionSchedule {
    /// A position sees itself and earlier ones.
    Causal,
    /// Causal [x_t, x_0], in which every noisy token is masked: a noisy position sees the clean tokens before its stride and the noisy
    /// ones up to itself, and a clean one the clean ones up to itself (I-DLM, "Introspective Diffusion Language Models", 2026).
    Strided {
        /// Numbers of masks in a row, in the order in which they are used; never empty, and only the last has no end.
        phases: Vec<BlockPhase>,
    },
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

/// One phase of a schedule of block sizes or strides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPhase {
    /// Tokens in a block, or masks in a row.
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
        Some(find_size(phases, k))
    }

    /// Masks in a row in update `k`, counted from 0; `None` if rows are not causal [x_t, x_0].
    #[must_use]
    pub fn stride_at(&self, k: u64) -> Option<usize> {
        let Self::Strided { phases } = self else { return None };
        Some(find_size(phases, k))
    }

    /// Whether a row passes through the model as [x_t, x_0], twice as long.
    #[must_use]
    pub fn has_halves(&self) -> bool {
        matches!(self, Self::Block { .. } | Self::Strided { .. })
    }

    /// Share of the later positions that a position sees in update `k`, counted from 0. Annealed attention uses
    /// min(1, (k + 1) / until), as `DiffuLLaMA` does (Gong et al., "Scaling Diffusion Language Models via Adaptation", 2024).
    #[must_use]
    pub fn later_share_at(&self, k: u64) -> f64 {
        match self {
            Self::Causal | Self::Block { .. } | Self::Strided { .. } => 0.0,
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
            Self::Block { phases } => write_phases(f, "block", phases),
            Self::Strided { phases } => write_phases(f, "causal, stride", phases),
        }
    }
}

/// The size of the phase of update `k`.
fn find_size(phases: &[BlockPhase], k: u64) -> usize {
    let now = phases.iter().find(|phase| phase.until.is_none_or(|until| k < until));
    now.expect("the last phase has no end").size
}

fn write_phases(f: &mut std::fmt::Formatter<'_>, what: &str, phases: &[BlockPhase]) -> std::fmt::Result {
    f.write_str(what)?;
    phases.iter().try_for_each(|phase| match phase.until {
        Some(until) => write!(f, " {} to {until},", phase.size),
        None => write!(f, " {}", phase.size),
    })
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
        assert_eq!(AttentionSchedule::Block { phases: phases.clone() }.to_string(), "block 4 to 20000, 32");
        let strided = AttentionSchedule::Strided { phases };
        assert_eq!(strided.to_string(), "causal, stride 4 to 20000, 32");
        assert_eq!(
            [strided.stride_at(19_999), strided.stride_at(20_000), strided.block_at(0)],
            [Some(4), Some(32), None]
        );
        assert_eq!(AttentionSchedule::Annealed { until: 7 }.to_string(), "bidirectional from 7");
    }
}
