//! Set B, how fast samplers unmask: `unmask_schedule.json`.

use std::collections::BTreeMap;
use std::convert::Infallible;

use fmflow_stages::flow::kernel::{EulerKernel, KernelStep};
use fmflow_stages::flow::sampler::{Ask, Canvas, Posterior, sample_canvases};
use fmflow_stages::flow::scheduler::compute_jump_probability;
use serde_json::Value;

use super::harness::{Set, close, number, numbers};
use super::set_b::{exponent, polynomial};
use super::set_b_laws::{LAW, case_name, kernels, parse, rules, sampler};
use super::textbook::total_variation;

pub(crate) fn schedules(set: &mut Set) {
    let json = set.json("unmask_schedule.json");
    for (key, entry) in json.as_object().unwrap() {
        match key.as_str() {
            "schedules" => {
                entry.as_object().unwrap().iter().for_each(|(name, entry)| schedule(set, name, entry))
            }
            "reference_check" => {
                entry.as_object().unwrap().iter().for_each(|(name, entry)| solver_run(set, name, entry));
            }
            "tv_between_kernels" => distances(set, entry),
            "reference_step_grid_quirks" => grid(set, entry),
            _ if entry.is_string() => {} // a note
            _ => set.unknown(format!("unmask_schedule/{key}")),
        }
    }
}

/// `n1.steps16`.
fn exponent_and_steps(name: &str) -> Option<(f64, usize)> {
    let (n, steps) = name.split_once(".steps")?;
    exponent(n).zip(steps.parse().ok())
}

/// The expected share of masks of one of our kernels after every step but the last, starting with 1.
fn masks(kernel: EulerKernel, n: f64, steps: usize) -> Vec<f64> {
    let mut left = vec![1.0];
    for step in 0..steps - 1 {
        let [t, s] = [step, step + 1].map(|s| s as f64 / steps as f64);
        let stays = 1.0 - KernelStep::new(kernel, polynomial(n), t, s).jump(false, 1.0);
        left.push(left[step] * stays);
    }
    left
}

fn schedule(set: &mut Set, name: &str, entry: &Value) {
    for (key, value) in entry.as_object().unwrap() {
        if key == "stride" || value.is_string() {
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
                if ours == EulerKernel::Exact {
                    let closed =
                        1.0 - compute_jump_probability(polynomial(n), 0.0, (steps - 1) as f64 / steps as f64);
                    close(&label, &[all[steps - 1]], &[closed], |_| LAW);
                }
            }
        });
        set.case(format!("{label}/sampler_draws"), move || watched(ours, n, steps));
    }
}

/// A posterior that records the number of masks at every time.
struct Watch(BTreeMap<u64, usize>);

impl Posterior for Watch {
    type Error = Infallible;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
        for ask in asks {
            let masks = ask.canvas.tokens.iter().filter(|token| **token == 2).count();
            self.0.insert(ask.t.to_bits(), masks);
        }
        let places = asks.iter().flat_map(|ask| ask.places);
        Ok(places.flat_map(|_| [0.0, 0.0, f32::NEG_INFINITY]).collect())
    }
}

/// Asserts that the sampler leaves as many masks as the schedule says, within six standard deviations.
fn watched(kernel: EulerKernel, n: f64, steps: usize) {
    let count = 20_000;
    let mut canvases = vec![Canvas { tokens: vec![2; count], editable: vec![true; count], number: 0 }];
    let mut watch = Watch(BTreeMap::new());
    let passes =
        sample_canvases(&mut canvases, &sampler(steps), &rules(3, true, n, kernel), &mut watch).unwrap();
    assert!(passes <= steps);
    for (step, expected) in masks(kernel, n, steps).into_iter().enumerate() {
        // The sampler does not ask for the posterior if no position can move.
        let Some(found) = watch.0.get(&(step as f64 / steps as f64).to_bits()) else { continue };
        let limit = 6.0 * (expected * (1.0 - expected) * count as f64).sqrt() + 1e-6;
        let difference = *found as f64 - expected * count as f64;
        assert!(difference.abs() <= limit, "step {step}: {found} masks, expected {expected} of {count}");
    }
    assert!(canvases[0].tokens.iter().all(|token| *token < 2), "a mask is left");
}

/// Adds the case that a run of the reference's solver follows our rate kernel.
fn solver_run(set: &mut Set, name: &str, entry: &Value) {
    let Some((n, steps)) = exponent_and_steps(name) else { return set.unknown(name) };
    let (run, five_sigma) = (numbers(&entry["solver_fraction"]), number(&entry["five_sigma"]));
    set.case(format!("unmask_schedule/{name}/reference_run"), move || {
        let law = masks(EulerKernel::Rate { div_free: 0.0 }, n, steps);
        close("masks", &run[..steps], &law, |_| 1.2 * five_sigma);
    });
}

/// Adds cases for the distance between the laws of the two kernels.
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

/// Adds cases for grids on which the reference makes one step too many or none; ours makes as many as asked for.
fn grid(set: &mut Set, entry: &Value) {
    let steps =
        entry.as_object().unwrap().values().filter_map(Value::as_array).flatten().filter_map(Value::as_u64);
    let steps: Vec<usize> = steps.map(|n| n as usize).chain([1]).collect();
    set.case("unmask_schedule/steps_are_exact", move || {
        for n in steps {
            let mut canvases =
                vec![Canvas { tokens: vec![2; 50_000], editable: vec![true; 50_000], number: 0 }];
            let (rules, mut watch) = (rules(3, true, 1.0, EulerKernel::Exact), Watch(BTreeMap::new()));
            assert_eq!(sample_canvases(&mut canvases, &sampler(n), &rules, &mut watch), Ok(n));
            assert_eq!(watch.0.len(), n);
        }
    });
}
