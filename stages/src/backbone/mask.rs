//! Which tokens may attend to which, as the additive mask of a block of query rows.
//!
//! Key j is visible from query i if both belong to one document and
//!
//! | attention | rule |
//! |---|---|
//! | causal | j <= i |
//! | bidirectional | always |
//! | block-causal | b(j) <= b(i) |
//! | block-causal, halves | M_BD: b(j) = b(i), both in the first half |
//! | | M_OBC: b(j) < b(i), i in the first half, j in the second |
//! | | M_BC: b(j) <= b(i), both in the second half |
//! | causal, halves | b(j) = b(i) and j <= i, both in the first half |
//! | | b(j) < b(i), i in the first half, j in the second |
//! | | j <= i, both in the second half |
//! | causal, opened | j <= i, or the bit of (i, j) is set |
//!
//! with b(i) = position of i in its document / block size or stride. The halves are x_t and x_0 of block diffusion (Arriola et al.,
//! "Block Diffusion", 2025, section 3). All but the last are intervals of keys ([`build_intervals`]), unless a
//! document lies in several places or its positions go back. For the rest a rule is
//! stored as one or two numbers per token, and a mask is computed for one block of query rows at a time, so an [L, L] mask
//! never exists for long rows.

mod intervals;

use std::ops::Range;

use burn_tensor::{Bool, Device, Int, Tensor, TensorData};

pub(super) use intervals::build_intervals;

use fmflow_engine::pipeline::contract::Attention;

use super::context::{AttentionContext, PADDING};

/// The keys that each query sees, as two intervals (from, to, from, to), [B or 1, L, 4]; `None` if intervals cannot say it.
#[must_use]
pub fn find_visible_keys(context: &AttentionContext) -> Option<Vec<i32>> {
    build_intervals(context)
}

/// Rows up to this many tokens use one mask and one score matrix; longer rows are computed in blocks of query rows.
const WHOLE: usize = 512;

/// Query rows per block in rows longer than [`WHOLE`].
const QUERY_BLOCK: usize = 256;

/// Added to forbidden scores. exp underflows to 0; unlike -inf, a row with nothing to attend to stays finite.
const FORBIDDEN: f32 = -1e9;

/// Bits in a word of [`AttentionContext::opened`].
pub(crate) const WORD: usize = 32;

/// Makes the additive mask of a block of query rows.
#[derive(Clone, Debug)]
pub(super) struct AttentionMask {
    rule: MaskRule,
    blocks: Vec<Range<usize>>,
    /// The mask of all rows if there is only one block, computed once for all layers.
    whole: Option<Tensor<5>>,
}

impl AttentionMask {
    pub(super) fn new(context: &AttentionContext, device: &Device) -> Self {
        let rows = if context.length <= WHOLE { context.length } else { QUERY_BLOCK };
        Self::cut(context, rows, device)
    }

    /// A mask for blocks of `rows` query rows.
    fn cut(context: &AttentionContext, rows: usize, device: &Device) -> Self {
        let (rule, length) = (MaskRule::new(context, device), context.length);
        let blocks: Vec<_> = (0..length).step_by(rows).map(|start| start..length.min(start + rows)).collect();
        let whole = (blocks.len() == 1).then(|| rule.bias(&blocks[0]));
        Self { rule, blocks, whole }
    }

    /// Blocks of query rows, in order.
    pub(super) fn blocks(&self) -> &[Range<usize>] {
        &self.blocks
    }

    /// The additive mask of a block of query rows.
    ///
    /// # Shapes
    /// Returns [B or 1, 1, 1, rows, L].
    pub(super) fn bias(&self, rows: &Range<usize>) -> Tensor<5> {
        self.whole.clone().unwrap_or_else(|| self.rule.bias(rows))
    }
}

/// One number per token in its role as query and one in its role as key, [B or 1, L] each.
#[derive(Clone, Debug)]
struct MaskSides {
    query: Tensor<2, Int>,
    key: Tensor<2, Int>,
}

impl MaskSides {
    fn new(query: Vec<i32>, key: Vec<i32>, length: usize, device: &Device) -> Self {
        let tensor = |ids: Vec<i32>| {
            let rows = ids.len() / length;
            Tensor::from_data(TensorData::new(ids, [rows, length]), device)
        };
        Self { query: tensor(query), key: tensor(key) }
    }

    /// Queries and keys of a block of query rows, [B or 1, rows, L] each.
    fn grid(&self, rows: &Range<usize>) -> [Tensor<3, Int>; 2] {
        let [batch, keys] = self.query.dims();
        let shape = [batch, rows.len(), keys];
        let query = self.query.clone().narrow(1, rows.start, rows.len()).reshape([batch, rows.len(), 1]);
        [query.expand(shape), self.key.clone().reshape([batch, 1, keys]).expand(shape)]
    }
}

/// The inputs of the mask. An absent part forbids or allows nothing.
#[derive(Clone, Debug)]
struct MaskRule {
    /// Visible where key <= query.
    order: Option<MaskSides>,
    /// Also visible where key = query.
    own: Option<MaskSides>,
    /// Also visible where the bit is set, [B, L, words].
    opened: Option<Tensor<3, Int>>,
    /// Never visible unless key = query.
    segments: Option<MaskSides>,
}

