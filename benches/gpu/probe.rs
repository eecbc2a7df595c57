//! Figures of a device: whether it computes what the CPU computes, and how fast.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement fails by panicking, and prints its figures"
)]

mod operations;
mod products;
mod update;

use std::process::ExitCode;
use std::time::Instant;

use burn_tensor::Device;
use fmflow_stages::backbone::Qwen3Config;
use fmflow_stages::device::open_device;
use serde_json::{Value, json};

/// Runs one measurement.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [what, device, ref rest @ ..] = words[..] else { return usage() };
    let start = Instant::now();
    let device = open_device(device).unwrap();
    device.sync().unwrap();
    report(json!({ "open": arguments[1], "seconds": start.elapsed().as_secs_f64() }));
    match (what, rest) {
        ("parity", []) => update::compare_with_cpu(&device),
        ("products", [length]) => products::measure(&device, parse(length)),
        ("operations", [shape, length]) => operations::measure(&device, &Shape::named(shape), parse(length)),
        ("update", [shape, rows, length, recompute, updates]) => {
            let recompute = match *recompute {
                "none" => false,
                "block" => true,
                _ => return usage(),
            };
            let batch = update::Batch { rows: parse(rows), length: parse(length), recompute };
            update::measure(&device, &Shape::named(shape), batch, parse(updates));
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    println!("gpu probe parity|products|operations|update DEVICE ...; see benches/gpu/main.rs");
    ExitCode::from(2)
}

fn parse(text: &str) -> usize {
    text.parse().unwrap()
}

/// One figure.
fn report(figure: Value) {
    println!("{figure}");
}

/// Seconds of `f`, whose results are dropped: of the first call, which compiles and tunes kernels, and the mean of ten more.
fn time<T>(device: &Device, f: impl Fn() -> T) -> [f64; 2] {
    const REPEATS: u32 = 10;
    let seconds = |times: u32| {
        let start = Instant::now();
        (0..times).for_each(|_| drop(f()));
        device.sync().unwrap();
        start.elapsed().as_secs_f64() / f64::from(times)
    };
    let first = seconds(1);
    seconds(2);
    [first, seconds(REPEATS)]
}

/// A model's shape, and its name in reports.
struct Shape {
    name: String,
    config: Qwen3Config,
}

impl Shape {
    fn named(name: &str) -> Self {
        let [vocab_size, hidden_size, intermediate_size, layers, heads, shared, head_dim] = match name {
            "1.7b" => [151_936, 2048, 6144, 28, 16, 8, 128],
            "0.6b" => [151_936, 1024, 3072, 28, 16, 8, 128],
            "tiny" => [512, 64, 128, 2, 4, 2, 16],
            other => panic!("{other} is no shape: write tiny, 0.6b or 1.7b"),
        };
        let value = json!({
            "vocab_size": vocab_size, "hidden_size": hidden_size, "intermediate_size": intermediate_size,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": shared,
            "head_dim": head_dim, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": true,
            "max_position_embeddings": 40_960, "initializer_range": 0.02, "model_type": "qwen3",
            "architectures": ["Qwen3ForCausalLM"], "hidden_act": "silu", "attention_bias": false,
        });
        Self { name: name.into(), config: Qwen3Config::parse(&value.to_string()).unwrap() }
    }
}
