//! Visibility as intervals: what a query sees of its row is at most two runs of keys.

use std::collections::HashSet;
use std::ops::Range;

use fmflow_engine::pipeline::contract::Attention;

use crate::backbone::context::{AttentionContext, PADDING};

/// The keys that each query sees, as two intervals (from, to, from, to), [B or 1, L, 4]; empty ones are 0..0. One row may
/// serve the whole batch. `None` if intervals cannot say it: pairs were opened, a document lies in several places, or the
/// positions of a document go back.
pub(in crate::backbone) fn build_intervals(context: &AttentionContext) -> Option<Vec<i32>> {
    if context.opened.is_some() {
        return None;
    }
    let cut = context.stride.is_some() || matches!(context.attention, Attention::BlockCausal { .. });
    let uses_positions = cut && context.positions.is_some();
    let rows = if uses_positions || context.segments.is_some() { context.batch } else { 1 };
    let rows = (0..rows).map(|row| TokenRow::new(context, row).build());
    rows.collect::<Option<Vec<_>>>().map(|rows| rows.concat())
}

/// One row of a batch.
struct TokenRow<'a> {
    attention: Attention,
    /// Tokens in a block or a run, if documents are cut.
    size: Option<usize>,
    halves: bool,
    length: usize,
    positions: Option<&'a [u32]>,
    segments: Option<&'a [u32]>,
}

impl<'a> TokenRow<'a> {
    fn new(context: &'a AttentionContext, row: usize) -> Self {
        let range = row * context.length..(row + 1) * context.length;
        Self {
            attention: context.attention,
            size: match context.attention {
                Attention::BlockCausal { block } => Some(block),
                _ => context.stride,
            },
            halves: context.halves,
            length: context.length,
            positions: context.positions.as_ref().map(|positions| &positions[range.clone()]),
            segments: context.segments.as_ref().map(|segments| &segments[range]),
        }
    }

    fn build(&self) -> Option<Vec<i32>> {
        let half = if self.halves { self.length / 2 } else { self.length };
        let mut bounds = vec![0; 4 * self.length];
        for first in (0..self.length).step_by(half) {
            for document in self.find_documents(first..first + half)? {
                for block in self.find_blocks(&document)? {
                    for i in block.clone() {
                        bounds[4 * i..][..4].copy_from_slice(&self.see(i, &block, &document, half));
                    }
                }
            }
        }
        Some(bounds)
    }

    /// The intervals of query `i`, which lies in `block` of `document`.
    fn see(&self, i: usize, block: &Range<usize>, document: &Range<usize>, half: usize) -> [i32; 4] {
        let bounds = match self.attention {
            Attention::Bidirectional => [document.start, document.end, 0, 0],
            Attention::Causal if self.halves && i < half => {
                [block.start, i + 1, half + document.start, half + block.start]
            }
            Attention::Causal => [document.start, i + 1, 0, 0],
            Attention::BlockCausal { .. } if self.halves && i < half => {
                [block.start, block.end, half + document.start, half + block.start]
            }
            Attention::BlockCausal { .. } => [document.start, block.end, 0, 0],
        };
        bounds.map(|bound| bound as i32)
    }

    /// Documents within `range`, without padding; `None` if one lies in several places.
    fn find_documents(&self, range: Range<usize>) -> Option<Vec<Range<usize>>> {
        let Some(segments) = self.segments else { return Some(vec![range]) };
        let (mut documents, mut known) = (Vec::new(), HashSet::new());
        let mut start = range.start;
        for run in segments[range].chunk_by(|a, b| a == b) {
            if run[0] != PADDING {
                known.insert(run[0]).then_some(())?;
                documents.push(start..start + run.len());
            }
            start += run.len();
        }
        Some(documents)
    }

    /// Blocks or runs of a document, if it is cut, else the document; `None` if the positions go back.
    fn find_blocks(&self, document: &Range<usize>) -> Option<Vec<Range<usize>>> {
        let Some(size) = self.size else { return Some(vec![document.clone()]) };
        let number = |i: usize| self.positions.map_or(i, |positions| positions[i] as usize) / size;
        let places: Vec<usize> = document.clone().collect();
        if !places.is_sorted_by_key(|i| number(*i)) {
            return None;
        }
        Some(
            places
                .chunk_by(|a, b| number(*a) == number(*b))
                .map(|run| run[0]..run[run.len() - 1] + 1)
                .collect(),
        )
    }
}
