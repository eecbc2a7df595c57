//! Programs of others: started in a process group of their own, bounded in time and output, and ended with all that they started.

mod capture;
mod feed;
mod group;
mod supervise;

pub(crate) use capture::CapturedOutput;
pub(crate) use feed::{FedProgram, FeedLoss};
pub(crate) use supervise::{Ended, ProgramLimits, run_program};

use std::ffi::OsString;
use std::path::PathBuf;

/// What to start: a command for `sh`, where, and with which environment.
#[derive(Clone, Debug)]
pub(crate) struct ProgramPlan {
    /// The command, as `sh -c` takes it.
    pub command: String,
    /// The folder that it runs in.
    pub folder: PathBuf,
    /// Variables that it gets beside, or in place of, those of this process.
    pub environment: Vec<(String, OsString)>,
    /// Whether it gets no other variables.
    pub bare: bool,
}
