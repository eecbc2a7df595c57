//! The composition root: the only file that knows both the engine and the stages.

use std::process::ExitCode;

#[cfg(all(feature = "hub", any(feature = "cpu", feature = "cuda")))]
fn main() -> ExitCode {
    fmflow_engine::cli::main(Some(&fmflow_stages::executor()), Some(&fmflow_stages::hub()))
}

#[cfg(all(not(feature = "hub"), any(feature = "cpu", feature = "cuda")))]
fn main() -> ExitCode {
    fmflow_engine::cli::main(Some(&fmflow_stages::executor()), None)
}

#[cfg(not(any(feature = "cpu", feature = "cuda")))]
fn main() -> ExitCode {
    fmflow_engine::cli::main(None, None)
}
