//! Set B, numbers: schedulers and velocities. Losses are in `set_b_losses`, single steps in `set_b_steps`, laws of whole samplers
//! in `set_b_laws`.

use std::sync::Arc;

use fmflow_engine::pipeline::config::train::{ProbabilityPath, Scheduler};
use fmflow_stages::flow::kernel::compute_velocity;
use fmflow_stages::flow::path::{Corruptor, SourceTokens};
use fmflow_stages::flow::scheduler::{
    compute_kappa_derivative, compute_noise_share, invert_kappa, invert_noise_ratio, kappa, parse_scheduler,
};
use fmflow_stages::rng::{RandomPurpose, derive_stream};

use super::harness::{Set, Tensors, close, close_but_rounding, number};
use super::{set_b_laws, set_b_losses, set_b_schedule, set_b_steps};

/// Relative tolerance of losses and velocities.
pub(crate) const TOLERANCE: f64 = 1e-4;
/// Relative tolerances of schedulers: our float64 against the reference's float64 and float32.
const SCHEDULER: [(&str, f64); 2] = [("f64", 1e-12), ("f32", 1e-5)];

pub(crate) fn collect(set: &mut Set) {
    for file in set.files() {
        match file.as_str() {
            "schedulers.safetensors" => schedulers(set),
            "velocity.safetensors" => velocities(set),
            "loss.safetensors" => set_b_losses::losses(set),
            "euler_step.safetensors" => set_b_steps::steps(set),
            "end_to_end.safetensors" => set_b_laws::end_to_end(set),
            "unmask_schedule.json" => set_b_schedule::schedules(set),
            _ => {}
        }
    }
    let manifest = set.manifest();
    for key in manifest.as_object().unwrap().keys() {
        match key.as_str() {
            "mixture_path_accepts" => {
                for (name, said) in manifest[key].as_object().unwrap() {
                    accepts(set, name, said.as_str().unwrap_or_default().starts_with("accepted"));
                }
            }
            "path_sample_fraction_source" => {
                for (name, entry) in manifest[key].as_object().unwrap() {
                    path_fraction(set, name, number(&entry["P_still_source_exact"]));
                }
            }
            "euler_step_cases" | "div_free_positive_from_t0" => {} // used by `set_b_steps`
            "set" | "split" | "script" | "versions" | "params" | "reference" | "files" => {}
            _ if manifest[key].is_string() => {} // a note
            _ => set.unknown(key),
        }
    }
}

pub(crate) fn polynomial(exponent: f64) -> Scheduler {
    parse_scheduler("polynomial", &[exponent]).unwrap()
}

/// `n2` or `n0.5`.
pub(crate) fn exponent(word: &str) -> Option<f64> {
    word.strip_prefix('n')?.parse().ok()
}

/// Our scheduler for the reference's name, or why we refuse it; `None` for an unknown name.
fn ours(name: &str) -> Option<Result<Scheduler, String>> {
    let numbers = |text: &str| text.split('_').map(str::parse).collect::<Result<Vec<f64>, _>>().ok();
    Some(match name {
        "condot" => parse_scheduler("polynomial", &[1.0]),
        "cosine" => parse_scheduler("sine", &[]),
        "linear_vp" => parse_scheduler("linear-vp", &[]),
        _ if name.starts_with("poly_n") => parse_scheduler("polynomial", &numbers(&name["poly_n".len()..])?),
        _ if name.starts_with("vp_") => parse_scheduler("vp", &numbers(&name["vp_".len()..])?),
        _ => return None,
    })
}

/// Adds the case that we accept a path if and only if the reference does, and refuse it with a reason.
fn accepts(set: &mut Set, name: &str, accepted: bool) {
    let Some(found) = ours(name) else { return set.unknown(format!("scheduler {name}")) };
    set.case(format!("path/{name}"), move || match (found, accepted) {
        (Ok(_), true) => {}
        (Err(reason), false) => assert!(reason.contains("not convex"), "{reason}"),
        (found, _) => panic!("accepted by the reference: {accepted}; ours: {found:?}"),
    });
}

fn schedulers(set: &mut Set) {
    const WHAT: [&str; 6] = ["alpha_t", "sigma_t", "d_alpha_t", "d_sigma_t", "kappa_inverse", "snr_inverse"];
    let file = set.tensors("schedulers.safetensors");
    for name in file.names() {
        let Some((stem, dtype)) = name.rsplit_once('.') else {
            set.unknown(name);
            continue;
        };
        let Some((_, tolerance)) = SCHEDULER.iter().find(|(known, _)| *known == dtype) else {
            set.unknown(name);
            continue;
        };
        if ["t", "snr"].contains(&stem) {
            continue;
        }
        let Some((scheduler, what)) = stem.rsplit_once('.').filter(|(_, what)| WHAT.contains(what)) else {
            set.unknown(name);
            continue;
        };
        let Some(found) = ours(scheduler) else {
            set.unknown(name);
            continue;
        };
        let (file, key, what, dtype) = (Arc::clone(&file), name.clone(), what.to_owned(), dtype.to_owned());
        let scheduler = scheduler.to_owned();
        let label = format!("schedulers/{scheduler}/{what}.{dtype}");
        match found {
            Ok(found) => set.case(label, move || values_agree(&file, &key, found, &what, &dtype, *tolerance)),
            Err(reason) => set.case(label, move || refused_rightly(&file, &scheduler, &dtype, &reason)),
        }
    }
}

