//! Set H: causal [x_t, x_0] with strides, after NeMo's I-DLM: which positions see which, logits of both halves, cross-entropies, losses
//! and gradients.

use std::path::PathBuf;
use std::sync::Arc;

use fmflow_engine::pipeline::config::train::LossDivisor;
use fmflow_stages::backbone::{Attention, AttentionContext, find_visible_keys};
use fmflow_stages::data::packing::{PADDING, PositionRole, Row};
use fmflow_stages::flow::loss::LossCoefficients;
use fmflow_stages::train::gradient::{ForwardOptions, compute_update_gradient};
use fmflow_stages::train::update::{LossTerm, StridedObjective, TrainingTask, Update, build_update};
use serde_json::Value;

use super::harness::{Set, Tensors, close, close_to_largest, largest, number, wide};
use super::set_a::load;

/// Logits, relative to the largest: float32 on the CPU against float32 in PyTorch.
const LOGITS: f64 = 1e-4;
/// Cross-entropy of a position, absolute.
const POSITION: f64 = 1e-4;
/// Losses, relative.
const LOSS: f64 = 1e-5;
/// Gradients, relative to the largest of their tensor.
const GRADIENT: f64 = 1e-4;

/// The data of the set.
#[derive(Clone)]
struct Reference {
    cases: Arc<Tensors>,
    manifest: Arc<Value>,
    losses: Arc<Value>,
    model: PathBuf,
}

pub(crate) fn collect(set: &mut Set) {
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        set.know(&format!("model/{file}"));
    }
    let masks = set.tensors("masks.safetensors");
    for name in masks.names() {
        match name.split('.').collect::<Vec<_>>()[..] {
            [case, "mask", grid @ ("document" | "row")] => {
                let (masks, case, restart) = (Arc::clone(&masks), case.to_owned(), grid == "document");
                set.case(format!("masks/{case}/{grid}"), move || mask(&masks, &case, restart));
            }
            [_, "segment_ids" | "stride" | "position_ids"] => {}
            _ => set.unknown(format!("masks/{name}")),
        }
    }
    let reference = Reference {
        cases: set.tensors("cases.safetensors"),
        manifest: set.manifest(),
        losses: set.json("losses.json"),
        model: set.path("model"),
    };
    collect_cases(set, &reference);
    let gradients = set.tensors("gradients.safetensors");
    for part in ["noisy", "total"] {
        let (reference, gradients) = (reference.clone(), Arc::clone(&gradients));
        set.case(format!("gradients/{part}"), move || reference.gradients(&gradients, part));
    }
}

fn collect_cases(set: &mut Set, reference: &Reference) {
    for name in reference.cases.names() {
        let words: Vec<&str> = name.split('.').collect();
        let stride = words[0].strip_prefix('s').and_then(|s| s.parse::<usize>().ok());
        match (stride, &words[1..]) {
            (Some(stride), ["logits"]) => {
                let reference = reference.clone();
                set.case(format!("cases/{name}"), move || reference.logits(stride));
            }
            (Some(_), ["mask" | "ce_noisy" | "ce_clean"] | ["ce_noisy" | "ce_clean", "f64"]) | (None, _) => {}
            _ => set.unknown(format!("cases/{name}")),
        }
    }
    for name in reference.losses.as_object().unwrap().keys() {
        let (reference, name) = (reference.clone(), name.clone());
        set.case(format!("losses/{name}"), move || reference.loss(&name));
    }
    for stride in 1..4 {
        let reference = reference.clone();
        set.case(format!("update/s{stride}"), move || reference.rows_and_pairs(stride));
    }
}

/// Segment ids, with padding as ours.
fn segments(values: &[f64]) -> Vec<u32> {
    values.iter().map(|id| if *id < 0.0 { PADDING } else { *id as u32 }).collect()
}

/// Both halves of rows of `length` tokens.
fn twice<T: Copy>(values: &[T], length: usize) -> Vec<T> {
    values.chunks(length).flat_map(|row| [row, row].concat()).collect()
}

/// Checks every pair, and the positions.
fn mask(file: &Tensors, case: &str, restart: bool) {
    let get = |name: &str| file.get(&format!("{case}.{name}"));
    let (segments, stride) = (segments(&get("segment_ids").values), get("stride").ids()[0] as usize);
    let (length, grid) = (segments.len(), if restart { "document" } else { "row" });
    let positions = match restart {
        true => get("position_ids").ids(),
        false => twice(&(0..length as u32).collect::<Vec<_>>(), length),
    };
    let context = AttentionContext::new(Attention::Causal, 1, 2 * length)
        .with_positions(positions)
        .with_segments(twice(&segments, length))
        .with_stride(stride);
    let bounds = find_visible_keys(&context).unwrap();
    let seen = bounds.as_chunks::<4>().0.iter().flat_map(|[a, b, c, d]| {
        (0..2 * length as i32).map(move |key| (*a <= key && key < *b) || (*c <= key && key < *d))
    });
    assert_eq!(seen.collect::<Vec<_>>(), get(&format!("mask.{grid}")).flags(), "{case}");
}

