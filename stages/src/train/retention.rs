//! What a model in training has forgotten of an autoregressive one: the divergence of their laws of the next token, on held-out rows
//! without noise and under causal attention, whatever the training has made of its attention since.

use burn_tensor::{Tensor, activation::log_softmax};
use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::TrainConfig;
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;
use fmflow_ops::linear;

use super::backward::ForwardPass;
use super::forward::{build_context, compute_hidden_states, read_values, to_int_tensor};
use super::gradient::add_gradients;
use super::gradient_sums::{FlatGradients, GradientSums};
use super::held_out::build_held_out_batches;
use super::task::TrainingTask;
use super::update::{MicroBatch, build_update};
use crate::backbone::{Attention, Backbone, BackboneError, Parameter};
use crate::data::packing::Row;
use crate::failure::input_failure;
use crate::job::find_input_folder;
use crate::model::Model;
use crate::threads::map_in_parallel;

/// Positions whose logits of both models are in memory at a time.
const CHUNK: usize = 64;

/// The teacher of the stage, if it has one.
///
/// # Errors
/// If its checkpoint is refused, or its logits are about other tokens than those of `parent`.
pub(super) fn open_teacher(
    job: &Job<'_>,
    config: &TrainConfig,
    parent: &Model,
) -> Result<Option<Backbone>, Failure> {
    if config.teacher.is_none() {
        return Ok(None);
    }
    let teacher = Model::open(find_input_folder(job, &InputRole::Teacher)?, &parent.backbone.device())?;
    let words = |model: &Model| model.text.as_ref().map(|text| text.tokenizer.digest().to_owned());
    let rows = |model: &Model| model.backbone.config().vocab_size;
    let differ = words(&teacher).zip(words(parent)).is_some_and(|(own, other)| own != other);
    if differ || rows(&teacher) != rows(parent) {
        let what = "the teacher has other tokens than the checkpoint that is trained";
        return Err(input_failure(
            what,
            "name a teacher with the same tokenizer, or remove `from=` of `teacher`",
        ));
    }
    Ok(Some(teacher.backbone))
}

/// KL(teacher || model) of the next token, averaged over the positions that autoregressive training counts, in nats; 0 if there are
/// none.
///
/// # Errors
/// If the rows contradict a backbone, or the device fails.
pub(super) fn measure_divergence(
    teacher: &Backbone,
    model: &Backbone,
    rows: &[Row],
    threads: usize,
) -> Result<f64, BackboneError> {
    let (batches, _) = build_held_out_batches(rows, &TrainingTask::Autoregressive, 1, 0);
    let (mut sum, mut count) = (0.0, 0);
    for wave in batches.chunks(threads.max(1)) {
        for found in map_in_parallel(wave, |batch| sum_divergence(teacher, model, batch)) {
            sum += found?;
        }
    }
    batches.iter().for_each(|batch| count += batch.terms.len());
    Ok(sum / count.max(1) as f64)
}

/// Weight and divisor of the divergence in the loss of an update.
#[derive(Clone, Copy, Debug)]
struct LossShare {
    weight: f64,
    divisor: f64,
}

/// The gradient of `weight` · KL(teacher || model), averaged over the next tokens of `rows` without noise, and the divergence itself.
/// `per_device` rows pass through both models at a time.
///
/// # Errors
/// If the rows contradict a backbone, or the device fails.
pub(super) fn differentiate_divergence(
    teacher: &Backbone,
    model: &Backbone,
    rows: &[Row],
    weight: f64,
    (per_device, recompute, threads): (usize, bool, usize),
) -> Result<(FlatGradients, f64), BackboneError> {
    // Nothing is drawn for this task, so that seed and update do not matter.
    let update = build_update(0, 0, rows, per_device, &TrainingTask::Autoregressive);
    let (share, mut total, mut sum) = (LossShare { weight, divisor: update.divisor }, None, 0.0);
    for wave in update.micro_batches.chunks(threads.max(1)) {
        for found in
            map_in_parallel(wave, |batch| differentiate_batch(teacher, model, batch, share, recompute))
        {
            let (gradients, divergence) = found?;
            sum += divergence;
            total = Some(match total {
                None => gradients,
                Some(total) => add_gradients(total, gradients),
            });
        }
    }
    Ok((total.expect("an update has at least one row"), sum / update.divisor))
}

