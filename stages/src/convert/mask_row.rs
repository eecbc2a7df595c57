//! Chooses the row of the mask token and sets its initial values.

use fmflow_engine::pipeline::config::{MaskRow, MaskToken};
use indexmap::IndexMap;

use crate::backbone::{EMBEDDING, Qwen3Config};
use crate::convert::conversion::Conversion;
use crate::convert::error::ConvertError;
use crate::rng::{self, RandomPurpose};

/// The id of the mask token, which is also its row in the embedding.
pub(super) fn find_mask_token_row(
    config: &Qwen3Config,
    conversion: &Conversion,
) -> Result<u32, ConvertError> {
    let (used, rows) = (conversion.used, config.vocab_size);
    match conversion.config.mask_token {
        MaskToken::Reserved if used < rows => Ok(used as u32),
        MaskToken::Reserved => Err(ConvertError::NoReservedRow { used, rows }),
        MaskToken::Id(id) if (id as usize) < rows => Ok(id),
        MaskToken::Id(id) => Err(ConvertError::MaskId { id, rows }),
    }
}

/// Sets row `mask` of the embedding as the config asks. If the head is tied, this is the output row too; an untied head
/// keeps its row.
pub(super) fn change_mask_row(
    tensors: &mut IndexMap<String, Vec<f32>>,
    config: &Qwen3Config,
    mask: u32,
    conversion: &Conversion,
) -> Result<(), ConvertError> {
    let MaskRow::Mean { noise } = conversion.config.mask_row else { return Ok(()) };
    if !noise.is_finite() || noise < 0.0 {
        return Err(ConvertError::Option("the noise of the mask row must be a finite number, 0 or more"));
    }
    let (mask, width) = (mask as usize, config.hidden_size);
    let embedding = tensors.get_mut(EMBEDDING).expect("a checkpoint that was read has an embedding");
    let known = |i: &usize| *i < conversion.used && *i != mask;
    let rows: Vec<&[f32]> =
        embedding.chunks_exact(width).enumerate().filter(|(i, _)| known(i)).map(|(_, row)| row).collect();
    if rows.is_empty() {
        return Err(ConvertError::Option(
            "the mean of the known rows needs at least one known token besides the mask token",
        ));
    }
    let mut stream = rng::derive_stream(conversion.seed, RandomPurpose::MaskRow, [0; 3]);
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
