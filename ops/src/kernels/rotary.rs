//! RMSNorm of every head followed by rotary position embedding (Su et al., "RoFormer", 2021, in the halves of GPT-NeoX):
//!
//! ```text
//! z = x r w        y_i = z_i cos_i - z_(i + h/2) sin_i        y_(i + h/2) = z_(i + h/2) cos_i + z_i sin_i
//! ```
//! for i < h / 2. The gradient rotates backwards and goes on as that of [`super::rms_norm`].

use super::rms_norm::{add_parts, gradient_of_row, normalize_row, scale_of};
use super::tasks;
use super::vector::vectorized;

/// Tokens of one task; the gradient of the weight is a sum over tasks of sums over heads.
const TOKENS: usize = 64;

/// cos and sin of every token's angles, [B or 1, L, h / 2] each. One row may serve the whole batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AngleSlices<'a> {
    pub(crate) cos: &'a [f32],
    pub(crate) sin: &'a [f32],
}

impl AngleSlices<'_> {
    /// cos and sin of token `t` of the batch.
    #[inline(always)]
    fn of(&self, t: usize, half: usize) -> (&[f32], &[f32]) {
        let at = t % (self.cos.len() / half) * half;
        (&self.cos[at..at + half], &self.sin[at..at + half])
    }
}

/// Values, and r of every head.
///
/// # Shapes
/// `x`: [B L, H, h], `weight`: `[h]`; returns ([B L, H, h], [B L, H]).
pub(crate) fn turn(
    x: &[f32],
    heads: usize,
    weight: &[f32],
    eps: f32,
    angles: AngleSlices,
) -> (Vec<f32>, Vec<f32>) {
    let h = weight.len();
    let (mut y, mut scales) = (vec![0.0; x.len()], vec![0.0; x.len() / h]);
    let chunk = TOKENS * heads;
    let tasks = y.chunks_mut(chunk * h).zip(x.chunks(chunk * h)).zip(scales.chunks_mut(chunk));
    tasks::run(2 * x.len(), tasks.enumerate(), |(task, ((y, x), scales))| {
        let heads = Heads { first: task * TOKENS, heads, weight, angles };
        turn_heads(heads, y, x, scales, eps);
    });
    (y, scales)
}

/// The heads of some tokens.
#[derive(Clone, Copy)]
struct Heads<'a> {
    /// Number of the first token.
    first: usize,
    /// Heads of a token.
    heads: usize,
    weight: &'a [f32],
    angles: AngleSlices<'a>,
}

impl Heads<'_> {
    /// cos and sin of head `number`.
    #[inline(always)]
    fn angles(&self, number: usize) -> (&[f32], &[f32]) {
        self.angles.of(self.first + number / self.heads, self.weight.len() / 2)
    }
}

vectorized! {
    fn turn_heads<'a>(heads: Heads<'a>, y: &'a mut [f32], x: &'a [f32], scales: &'a mut [f32], eps: f32) {
        let h = heads.weight.len();
        let rows = y.chunks_exact_mut(h).zip(x.chunks_exact(h)).zip(scales).enumerate();
        for (number, ((y, x), scale)) in rows {
            let (cos, sin) = heads.angles(number);
            *scale = scale_of(x, eps);
            normalize_row(x, heads.weight, *scale, y);
            let (first, second) = y.split_at_mut(h / 2);
            for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(cos.iter().zip(sin)) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

/// Gradients of the heads and of the weight.
///
/// # Shapes
/// `x` and `upstream`: [B L, H, h], `scales`: [B L, H]; returns ([B L, H, h], `[h]`).
pub(crate) fn compute_gradients(
    x: &[f32],
    heads: usize,
    weight: &[f32],
    scales: &[f32],
    angles: AngleSlices,
    upstream: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let h = weight.len();
    let chunk = TOKENS * heads;
    let mut gradient = vec![0.0; x.len()];
    let inputs = x.chunks(chunk * h).zip(upstream.chunks(chunk * h)).zip(scales.chunks(chunk));
    let tasks = gradient.chunks_mut(chunk * h).zip(inputs).enumerate();
    let parts = tasks::map(4 * x.len(), tasks, |(task, (gradient, ((x, upstream), scales)))| {
        let heads = Heads { first: task * TOKENS, heads, weight, angles };
        compute_head_gradients(heads, gradient, [x, upstream, scales])
    });
    (gradient, add_parts(&parts, h))
}

vectorized! {
    /// Gradients of heads, and their part of the gradient of the weight.
    fn compute_head_gradients<'a>(heads: Heads<'a>, gradient: &'a mut [f32], inputs: [&'a [f32]; 3]) -> Vec<f32> {
        let [x, upstream, scales] = inputs;
        let h = heads.weight.len();
        let (mut part, mut back) = (vec![0.0; h], vec![0.0; h]);
        let rows = gradient.chunks_exact_mut(h).zip(x.chunks_exact(h)).zip(upstream.chunks_exact(h));
        for (number, (((gradient, x), upstream), scale)) in rows.zip(scales).enumerate() {
            turn_back(upstream, heads.angles(number), &mut back);
            gradient_of_row(x, heads.weight, *scale, &back, gradient, &mut part);
        }
        part
    }
}

