//! Held-out rows as micro-batches, for every estimator of a likelihood.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::sample::LikelihoodEstimator;
use fmflow_engine::pipeline::config::train::{Loss, LossDivisor, LossPositions, TimeSampling, TimeSettings};

use crate::backbone::{Attention, BackboneError};
use crate::data::packing::{PositionRole, Row};
use crate::flow::path::{Corruption, Corruptor, SourceTokens};
use crate::flow::scheduler;
use crate::flow::time::draw_validation_times;
use crate::model::{FlowContract, Model};
use crate::rng::RandomPurpose;
use crate::train::held_out::{FillingBatch, build_batches_at};
use crate::train::losses::{compute_loss_sum, sum_unmasked_losses};
use crate::train::update::{
    FlowObjective, HiddenPlaces, MicroBatch, NoiseStreams, StridedObjective, TrainingTask,
};

/// Rows as micro-batches of one estimator. Their summed loss over `copies` is the negative log-likelihood of `tokens` tokens, in nats.
pub(super) struct LikelihoodBatches {
    pub batches: Vec<MicroBatch>,
    pub copies: f64,
    pub tokens: u64,
    estimator: LikelihoodEstimator,
}

impl LikelihoodBatches {
    /// The micro-batches of `rows`; `times` and `draw` decide what a bound draws.
    ///
    /// # Errors
    /// If the contract of the model lacks what the estimator needs.
    pub(super) fn build(
        estimator: LikelihoodEstimator,
        model: &Model,
        rows: &[Row],
        (times, draw): (usize, u64),
    ) -> Result<Self, Failure> {
        let whole = |batches: Vec<MicroBatch>| {
            let tokens = count_terms(&batches);
            Self { batches, copies: 1.0, tokens, estimator }
        };
        if estimator == LikelihoodEstimator::Autoregressive {
            return Ok(whole(build_batches_at(rows, &TrainingTask::Autoregressive, draw, |_| vec![1.0]).0));
        }
        if estimator == LikelihoodEstimator::DiscreteElbo && model.contract.stride.is_some() {
            return Ok(whole(build_batches_at(rows, &build_drafting_task(model)?, draw, |_| vec![0.0]).0));
        }
        let flow = build_flow_objective(model)?;
        let tokens = rows.iter().map(|row| count_predicted(row, &flow)).sum();
        let batches = match estimator {
            LikelihoodEstimator::LeftToRight => return Ok(whole(build_chain(rows, &flow))),
            LikelihoodEstimator::DiscreteElbo => build_discrete(rows, flow, (times, draw)),
            LikelihoodEstimator::Elbo => build_continuous(rows, flow, (times, draw)),
            LikelihoodEstimator::Autoregressive => unreachable!("it needs no flow, and was built above"),
        };
        Ok(Self { batches, copies: times as f64, tokens, estimator })
    }

    /// The summed loss of one of the micro-batches, weighted as the estimator has it.
    ///
    /// # Errors
    /// If the batch contradicts the backbone, or the device fails.
    pub(super) fn sum_batch(&self, model: &Model, batch: &MicroBatch) -> Result<f64, BackboneError> {
        match self.estimator {
            LikelihoodEstimator::LeftToRight => {
                sum_unmasked_losses(&model.backbone, batch, model.attention())
            }
            LikelihoodEstimator::Autoregressive => {
                Ok(compute_loss_sum(&model.backbone, batch, Attention::Causal)?.weighted)
            }
            LikelihoodEstimator::Elbo | LikelihoodEstimator::DiscreteElbo => {
                Ok(compute_loss_sum(&model.backbone, batch, model.attention())?.weighted)
            }
        }
    }
}

fn count_terms(batches: &[MicroBatch]) -> u64 {
    batches.iter().map(|batch| batch.terms.len() as u64).sum()
}

