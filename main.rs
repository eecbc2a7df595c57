//! The composition root: the only file that knows both the engine and the stages.

use std::process::ExitCode;

#[cfg(any(feature = "cpu", feature = "cuda"))]
fn main() -> ExitCode {
    fmflow_engine::cli::main(Some(&fmflow_stages::executor()))
}

#[cfg(not(any(feature = "cpu", feature = "cuda")))]
fn main() -> ExitCode {
    fmflow_engine::cli::main(None)
}
