//! Set C: masked-diffusion losses weighted by 1/sigma, with and without shift, and their gradients.
//!
//! sigma is the reference's noise level, 1 - t here; 1/sigma is the ELBO weight of the linear scheduler. Terms and gradients come
//! from the training code, the reference's divisors (all B L positions, or those that take part) from the manifest.

use std::sync::Arc;

use fmflow_engine::pipeline::config::train::{
    Loss, LossDivisor, LossPositions, ProbabilityPath, Scheduler, TimeSampling, TimeSettings,
};
use fmflow_stages::data::packing::{PositionRole, Row};
use fmflow_stages::flow::path::{Corruption, Corruptor, SourceTokens};
use fmflow_stages::train::gradient::compute_logits_gradient;
use fmflow_stages::train::update::{FlowObjective, HiddenPlaces, LossTerm, TrainingTask, build_update};
use serde_json::Value;

use super::harness::{Set, Tensors, close, close_each, close_to_largest, open_tested_device, wide};

/// Relative tolerance of losses and gradients.
const TOLERANCE: f64 = 1e-4;

/// What the sum is divided by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Divisor {
    All,
    TakingPart,
}

/// One loss of the file.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    /// The case whose `noisy_ids` and `sigma` it uses.
    data: String,
    shift: bool,
    divisor: Divisor,
    masked: Option<u64>,
    mask: u32,
}

pub(crate) fn collect(set: &mut Set) {
    let (file, manifest) = (set.tensors("losses.safetensors"), set.manifest());
    let mask = manifest["mask_id"].as_u64().unwrap() as u32;
    for name in file.names() {
        let known = match name.rsplit_once('.') {
            None => ["logits", "input_ids", "src_mask"].contains(&name.as_str()),
            Some((case, "loss")) => {
                let found = parse(&manifest, &file, case, mask);
                if let Some(found) = found.clone() {
                    let file = Arc::clone(&file);
                    set.case(case, move || found.check(&file));
                }
                found.is_some()
            }
            Some((case, "grad" | "noisy_ids" | "sigma" | "targets")) => file.has(&format!("{case}.loss")),
            _ => false,
        };
        if !known {
            set.unknown(name);
        }
    }
    for key in manifest.as_object().unwrap().keys() {
        match key.as_str() {
            "ddm_trainer_with_nothing_masked" => set.case("nothing_masked_is_finite", nothing_masked),
            _ if key.starts_with("block_masking_") => {} // statistics of a corruption that is not ours
            "set" | "split" | "script" | "versions" | "params" | "reference" | "mask_id" | "pad_id" => {}
            "files" | "cases" => {}
            _ if manifest[key].is_string() => {} // a note
            _ => set.unknown(key),
        }
    }
}

fn parse(manifest: &Value, file: &Tensors, name: &str, mask: u32) -> Option<Case> {
    if let Some(table) = name.strip_prefix("table.") {
        let (shift, divisor) = table.split_once('.')?;
        let what =
            manifest["files"]["losses.safetensors"]["tensors"][format!("{name}.loss")]["what"].as_str()?;
        let words: Vec<&str> = what.split([' ', ';']).collect();
        return Some(Case {
            name: name.to_owned(),
            data: words.into_iter().find(|word| file.has(&format!("{word}.sigma")))?.to_owned(),
            shift: ["noshift", "shift"].iter().position(|known| *known == shift)? == 1,
            divisor: match divisor {
                "div_BL" => Divisor::All,
                "div_masked" => Divisor::TakingPart,
                _ => return None,
            },
            masked: None,
            mask,
        });
    }
    let entry = &manifest["cases"][name];
    let divisor = entry["divisor"].as_str()?;
    Some(Case {
        name: name.to_owned(),
        data: name.to_owned(),
        shift: entry["shift"].as_bool()?,
        divisor: match divisor {
            _ if divisor.starts_with("B*L") => Divisor::All,
            _ if divisor.starts_with("number of masked positions") => Divisor::TakingPart,
            _ => return None,
        },
        masked: Some(entry["n_masked"].as_u64()?),
        mask,
    })
}