impl Reference {
    fn length(&self) -> usize {
        self.cases.get("input_ids").shape[1]
    }

    fn mask(&self) -> u32 {
        number(&self.manifest["mask_id"]) as u32
    }

    fn rows(&self) -> Vec<Row> {
        let length = self.length();
        let (tokens, supervised) = (self.cases.get("input_ids").ids(), self.cases.get("supervised").flags());
        let segments = segments(self.cases.values("segment_ids"));
        let roles =
            segments.iter().zip(supervised).map(|(segment, supervised)| match (*segment, supervised) {
                (PADDING, _) => PositionRole::Padding,
                (_, true) => PositionRole::Supervised,
                (_, false) => PositionRole::Prompt,
            });
        let roles: Vec<PositionRole> = roles.collect();
        let parts = tokens.chunks(length).zip(segments.chunks(length)).zip(roles.chunks(length));
        let row = |((tokens, segments), roles): ((&[u32], &[u32]), &[PositionRole])| Row {
            tokens: tokens.to_vec(),
            segments: segments.to_vec(),
            roles: roles.to_vec(),
        };
        parts.map(row).collect()
    }

    fn update(&self, stride: usize, clean_weight: Option<f64>, normalise: LossDivisor) -> Update {
        let task = StridedObjective { mask: self.mask(), stride, clean_weight, normalise };
        build_update(1, 0, &self.rows(), 4, &TrainingTask::Strided(task))
    }

