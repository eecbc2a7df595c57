//! What an operation of training costs on the CPU, fused or as its reference: a line of JSON with time and memory.
//!
//! `operations fused|reference NAME forward|training SECONDS LENGTH`: NAME on LENGTH positions at hidden 512, 8 heads and vocabulary 8,192, again and
//! again for SECONDS of processor time. Memory is that of the first run beyond the inputs, with its results. It is measured on the whole
//! process, so a process measures one operation. `benches/operations.py` prints the table.
#![expect(clippy::print_stdout, reason = "a line of JSON is the result")]
#![expect(clippy::expect_used, reason = "a panic is how a measurement fails")]

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Instant;

use burn_tensor::{Device, Int, Tensor, TensorData};
use fmflow_ops::{
    AdamWRates, Angles, Intervals, LossGradients, LossTerms, PositionLosses, Precision, UpdatedValues,
    reference,
};

const HIDDEN: usize = 512;
const HEADS: usize = 8;
const SHARED: usize = 4;
const WIDTH: usize = 64;
const FEED: usize = 1536;
const VOCABULARY: usize = 8192;
/// Values that an update of AdamW changes.
const UPDATED: usize = 1 << 22;

/// One run of an operation.
type Run = Box<dyn Fn()>;

type Attend = fn(Tensor<4>, Tensor<4>, Tensor<4>, Intervals, Precision) -> Tensor<4>;
type Norm = fn(Tensor<2>, Tensor<1>, f64) -> Tensor<2>;
type Turn = fn(Tensor<4>, Tensor<1>, f64, &Angles) -> Tensor<4>;
type Gate = fn(Tensor<2>, Tensor<2>) -> Tensor<2>;
type Measure = fn(Tensor<2>, Tensor<2>, Tensor<1, Int>, Tensor<1, Int>, Precision) -> PositionLosses;
type Differentiate = fn(Tensor<2>, Tensor<2>, LossTerms, Precision) -> LossGradients;
type Update = fn(Tensor<1>, Tensor<1>, [Tensor<1>; 2], AdamWRates) -> UpdatedValues;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [side, name, pass, seconds, length] = words[..] else {
        panic!("fused|reference NAME forward|training SECONDS LENGTH")
    };
    let fused = decide(side, "fused", "reference");
    let training = decide(pass, "training", "forward");
    let run = prepare(name, fused, training, length.parse().expect("a length"));
    let memory = measure_memory(&run);
    let [elapsed, processor] = measure_time(&run, seconds.parse().expect("seconds"));
    println!(
        r#"{{"operation": "{name}", "side": "{side}", "pass": "{pass}", "seconds": {elapsed}, "processor_seconds": {processor}, "memory_kib": {memory}}}"#
    );
}

fn decide(word: &str, yes: &str, no: &str) -> bool {
    assert!(word == yes || word == no, "{word} is neither {yes} nor {no}");
    word == yes
}

fn prepare(name: &str, fused: bool, training: bool, length: usize) -> Run {
    match name {
        "attention" => attention(fused, training, length),
        "loss" => loss(fused, training, length),
        "norm" => norm(fused, training, length),
        "turn" => turn(fused, training, length),
        "gate" => gate(fused, training, length),
        "adamw" => adamw(fused),
        other => panic!("{other} is no operation"),
    }
}

/// Causal.
fn attention(fused: bool, training: bool, length: usize) -> Run {
    let f: Attend = if fused { fmflow_ops::attention } else { reference::attention };
    let inputs = [HEADS, SHARED, SHARED].map(|heads| noise([1, length, heads, WIDTH]));
    let visible = Intervals::new((0..length as i32).flat_map(|i| [0, i + 1, 0, 0]).collect(), length);
    repeat(inputs, training, move |[q, k, v]| f(q, k, v, visible.clone(), Precision::F32))
}

fn norm(fused: bool, training: bool, length: usize) -> Run {
    let f: Norm = if fused { fmflow_ops::rms_norm } else { reference::rms_norm };
    let weight = noise([HIDDEN]);
    repeat([noise([length, HIDDEN])], training, move |[x]| f(x, track(&weight, training), 1e-6))
}

/// Norm and rotary positions of queries.
fn turn(fused: bool, training: bool, length: usize) -> Run {
    let f: Turn = if fused { fmflow_ops::turn } else { reference::turn };
    let table = || noise([1, length, WIDTH / 2]);
    let (weight, angles) = (noise([WIDTH]), Angles { cos: table(), sin: table() });
    let inputs = [noise([1, length, HEADS, WIDTH])];
    repeat(inputs, training, move |[x]| f(x, track(&weight, training), 1e-6, &angles))
}

