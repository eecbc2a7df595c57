//! Attention against its definition in f64, and the invariances of its bits.

use super::*;
use crate::kernels::vector::tests::find_instruction_sets;
use pulp::Arch;

/// The same in f64, score by score.
fn attend_plainly(inputs: &Inputs, upstream: &[f32]) -> (Vec<f64>, [Vec<f64>; 3]) {
    let Shape { batch, length, heads, shared, width, .. } = inputs.shape;
    let scale = 1.0 / (width as f64).sqrt();
    let mut mixed = vec![0.0; upstream.len()];
    let mut gradients = [inputs.queries, inputs.keys, inputs.values].map(|values| vec![0.0; values.len()]);
    for (b, i, head) in
        (0..batch).flat_map(|b| (0..length).flat_map(move |i| (0..heads).map(move |h| (b, i, h))))
    {
        let [a, c, d, e] = inputs.visible_row(b)[i];
        let q = ((b * length + i) * heads + head) * width;
        let place = |j: usize| ((b * length + j) * shared + head / (heads / shared)) * width;
        let seen = |j: &usize| (a..c).contains(&(*j as i32)) || (d..e).contains(&(*j as i32));
        let keys: Vec<usize> = (0..length).filter(seen).collect();
        let at = |x: &[f32], i: usize| f64::from(x[i]);
        let product = |x: &[f32], i: usize, y: &[f32], j: usize| -> f64 {
            (0..width).map(|n| at(x, i + n) * at(y, j + n)).sum()
        };
        let weights: Vec<f64> =
            keys.iter().map(|j| (product(inputs.queries, q, inputs.keys, place(*j)) * scale).exp()).collect();
        let total: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|w| w / total).collect();
        for (j, w) in keys.iter().zip(&weights) {
            for n in 0..width {
                mixed[q + n] += w * at(inputs.values, place(*j) + n);
            }
        }
        let mean: f64 = (0..width).map(|n| mixed[q + n] * at(upstream, q + n)).sum();
        for (j, w) in keys.iter().zip(&weights) {
            let score = w * (product(upstream, q, inputs.values, place(*j)) - mean);
            for n in 0..width {
                gradients[0][q + n] += score * scale * at(inputs.keys, place(*j) + n);
                gradients[1][place(*j) + n] += score * scale * at(inputs.queries, q + n);
                gradients[2][place(*j) + n] += w * at(upstream, q + n);
            }
        }
    }
    (mixed, gradients)
}

fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 4_194_304.0 - 2.0
    };
    (0..count).map(next).collect()
}

/// Intervals by number: causal, all, blocks of 5, halves with blocks of 3, documents, and padding.
fn intervals(kind: u32, length: usize) -> Vec<i32> {
    let (l, half) = (length as i32, length as i32 / 2);
    let of = |i: i32| match kind {
        0 => [0, i + 1, 0, 0],
        1 => [0, l, 0, 0],
        2 => [0, (i / 5 * 5 + 5).min(l), 0, 0],
        3 if i < half => [i / 3 * 3, (i / 3 * 3 + 3).min(half), half, half + i / 3 * 3],
        3 => [half, (half + (i - half) / 3 * 3 + 3).min(l), 0, 0],
        4 => [i / 70 * 70, i + 1, 0, 0],
        _ if i % 4 == 0 => [0; 4],
        _ => [l / 4, l - l / 8, 0, 0],
    };
    (0..l).flat_map(of).collect()
}

struct Case {
    shape: Shape,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    upstream: Vec<f32>,
    visible: Vec<i32>,
}

impl Case {
    fn new(shape: Shape, kind: u32) -> Self {
        let (queries, keys) = (shape.batch * shape.query_row(), shape.batch * shape.key_row());
        Self {
            shape,
            queries: noise(queries, 1),
            keys: noise(keys, 2),
            values: noise(keys, 3),
            upstream: noise(queries, 4),
            visible: intervals(kind, shape.length),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            shape: self.shape,
            queries: &self.queries,
            keys: &self.keys,
            values: &self.values,
            visible: &self.visible,
        }
    }

    fn run(&self) -> [Vec<f32>; 4] {
        self.run_with(Arch::new())
    }

    fn run_with(&self, arch: Arch) -> [Vec<f32>; 4] {
        let output = attend(arch, &self.inputs());
        let Gradients { queries, keys, values } =
            compute_gradients(arch, &self.inputs(), &output.saved(), &self.upstream);
        [output.mixed, queries, keys, values]
    }

