//! Attention, a tile of queries at a time: two products of matrices with a kernel for rows between them, and in the backward
//! pass five. Keys that no query of the tile sees are left out of the products. What is saved is one number per query and head.
//!
//! The scores of a tile are in memory, so products run as fast as the library's do, and memory grows linearly with the row.

use burn_backend::ops::FloatTensorOps;
use burn_backend::{DType, Shape, Slice, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::launch::empty;
use super::product::{factor_type, multiply, narrow, reshape, round, transpose};
use super::softmax::{self, QueryTile};
use crate::extension::AttentionInputs;
use crate::{Intervals, Precision};

/// The most scores that exist at once, in values: 512 MiB of f32.
const SCORE_VALUES: usize = 1 << 27;

/// Sizes of the inputs.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    length: usize,
    keys: usize,
    heads: usize,
    shared: usize,
    width: usize,
}

impl Sizes {
    fn new(inputs: &AttentionInputs<CubeBackend>) -> Self {
        let [batch, length, heads, width] = inputs.queries.shape().dims::<4>();
        let [_, keys, shared, _] = inputs.keys.shape().dims::<4>();
        Self { batch, length, keys, heads, shared, width }
    }

    /// Heads of queries that share one of keys.
    fn group(&self) -> usize {
        self.heads / self.shared
    }

    fn scale(&self) -> f64 {
        (self.width as f64).powf(-0.5)
    }

    /// Tiles of queries whose scores fit.
    fn tiles(&self, visible: &Intervals) -> Vec<QueryTile> {
        let size = (SCORE_VALUES / (self.batch * self.heads * self.keys).max(1)).clamp(1, self.length);
        let tile = |first: usize| {
            let count = size.min(self.length - first);
            let window = visible.window(first, count);
            QueryTile {
                first,
                count,
                from: window.start,
                width: window.len(),
                length: self.length,
                rows_of_one: self.heads * count,
                interval_rows: visible.rows(),
            }
        };
        (0..self.length).step_by(size).map(tile).collect()
    }

    /// [B, L, H, h] as [B K, H / K, L, h], in the type of factors.
    fn fold(&self, x: &CubeTensor, precision: Precision) -> CubeTensor {
        let x = CubeBackend::float_swap_dims(round(x, precision), 1, 2);
        reshape(x, [self.batch * self.shared, self.group(), self.length, self.width])
    }

    /// [B, S, K, h] as [B K, S, h], in the type of factors.
    fn fold_keys(&self, x: &CubeTensor, precision: Precision) -> CubeTensor {
        let x = CubeBackend::float_swap_dims(round(x, precision), 1, 2);
        reshape(x, [self.batch * self.shared, self.keys, self.width])
    }

    /// Tiles of [B K, H / K, count, h] joined to [B, L, H, h].
    fn unfold(&self, tiles: Vec<CubeTensor>) -> CubeTensor {
        let joined =
            reshape(CubeBackend::float_cat(tiles, 2), [self.batch, self.heads, self.length, self.width]);
        burn_cubecl::kernel::into_contiguous(CubeBackend::float_swap_dims(joined, 1, 2))
    }
}

/// The inputs as products read them.
struct Folded {
    sizes: Sizes,
    queries: CubeTensor,
    keys: CubeTensor,
    values: CubeTensor,
    bounds: CubeTensor,
    dtype: DType,
}

impl Folded {
    fn new(inputs: &AttentionInputs<CubeBackend>) -> Self {
        let (sizes, precision) = (Sizes::new(inputs), inputs.precision);
        Self {
            sizes,
            queries: sizes.fold(&inputs.queries, precision),
            keys: sizes.fold_keys(&inputs.keys, precision),
            values: sizes.fold_keys(&inputs.values, precision),
            bounds: upload(&inputs.visible, &inputs.queries),
            dtype: factor_type(precision),
        }
    }

    /// The tile's rows of [B K, H / K, L, h], as [B K, (H / K) count, h].
    fn rows(&self, x: &CubeTensor, tile: QueryTile) -> CubeTensor {
        let Sizes { batch, shared, width, .. } = self.sizes;
        let own = narrow(x, 2, tile.first, tile.count);
        reshape(own, [batch * shared, self.sizes.group() * tile.count, width])
    }

    /// [B K, (H / K) count, h] as [B K, H / K, count, h].
    fn split(&self, x: CubeTensor, tile: QueryTile) -> CubeTensor {
        let Sizes { batch, shared, width, .. } = self.sizes;
        reshape(x, [batch * shared, self.sizes.group(), tile.count, width])
    }

    /// The keys or values that the tile sees.
    fn window(x: &CubeTensor, tile: QueryTile) -> CubeTensor {
        narrow(x, 1, tile.from, tile.width)
    }

    fn scores(&self, queries: CubeTensor, tile: QueryTile) -> CubeTensor {
        multiply(queries, transpose(Self::window(&self.keys, tile)))
    }

    /// Zeros for a tile that sees nothing.
    fn blank(&self, tile: QueryTile) -> CubeTensor {
        let Sizes { batch, shared, width, .. } = self.sizes;
        zeros(&self.queries, [batch * shared, self.sizes.group(), tile.count, width])
    }
}

