//! A context on the device: rotary tables, and the inputs of the attention mask.

use burn_tensor::{Device, Tensor, TensorData};

use super::Qwen3Config;
use super::context::AttentionContext;
use super::mask::AttentionMask;

/// An [`AttentionContext`] on the device, made by [`Backbone::prepare`](super::Backbone::prepare).
#[derive(Clone, Debug)]
pub(crate) struct PreparedContext {
    pub(super) batch: usize,
    pub(super) length: usize,
    pub(super) rotary: Rotary,
    pub(super) mask: AttentionMask,
    /// The time embedding, [B, W].
    pub(super) time: Option<Tensor<2>>,
}

impl PreparedContext {
    /// Rotary tables and mask for `context`. The backbone fills in the time.
    pub(super) fn new(context: &AttentionContext, config: &Qwen3Config, device: &Device) -> Self {
        Self {
            batch: context.batch,
            length: context.length,
            rotary: Rotary::new(context, config, device),
            mask: AttentionMask::new(context, device),
            time: None,
        }
    }
}

/// Rotary position embedding: x cos + rotate_half(x) sin. rotate_half is a product with a signed permutation,
/// which made a training step on CPU 16 % faster than slices and concatenation (measured).
#[derive(Clone, Debug)]
pub(super) struct Rotary {
    cos: Tensor<4>,
    sin: Tensor<4>,
    turn: Tensor<2>,
}

impl Rotary {
    fn new(context: &AttentionContext, config: &Qwen3Config, device: &Device) -> Self {
        let (half, length) = (config.head_dim / 2, context.length);
        let plain: Vec<u32> = (0..length as u32).collect();
        let positions = context.positions.as_ref().unwrap_or(&plain);
        let rows = positions.len() / length;
        let table = RotaryTable::new(positions.iter().copied().max().unwrap_or(0), config);
        let gather = |values: &[f32]| {
            let mut out = Vec::with_capacity(positions.len() * 2 * half);
            for &position in positions {
                let row = &values[position as usize * half..][..half];
                out.extend_from_slice(row);
                out.extend_from_slice(row);
            }
            Tensor::from_data(TensorData::new(out, [rows, length, 1, 2 * half]), device)
        };
        Self { cos: gather(&table.cos), sin: gather(&table.sin), turn: build_rotation_matrix(half, device) }
    }

    /// Rotates every head.
    ///
    /// # Shapes
    /// `x`: [B, L, H, h]; returns the same.
    pub(super) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, l, heads, width] = x.dims();
        let turned = x.clone().reshape([b * l * heads, width]).matmul(self.turn.clone());
        x * self.cos.clone() + turned.reshape([b, l, heads, width]) * self.sin.clone()
    }
}

/// cos and sin of position * theta^(-2i / h), each [positions, h / 2]. Angles are f32 products as in Hugging Face: f64 angles
/// would be more exact, but different.
struct RotaryTable {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RotaryTable {
    fn new(last: u32, config: &Qwen3Config) -> Self {
        let width = config.head_dim;
        let frequency = |i: usize| (1.0 / config.rope_theta.powf((2 * i) as f64 / width as f64)) as f32;
        let frequencies: Vec<f32> = (0..width / 2).map(frequency).collect();
        let angles = (0..=last).flat_map(|p| frequencies.iter().map(move |f| f64::from(p as f32 * f)));
        let (cos, sin) = angles.map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        Self { cos, sin }
    }
}

/// The matrix R [h, h] with x R = rotate_half(x) = (-second half, first half).
fn build_rotation_matrix(half: usize, device: &Device) -> Tensor<2> {
    let width = 2 * half;
    let mut values = vec![0.0_f32; width * width];
    for i in 0..half {
        values[(i + half) * width + i] = -1.0;
        values[i * width + i + half] = 1.0;
    }
    Tensor::from_data(TensorData::new(values, [width, width]), device)
}
