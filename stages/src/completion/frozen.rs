//! What a posterior remembers of a block that is being written under attention in both directions: keys and values as the block's
//! first pass computed them. Later passes compute the block anew and see the rest as it was then (Fast-dLLM; Wu et al., 2025, section
//! 3.2). The first pass of a block is that without a cache; the others are approximations, because the rest would change with the block.

use std::ops::Range;

use burn_tensor::Tensor;

use super::memory::{find_known, find_room};
use super::row_logits::flatten;
use crate::backbone::{Backbone, BackboneError, KeyValueCache, RewrittenTokens};
use crate::flow::sampler::{Ask, Canvas};
use crate::train::forward::to_int_tensor;

/// What is kept while a block is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrozenExtent {
    /// What stands before the block. What stands behind it is computed with it.
    Before,
    /// What stands before the block, and what stands behind it.
    Around,
}

/// A cache, and the block of each row whose first pass filled it.
#[derive(Debug)]
pub(super) struct FrozenMemory {
    extent: FrozenExtent,
    cache: Option<KeyValueCache>,
    rows: Vec<FrozenRow>,
}

#[derive(Clone, Debug)]
struct FrozenRow {
    /// Which row of the batch it is.
    row: u64,
    /// The block being written; `None` before its first pass.
    block: Option<Range<usize>>,
}

/// Which tokens of each row a pass computes.
struct Work {
    spans: Vec<Range<usize>>,
    /// Whether the pass is the first of a block.
    first: Vec<bool>,
}

impl FrozenMemory {
    pub(super) fn new(extent: FrozenExtent) -> Self {
        Self { extent, cache: None, rows: Vec::new() }
    }