/// Tokens of a row that a flow predicts: with a shift, nothing predicts the first one of a document.
fn count_predicted(row: &Row, flow: &FlowObjective) -> u64 {
    let pieces = TrainingTask::Flow(flow.clone()).pieces(row).into_iter();
    let skipped = |continues: bool| usize::from(flow.shift && !continues);
    let own = pieces.map(|piece| &row.roles[piece.tokens.clone()][skipped(piece.continues)..]);
    own.flatten().filter(|role| **role == PositionRole::Supervised).count() as u64
}

/// The bound of a path: the ELBO, valid only for a pure mask source, or the generalized KL,
/// valid for every source (Shaul et al., "Flow Matching with General Discrete Paths", 2024, equation 25).
fn choose_bound(mask_share: f64) -> (Loss, LossPositions) {
    if mask_share >= 1.0 {
        (Loss::Elbo, LossPositions::Corrupted)
    } else {
        (Loss::GeneralizedKl, LossPositions::Supervised)
    }
}

/// The flow of the model, in its blocks if it has some, with uncapped weights. A cap would make training more stable, but then the sum is
/// no longer a bound.
fn build_flow_objective(model: &Model) -> Result<FlowObjective, Failure> {
    let FlowContract { mask, used, shift, .. } = model.flow_contract()?;
    let path = model.path()?;
    let (loss, over) = choose_bound(path.mask_share);
    Ok(FlowObjective {
        corruptor: Corruptor { path, tokens: SourceTokens { mask, used }, at_least: 0 },
        loss,
        over,
        normalise: LossDivisor::Tokens,
        max_weight: None,
        time: TimeSettings { sampling: TimeSampling::Stratified, from: 0.0, to: 1.0, at_least_masked: 0 },
        shift,
        time_per_row: false,
        block: model.block(),
        growth: None,
    })
}

/// Rows with every supervised token masked, whose masks a checkpoint that was trained with strides predicts at once.
fn build_drafting_task(model: &Model) -> Result<TrainingTask, Failure> {
    let stride = model.contract.stride.expect("only a checkpoint with strides drafts");
    let mask = model.flow_contract()?.mask;
    let normalise = LossDivisor::Corrupted;
    Ok(TrainingTask::Strided(StridedObjective { mask, stride, clean_weight: None, normalise }))
}

/// Corrupted copies of the rows at stratified times, weighted as in continuous time.
fn build_continuous(rows: &[Row], flow: FlowObjective, (times, draw): (usize, u64)) -> Vec<MicroBatch> {
    let at = |number| draw_validation_times(draw, number, times);
    build_batches_at(rows, &TrainingTask::Flow(flow), draw, at).0
}

/// Corrupted copies of the rows at the times k / T, each weighted by T r(k / T).
fn build_discrete(rows: &[Row], flow: FlowObjective, (times, draw): (usize, u64)) -> Vec<MicroBatch> {
    let (grid, scheduler) = (times as f64, flow.corruptor.path.scheduler);
    let at = |_| (0..times).map(|k| k as f64 / grid).collect();
    let (mut batches, _) = build_batches_at(rows, &TrainingTask::Flow(flow), draw, at);
    for term in batches.iter_mut().flat_map(|batch| &mut batch.terms) {
        let next = (term.t * grid + 1.0).round() / grid;
        term.coefficients.cross_entropy = grid * find_reveal_share(scheduler, term.t, next.min(1.0));
    }
    batches
}

/// The probability that a token that is noise at `t` is data at `next`.
fn find_reveal_share(scheduler: scheduler::Scheduler, t: f64, next: f64) -> f64 {
    1.0 - scheduler::compute_noise_share(scheduler, next) / scheduler::compute_noise_share(scheduler, t)
}

