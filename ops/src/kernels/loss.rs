//! Losses of a linear head, without the logits of all positions.
//!
//! A loss has the form a CE + b p(x) at a position, where CE = -log p(target) and x is the token that is present. With
//! p = softmax(z), its gradient is dz_v = (a - b p_x) p_v - a [v = target] + b p_x [v = x].
//!
//! Logits are computed for [`CHAIN`] positions at a time and turned into their gradient in place. They lie as [V, positions]:
//! then the head, the larger factor, is packed in pieces that stay in the cache. As the products over all positions are sums
//! of those over [`CHAIN`] of them, nothing depends on this number but memory.

mod scores;

use pulp::Arch;

use super::panels::View;
use super::product::{CHAIN, multiply, multiply_onto};
use super::tasks;
use scores::Logits;

/// What the loss is made of at some positions, `[n]` each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    /// The token to predict, below V.
    pub(crate) targets: &'a [u32],
    /// The token x that is present, below V.
    pub(crate) present: &'a [u32],
    /// a, the factor of the cross-entropy.
    pub(crate) cross_entropy: &'a [f32],
    /// b, the factor of p(x).
    pub(crate) probability: &'a [f32],
}

/// What a loss is at some positions, `[n]` each.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MeasuredLoss {
    /// -log p(target).
    pub(crate) cross_entropy: Vec<f32>,
    /// p(x).
    pub(crate) probability: Vec<f32>,
}

/// Losses and gradients of hidden states [n, D] and of the head [V, D], which is empty if the head is not trained.
#[derive(Clone, Debug)]
pub(crate) struct LossDerivatives {
    pub(crate) losses: MeasuredLoss,
    pub(crate) hidden: Vec<f32>,
    pub(crate) head: Vec<f32>,
}

/// Positions that are looked at together.
struct Chunk<'a> {
    /// Their hidden states, [n, D].
    hidden: View<'a>,
    targets: &'a [u32],
    present: &'a [u32],
}

/// All positions, [`CHAIN`] at a time.
fn split_into_chunks<'a>(
    hidden: View<'a>,
    targets: &'a [u32],
    present: &'a [u32],
) -> impl Iterator<Item = Chunk<'a>> {
    let parts = targets.chunks(CHAIN).zip(present.chunks(CHAIN)).enumerate();
    parts.map(move |(number, (targets, present))| {
        let values = &hidden.values[number * CHAIN * hidden.row_stride..];
        Chunk { hidden: View { values, rows: targets.len(), ..hidden }, targets, present }
    })
}

impl Chunk<'_> {
    /// Logits of the chunk in `buffer`.
    fn compute_scores<'b>(&self, arch: Arch, head: View, buffer: &'b mut Vec<f32>) -> Logits<'b> {
        buffer.resize(head.rows * self.hidden.rows, 0.0);
        multiply(arch, head, self.hidden.transposed(), buffer);
        Logits::new(buffer, self.hidden.rows)
    }
}

/// The parts of the loss at every position.
///
/// # Shapes
/// `hidden`: [n, D], `head`: [V, D], `targets` and `present`: `[n]`.
pub(crate) fn measure(
    arch: Arch,
    hidden: View,
    head: View,
    targets: &[u32],
    present: &[u32],
) -> MeasuredLoss {
    let (mut losses, mut buffer) = (MeasuredLoss::default(), Vec::new());
    for chunk in split_into_chunks(hidden, targets, present) {
        let scores = chunk.compute_scores(arch, head, &mut buffer);
        losses.extend(scores.measure(chunk.targets, chunk.present));
    }
    losses
}

/// The parts of the loss at every position, and the gradients of its sum; that of the head only if it is `trained`.
///
/// # Shapes
/// `hidden`: [n, D], `head`: [V, D].
pub(crate) fn differentiate(
    arch: Arch,
    hidden: View,
    head: View,
    terms: Terms,
    trained: bool,
) -> LossDerivatives {
    let width = head.columns;
    let mut found = LossDerivatives {
        losses: MeasuredLoss::default(),
        hidden: vec![0.0; hidden.rows * width],
        head: vec![0.0; if trained { head.rows * width } else { 0 }],
    };
    let (mut buffer, mut turned) = (Vec::new(), Vec::new());
    let chunks = split_into_chunks(hidden, terms.targets, terms.present);
    for ((number, chunk), out) in chunks.enumerate().zip(found.hidden.chunks_mut(CHAIN * width)) {
        let part = terms.take(number * CHAIN, chunk.targets.len());
        let mut scores = chunk.compute_scores(arch, head, &mut buffer);
        found.losses.extend(scores.differentiate(part));
        let gradient = View::new(&buffer, head.rows, part.targets.len(), part.targets.len());
        let gradient = gradient.rounded(head.precision);
        turned.resize(out.len(), 0.0);
        multiply(arch, head.transposed(), gradient, &mut turned);
        transpose(&turned, part.targets.len(), out);
        if trained {
            multiply_onto(arch, gradient, chunk.hidden, &mut found.head, number > 0);
        }
    }
    found
}

/// The parts of the loss for given logits, and the gradient of the loss: what [`differentiate`] computes after the head.
///
/// # Shapes
/// `logits`: [n, V], row-major; so is the gradient.
pub(crate) fn differentiate_logits(logits: &[f32], terms: Terms) -> (MeasuredLoss, Vec<f32>) {
    let n = terms.targets.len();
    let (mut turned, mut gradient) = (vec![0.0; logits.len()], vec![0.0; logits.len()]);
    transpose(logits, logits.len() / n.max(1), &mut turned);
    let losses = Logits::new(&mut turned, n).differentiate(terms);
    transpose(&turned, n, &mut gradient);
    (losses, gradient)
}

/// Writes the transpose of rows of `width` values.
fn transpose(from: &[f32], width: usize, to: &mut [f32]) {
    let rows = from.len() / width.max(1);
    let tasks = to.chunks_exact_mut(rows.max(1)).enumerate();
    tasks::run(from.len() / 4, tasks, |(column, to)| {
        for (to, from) in to.iter_mut().zip(from.chunks_exact(width)) {
            *to = from[column];
        }
    });
}

impl Terms<'_> {
    /// `count` positions from `first` on.
    fn take(self, first: usize, count: usize) -> Self {
        let range = first..first + count;
        Self {
            targets: &self.targets[range.clone()],
            present: &self.present[range.clone()],
            cross_entropy: &self.cross_entropy[range.clone()],
            probability: &self.probability[range],
        }
    }
}

impl MeasuredLoss {
    fn extend(&mut self, other: Self) {
        self.cross_entropy.extend(other.cross_entropy);
        self.probability.extend(other.probability);
    }
}

#[cfg(test)]
mod tests;
