//! Chooses the length of a gap by likelihood.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::Sampler;

use crate::completion::{BATCH, Completion, CompletionRequest, complete_batches};
use crate::failure::input_failure;
use crate::flow::sampler::{Canvas, Onlooker};
use crate::model::Model;

/// A gap whose length the model chose.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChosenLength {
    /// The tokens of the gap, and the forward passes of all lengths that were tried.
    pub completion: Completion,
    /// The mean log-likelihood of these tokens, in nats; negative infinity if a token was impossible.
    pub log_likelihood: f64,
}

/// The probabilities of what canvases hold, by the number of the canvas and the place.
#[derive(Default)]
pub(super) struct Judge(BTreeMap<(u64, usize), f64>);

impl Onlooker for Judge {
    fn wants_probabilities(&self) -> bool {
        true
    }

    fn judged(&mut self, canvas: &Canvas, places: &[usize], probabilities: &[f64]) {
        let seen = places.iter().zip(probabilities).map(|(place, p)| ((canvas.number, *place), *p));
        self.0.extend(seen);
    }
}

impl Judge {
    /// The mean log-likelihood of a canvas: of each place that a pass looked at, by the last one that did.
    pub(super) fn mean_log_likelihood(&self, number: u64) -> f64 {
        let of_canvas = self.0.range((number, 0)..=(number, usize::MAX));
        let (mut sum, mut count) = (0.0, 0.0);
        for (_, probability) in of_canvas {
            sum += probability.ln();
            count += 1.0;
        }
        if count > 0.0 { sum / count } else { f64::NEG_INFINITY }
    }
}

/// Fills the gap of `request` once with each of `lengths`, the first of them as canvas number `first`, and keeps the filling with the
/// largest likelihood per token. Of equal ones the shortest stays. The likelihood of a token is its probability in the pass that
/// wrote it, at temperature 1 and before top-k and top-p.
///
/// # Errors
/// If the sampler does not fit the checkpoint, or the device fails.
pub(crate) fn choose_length(
    model: &Model,
    (first, request): (u64, &CompletionRequest),
    lengths: RangeInclusive<usize>,
    sampler: &Sampler,
    (seed, threads): (u64, usize),
) -> Result<ChosenLength, Failure> {
    refuse_constrained_range(sampler)?;
    let lengths: Vec<usize> = lengths.collect();
    let (mut best, mut passes, mut number) = (None::<ChosenLength>, 0, first);
    // In parts, so that memory does not grow with the range.
    for part in lengths.chunks(BATCH * threads.max(1)) {
        let with_length = |length: &usize| CompletionRequest { length: *length, ..request.clone() };
        let requests: Vec<CompletionRequest> = part.iter().map(with_length).collect();
        let numbered: Vec<(u64, &CompletionRequest)> = (number..).zip(&requests).collect();
        for (completions, judge) in
            complete_batches(model, &numbered, sampler, (seed, threads), Judge::default)?
        {
            for completion in completions {
                passes += completion.passes;
                let log_likelihood = judge.mean_log_likelihood(number);
                if best.as_ref().is_none_or(|best| log_likelihood > best.log_likelihood) {
                    best = Some(ChosenLength { completion, log_likelihood });
                }
                number += 1;
            }
        }
    }
    let mut best = best.expect("a range has at least one length");
    best.completion.passes = passes;
    Ok(best)
}

/// Refuses a range of lengths for a gap if the sampler has a constraint.
pub(super) fn refuse_constrained_range(sampler: &Sampler) -> Result<(), Failure> {
    if sampler.constraint.is_none() {
        return Ok(());
    }
    let name = &sampler.name;
    let what = format!("the constraint of sampler `{name}` is kept for one length of a gap, not for a range");
    Err(input_failure(what, "ask for one length"))
}
