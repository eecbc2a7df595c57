//! SwiGLU: y = silu(a) b with silu(a) = a s, s = 1 / (1 + e^-a) (Shazeer, "GLU Variants Improve Transformer", 2020).
//!
//! da = dy b s (1 + a (1 - s)) and db = dy a s.

use super::tasks;
use super::vector::{sigmoid, vectorized};

/// Values of one task.
const TASK: usize = 1 << 14;

/// silu(gate) up.
pub(crate) fn gate(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; gate.len()];
    let tasks = out.chunks_mut(TASK).zip(gate.chunks(TASK)).zip(up.chunks(TASK));
    tasks::run(2 * gate.len(), tasks, |((out, gate), up)| {
        gate_values(out, gate, up);
    });
    out
}

vectorized! {
    fn gate_values<'a>(out: &'a mut [f32], gate: &'a [f32], up: &'a [f32]) {
        for ((out, a), b) in out.iter_mut().zip(gate).zip(up) {
            *out = a * sigmoid(*a) * b;
        }
    }
}

/// Gradients of both inputs.
pub(crate) fn compute_gradients(gate: &[f32], up: &[f32], upstream: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (mut da, mut db) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
    let outputs = da.chunks_mut(TASK).zip(db.chunks_mut(TASK));
    let inputs = gate.chunks(TASK).zip(up.chunks(TASK)).zip(upstream.chunks(TASK));
    tasks::run(4 * gate.len(), outputs.zip(inputs), |((da, db), ((gate, up), upstream))| {
        compute_value_gradients([da, db], [gate, up, upstream]);
    });
    (da, db)
}

vectorized! {
    fn compute_value_gradients<'a>(gradients: [&'a mut [f32]; 2], inputs: [&'a [f32]; 3]) {
        let ([da, db], [gate, up, upstream]) = (gradients, inputs);
        for ((da, db), ((a, b), dy)) in da.iter_mut().zip(db).zip(gate.iter().zip(up).zip(upstream)) {
            let s = sigmoid(*a);
            *da = dy * b * s * (1.0 - s).mul_add(*a, 1.0);
            *db = dy * a * s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_gradients_agree_with_differences() {
        let silu = |a: f64| a / (1.0 + (-a).exp());
        let a: Vec<f32> = (-40..=40).map(|i| i as f32 * 2.5).collect();
        let (b, up): (Vec<f32>, Vec<f32>) = a.iter().map(|a| (a.sin() + 1.5, a.cos())).unzip();
        let (da, db) = compute_gradients(&a, &b, &up);
        let step = 1e-5;
        for (i, y) in gate(&a, &b).into_iter().enumerate() {
            let (x, b, u) = (f64::from(a[i]), f64::from(b[i]), f64::from(up[i]));
            let slope = (silu(x + step) - silu(x - step)) / (2.0 * step);
            // f32 rounding of values up to 250.
            assert!((f64::from(y) - silu(x) * b).abs() < 1e-4, "{x}");
            assert!((f64::from(da[i]) - u * b * slope).abs() < 1e-5, "{x}");
            assert!((f64::from(db[i]) - u * silu(x)).abs() < 1e-4, "{x}");
        }
    }
}
