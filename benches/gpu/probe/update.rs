//! Whole updates of a model with random weights.

use std::time::Instant;

use burn_tensor::{Device, Tensor};
use fmflow_engine::pipeline::config::train::OptimizerSettings;
use fmflow_ops::Precision;
use fmflow_stages::backbone::{Attention, Backbone, TimeConditioning};
use fmflow_stages::data::packing::{PositionRole, Row};
use fmflow_stages::device::open_device;
use fmflow_stages::train::adamw::AdamW;
use fmflow_stages::train::gradient::{ForwardOptions, compute_update_gradient};
use fmflow_stages::train::update::{TrainingTask, build_update};
use serde_json::json;

use super::{Shape, report};

fn row(length: usize, vocabulary: usize, seed: usize) -> Row {
    let token = |i: usize| ((i * 7919 + seed * 104_729 + i / 3) % vocabulary) as u32;
    Row {
        tokens: (0..length).map(token).collect(),
        segments: vec![0; length],
        roles: vec![PositionRole::Supervised; length],
    }
}

fn settings() -> OptimizerSettings {
    let no_decay = vec!["norm".into()];
    OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip: Some(1.0), no_decay }
}

/// What an update trains on.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    /// Rows of an update, one at a time.
    pub(super) rows: usize,
    /// Tokens of a row.
    pub(super) length: usize,
    /// Whether blocks are recomputed in the backward pass.
    pub(super) recompute: bool,
}

/// The gradient of update `k`, and its loss.
fn differentiate(model: &Backbone, batch: Batch, k: usize) -> (Vec<Tensor<1>>, f64) {
    let numbers = k * batch.rows..(k + 1) * batch.rows;
    let rows: Vec<Row> = numbers.map(|seed| row(batch.length, model.config().vocab_size, seed)).collect();
    let update = build_update(1, k as u64, &rows, 1, &TrainingTask::Autoregressive);
    let how = ForwardOptions { attention: Attention::Causal, anneal: None, recompute: batch.recompute };
    let (gradients, sum) = compute_update_gradient(model, &update, how, 1).unwrap();
    (gradients, sum.weighted / update.divisor)
}

/// Loss and gradient of a small model on the CPU, and how far those of `device` are away.
pub(super) fn compare_with_cpu(device: &Device) {
    let cpu = open_device("cpu").unwrap();
    let config = Shape::named("tiny").config;
    for (precision, length) in [(Precision::F32, 96), (Precision::F32, 700), (Precision::Bf16, 700)] {
        let run = |device: &Device| {
            let model =
                Backbone::new(&config, TimeConditioning::None, 3, device).unwrap().computing_in(precision);
            let (gradients, loss) = differentiate(&model, Batch { rows: 1, length, recompute: true }, 1);
            let values = gradients.into_iter().flat_map(|g| g.try_into_vec_as::<f32>().unwrap());
            (loss, values.map(f64::from).collect::<Vec<f64>>())
        };
        let ((expected_loss, expected), (loss, found)) = (run(&cpu), run(device));
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let error =
            norm(&mut found.iter().zip(&expected).map(|(x, y)| x - y)) / norm(&mut expected.iter().copied());
        report(json!({
            "parity": format!("{precision:?}"), "length": length, "loss_cpu": expected_loss, "loss": loss,
            "gradient_error": error,
        }));
    }
}

/// Updates in bf16.
pub(super) fn measure(device: &Device, shape: &Shape, batch: Batch, updates: usize) {
    let start = Instant::now();
    let model = Backbone::new(&shape.config, TimeConditioning::None, 1, device).unwrap();
    let mut model = model.computing_in(Precision::Bf16);
    let mut adamw = AdamW::new(&settings(), &model).unwrap();
    device.sync().unwrap();
    report(json!({ "start": shape.name, "seconds": start.elapsed().as_secs_f64() }));
    for k in 0..updates {
        let start = Instant::now();
        let (gradients, loss) = differentiate(&model, batch, k);
        device.sync().unwrap();
        let gradient_seconds = start.elapsed().as_secs_f64();
        let (next, facts) = adamw.step(model, gradients, 1e-4, k as u64).unwrap();
        model = next;
        device.sync().unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let Batch { rows, length, recompute } = batch;
        report(json!({
            "update": k, "shape": shape.name, "rows": rows, "length": length, "recompute": recompute,
            "loss": loss, "norm": facts.grad_norm, "gradient_s": gradient_seconds, "seconds": seconds,
            "tokens_per_second": (rows * length) as f64 / seconds,
        }));
    }
}
