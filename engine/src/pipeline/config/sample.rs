//! Settings of the stages that sample: `evaluate` and `generate`.

pub use crate::pipeline::config::benchmark::{
    AnswerLength, Asking, AskingMode, BenchmarkSettings, ChoiceDivisor, ChoosingSettings, GapLength,
    WritingSettings,
};
pub use crate::pipeline::config::likelihood::{HeldOut, LikelihoodEstimator};
pub use crate::pipeline::config::prompt::{FurtherGap, GenerateConfig, Prompt, PromptKind};
pub use crate::pipeline::config::sampler_cache::SamplerCache;
pub use fmflow_constrain::{Constraint, ConstraintError, ConstraintSource, SCHEMA_BYTES};

use crate::pipeline::role::InputRole;

/// How text is sampled from a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampler {
    /// Name given in the file, for messages and reports.
    pub name: String,
    /// The sampling method.
    pub kind: SamplerKind,
    /// Softmax temperature; 0 means argmax.
    pub temperature: f64,
    /// Keeps only the k most probable tokens.
    pub top_k: Option<usize>,
    /// Keeps only the smallest set of tokens whose probabilities add up to this.
    pub top_p: Option<f64>,
    /// Which of the two filters is applied first.
    pub order: FilterOrder,
    /// Tokens in a block; a block is finished before the next one starts. `None`: the block size that the checkpoint was
    /// trained with, if any.
    pub block: Option<usize>,
    /// Logits of tokens that the text already has are divided by this if positive, else multiplied; 1: they stay.
    pub repetition_penalty: f64,
    /// What is kept from one forward pass to the next.
    pub cache: SamplerCache,
    /// What the text of an answer has to match.
    pub constraint: Option<Constraint>,
}

impl Sampler {
    /// A sampler that changes nothing of the law: temperature 1, no filters, no penalty, no cache, and the checkpoint's own blocks.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: SamplerKind) -> Self {
        Self {
            name: name.into(),
            kind,
            temperature: 1.0,
            top_k: None,
            top_p: None,
            order: FilterOrder::TopKFirst,
            block: None,
            repetition_penalty: 1.0,
            cache: SamplerCache::None,
            constraint: None,
        }
    }

    /// Whether the method finds noise by its mask tokens, so that the source must be the mask alone.
    #[must_use]
    pub fn reveals_masks(&self) -> bool {
        match self.kind {
            SamplerKind::Reveal { .. }
            | SamplerKind::Threshold { .. }
            | SamplerKind::EntropyBound { .. }
            | SamplerKind::Edit { .. } => true,
            SamplerKind::Euler { kernel, .. } => matches!(kernel, EulerKernel::Remask(_)),
            SamplerKind::Speculative { .. } => true,
            SamplerKind::Autoregressive => false,
        }
    }

    /// Whether every token is drawn once, by a law of its own, after all before it: from left to right, or in blocks of one token. A pass
    /// for a block of one token also sees what the checkpoint's attention shows it behind: masks, and the text behind a gap. `own` is the
    /// size of the blocks that the checkpoint was trained in.
    #[must_use]
    pub fn has_token_law(&self, own: Option<usize>) -> bool {
        match self.kind {
            SamplerKind::Autoregressive | SamplerKind::Speculative { .. } => true,
            SamplerKind::Reveal { .. } | SamplerKind::Threshold { .. } | SamplerKind::EntropyBound { .. } => {
                self.block.or(own) == Some(1)
            }
            SamplerKind::Edit { .. } | SamplerKind::Euler { .. } => false,
        }
    }

    /// Whether answers can be kept within a constraint: what is written stays, or goes back to the mask, so that what is open can still be
    /// filled.
    #[must_use]
    pub fn keeps_constraints(&self) -> bool {
        !matches!(self.kind, SamplerKind::Euler { .. })
    }

    /// Whether text is written from left to right under a causal mask, by the law of the next token.
    #[must_use]
    pub fn reads_next_tokens(&self) -> bool {
        matches!(self.kind, SamplerKind::Autoregressive | SamplerKind::Speculative { .. })
    }
}

