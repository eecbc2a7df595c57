//! Typed settings of every kind of stage, as the stages crate receives them: resolved, validated, defaults filled.
//!
//! No default, range or documentation of a field is written here: `schemas/*.kdl` is the only place for those.
//! Artifacts are named by *role* (see [`crate::pipeline::stage::Input`]).

pub mod attention;
pub mod learning_rate;
pub mod sample;
pub mod train;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use attention::{AttentionSchedule, BlockPhase};
pub use learning_rate::{LearningRate, LearningRateShape};
pub use sample::{
    EulerKernel, EvaluateConfig, FilterOrder, GenerateConfig, Prompt, PromptKind, RemaskSettings, Sampler,
    SamplerKind,
};
pub use train::TrainConfig;

/// What a stage does.
#[derive(Clone, Debug, PartialEq)]
pub enum StageConfig {
    /// Brings a checkpoint into the store.
    Fetch(FetchConfig),
    /// Trains or takes over a tokenizer.
    Tokenizer(TokenizerConfig),
    /// Tokenizes and packs one dataset.
    Rows(RowsConfig),
    /// Makes a backbone with random weights.
    RandomInit(RandomInitConfig),
    /// Turns an autoregressive checkpoint into a flow checkpoint.
    Convert(ConvertConfig),
    /// Trains a checkpoint.
    Train(Box<TrainConfig>),
    /// Measures checkpoints.
    Evaluate(EvaluateConfig),
    /// Samples from a checkpoint.
    Generate(GenerateConfig),
    /// Writes a checkpoint for other programs.
    Export(ExportConfig),
}

impl StageConfig {
    /// The node name of this kind of stage.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "fetch",
            Self::Tokenizer(_) => "tokenizer",
            Self::Rows(_) => "rows",
            Self::RandomInit(_) => "random-init",
            Self::Convert(_) => "convert",
            Self::Train(_) => "train",
            Self::Evaluate(_) => "evaluate",
            Self::Generate(_) => "generate",
            Self::Export(_) => "export",
        }
    }
}

/// Brings a checkpoint into the store.
#[derive(Clone, Debug, PartialEq)]
pub enum FetchConfig {
    /// A Hugging Face checkpoint folder on this machine (absolute).
    Folder(PathBuf),
    /// A repository on a hub; not supported yet.
    Hub {
        /// `hf:<owner>/<name>`.
        from: String,
        /// Branch, tag or commit.
        revision: Option<String>,
    },
}

/// Trains or takes over a tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenizerConfig {
    /// Trains a byte-level BPE on the documents of the stage's sources that are not held out.
    ByteLevelBpe {
        /// Rows of the embedding: ordinary tokens, special tokens and reserved rows.
        vocabulary: usize,
        /// Layout of special tokens; `qwen3` is the only one.
        special: String,
        /// The datasets it learns from; role: the source of the same name.
        datasets: Vec<DatasetConfig>,
    },
    /// Takes an existing `tokenizer.json` (absolute).
    File(PathBuf),
}

/// A dataset: which files, how they are read.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetConfig {
    /// Its name.
    pub name: String,
    /// How documents are found in a file.
    pub format: DatasetFormat,
    /// Share of documents that no tokenizer and no training row may see, in [0, 1).
    pub held_out: f64,
}

/// How documents are found in a file.
#[derive(Clone, Debug, PartialEq)]
pub enum DatasetFormat {
    /// Plain text.
    Text,
    /// One JSON object a line; `text` is the field that holds the document.
    Jsonl {
        /// Name of the field.
        text: String,
    },
    /// One JSON object a line: a conversation.
    Chat {
        /// Where its turns are.
        turns: TurnFields,
        /// Field that names the kind of task, for scores per task.
        group: Option<String>,
    },
}

/// Where the turns of a conversation are.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnFields {
    /// A question and its answer, each in a field.
    Pair {
        /// Field with the user's turn.
        user: String,
        /// Field with the assistant's turn.
        assistant: String,
    },
    /// Any number of turns, in a list.
    List {
        /// Field with the list.
        messages: String,
    },
}

/// Tokenizes and packs one dataset. Role `tokenizer`; the source is named after the dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct RowsConfig {
    /// What is packed.
    pub dataset: DatasetConfig,
    /// Tokens in a row.
    pub length: usize,
    /// How documents become rows.
    pub packing: Packing,
    /// Whether a document is closed by the end-of-document token.
    pub end_of_document: bool,
    /// Tokens of an answer with its end of turn, padded to this length; supervised. `None`: no padding.
    pub canvas: Option<usize>,
}

/// How documents become rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// Documents one after another, cut at the row's length.
    Concat,
    /// Whole documents, each in the first row with room.
    FirstFit,
}

/// Makes a backbone with random weights. Role `tokenizer` gives the vocabulary.
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
    /// Longest row the model is declared for (`max_position_embeddings`).
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
    /// What that row holds at first.
    pub mask_row: MaskRow,
    /// How the model learns the time t.
    pub time_conditioning: TimeConditioning,
    /// Whether position i predicts token i + 1, as the autoregressive source does.
    pub shift: bool,
    /// Largest logit difference to the source, relative to the largest logit.
    pub tolerance: f64,
    /// Logits of the source that another program made (absolute); the source is called `reference`.
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

/// What the mask token's row holds at first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaskRow {
    /// The mean of all used rows, plus normal noise of `noise` standard deviations of each column.
    Mean {
        /// Noise in standard deviations; 0 for none.
        noise: f64,
    },
    /// What the source holds there.
    Keep,
}

/// How the model learns the time t.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeConditioning {
    /// Not at all: with a mask source the number of masks tells it.
    #[default]
    None,
    /// Modulation of every block that starts at the identity, of this rank.
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
    /// None; work with text then refuses.
    None,
}

/// Writes a checkpoint for other programs, as a Hugging Face folder. Role `from`.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportConfig {
    /// Number format of the weights.
    pub dtype: ExportDtype,
    /// Bytes of weights in one file, at most.
    pub shard_bytes: u64,
}

/// Number formats of exported weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportDtype {
    /// 32-bit float.
    F32,
    /// The upper half of a 32-bit float.
    Bf16,
}
