//! Which query rows are computed together, and which keys they may see at all.

use std::iter::once;
use std::ops::Range;

use burn_tensor::{Tensor, kind::Basic};

use fmflow_engine::pipeline::contract::Attention;

use crate::backbone::context::Context;

/// Query rows that are computed together, with the keys that they may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backbone) struct Part {
    /// The query rows.
    pub(in crate::backbone) rows: Range<usize>,
    /// Their keys, as ranges one after another.
    pub(in crate::backbone) keys: Vec<Range<usize>>,
}

/// The ranges of one dimension, one after another.
pub(in crate::backbone) fn pick<const D: usize, K: Basic>(
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

/// Blocks of at most `rows` query rows with their keys. A block lies in one half.
pub(super) fn parts(context: &Context, rows: usize) -> Vec<Part> {
    let length = context.length;
    match (context.attention, &context.positions) {
        (Attention::BlockCausal { block }, Some(positions)) if context.halves && rows < length => {
            let half = length / 2;
            let starts = (0..half).step_by(rows).chain((half..length).step_by(rows));
            let end = |start: usize| if start < half { half } else { length };
            starts
                .map(|start| in_half(positions, length, block, start..end(start).min(start + rows)))
                .collect()
        }
        _ => {
            let all = |start| Part { rows: start..length.min(start + rows), keys: once(0..length).collect() };
            (0..length).step_by(rows).map(all).collect()
        }
    }
}

/// Query rows of one half, with the hull of the keys that they see in any row of the batch.
fn in_half(positions: &[u32], length: usize, block: usize, rows: Range<usize>) -> Part {
    let half = length / 2;
    let first = rows.start < half;
    let (mut own, mut clean) = (None, None);
    for row in positions.chunks(length) {
        for i in rows.clone() {
            let (place, position) = (i % half, row[i] as usize);
            // What is not a document (padding with positions of its own making) sees nothing: any hull will do.
            let document = place.saturating_sub(position);
            let start = document + position / block * block;
            let end = (start + block).min(half);
            if first {
                widen(&mut own, start..end);
                widen(&mut clean, half + document..half + start);
            } else {
                widen(&mut clean, half + document..half + end);
            }
        }
    }
    Part { rows, keys: own.into_iter().chain(clean).collect() }
}

/// The hull of both ranges; an empty one adds nothing.
fn widen(hull: &mut Option<Range<usize>>, range: Range<usize>) {
    if range.is_empty() {
        return;
    }
    *hull = Some(match hull.take() {
        None => range,
        Some(old) => old.start.min(range.start)..old.end.max(range.end),
    });
}