/// Compares scheduler values. Where the reference is not finite, ours may be anything but NaN.
fn values_agree(file: &Tensors, key: &str, scheduler: Scheduler, what: &str, dtype: &str, tolerance: f64) {
    let grid = if what == "snr_inverse" { "snr" } else { "t" };
    let of = |x: &f64| match what {
        "alpha_t" => kappa(scheduler, *x),
        "sigma_t" => compute_noise_share(scheduler, *x),
        "d_alpha_t" => compute_kappa_derivative(scheduler, *x),
        "d_sigma_t" => -compute_kappa_derivative(scheduler, *x),
        "kappa_inverse" => invert_kappa(scheduler, *x),
        _ => invert_noise_ratio(scheduler, *x),
    };
    let found: Vec<f64> = file.values(&format!("{grid}.{dtype}")).iter().map(of).collect();
    assert_eq!(found.len(), file.values(key).len());
    for (found, expected) in found.iter().zip(file.values(key)) {
        match expected.is_finite() {
            true => close(key, &[*found], &[*expected], |e| tolerance * e.abs().max(1.0)),
            false => assert!(!found.is_nan(), "{key}: {found}, the reference says {expected}"),
        }
    }
}

/// Asserts that the reason of a refusal is true of the reference's numbers.
fn refused_rightly(file: &Tensors, scheduler: &str, dtype: &str, reason: &str) {
    assert!(reason.contains("not convex") && reason.contains("do not sum to 1"), "{reason}");
    let of = |what: &str| file.values(&format!("{scheduler}.{what}.{dtype}"));
    let sums = of("alpha_t").iter().zip(of("sigma_t")).map(|(alpha, sigma)| alpha + sigma);
    assert!(sums.fold(0.0f64, |worst, sum| worst.max((sum - 1.0).abs())) > 0.1, "{scheduler} is convex");
}

/// `n=2 t=0.5`: the share of positions that still hold x_0, in closed form and by drawing.
fn path_fraction(set: &mut Set, name: &str, expected: f64) {
    let parse = |word: &str, key: &str| word.strip_prefix(key)?.parse::<f64>().ok();
    let words: Vec<&str> = name.split(' ').collect();
    let [first, second] = words[..] else { return set.unknown(name) };
    let Some((n, t)) = parse(first, "n=").zip(parse(second, "t=")) else { return set.unknown(name) };
    set.case(format!("path/fraction_source/n{n}.t{t}"), move || {
        let scheduler = polynomial(n);
        close("closed form", &[compute_noise_share(scheduler, t)], &[expected], |_| 1e-12);
        let path = ProbabilityPath { mask_share: 1.0, scheduler };
        let corruptor = Corruptor { path, tokens: SourceTokens { mask: 2, used: 2 }, at_least: 0 };
        let [mut coins, mut draws] =
            [RandomPurpose::Corrupt, RandomPurpose::Source].map(|p| derive_stream(1, p, [0; 3]));
        let count = 200_000;
        let drawn = corruptor.corrupt(&vec![1; count], &vec![true; count], t, &mut coins, &mut draws);
        let noise = drawn.corrupted.iter().filter(|c| **c).count() as f64 / count as f64;
        let sigma = (expected * (1.0 - expected) / count as f64).sqrt();
        assert!((noise - expected).abs() <= 6.0 * sigma, "{noise}, expected {expected}");
    });
}

fn velocities(set: &mut Set) {
    let file = set.tensors("velocity.safetensors");
    for name in file.names() {
        if ["logits", "x_1", "x_t_mask", "x_t_uniform", "t"].contains(&name.as_str()) {
            continue;
        }
        let parsed =
            name.strip_prefix("u.").and_then(|rest| rest.rsplit_once('.')).and_then(|(rest, dtype)| {
                let (rest, at_one) = rest.strip_suffix(".at_t1").map_or((rest, false), |rest| (rest, true));
                let (n, source) = rest.rsplit_once('.')?;
                let known = ["f32", "f64"].contains(&dtype) && file.has(&format!("x_t_{source}"));
                Some((exponent(n).filter(|_| known)?, source.to_owned(), at_one))
            });
        let Some((n, source, at_one)) = parsed else {
            set.unknown(name);
            continue;
        };
        let file = Arc::clone(&file);
        set.case(format!("velocity/{name}"), move || match at_one {
            true => not_to_be_imitated(&file, n),
            false => velocity_agrees(&file, &name, n, &source),
        });
    }
}

/// At t = 1 the reference divides by zero; ours is an error.
fn not_to_be_imitated(file: &Tensors, n: f64) {
    let v = file.get("logits").shape[2];
    let error = compute_velocity(polynomial(n), 1.0, &vec![1.0 / v as f64; v], 0).unwrap_err();
    assert!(error.contains("t = 1"), "{error}");
}

fn velocity_agrees(file: &Tensors, name: &str, n: f64, source: &str) {
    let [b, l, v] = file.get("logits").shape[..] else { panic!("logits are [B, L, V]") };
    let (x_t, t) = (file.get(&format!("x_t_{source}")).ids(), file.values("t"));
    for row in 0..b * l {
        let range = row * v..(row + 1) * v;
        let posterior = softmax(&file.values("logits")[range.clone()]);
        let expected = &file.values(name)[range.clone()];
        match compute_velocity(polynomial(n), t[row / l], &posterior, x_t[row] as usize) {
            Ok(found) => close_but_rounding(&found, (file, name, range), |e| TOLERANCE * e.abs()),
            Err(_) => assert!(expected.iter().any(|u| !u.is_finite()), "{name} row {row}: {expected:?}"),
        }
    }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
    let all: f64 = logits.iter().map(|x| (x - top).exp()).sum();
    logits.iter().map(|x| (x - top).exp() / all).collect()
}
