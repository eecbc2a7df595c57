//! fmflow's engine: the language, the plan, the store and the command line. It never touches a tensor.
//!
//! Text becomes a checked [`pipeline::Pipeline`] of stages, each with a typed [`pipeline::config::StageConfig`]. The plan
//! compares their fingerprints with the store. The runner passes every stage that has to run to a
//! [`run::execute::Execute`], which the stages crate implements.

pub mod benchmark;
pub mod check;
pub mod cli;
pub mod documents;
pub mod error;
pub mod hub;
pub mod language;
pub mod pipeline;
pub mod plan;
mod program;
pub mod report;
pub mod run;
pub mod service;
mod smoke;
pub mod store;
pub mod text;
