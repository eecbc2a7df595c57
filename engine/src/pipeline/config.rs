//! Typed settings of every kind of stage, as the stages crate receives them: resolved, validated, with defaults filled in.
//!
//! No default or range of a field is written here: `schemas/*.kdl` is the only place for those. Input artifacts are named
//! by *role* (see [`crate::pipeline::role::InputRole`]).

mod adapter;
pub(crate) mod attention;
mod average;
pub mod benchmark;
mod command;
mod contents;
mod dataset;
mod export;
mod fetch;
mod field_pattern;
mod growth;
mod guard;
mod kept;
pub(crate) mod learning_rate;
mod likelihood;
mod precision;
mod prompt;
pub mod sample;
mod sampler_cache;
pub mod teacher;
pub mod train;

use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use adapter::AdapterSettings;
pub use attention::{AttentionSchedule, BlockPhase};
pub use average::AverageConfig;
pub use command::{CommandConfig, CommandInput, PlacedFile};
pub use contents::ContentsConfig;
pub use dataset::{
    ColumnFilter, ComparedTexts, ContaminationCheck, DatasetConfig, DatasetFormat, FileLayout, FilterValue,
    HeldOutPart, TextDocuments, TokenCap, TurnFields,
};
pub use export::{ExportConfig, ExportDtype, ExportFormat};
pub use fetch::FetchConfig;
pub use field_pattern::FieldPattern;
pub use growth::{GrowthSettings, GrowthTokens};
pub use learning_rate::{LearningRate, LearningRateShape};
pub use sample::{
    Certainty, Constraint, ConstraintError, ConstraintSource, EulerKernel, EvaluateConfig, FilterOrder,
    FrontierConfig, FurtherGap, GenerateConfig, Prompt, PromptKind, RemaskSettings, SCHEMA_BYTES, Sampler,
    SamplerCache, SamplerKind,
};
pub use train::TrainConfig;

/// Settings of a stage, by its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum StageConfig {
    /// Brings a checkpoint into the store.
    Fetch(FetchConfig),
    /// Trains a tokenizer or adopts an existing one.
    Tokenizer(TokenizerConfig),
    /// Tokenizes and packs one dataset.
    Rows(Box<RowsConfig>),
    /// Creates a backbone with random weights.
    RandomInit(RandomInitConfig),
    /// Turns an autoregressive checkpoint into a flow checkpoint.
    Convert(ConvertConfig),
    /// Trains a checkpoint.
    Train(Box<TrainConfig>),
    /// Averages the weights of permanent checkpoints.
    Average(AverageConfig),
    /// Measures checkpoints.
    Evaluate(EvaluateConfig),
    /// Measures samplers side by side.
    Frontier(FrontierConfig),
    /// Samples from a checkpoint.
    Generate(GenerateConfig),
    /// Writes a checkpoint for other programs.
    Export(ExportConfig),
    /// Runs a program of the user.
    Command(CommandConfig),
    /// Writes a page about other stages. Roles `reported/<stage>`.
    Report,
}

impl StageConfig {
    /// The KDL node that declares this kind of stage; also its kind in fingerprints and manifests.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "fetch",
            Self::Tokenizer(_) => "tokenizer",
            Self::Rows(_) => "rows",
            Self::RandomInit(_) => "random-init",
            Self::Convert(_) => "convert",
            Self::Train(_) => "train",
            Self::Average(_) => "average",
            Self::Evaluate(_) => "evaluate",
            Self::Frontier(_) => "frontier",
            Self::Generate(_) => "generate",
            Self::Export(_) => "export",
            Self::Command(_) => "command",
            Self::Report => "report",
        }
    }

    /// What the number of a checkpoint of an unfinished stage counts.
    #[must_use]
    pub(crate) fn checkpoint_unit(&self) -> &'static str {
        match self {
            Self::Evaluate(_) => "answer",
            Self::Rows(_) => "shard",
            _ => "update",
        }
    }
}

/// Trains a tokenizer or adopts an existing one.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenizerConfig {
    /// Trains a byte-level BPE on the documents of the stage's sources that are not held out.
    ByteLevelBpe {
        /// Rows of the embedding: ordinary tokens, special tokens and reserved rows.
        vocabulary: usize,
        /// Layout of special tokens; `qwen3` is the only one.
        special: String,
        /// The datasets to train on; each is also a source of the stage, under the same name.
        datasets: Vec<DatasetConfig>,
    },
    /// Absolute path of an existing `tokenizer.json`.
    File(PathBuf),
}