/// Order of the top-k and top-p filters; the second filter sees only the tokens that the first kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterOrder {
    /// Top-k, then top-p of what remains, as in transformers' warpers.
    TopKFirst,
    /// Top-p, then top-k of what remains, as in CoDA and Dream.
    TopPFirst,
}

/// Sampling methods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SamplerKind {
    /// Reveals the most certain positions first, about as many in every pass.
    Reveal {
        /// Forward passes per block.
        passes: usize,
        /// What counts as certain.
        by: Certainty,
    },
    /// Discrete Euler simulation of the jump process.
    Euler {
        /// Forward passes per block.
        passes: usize,
        /// How a position moves within a pass.
        kernel: EulerKernel,
    },
    /// Reveals every position whose confidence reaches a threshold, and at least the most confident one.
    Threshold {
        /// Confidence in (0, 1).
        threshold: f64,
    },
    /// Reveals as many positions as possible, the lowest entropy first, whose entropies without the largest add up to a bound.
    EntropyBound {
        /// Nats, from 0 on.
        bound: f64,
    },
    /// As `Threshold`, but written tokens that become improbable are masked again.
    Edit {
        /// Confidence in (0, 1) at which a position is revealed.
        threshold: f64,
        /// Probability in (0, 1) below which a written token is masked again, once at each position.
        revise: f64,
    },
    /// One token after another, left to right, under a causal mask.
    Autoregressive,
    /// The same law, several tokens in a pass: drafts from masks, accepted by the law of the next token.
    Speculative {
        /// Masks behind the text in a pass.
        stride: usize,
    },
}

/// How certain a position is, at temperature 1 and before top-k and top-p.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The probability of the drawn token.
    Confidence,
    /// The entropy of the tokens, negated.
    Entropy,
    /// The largest probability minus the second largest.
    Margin,
}

/// How a position moves within a pass of the Euler simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EulerKernel {
    /// It jumps with the exact probability of the path.
    Exact,
    /// As `Exact`, but written tokens may also go back to the mask; only for a mask source.
    Remask(RemaskSettings),
    /// It jumps with the rates at the start of the step, held constant over the step.
    Rate {
        /// Weight c >= 0 of the divergence-free part.
        div_free: f64,
    },
}

/// Probability that a written token goes back to the mask in a step. The schedule sets an upper limit to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RemaskSettings {
    /// The limit, but at most this probability.
    Cap(f64),
    /// This share of the limit.
    Rescale(f64),
}

/// Measures checkpoints. Roles `checkpoint/<stage>` and `rows/<dataset>`.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluateConfig {
    /// Names of the stages whose checkpoints are measured; each has the role `checkpoint/<stage>`.
    pub checkpoints: Vec<String>,
    /// Held-out likelihoods to measure.
    pub held_out: Vec<HeldOut>,
    /// Exact matches to measure.
    pub exact_match: Vec<ExactMatch>,
    /// The stage fails if any of these scores is not reached.
    pub require: Vec<RequiredScore>,
    /// Benchmarks to measure.
    pub benchmarks: Vec<BenchmarkSettings>,
    /// Whether programs may run without a sandbox where there is none, if the command line says so, too.
    pub unsafe_no_sandbox: bool,
}

/// Measures samplers of one checkpoint side by side. Roles as of [`EvaluateConfig`].
#[derive(Clone, Debug, PartialEq)]
pub struct FrontierConfig {
    /// The checkpoint, and a measurement for each sampler as it is declared.
    pub declared: EvaluateConfig,
    /// The measurements: each of those with every threshold and every size of a block that applies.
    pub points: Vec<ExactMatch>,
}

/// Exact match on the held-out instructions of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct ExactMatch {
    /// Name of the dataset.
    pub dataset: String,
    /// Role of its rows.
    pub role: InputRole,
    /// How answers are sampled.
    pub sampler: Sampler,
    /// Number of prompts; the first ones are used. `None`: all.
    pub limit: Option<usize>,
}

/// A score that a checkpoint must reach.
#[derive(Clone, Debug, PartialEq)]
pub struct RequiredScore {
    /// Name of the stage that made the checkpoint.
    pub checkpoint: String,
    /// Smallest acceptable exact match, in [0, 1].
    pub at_least: f64,
}
