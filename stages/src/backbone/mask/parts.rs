//! Splits rows into parts: query rows that are computed together, and the keys that they may see.

use std::iter::once;
use std::ops::Range;

use burn_tensor::{Tensor, kind::Basic};

use fmflow_engine::pipeline::contract::Attention;

use crate::backbone::context::AttentionContext;

/// Query rows that are computed together, with the keys that they may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backbone) struct MaskPart {
    /// The query rows.
    pub(in crate::backbone) rows: Range<usize>,
    /// Their keys, as ranges one after another.
    pub(in crate::backbone) keys: Vec<Range<usize>>,
}

/// The given ranges of one dimension, concatenated.
pub(in crate::backbone) fn select_ranges<const D: usize, K: Basic>(
    x: Tensor<D, K>,
    dim: usize,
    ranges: &[Range<usize>],
) -> Tensor<D, K> {
    match ranges {
        [all] if *all == (0..x.dims()[dim]) => x,
        [one] => x.narrow(dim, one.start, one.len()),
        _ => {
            let parts = ranges.iter().map(|range| x.clone().narrow(dim, range.start, range.len()));
            Tensor::cat(parts.collect(), dim)
        }
    }
}

/// Blocks of at most `rows` query rows with their keys. A block never crosses the middle of a row with halves.
pub(super) fn split_into_parts(context: &AttentionContext, rows: usize) -> Vec<MaskPart> {
    let length = context.length;
    match (context.attention, &context.positions) {
        (Attention::BlockCausal { block }, Some(positions)) if context.halves && rows < length => {
            let half = length / 2;
            let starts = (0..half).step_by(rows).chain((half..length).step_by(rows));
            let end = |start: usize| if start < half { half } else { length };
            starts
                .map(|start| build_half_part(positions, length, block, start..end(start).min(start + rows)))
                .collect()
        }
        _ => {
            let all =
                |start| MaskPart { rows: start..length.min(start + rows), keys: once(0..length).collect() };
            (0..length).step_by(rows).map(all).collect()
        }
    }
}

/// Query rows of one half, with the smallest ranges that cover all keys they see in any row of the batch.
fn build_half_part(positions: &[u32], length: usize, block: usize, rows: Range<usize>) -> MaskPart {
    let half = length / 2;
    let first = rows.start < half;
    let (mut own, mut clean) = (None, None);
    for row in positions.chunks(length) {
        for i in rows.clone() {
            let (place, position) = (i % half, row[i] as usize);
            // Padding may have arbitrary positions. It sees nothing, so any range will do.
            let document = place.saturating_sub(position);
            let start = document + position / block * block;
            let end = (start + block).min(half);
            if first {
                widen_hull(&mut own, start..end);
                widen_hull(&mut clean, half + document..half + start);
            } else {
                widen_hull(&mut clean, half + document..half + end);
            }
        }
    }
    MaskPart { rows, keys: own.into_iter().chain(clean).collect() }
}

/// Extends `hull` to cover `range`; an empty range adds nothing.
fn widen_hull(hull: &mut Option<Range<usize>>, range: Range<usize>) {
    if range.is_empty() {
        return;
    }
    *hull = Some(match hull.take() {
        None => range,
        Some(old) => old.start.min(range.start)..old.end.max(range.end),
    });
}
