//! Set L: low-rank adapters, after PEFT: logits with an adapter and with merged weights, an adapter that is new, gradients, and a run
//! of AdamW on the adapter alone.

use std::path::PathBuf;
use std::sync::Arc;

use fmflow_engine::pipeline::config::AdapterSettings;
use fmflow_engine::pipeline::config::train::OptimizerSettings;
use fmflow_stages::backbone::{Attention, AttentionContext, Backbone};
use fmflow_stages::flow::loss::LossCoefficients;
use fmflow_stages::train::adamw::AdamW;
use fmflow_stages::train::gradient::{ForwardOptions, compute_update_gradient};
use fmflow_stages::train::update::{LossTerm, MicroBatch, Update};
use serde_json::Value;

use super::harness::{Set, Tensors, close, largest, number, numbers, wide};
use super::set_a::load;

/// Logits, relative to the largest.
const LOGITS: f64 = 1e-4;
/// Merged weights, absolute.
const MERGED: f64 = 1e-6;
/// Gradients, relative to the largest of the whole adapter.
const GRADIENT: f64 = 1e-4;
/// Losses and gradient norms, relative.
const LOSS: f64 = 1e-5;
/// The adapter after the run, absolute: from a trained one, and from a new one, whose tiny gradients AdamW normalizes.
const FINAL: [(&str, f64); 2] = [("from_adapter", 3e-5), ("from_init", 1e-4)];
/// What PEFT puts before a name.
const PREFIX: &str = "base_model.model.";

/// One adapter of the set, with its data.
#[derive(Clone)]
struct Adapter {
    settings: AdapterSettings,
    base: PathBuf,
    /// The trained adapter, and the new one.
    values: [Arc<Tensors>; 2],
    data: Arc<Tensors>,
    manifest: Arc<Value>,
}

pub(crate) fn collect(set: &mut Set) {
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        set.know(&format!("base/{file}"));
    }
    let (manifest, data) = (set.manifest(), set.tensors("data.safetensors"));
    let plain = set.tensors("base_logits.safetensors");
    for attention in plain.names() {
        let (base, data, plain) = (set.path("base"), Arc::clone(&data), Arc::clone(&plain));
        set.case(format!("base/{attention}"), move || {
            compare_logits(&load(&base), &data, &attention, plain.values(&attention));
        });
    }
    for name in manifest["params"]["adapters"].as_object().unwrap().keys() {
        let values = [name.clone(), format!("{name}_init")]
            .map(|folder| set.tensors(&format!("{folder}/adapter_model.safetensors")));
        let written = [name.clone(), format!("{name}_init")]
            .map(|folder| set.json(&format!("{folder}/adapter_config.json")));
        let adapter = Adapter {
            settings: read_settings(&written[0]),
            base: set.path("base"),
            values,
            data: Arc::clone(&data),
            manifest: Arc::clone(&manifest),
        };
        assert_eq!(read_settings(&written[1]), adapter.settings);
        collect_adapter(set, name, &adapter, &plain);
    }
}

