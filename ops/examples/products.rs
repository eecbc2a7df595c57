//! How fast products are on the CPU: a line of JSON for each shape, precision and pass, with the shortest time on all cores and the mean
//! processor time on one.
//!
//! `products ROUNDS N,IN,OUT...`: a linear layer from IN to OUT values on N rows. `benches/products.py` runs it beside PyTorch.
#![expect(clippy::print_stdout, reason = "lines of JSON are the result")]
#![expect(clippy::expect_used, reason = "a panic is how a measurement fails")]

use std::time::{Duration, Instant};

use burn_tensor::{Device, Tensor, TensorData};
use fmflow_ops::{Precision, linear, serially};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (rounds, shapes) = words.split_first().expect("ROUNDS N,IN,OUT...");
    let rounds: usize = rounds.parse().expect("a number of rounds");
    for shape in shapes {
        let sizes: Vec<usize> = shape.split(',').map(|size| size.parse().expect("a size")).collect();
        let [n, from, to] = sizes[..] else { panic!("{shape}: three sizes") };
        for precision in [Precision::F32, Precision::Bf16] {
            measure(shape, [n, from, to], precision, rounds);
        }
    }
}

/// Prints the times of a forward pass, which is one product, and of a backward pass, which is two.
fn measure(shape: &str, [n, from, to]: [usize; 3], precision: Precision, rounds: usize) {
    let (x, weight) = (noise([n, from], 1), noise([to, from], 2));
    let forward = || {
        let (x, weight) = (x.clone(), weight.clone());
        time(|| linear(x, weight, precision))
    };
    let backward = || {
        let [x, weight] = [&x, &weight].map(|x| x.clone().autodiff().require_grad());
        let y = linear(x, weight, precision).sum();
        time(|| y.backward())
    };
    for (pass, run) in [("forward", &forward as &dyn Fn() -> [Duration; 2]), ("backward", &backward)] {
        let shortest = (0..rounds).map(|_| run()[0]).min().expect("a round");
        // Linux counts processor time in ticks of some milliseconds, so the sum has to be many of them.
        let count = (0.5 / shortest.as_secs_f64()).ceil().max(rounds as f64) as u32;
        let processor = serially(|| (0..count).map(|_| run()[1]).sum::<Duration>()) / count;
        let [all, one] = [shortest, processor].map(|time| time.as_secs_f64());
        let precision = format!("{precision:?}").to_lowercase();
        println!(
            r#"{{"shape": "{shape}", "precision": "{precision}", "pass": "{pass}", "seconds": {all}, "processor_seconds": {one}}}"#
        );
    }
}

/// Time that passes, and processor time of this thread.
fn time<R>(work: impl FnOnce() -> R) -> [Duration; 2] {
    let (start, used) = (Instant::now(), processor_time());
    std::hint::black_box(work());
    [start.elapsed(), processor_time() - used]
}

/// Processor time of this thread, from Linux.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds come first"))
}

/// Values in [-1, 1), a function of their place and the seed.
fn noise(shape: [usize; 2], seed: u64) -> Tensor<2> {
    let value = |i: u64| (i.wrapping_mul(seed * 2 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32;
    let values: Vec<f32> =
        (0..(shape[0] * shape[1]) as u64).map(|i| value(i + 1) / 8_388_608.0 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}
