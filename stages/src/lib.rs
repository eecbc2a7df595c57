//! The work of fmflow's stages: data, backbone, flow matching, training, sampling.
//!
//! [`build_executor`] is the entry point: the engine passes one job after another to the executor. `data` and `flow` do not know
//! the backbone, `backbone` and `weights` do not know data; `train`, `completion`, `evaluate` and `generate` combine them.

pub mod backbone;
pub mod completion;
pub mod convert;
pub mod data;
pub mod device;
pub mod evaluate;
mod executor;
pub mod export;
pub mod failure;
pub mod fetch;
pub mod flow;
pub mod generate;
#[cfg(feature = "hub")]
mod hub;
pub mod job;
pub mod model;
pub mod random_init;
pub mod rng;
pub mod rows;
pub mod threads;
pub mod tokenizer;
pub mod train;
pub mod verify;
pub mod weights;

pub use executor::build_executor;
#[cfg(feature = "hub")]
pub use hub::open_hub;
