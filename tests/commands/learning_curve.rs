//! Comparison with PyTorch and transformers over 300 updates of masked flow training: loss and gradient norm of each.
//!
//! `tests/cases/data/learning_curve.json` was written by `benches/learning_curve.py`, which shares no code with fmflow and draws the
//! same weights, times and corruption from the same seed. This side uses the code of a training stage throughout: initial
//! weights, times and corruption ([`build_update`]), gradients, AdamW, learning rate. `FMFLOW_DEVICE` (default: `cpu`) names the device that
//! computes.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use fmflow_engine::pipeline::config::train::{
    Loss, LossDivisor, LossPositions, OptimizerSettings, ProbabilityPath, Scheduler, TimeSampling,
    TimeSettings,
};
use fmflow_engine::pipeline::config::{LearningRate, LearningRateShape};
use fmflow_stages::backbone::{Attention, Backbone, Precision, Qwen3Config, TimeConditioning};
use fmflow_stages::data::packing::{PADDING, PositionRole, Row};
use fmflow_stages::device;
use fmflow_stages::flow::path::{Corruptor, SourceTokens};
use fmflow_stages::train::adamw::AdamW;
use fmflow_stages::train::gradient::{ForwardOptions, compute_update_gradient};
use fmflow_stages::train::update::{FlowObjective, TrainingTask, build_update};
use serde_json::Value;

/// Tolerance of the loss of an update, absolute. In PyTorch, float32 and float64 differ by 2e-6 over the same curve, so this
/// limit is for mistakes, not for rounding.
const LOSS: f64 = 1e-3;
/// Tolerance of the gradient norm of an update, relative: 40 times the difference of float32 and float64 in PyTorch.
const NORM: f64 = 1e-3;

fn tested_device() -> String {
    std::env::var("FMFLOW_DEVICE").unwrap_or_else(|_| "cpu".into())
}

/// The recorded curve and its settings.
struct Reference(Value);

impl Reference {
    fn read() -> Self {
        Self(serde_json::from_str(include_str!("../cases/data/learning_curve.json")).unwrap())
    }

    /// The same training under PyTorch's autocast to bf16.
    fn read_autocast() -> Self {
        Self(serde_json::from_str(include_str!("../cases/data/learning_curve_autocast.json")).unwrap())
    }

    fn number(&self, path: &str) -> f64 {
        self.0
            .pointer(&format!("/settings/{path}"))
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("{path}"))
    }

    fn count(&self, path: &str) -> usize {
        self.number(path) as usize
    }

    /// (loss, gradient norm) of every update.
    fn curve(&self) -> Vec<(f64, f64)> {
        let columns = |line: &Value| (line[1].as_f64().unwrap(), line[2].as_f64().unwrap());
        self.0["curve"].as_array().unwrap().iter().map(columns).collect()
    }

    fn model(&self) -> Qwen3Config {
        let text = self.0["settings"]["model"].to_string().replacen('{', "{\"model_type\": \"qwen3\",", 1);
        Qwen3Config::parse(&text).unwrap()
    }

    fn optimizer(&self) -> OptimizerSettings {
        let words = self.0["settings"]["optimizer"]["no_decay"].as_array().unwrap();
        OptimizerSettings {
            beta1: self.number("optimizer/beta1"),
            beta2: self.number("optimizer/beta2"),
            epsilon: self.number("optimizer/epsilon"),
            weight_decay: self.number("optimizer/weight_decay"),
            clip: Some(self.number("optimizer/clip")),
            no_decay: words.iter().map(|word| word.as_str().unwrap().to_owned()).collect(),
        }
    }

    fn learning_rate(&self) -> LearningRate {
        LearningRate {
            peak: self.number("learning_rate/peak"),
            final_value: self.number("learning_rate/final"),
            warmup: self.count("learning_rate/warmup") as u64,
            shape: LearningRateShape::Cosine,
        }
    }

    fn flow(&self) -> FlowObjective {
        let mask = self.count("mask") as u32;
        FlowObjective {
            corruptor: Corruptor {
                path: ProbabilityPath { mask_share: 1.0, scheduler: Scheduler::Polynomial { exponent: 1.0 } },
                tokens: SourceTokens { mask, used: mask },
                at_least: 0,
            },
            loss: Loss::Elbo,
            over: LossPositions::Corrupted,
            normalise: LossDivisor::Tokens,
            max_weight: Some(self.number("max_weight")),
            time: TimeSettings {
                sampling: TimeSampling::Stratified,
                from: 0.0,
                to: 1.0 - self.number("epsilon"),
                at_least_masked: 0,
            },
            shift: false,
            time_per_row: false,
            block: None,
            growth: None,
        }
    }

    /// Row `number` of the data: documents that repeat one of 16 phrases of six tokens, then padding.
    fn row(&self, number: usize) -> Row {
        let mut row = Row::default();
        for (d, count) in self.0["settings"]["documents"].as_array().unwrap().iter().enumerate() {
            let (phrase, offset) = ((5 * number + 3 * d) % 16, (number / 16 + d) % 6);
            for i in 0..count.as_u64().unwrap() as usize {
                let place = (offset + i) % 6;
                row.tokens.push(((17 * phrase + 31 * place + phrase * place) % 120) as u32);
                row.segments.push(d as u32);
                row.roles.push(if i < self.count("prompt") {
                    PositionRole::Prompt
                } else {
                    PositionRole::Supervised
                });
            }
        }
        let length = self.count("length");
        row.tokens.resize(length, 0);
        row.segments.resize(length, PADDING);
        row.roles.resize(length, PositionRole::Padding);
        row
    }

    fn rows(&self, k: usize) -> Vec<Row> {
        let count = self.count("rows");
        (k * count..(k + 1) * count).map(|number| self.row(number)).collect()
    }
}

