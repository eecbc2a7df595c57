//! What a machine with a GPU runs of fmflow, in one program: `just gpu-pack` packs it, `just gpu-check` runs it there.
//!
//! ```text
//! gpu oracle [FILTER]                              the comparison with other implementations, on $FMFLOW_DEVICE
//! gpu probe parity DEVICE                          a small model on DEVICE beside the CPU
//! gpu probe products DEVICE LENGTH                 products at the shapes of Qwen3-1.7B
//! gpu probe operations DEVICE SHAPE LENGTH         each fused operation, forward and backward
//! gpu probe update DEVICE SHAPE ROWS LENGTH none|block UPDATES
//!                                                  whole updates with random weights, a row at a time; blocks recomputed or not
//! gpu ...                                          anything else is a command of fmflow
//! ```
//! SHAPE is `tiny`, `0.6b` or `1.7b`; DEVICE is `cpu` or `cuda:0`. Every figure is a JSON object on a line of its own.

#[path = "../../tests/oracle/main.rs"]
#[expect(dead_code, reason = "its own `main`")]
mod oracle;
mod probe;
#[path = "../../main.rs"]
mod product;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("oracle") => oracle::run_sets(std::env::args().skip(1)),
        Some("probe") => probe::run(&arguments[1..]),
        _ => product::main(),
    }
}
