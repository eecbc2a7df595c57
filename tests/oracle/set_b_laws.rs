//! Set B, laws: one solver step, whole samplers, and how fast they leave the noise.
//!
//! Three things are compared: the reference's tables, a dense textbook (`textbook`), and the product, once through
//! [`Step::law`] and once by drawing from the sampler with a fixed seed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use fmflow_engine::config::{Sampler, SamplerKind};
use fmflow_stages::flow::kernel::{Kernel, Step};
use fmflow_stages::flow::sampler::{Canvas, Filter, Posterior, Rules, euler_step, sample};
use fmflow_stages::flow::scheduler::jump;
use fmflow_stages::rng::{Purpose, stream};
use serde_json::Value;

use crate::harness::{Set, Tensors, close, drawn_from, number, numbers};
use crate::set_b::{exponent, polynomial};
use crate::textbook::{self, World, after, total_variation};

/// Laws against laws: float64, sums of up to a million terms.
const LAW: f64 = 1e-9;

/// Both forms of a kernel that the reference knows by name.
fn kernels(name: &str) -> Option<(Kernel, textbook::Kernel)> {
    match name {
        "exact_jump" => Some((Kernel::by_name("exact", 0.0).unwrap(), textbook::Kernel::ExactJump)),
        "euler_exp" => Some((Kernel::by_name("rate", 0.0).unwrap(), textbook::Kernel::EulerExp(0.0))),
        _ => None,
    }
}

fn sampler(steps: usize) -> Sampler {
    let kind = SamplerKind::Euler { steps };
    Sampler { name: "oracle".into(), kind, temperature: 1.0, top_k: None, top_p: None }
}

/// Rules over `tokens` tokens, the last of which is the mask where it is the source.
fn rules(tokens: usize, mask: bool, n: f64, kernel: Kernel) -> Rules {
    let (used, mask_share) = (tokens as u32, f64::from(u8::from(mask)));
    let mask = if mask { used - 1 } else { u32::MAX };
    Rules { mask, used, scheduler: polynomial(n), mask_share, kernel, seed: 20_261_122 }
}

fn log(p: &f64) -> f32 {
    p.ln() as f32
}

/// `mask` or `uniform`.
fn is_mask(source: &str) -> Option<bool> {
    ["uniform", "mask"].iter().position(|known| *known == source).map(|i| i == 1)
}

/// A step of `euler_step.safetensors`.
#[derive(Clone, Debug)]
struct OneStep {
    n: f64,
    between: [f64; 2],
    div_free: f64,
    mask: bool,
    last: bool,
}

impl OneStep {
    fn parse(entry: &Value) -> Option<Self> {
        let (t, h) = (entry["t"].as_f64()?, entry["h"].as_f64()?);
        Some(Self {
            n: entry["n"].as_f64()?,
            between: [t, t + h],
            div_free: entry["div_free"].as_f64()?,
            mask: is_mask(entry["source"].as_str()?)?,
            last: entry["final"].as_bool()?,
        })
    }

    fn posterior(&self) -> &'static str {
        if self.mask { "posterior_mask" } else { "posterior_uniform" }
    }
}

pub(crate) fn steps(set: &mut Set) {
    let (file, manifest) = (set.tensors("euler_step.safetensors"), set.manifest());
    let entries = manifest["euler_step_cases"].as_object().cloned().unwrap_or_default();
    for name in file.names() {
        let known = name.rsplit_once('.').filter(|(_, what)| ["analytic", "counts"].contains(what));
        match known.map(|(case, _)| entries.contains_key(case)) {
            _ if name.starts_with("posterior_") => {}
            Some(true) => {}
            _ => set.unknown(format!("euler_step/{name}")),
        }
    }
    for (name, entry) in entries {
        let Some(step) = OneStep::parse(&entry) else {
            set.unknown(format!("euler_step/{name}"));
            continue;
        };
        for (what, check) in STEP_CHECKS {
            let (file, step, name) = (Arc::clone(&file), step.clone(), name.clone());
            set.case(format!("euler_step/{name}/{what}"), move || check(&file, &step, &name));
        }
    }
    for name in manifest["div_free_positive_from_t0"].as_object().cloned().unwrap_or_default().keys() {
        let (first, second) = name.split_once(' ').unwrap_or_default();
        let n = first.strip_prefix("n=").and_then(|n| n.parse().ok());
        match n.zip(second.strip_prefix("source=").and_then(is_mask)) {
            Some((n, mask)) => {
                set.case(format!("euler_step/div_free_from_t0/{name}"), move || from_zero(n, mask));
            }
            None => set.unknown(name),
        }
    }
}