    /// Hidden states of all places, [places, D], in the order of `asks`; with a `shift` those of place i are computed at position i - 1.
    /// A row that was asked stays known for as long as every question is also about it.
    ///
    /// # Errors
    /// As [`Backbone::rewrite`].
    pub(super) fn compute(
        &mut self,
        backbone: &Backbone,
        asks: &[Ask<'_>],
        shift: bool,
        times: Option<&[f32]>,
    ) -> Result<Tensor<2>, BackboneError> {
        self.align(backbone, asks);
        let pass = FrozenPass { backbone, asks, times, work: self.plan(asks, shift) };
        let cache = self.cache.as_mut().expect("a memory that was aligned has a cache");
        let (all, starts) = pass.run(cache)?;
        for (row, ask) in self.rows.iter_mut().zip(asks) {
            row.block = Some(find_block(ask.canvas));
        }
        let places = asks.iter().enumerate().flat_map(|(row, ask)| {
            let (start, skipped) = (starts[row], pass.work.spans[row].start);
            ask.places.iter().map(move |place| (start + find_source(*place, shift) - skipped) as u32)
        });
        let places = to_int_tensor(places, &all.device());
        Ok(all.select(0, places))
    }

    /// What each row needs: all of it in the first pass of a block, then the block, and with a shift the token before it, at which its
    /// first place is computed.
    fn plan(&self, asks: &[Ask<'_>], shift: bool) -> Work {
        let (mut spans, mut first) = (Vec::new(), Vec::new());
        for (row, ask) in self.rows.iter().zip(asks) {
            let (block, length) = (find_block(ask.canvas), ask.canvas.tokens.len());
            let begins = row.block.as_ref() != Some(&block);
            let end = if self.extent == FrozenExtent::Around { block.end } else { length };
            spans.push(if begins { 0..length } else { find_source(block.start, shift)..end });
            first.push(begins);
        }
        Work { spans, first }
    }

    /// Makes the rows those of `asks`, in their order; some may be new.
    fn align(&mut self, backbone: &Backbone, asks: &[Ask<'_>]) {
        let known = find_known(asks, self.rows.iter().map(|row| row.row));
        let kept = known.iter().zip(asks).map(|(known, ask)| known.map(|at| (at, ask.canvas.tokens.len())));
        let kept: Vec<_> = kept.collect();
        self.cache = Some(KeyValueCache::arrange(self.cache.take(), backbone, &kept, find_room(asks)));
        let row = |(known, ask): (&Option<usize>, &Ask<'_>)| {
            known.map_or(FrozenRow { row: ask.row, block: None }, |known| self.rows[known].clone())
        };
        self.rows = known.iter().zip(asks).map(row).collect();
    }
}

/// A pass about some rows.
struct FrozenPass<'a> {
    backbone: &'a Backbone,
    asks: &'a [Ask<'a>],
    times: Option<&'a [f32]>,
    work: Work,
}

/// Rows and their hidden states, [rows, L, D].
type Computed = Result<(Vec<usize>, Tensor<3>), BackboneError>;

impl FrozenPass<'_> {
    /// Hidden states of all that is computed, [tokens, D], and where those of each row begin.
    fn run(&self, cache: &mut KeyValueCache) -> Result<(Tensor<2>, Vec<usize>), BackboneError> {
        let (mut parts, mut starts, mut before) = (Vec::new(), vec![0; self.asks.len()], 0);
        // Whole rows and blocks by themselves: together, the blocks would be padded to the length of the rows.
        for first in [true, false].into_iter().filter(|first| self.work.first.contains(first)) {
            let (rows, hidden) = if first { self.begin_blocks(cache)? } else { self.go_on(cache)? };
            let [count, length, _] = hidden.dims();
            for (at, row) in rows.into_iter().enumerate().filter(|(_, row)| self.work.first[*row] == first) {
                starts[row] = before + at * length;
            }
            before += count * length;
            parts.push(flatten(hidden));
        }
        let all = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) };
        Ok((all, starts))
    }

    /// The first passes of blocks: whole rows, whose keys and values go into the cache.
    fn begin_blocks(&self, cache: &mut KeyValueCache) -> Computed {
        let rows: Vec<usize> = (0..self.asks.len()).filter(|row| self.work.first[*row]).collect();
        let tokens: Vec<&[u32]> = rows.iter().map(|row| self.asks[*row].canvas.tokens.as_slice()).collect();
        let spans: Vec<Range<usize>> = tokens.iter().map(|row| 0..row.len()).collect();
        let times: Option<Vec<f32>> = self.times.map(|times| rows.iter().map(|row| times[*row]).collect());
        let tokens = RewrittenTokens { rows: &tokens, spans: &spans, time: times.as_deref() };
        if rows.len() == self.asks.len() {
            return Ok((rows, self.backbone.rewrite(cache, tokens)?));
        }
        let room = spans.iter().map(Range::len).max().unwrap_or(0);
        let mut own = KeyValueCache::new(self.backbone, rows.len(), room);
        let hidden = self.backbone.rewrite(&mut own, tokens)?;
        for (at, row) in rows.iter().enumerate() {
            let length = spans[at].len();
            cache.copy_in(*row, &own.copy_out(at, length), length);
        }
        Ok((rows, hidden))
    }

    /// The other passes: of rows that begin a block nothing is computed.
    fn go_on(&self, cache: &mut KeyValueCache) -> Computed {
        let rows: Vec<&[u32]> = self.asks.iter().map(|ask| ask.canvas.tokens.as_slice()).collect();
        let spans = self.work.spans.iter().zip(&self.work.first);
        let spans: Vec<Range<usize>> =
            spans.map(|(span, first)| if *first { 0..0 } else { span.clone() }).collect();
        let tokens = RewrittenTokens { rows: &rows, spans: &spans, time: self.times };
        Ok(((0..self.asks.len()).collect(), self.backbone.rewrite(cache, tokens)?))
    }
}

/// The positions from the first that may be written to the last, which are those of the block at work.
fn find_block(canvas: &Canvas) -> Range<usize> {
    let place = |editable: &bool| *editable;
    let first = canvas.editable.iter().position(place).unwrap_or(0);
    first..canvas.editable.iter().rposition(place).map_or(first, |last| last + 1)
}

/// The position at which the logits of place `i` are computed.
pub(super) fn find_source(i: usize, shift: bool) -> usize {
    i.saturating_sub(usize::from(shift))
}
