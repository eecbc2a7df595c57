//! Grades what a model wrote: programs, and answers that are a number. A program runs in a sandbox and answers calls; the tests of its problem run in a second
//! interpreter, which the program cannot reach. Nothing here knows files of a pipeline or tensors.
//!
//! [`enter_sandbox`] has to be called first in `main`: each interpreter is started by this program, which limits itself first.

mod answer;
pub mod grading;
pub mod interpreter;
pub mod literal;
pub mod number;
pub mod problem;
pub mod sandbox;
pub mod score;
pub mod search;
pub mod session;

pub use sandbox::enter_sandbox;