type StepCheck = (&'static str, fn(&Tensors, &OneStep, &str));

const STEP_CHECKS: [StepCheck; 4] = [
    ("textbook", |file, step, name| {
        let kernel = textbook::Kernel::EulerExp(step.div_free);
        table(file, step, name, |row, p0, x| after(kernel, step.n, step.between, row, p0, x));
    }),
    ("rate_kernel", |file, step, name| {
        let kernel = Kernel::by_name("rate", step.div_free).unwrap();
        let [t, s] = step.between;
        let law = Step::new(kernel, polynomial(step.n), t, s);
        table(file, step, name, |row, p0, x| law.law(row, p0, x));
    }),
    ("sampler_draws", draws),
    ("reference_counts", |file, step, name| {
        let [t, s] = step.between;
        let law = Step::new(Kernel::Rate { div_free: step.div_free }, polynomial(step.n), t, s);
        let counts = file.get(&format!("{name}.counts"));
        let v = counts.shape[1];
        let posterior = file.values(step.posterior());
        for x in 0..v {
            let own: Vec<usize> = counts.values[x * v..(x + 1) * v].iter().map(|c| *c as usize).collect();
            let law = law.law(&posterior[x * v..(x + 1) * v], &p0(v, step.mask), x);
            drawn_from(&format!("{name} from {x}"), &own, &law);
        }
    }),
];

fn p0(v: usize, mask: bool) -> Vec<f64> {
    let masked = |y: usize| f64::from(u8::from(y == v - 1));
    if mask { (0..v).map(masked).collect() } else { vec![1.0 / v as f64; v] }
}

/// The whole table T[x, y] of a step.
fn table(file: &Tensors, step: &OneStep, name: &str, row: impl Fn(&[f64], &[f64], usize) -> Vec<f64>) {
    assert_eq!(step.last, step.between[1] >= 1.0, "{name}: only the step to 1 is the last one");
    let expected = file.get(&format!("{name}.analytic"));
    let v = expected.shape[1];
    let posterior = file.values(step.posterior()).chunks(v);
    let found: Vec<f64> = posterior.enumerate().flat_map(|(x, p)| row(p, &p0(v, step.mask), x)).collect();
    close(name, &found, &expected.values, |_| LAW);
}

/// A posterior that depends on the token at the place alone: row x of a table [V, V].
struct OfToken<'a> {
    table: &'a [f64],
    v: usize,
}

impl Posterior for OfToken<'_> {
    type Error = Infallible;

    fn logits(&mut self, c: &[Canvas], places: &[(usize, usize)], _: f64) -> Result<Vec<f32>, Infallible> {
        let row = |&(canvas, i): &(usize, usize)| {
            let x = c[canvas].tokens[i] as usize;
            self.table[x * self.v..(x + 1) * self.v].iter().map(log).collect::<Vec<_>>()
        };
        Ok(places.iter().flat_map(row).collect())
    }
}