    /// The last batch row alone.
    fn last_row(&self) -> Self {
        let one = Shape { batch: 1, ..self.shape };
        let tail = |values: &[f32], row: usize| values[values.len() - row..].to_vec();
        Self {
            shape: one,
            queries: tail(&self.queries, one.query_row()),
            keys: tail(&self.keys, one.key_row()),
            values: tail(&self.values, one.key_row()),
            upstream: tail(&self.upstream, one.query_row()),
            visible: self.visible.clone(),
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn values_and_gradients_agree_with_the_definition() {
    let sizes = [
        (2, 37, 4, 2, 4),
        (1, 64, 2, 2, 8),
        (1, 65, 6, 2, 16),
        (2, 130, 3, 1, 20),
        (1, 200, 2, 1, 64),
        (1, 70, 2, 1, 128),
        (1, 70, 1, 1, 256),
        (1, 1, 1, 1, 2),
    ];
    for ((batch, length, heads, shared, width), kind) in
        sizes.into_iter().flat_map(|s| (0..6).map(move |k| (s, k)))
    {
        let case = Case::new(Shape { batch, length, keys: length, heads, shared, width }, kind);
        let (mixed, [queries, keys, values]) = attend_plainly(&case.inputs(), &case.upstream);
        for (name, found, exact) in ["mixed", "queries", "keys", "values"]
            .into_iter()
            .zip(case.run())
            .zip([mixed, queries, keys, values])
            .map(|((n, f), e)| (n, f, e))
        {
            // f32 sums of at most 200 terms of size 10.
            let worst = found.iter().zip(&exact).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
            assert!(worst < 2e-4, "{name} of {:?}, intervals {kind}: {worst:e}", case.shape);
        }
    }
}

#[test]
fn a_row_depends_on_no_other_row() {
    for kind in 0..6 {
        let case =
            Case::new(Shape { batch: 3, length: 150, keys: 150, heads: 4, shared: 2, width: 16 }, kind);
        for (all, alone) in case.run().iter().zip(case.last_row().run()) {
            assert!(bits(&all[all.len() - alone.len()..]) == bits(&alone), "intervals {kind}");
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let case = Case::new(Shape { batch: 2, length: 150, keys: 150, heads: 4, shared: 2, width: 16 }, 0);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.run().map(|values| bits(&values)))
    };
    assert!(with(1) == with(5));
}

#[test]
fn instructions_change_no_bit() {
    for kind in 0..6 {
        let case =
            Case::new(Shape { batch: 1, length: 150, keys: 150, heads: 4, shared: 2, width: 20 }, kind);
        let runs =
            find_instruction_sets().into_iter().map(|arch| case.run_with(arch).map(|values| bits(&values)));
        let runs: Vec<_> = runs.collect();
        assert!(runs.iter().all(|run| *run == runs[0]), "intervals {kind}");
    }
}

#[test]
fn a_value_that_is_not_finite_is_not_hidden() {
    let mut case = Case::new(Shape { batch: 1, length: 80, keys: 80, heads: 1, shared: 1, width: 8 }, 0);
    case.keys[3 * 8] = f32::NAN;
    let [mixed, ..] = case.run();
    assert!(mixed[..3 * 8].iter().all(|x| x.is_finite()));
    assert!(mixed[3 * 8..].iter().all(|x| x.is_nan()));
}

#[test]
fn a_query_needs_no_other_query_and_no_key_behind_the_last_one_it_sees() {
    for kind in [0, 2, 4, 5] {
        let case =
            Case::new(Shape { batch: 2, length: 150, keys: 150, heads: 4, shared: 2, width: 16 }, kind);
        let all = attend(Arch::new(), &case.inputs()).mixed;
        let row = case.shape.query_row();
        for queries in [0..5, 3..4, 60..70, 64..128, 149..150, 90..150] {
            let visible: Vec<i32> = case.visible[4 * queries.start..4 * queries.end].to_vec();
            let last = visible.iter().copied().max().unwrap() as usize;
            let token = row / case.shape.length;
            let part = |b: usize| b * row + queries.start * token..b * row + queries.end * token;
            let asked: Vec<f32> = (0..2).flat_map(|b| case.queries[part(b)].to_vec()).collect();
            // A buffer with room for more keys, which holds what nobody may read.
            let room = last + 37;
            let widen = |keys: &[f32]| -> Vec<f32> {
                let of_row = |row: &[f32]| {
                    let mut row = row[..last * 32].to_vec();
                    row.resize(room * 32, 1e9);
                    row
                };
                keys.chunks(case.shape.key_row()).flat_map(of_row).collect()
            };
            let (keys, values) = (widen(&case.keys), widen(&case.values));
            let shape = Shape { length: queries.len(), keys: room, ..case.shape };
            let inputs = Inputs { shape, queries: &asked, keys: &keys, values: &values, visible: &visible };
            for arch in find_instruction_sets() {
                let found = attend(arch, &inputs).mixed;
                let expected: Vec<f32> = (0..2).flat_map(|b| all[part(b)].to_vec()).collect();
                assert!(bits(&found) == bits(&expected), "intervals {kind}, queries {queries:?}");
            }
        }
    }
}
