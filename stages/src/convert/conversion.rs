//! What a conversion is asked for.

use fmflow_engine::pipeline::config::ConvertConfig;

/// A conversion: what was asked for, and what it needs to know beside the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// What was asked for.
    pub config: ConvertConfig,
    /// Ids that the tokenizer uses: rows 0..used are the known tokens.
    pub used: usize,
    /// BLAKE3 of tokenizer.json, where there is one.
    pub tokenizer: Option<String>,
    /// Seed of new numbers.
    pub seed: u64,
}
