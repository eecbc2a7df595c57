//! One update of AdamW, in one pass over values, gradient and moments.

use super::tasks;
use super::vector::{sum, vectorized};
use crate::adamw::AdamWRates;

/// Values of one partial sum.
const PART: usize = 1024;

/// Values of one task: many partial sums.
const TASK: usize = 16 * PART;

/// Values and moments of a parameter, `[n]` each.
pub(crate) struct Updated<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) first: &'a mut [f32],
    pub(crate) second: &'a mut [f32],
}

/// Changes values and moments. Returns sums of the squares of the change and of the old values in turn, for every 1,024 values.
///
/// Rounds as the chain of separate operations does: no fused multiply-adds.
pub(crate) fn update(updated: Updated, gradient: &[f32], rates: &AdamWRates) -> Vec<f32> {
    let Updated { values, first, second } = updated;
    let mut squares = vec![0.0; 2 * values.len().div_ceil(PART)];
    let cost = 2 * values.len();
    let tasks = values.chunks_mut(TASK).zip(gradient.chunks(TASK));
    let moments = first.chunks_mut(TASK).zip(second.chunks_mut(TASK));
    let tasks = tasks.zip(moments).zip(squares.chunks_mut(2 * TASK / PART));
    tasks::run(cost, tasks, |(((values, gradient), (first, second)), squares)| {
        let updated = Updated { values, first, second };
        update_parts(updated, gradient, squares, rates);
    });
    squares
}

vectorized! {
    fn update_parts<'a>(
        updated: Updated<'a>,
        gradient: &'a [f32],
        squares: &'a mut [f32],
        rates: &'a AdamWRates,
    ) {
        let Updated { values, first, second } = updated;
        let parts = values.chunks_mut(PART).zip(gradient.chunks(PART));
        let moments = first.chunks_mut(PART).zip(second.chunks_mut(PART));
        for (((values, gradient), (first, second)), squares) in
            parts.zip(moments).zip(squares.chunks_exact_mut(2))
        {
            squares.copy_from_slice(&update_part(Updated { values, first, second }, gradient, rates));
        }
    }
}

/// Updates at most [`PART`] values.
#[inline(always)]
fn update_part(updated: Updated, gradient: &[f32], rates: &AdamWRates) -> [f32; 2] {
    let Updated { values, first, second } = updated;
    let (count, before) = (values.len(), add_squares(values));
    let mut changes = [0.0; PART];
    let (gradient, first, second) = (&gradient[..count], &mut first[..count], &mut second[..count]);
    for (i, change) in changes[..count].iter_mut().enumerate() {
        let g = gradient[i] * rates.scale;
        first[i] = first[i] * rates.first[0] + g * rates.first[1];
        second[i] = second[i] * rates.second[0] + (g * g) * rates.second[1];
        let step = first[i] / (second[i].sqrt() * rates.root + rates.epsilon) * rates.rate;
        let new = values[i] * rates.keep - step;
        *change = new - values[i];
        values[i] = new;
    }
    [add_squares(&changes[..count]), before]
}

#[inline(always)]
fn add_squares(x: &[f32]) -> f32 {
    sum([x], |[x], lane| x.mul_add(x, lane))
}

/// Sums of squares, for every 1,024 values.
pub(crate) fn sum_squares(x: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; x.len().div_ceil(PART)];
    let tasks = x.chunks(TASK).zip(sums.chunks_mut(TASK / PART));
    tasks::run(x.len() / 4, tasks, |(x, sums)| {
        sum_parts(x, sums);
    });
    sums
}

vectorized! {
    fn sum_parts<'a>(x: &'a [f32], sums: &'a mut [f32]) {
        for (x, sum) in x.chunks(PART).zip(sums) {
            *sum = add_squares(x);
        }
    }
}