/// The sampler's own step, 20,000 times from every token.
fn draws(file: &Tensors, step: &OneStep, name: &str) {
    let expected = file.get(&format!("{name}.analytic"));
    let v = expected.shape[1];
    let rules = rules(v, step.mask, step.n, Kernel::Rate { div_free: step.div_free });
    let canvas =
        |x: usize| Canvas { tokens: vec![x as u32; 20_000], editable: vec![true; 20_000], number: x as u64 };
    let mut canvases: Vec<Canvas> = (0..v).map(canvas).collect();
    canvases.iter_mut().for_each(|canvas| canvas.editable[0] = false);
    let filter = Filter::new(&sampler(1), &rules);
    let mut posterior = OfToken { table: file.values(step.posterior()), v };
    euler_step(&mut canvases, 0, step.between, &filter, &rules, &mut posterior).unwrap();
    for (x, canvas) in canvases.iter().enumerate() {
        assert_eq!(canvas.tokens[0], x as u32, "a position that may not be edited was");
        let mut counts = vec![0; v];
        canvas.tokens[1..].iter().for_each(|&y| counts[y as usize] += 1);
        drawn_from(&format!("{name} from {x}"), &counts, &expected.values[x * v..(x + 1) * v]);
    }
}

/// A corrector from t = 0 on, where the reference is not a number: here it is a law, and that of standing still.
fn from_zero(n: f64, mask: bool) {
    let posterior = [0.5, 0.25, 0.25, 0.0];
    for x in 0..4 {
        let step = Step::new(Kernel::Rate { div_free: 1.0 }, polynomial(n), 0.0, 0.125);
        let law = step.law(&posterior, &p0(4, mask), x);
        assert_eq!(law.iter().position(|p| *p == 1.0), Some(x), "{law:?}");
    }
}

/// The name of a case of `end_to_end`: `mask.n1.steps4.euler_exp`.
fn case_name(case: &Value) -> Option<String> {
    let (source, kernel) = (case["source"].as_str()?, case["kernel"].as_str()?);
    Some(format!("{source}.n{}.steps{}.{kernel}", case["n"], case["steps"]))
}

/// One sampler of `end_to_end.json`.
#[derive(Clone, Debug)]
struct Whole {
    world: World,
    steps: usize,
    ours: Kernel,
    textbook: textbook::Kernel,
}

impl Whole {
    /// The exact law over sequences of the product's kernel, and the masks before the last step.
    fn law(&self) -> (Vec<f64>, f64) {
        let (source, scheduler) = (self.world.source(), polynomial(self.world.exponent));
        self.world
            .law(self.steps, |[t, s], row, x| Step::new(self.ours, scheduler, t, s).law(row, &source, x))
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
        let Some((rate, limits)) = cases.get(&format!("{stem}euler_exp")).cloned() else { continue };
        let (whole, target) = (whole.clone(), Arc::clone(&file));
        set.case(format!("end_to_end/{stem}acceptance"), move || acceptance(&whole, &rate, &limits, &target));
    }
}

fn parse(json: &Value, file: &Tensors, case: &Value) -> Option<Whole> {
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

/// The exact kernel comes as close to the target as the reference's runs do: within what a run of the reference may show,
/// for the largest number of draws that limits are given for. Both kernels are laws that can be told apart.
fn acceptance(exact: &Whole, rate: &Whole, limits: &Value, file: &Tensors) {
    let found = total_variation(&exact.law().0, file.values("target"));
    let given = limits.as_object().unwrap().values().filter_map(|v| v["tv_to_target_q0.999"].as_f64());
    let limit = given.fold(f64::INFINITY, f64::min);
    assert!(limit.is_finite(), "no limits in {limits}");
    assert!(found <= limit, "total variation to the target {found}, the reference's limit is {limit}");
    assert!(exact.law().0 != rate.law().0, "the kernels have the same law");
}

/// The exact posterior of a world at every state, made once per step.
struct OfWorld<'a>(&'a World);

impl Posterior for OfWorld<'_> {
    type Error = Infallible;

    fn logits(&mut self, c: &[Canvas], places: &[(usize, usize)], t: f64) -> Result<Vec<f32>, Infallible> {
        let mut known = BTreeMap::new();
        let mut logits = Vec::with_capacity(places.len() * self.0.tokens());
        for &(canvas, i) in places {
            let state: Vec<usize> = c[canvas].tokens.iter().map(|x| *x as usize).collect();
            let number = self.0.number(state.iter().copied());
            let posterior = known.entry(number).or_insert_with(|| self.0.posterior(&state, t));
            logits.extend(posterior[i].iter().map(log));
        }
        Ok(logits)
    }
}

