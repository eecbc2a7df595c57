//! Set D: a whole training run by PyTorch (AdamW, clipping, warmup), the gradients of its first update, and learning rates.

use std::path::PathBuf;
use std::sync::Arc;

use fmflow_engine::pipeline::config::train::OptimizerSettings;
use fmflow_engine::pipeline::config::{LearningRate, LearningRateShape};
use fmflow_stages::backbone::{Attention, Backbone};
use fmflow_stages::flow::loss::LossCoefficients;
use fmflow_stages::train::adamw::AdamW;
use fmflow_stages::train::gradient::{ForwardOptions, compute_update_gradient};
use fmflow_stages::train::gradient_sums::FlatGradients;
use fmflow_stages::train::update::{LossTerm, MicroBatch, Update};
use serde_json::Value;

use super::harness::{Set, Tensors, close, close_each, close_to_largest, number, numbers, wide};
use super::set_a::load;

/// Relative tolerance of the loss of an update.
const LOSS: f64 = 1e-5;
/// Relative tolerance of gradient norms.
const NORM: f64 = 1e-3;
/// Absolute tolerance of the final weights and their statistics.
const WEIGHT: f64 = 1e-4;
/// Tolerance of gradients, relative to the largest of their tensor; the same as for logits.
const GRADIENT: f64 = 1e-4;
/// Tolerance of learning rates, relative to their peak: only float64 rounding.
const RATE: f64 = 1e-14;
/// The reference does not recompute blocks in the backward pass.
const PLAIN: ForwardOptions =
    ForwardOptions { attention: Attention::Bidirectional, anneal: None, recompute: false };

/// The variants of the run, and what they exempt from decay.
const VARIANTS: [(&str, &[&str]); 2] = [("all_decay", &[]), ("norms_not_decayed", &["norm"])];

/// The data and settings of the run.
#[derive(Clone, Debug)]
struct Reference {
    file: Arc<Tensors>,
    stats: Arc<Value>,
    manifest: Arc<Value>,
    initial: PathBuf,
    last: Arc<Tensors>,
}

pub(crate) fn collect(set: &mut Set) {
    let manifest = set.manifest();
    let reference = Reference {
        file: set.tensors("trajectory.safetensors"),
        stats: set.json("final_weights_stats.json"),
        initial: set.path(manifest["initial_weights"].as_str().unwrap()),
        last: set.tensors("final_weights.safetensors"),
        manifest: Arc::clone(&manifest),
    };
    for name in reference.file.names() {
        let words: Vec<&str> = name.split('.').collect();
        let known = match words[..] {
            ["x_1" | "x_t" | "loss_mask" | "lr"] => true,
            [variant, "f32" | "f64", "loss" | "grad_norm"] => VARIANTS.iter().any(|(v, _)| *v == variant),
            _ => false,
        };
        if !known {
            set.unknown(format!("trajectory/{name}"));
        }
    }
    for variant in reference.stats.as_object().unwrap().keys() {
        // `all_decay_f64`: the same run in float64.
        let run = variant.strip_suffix("_f64").unwrap_or(variant);
        let Some((_, exempt)) = VARIANTS.iter().find(|(known, _)| *known == run) else {
            set.unknown(format!("final_weights_stats/{variant}"));
            continue;
        };
        for accumulation in ["whole_batch", "row_by_row"] {
            let (reference, variant) = (reference.clone(), variant.clone());
            set.case(format!("trajectory/{variant}/{accumulation}"), move || {
                trajectory(&reference, &variant, exempt, accumulation == "row_by_row");
            });
        }
    }
    let gradients = set.tensors("step0_gradients.safetensors");
    set.case("step0_gradients", move || first_gradients(&reference, &gradients));
    let rates = set.json("lr_schedules.json");
    for (name, factors) in rates.as_object().unwrap() {
        schedule(set, name, factors);
    }
    let (warmup, total) = (manifest["params"]["warmup"].as_u64(), manifest["params"]["total"].as_u64());
    let (warmup, total) = warmup.zip(total).unwrap();
    set.case("lr_schedules/every_step_in_closed_form", move || closed_forms(warmup, total));
}

impl Reference {
    fn parameter(&self, name: &str) -> f64 {
        number(&self.manifest["params"][name])
    }

