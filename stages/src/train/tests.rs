//! Tests of training on a tiny backbone: results must not depend on how an update is split, and every objective must learn.

mod blocks;
mod growth;

use fmflow_engine::pipeline::config::train::{
    Loss, LossDivisor, LossPositions, OptimizerSettings, ProbabilityPath, Scheduler, TimeSampling,
    TimeSettings,
};

use super::adamw::AdamW;
use super::attention::Anneal;
use super::gradient::{ForwardOptions, compute_update_gradient};
use super::gradient_sums::FlatGradients;
use super::update::{FlowObjective, TrainingTask, build_update};
use crate::backbone::tests::tiny;
use crate::backbone::{Attention, Backbone, Precision, Qwen3Config, TimeConditioning};
use crate::data::packing::{PositionRole, Row};
use crate::device;
use crate::flow::path::{Corruptor, SourceTokens};

fn backbone() -> Backbone {
    conditioned(TimeConditioning::None)
}

fn conditioned(time: TimeConditioning) -> Backbone {
    let config = Qwen3Config { vocab_size: 32, initializer_range: 0.1, ..tiny(true) };
    Backbone::new(&config, time, 1, &device::open_device("cpu").unwrap()).unwrap()
}

/// Rows of two documents and some padding; the first tokens of a document are its prompt.
fn rows(count: usize) -> Vec<Row> {
    let row = |r: usize| Row {
        tokens: (0..12).map(|i| ((r * 5 + i * 3) % 30) as u32).collect(),
        segments: (0..12)
            .map(|i| {
                if i < 5 {
                    0
                } else if i < 10 {
                    1
                } else {
                    u32::MAX
                }
            })
            .collect(),
        roles: (0..12)
            .map(|i| {
                if i >= 10 {
                    PositionRole::Padding
                } else if i % 5 < 2 {
                    PositionRole::Prompt
                } else {
                    PositionRole::Supervised
                }
            })
            .collect(),
    };
    (0..count).map(row).collect()
}

fn flow(loss: Loss, over: LossPositions, normalise: LossDivisor, mask_share: f64) -> TrainingTask {
    let path = ProbabilityPath { mask_share, scheduler: Scheduler::Polynomial { exponent: 1.0 } };
    TrainingTask::Flow(FlowObjective {
        corruptor: Corruptor { path, tokens: SourceTokens { mask: 31, used: 31 }, at_least: 0 },
        loss,
        over,
        normalise,
        max_weight: Some(20.0),
        time: TimeSettings {
            sampling: TimeSampling::Stratified,
            from: 0.0,
            to: 1.0 - 1e-3,
            at_least_masked: 0,
        },
        shift: false,
        time_per_row: false,
        block: None,
        growth: None,
    })
}

/// The task in blocks, with or without a shift.
fn in_blocks(task: TrainingTask, block: usize, shift: bool) -> (TrainingTask, ForwardOptions) {
    let TrainingTask::Flow(flow) = task else { unreachable!("only flow has blocks") };
    let task = TrainingTask::Flow(FlowObjective { block: Some(block), shift, ..flow });
    (task, how(Attention::BlockCausal { block }))
}

fn how(attention: Attention) -> ForwardOptions {
    ForwardOptions { attention, anneal: None, recompute: false }
}

fn tasks() -> Vec<(TrainingTask, ForwardOptions)> {
    let elbo = || flow(Loss::Elbo, LossPositions::Corrupted, LossDivisor::Tokens, 1.0);
    let flat = || flow(Loss::CrossEntropy, LossPositions::Corrupted, LossDivisor::Corrupted, 1.0);
    let mixed = || flow(Loss::GeneralizedKl, LossPositions::Supervised, LossDivisor::Tokens, 0.5);
    let all = how(Attention::Bidirectional);
    let anneal = Some(Anneal { share: 0.4, seed: 7, step: 3 });
    vec![
        (TrainingTask::Autoregressive, how(Attention::Causal)),
        (elbo(), all),
        (flat(), all),
        (mixed(), all),
        (elbo(), ForwardOptions { anneal, ..how(Attention::Causal) }),
        in_blocks(elbo(), 2, false),
        in_blocks(flat(), 3, true),
        in_blocks(mixed(), 4, false),
    ]
}

/// All tasks, and one whose text grows.
fn all_tasks() -> Vec<(TrainingTask, ForwardOptions)> {
    let mut all = tasks();
    all.push((growth::growing(0.5, 2), how(Attention::Bidirectional)));
    all
}

fn flat(gradients: &FlatGradients) -> Vec<f32> {
    gradients.iter().flat_map(|g| g.clone().try_into_vec_as::<f32>().unwrap()).collect()
}