/// Counts of sequences that the sampler draws, from its own draws of the source.
fn sequences(whole: &Whole) -> Vec<usize> {
    let world = &whole.world;
    let rules = rules(world.tokens(), world.mask, world.exponent, whole.ours);
    let canvas = |number: u64| {
        let mut random = stream(rules.seed, Purpose::Source, [number, u64::MAX, 0]);
        let noise = (0..world.length).map(|_| rules.source().draw(rules.mask_share, &mut random));
        Canvas { tokens: noise.collect(), editable: vec![true; world.length], number }
    };
    // Enough to tell the kernels apart at few steps; at many steps their laws are compared exactly anyway.
    let draws = (800_000 / whole.steps as u64).clamp(2_000, 20_000);
    let mut canvases: Vec<Canvas> = (0..draws).map(canvas).collect();
    let passes = sample(&mut canvases, &sampler(whole.steps), &rules, &mut OfWorld(world)).unwrap();
    assert!(passes <= whole.steps, "{passes} passes in {} steps", whole.steps);
    let mut counts = vec![0.0; world.tokens().pow(world.length as u32)];
    for canvas in &canvases {
        counts[world.number(canvas.tokens.iter().map(|x| *x as usize))] += 1.0;
    }
    world.sequences(&counts).into_iter().map(|count| count as usize).collect()
}

pub(crate) fn schedules(set: &mut Set) {
    let json = set.json("unmask_schedule.json");
    for (key, entry) in json.as_object().unwrap() {
        match key.as_str() {
            "meaning" | "n_below_1" => {}
            "schedules" => {
                entry.as_object().unwrap().iter().for_each(|(name, entry)| schedule(set, name, entry))
            }
            "reference_check" => {
                entry.as_object().unwrap().iter().for_each(|(name, entry)| solver_run(set, name, entry));
            }
            "tv_between_kernels" => distances(set, entry),
            "reference_step_grid_quirks" => grid(set, entry),
            _ => set.unknown(format!("unmask_schedule/{key}")),
        }
    }
}

/// `n1.steps16`.
fn exponent_and_steps(name: &str) -> Option<(f64, usize)> {
    let (n, steps) = name.split_once(".steps")?;
    exponent(n).zip(steps.parse().ok())
}

/// The expected share of masks after every step but the last, starting with 1, of a kernel of the product.
fn masks(kernel: Kernel, n: f64, steps: usize) -> Vec<f64> {
    let mut left = vec![1.0];
    for step in 0..steps - 1 {
        let [t, s] = [step, step + 1].map(|s| s as f64 / steps as f64);
        let stays = 1.0 - Step::new(kernel, polynomial(n), t, s).jump(false, 1.0);
        left.push(left[step] * stays);
    }
    left
}

fn schedule(set: &mut Set, name: &str, entry: &Value) {
    for (key, value) in entry.as_object().unwrap() {
        if ["stride", "last_entry_is"].contains(&key.as_str()) {
            continue;
        }
        let Some(((ours, _), (n, steps))) = kernels(key).zip(exponent_and_steps(name)) else {
            set.unknown(format!("unmask_schedule/{name}/{key}"));
            continue;
        };
        let (expected, stride) = (numbers(value), entry["stride"].as_u64().unwrap_or(1) as usize);
        let label = format!("unmask_schedule/{name}/{key}");
        set.case(&label, {
            let (label, expected) = (label.clone(), expected.clone());
            move || {
                let all = masks(ours, n, steps);
                let mut found: Vec<f64> = all.iter().step_by(stride).copied().collect();
                if (steps - 1) % stride != 0 {
                    found.push(all[steps - 1]);
                }
                close(&label, &found, &expected, |_| LAW);
                if ours == Kernel::Exact {
                    let closed = 1.0 - jump(polynomial(n), 0.0, (steps - 1) as f64 / steps as f64);
                    close(&label, &[all[steps - 1]], &[closed], |_| LAW);
                }
            }
        });
        set.case(format!("{label}/sampler_draws"), move || watched(ours, n, steps));
    }
}