/// Copies of the rows in which the first k tokens of every block are written, the others are masked, and the next one counts; one for
/// every k.
fn build_chain(rows: &[Row], flow: &FlowObjective) -> Vec<MicroBatch> {
    let flow = &FlowObjective { loss: Loss::CrossEntropy, ..flow.clone() };
    let task = TrainingTask::Flow(flow.clone());
    let mut filling = FillingBatch::default();
    for row in rows {
        let pieces = task.pieces(row);
        let supervised = |i: &usize| row.roles[*i] == PositionRole::Supervised;
        let editable: Vec<Vec<usize>> =
            pieces.iter().map(|piece| piece.tokens.clone().filter(supervised).collect()).collect();
        for k in 0..editable.iter().map(Vec::len).max().unwrap_or(0) {
            let base = filling.open.tokens.len();
            // At t = 1 nothing is noise, so that nothing is drawn and nothing counts.
            filling.open.push(row, &pieces, &vec![1.0; pieces.len()], &task, &NO_NOISE);
            for (piece, own) in pieces.iter().zip(&editable) {
                let Some(next) = own.get(k) else { continue };
                let first = base + piece.tokens.start;
                own[k..].iter().for_each(|i| filling.open.tokens[base + i] = flow.corruptor.tokens.mask);
                let drawn = Corruption {
                    x_t: filling.open.tokens[first..][..piece.tokens.len()].to_vec(),
                    corrupted: piece.tokens.clone().map(|i| i == *next).collect(),
                };
                let x_1 = &row.tokens[piece.tokens.clone()];
                let before = piece.continues.then(|| first + row.tokens.len() - 1);
                let terms = flow.terms(x_1, &drawn.corrupted, &drawn, 1.0, HiddenPlaces { first, before });
                filling.open.terms.extend(terms);
            }
            filling.close_full();
        }
    }
    filling.finish()
}

/// Streams of a row without noise.
const NO_NOISE: NoiseStreams =
    NoiseStreams { seed: 0, purpose: [RandomPurpose::Validate, RandomPurpose::Source], at: [0, 0] };

#[cfg(test)]
mod tests {
    use fmflow_engine::pipeline::config::train::{ProbabilityPath, Scheduler};

    use super::super::likelihood::find_mean;
    use super::*;
    use crate::backbone::tests::tiny;
    use crate::backbone::{Backbone, TimeConditioning};

    /// Tokens of the tiny backbone.
    const VOCABULARY: u32 = 40;
    const MASK: u32 = 10;

    fn backbone() -> Backbone {
        let device = crate::device::open_device("cpu").unwrap();
        Backbone::new(&tiny(true), TimeConditioning::None, 3, &device).unwrap()
    }

    fn flow(block: Option<usize>) -> FlowObjective {
        let path = ProbabilityPath { mask_share: 1.0, scheduler: Scheduler::Polynomial { exponent: 2.0 } };
        FlowObjective {
            corruptor: Corruptor { path, tokens: SourceTokens { mask: MASK, used: VOCABULARY }, at_least: 0 },
            loss: Loss::Elbo,
            over: LossPositions::Corrupted,
            normalise: LossDivisor::Tokens,
            max_weight: None,
            time: TimeSettings { sampling: TimeSampling::Stratified, from: 0.0, to: 1.0, at_least_masked: 0 },
            shift: false,
            time_per_row: false,
            block,
            growth: None,
        }
    }

    fn row(tokens: &[u32]) -> Row {
        let n = tokens.len();
        Row { tokens: tokens.to_vec(), segments: vec![0; n], roles: vec![PositionRole::Supervised; n] }
    }

    fn attention(block: Option<usize>) -> Attention {
        block.map_or(Attention::Bidirectional, |block| Attention::BlockCausal { block })
    }

    fn chain(model: &Backbone, row: &Row, block: Option<usize>) -> f64 {
        let batches = build_chain(std::slice::from_ref(row), &flow(block));
        assert_eq!(count_terms(&batches), row.tokens.len() as u64);
        batches.iter().map(|batch| sum_unmasked_losses(model, batch, attention(block)).unwrap()).sum()
    }

    fn bound(model: &Backbone, batches: &[MicroBatch], block: Option<usize>) -> f64 {
        batches.iter().map(|batch| compute_loss_sum(model, batch, attention(block)).unwrap().weighted).sum()
    }