impl MaskRule {
    fn new(context: &AttentionContext, device: &Device) -> Self {
        let length = context.length;
        let order = build_order_sides(context).map(|(query, key)| MaskSides::new(query, key, length, device));
        let own =
            build_own_block_sides(context).map(|(query, key)| MaskSides::new(query, key, length, device));
        let opened = context.opened.as_ref().map(|words| {
            let shape = [context.batch, length, length.div_ceil(WORD)];
            let words: Vec<i32> = words.iter().map(|word| word.cast_signed()).collect();
            Tensor::from_data(TensorData::new(words, shape), device)
        });
        let segments = context.segments.as_ref().filter(|s| s.iter().any(|x| *x != s[0])).map(|segments| {
            // Padding gets a different id on each side, so it matches nothing, not even other padding.
            let side = |padding: i32| {
                segments.iter().map(|&s| if s == PADDING { padding } else { s.cast_signed() }).collect()
            };
            MaskSides::new(side(-1), side(-2), length, device)
        });
        Self { order, own, opened, segments }
    }

    fn bias(&self, rows: &Range<usize>) -> Tensor<5> {
        let segments = self.segments.as_ref().map(|sides| {
            let [query, key] = sides.grid(rows);
            key.not_equal(query)
        });
        let forbidden = match (self.beyond(rows), segments) {
            (Some(order), Some(segments)) => combine_masks(segments, order, Tensor::bool_or),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => unreachable!("what is visible everywhere is an interval"),
        };
        let [batch, rows, keys] = forbidden.dims();
        (forbidden.float() * FORBIDDEN).reshape([batch, 1, 1, rows, keys])
    }

    /// Pairs that the order of tokens within a document forbids.
    fn beyond(&self, rows: &Range<usize>) -> Option<Tensor<3, Bool>> {
        let [query, key] = self.order.as_ref()?.grid(rows);
        let mut forbidden = key.greater(query);
        if let Some(own) = &self.own {
            let [query, key] = own.grid(rows);
            forbidden = forbidden.bool_and(key.not_equal(query));
        }
        if let Some(words) = &self.opened {
            forbidden = combine_masks(find_closed_pairs(words, rows), forbidden, Tensor::bool_and);
        }
        Some(forbidden)
    }
}

/// Applies `f` to two masks. The second may have a batch of 1 that serves all rows.
fn combine_masks(
    x: Tensor<3, Bool>,
    y: Tensor<3, Bool>,
    f: fn(Tensor<3, Bool>, Tensor<3, Bool>) -> Tensor<3, Bool>,
) -> Tensor<3, Bool> {
    let shape = x.dims();
    f(x, y.expand(shape))
}

/// Pairs whose bit is not set.
///
/// # Shapes
/// `words`: [B, L, words]; returns [B, rows, L].
fn find_closed_pairs(words: &Tensor<3, Int>, rows: &Range<usize>) -> Tensor<3, Bool> {
    let [batch, length, count] = words.dims();
    let (start, rows) = (rows.start, rows.len());
    let places: Vec<i32> = (0..WORD as i32).collect();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [WORD]), &words.device());
    let shape = [batch, rows, count, WORD];
    let words = words.clone().narrow(1, start, rows).reshape([batch, rows, count, 1]).expand(shape);
    let bits = words.bitwise_right_shift(places.reshape([1, 1, 1, WORD]).expand(shape)).bitwise_and_scalar(1);
    bits.reshape([batch, rows, count * WORD]).narrow(2, 0, length).equal_elem(0)
}

/// (query, key) numbers such that the order allows exactly the pairs with key <= query; one row may serve the whole batch.
fn build_order_sides(context: &AttentionContext) -> Option<(Vec<i32>, Vec<i32>)> {
    let length = context.length;
    let same = |ids: Vec<i32>| (ids.clone(), ids);
    match context.attention {
        Attention::Bidirectional => None,
        Attention::Causal => Some(same((0..length as i32).collect())),
        Attention::BlockCausal { block } if !context.halves => Some(same(number_blocks(context, block))),
        Attention::BlockCausal { block } => {
            let ids = number_blocks(context, block);
            // A query of the first half sees only blocks before its own (M_OBC). No query sees a key of the first half by
            // order; `build_own_block_sides` opens those (M_BD).
            let first = |i: usize| i % length < length / 2;
            let query = ids.iter().enumerate().map(|(i, b)| if first(i) { b - 1 } else { *b });
            let key = ids.iter().enumerate().map(|(i, b)| if first(i) { i32::MAX } else { *b });
            Some((query.collect(), key.collect()))
        }
    }
}

/// (query, key) numbers such that key = query is visible whatever the order says: the blocks of the first half.
fn build_own_block_sides(context: &AttentionContext) -> Option<(Vec<i32>, Vec<i32>)> {
    let (Attention::BlockCausal { block }, true) = (context.attention, context.halves) else { return None };
    let (ids, length) = (number_blocks(context, block), context.length);
    let side = |unmatched: i32| {
        let id = |(i, b): (usize, &i32)| if i % length < length / 2 { *b } else { unmatched };
        ids.iter().enumerate().map(id).collect()
    };
    Some((side(-1), side(-2)))
}

/// The block number of each token within its document, [B or 1, L].
fn number_blocks(context: &AttentionContext, block: usize) -> Vec<i32> {
    match &context.positions {
        Some(positions) => positions.iter().map(|p| (*p as usize / block) as i32).collect(),
        None => (0..context.length).map(|i| (i / block) as i32).collect(),
    }
}

#[cfg(test)]
mod tests;
