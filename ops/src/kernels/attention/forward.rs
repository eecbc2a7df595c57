//! The forward pass. Lanes are queries: sums over keys run down the rows of a tile, so no lane meets another.

use pulp::{Arch, Simd, WithSimd};

use super::tiles::{Sight, find_sight, hide};
use super::{Inputs, KEYS, NOTHING, Output, QUERIES, Shape};
use crate::kernels::panels::{View, multiply_panels, pack};
use crate::kernels::tasks;
use crate::kernels::vector::exp;

/// Registers of lanes.
const NV: usize = 2;

/// Mixes the values of the keys that each query sees.
pub(crate) fn attend(arch: Arch, inputs: &Inputs) -> Output {
    let shape = inputs.shape;
    let keys = arch.dispatch(PackKeys { inputs, values: false });
    let values = arch.dispatch(PackKeys { inputs, values: true });
    let mut mixed = vec![0.0; shape.batch * shape.query_row()];
    let mut statistics = vec![0.0; shape.batch * shape.length * shape.heads * 2];
    let rows = mixed.chunks_mut(shape.query_row());
    let rows = rows.zip(statistics.chunks_mut(shape.length * shape.heads * 2)).enumerate();
    let tiles = rows.flat_map(|(b, (mixed, statistics))| {
        let tiles = mixed.chunks_mut(QUERIES * shape.heads * shape.width);
        let tiles = tiles.zip(statistics.chunks_mut(QUERIES * shape.heads * 2)).enumerate();
        tiles.map(move |(tile, (mixed, statistics))| (b, tile * QUERIES, mixed, statistics))
    });
    tasks::run(shape.cost(), tiles, |(b, first, mixed, statistics)| {
        arch.dispatch(Tile { inputs, keys: &keys, values: &values, b, first, mixed, statistics });
    });
    Output { mixed, statistics }
}

/// Rows of a left panel: 8 for 32 registers, 4 for 16. Divides [`KEYS`] and most widths of heads.
#[inline(always)]
fn height<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 4 }
}

/// Packs keys as left panels of rows k, or values as left panels of columns of v: [B, K, tile] blocks.
struct PackKeys<'a> {
    inputs: &'a Inputs<'a>,
    values: bool,
}

impl WithSimd for PackKeys<'_> {
    type Output = Packed;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Packed {
        let (shape, height) = (self.inputs.shape, height::<S>());
        let seen: Vec<usize> = (0..shape.batch).map(|b| self.inputs.count_seen(b)).collect();
        let tiles = seen.iter().max().map_or(0, |keys| keys.div_ceil(KEYS)).max(1);
        let block = KEYS * if self.values { shape.width.next_multiple_of(height) } else { shape.width };
        let mut data = vec![0.0; shape.batch * shape.shared * tiles * block];
        tasks::run(data.len(), data.chunks_mut(tiles * block).enumerate(), |(number, data)| {
            let (b, head) = (number / shape.shared, number % shape.shared);
            let all = if self.values { self.inputs.values } else { self.inputs.keys };
            let row = &all[b * shape.key_row() + head * shape.width..];
            let view = View::new(row, shape.keys, shape.width, shape.shared * shape.width);
            let used = seen[b].div_ceil(KEYS);
            for (tile, block) in data.chunks_exact_mut(block).take(used).enumerate() {
                let keys = KEYS.min(shape.keys - tile * KEYS);
                match self.values {
                    false => pack(view, tile * KEYS, 0, shape.width, height, block),
                    true => {
                        // The sum over the keys of the last tile ends with the row; what follows stays 0 and unused.
                        let block = &mut block[..keys * shape.width.next_multiple_of(height)];
                        pack(view.transposed(), 0, tile * KEYS, keys, height, block);
                    }
                }
            }
        });
        Packed { data, block, tiles }
    }
}

/// Packed keys or values.
struct Packed {
    data: Vec<f32>,
    block: usize,
    tiles: usize,
}

impl Packed {
    fn tile(&self, shape: &Shape, b: usize, head: usize, tile: usize) -> &[f32] {
        &self.data[((b * shape.shared + head) * self.tiles + tile) * self.block..][..self.block]
    }
}

/// A tile of queries, all heads.
struct Tile<'a> {
    inputs: &'a Inputs<'a>,
    keys: &'a Packed,
    values: &'a Packed,
    b: usize,
    first: usize,
    mixed: &'a mut [f32],
    statistics: &'a mut [f32],
}

impl WithSimd for Tile<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match height::<S>() {
            8 => self.attend::<S, 8>(simd),
            _ => self.attend::<S, 4>(simd),
        }
    }
}

/// State of the lanes of one panel.
struct Lanes {
    /// Scaled queries as a right panel, [h, lanes].
    queries: Vec<f32>,
    /// Intervals by lane.
    visible: [Vec<i32>; 4],
    /// Scores, then probabilities, [KEYS, lanes].
    scores: Vec<f32>,
    /// o, [h, lanes].
    mixed: Vec<f32>,
    /// m.
    maximum: Vec<f32>,
    /// l.
    sum: Vec<f32>,
    /// e^(m - m') of the last tile.
    decay: Vec<f32>,
}

impl Lanes {
    fn new(lanes: usize, width: usize) -> Self {
        Self {
            queries: vec![0.0; lanes * width],
            visible: [(); 4].map(|()| vec![0; lanes]),
            scores: vec![0.0; lanes * KEYS],
            mixed: vec![0.0; lanes * width],
            maximum: vec![0.0; lanes],
            sum: vec![0.0; lanes],
            decay: vec![0.0; lanes],
        }
    }
}

