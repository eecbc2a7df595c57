//! Likelihoods of a checkpoint on held-out rows, side by side: what is exact, and what is a bound.
//!
//! | estimator | negative log-likelihood of | value |
//! |---|---|---|
//! | `autoregressive` | the law of the next token | Σ CE(x_i given x_<i): exact |
//! | `left-to-right` | a sampler that writes the tokens of a block one by one, from the left | Σ CE(x_i given x_<i, masks up to the end of the block): exact |
//! | `elbo` | a sampler with infinitely many passes | the ELBO at stratified times, or the generalized KL: an upper bound |
//! | `discrete-elbo` | a sampler with T passes | Σ_k r(k/T) Σ CE at the masks of x_{k/T}: an upper bound |
//!
//! with r(t_k) = (kappa(t_{k+1}) - kappa(t_k)) / (1 - kappa(t_k)), the probability that pass k reveals a mask (Sahoo et al., "Simple and
//! Effective Masked Diffusion Language Models", 2024, equation 8, in fmflow's direction of time). A model that was trained with strides has
//! one time without data, t = 0, so that its T is 1.
//!
//! All are divided by the number of tokens that are predicted, so that they compare. What is autoregressive, or has a shift, does not predict the first
//! token of a document.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::sample::{HeldOut, LikelihoodEstimator};
use fmflow_engine::pipeline::contract::ModelKind;
use fmflow_engine::run::execute::Job;
use fmflow_engine::text::display::count_noun;
use serde::Serialize;

use super::estimators::LikelihoodBatches;
use crate::backbone::{BackboneError, TimeConditioning};
use crate::data::packing::Row;
use crate::failure::stage_failure;
use crate::job::{check_interrupt, count_threads};
use crate::model::Model;
use crate::threads::map_in_parallel;
use crate::train::update::MicroBatch;

/// A likelihood of a checkpoint on the held-out rows of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Likelihood {
    /// How it was measured.
    pub estimator: LikelihoodEstimator,
    /// `exact` or `upper bound`.
    pub kind: &'static str,
    /// Negative log-likelihood, or its bound, in nats per predicted token; the mean over the draws.
    pub nats_per_token: f64,
    /// Standard error of that mean; `None` of one draw, and of what draws nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// Independent draws of times and noise.
    pub draws: usize,
    /// Tokens that were predicted.
    pub tokens: u64,
    /// Rows that were measured; the settings of the report have their number.
    #[serde(skip)]
    pub rows: usize,
    /// Times of each row; `None` where nothing depends on them.
    #[serde(skip)]
    pub times: Option<usize>,
}

impl Likelihood {
    /// A line for people.
    #[must_use]
    pub(super) fn line(&self, checkpoint: &str, dataset: &str) -> String {
        let Self { estimator, kind, nats_per_token, draws, tokens, .. } = self;
        let error = self.standard_error.map_or_else(String::new, |error| format!(" ± {error:.3}"));
        let draws = if *draws > 1 { format!(", {draws} draws") } else { String::new() };
        let (estimator, rows) = (estimator.word(), count_noun(self.rows, "row"));
        let times = self.times.map_or_else(String::new, |times| format!(" at {}", count_noun(times, "time")));
        format!(
            "{checkpoint}: held-out loss on {dataset} {nats_per_token:.3}{error} nats per token ({estimator}, {kind}; {rows}{times}{draws}, {tokens} tokens)"
        )
    }
}

/// What one draw found.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    nats: f64,
    tokens: u64,
}

/// The estimator of `held-out` itself: exact if the model has a law of the next token.
#[must_use]
pub(super) fn find_usual_estimator(model: &Model) -> LikelihoodEstimator {
    match model.contract.kind {
        ModelKind::Autoregressive => LikelihoodEstimator::Autoregressive,
        // Without masks it is an autoregressive model, so its likelihood needs no bound.
        ModelKind::Flow if model.contract.stride.is_some() => LikelihoodEstimator::Autoregressive,
        ModelKind::Flow => LikelihoodEstimator::Elbo,
    }
}

/// Why the model has no likelihood of this kind; `None` if it has one.
#[must_use]
pub(super) fn find_obstacle(estimator: LikelihoodEstimator, model: &Model) -> Option<&'static str> {
    let contract = &model.contract;
    let (flow, strided) = (contract.kind == ModelKind::Flow, contract.stride.is_some());
    // What was converted and never trained is used with the mask alone.
    let masked = contract.path.as_ref().is_none_or(|path| path.mask_share >= 1.0);
    match estimator {
        LikelihoodEstimator::Autoregressive => {
            (!contract.predicts_next_token()).then_some("it was not trained to predict the next token")
        }
        _ if !flow => Some("it is no flow model"),
        LikelihoodEstimator::Elbo => strided.then_some("it was trained at one time only, with strides"),
        LikelihoodEstimator::DiscreteElbo | LikelihoodEstimator::LeftToRight if !masked => {
            Some("its noise is not the mask alone")
        }
        LikelihoodEstimator::DiscreteElbo => None,
        LikelihoodEstimator::LeftToRight if strided => {
            Some("it was trained with strides, and writes by the law of the next token")
        }
        LikelihoodEstimator::LeftToRight => (contract.time_conditioning != TimeConditioning::None)
            .then_some("its backbone wants to know the time, which differs from block to block"),
    }
}

/// Measures a likelihood that the model has.
///
/// # Errors
/// If the rows contradict the model, the device fails, or a signal requests a stop.
pub(super) fn measure(
    job: &Job<'_>,
    item: &HeldOut,
    estimator: LikelihoodEstimator,
    model: &Model,
    rows: &[Row],
) -> Result<Likelihood, Failure> {
    // With strides every token is masked, so that nothing is drawn.
    let draws = if estimator.is_exact() || model.contract.stride.is_some() { 1 } else { item.draws };
    let found: Vec<Drawn> = (0..draws as u64)
        .map(|draw| measure_once(job, estimator, model, rows, (item.times, draw)))
        .collect::<Result<_, _>>()?;
    let values: Vec<f64> = found.iter().map(|drawn| drawn.nats / drawn.tokens.max(1) as f64).collect();
    let (mean, error) = find_mean(&values);
    Ok(Likelihood {
        estimator,
        kind: if estimator.is_exact() { "exact" } else { "upper bound" },
        nats_per_token: mean,
        standard_error: error,
        draws,
        tokens: found[0].tokens,
        rows: rows.len(),
        times: (!estimator.is_exact()).then_some(item.times),
    })
}

/// The mean, and its standard error if there is more than one value.
pub(super) fn find_mean(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt()))
}

fn measure_once(
    job: &Job<'_>,
    estimator: LikelihoodEstimator,
    model: &Model,
    rows: &[Row],
    drawn: (usize, u64),
) -> Result<Drawn, Failure> {
    let batches = LikelihoodBatches::build(estimator, model, rows, drawn)?;
    let nats = sum_batches(job, &batches.batches, |batch| batches.sum_batch(model, batch))?;
    Ok(Drawn { nats: nats / batches.copies, tokens: batches.tokens })
}

/// Sums over batches, several at a time; a signal is seen between them.
fn sum_batches(
    job: &Job<'_>,
    batches: &[MicroBatch],
    sum: impl Fn(&MicroBatch) -> Result<f64, BackboneError> + Sync,
) -> Result<f64, Failure> {
    let mut total = 0.0;
    for wave in batches.chunks(count_threads(job).max(1)) {
        check_interrupt(job)?;
        for found in map_in_parallel(wave, &sum) {
            total += found.map_err(stage_failure)?;
        }
    }
    Ok(total)
}
