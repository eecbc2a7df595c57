//! Set B, laws of whole samplers.
//!
//! Three things are compared: the reference's tables, a dense textbook (`textbook`), and fmflow, both through
//! [`KernelStep::law`] and by drawing from the sampler with a fixed seed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use fmflow_engine::pipeline::config::{Sampler, SamplerKind};
use fmflow_stages::flow::kernel::{EulerKernel, KernelStep, parse_kernel};
use fmflow_stages::flow::sampler::{Ask, Canvas, Posterior, SamplerRules, sample_canvases};
use fmflow_stages::rng::{RandomPurpose, derive_stream};
use serde_json::Value;

use super::harness::{Set, Tensors, close, drawn_from, number};
use super::set_b::polynomial;
use super::textbook::{self, World, after, total_variation};

/// Absolute tolerance between two laws: float64, sums of up to a million terms.
pub(crate) const LAW: f64 = 1e-9;

/// Our kernel and the textbook's for the reference's name.
pub(crate) fn kernels(name: &str) -> Option<(EulerKernel, textbook::Kernel)> {
    match name {
        "exact_jump" => Some((parse_kernel("exact", 0.0).unwrap(), textbook::Kernel::ExactJump)),
        "euler_exp" => Some((parse_kernel("rate", 0.0).unwrap(), textbook::Kernel::EulerExp(0.0))),
        _ => None,
    }
}

pub(crate) fn sampler(passes: usize) -> Sampler {
    let kind = SamplerKind::Euler { passes, kernel: EulerKernel::Exact };
    Sampler::new("oracle", kind)
}

/// Sampler rules over `tokens` tokens; if the source is the mask, the last token is the mask.
pub(crate) fn rules(tokens: usize, mask: bool, n: f64, kernel: EulerKernel) -> SamplerRules {
    let (used, mask_share) = (tokens as u32, f64::from(u8::from(mask)));
    let mask = if mask { used - 1 } else { u32::MAX };
    SamplerRules { mask, used, scheduler: polynomial(n), mask_share, kernel, growth: None, seed: 20_261_122 }
}

pub(crate) fn log(p: &f64) -> f32 {
    p.ln() as f32
}

/// Whether a source is `mask` and not `uniform`; `None` for an unknown word.
pub(crate) fn is_mask(source: &str) -> Option<bool> {
    ["uniform", "mask"].iter().position(|known| *known == source).map(|i| i == 1)
}

/// The name of a case of `end_to_end`: `mask.n1.steps4.euler_exp`.
pub(crate) fn case_name(case: &Value) -> Option<String> {
    let (source, kernel) = (case["source"].as_str()?, case["kernel"].as_str()?);
    Some(format!("{source}.n{}.steps{}.{kernel}", case["n"], case["steps"]))
}

/// One sampler of `end_to_end.json`.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    world: World,
    steps: usize,
    ours: EulerKernel,
    textbook: textbook::Kernel,
}

impl Whole {
    /// The exact law over sequences of fmflow's kernel, and the share of masks before the last step.
    pub(crate) fn law(&self) -> (Vec<f64>, f64) {
        let (source, scheduler) = (self.world.source(), polynomial(self.world.exponent));
        self.world.law(self.steps, |[t, s], row, x| {
            KernelStep::new(self.ours, scheduler, t, s).law(row, &source, x)
        })
    }
}

pub(crate) fn end_to_end(set: &mut Set) {
    let (file, json) = (set.tensors("end_to_end.safetensors"), set.json("end_to_end.json"));
    let mut cases = BTreeMap::new();
    for case in json["cases"].as_array().unwrap() {
        match (case_name(case), parse(&json, &file, case)) {
            (Some(name), Some(whole)) => cases.insert(name, (whole, case.clone())),
            _ => return set.unknown(format!("end_to_end/{case}")),
        };
    }
    for name in file.names() {
        let case = name.split_once('.').filter(|(what, _)| ["law", "counts"].contains(what));
        if name != "target" && case.is_none_or(|(_, case)| !cases.contains_key(case)) {
            set.unknown(format!("end_to_end/{name}"));
        }
    }
    for (name, (whole, case)) in &cases {
        for (what, check) in WHOLE_CHECKS {
            let (file, whole, case, name) = (Arc::clone(&file), whole.clone(), case.clone(), name.clone());
            set.case(format!("end_to_end/{name}/{what}"), move || check(&file, &whole, &case, &name));
        }
        let Some(stem) = name.strip_suffix("exact_jump") else { continue };
        let Some((rate, reference)) = cases.get(&format!("{stem}euler_exp")).cloned() else { continue };
        let (whole, own, target) = (whole.clone(), case.clone(), Arc::clone(&file));
        set.case(format!("end_to_end/{stem}acceptance"), move || {
            acceptance(&whole, &own, &rate, &reference, &target);
        });
    }
}

