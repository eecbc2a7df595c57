//! What a training stage learns, as plain data.

use fmflow_engine::pipeline::config::GrowthTokens;
use fmflow_engine::pipeline::config::train::{Loss, LossDivisor, LossPositions, TimeSettings};

use crate::data::packing::Row;
use crate::flow::path::Corruptor;
use crate::train::pieces::{RowPiece, split_row_into_pieces};

/// What is learned, with everything that corruption needs.
#[derive(Clone, Debug)]
pub enum TrainingTask {
    /// Position i predicts token i + 1.
    Autoregressive,
    /// The posterior p(x_1 | x_t, t).
    Flow(FlowObjective),
    /// Both halves of causal [x_t, x_0] predict the next token.
    Strided(StridedObjective),
}

/// The objective of causal [x_t, x_0], in which every supervised token of x_t is masked (I-DLM, "Introspective Diffusion Language
/// Models", 2026): CE of the noisy half + w CE of the clean half, over the pairs (i, i + 1) of a document whose second token is
/// supervised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StridedObjective {
    /// Id of the mask token.
    pub mask: u32,
    /// Masks in a row.
    pub stride: usize,
    /// w, the weight of the clean half; `None`: it has no loss.
    pub clean_weight: Option<f64>,
    /// Whether the divisor counts the pairs, or all supervised tokens: the first token of a document has no pair.
    pub normalise: LossDivisor,
}

/// How masks of a text that grows are merged and appended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Probability with which a mask behind another one is merged into it.
    pub merge: f64,
    /// Most masks that are appended to a piece.
    pub delete: usize,
    /// The tokens that the others predict.
    pub tokens: GrowthTokens,
}

/// The flow objective.
#[derive(Clone, Debug)]
pub struct FlowObjective {
    /// Draws x_t.
    pub corruptor: Corruptor,
    /// The kind of loss.
    pub loss: Loss,
    /// Which positions contribute.
    pub over: LossPositions,
    /// Which positions the summed loss is divided by.
    pub normalise: LossDivisor,
    /// Cap of the weight λ(t).
    pub max_weight: Option<f64>,
    /// Distribution of the times.
    pub time: TimeSettings,
    /// Whether position i - 1 predicts position i.
    pub shift: bool,
    /// Whether the backbone is conditioned on time. It takes one time per row, which all pieces of the row then share.
    pub time_per_row: bool,
    /// Tokens in a block of block diffusion, if it is used. Every block then has its own time, and a row passes through the
    /// backbone as [x_t, x_1].
    pub block: Option<usize>,
    /// How text grows, if it does: the source is the mask alone then, and there are no blocks.
    pub growth: Option<Growth>,
}

impl TrainingTask {
    /// The pieces of a row that each have their own time.
    #[must_use]
    pub(crate) fn pieces(&self, row: &Row) -> Vec<RowPiece> {
        split_row_into_pieces(row, self.block())
    }

    /// Tokens in a block of block diffusion, if the task uses it.
    #[must_use]
    pub(crate) fn block(&self) -> Option<usize> {
        match self {
            Self::Autoregressive | Self::Strided(_) => None,
            Self::Flow(flow) => flow.block,
        }
    }

    /// Masks in a row, if rows are causal [x_t, x_0].
    #[must_use]
    pub(super) fn stride(&self) -> Option<usize> {
        match self {
            Self::Strided(strided) => Some(strided.stride),
            Self::Autoregressive | Self::Flow(_) => None,
        }
    }

    /// Whether times are drawn.
    #[must_use]
    pub(crate) fn has_times(&self) -> bool {
        matches!(self, Self::Flow(_))
    }
}
