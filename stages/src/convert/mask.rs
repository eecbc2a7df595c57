//! The row of the mask token.

use indexmap::IndexMap;

use super::{ConvertError, Options};
use crate::backbone::{EMBEDDING, Qwen3Config};
use crate::rng::{self, Purpose};

/// Which row of the embedding is the mask token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskToken {
    /// The first row beyond the ids that the tokenizer uses.
    Reserved,
    /// An explicit id.
    Id(u32),
}

/// What the row of the mask token becomes.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskRow {
    /// What it was.
    Keep,
    /// The mean of the rows of all known tokens, plus normal noise of `noise` standard deviations of each column.
    Mean {
        /// Noise in standard deviations; 0 for none.
        noise: f64,
    },
}

/// The id of the mask token.
pub(super) fn row(config: &Qwen3Config, options: &Options) -> Result<u32, ConvertError> {
    let (used, rows) = (options.used, config.vocab_size);
    match options.mask {
        MaskToken::Reserved if used < rows => Ok(used as u32),
        MaskToken::Reserved => Err(ConvertError::NoReservedRow { used, rows }),
        MaskToken::Id(id) if (id as usize) < rows => Ok(id),
        MaskToken::Id(id) => Err(ConvertError::MaskId { id, rows }),
    }
}

/// Applies the policy to row `mask` of the embedding; where tied, that is the output row too. An untied head keeps its row.
pub(super) fn change(
    tensors: &mut IndexMap<String, Vec<f32>>,
    config: &Qwen3Config,
    mask: u32,
    options: &Options,
) -> Result<(), ConvertError> {
    let MaskRow::Mean { noise } = options.row else { return Ok(()) };
    if !noise.is_finite() || noise < 0.0 {
        return Err(ConvertError::Option("the noise of the mask row is a number of at least 0"));
    }
    let (mask, width) = (mask as usize, config.hidden_size);
    let Some(embedding) = tensors.get_mut(EMBEDDING) else { return Ok(()) };
    let known = |i: &usize| *i < options.used && *i != mask;
    let rows: Vec<&[f32]> =
        embedding.chunks_exact(width).enumerate().filter(|(i, _)| known(i)).map(|(_, row)| row).collect();
    if rows.is_empty() {
        return Err(ConvertError::Option("a mean needs at least one known token"));
    }
    let mut stream = rng::stream(options.seed, Purpose::MaskRow, [0; 3]);
    let column = |j: usize| {
        let count = rows.len() as f64;
        let mean = rows.iter().map(|row| f64::from(row[j])).sum::<f64>() / count;
        let square = rows.iter().map(|row| (f64::from(row[j]) - mean).powi(2)).sum::<f64>() / count;
        (mean + noise * square.sqrt() * stream.normal()) as f32
    };
    let row: Vec<f32> = (0..width).map(column).collect();
    embedding[mask * width..][..width].copy_from_slice(&row);
    Ok(())
}
