//! What the stages of fmflow do: data, backbone, flow matching, training, sampling.

pub mod backbone;
pub mod convert;
pub mod data;
pub mod device;
pub mod provenance;
pub mod rng;
pub mod weights;