    /// The tokens of both halves, their positions, and the pairs that count.
    fn rows_and_pairs(&self, stride: usize) {
        let length = self.length();
        let update = self.update(stride, Some(0.2), LossDivisor::Corrupted);
        let batch = &update.micro_batches[0];
        let (noisy, clean) = (self.cases.get("noisy_ids").ids(), self.cases.get("input_ids").ids());
        let both =
            noisy.chunks(length).zip(clean.chunks(length)).flat_map(|(noisy, clean)| [noisy, clean].concat());
        assert_eq!(batch.tokens, both.collect::<Vec<_>>());
        let expected = self.cases.get("position_ids").ids();
        let places = batch.positions.iter().zip(&expected).zip(&batch.segments);
        // Positions of padding mean nothing: the reference writes 0.
        let wrong = places.filter(|((found, expected), segment)| **segment != PADDING && found != expected);
        assert_eq!((batch.positions.len(), wrong.count()), (expected.len(), 0));
        let mut found: Vec<(u32, u32)> = batch.terms.iter().map(|term| (term.place, term.target)).collect();
        found.sort_unstable();
        let mut expected = self.pairs("next_supervised", length);
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    /// Places and targets of the pairs of a support, in both halves: the noisy ones first.
    fn pairs(&self, support: &str, length: usize) -> Vec<(u32, u32)> {
        let (counted, targets) =
            (self.cases.get(&format!("support.{support}")).flags(), self.cases.values("target"));
        let pairs = (0..counted.len()).filter(|i| counted[*i]);
        let noisy = |i: usize| (2 * (i / length) * length + i % length) as u32;
        let noisy: Vec<(u32, u32)> = pairs.map(|i| (noisy(i), targets[i] as u32)).collect();
        let clean = noisy.iter().map(|(place, target)| (place + length as u32, *target));
        noisy.iter().copied().chain(clean).collect()
    }

    fn context(&self, stride: usize) -> AttentionContext {
        let (length, segments) = (self.length(), segments(self.cases.values("segment_ids")));
        AttentionContext::new(Attention::Causal, segments.len() / length, 2 * length)
            .with_positions(self.cases.get("position_ids").ids())
            .with_segments(twice(&segments, length))
            .with_stride(stride)
    }

    /// Logits of every token that is no padding, and cross-entropies of all pairs of both supports.
    fn logits(&self, stride: usize) {
        let (backbone, length, context) = (load(&self.model), self.length(), self.context(stride));
        let tokens = self.update(stride, None, LossDivisor::Corrupted).micro_batches.swap_remove(0).tokens;
        let (expected, vocabulary) =
            (self.cases.values(&format!("s{stride}.logits")), backbone.config().vocab_size);
        let tokens = backbone.tokens(&tokens, context.batch).unwrap();
        let hidden = backbone.hidden(tokens, &context).unwrap().flatten::<2>(0, 1);
        let found = wide(&backbone.logits(hidden).try_into_vec_as::<f32>().unwrap());
        let (limit, segments) =
            (LOGITS * largest(expected), twice(&segments(self.cases.values("segment_ids")), length));
        let rows = found.chunks(vocabulary).zip(expected.chunks(vocabulary)).zip(&segments);
        for (place, ((found, expected), _)) in
            rows.enumerate().filter(|(_, (_, segment))| **segment != PADDING)
        {
            close(&format!("logits of {place}"), found, expected, |_| limit);
        }
        for support in ["next_supervised", "masked_position"] {
            for (place, target) in self.pairs(support, length) {
                let logits = &found[place as usize * vocabulary..][..vocabulary];
                let total = logits.iter().map(|z| z.exp()).sum::<f64>().ln();
                let (row, at) = (place as usize / (2 * length), place as usize % (2 * length));
                let half = if at < length { "noisy" } else { "clean" };
                let expected =
                    self.cases.values(&format!("s{stride}.ce_{half}.f64"))[row * length + at % length];
                close(&format!("{half} {place}"), &[total - logits[target as usize]], &[expected], |_| {
                    POSITION
                });
            }
        }
    }

    /// A loss of the file, named by stride, support and divisor.
    fn loss(&self, name: &str) {
        let words: Vec<&str> = name.split('.').collect();
        let [stride, support, divisor, ref grid @ ..] = words[..] else {
            panic!("{name} has an unknown name")
        };
        let stride = stride.trim_start_matches('s').parse().unwrap();
        let normalise = match divisor {
            "div_pairs" => LossDivisor::Corrupted,
            "div_supervised" => LossDivisor::Tokens,
            _ => panic!("{name} has an unknown divisor"),
        };
        let (length, weight) = (self.length(), number(&self.manifest["clean_loss_weight"]));
        let mut update = self.update(stride, Some(weight), normalise);
        let batch = &mut update.micro_batches[0];
        match support {
            "next_supervised" => {}
            // Another definition of the pairs, which no objective of ours has: only the losses of given terms are compared.
            "masked_position" => {
                batch.terms = self.terms(support, weight);
                if normalise == LossDivisor::Corrupted {
                    update.divisor = batch.terms.len() as f64 / 2.0;
                }
            }
            _ => panic!("{name} has an unknown support"),
        }
        match grid {
            [] => {}
            ["ROW_GRID"] => {
                let rows = batch.rows;
                batch.positions = twice(&(0..length as u32).collect::<Vec<_>>().repeat(rows), length);
            }
            _ => panic!("{name} has an unknown grid"),
        }
        let expected = &self.losses[name];
        assert_eq!(update.divisor, number(&expected["divisor"]), "{name}");
        let (_, sum) = compute_update_gradient(&load(&self.model), &update, CAUSAL, 1).unwrap();
        let relative = |what: &str, found: f64, expected: &Value| {
            close(&format!("{name} {what}"), &[found], &[number(expected)], |e| LOSS * e);
        };
        relative("noisy", sum.by_time[0] / update.divisor, &expected["ce_noisy"]);
        if grid.is_empty() {
            relative("clean", sum.by_time[3] / update.divisor, &expected["ce_clean"]);
            relative("total", sum.weighted / update.divisor, &expected["total"]);
        }
    }

    fn terms(&self, support: &str, weight: f64) -> Vec<LossTerm> {
        let pairs = self.pairs(support, self.length());
        let half = pairs.len() / 2;
        let term = |(i, (place, target)): (usize, (u32, u32))| {
            let (cross_entropy, t) = if i < half { (1.0, 0.0) } else { (weight, 1.0) };
            let coefficients = LossCoefficients { cross_entropy, present: 0.0, constant: 0.0 };
            LossTerm { place, target, present: target, coefficients, t }
        };
        pairs.into_iter().enumerate().map(term).collect()
    }

    fn gradients(&self, expected: &Tensors, part: &str) {
        let stride = number(&self.manifest["params"]["grad_s"]) as usize;
        let weight = (part == "total").then(|| number(&self.manifest["clean_loss_weight"]));
        let (model, update) = (load(&self.model), self.update(stride, weight, LossDivisor::Corrupted));
        let (gradients, _) = compute_update_gradient(&model, &update, CAUSAL, 1).unwrap();
        let names = expected.names().into_iter().filter(|name| name.starts_with(part));
        assert_eq!(names.count(), model.parameters().len());
        for ((name, _), gradient) in model.parameters().zip(&gradients) {
            let found = wide(&gradient.clone().try_into_vec_as::<f32>().unwrap());
            close_to_largest(name, &found, expected.values(&format!("{part}.{name}")), GRADIENT);
        }
    }
}

const CAUSAL: ForwardOptions =
    ForwardOptions { attention: Attention::Causal, anneal: None, recompute: false };