/// Records the masks that it is shown at every time.
struct Watch(BTreeMap<u64, usize>);

impl Posterior for Watch {
    type Error = Infallible;

    fn logits(&mut self, c: &[Canvas], places: &[(usize, usize)], t: f64) -> Result<Vec<f32>, Infallible> {
        let masks = c.iter().flat_map(|c| &c.tokens).filter(|token| **token == 2).count();
        self.0.insert(t.to_bits(), masks);
        Ok(places.iter().flat_map(|_| [0.0, 0.0, f32::NEG_INFINITY]).collect())
    }
}

/// The sampler leaves as many masks as the schedule says, at six standard deviations.
fn watched(kernel: Kernel, n: f64, steps: usize) {
    let count = 20_000;
    let mut canvases = vec![Canvas { tokens: vec![2; count], editable: vec![true; count], number: 0 }];
    let mut watch = Watch(BTreeMap::new());
    let passes = sample(&mut canvases, &sampler(steps), &rules(3, true, n, kernel), &mut watch).unwrap();
    assert!(passes <= steps);
    for (step, expected) in masks(kernel, n, steps).into_iter().enumerate() {
        // Where nothing may move the posterior is not asked.
        let Some(found) = watch.0.get(&(step as f64 / steps as f64).to_bits()) else { continue };
        let limit = 6.0 * (expected * (1.0 - expected) * count as f64).sqrt() + 1e-6;
        let difference = *found as f64 - expected * count as f64;
        assert!(difference.abs() <= limit, "step {step}: {found} masks, expected {expected} of {count}");
    }
    assert!(canvases[0].tokens.iter().all(|token| *token < 2), "a mask is left");
}

/// A run of the reference's solver follows the product's rate kernel.
fn solver_run(set: &mut Set, name: &str, entry: &Value) {
    let Some((n, steps)) = exponent_and_steps(name) else { return set.unknown(name) };
    let (run, five_sigma) = (numbers(&entry["solver_fraction"]), number(&entry["five_sigma"]));
    set.case(format!("unmask_schedule/{name}/reference_run"), move || {
        let law = masks(Kernel::Rate { div_free: 0.0 }, n, steps);
        close("masks", &run[..steps], &law, |_| 1.2 * five_sigma);
    });
}

/// How far the laws of the two kernels are from each other.
fn distances(set: &mut Set, entry: &Value) {
    let (file, json) = (set.tensors("end_to_end.safetensors"), set.json("end_to_end.json"));
    for (name, expected) in entry.as_object().unwrap() {
        let find = |kernel: &str| {
            let name = format!("{name}.{kernel}");
            let mut cases = json["cases"].as_array().unwrap().iter();
            cases.find(|case| case_name(case).as_ref() == Some(&name)).and_then(|c| parse(&json, &file, c))
        };
        let Some((exact, rate)) = find("exact_jump").zip(find("euler_exp")) else {
            set.unknown(format!("tv_between_kernels/{name}"));
            continue;
        };
        let expected = number(expected);
        set.case(format!("unmask_schedule/{name}/between_kernels"), move || {
            let found = total_variation(&exact.law().0, &rate.law().0);
            close("distance", &[found], &[expected], |_| LAW);
        });
    }
}

/// Grids on which the reference makes a step too many, or none: we make as many steps as asked.
fn grid(set: &mut Set, entry: &Value) {
    let steps =
        entry.as_object().unwrap().values().filter_map(Value::as_array).flatten().filter_map(Value::as_u64);
    let steps: Vec<usize> = steps.map(|n| n as usize).chain([1]).collect();
    set.case("unmask_schedule/steps_are_exact", move || {
        for n in steps {
            let mut canvases =
                vec![Canvas { tokens: vec![2; 50_000], editable: vec![true; 50_000], number: 0 }];
            let (rules, mut watch) = (rules(3, true, 1.0, Kernel::Exact), Watch(BTreeMap::new()));
            assert_eq!(sample(&mut canvases, &sampler(n), &rules, &mut watch), Ok(n));
            assert_eq!(watch.0.len(), n);
        }
    });
}