/// The gradient of a micro-batch's share, and the sum of its divergences.
fn differentiate_batch(
    teacher: &Backbone,
    model: &Backbone,
    batch: &MicroBatch,
    share: LossShare,
    recompute: bool,
) -> Result<(FlatGradients, f64), BackboneError> {
    let batch = &MicroBatch { times: vec![1.0; batch.times.len()], ..batch.clone() };
    let (model, device) = (&model.clone().trainable()?, model.device());
    let mut gradients: GradientSums = vec![None; model.trained().count()];
    let mut sum = 0.0;
    if !batch.terms.is_empty() {
        let tokens = to_int_tensor(batch.tokens.iter().copied(), &device).reshape([batch.rows, batch.length]);
        let context = build_context(model, batch, Attention::Causal, None);
        let pass = ForwardPass::forward(model, tokens, context, recompute)?;
        let places = to_int_tensor(batch.terms.iter().map(|term| term.place), &device);
        let known =
            compute_hidden_states(teacher, batch, Attention::Causal, &device)?.select(0, places.clone());
        let found = differentiate_laws((teacher, known), (model, pass.at(model, places.clone())), share)?;
        sum = found.sum;
        if let Some(at) = model.find_trained_head() {
            gradients[at] = Some(found.head.flatten(0, 1));
        }
        pass.backward(model, places, found.hidden, &mut gradients)?;
    }
    let whole = |(gradient, (_, p)): (Option<Tensor<1>>, (_, &Parameter))| {
        gradient.unwrap_or_else(|| Tensor::zeros([p.count()], &device))
    };
    Ok((gradients.into_iter().zip(model.trained()).map(whole).collect(), sum))
}

/// What the divergence of two laws gives.
struct LawGradients {
    /// The sum of the divergences.
    sum: f64,
    /// The gradient of the hidden states, [n, D].
    hidden: Tensor<2>,
    /// The gradient of the head, [V, D].
    head: Tensor<2>,
}

/// The gradient of the divergence with respect to the logits of the model is q - p, with the laws q of the model and p of the teacher.
fn differentiate_laws(
    (teacher, known): (&Backbone, Tensor<2>),
    (model, hidden): (&Backbone, Tensor<2>),
    share: LossShare,
) -> Result<LawGradients, BackboneError> {
    let (head, precision, n) = (model.head(), model.precision(), hidden.dims()[0]);
    let (mut sum, mut parts, mut of_head) = (0.0, Vec::new(), None);
    for start in (0..n).step_by(CHUNK) {
        let rows = start..n.min(start + CHUNK);
        let own = hidden.clone().slice([rows.clone()]);
        let p = log_softmax(teacher.logits(known.clone().slice([rows])), 1);
        let q = log_softmax(linear(own.clone(), head.clone(), precision), 1);
        let found = (p.clone().exp() * (p.clone() - q.clone())).sum_dim(1).flatten(0, 1);
        sum += read_values::<1>(found)?.into_iter().map(f64::from).sum::<f64>();
        let upstream = (q.exp() - p.exp()) * (share.weight / share.divisor);
        parts.push(linear(upstream.clone(), head.clone().transpose(), precision));
        let change = linear(upstream.transpose(), own.transpose(), precision);
        of_head = Some(match of_head {
            None => change,
            Some(before) => before + change,
        });
    }
    let head = of_head.expect("a batch with terms has a position");
    Ok(LawGradients { sum, hidden: Tensor::cat(parts, 0), head })
}

