//! Benchmarks: files of problems and of samples, and the scores of graded samples. `fmflow grade` and the stages use the same
//! functions, so that a sample has one verdict.

mod files;
mod flips;
mod samples;
mod scores;
mod selection;

pub use files::{BenchmarkFileError, read_placed_problems, read_problems};
pub(crate) use files::{find_unread_field, read_first_problems};
pub(crate) use flips::Flips;
pub use samples::{Sample, SampleFile, SampleSource, read_samples};
pub use scores::{BenchmarkScores, GradedSample, ProblemScore, is_empty, score_samples};
pub use selection::{LeftOut, WantedSamples};
