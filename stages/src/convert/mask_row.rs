//! Chooses the row of the mask token and sets its initial values.

use fmflow_engine::pipeline::config::{MaskRow, MaskToken};

use crate::backbone::Qwen3Config;
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

/// New values for the row of the mask token.
pub(super) struct MaskRowChange {
    mask: usize,
    used: usize,
    width: usize,
    noise: f64,
    seed: u64,
}

/// What changes in the row of the mask token, if anything does.
///
/// # Errors
/// If the noise is no number, or no known token has a row to start from.
pub(super) fn prepare_change(
    config: &Qwen3Config,
    mask: u32,
    conversion: &Conversion,
) -> Result<Option<MaskRowChange>, ConvertError> {
    let MaskRow::Mean { noise } = conversion.config.mask_row else { return Ok(None) };
    if !noise.is_finite() || noise < 0.0 {
        return Err(ConvertError::Option("the noise of the mask row must be a finite number, 0 or more"));
    }
    let (mask, used, width) = (mask as usize, conversion.used, config.hidden_size);
    if (0..used.min(config.vocab_size)).all(|row| row == mask) {
        return Err(ConvertError::Option(
            "the mean of the known rows needs at least one known token besides the mask token",
        ));
    }
    Ok(Some(MaskRowChange { mask, used, width, noise, seed: conversion.seed }))
}

impl MaskRowChange {
    /// Sets the row in `embedding`, [V, D]. If the head is tied, this is the output row too; an untied head keeps its row.
    pub(super) fn apply(&self, embedding: &mut [f32]) {
        let Self { mask, used, width, noise, seed } = *self;
        let rows = || embedding.chunks_exact(width).take(used).enumerate().filter(|(i, _)| *i != mask);
        let count = rows().count() as f64;
        let kept = || rows().map(|(_, row)| row);
        let sums = sum_columns(kept(), width, |_, x| f64::from(x));
        let means: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
        let squares = sum_columns(kept(), width, |j, x| (f64::from(x) - means[j]).powi(2));
        let mut stream = rng::derive_stream(seed, RandomPurpose::MaskRow, [0; 3]);
        let value =
            |(mean, square): (&f64, &f64)| (mean + noise * (square / count).sqrt() * stream.normal()) as f32;
        let row: Vec<f32> = means.iter().zip(&squares).map(value).collect();
        embedding[mask * width..][..width].copy_from_slice(&row);
    }
}

/// The sums of `term(column, value)` by column. Each is taken from the first row to the last, but row by row, as they lie in memory.
fn sum_columns<'a>(
    rows: impl Iterator<Item = &'a [f32]>,
    width: usize,
    term: impl Fn(usize, f32) -> f64,
) -> Vec<f64> {
    // The neutral value of `Iterator::sum`, so that sums of -0 stay what they were.
    let mut sums = vec![-0.0; width];
    for row in rows {
        sums.iter_mut().zip(row).enumerate().for_each(|(j, (sum, x))| *sum += term(j, *x));
    }
    sums
}