/// The sum of the divergences of a micro-batch.
fn sum_divergence(teacher: &Backbone, model: &Backbone, batch: &MicroBatch) -> Result<f64, BackboneError> {
    if batch.terms.is_empty() {
        return Ok(0.0);
    }
    // Without noise, t is 1.
    let batch = &MicroBatch { times: vec![1.0; batch.times.len()], ..batch.clone() };
    let device = model.device();
    let places = to_int_tensor(batch.terms.iter().map(|term| term.place), &device);
    let hidden = |of: &Backbone| -> Result<Tensor<2>, BackboneError> {
        Ok(compute_hidden_states(of, batch, Attention::Causal, &device)?.select(0, places.clone()))
    };
    let (known, learned) = (hidden(teacher)?, hidden(model)?);
    let mut sum = 0.0;
    for start in (0..batch.terms.len()).step_by(CHUNK) {
        let rows = start..batch.terms.len().min(start + CHUNK);
        let law = |of: &Backbone, hidden: &Tensor<2>| {
            log_softmax(of.logits(hidden.clone().slice([rows.clone()])), 1)
        };
        let (known, learned) = (law(teacher, &known), law(model, &learned));
        let found = (known.clone().exp() * (known - learned)).sum_dim(1).flatten(0, 1);
        sum += read_values::<1>(found)?.into_iter().map(f64::from).sum::<f64>();
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::TimeConditioning;
    use crate::backbone::tests::tiny;
    use crate::data::packing::PositionRole;

    fn draw(seed: u64) -> Backbone {
        let device = crate::device::open_device("cpu").unwrap();
        Backbone::new(&tiny(true), TimeConditioning::None, seed, &device).unwrap()
    }

    fn row() -> Row {
        let tokens: Vec<u32> = (0..12).map(|i| (i * 5) % 11).collect();
        let roles = vec![PositionRole::Supervised; 12];
        Row { segments: [[0; 7].as_slice(), &[1; 5]].concat(), tokens, roles }
    }

    /// The mean divergence from logits that are read whole, in f64.
    fn by_hand(teacher: &Backbone, model: &Backbone) -> f64 {
        let row = row();
        let (batches, _) = build_held_out_batches(&[row], &TrainingTask::Autoregressive, 1, 0);
        let laws = [teacher, model].map(|of| {
            let hidden = compute_hidden_states(of, &batches[0], Attention::Causal, &of.device()).unwrap();
            let (v, logits) = (of.config().vocab_size, read_values::<2>(of.logits(hidden)).unwrap());
            let law = |row: &[f32]| {
                let total: f64 = row.iter().map(|z| f64::from(*z).exp()).sum();
                row.iter().map(|z| f64::from(*z).exp() / total).collect::<Vec<f64>>()
            };
            logits.chunks(v).map(law).collect::<Vec<_>>()
        });
        // The last token of each of the two documents predicts nothing.
        let counted = (0..12).filter(|i| ![6, 11].contains(i));
        let at = |i: usize| laws[0][i].iter().zip(&laws[1][i]).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
        counted.map(at).sum::<f64>() / 10.0
    }

    #[test]
    fn divergence_is_that_of_the_laws_and_nothing_for_the_same_weights() {
        let (teacher, model) = (draw(1), draw(2));
        let same = measure_divergence(&teacher, &teacher, &[row()], 1).unwrap();
        assert_eq!(same, 0.0);
        let (found, expected) =
            (measure_divergence(&teacher, &model, &[row()], 1).unwrap(), by_hand(&teacher, &model));
        assert!(expected > 1e-5 && (found - expected).abs() < 1e-4 * expected, "{found} {expected}");
        let twice = measure_divergence(&teacher, &model, &[row(), row()], 2).unwrap();
        assert!((twice - found).abs() < 1e-6 * found, "{twice} {found}");
    }

    /// Compares the gradient along itself with the difference of two divergences.
    #[test]
    fn the_gradient_is_that_of_the_divergence() {
        let (teacher, model, rows) = (draw(1), draw(2), [row(), row()]);
        for recompute in [false, true] {
            let how = (1, recompute, 1);
            let (gradients, kl) = differentiate_divergence(&teacher, &model, &rows, 0.5, how).unwrap();
            let measured = measure_divergence(&teacher, &model, &rows, 1).unwrap();
            assert!((kl - measured).abs() < 1e-5 * measured, "{kl} {measured}");
            let host: Vec<Vec<f32>> =
                gradients.into_iter().map(|gradient| read_values::<1>(gradient).unwrap()).collect();
            let norm = host.iter().flatten().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let at = |step: f64| {
                let moved = model.trained().zip(&host).map(|((name, parameter), gradient)| {
                    let values = parameter.values().unwrap().into_iter().zip(gradient);
                    let moved = values.map(|(x, g)| (f64::from(x) + step * f64::from(*g) / norm) as f32);
                    (name.to_owned(), moved.collect())
                });
                let moved = model.clone().with_trained_values(moved.collect()).unwrap();
                measure_divergence(&teacher, &moved, &rows, 1).unwrap()
            };
            let slope = 0.5 * (at(1e-3) - at(-1e-3)) / 2e-3;
            assert!(norm > 1e-3 && (slope - norm).abs() < 1e-2 * norm, "{slope} {norm}");
        }
    }
}
