//! Settings of the stages that sample: evaluate and generate.

use crate::pipeline::role::InputRole;

/// How text is drawn from a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampler {
    /// Name given in the file, for reports.
    pub name: String,
    /// The method.
    pub kind: SamplerKind,
    /// Softmax temperature; 0 is the arg max.
    pub temperature: f64,
    /// Keeps the k most probable tokens.
    pub top_k: Option<usize>,
    /// Keeps the smallest set of tokens with this probability.
    pub top_p: Option<f64>,
    /// Which of the two cuts first.
    pub order: FilterOrder,
    /// Tokens that are written before the next ones; `None`: the block that the checkpoint was trained with, if any.
    pub block: Option<usize>,
}

impl Sampler {
    /// Whether it has to see which positions are noise: then the source has to be the mask alone.
    #[must_use]
    pub fn reveals_masks(&self) -> bool {
        match self.kind {
            SamplerKind::Confidence { .. } | SamplerKind::Threshold { .. } => true,
            SamplerKind::Euler { kernel, .. } => matches!(kernel, EulerKernel::Remask(_)),
            SamplerKind::Autoregressive => false,
        }
    }
}

/// Which of top-k and top-p cuts first; the second sees what the first has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterOrder {
    /// Top-k, then top-p of its rest: transformers' warpers.
    TopKFirst,
    /// Top-p, then top-k: CoDA and Dream.
    TopPFirst,
}

/// Methods of drawing text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SamplerKind {
    /// Reveals the most confident positions first, in this many solver steps.
    Confidence {
        /// Forward passes, of every block.
        steps: usize,
    },
    /// Discrete Euler simulation of the jump process.
    Euler {
        /// Forward passes, of every block.
        steps: usize,
        /// How a position moves within a step.
        kernel: EulerKernel,
    },
    /// Reveals every position above a confidence; not supported yet.
    Threshold {
        /// Confidence in (0, 1).
        threshold: f64,
    },
    /// One token after another under a causal mask.
    Autoregressive,
}

/// How a position moves within a step of the Euler simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EulerKernel {
    /// With the exact probability of the path.
    Exact,
    /// The same schedule, and data goes back to the mask; a mask source only.
    Remask(RemaskSettings),
    /// With constant rates over the step, those of its start.
    Rate {
        /// Weight c >= 0 of the divergence-free part.
        div_free: f64,
    },
}

/// How likely a written token goes back to the mask in a step, below the largest probability that the schedule allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RemaskSettings {
    /// This probability at most.
    Cap(f64),
    /// This share of the largest one.
    Rescale(f64),
}

/// Measures checkpoints. Roles `checkpoint/<stage>` and `rows/<dataset>`.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluateConfig {
    /// Stages whose checkpoints are measured; role `checkpoint/<stage>`.
    pub checkpoints: Vec<String>,
    /// Held-out likelihoods.
    pub held_out: Vec<HeldOut>,
    /// Exact match on held-out instructions.
    pub exact_match: Vec<ExactMatch>,
    /// Scores below which the stage fails.
    pub require: Vec<RequiredScore>,
    /// Names of code benchmarks; not supported yet.
    pub benchmarks: Vec<String>,
}

/// Held-out likelihood of a dataset: the ELBO per token (generalized KL for a uniform or mixed source), unclamped.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOut {
    /// Name of the dataset.
    pub dataset: String,
    /// Role of its rows.
    pub role: InputRole,
    /// Stratified times t per row.
    pub times: usize,
    /// Held-out rows, the first ones.
    pub rows: usize,
}

/// Exact match on the held-out instructions of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct ExactMatch {
    /// Name of the dataset.
    pub dataset: String,
    /// Role of its rows.
    pub role: InputRole,
    /// How answers are drawn.
    pub sampler: Sampler,
    /// Prompts used, the first ones; `None`: all.
    pub limit: Option<usize>,
}

/// A score that a checkpoint must reach.
#[derive(Clone, Debug, PartialEq)]
pub struct RequiredScore {
    /// Name of the stage.
    pub checkpoint: String,
    /// Smallest acceptable exact match, in [0, 1].
    pub at_least: f64,
}

/// Samples from a checkpoint. Role `from`.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateConfig {
    /// What is asked, in the order of the text.
    pub prompts: Vec<Prompt>,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What is asked.
    pub kind: PromptKind,
    /// How it is drawn.
    pub sampler: Sampler,
    /// Largest number of new tokens; `None`: the canvas that the checkpoint was trained with.
    pub new_tokens: Option<usize>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptKind {
    /// A user's turn, rendered by the chat template.
    Chat(String),
    /// Text to continue.
    Text(String),
    /// The text between a prefix and a suffix; `new_tokens` long.
    Infill {
        /// Text before.
        prefix: String,
        /// Text after.
        suffix: String,
    },
}
