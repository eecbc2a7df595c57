//! RMSNorm: y = x r w with r = 1 / sqrt(mean(x^2) + eps), over rows of n values (Zhang and Sennrich, 2019).
//!
//! With g = dy w the gradients are dx = r g - x r^3 (g . x) / n and dw = sum over rows of dy x r.

use super::tasks;
use super::vector::{dot, sum, vectorized};

/// Rows of one task. The gradient of the weight is a sum over tasks of sums over rows, so this number is part of the result.
const ROWS: usize = 64;

/// Values and r of every row.
///
/// # Shapes
/// `x`: [N, n], `weight`: `[n]`; returns ([N, n], `[N]`).
pub(crate) fn normalize(x: &[f32], weight: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let n = weight.len();
    let (mut y, mut scales) = (vec![0.0; x.len()], vec![0.0; x.len() / n]);
    let tasks = y.chunks_mut(ROWS * n).zip(x.chunks(ROWS * n)).zip(scales.chunks_mut(ROWS));
    tasks::run(x.len(), tasks, |((y, x), scales)| {
        normalize_rows(y, x, scales, weight, eps);
    });
    (y, scales)
}

vectorized! {
    fn normalize_rows<'a>(y: &'a mut [f32], x: &'a [f32], scales: &'a mut [f32], weight: &'a [f32], eps: f32) {
        let n = weight.len();
        for ((y, x), scale) in y.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(scales) {
            *scale = scale_of(x, eps);
            normalize_row(x, weight, *scale, y);
        }
    }
}

/// r of a row.
#[inline(always)]
pub(super) fn scale_of(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt()
}

/// x r w.
#[inline(always)]
pub(super) fn normalize_row(x: &[f32], weight: &[f32], scale: f32, y: &mut [f32]) {
    for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
        *y = x * scale * w;
    }
}

/// Gradients of the rows and of the weight.
///
/// # Shapes
/// `x` and `upstream`: [N, n], `scales`: `[N]`; returns ([N, n], `[n]`).
pub(crate) fn compute_gradients(
    x: &[f32],
    weight: &[f32],
    scales: &[f32],
    upstream: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let n = weight.len();
    let mut gradient = vec![0.0; x.len()];
    let tasks = gradient.chunks_mut(ROWS * n).zip(x.chunks(ROWS * n)).zip(upstream.chunks(ROWS * n));
    let parts =
        tasks::map(2 * x.len(), tasks.zip(scales.chunks(ROWS)), |(((gradient, x), upstream), scales)| {
            compute_row_gradients(gradient, [x, upstream, scales, weight])
        });
    (gradient, add_parts(&parts, n))
}

vectorized! {
    /// Gradients of rows, and their part of the gradient of the weight.
    fn compute_row_gradients<'a>(gradient: &'a mut [f32], inputs: [&'a [f32]; 4]) -> Vec<f32> {
        let [x, upstream, scales, weight] = inputs;
        let n = weight.len();
        let mut part = vec![0.0; n];
        let rows = gradient.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(upstream.chunks_exact(n));
        for (((gradient, x), upstream), scale) in rows.zip(scales) {
            gradient_of_row(x, weight, *scale, upstream, gradient, &mut part);
        }
        part
    }
}

/// Writes dx of a row and adds to dw.
#[inline(always)]
pub(super) fn gradient_of_row(
    x: &[f32],
    weight: &[f32],
    scale: f32,
    upstream: &[f32],
    gradient: &mut [f32],
    weight_gradient: &mut [f32],
) {
    let n = weight.len();
    let (x, upstream) = (&x[..n], &upstream[..n]);
    let common = sum([upstream, weight, x], |[dy, w, x], lane| (dy * w).mul_add(x, lane));
    let common = common * scale * scale / n as f32;
    let rows = gradient.iter_mut().zip(weight_gradient).zip(x.iter().zip(upstream).zip(weight));
    for ((gradient, total), ((x, upstream), w)) in rows {
        *gradient = scale * (upstream * w - x * common);
        *total = (upstream * x).mul_add(scale, *total);
    }
}

/// The sum of vectors, in their order.
pub(super) fn add_parts(parts: &[Vec<f32>], n: usize) -> Vec<f32> {
    let mut total = vec![0.0; n];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_agree_with_differences() {
        let (n, eps) = (19, 1e-6);
        let x: Vec<f32> = (0..3 * n).map(|i| (i as f32 * 1.3).sin() + 0.2).collect();
        let weight: Vec<f32> = (0..n).map(|i| 1.0 + 0.1 * (i as f32).cos()).collect();
        let upstream: Vec<f32> = (0..3 * n).map(|i| (i as f32 * 0.7).cos()).collect();
        let loss = |x: &[f64], w: &[f64]| -> f64 {
            let rows = x.chunks(n).zip(upstream.chunks(n));
            rows.map(|(x, u)| {
                let r = (x.iter().map(|x| x * x).sum::<f64>() / n as f64 + eps).sqrt().recip();
                x.iter().zip(w).zip(u).map(|((x, w), u)| x * r * w * f64::from(*u)).sum::<f64>()
            })
            .sum()
        };
        let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let (y, scales) = normalize(&x, &weight, eps as f32);
        let value: f32 = y.iter().zip(&upstream).map(|(y, u)| y * u).sum();
        assert!((f64::from(value) - loss(&wide(&x), &wide(&weight))).abs() < 1e-4);
        let (dx, dw) = compute_gradients(&x, &weight, &scales, &upstream);
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
        for i in 0..n {
            let at = |d: f64| {
                let mut w = wide(&weight);
                w[i] += d;
                loss(&wide(&x), &w)
            };
            assert!(((at(step) - at(-step)) / (2.0 * step) - f64::from(dw[i])).abs() < 1e-5, "weight {i}");
        }
    }
}