    #[test]
    fn the_chain_is_a_law() {
        let model = backbone();
        for block in [None, Some(1), Some(2)] {
            let tokens = || (0..VOCABULARY).filter(|token| *token != MASK);
            let pairs = tokens().flat_map(|a| tokens().map(move |b| row(&[a, b])));
            let total: f64 = pairs.map(|row| (-chain(&model, &row, block)).exp()).sum();
            // Sums of hundreds of f32 probabilities.
            assert!((total - 1.0).abs() < 1e-4, "{block:?}: {total}");
        }
    }

    #[test]
    fn the_bounds_of_blocks_of_one_token_are_the_chain_but_for_the_mask() {
        let (model, row) = (backbone(), row(&[4, 0, 7, 7, 2]));
        let exact = chain(&model, &row, Some(1));
        let once = bound(&model, &build_discrete(std::slice::from_ref(&row), flow(Some(1)), (1, 0)), Some(1));
        // The bounds leave the mask its probability, which the sampler divides among the tokens: about 1 / 11 of each of 5.
        assert!(once > exact && once - exact < 5.0 * 0.2, "{once} {exact}");
    }

    /// Of many draws, both bounds are above the chain less their noise, and that of 32 passes is near that of infinitely many.
    #[test]
    fn discrete_and_continuous_bounds_agree() {
        let (model, row) = (backbone(), row(&[4, 0, 7, 7, 2, 9, 1, 3]));
        let rows = std::slice::from_ref(&row);
        let mean = |continuous: bool, times: usize| {
            let build = if continuous { build_continuous } else { build_discrete };
            let draw = |draw| bound(&model, &build(rows, flow(None), (times, draw)), None) / times as f64;
            find_mean(&(0..20).map(draw).collect::<Vec<f64>>())
        };
        let [continuous, fine, coarse] = [mean(true, 32), mean(false, 32), mean(false, 2)];
        let error = |found: (f64, Option<f64>)| found.1.unwrap();
        let apart = (continuous.0 - fine.0).abs();
        // A random model predicts about alike whatever is masked, so that even two passes are near; five standard errors.
        assert!(
            apart < 5.0 * (error(continuous).powi(2) + error(fine).powi(2)).sqrt(),
            "{continuous:?} {fine:?}"
        );
        assert!((coarse.0 - fine.0).abs() < 0.2 * fine.0, "{coarse:?} {fine:?}");
        assert!(error(fine) > 0.0 && error(fine) < 0.05 * fine.0, "{fine:?}");
    }

    #[test]
    fn every_mask_is_revealed_once() {
        for exponent in [0.5, 1.0, 2.0] {
            let scheduler = Scheduler::Polynomial { exponent };
            for times in [1, 2, 7] {
                let at = |k: usize| k as f64 / times as f64;
                let masked = |k| scheduler::compute_noise_share(scheduler, at(k));
                let total: f64 =
                    (0..times).map(|k| masked(k) * find_reveal_share(scheduler, at(k), at(k + 1))).sum();
                assert!((total - 1.0).abs() < 1e-12, "{exponent} {times}: {total}");
            }
        }
    }

    #[test]
    fn a_shift_predicts_no_first_token_of_a_document() {
        let two = Row { segments: vec![0, 0, 0, 1, 1], ..row(&[1, 2, 3, 4, 5]) };
        let shifted = |shift| FlowObjective { shift, ..flow(Some(2)) };
        assert_eq!(count_predicted(&two, &shifted(false)), 5);
        assert_eq!(count_predicted(&two, &shifted(true)), 3);
        assert_eq!(count_terms(&build_chain(&[two], &shifted(true))), 3);
    }

    #[test]
    fn a_source_that_is_not_the_mask_alone_is_bounded_by_the_generalized_kl() {
        assert_eq!(choose_bound(1.0), (Loss::Elbo, LossPositions::Corrupted));
        for mask_share in [0.0, 0.9] {
            assert_eq!(choose_bound(mask_share), (Loss::GeneralizedKl, LossPositions::Supervised));
        }
    }
}