fn read_settings(written: &Value) -> AdapterSettings {
    let mut targets: Vec<String> = written["target_modules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_str().unwrap().to_owned())
        .collect();
    targets.sort();
    let (rank, alpha) = (number(&written["r"]) as usize, number(&written["lora_alpha"]));
    AdapterSettings { rank, alpha, targets, norms: false }
}

fn collect_adapter(set: &mut Set, name: &str, adapter: &Adapter, plain: &Arc<Tensors>) {
    let logits = set.tensors(&format!("{name}.logits.safetensors"));
    for attention in logits.names() {
        let (adapter, logits) = (adapter.clone(), Arc::clone(&logits));
        set.case(format!("{name}/logits/{attention}"), move || {
            let model = adapter.load(0);
            let (model, attention_of) = match attention.strip_prefix("merged_") {
                Some(attention_of) => (model.merged().unwrap(), attention_of),
                None => (model, attention.as_str()),
            };
            compare_logits(&model, &adapter.data, attention_of, logits.values(&attention));
        });
    }
    let (own, plain) = (adapter.clone(), Arc::clone(plain));
    set.case(format!("{name}/new"), move || own.new_one_changes_nothing(&plain));
    let (own, merged) = (adapter.clone(), set.tensors(&format!("{name}.merged.safetensors")));
    set.case(format!("{name}/merged"), move || own.merges(&merged));
    let gradients = set.tensors(&format!("{name}.gradients.safetensors"));
    for what in gradients.names().iter().filter_map(|name| name.strip_suffix(".loss")) {
        let which = match what.split('.').collect::<Vec<_>>()[..] {
            ["masked_bidir" | "causal_next", "adapter"] => 0,
            ["masked_bidir" | "causal_next", "init"] => 1,
            _ => {
                set.unknown(format!("{name}.gradients/{what}"));
                continue;
            }
        };
        for recompute in [false, true] {
            let (own, gradients, what) = (adapter.clone(), Arc::clone(&gradients), what.to_owned());
            let words = if recompute { "/recomputed" } else { "" };
            set.case(format!("{name}/gradients/{what}{words}"), move || {
                own.gradients(&gradients, &what, which, recompute);
            });
        }
    }
    let run = set.tensors(&format!("{name}.train.safetensors"));
    for (which, (start, limit)) in FINAL.into_iter().enumerate() {
        let (own, run) = (adapter.clone(), Arc::clone(&run));
        set.case(format!("{name}/train/{start}"), move || own.trains(&run, start, which, limit));
    }
}

fn compare_logits(model: &Backbone, data: &Tensors, attention: &str, expected: &[f64]) {
    let attention = match attention {
        "causal" => Attention::Causal,
        "bidir" => Attention::Bidirectional,
        other => panic!("unknown attention {other}"),
    };
    let ids = data.get("input_ids");
    let context = AttentionContext::new(attention, ids.shape[0], ids.shape[1]);
    let tokens = model.tokens(&ids.ids(), ids.shape[0]).unwrap();
    let hidden = model.hidden(tokens, &context).unwrap().flatten::<2>(0, 1);
    let found = wide(&model.logits(hidden).try_into_vec_as::<f32>().unwrap());
    let limit = LOGITS * largest(expected);
    close("logits", &found, expected, |_| limit);
}

impl Adapter {
    /// The base with the trained adapter (0) or the new one (1).
    fn load(&self, which: usize) -> Backbone {
        let file = &self.values[which];
        let values =
            file.names().into_iter().map(|name| (name[PREFIX.len()..].to_owned(), file.get(&name).f32()));
        let model = load(&self.base).adapted(&self.settings, 0, 0).unwrap();
        assert_eq!(model.trained().count(), file.names().len());
        for (name, parameter) in model.trained() {
            assert_eq!(parameter.shape(), file.get(&format!("{PREFIX}{name}")).shape, "{name}");
        }
        model.with_trained_values(values.collect()).unwrap()
    }

    /// A new adapter changes no bit of what the same program computes, whatever its A.
    fn new_one_changes_nothing(&self, plain: &Tensors) {
        let ids = self.data.get("input_ids");
        let bits = |model: &Backbone| {
            let context = AttentionContext::new(Attention::Causal, ids.shape[0], ids.shape[1]);
            let hidden = model.hidden(model.tokens(&ids.ids(), ids.shape[0]).unwrap(), &context).unwrap();
            let logits = model.logits(hidden.flatten::<2>(0, 1)).try_into_vec_as::<f32>().unwrap();
            logits.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let base = load(&self.base);
        for model in [self.load(1), base.clone().adapted(&self.settings, 7, 0).unwrap()] {
            assert_eq!(bits(&model), bits(&base));
            assert_eq!(bits(&model.clone().merged().unwrap()), bits(&base));
            compare_logits(&model, &self.data, "bidir", plain.values("bidir"));
        }
    }

    fn merges(&self, expected: &Tensors) {
        let (base, merged) = (load(&self.base), self.load(0).merged().unwrap());
        let mut changed = 0;
        for ((name, before), (_, after)) in base.parameters().zip(merged.parameters()) {
            let found = after.values().unwrap();
            if expected.has(name) {
                changed += 1;
                close(name, &wide(&found), expected.values(name), |_| MERGED);
            } else {
                assert_eq!(found, before.values().unwrap(), "{name}");
            }
        }
        assert_eq!((changed, merged.trained().count()), (expected.names().len(), base.parameters().len()));
    }

    /// Update `k`: masked tokens under bidirectional attention, or all next tokens under causal attention.
    fn update(&self, k: usize, causal: bool) -> Update {
        let [_, b, l] = self.data.get("x_1").shape[..] else { panic!("x_1 is [steps, B, L]") };
        let own = |name: &str| self.data.values(name)[k * b * l..(k + 1) * b * l].to_vec();
        let (x_1, x_t, counted) = (own("x_1"), own("x_t"), own("loss_mask"));
        let coefficients = LossCoefficients { cross_entropy: 1.0, present: 0.0, constant: 0.0 };
        let term = |place: usize, target: usize| LossTerm {
            place: place as u32,
            target: x_1[target] as u32,
            present: x_t[target] as u32,
            coefficients,
            t: 0.0,
        };
        let terms: Vec<LossTerm> = match causal {
            true => (0..b * l).filter(|i| (i + 1) % l != 0).map(|i| term(i, i + 1)).collect(),
            false => (0..b * l).filter(|i| counted[*i] != 0.0).map(|i| term(i, i)).collect(),
        };
        let divisor = terms.len() as f64;
        let tokens = if causal { &x_1 } else { &x_t };
        let batch = MicroBatch {
            first: 0,
            rows: b,
            length: l,
            halves: false,
            stride: None,
            tokens: tokens.iter().map(|x| *x as u32).collect(),
            positions: (0..b * l).map(|i| (i % l) as u32).collect(),
            segments: vec![0; b * l],
            times: vec![0.0; b],
            terms,
        };
        Update { micro_batches: vec![batch], divisor, tokens: (b * l) as u64 }
    }

    fn gradients(&self, expected: &Tensors, what: &str, which: usize, recompute: bool) {
        let causal = what.starts_with("causal");
        let attention = if causal { Attention::Causal } else { Attention::Bidirectional };
        let (model, update) = (self.load(which), self.update(0, causal));
        let how = ForwardOptions { attention, anneal: None, recompute };
        let (gradients, sum) = compute_update_gradient(&model, &update, how, 1).unwrap();
        close(what, &[sum.weighted / update.divisor], &[expected.scalar(&format!("{what}.loss"))], |e| {
            LOSS * e
        });
        let names: Vec<String> = model.trained().map(|(name, _)| format!("{what}.{PREFIX}{name}")).collect();
        let known = names.iter().filter(|name| expected.has(name));
        let limit = GRADIENT * known.map(|name| largest(expected.values(name))).fold(0.0, f64::max);
        for (name, gradient) in names.iter().zip(&gradients) {
            let found = wide(&gradient.clone().try_into_vec_as::<f32>().unwrap());
            match expected.has(name) {
                true => close(name, &found, expected.values(name), |_| limit),
                // Of a new adapter, whose B is 0, the gradient of A is 0.
                false => assert!(which == 1 && found.iter().all(|x| *x == 0.0), "{name}"),
            }
        }
    }

    fn trains(&self, run: &Tensors, start: &str, which: usize, limit: f64) {
        let settings = &self.manifest["params"]["opt"];
        let betas = numbers(&settings["betas"]);
        let settings_of = OptimizerSettings {
            beta1: betas[0],
            beta2: betas[1],
            epsilon: number(&settings["eps"]),
            weight_decay: number(&settings["wd"]),
            clip: Some(number(&settings["clip"])),
            no_decay: Vec::new(),
        };
        let mut model = self.load(which);
        let mut optimizer = AdamW::new(&settings_of, &model).unwrap();
        assert_eq!(optimizer.moments.len(), model.trained().count());
        let losses = run.values(&format!("{start}.loss"));
        let how = ForwardOptions { attention: Attention::Bidirectional, anneal: None, recompute: false };
        for (k, loss) in losses.iter().enumerate() {
            let update = self.update(k, false);
            let (gradients, sum) = compute_update_gradient(&model, &update, how, 1).unwrap();
            close(&format!("loss {k}"), &[sum.weighted / update.divisor], &[*loss], |e| LOSS * e);
            let facts;
            (model, facts) = optimizer.step(model, gradients, number(&settings["lr"]), k as u64).unwrap();
            let norm = run.values(&format!("{start}.grad_norm"))[k];
            close(&format!("norm {k}"), &[facts.grad_norm], &[norm], |e| 10.0 * LOSS * e);
        }
        for (name, parameter) in model.trained() {
            let expected = run.values(&format!("{start}.{PREFIX}{name}"));
            close(name, &wide(&parameter.values().unwrap()), expected, |_| limit);
        }
        for ((name, before), (_, after)) in load(&self.base).parameters().zip(model.parameters()) {
            assert_eq!(before.values().unwrap(), after.values().unwrap(), "{name} moved");
        }
    }
}
