//! The inputs of a conversion besides the weights.

use fmflow_engine::pipeline::config::ConvertConfig;

/// The inputs of a conversion besides the weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conversion {
    /// The settings of the `convert` stage.
    pub config: ConvertConfig,
    /// Number of ids that the tokenizer uses: rows 0..used of the embedding are known tokens.
    pub used: usize,
    /// BLAKE3 of `tokenizer.json`, if there is one.
    pub tokenizer: Option<String>,
    /// Seed of all newly drawn values.
    pub seed: u64,
}