fn gate(fused: bool, training: bool, length: usize) -> Run {
    let f: Gate = if fused { fmflow_ops::gate } else { reference::gate };
    let inputs = [(); 2].map(|()| noise([length, FEED]));
    repeat(inputs, training, move |[gate, up]| f(gate, up))
}

/// The head and the cross-entropy of every position.
fn loss(fused: bool, training: bool, length: usize) -> Run {
    let measure: Measure = if fused { fmflow_ops::measure_losses } else { reference::measure_losses };
    let differentiate: Differentiate =
        if fused { fmflow_ops::differentiate_losses } else { reference::differentiate_losses };
    let (hidden, head) = (noise([length, HIDDEN]), noise([VOCABULARY, HIDDEN]));
    let ids: Vec<i32> = (0..length).map(|i| (i * 7919 % VOCABULARY) as i32).collect();
    let targets = Tensor::<1, Int>::from_data(TensorData::new(ids, [length]), &Device::flex());
    let one = Tensor::<1>::ones([length], &Device::flex());
    let terms = LossTerms {
        targets: targets.clone(),
        present: targets,
        cross_entropy: one.clone(),
        probability: one * 0.0,
    };
    Box::new(move || {
        let (hidden, head, terms) = (hidden.clone(), head.clone(), terms.clone());
        if training {
            black_box(differentiate(hidden, head, terms, Precision::F32));
        } else {
            black_box(measure(hidden, head, terms.targets, terms.present, Precision::F32));
        }
    })
}

fn adamw(fused: bool) -> Run {
    let f: Update = if fused { fmflow_ops::update_values } else { reference::update_values };
    let rates = AdamWRates {
        scale: 1.0,
        first: [0.9, 0.1],
        second: [0.95, 0.05],
        root: 1.0,
        epsilon: 1e-8,
        rate: 1e-4,
        keep: 0.9999,
    };
    let gradient = noise([UPDATED]);
    let held = RefCell::new(Some([(); 3].map(|()| noise([UPDATED]).abs())));
    Box::new(move || {
        let [values, first, second] = held.take().expect("put back after every update");
        let found = f(values, gradient.clone(), [first, second], rates);
        let [first, second] = found.moments;
        held.replace(Some([found.values, first, second]));
    })
}

/// A pass forward and, if it is one of training, backward from the sum.
fn repeat<const D: usize, const E: usize, const N: usize>(
    inputs: [Tensor<D>; N],
    training: bool,
    f: impl Fn([Tensor<D>; N]) -> Tensor<E> + 'static,
) -> Run {
    Box::new(move || {
        let y = f(inputs.each_ref().map(|x| track(x, training)));
        if training {
            black_box(y.sum().backward());
        } else {
            black_box(y);
        }
    })
}

/// `x` as an input of a pass, which has gradients in training.
fn track<const D: usize>(x: &Tensor<D>, training: bool) -> Tensor<D> {
    if training { x.clone().autodiff().require_grad() } else { x.clone() }
}

/// KiB by which one run raises the peak of this process over what it holds before.
fn measure_memory(run: &Run) -> u64 {
    // Linux begins a new peak.
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let before = read_status("VmRSS:");
    run();
    read_status("VmHWM:").saturating_sub(before)
}

/// A number of KiB that Linux tells of this process.
fn read_status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("a line of the key");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Seconds that pass in a run, and seconds of processor time, on average over `at_least` of the latter.
fn measure_time(run: &Run, at_least: f64) -> [f64; 2] {
    let (start, used) = (Instant::now(), read_processor_seconds());
    let mut runs = 0.0;
    while runs == 0.0 || read_processor_seconds() - used < at_least {
        run();
        runs += 1.0;
    }
    [start.elapsed().as_secs_f64() / runs, (read_processor_seconds() - used) / runs]
}

/// Processor time of all threads of this process, which Linux counts in hundredths of a second.
fn read_processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, behind_name) = text.rsplit_once(')').expect("a name in parentheses");
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

/// Values in [-1, 1), a function of their place.
fn noise<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let value = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32;
    let values: Vec<f32> =
        (0..shape.iter().product::<usize>() as u64).map(|i| value(i + 1) / 8_388_608.0 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}
