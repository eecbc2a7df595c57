//! What the stages of fmflow do: data, backbone, flow matching, training, sampling.

pub mod data;
pub mod rng;