fn zeros<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    burn_cubecl::ops::numeric::zeros_client(
        like.client.clone(),
        like.device.clone(),
        Shape::from(shape),
        DType::F32,
    )
}

/// The intervals on the device, i32.
fn upload(visible: &Intervals, like: &CubeTensor) -> CubeTensor {
    let bounds = visible.bounds();
    let handle = like.client.create_from_slice(bytemuck::cast_slice(bounds));
    let shape = Shape::from([bounds.len()]);
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape, handle, DType::I32)
}

/// The output [B, L, H, h], and the statistics of its rows.
pub(super) fn attend(inputs: &AttentionInputs<CubeBackend>) -> (CubeTensor, CubeTensor) {
    let folded = Folded::new(inputs);
    let (mut mixed, mut statistics) = (Vec::new(), Vec::new());
    for tile in folded.sizes.tiles(&inputs.visible) {
        if tile.width == 0 {
            mixed.push(folded.blank(tile));
            statistics.push(zeros(&folded.queries, [folded.sizes.batch * tile.rows_of_one]));
            continue;
        }
        let scores = folded.scores(folded.rows(&folded.queries, tile), tile);
        let scale = folded.sizes.scale();
        let (probabilities, own) = softmax::exponentiate(scores, &folded.bounds, tile, scale, folded.dtype);
        let values = Folded::window(&folded.values, tile);
        mixed.push(folded.split(multiply(probabilities, values), tile));
        statistics.push(own);
    }
    (folded.sizes.unfold(mixed), CubeBackend::float_cat(statistics, 0))
}

/// Gradients of queries, keys and values.
pub(super) fn differentiate(
    inputs: &AttentionInputs<CubeBackend>,
    statistics: &CubeTensor,
    upstream: &CubeTensor,
) -> [CubeTensor; 3] {
    let folded = Folded::new(inputs);
    let upstream = folded.sizes.fold(upstream, inputs.precision);
    let mut sums = KeyGradients::new(&folded);
    let (mut queries, mut done) = (Vec::new(), 0);
    for tile in folded.sizes.tiles(&inputs.visible) {
        let rows = folded.sizes.batch * tile.rows_of_one;
        if tile.width == 0 {
            queries.push(folded.blank(tile));
        } else {
            let own = narrow(statistics, 0, done, rows);
            queries.push(sums.add_tile(&folded, &upstream, &own, tile));
        }
        done += rows;
    }
    let [keys, values] = sums.unfold(&folded.sizes);
    [folded.sizes.unfold(queries), keys, values]
}

/// Sums of the gradients of keys and values, [B K, S, h] each.
struct KeyGradients {
    keys: CubeTensor,
    values: CubeTensor,
}

impl KeyGradients {
    fn new(folded: &Folded) -> Self {
        let Sizes { batch, shared, keys, width, .. } = folded.sizes;
        let blank = || zeros(&folded.keys, [batch * shared, keys, width]);
        Self { keys: blank(), values: blank() }
    }

    /// Adds what the queries of a tile contribute. Returns their own gradients, [B K, H / K, count, h].
    fn add_tile(
        &mut self,
        folded: &Folded,
        upstream: &CubeTensor,
        statistics: &CubeTensor,
        tile: QueryTile,
    ) -> CubeTensor {
        let (queries, upstream) = (folded.rows(&folded.queries, tile), folded.rows(upstream, tile));
        let keys = Folded::window(&folded.keys, tile);
        let scores = folded.scores(queries.clone(), tile);
        let pulls = multiply(upstream.clone(), transpose(Folded::window(&folded.values, tile)));
        let inputs = [&scores, &pulls, statistics, &folded.bounds];
        let scale = folded.sizes.scale();
        let [probabilities, gradients] = softmax::differentiate(inputs, tile, scale, folded.dtype);
        add_at(&mut self.values, multiply(transpose(probabilities), upstream), tile);
        add_at(&mut self.keys, multiply(transpose(gradients.clone()), queries), tile);
        folded.split(multiply(gradients, keys), tile)
    }

    fn unfold(self, sizes: &Sizes) -> [CubeTensor; 2] {
        let Sizes { batch, shared, keys, width, .. } = *sizes;
        [self.keys, self.values].map(|x| {
            let x = reshape(x, [batch, shared, keys, width]);
            burn_cubecl::kernel::into_contiguous(CubeBackend::float_swap_dims(x, 1, 2))
        })
    }
}

/// Adds to the tile's keys in `sum`.
fn add_at(sum: &mut CubeTensor, part: CubeTensor, tile: QueryTile) {
    let [batch, keys, width] = sum.shape().dims::<3>();
    if tile.width == keys {
        *sum = CubeBackend::float_add(sum.clone(), part);
        return;
    }
    let place =
        [Slice::from(0..batch), Slice::from(tile.from..tile.from + tile.width), Slice::from(0..width)];
    let added = CubeBackend::float_add(narrow(sum, 1, tile.from, tile.width), part);
    let blank = empty(sum, [0], DType::F32);
    *sum = CubeBackend::float_slice_assign(std::mem::replace(sum, blank), &place, added);
}