/// Tokenizes and packs one dataset. Role `tokenizer`; the source is named after the dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct RowsConfig {
    /// The dataset to tokenize and pack.
    pub dataset: DatasetConfig,
    /// The other datasets that it is compared with, each once: sources of the stage under their names.
    pub others: Vec<DatasetConfig>,
    /// Tokens in a row.
    pub length: usize,
    /// How documents are packed into rows.
    pub packing: Packing,
    /// Whether the end-of-document token is appended to each document.
    pub end_of_document: bool,
    /// Length in tokens to which an answer and its end of turn are padded; the padding is supervised too. `None`: no padding.
    pub canvas: Option<usize>,
    /// Which tokens at the end of an answer are supervised. `None`: with a canvas all of it, otherwise one.
    pub end_of_turn: Option<EndOfTurn>,
    /// What becomes of names of special tokens. `None`: tokens in conversations, text in documents.
    pub specials: Option<SpecialNames>,
    /// Bytes of source files from which a shard is made, at least.
    pub shard_bytes: u64,
    /// Bytes that the rows of all datasets may take, if they are made while training reads them.
    pub window: Option<NonZeroU64>,
}

/// Which tokens at the end of an answer are supervised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfTurn {
    /// The token that ends the turn.
    Once,
    /// Also padding up to the end of its block.
    ToBlockBoundary {
        /// Tokens in a block, counted from the start of the conversation.
        block: usize,
    },
}

impl EndOfTurn {
    /// Tokens of the blocks to whose end answers are filled; `None` if they are not filled.
    #[must_use]
    pub fn block(self) -> Option<usize> {
        match self {
            Self::Once => None,
            Self::ToBlockBoundary { block } => Some(block),
        }
    }
}

/// What becomes of the name of a special token in what people wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpecialNames {
    /// It is encoded as letters.
    Text,
    /// It becomes the token, unless that is a mask token.
    #[default]
    Token,
}

/// How documents are packed into rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// Documents are concatenated and cut at the row length.
    Concat,
    /// Each document is kept whole, in the first row that has room for it.
    FirstFit,
}

/// Creates a backbone with random weights. Role `tokenizer` gives the vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomInitConfig {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Whether the head shares the embedding's matrix.
    pub tied: bool,
    /// Longest row that the model is declared for (`max_position_embeddings`).
    pub context: usize,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// Epsilon of the RMS norms.
    pub norm_epsilon: f64,
    /// Standard deviation of the initial weights.
    pub initializer_range: f64,
}

/// Turns an autoregressive checkpoint into a flow checkpoint. Role `from`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvertConfig {
    /// Which row of the embedding is the mask token.
    pub mask_token: MaskToken,
    /// Initial value of that row.
    pub mask_row: MaskRow,
    /// How the model is given the time t.
    pub time_conditioning: TimeConditioning,
    /// Whether position i predicts token i + 1, as in the autoregressive checkpoint.
    pub shift: bool,
    /// Largest accepted logit difference from the source checkpoint, relative to its largest logit.
    pub tolerance: f64,
    /// Absolute path of logits of the source checkpoint that another program computed; the stage's source `reference`.
    pub reference: Option<PathBuf>,
    /// Where the tokenizer comes from.
    pub tokenizer: TokenizerChoice,
}

/// Which row of the embedding is the mask token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskToken {
    /// The first row that no token uses.
    Reserved,
    /// This row.
    Id(u32),
}

/// Initial value of the mask token's row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaskRow {
    /// The mean of all used rows, plus normal noise of `noise` standard deviations of each column.
    Mean {
        /// Noise in standard deviations; 0 for none.
        noise: f64,
    },
    /// The value in the source checkpoint.
    Keep,
}

/// How the model is given the time t.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeConditioning {
    /// Not at all: with a mask source the number of masks gives it away.
    #[default]
    None,
    /// Low-rank modulation of every block, initialized to the identity.
    AdaLn {
        /// Rank of the projection.
        rank: usize,
    },
}

/// Where a converted checkpoint's tokenizer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerChoice {
    /// The files beside the weights.
    Beside,
    /// The artifact in role `tokenizer`.
    Named,
    /// No tokenizer; stages that work with text refuse the checkpoint.
    None,
}