    /// Update `k` of the run: tokens from the file, and flat cross-entropy at the positions of the loss mask.
    fn update(&self, k: usize, by_row: bool) -> Update {
        let [_, b, l] = self.file.get("x_1").shape[..] else { panic!("x_1 is [steps, B, L]") };
        let own = |name: &str| self.file.values(name)[k * b * l..(k + 1) * b * l].to_vec();
        let (x_1, x_t, mask) = (own("x_1"), own("x_t"), own("loss_mask"));
        let rows = if by_row { 1 } else { b };
        let batch = |first: usize| {
            let range = first * l..(first + rows) * l;
            let counted = range.clone().filter(|i| mask[*i] != 0.0);
            let coefficients = LossCoefficients { cross_entropy: 1.0, present: 0.0, constant: 0.0 };
            MicroBatch {
                first: first as u64,
                rows,
                length: l,
                halves: false,
                stride: None,
                tokens: x_t[range.clone()].iter().map(|x| *x as u32).collect(),
                positions: range.clone().map(|i| (i % l) as u32).collect(),
                segments: vec![0; rows * l],
                times: vec![0.0; rows],
                terms: counted
                    .map(|i| LossTerm {
                        place: (i - range.start) as u32,
                        target: x_1[i] as u32,
                        present: x_t[i] as u32,
                        coefficients,
                        t: 0.0,
                    })
                    .collect(),
            }
        };
        Update {
            micro_batches: (0..b).step_by(rows).map(batch).collect(),
            divisor: mask.iter().sum(),
            tokens: (b * l) as u64,
        }
    }

