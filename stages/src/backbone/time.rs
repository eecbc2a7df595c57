//! Optional time conditioning: a modulation that starts as the identity.
//!
//! t -> sinusoids -> two layers -> embedding `[W]`; each block projects it to the scale, shift and gate of its two halves:
//! x + (1 + g) f((1 + s) norm(x) + b). The projections start at 0, so s = b = g = 0 and a converted model computes exactly
//! what its source computed. The width W bounds the rank of the modulation.

use burn_tensor::{Device, Tensor, TensorData, activation::silu};

use fmflow_engine::pipeline::checkpoint_folder::TIME_FEATURES;

use super::layers::linear;
use super::prepared::PreparedContext;

/// The shared layers from t to its embedding.
#[derive(Clone, Debug)]
pub(super) struct TimeEmbedding {
    pub(super) in_weight: Tensor<2>,
    pub(super) in_bias: Tensor<1>,
    pub(super) out_weight: Tensor<2>,
    pub(super) out_bias: Tensor<1>,
}

impl TimeEmbedding {
    /// The embedding of the time of each row.
    ///
    /// # Shapes
    /// `time`: `[B]`; returns [B, W].
    pub(super) fn forward(&self, time: &[f32], device: &Device) -> Tensor<2> {
        let x = linear(compute_time_features(time, device), &self.in_weight)
            + self.in_bias.clone().unsqueeze::<2>();
        linear(silu(x), &self.out_weight) + self.out_bias.clone().unsqueeze::<2>()
    }
}

/// cos and sin of 1000 t at frequencies 10000^(-i / n), the sinusoids of diffusion transformers (Peebles and Xie, 2022).
fn compute_time_features(time: &[f32], device: &Device) -> Tensor<2> {
    let half = TIME_FEATURES / 2;
    let angle = |t: f32, i: usize| 1000.0 * f64::from(t) * 1e4_f64.powf(-(i as f64) / half as f64);
    let row = |&t: &f32| {
        let cos = (0..half).map(move |i| angle(t, i).cos() as f32);
        cos.chain((0..half).map(move |i| angle(t, i).sin() as f32))
    };
    let values: Vec<f32> = time.iter().flat_map(row).collect();
    Tensor::from_data(TensorData::new(values, [time.len(), TIME_FEATURES]), device)
}

/// Scale, shift and gate of one half of a block, each [B, 1, D]; absent without time conditioning.
#[derive(Clone, Debug)]
pub(super) struct Modulation(Option<[Tensor<3>; 3]>);

impl Modulation {
    /// The modulations of the attention half and of the feed-forward half.
    pub(super) fn pair(projection: Option<&Tensor<2>>, at: &PreparedContext) -> (Self, Self) {
        let (projection, time) = match (projection, &at.time) {
            (Some(projection), Some(time)) => (projection, time),
            (None, None) => return (Self(None), Self(None)),
            _ => unreachable!("a context was checked against the conditioning of its backbone"),
        };
        let width = projection.dims()[0] / 6;
        let all = linear(time.clone(), projection).reshape([at.batch, 1, 6 * width]);
        let part = |i: usize| all.clone().narrow(2, i * width, width);
        (Self(Some([part(0), part(1), part(2)])), Self(Some([part(3), part(4), part(5)])))
    }

    /// (1 + s) x + b.
    ///
    /// # Shapes
    /// `x`: [B L, D]; returns the same.
    pub(super) fn enter(&self, x: Tensor<2>, at: &PreparedContext) -> Tensor<2> {
        let Some([scale, shift, _]) = &self.0 else { return x };
        let [n, d] = x.dims();
        let x: Tensor<3> = x.reshape([at.batch, at.length, d]);
        (x.clone() + x * scale.clone() + shift.clone()).reshape([n, d])
    }

    /// (1 + g) x.
    ///
    /// # Shapes
    /// `x`: [B L, D]; returns the same.
    pub(super) fn leave(&self, x: Tensor<2>, at: &PreparedContext) -> Tensor<2> {
        let Some([_, _, gate]) = &self.0 else { return x };
        let [n, d] = x.dims();
        let x: Tensor<3> = x.reshape([at.batch, at.length, d]);
        (x.clone() + x * gate.clone()).reshape([n, d])
    }
}
