//! fmflow: the language, the plan, the store and the command line. It knows no tensor.
//!
//! Text becomes a checked [`pipeline::Pipeline`] of stages, each with a typed [`config::StageConfig`]; the plan compares
//! fingerprints with the store; the runner hands what is missing to an [`execute::Execute`], which the stages crate
//! implements.

pub mod config;
pub mod execute;
pub mod pipeline;
pub mod store;
