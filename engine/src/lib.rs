//! fmflow: the language, the plan, the store and the command line. It knows no tensor.
//!
//! Text becomes a checked [`pipeline::Pipeline`] of stages, each with a typed [`config::StageConfig`]; the plan compares
//! fingerprints with the store; the runner hands what is missing to an [`execute::Execute`], which the stages crate
//! implements.

pub mod check;
pub mod cli;
pub mod config;
pub mod contract;
pub mod decode;
pub mod diagnostic;
pub mod draft;
pub mod error;
pub mod execute;
pub mod explain;
pub mod fields;
pub mod file;
pub mod fingerprint;
pub mod graph;
pub mod headers;
pub mod levels;
pub mod lint;
pub mod lockfile;
pub mod mixture;
pub mod online;
pub mod pipeline;
pub mod plan;
pub mod record;
pub mod reference;
pub mod render;
pub mod report;
pub mod repository;
pub mod resolve;
pub mod run;
pub mod schema;
pub mod settings;
pub mod sources;
pub mod store;
pub mod suggest;
pub mod syntax;
pub mod table;
pub mod vfs;