fn flow(shift: bool, mask: u32) -> FlowObjective {
    let path = ProbabilityPath { mask_share: 1.0, scheduler: Scheduler::Polynomial { exponent: 1.0 } };
    FlowObjective {
        corruptor: Corruptor { path, tokens: SourceTokens { mask, used: mask }, at_least: 0 },
        loss: Loss::Elbo,
        over: LossPositions::Corrupted,
        normalise: LossDivisor::Corrupted,
        max_weight: None,
        time: TimeSettings { sampling: TimeSampling::Uniform, from: 0.0, to: 1.0, at_least_masked: 0 },
        shift,
        time_per_row: true,
        block: None,
        growth: None,
    }
}

impl Case {
    fn terms(&self, file: &Tensors, length: usize) -> Vec<LossTerm> {
        let clean = format!("{}.targets", self.data);
        let x_1 = file.get(if file.has(&clean) { &clean } else { "input_ids" }).ids();
        let x_t = file.get(&format!("{}.noisy_ids", self.data)).ids();
        let sigma = file.values(&format!("{}.sigma", self.data));
        let flow = flow(self.shift, self.mask);
        let row = |(row, (x_1, x_t)): (usize, (&[u32], &[u32]))| {
            let corrupted: Vec<bool> = x_t.iter().map(|token| *token == self.mask).collect();
            let drawn = Corruption { x_t: x_t.to_vec(), corrupted };
            flow.terms(
                x_1,
                &vec![true; length],
                &drawn,
                1.0 - sigma[row],
                HiddenPlaces { first: row * length, before: None },
            )
        };
        x_1.chunks(length).zip(x_t.chunks(length)).enumerate().flat_map(row).collect()
    }

    fn check(&self, file: &Tensors) {
        let [b, l, v] = file.get("logits").shape[..] else { panic!("logits are [B, L, V]") };
        let terms = self.terms(file, l);
        if let Some(masked) = self.masked {
            let noisy = file.get(&format!("{}.noisy_ids", self.data)).ids();
            let count = noisy.iter().filter(|token| **token == self.mask).count() as u64;
            let first = noisy.iter().step_by(l).filter(|token| **token == self.mask).count() as u64;
            // The reference counts all masks, or those that take part.
            assert!([count, count - u64::from(self.shift) * first].contains(&masked), "{count} {first}");
        }
        let divisor = match self.divisor {
            Divisor::All => b * l,
            Divisor::TakingPart => terms.len(),
        }
        .max(1) as f64;
        let device = open_tested_device();
        let (losses, gradient) =
            compute_logits_gradient(file.get("logits").f32(), v, &terms, divisor, &device).unwrap();
        let loss = losses.iter().map(|x| f64::from(*x)).sum::<f64>() / divisor;
        close_each(&self.name, &[loss], &[file.scalar(&format!("{}.loss", self.name))], TOLERANCE);
        let expected = file.values(&format!("{}.grad", self.name));
        let (gradient, row) = (wide(&gradient), l * v);
        close_to_largest(&self.name, &gradient, expected, TOLERANCE);
        for (found, expected) in gradient.chunks(row).zip(expected.chunks(row)) {
            // Rows have different weights, so each is also compared at its own scale.
            close_to_largest(&self.name, found, expected, TOLERANCE);
        }
        let scored: Vec<f64> = terms.iter().map(|t| f64::from(t.place)).collect();
        let silent = (0..b * l).filter(|place| !scored.contains(&(*place as f64)));
        let silent: Vec<f64> =
            silent.flat_map(|place| gradient[place * v..(place + 1) * v].to_vec()).collect();
        close("positions that do not count", &silent, &vec![0.0; silent.len()], |_| 0.0);
    }
}

/// If nothing is masked, the reference's trainer divides 0 by 0; our divisor is at least 1.
fn nothing_masked() {
    let row = Row { tokens: vec![1, 2, 3], segments: vec![0; 3], roles: vec![PositionRole::Prompt; 3] };
    let update = build_update(1, 0, &[row], 1, &TrainingTask::Flow(flow(true, 9)));
    assert_eq!((update.divisor, update.micro_batches[0].terms.len()), (1.0, 0));
}