/// Rotates backwards.
#[inline(always)]
fn turn_back(upstream: &[f32], (cos, sin): (&[f32], &[f32]), out: &mut [f32]) {
    let half = cos.len();
    let (first, second) = upstream.split_at(half);
    let (out_first, out_second) = out.split_at_mut(half);
    for i in 0..half {
        out_first[i] = first[i] * cos[i] + second[i] * sin[i];
        out_second[i] = second[i] * cos[i] - first[i] * sin[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_agree_with_differences() {
        let (tokens, heads, h, eps) = (3, 2, 6, 1e-6);
        let wave = |n: usize, f: f32| (0..n).map(|i| (i as f32 * f).sin() + 0.1).collect::<Vec<f32>>();
        let (x, upstream, weight) =
            (wave(tokens * heads * h, 1.3), wave(tokens * heads * h, 0.7), wave(h, 2.0));
        let angle = |t: usize, i: usize| t as f64 / 2.0_f64.powi(i as i32);
        let table = |f: fn(f64) -> f64| {
            (0..tokens).flat_map(|t| (0..h / 2).map(move |i| f(angle(t, i)) as f32)).collect::<Vec<f32>>()
        };
        let (cos, sin) = (table(f64::cos), table(f64::sin));
        let angles = AngleSlices { cos: &cos, sin: &sin };
        let loss = |x: &[f64], w: &[f64]| -> f64 {
            let mut total = 0.0;
            for (n, (x, u)) in x.chunks(h).zip(upstream.chunks(h)).enumerate() {
                let r = (x.iter().map(|x| x * x).sum::<f64>() / h as f64 + eps).sqrt().recip();
                let z: Vec<f64> = x.iter().zip(w).map(|(x, w)| x * r * w).collect();
                for i in 0..h / 2 {
                    let (c, s) = (angle(n / heads, i).cos(), angle(n / heads, i).sin());
                    total += (z[i] * c - z[i + h / 2] * s) * f64::from(u[i]);
                    total += (z[i + h / 2] * c + z[i] * s) * f64::from(u[i + h / 2]);
                }
            }
            total
        };
        let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let (y, scales) = turn(&x, heads, &weight, eps as f32, angles);
        let value: f32 = y.iter().zip(&upstream).map(|(y, u)| y * u).sum();
        assert!((f64::from(value) - loss(&wide(&x), &wide(&weight))).abs() < 1e-4);
        let (dx, dw) = compute_gradients(&x, heads, &weight, &scales, angles, &upstream);
        let step = 1e-6;
        for i in 0..x.len() {
            let at = |d: f64| {
                let mut x = wide(&x);
                x[i] += d;
                loss(&x, &wide(&weight))
            };
            // f32 rounding of a gradient of size 1.
            assert!(((at(step) - at(-step)) / (2.0 * step) - f64::from(dx[i])).abs() < 1e-5, "x {i}");
        }
        for i in 0..h {
            let at = |d: f64| {
                let mut w = wide(&weight);
                w[i] += d;
                loss(&wide(&x), &w)
            };
            assert!(((at(step) - at(-step)) / (2.0 * step) - f64::from(dw[i])).abs() < 1e-5, "weight {i}");
        }
    }
}
