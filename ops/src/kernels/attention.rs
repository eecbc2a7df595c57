//! Attention that never holds the scores of more than one tile.
//!
//! Query i of a row sees the keys j in [a, b) or [c, d), its two intervals. Forward (Dao et al., "FlashAttention", 2022,
//! algorithm 1; the online softmax is Milakov and Gimelshein's, 2018): tile by tile of [`KEYS`] keys,
//!
//! ```text
//! s_j = q . k_j / sqrt(h)        m' = max(m, max_j s_j)
//! l' = l e^(m - m') + sum_j e^(s_j - m')        o' = o e^(m - m') + sum_j e^(s_j - m') v_j
//! ```
//! and at the end o / l. Backward recomputes p_j = e^(s_j - m) / l from the saved m and 1 / l:
//!
//! ```text
//! dv_j = sum_i p_ij do_i        ds_ij = p_ij (do_i . v_j - do_i . o_i)
//! dq_i = sum_j ds_ij k_j / sqrt(h)        dk_j = sum_i ds_ij q_i / sqrt(h)
//! ```
//! Tiles that no query of a tile sees are skipped. A query that sees nothing (padding) has output and gradient 0.
//!
//! There may be more keys than queries: those of tokens before, which a cache kept. As tiles are cut by the number of the key
//! alone, a query has the same output, bit by bit, with the queries of those tokens and without them.
//!
//! Query heads that share a key head stand side by side: *lane* r of a tile is token r / g, head r mod g of the group.

mod backward;
mod forward;
#[cfg(test)]
mod tests;
mod tiles;

#[cfg(test)]
use backward::Gradients;
pub(crate) use backward::compute_gradients;
pub(crate) use forward::attend;

/// Keys in a tile; every sum over keys or queries is cut at its multiples.
const KEYS: usize = 64;

/// Query tokens for which tiles of keys are chosen together.
const QUERIES: usize = 64;

/// m of a query that has seen nothing. Finite, so that differences to it are.
const NOTHING: f32 = -1e30;

/// Sizes of queries [B, L, H, h], keys and values [B, S, K, h].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// B.
    pub(crate) batch: usize,
    /// L, queries in a row.
    pub(crate) length: usize,
    /// S, keys in a row; more than L if some were computed before.
    pub(crate) keys: usize,
    /// H, a multiple of K.
    pub(crate) heads: usize,
    /// K, heads of keys and values.
    pub(crate) shared: usize,
    /// h.
    pub(crate) width: usize,
}

impl Shape {
    /// Query heads that share a key head.
    fn group(&self) -> usize {
        self.heads / self.shared
    }

    /// About the number of vector operations of a forward pass over whole rows.
    fn cost(&self) -> usize {
        self.batch * self.length * self.heads * self.keys.saturating_mul(self.width) / 8
    }

    /// Factor of the scores.
    fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// Values of one batch row of queries.
    fn query_row(&self) -> usize {
        self.length * self.heads * self.width
    }

    /// Values of one batch row of keys.
    fn key_row(&self) -> usize {
        self.keys * self.shared * self.width
    }
}

/// Inputs of attention, and which keys each query sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    /// Sizes.
    pub(crate) shape: Shape,
    /// [B, L, H, h].
    pub(crate) queries: &'a [f32],
    /// [B, S, K, h].
    pub(crate) keys: &'a [f32],
    /// [B, S, K, h].
    pub(crate) values: &'a [f32],
    /// Two intervals per query, [B or 1, L, 4].
    pub(crate) visible: &'a [i32],
}

impl<'a> Inputs<'a> {
    /// The number of keys of batch row `b` up to the last one that is seen. What follows is not read.
    fn count_seen(&self, b: usize) -> usize {
        let ends = self.visible_row(b).iter().flat_map(|[_, first, _, second]| [*first, *second]);
        self.shape.keys.min(ends.max().map_or(0, |end| end.max(0) as usize))
    }

    /// The intervals of the queries of batch row `b`, [L, 4].
    fn visible_row(&self, b: usize) -> &'a [[i32; 4]] {
        let (all, _) = self.visible.as_chunks::<4>();
        match all.len() == self.shape.length {
            true => all,
            false => &all[b * self.shape.length..][..self.shape.length],
        }
    }
}

/// The output, and what the backward pass needs besides.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// [B, L, H, h].
    pub(crate) mixed: Vec<f32>,
    /// m and 1 / l of every query, [B, L, H, 2]; 1 / l is 0 if a query sees nothing.
    pub(crate) statistics: Vec<f32>,
}

impl Output {
    #[cfg(test)]
    fn saved(&self) -> Saved<'_> {
        Saved { mixed: &self.mixed, statistics: &self.statistics }
    }
}

/// An [`Output`] as slices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saved<'a> {
    /// [B, L, H, h].
    pub(crate) mixed: &'a [f32],
    /// [B, L, H, 2].
    pub(crate) statistics: &'a [f32],
}