/// The settings of a run; a test changes one of them to see that the comparison notices.
struct Run {
    flow: FlowObjective,
    attention: Attention,
    optimizer: OptimizerSettings,
    learning_rate: LearningRate,
    seed: u64,
    one_document: bool,
    precision: Precision,
}

impl Run {
    fn new(reference: &Reference) -> Self {
        Self {
            flow: reference.flow(),
            attention: Attention::Bidirectional,
            optimizer: reference.optimizer(),
            learning_rate: reference.learning_rate(),
            seed: reference.count("seed") as u64,
            one_document: false,
            precision: Precision::F32,
        }
    }

    /// Loss and gradient norm of the first `count` updates.
    fn curve(self, reference: &Reference, count: usize) -> Vec<(f64, f64)> {
        let (steps, seed) = (reference.count("updates") as u64, reference.count("seed") as u64);
        let device = device::open_device(&tested_device()).unwrap();
        let model = Backbone::new(&reference.model(), TimeConditioning::None, seed, &device).unwrap();
        let mut model = model.computing_in(self.precision);
        let mut optimizer = AdamW::new(&self.optimizer, &model).unwrap();
        let (task, how) = (
            TrainingTask::Flow(self.flow),
            ForwardOptions { attention: self.attention, anneal: None, recompute: false },
        );
        let mut curve = Vec::with_capacity(count);
        for k in 0..count {
            let mut update =
                build_update(self.seed, k as u64, &reference.rows(k), reference.count("per_device"), &task);
            if self.one_document {
                update.micro_batches.iter_mut().for_each(|batch| batch.segments.fill(0));
            }
            let (gradients, sum) = compute_update_gradient(&model, &update, how, 2).unwrap();
            let rate = self.learning_rate.at(k as u64, steps);
            let (next, facts) = optimizer.step(model, gradients, rate, k as u64).unwrap();
            model = next;
            curve.push((sum.weighted / update.divisor, facts.grad_norm));
        }
        curve
    }
}

/// The largest absolute difference of losses, and the largest relative difference of norms.
fn largest_differences(found: &[(f64, f64)], expected: &[(f64, f64)]) -> (f64, f64) {
    let pairs = || found.iter().zip(expected);
    // `f64::max` ignores NaN, so a curve of NaN would have the smallest difference of all.
    assert!(found.iter().chain(expected).all(|(loss, norm)| loss.is_finite() && norm.is_finite()));
    let losses = pairs().map(|(f, e)| (f.0 - e.0).abs());
    let norms = pairs().map(|(f, e)| (f.1 / e.1 - 1.0).abs());
    (losses.fold(0.0, f64::max), norms.fold(0.0, f64::max))
}

