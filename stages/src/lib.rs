//! What the stages of fmflow do: data, backbone, flow matching, training, sampling.
//!
//! [`executor`] is the way in: the engine hands it one job after another. `data` and `flow` know no backbone, `backbone` and
//! `weights` know no data; `train`, `completion`, `evaluate` and `generate` are where they meet.

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