#[test]
fn accumulation_changes_neither_loss_nor_gradient() {
    // One batch of 32 rows, 32 batches of one row, and batches that do not divide 32.
    let (model, rows) = (backbone(), rows(32));
    for (task, how) in all_tasks() {
        let run = |per_device| {
            let update = build_update(7, 3, &rows, per_device, &task);
            let (gradients, sum) = compute_update_gradient(&model, &update, how, 1).unwrap();
            (flat(&gradients), sum.weighted / update.divisor, sum.unweighted())
        };
        let (whole, loss, unweighted) = run(32);
        let largest = whole.iter().fold(0f32, |m, g| m.max(g.abs()));
        assert!(largest > 0.0 && loss > 0.0);
        for per_device in [1, 5] {
            let (cut, other, other_unweighted) = run(per_device);
            // The same numbers are added in another order: a few units of f32 rounding (6e-8) over some hundred terms.
            assert!((loss - other).abs() < 1e-5 * loss, "{loss} {other}");
            assert!((unweighted - other_unweighted).abs() < 1e-5 * unweighted);
            let worst = whole.iter().zip(&cut).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst < 1e-5 * largest, "{worst} of {largest}");
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let rows = rows(6);
    for precision in [Precision::F32, Precision::Bf16] {
        let model = backbone().computing_in(precision);
        for (task, how) in all_tasks() {
            let update = build_update(7, 3, &rows, 2, &task);
            let run = |threads| {
                let (gradients, sum) = compute_update_gradient(&model, &update, how, threads).unwrap();
                (flat(&gradients).iter().map(|g| g.to_bits()).collect::<Vec<_>>(), sum)
            };
            assert_eq!(run(1), run(3));
        }
    }
}

#[test]
fn recomputing_blocks_changes_no_gradient() {
    let rows = rows(4);
    let cases = [
        (TimeConditioning::None, Precision::F32),
        (TimeConditioning::None, Precision::Bf16),
        (TimeConditioning::AdaLn { rank: 4 }, Precision::F32),
    ];
    for (time, precision) in cases {
        let model = conditioned(time).computing_in(precision);
        for (task, how) in all_tasks() {
            let update = build_update(7, 3, &rows, 2, &task);
            let run = |recompute| {
                let (gradients, sum) =
                    compute_update_gradient(&model, &update, ForwardOptions { recompute, ..how }, 1).unwrap();
                (flat(&gradients), sum)
            };
            let ((whole, sum), (again, other)) = (run(false), run(true));
            assert_eq!(sum, other);
            assert!(whole.iter().any(|g| *g != 0.0));
            let bits = |g: &[f32]| g.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&whole), bits(&again), "{time:?}, {precision:?}");
        }
    }
}

#[test]
fn prompts_and_padding_are_neither_corrupted_nor_learned() {
    let rows = rows(4);
    for (task, _) in tasks() {
        let update = build_update(1, 0, &rows, 2, &task);
        for (batch, originals) in update.micro_batches.iter().zip(rows.chunks(2)) {
            for (r, row) in originals.iter().enumerate() {
                let own = &batch.tokens[r * batch.length..][..batch.length];
                for i in (0..12).filter(|&i| row.roles[i] != PositionRole::Supervised) {
                    assert_eq!(own[i], row.tokens[i]);
                }
                assert!(!batch.halves || own[12..] == row.tokens, "the second half is clean");
            }
            assert!(batch.terms.iter().all(|term| (term.place as usize) < 2 * batch.length));
        }
        assert_eq!(update.tokens, 40);
    }
    let TrainingTask::Flow(mut shifted) =
        flow(Loss::Elbo, LossPositions::Supervised, LossDivisor::Tokens, 1.0)
    else {
        unreachable!()
    };
    shifted.shift = true;
    let update = build_update(1, 0, &rows[..1], 1, &TrainingTask::Flow(shifted));
    let places: Vec<u32> = update.micro_batches[0].terms.iter().map(|t| t.place).collect();
    assert_eq!(places, [1, 2, 3, 6, 7, 8], "position i - 1 predicts position i");
}

#[test]
fn a_shift_divides_by_what_has_a_term() {
    let mut rows = rows(8);
    let supervise = |role: &mut PositionRole| {
        if *role == PositionRole::Prompt {
            *role = PositionRole::Supervised;
        }
    };
    rows.iter_mut().flat_map(|row| &mut row.roles).for_each(supervise);
    for shift in [false, true] {
        let TrainingTask::Flow(mut flow) =
            flow(Loss::CrossEntropy, LossPositions::Corrupted, LossDivisor::Corrupted, 1.0)
        else {
            unreachable!("the helper makes a flow task")
        };
        flow.shift = shift;
        let update = build_update(1, 0, &rows, 8, &TrainingTask::Flow(flow));
        let terms: usize = update.micro_batches.iter().map(|batch| batch.terms.len()).sum();
        assert_eq!(update.divisor, terms as f64);
    }
}