    fn optimizer(&self, exempt: &[&str]) -> OptimizerSettings {
        let betas = numbers(&self.manifest["params"]["betas"]);
        OptimizerSettings {
            beta1: betas[0],
            beta2: betas[1],
            epsilon: self.parameter("eps"),
            weight_decay: self.parameter("wd"),
            clip: Some(self.parameter("clip")),
            no_decay: exempt.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    fn learning_rate(&self) -> LearningRate {
        let (peak, warmup) = (self.parameter("lr"), self.parameter("warmup") as u64);
        LearningRate { peak, final_value: 0.0, warmup, shape: LearningRateShape::Cosine }
    }
}

fn host(gradients: &FlatGradients) -> Vec<Vec<f64>> {
    gradients.iter().map(|g| wide(&g.clone().try_into_vec_as::<f32>().unwrap())).collect()
}

/// Compares the whole run: loss, gradient norm and learning rate of every update, and the final weights. With `by_row`, blocks
/// are also recomputed in the backward pass.
fn trajectory(reference: &Reference, stats: &str, exempt: &[&str], by_row: bool) {
    let variant = stats.strip_suffix("_f64").unwrap_or(stats);
    let mut model = load(&reference.initial);
    let mut optimizer = AdamW::new(&reference.optimizer(exempt), &model).unwrap();
    let (rates, rate) = (reference.file.values("lr"), reference.learning_rate());
    let steps = rates.len();
    for k in 0..steps {
        let what = format!("update {k}");
        let update = reference.update(k, by_row);
        let (gradients, sum) =
            compute_update_gradient(&model, &update, ForwardOptions { recompute: by_row, ..PLAIN }, 1)
                .unwrap();
        // The set has them for one variant; while the learning rate is 0, the variants have the same weights.
        if variant == VARIANTS[0].0 || rates[..k].iter().all(|rate| *rate == 0.0) {
            norms_agree(reference, k, &model, &gradients);
        }
        let learning_rate = rate.at(k as u64, steps as u64);
        close("learning rate", &[learning_rate], &[rates[k]], |_| RATE * rate.peak);
        let (next, facts) = optimizer.step(model, gradients, learning_rate, k as u64).unwrap();
        model = next;
        for dtype in ["f32", "f64"] {
            let of = |name: &str| [reference.file.values(&format!("{variant}.{dtype}.{name}"))[k]];
            close_each(&format!("{what} loss"), &[sum.weighted / update.divisor], &of("loss"), LOSS);
            close_each(&format!("{what} norm"), &[facts.grad_norm], &of("grad_norm"), NORM);
        }
    }
    weights_agree(reference, stats, &model);
}

/// Compares the norms per tensor that the manifest has for the first updates.
fn norms_agree(reference: &Reference, k: usize, model: &Backbone, gradients: &FlatGradients) {
    let listed = reference.manifest["per_tensor_grad_norm_step0_step1"].as_array();
    let Some(expected) = listed.and_then(|list| list.get(k)) else { return };
    for ((name, _), gradient) in model.parameters().zip(host(gradients)) {
        let norm = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
        close_each(name, &[norm], &[number(&expected[name])], NORM);
    }
}

fn weights_agree(reference: &Reference, variant: &str, model: &Backbone) {
    let stats = reference.stats[variant].as_object().unwrap();
    assert_eq!(stats.len(), model.parameters().len());
    for (name, parameter) in model.parameters() {
        let (values, stats) = (wide(&parameter.values().unwrap()), &stats[name]);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
        let expected = [number(&stats["mean"]), number(&stats["std"])];
        close(name, &[mean, variance.sqrt()], &expected, |_| WEIGHT);
        let first = numbers(&stats["first8"]);
        close(name, &values[..first.len()], &first, |_| WEIGHT);
        if variant.starts_with("all_decay") {
            close(name, &values, reference.last.values(name), |_| WEIGHT);
        }
    }
    assert_eq!(reference.last.names().len(), model.parameters().len());
}

fn first_gradients(reference: &Reference, expected: &Tensors) {
    let model = load(&reference.initial);
    let update = reference.update(0, false);
    let (gradients, _) = compute_update_gradient(&model, &update, PLAIN, 1).unwrap();
    assert_eq!(expected.names().len(), model.parameters().len());
    for ((name, _), gradient) in model.parameters().zip(host(&gradients)) {
        close_to_largest(name, &gradient, expected.values(name), GRADIENT);
    }
}

/// Adds the case of a schedule such as `cosine.warmup5.total50`: the factors at some updates.
fn schedule(set: &mut Set, name: &str, factors: &Value) {
    let words: Vec<&str> = name.split('.').collect();
    let parsed = match words[..] {
        [kind, warmup, total] => {
            let count = |word: &str, key: &str| word.strip_prefix(key)?.parse::<u64>().ok();
            count(warmup, "warmup").zip(count(total, "total")).map(|counts| (kind, counts))
        }
        _ => None,
    };
    let shape = match parsed.map(|(kind, _)| kind) {
        Some("cosine" | "cosine_with_min_lr") => LearningRateShape::Cosine,
        Some("linear") => LearningRateShape::Linear,
        Some("constant" | "constant_with_warmup") => LearningRateShape::Constant,
        _ => return set.unknown(format!("lr_schedules/{name}")),
    };
    let (kind, (warmup, total)) = parsed.unwrap();
    let warmup = if kind == "constant" { 0 } else { warmup };
    // The floor is the factor after the last update.
    let final_value = number(&factors[total.to_string()]);
    let rate = LearningRate { peak: 1.0, final_value, warmup, shape };
    let factors: Vec<(u64, f64)> =
        factors.as_object().unwrap().iter().map(|(k, f)| (k.parse().unwrap(), number(f))).collect();
    set.case(format!("lr_schedules/{name}"), move || {
        for (k, factor) in factors {
            // After the last update the reference's cosine rises again, ours stays at its floor; no run gets there.
            let expected = if k > total { final_value } else { factor };
            close(&format!("update {k}"), &[rate.at(k, total)], &[expected], |_| RATE);
        }
    });
}

/// Compares every shape at every update with its definition.
fn closed_forms(warmup: u64, total: u64) {
    let (peak, floor, decay) = (3e-3, 4e-4, (total - warmup) / 3);
    let shapes = [
        LearningRateShape::Constant,
        LearningRateShape::Linear,
        LearningRateShape::Cosine,
        LearningRateShape::WarmupStableDecay { decay },
    ];
    for shape in shapes {
        let rate = LearningRate { peak, final_value: floor, warmup, shape };
        for k in 0..total {
            let done = |start: u64| (k as f64 - start as f64).max(0.0) / (total - start) as f64;
            let after = match shape {
                LearningRateShape::Constant => peak,
                LearningRateShape::Linear => peak + (floor - peak) * done(warmup),
                LearningRateShape::Cosine => {
                    floor + (peak - floor) * (std::f64::consts::FRAC_PI_2 * done(warmup)).cos().powi(2)
                }
                LearningRateShape::WarmupStableDecay { .. } => peak + (floor - peak) * done(total - decay),
            };
            let expected = if k < warmup { peak * (k as f64 / warmup as f64) } else { after };
            close(&format!("{shape:?} {k}"), &[rate.at(k, total)], &[expected], |_| RATE * peak);
        }
    }
}
