//! The work of fmflow's stages: data, backbone, flow matching, training, sampling.
//!
//! [`build_executor`] is the entry point: the engine passes one job after another to the executor. `data` and `flow` do not know
//! the backbone, `backbone` and `weights` do not know data; `train`, `completion`, `evaluate` and `generate` combine them.

pub(crate) mod answer;
mod average;
pub mod backbone;
pub mod completion;
#[cfg(feature = "hub")]
mod contents;
pub(crate) mod convert;
pub mod data;
pub(crate) mod dataset;
pub mod device;
pub(crate) mod evaluate;
mod executor;
pub(crate) mod export;
pub(crate) mod failure;
pub(crate) mod fetch;
pub mod flow;
pub(crate) mod frontier;
pub(crate) mod generate;
#[cfg(feature = "hub")]
mod hub;
pub(crate) mod inspect;
pub(crate) mod job;
pub(crate) mod model;
mod probe;
pub(crate) mod random_init;
pub mod rng;
pub(crate) mod rows;
pub(crate) mod threads;
pub(crate) mod tokenizer;
pub mod train;
pub(crate) mod verify;
pub mod weights;
pub(crate) mod window;

pub use data::template::isolate_templates;
pub use executor::build_executor;
#[cfg(feature = "hub")]
pub use hub::open_hub;