fn optimizer(weight_decay: f64, no_decay: &[&str]) -> OptimizerSettings {
    let no_decay = no_decay.iter().map(|word| (*word).to_owned()).collect();
    OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay, clip: Some(1.0), no_decay }
}

#[test]
fn words_exempt_their_groups_from_decay_and_a_word_that_matches_nothing_is_an_error() {
    let model = backbone();
    assert!(AdamW::new(&optimizer(0.5, &["norms"]), &model).is_err());
    let zero = || model.parameters().map(|(_, p)| p.flat() * 0.0).collect();
    for words in [&[][..], &["norm"], &["norm", "embedding"]] {
        let mut optimizer = AdamW::new(&optimizer(0.5, words), &model).unwrap();
        let (after, _) = optimizer.step(model.clone(), zero(), 0.1, 0).unwrap();
        for ((name, old), (_, new)) in model.parameters().zip(after.parameters()) {
            // Without a gradient only decay moves a weight: by 1 - rate * decay.
            let exempt = words.iter().any(|word| super::adamw::is_exempt_from_decay(word, name));
            assert_eq!(
                exempt,
                words.iter().any(|w| name.contains(w) || *w == "embedding" && name.contains("embed"))
            );
            let factor = if exempt { 1.0 } else { 0.95 };
            let (old, new) = (old.values().unwrap(), new.values().unwrap());
            let apart = old.iter().zip(&new).fold(0f32, |m, (a, b)| m.max((a * factor - b).abs()));
            assert!(apart < 1e-7, "{name} with {words:?}: {apart}");
        }
    }
}

#[test]
fn a_small_model_learns_its_rows_by_every_objective() {
    let settings = optimizer(0.0, &["norm"]);
    let rows = rows(4);
    for (task, how) in tasks() {
        let mut model = backbone();
        let mut optimizer = AdamW::new(&settings, &model).unwrap();
        let (mut first, mut last) = (0.0, 0.0);
        for k in 0..60 {
            let update = build_update(5, k, &rows, 4, &task);
            let (gradients, sum) = compute_update_gradient(&model, &update, how, 1).unwrap();
            let facts;
            (model, facts) = optimizer.step(model, gradients, 1e-2, k).unwrap();
            assert!(facts.grad_norm > 0.0 && facts.update_ratio > 0.0);
            assert_eq!(facts.grad_norm_by_group.len(), 4);
            (first, last) = if k == 0 { (sum.unweighted(), last) } else { (first, sum.unweighted()) };
        }
        // With every objective, 60 updates at this rate end far below half of the first loss; the limit leaves room.
        assert!(last < 0.5 * first, "{task:?}: {first} -> {last}");
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_no_bit() {
    let model = backbone();
    let optimizer = AdamW::new(&optimizer(0.1, &["norm"]), &model).unwrap();
    let counters = super::state::TrainingCounters::default();
    let mut state =
        super::state::TrainingState { step: 0, saved: 0, model, optimizer, average: None, counters };
    let bits = |state: &super::state::TrainingState| {
        let weights = state.model.parameters().flat_map(|(_, p)| p.values().unwrap());
        let moments = state.optimizer.moments.values().flat_map(|m| [m.first.clone(), m.second.clone()]);
        let moments = moments.flat_map(|m| m.try_into_vec_as::<f32>().unwrap());
        weights.chain(moments).map(f32::to_bits).collect::<Vec<_>>()
    };
    let gradient = |bad: f32| {
        let one = |(at, (_, p)): (usize, (&str, &crate::backbone::Parameter))| {
            p.flat() * 0.0 + if at == 2 { bad } else { 0.01 }
        };
        state_gradient(&backbone(), one)
    };
    state.apply(gradient(0.02), 1e-3).unwrap();
    let before = bits(&state);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(state.apply(gradient(bad), 1e-3).is_err());
        assert_eq!((bits(&state), state.step), (before.clone(), 1));
    }
    state.apply(gradient(0.02), 1e-3).unwrap();
    assert_ne!(bits(&state), before);
}

fn state_gradient(
    model: &Backbone,
    one: impl Fn((usize, (&str, &crate::backbone::Parameter))) -> burn_tensor::Tensor<1>,
) -> FlatGradients {
    model.parameters().enumerate().map(one).collect()
}