#[test]
fn three_hundred_updates_match_the_losses_of_pytorch() {
    let reference = Reference::read();
    let expected = reference.curve();
    assert_eq!((expected.len(), reference.count("updates")), (300, 300));
    let found = Run::new(&reference).curve(&reference, expected.len());
    if tested_device() != "cpu" {
        // A GPU may round factors to TF32, which has no fewer bits than bf16.
        return assert_means_are_near(&found, &expected);
    }
    for (k, (f, e)) in found.iter().zip(&expected).enumerate() {
        assert!((f.0 - e.0).abs() <= LOSS, "update {k}: loss {}, expected {}", f.0, e.0);
        assert!((f.1 - e.1).abs() <= NORM * e.1, "update {k}: gradient norm {}, expected {}", f.1, e.1);
    }
    let (loss, norm) = largest_differences(&found, &expected);
    println!("largest difference of losses {loss:.1e}, of gradient norms {norm:.1e} relative");
    // The curve has to show learning, or the comparison would mean little: the last losses are far below the first.
    let last = found[280..].iter().map(|(loss, _)| loss).sum::<f64>() / 20.0;
    assert!(found[0].0 > 4.0 && last < 0.1, "{} -> {last}", found[0].0);
}

/// Means of 50 losses differ by 2 % at most.
fn assert_means_are_near(found: &[(f64, f64)], expected: &[(f64, f64)]) {
    let mean = |curve: &[(f64, f64)]| curve.iter().map(|(loss, _)| loss).sum::<f64>() / curve.len() as f64;
    for from in (0..300).step_by(50) {
        let (found, expected) = (mean(&found[from..from + 50]), mean(&expected[from..from + 50]));
        assert!((found - expected).abs() <= 0.02 * expected, "updates from {from} on: {found}, {expected}");
    }
}

/// Products with factors in bf16 learn as PyTorch does under autocast, which is up to 0.8 % from its own f32. The limit is for mistakes: a
/// loss that is not summed in f32, or weights that are kept in bf16, leaves it.
#[test]
fn three_hundred_updates_in_bf16_stay_near_the_losses_of_pytorch_under_autocast() {
    let (reference, autocast) = (Reference::read(), Reference::read_autocast());
    assert_eq!(reference.0["settings"], autocast.0["settings"]);
    let (exact, expected) = (reference.curve(), autocast.curve());
    let found = Run { precision: Precision::Bf16, ..Run::new(&reference) }.curve(&reference, expected.len());
    let (loss, norm) = largest_differences(&found, &exact);
    println!("largest difference from f32: of losses {loss:.1e}, of gradient norms {norm:.1e} relative");
    assert!(loss > LOSS, "rounding would change nothing: {loss:.1e}");
    assert_means_are_near(&found, &expected);
}

#[test]
fn the_tolerance_detects_a_change_of_one_setting() {
    let reference = Reference::read();
    type Change = fn(&mut Run);
    let changes: [(&str, Change); 9] = [
        ("beta2", |run| run.optimizer.beta2 = 0.999),
        ("weight decay", |run| run.optimizer.weight_decay = 0.0),
        ("no clip", |run| run.optimizer.clip = None),
        ("warm-up", |run| run.learning_rate.warmup = 21),
        ("divisor", |run| run.flow.normalise = LossDivisor::Corrupted),
        ("cap of the weight", |run| run.flow.max_weight = None),
        ("attention", |run| run.attention = Attention::Causal),
        ("documents", |run| run.one_document = true),
        ("seed", |run| run.seed += 1),
    ];
    let expected = &reference.curve()[..40];
    for (what, change) in changes {
        let mut run = Run::new(&reference);
        change(&mut run);
        let (loss, _) = largest_differences(&run.curve(&reference, expected.len()), expected);
        assert!(loss > 3.0 * LOSS, "{what}: {loss:.1e}");
    }
}