pub(crate) fn parse(json: &Value, file: &Tensors, case: &Value) -> Option<Whole> {
    let (ours, textbook) = kernels(case["kernel"].as_str()?)?;
    let world = World {
        vocabulary: json["V"].as_u64()? as usize,
        length: json["L"].as_u64()? as usize,
        target: file.values("target").to_vec(),
        mask: is_mask(case["source"].as_str()?)?,
        exponent: case["n"].as_f64()?,
    };
    Some(Whole { world, steps: case["steps"].as_u64()? as usize, ours, textbook })
}

type WholeCheck = (&'static str, fn(&Tensors, &Whole, &Value, &str));

const WHOLE_CHECKS: [WholeCheck; 3] = [
    ("textbook", |file, whole, case, name| {
        let (source, n) = (whole.world.source(), whole.world.exponent);
        let found = whole
            .world
            .law(whole.steps, |between, row, x| after(whole.textbook, n, between, row, &source, x));
        law_agrees(file, case, name, &found);
    }),
    ("kernel", |file, whole, case, name| {
        let found = whole.law();
        law_agrees(file, case, name, &found);
        let counts = format!("counts.{name}");
        if file.has(&counts) {
            let counts: Vec<usize> = file.values(&counts).iter().map(|c| *c as usize).collect();
            drawn_from(name, &counts, &found.0);
        }
    }),
    ("sampler_draws", |file, whole, _, name| {
        drawn_from(name, &sequences(whole), file.values(&format!("law.{name}")));
    }),
];

fn law_agrees(file: &Tensors, case: &Value, name: &str, (law, masks): &(Vec<f64>, f64)) {
    close(name, law, file.values(&format!("law.{name}")), |_| LAW);
    let distance = total_variation(law, file.values("target"));
    close(name, &[distance], &[number(&case["tv_exact"])], |_| LAW);
    if let Some(expected) = case["fraction_masked_before_last_step"].as_f64() {
        close(name, &[*masks], &[expected], |_| LAW);
    }
}

/// Asserts that the exact kernel comes as close to the target as the reference's kernel may, with the limit for the largest number
/// of draws in the set.
///
/// Below n = 1 the reference idles in its first step and spreads that step's jumps over later ones, which no kernel that follows
/// the schedule can do. There the limits are those of the exact kernel itself.
fn acceptance(exact: &Whole, own: &Value, rate: &Whole, reference: &Value, file: &Tensors) {
    let found = total_variation(&exact.law().0, file.values("target"));
    let limits = if exact.world.exponent < 1.0 { own } else { reference };
    let given = limits.as_object().unwrap().values().filter_map(|v| v["tv_to_target_q0.999"].as_f64());
    let limit = given.fold(f64::INFINITY, f64::min);
    assert!(limit.is_finite(), "no limits in {limits}");
    assert!(found <= limit, "total variation to the target {found}, the limit is {limit}");
    assert!(exact.law().0 != rate.law().0, "the kernels have the same law");
}

/// The exact posterior of a world, computed once per state and step.
struct OfWorld<'a>(&'a World);

impl Posterior for OfWorld<'_> {
    type Error = Infallible;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
        let mut known = BTreeMap::new();
        let mut logits = Vec::new();
        for ask in asks {
            let state: Vec<usize> = ask.canvas.tokens.iter().map(|x| *x as usize).collect();
            let key = (self.0.number(state.iter().copied()), ask.t.to_bits());
            let posterior = known.entry(key).or_insert_with(|| self.0.posterior(&state, ask.t));
            ask.places.iter().for_each(|i| logits.extend(posterior[*i].iter().map(log)));
        }
        Ok(logits)
    }
}

/// How often the sampler draws each sequence, starting from its own draws of the source.
fn sequences(whole: &Whole) -> Vec<usize> {
    let world = &whole.world;
    let rules = rules(world.tokens(), world.mask, world.exponent, whole.ours);
    let canvas = |number: u64| {
        let mut random = derive_stream(rules.seed, RandomPurpose::Source, [number, u64::MAX, 0]);
        let noise = (0..world.length).map(|_| rules.source().draw(rules.mask_share, &mut random));
        Canvas { tokens: noise.collect(), editable: vec![true; world.length], number }
    };
    // Enough draws to distinguish the kernels at few steps; at many steps, their laws are compared exactly anyway.
    let draws = (800_000 / whole.steps as u64).clamp(2_000, 20_000);
    let mut canvases: Vec<Canvas> = (0..draws).map(canvas).collect();
    let passes = sample_canvases(&mut canvases, &sampler(whole.steps), &rules, &mut OfWorld(world)).unwrap();
    assert!(passes <= whole.steps, "{passes} passes in {} steps", whole.steps);
    let mut counts = vec![0.0; world.tokens().pow(world.length as u32)];
    for canvas in &canvases {
        counts[world.number(canvas.tokens.iter().map(|x| *x as usize))] += 1.0;
    }
    world.sequences(&counts).into_iter().map(|count| count as usize).collect()
}
