//! Logits of some positions, and their gradient in place.

use super::{MeasuredLoss, Terms};
use crate::kernels::tasks;
use crate::kernels::vector::{exp, vectorized};

/// Tokens of one task. Sums over the vocabulary are sums of those over so many tokens, so this number is part of the result.
const TOKENS: usize = 512;

/// Logits [V, n], row-major.
pub(super) struct Logits<'a> {
    values: &'a mut [f32],
    positions: usize,
}

/// max(z) and sum(e^(z - max)) over some tokens, `[n]` each.
struct Sums {
    largest: Vec<f32>,
    total: Vec<f32>,
}

impl<'a> Logits<'a> {
    pub(super) fn new(values: &'a mut [f32], positions: usize) -> Self {
        Self { values, positions }
    }

    /// The parts of the loss.
    pub(super) fn measure(&self, targets: &[u32], present: &[u32]) -> MeasuredLoss {
        self.measure_with(&self.sum(), targets, present)
    }

    /// The parts of the loss. Logits become the gradient of the loss.
    pub(super) fn differentiate(&mut self, terms: Terms) -> MeasuredLoss {
        let sums = self.sum();
        let losses = self.measure_with(&sums, terms.targets, terms.present);
        let pull: Vec<f32> = terms.probability.iter().zip(&losses.probability).map(|(b, p)| b * p).collect();
        let factors: Vec<f32> =
            terms.cross_entropy.iter().zip(&pull).zip(&sums.total).map(|((a, b), s)| (a - b) / s).collect();
        self.scale_probabilities(&sums.largest, &factors);
        for (i, pull) in pull.into_iter().enumerate() {
            *self.at(terms.targets[i], i) -= terms.cross_entropy[i];
            *self.at(terms.present[i], i) += pull;
        }
        losses
    }

    fn at(&mut self, token: u32, position: usize) -> &mut f32 {
        &mut self.values[token as usize * self.positions + position]
    }

    fn measure_with(&self, sums: &Sums, targets: &[u32], present: &[u32]) -> MeasuredLoss {
        let logit = |token: u32, position: usize| self.values[token as usize * self.positions + position];
        let parts = sums.largest.iter().zip(&sums.total).enumerate();
        let of_position = |(i, (largest, total)): (usize, (&f32, &f32))| {
            // The logarithm in f64, whose libraries agree after rounding to f32.
            let log_total = f64::from(*total).ln() as f32;
            let probability = exp(logit(present[i], i) - largest) / total;
            (log_total - (logit(targets[i], i) - largest), probability)
        };
        let (cross_entropy, probability) = parts.map(of_position).unzip();
        MeasuredLoss { cross_entropy, probability }
    }

    /// Sums over the vocabulary, one position after another in the vector lanes.
    fn sum(&self) -> Sums {
        let n = self.positions.max(1);
        let tasks = self.values.chunks(TOKENS * n);
        let parts = tasks::map(4 * self.values.len(), tasks, |rows| sum_rows(rows, n));
        let mut largest = vec![f32::NEG_INFINITY; self.positions];
        parts.iter().for_each(|part| raise(&mut largest, &part.largest));
        let mut total = vec![0.0; self.positions];
        for part in &parts {
            let sides = part.total.iter().zip(&part.largest).zip(&largest);
            for (total, ((sum, own), largest)) in total.iter_mut().zip(sides) {
                *total += sum * exp(own - largest);
            }
        }
        Sums { largest, total }
    }

    /// z becomes e^(z - largest) factor.
    fn scale_probabilities(&mut self, largest: &[f32], factors: &[f32]) {
        let n = self.positions.max(1);
        tasks::run(4 * self.values.len(), self.values.chunks_mut(TOKENS * n), |rows| {
            scale_rows(rows, largest, factors);
        });
    }
}

vectorized! {
    fn sum_rows<'a>(rows: &'a [f32], n: usize) -> Sums {
        sum_rows_plainly(rows, n)
    }
}

vectorized! {
    fn scale_rows<'a>(rows: &'a mut [f32], largest: &'a [f32], factors: &'a [f32]) {
        scale_rows_plainly(rows, largest, factors);
    }
}

/// Maximum and sum over rows of `n` positions.
#[inline(always)]
fn sum_rows_plainly(rows: &[f32], n: usize) -> Sums {
    let mut largest = vec![f32::NEG_INFINITY; n];
    for row in rows.chunks_exact(n) {
        raise(&mut largest, row);
    }
    let mut total = vec![0.0; n];
    for row in rows.chunks_exact(n) {
        for (total, (z, largest)) in total.iter_mut().zip(row.iter().zip(&largest)) {
            *total += exp(z - largest);
        }
    }
    Sums { largest, total }
}

/// Rows of logits become e^(z - largest) factor.
#[inline(always)]
fn scale_rows_plainly(rows: &mut [f32], largest: &[f32], factors: &[f32]) {
    for row in rows.chunks_exact_mut(largest.len()) {
        for (z, (largest, factor)) in row.iter_mut().zip(largest.iter().zip(factors)) {
            *z = exp(*z - largest) * factor;
        }
    }
}

#[inline(always)]
fn raise(largest: &mut [f32], values: &[f32]) {
    for (largest, value) in largest.iter_mut().zip(values) {
        *largest = if *value > *largest { *value } else { *largest };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vector_instructions_change_no_bit() {
        let n = 37;
        let rows: Vec<f32> = (0..50 * n).map(|i| (i as f32 * 0.7).sin() * 20.0).collect();
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let (found, plain) = (sum_rows(&rows, n), sum_rows_plainly(&rows, n));
        assert_eq!(bits(&found.largest), bits(&plain.largest));
        assert_eq!(bits(&found.total), bits(&plain.total));
        let (mut scaled, mut expected) = (rows.clone(), rows);
        scale_rows(&mut scaled, &found.largest, &found.total);
        scale_rows_plainly(&mut expected, &plain.largest, &plain.total);
        assert_eq!(bits(&scaled), bits(&expected));
    }
}
