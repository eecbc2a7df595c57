//! The composition root: the only file that knows both the engine and the stages.

fn main() -> std::process::ExitCode {
    fmflow_engine::cli::main(None)
}