impl Tile<'_> {
    #[inline(always)]
    fn attend<S: Simd, const MR: usize>(self, simd: S) {
        let Self { inputs, keys, values, b, first, mixed, statistics } = self;
        let shape = inputs.shape;
        let (group, width, wide) = (shape.group(), shape.width, NV * S::F32_LANES);
        let tokens = mixed.len() / (shape.heads * width);
        let visible = &inputs.visible_row(b)[first..first + tokens];
        let sights: Vec<Sight> = (0..keys.tiles).map(|tile| find_sight(visible, tile * KEYS)).collect();
        let queries = &inputs.queries[b * shape.query_row() + first * shape.heads * width..];
        let mut lanes = Lanes::new(wide, width);
        for head in 0..shape.shared {
            for start in (0..tokens * group).step_by(wide) {
                let count = wide.min(tokens * group - start);
                let place = |lane: usize| {
                    ((start + lane) / group) * shape.heads + head * group + (start + lane) % group
                };
                lanes.load(
                    count,
                    group,
                    start,
                    visible,
                    |lane| &queries[place(lane) * width..][..width],
                    shape.scale(),
                );
                for (tile, sight) in sights.iter().enumerate().filter(|(_, sight)| **sight != Sight::None) {
                    let seen = KEYS.min(shape.keys - tile * KEYS);
                    lanes.score::<S, MR>(simd, keys.tile(&shape, b, head, tile));
                    if *sight == Sight::Some {
                        hide(&mut lanes.scores, &lanes.visible, tile * KEYS);
                    }
                    lanes.weigh();
                    lanes.mix::<S, MR>(simd, values.tile(&shape, b, head, tile), seen);
                }
                for lane in 0..count {
                    let out = &mut mixed[place(lane) * width..][..width];
                    statistics[place(lane) * 2..][..2].copy_from_slice(&lanes.finish(lane, out));
                }
            }
        }
    }
}

impl Lanes {
    /// Loads the queries and intervals of `count` lanes; the other lanes see nothing.
    #[inline(always)]
    fn load<'q>(
        &mut self,
        count: usize,
        group: usize,
        start: usize,
        visible: &[[i32; 4]],
        query: impl Fn(usize) -> &'q [f32],
        scale: f32,
    ) {
        let lanes = self.sum.len();
        self.maximum.fill(NOTHING);
        self.sum.fill(0.0);
        self.mixed.fill(0.0);
        self.queries.fill(0.0);
        for side in &mut self.visible {
            side.fill(0);
        }
        for lane in 0..count {
            for (side, value) in self.visible.iter_mut().zip(visible[(start + lane) / group]) {
                side[lane] = value;
            }
            for (i, value) in query(lane).iter().enumerate() {
                self.queries[i * lanes + lane] = value * scale;
            }
        }
    }

    /// Writes o / l of a lane and returns m and 1 / l, which is 0 if the lane saw nothing.
    #[inline(always)]
    fn finish(&self, lane: usize, out: &mut [f32]) -> [f32; 2] {
        let (sum, lanes) = (self.sum[lane], self.sum.len());
        let inverse = if sum == 0.0 { 0.0 } else { 1.0 / sum };
        for (i, out) in out.iter_mut().enumerate() {
            *out = self.mixed[i * lanes + lane] * inverse;
        }
        [self.maximum[lane], inverse]
    }

    /// Scores of a tile of keys.
    #[inline(always)]
    fn score<S: Simd, const MR: usize>(&mut self, simd: S, keys: &[f32]) {
        let depth = self.queries.len() / self.sum.len();
        let queries = S::as_simd_f32s(&self.queries).0;
        let scores = S::as_mut_simd_f32s(&mut self.scores).0;
        for (keys, scores) in keys.chunks_exact(MR * depth).zip(scores.chunks_exact_mut(MR * NV)) {
            let sums = multiply_panels::<S, MR, NV>(simd, keys, queries);
            scores.copy_from_slice(sums.as_flattened());
        }
    }

    /// Turns scores into e^(s - m'), and updates m, l and the decay.
    #[inline(always)]
    fn weigh(&mut self) {
        let lanes = self.sum.len();
        let maximum: &mut [f32] = &mut self.decay;
        maximum.copy_from_slice(&self.maximum);
        for line in self.scores.chunks_exact(lanes) {
            for (maximum, score) in maximum.iter_mut().zip(line) {
                *maximum = if *score <= *maximum { *maximum } else { *score };
            }
        }
        for (old, new) in self.maximum.iter_mut().zip(maximum) {
            let decay = exp(*old - *new);
            *old = *new;
            *new = decay;
        }
        for (sum, decay) in self.sum.iter_mut().zip(&self.decay) {
            *sum *= decay;
        }
        for line in self.scores.chunks_exact_mut(lanes) {
            for ((score, maximum), sum) in line.iter_mut().zip(&self.maximum).zip(&mut self.sum) {
                *score = exp(*score - maximum);
                *sum += *score;
            }
        }
    }

    /// Adds the weighted values of a tile; `keys` of its keys are in the row.
    #[inline(always)]
    fn mix<S: Simd, const MR: usize>(&mut self, simd: S, values: &[f32], keys: usize) {
        let weights = S::as_simd_f32s(&self.scores).0;
        let decay = S::as_simd_f32s(&self.decay).0;
        let mixed = S::as_mut_simd_f32s(&mut self.mixed).0;
        for (values, mixed) in values.chunks_exact(MR * keys).zip(mixed.chunks_mut(MR * NV)) {
            let sums = multiply_panels::<S, MR, NV>(simd, values, &weights[..keys * NV]);
            for (mixed, sums) in mixed.chunks_exact_mut(NV).zip(sums) {
                for v in 0..NV {
                    mixed[v] = simd.mul_add_f32s(mixed[v], decay[v], sums[v]);
                }
            }
        }
    }
}
