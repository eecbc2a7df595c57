//! The composition root: the only file that knows all packages. Features decide which of the optional parts, the
//! executor, the hub and the server, are linked; without them the binary still checks and plans.

mod memory;

use std::process::ExitCode;

use fmflow_engine::cli::{BuildParts, run_command_line};

#[global_allocator]
static ALLOCATOR: memory::WatchedAllocator = memory::WatchedAllocator;

pub(crate) fn main() -> ExitCode {
    if let Some(exit) = fmflow_grade::enter_sandbox() {
        return exit;
    }
    #[cfg(any(feature = "cpu", feature = "cuda", feature = "cube-cpu"))]
    if let Some(exit) = fmflow_stages::isolate_templates() {
        return exit;
    }
    memory::tell_when_it_runs_out().expect("the handler of an abort can be replaced");
    #[cfg(any(feature = "cpu", feature = "cuda", feature = "cube-cpu"))]
    let executor = Some(&fmflow_stages::build_executor() as &dyn fmflow_engine::run::execute::Execute);
    #[cfg(not(any(feature = "cpu", feature = "cuda", feature = "cube-cpu")))]
    let executor = None;
    #[cfg(all(feature = "hub", any(feature = "cpu", feature = "cuda", feature = "cube-cpu")))]
    let hub = Some(&fmflow_stages::open_hub() as &dyn fmflow_engine::hub::online::Hub);
    #[cfg(not(all(feature = "hub", any(feature = "cpu", feature = "cuda", feature = "cube-cpu"))))]
    let hub = None;
    #[cfg(feature = "serve")]
    let server = Some(&fmflow_serve::build_server() as &dyn fmflow_engine::service::Serve);
    #[cfg(not(feature = "serve"))]
    let server = None;
    run_command_line(BuildParts { execute: executor, hub, server })
}
