//! Set B, one step of a solver: the reference's tables against the textbook, the rate kernel, and draws of the sampler.

use std::convert::Infallible;
use std::sync::Arc;

use fmflow_stages::flow::kernel::{EulerKernel, KernelStep, parse_kernel};
use fmflow_stages::flow::sampler::{Ask, Canvas, LogitFilter, Posterior, take_euler_step};
use serde_json::Value;

use super::harness::{Set, Tensors, close, drawn_from};
use super::set_b::polynomial;
use super::set_b_laws::{LAW, is_mask, log, rules, sampler};
use super::textbook::{self, after};

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
        let kernel = parse_kernel("rate", step.div_free).unwrap();
        let [t, s] = step.between;
        let law = KernelStep::new(kernel, polynomial(step.n), t, s);
        table(file, step, name, |row, p0, x| law.law(row, p0, x));
    }),
    ("sampler_draws", draws),
    ("reference_counts", |file, step, name| {
        let [t, s] = step.between;
        let law = KernelStep::new(EulerKernel::Rate { div_free: step.div_free }, polynomial(step.n), t, s);
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

/// Compares the whole table T[x, y] of a step.
fn table(file: &Tensors, step: &OneStep, name: &str, row: impl Fn(&[f64], &[f64], usize) -> Vec<f64>) {
    assert_eq!(step.last, step.between[1] >= 1.0, "{name}: only the step to 1 is the last one");
    let expected = file.get(&format!("{name}.analytic"));
    let v = expected.shape[1];
    let posterior = file.values(step.posterior()).chunks(v);
    let found: Vec<f64> = posterior.enumerate().flat_map(|(x, p)| row(p, &p0(v, step.mask), x)).collect();
    close(name, &found, &expected.values, |_| LAW);
}

/// A posterior that depends only on the token x at the position: row x of a table [V, V].
struct OfToken<'a> {
    table: &'a [f64],
    v: usize,
}

impl Posterior for OfToken<'_> {
    type Error = Infallible;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
        let tokens = asks.iter().flat_map(|ask| ask.places.iter().map(|i| ask.canvas.tokens[*i] as usize));
        Ok(tokens.flat_map(|x| self.table[x * self.v..(x + 1) * self.v].iter().map(log)).collect())
    }
}

/// Compares with draws of the sampler's own step, 20,000 from every token.
fn draws(file: &Tensors, step: &OneStep, name: &str) {
    let expected = file.get(&format!("{name}.analytic"));
    let v = expected.shape[1];
    let rules = rules(v, step.mask, step.n, EulerKernel::Rate { div_free: step.div_free });
    let canvas =
        |x: usize| Canvas { tokens: vec![x as u32; 20_000], editable: vec![true; 20_000], number: x as u64 };
    let mut canvases: Vec<Canvas> = (0..v).map(canvas).collect();
    canvases.iter_mut().for_each(|canvas| canvas.editable[0] = false);
    let filter = LogitFilter::new(&sampler(1), &rules);
    let mut posterior = OfToken { table: file.values(step.posterior()), v };
    take_euler_step(&mut canvases, 0, step.between, &filter, &rules, &mut posterior).unwrap();
    for (x, canvas) in canvases.iter().enumerate() {
        assert_eq!(canvas.tokens[0], x as u32, "a position was changed that is not editable");
        let mut counts = vec![0; v];
        canvas.tokens[1..].iter().for_each(|&y| counts[y as usize] += 1);
        drawn_from(&format!("{name} from {x}"), &counts, &expected.values[x * v..(x + 1) * v]);
    }
}

/// A corrector at t = 0, where the reference is NaN: ours is a law, with all probability on staying.
fn from_zero(n: f64, mask: bool) {
    let posterior = [0.5, 0.25, 0.25, 0.0];
    for x in 0..4 {
        let step = KernelStep::new(EulerKernel::Rate { div_free: 1.0 }, polynomial(n), 0.0, 0.125);
        let law = step.law(&posterior, &p0(4, mask), x);
        assert_eq!(law.iter().position(|p| *p == 1.0), Some(x), "{law:?}");
    }
}
