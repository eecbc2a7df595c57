//! Set B, losses: the generalized KL and the cross-entropy with their gradients, computed by the training code.

use std::sync::Arc;

use fmflow_engine::pipeline::config::train::{
    Loss, LossDivisor, LossPositions, ProbabilityPath, TimeSampling, TimeSettings,
};
use fmflow_stages::flow::path::{Corruption, Corruptor, SourceTokens};
use fmflow_stages::flow::scheduler::compute_weight;
use fmflow_stages::train::gradient::compute_logits_gradient;
use fmflow_stages::train::update::{FlowObjective, HiddenPlaces, LossTerm};

use super::harness::{Set, Tensors, close_but_rounding, largest, open_tested_device, wide};
use super::set_b::{TOLERANCE, exponent, polynomial};

/// The loss in one tensor of `loss.safetensors`, from the tensor's name.
struct Case {
    /// The exponent; `None` for the cross-entropy.
    exponent: Option<f64>,
    source: String,
    over: LossPositions,
    minus_inf: bool,
    what: String,
}

impl Case {
    /// `gkl.n2.mask.mask_logit_minus_inf.mean.f64` or `ce.uniform.changed.grad.f32`.
    fn parse(name: &str) -> Option<Self> {
        let (rest, dtype) = name.rsplit_once('.')?;
        ["f32", "f64"].contains(&dtype).then_some(())?;
        let (kind, rest) = rest.split_once('.')?;
        if kind == "ce" {
            let words: Vec<&str> = rest.split('.').collect();
            let over = match *words.get(1)? {
                "all" => LossPositions::Supervised,
                "changed" => LossPositions::Corrupted,
                _ => return None,
            };
            let what = match words[2..] {
                [] => "mean",
                ["grad"] => "grad_of_mean",
                _ => return None,
            };
            let (source, what) = (words[0].to_owned(), what.to_owned());
            return Some(Self { exponent: None, source, over, minus_inf: false, what });
        }
        let (rest, what) = rest.rsplit_once('.')?;
        let known = kind == "gkl" && ["none", "mean", "sum", "grad_of_mean"].contains(&what);
        let (rest, minus_inf) =
            rest.strip_suffix(".mask_logit_minus_inf").map_or((rest, false), |rest| (rest, true));
        let (n, source) = rest.rsplit_once('.')?;
        let (source, what) = (source.to_owned(), what.to_owned());
        let exponent = Some(exponent(n).filter(|_| known)?);
        Some(Self { exponent, source, over: LossPositions::Supervised, minus_inf, what })
    }

    /// The objective, as a training stage would have it.
    fn flow(&self) -> FlowObjective {
        let path = ProbabilityPath { mask_share: 1.0, scheduler: polynomial(self.exponent.unwrap_or(1.0)) };
        FlowObjective {
            corruptor: Corruptor { path, tokens: SourceTokens { mask: 0, used: 1 }, at_least: 0 },
            loss: if self.exponent.is_some() { Loss::GeneralizedKl } else { Loss::CrossEntropy },
            over: self.over,
            normalise: LossDivisor::Tokens,
            max_weight: None,
            time: TimeSettings { sampling: TimeSampling::Uniform, from: 0.0, to: 1.0, at_least_masked: 0 },
            shift: false,
            time_per_row: true,
            block: None,
            growth: None,
        }
    }

    /// The terms of all rows, except those that `skip` selects.
    fn terms(&self, file: &Tensors, skip: impl Fn(usize) -> bool) -> Vec<LossTerm> {
        let (flow, length) = (self.flow(), file.get("x_1").shape[1]);
        let (x_1, x_t) = (file.get("x_1").ids(), file.get(&format!("x_t_{}", self.source)).ids());
        let rows = x_1.chunks(length).zip(x_t.chunks(length)).enumerate().filter(|(row, _)| !skip(*row));
        let terms = |(row, (x_1, x_t)): (usize, (&[u32], &[u32]))| {
            let corrupted = x_1.iter().zip(x_t).map(|(a, b)| a != b).collect();
            let drawn = Corruption { x_t: x_t.to_vec(), corrupted };
            flow.terms(
                x_1,
                &vec![true; length],
                &drawn,
                file.values("t")[row],
                HiddenPlaces { first: row * length, before: None },
            )
        };
        rows.flat_map(terms).collect()
    }

    fn logits(&self, file: &Tensors) -> Vec<f32> {
        let (mut logits, v) = (file.get("logits").f32(), file.get("logits").shape[2]);
        if self.minus_inf {
            let mask = mask(file);
            logits.chunks_mut(v).for_each(|row| row[mask] = f32::NEG_INFINITY);
        }
        logits
    }

    fn check(&self, file: &Tensors, name: &str) {
        let [b, l, v] = file.get("logits").shape[..] else { panic!("logits are [B, L, V]") };
        let expected = file.values(name);
        let infinite = |row: usize| {
            self.exponent.is_some_and(|n| !compute_weight(polynomial(n), file.values("t")[row]).is_finite())
        };
        let finite: Vec<usize> = (0..b).filter(|row| !infinite(*row)).collect();
        let terms = self.terms(file, infinite);
        let divisor = match self.over {
            LossPositions::Supervised => b * l,
            LossPositions::Corrupted => terms.len(),
        } as f64;
        let device = open_tested_device();
        let (losses, gradient) =
            compute_logits_gradient(self.logits(file), v, &terms, divisor, &device).unwrap();
        let (losses, gradient) = (wide(&losses), wide(&gradient));
        let whole = finite.len() == b;
        match self.what.as_str() {
            "none" => {
                for (losses, row) in losses.chunks(l).zip(&finite) {
                    let part = (file, name, row * l..(row + 1) * l);
                    close_but_rounding(losses, part, |e| TOLERANCE * e.abs());
                }
            }
            "grad_of_mean" => {
                for row in &finite {
                    let range = row * l * v..(row + 1) * l * v;
                    let limit = TOLERANCE * largest(&expected[range.clone()]);
                    close_but_rounding(&gradient[range.clone()], (file, name, range), |_| limit);
                }
            }
            _ if !whole => assert!(!expected[0].is_finite(), "{name}: an infinite weight, but {expected:?}"),
            what => {
                let divisor = if what == "mean" { divisor } else { 1.0 };
                let found = losses.iter().sum::<f64>() / divisor;
                close_but_rounding(&[found], (file, name, 0..1), |e| TOLERANCE * e.abs());
            }
        }
        if !whole {
            let (all, _) =
                compute_logits_gradient(self.logits(file), v, &self.terms(file, |_| false), divisor, &device)
                    .unwrap();
            assert!(
                !all.iter().sum::<f32>().is_finite(),
                "{name}: training must see that the loss is not finite"
            );
        }
    }
}

/// The mask token: what x_t has where it differs from x_1.
fn mask(file: &Tensors) -> usize {
    let mut pairs = file.values("x_1").iter().zip(file.values("x_t_mask"));
    *pairs.find(|(x_1, x_t)| x_1 != x_t).expect("a masked position").1 as usize
}

pub(crate) fn losses(set: &mut Set) {
    let file = set.tensors("loss.safetensors");
    for name in file.names() {
        if ["logits", "x_1", "x_t_mask", "x_t_uniform", "t"].contains(&name.as_str()) {
            continue;
        }
        let known = Case::parse(&name).filter(|case| file.has(&format!("x_t_{}", case.source)));
        let Some(case) = known else {
            set.unknown(name);
            continue;
        };
        let file = Arc::clone(&file);
        set.case(format!("loss/{name}"), move || case.check(&file, &name));
    }
}
