//! fmflow: the language, the plan, the store and the command line. It knows no tensor.
//!
//! Text becomes a checked [`pipeline::Pipeline`] of stages, each with a typed [`pipeline::config::StageConfig`]; the plan
//! compares fingerprints with the store; the runner hands what is missing to an [`run::execute::Execute`], which the stages
//! crate implements.

pub mod check;
pub mod cli;
pub mod error;
pub mod hub;
pub mod language;
pub mod pipeline;
pub mod plan;
pub mod run;
pub mod store;
pub mod text;
