//! A context on the device: rotary angles, and which keys each query sees.

use std::ops::RangeInclusive;

use burn_tensor::{Device, Tensor, TensorData};
use fmflow_ops::{Angles, Intervals, Precision};

use super::context::AttentionContext;
use super::mask::{AttentionMask, build_intervals};
use super::{BackboneError, Qwen3Config};

/// An [`AttentionContext`] on the device, made by [`Backbone::prepare`](super::Backbone::prepare).
#[derive(Clone, Debug)]
pub(crate) struct PreparedContext {
    pub(super) batch: usize,
    pub(super) length: usize,
    pub(super) angles: Angles,
    pub(super) visibility: Visibility,
    /// The time embedding, [B, W].
    pub(super) time: Option<Tensor<2>>,
    /// The format of the factors of products.
    pub(super) precision: Precision,
}

/// Which keys each query sees.
#[derive(Clone, Debug)]
pub(super) enum Visibility {
    /// At most two intervals per query.
    Intervals(Intervals),
    /// Any pairs.
    Mask(Box<AttentionMask>),
}

impl Visibility {
    fn new(context: &AttentionContext, device: &Device) -> Result<Self, BackboneError> {
        let Some(bounds) = build_intervals(context) else {
            if context.stride.is_some() {
                let what = "with a stride, a document lies in one place and its positions do not go back";
                return Err(BackboneError::Context(what.into()));
            }
            return Ok(Self::Mask(Box::new(AttentionMask::new(context, device))));
        };
        Ok(Self::Intervals(Intervals::new(bounds, context.length)))
    }
}

impl PreparedContext {
    /// Rotary angles for `context`, of whose queries each sees the keys given by two intervals, row-major [B, L, 4]. The keys
    /// may be those of another row, which a cache holds. The backbone fills in its time and its precision.
    pub(super) fn with_intervals(
        context: &AttentionContext,
        bounds: Vec<i32>,
        config: &Qwen3Config,
        device: &Device,
    ) -> Self {
        let visible = Intervals::new(bounds, context.length);
        Self {
            batch: context.batch,
            length: context.length,
            angles: prepare_angles(context, config, device),
            visibility: Visibility::Intervals(visible),
            time: None,
            precision: Precision::F32,
        }
    }

    /// Rotary angles and visibility for `context`. The backbone fills in its time and its precision.
    ///
    /// # Errors
    /// If nothing can say what is visible.
    pub(super) fn new(
        context: &AttentionContext,
        config: &Qwen3Config,
        device: &Device,
    ) -> Result<Self, BackboneError> {
        Ok(Self {
            batch: context.batch,
            length: context.length,
            angles: prepare_angles(context, config, device),
            visibility: Visibility::new(context, device)?,
            time: None,
            precision: Precision::F32,
        })
    }
}

/// cos and sin of the rotary angles of every position.
fn prepare_angles(context: &AttentionContext, config: &Qwen3Config, device: &Device) -> Angles {
    let (half, length) = (config.head_dim / 2, context.length);
    let plain: Vec<u32> = (0..length as u32).collect();
    let positions = context.positions.as_ref().unwrap_or(&plain);
    let rows = positions.len() / length;
    let first = positions.iter().copied().min().unwrap_or(0);
    let table = RotaryTable::new(first..=positions.iter().copied().max().unwrap_or(0), config);
    let gather = |values: &[f32]| {
        let rows_of = positions.iter().flat_map(|p| &values[(*p - first) as usize * half..][..half]);
        Tensor::from_data(
            TensorData::new(rows_of.copied().collect::<Vec<f32>>(), [rows, length, half]),
            device,
        )
    };
    Angles { cos: gather(&table.cos), sin: gather(&table.sin) }
}

/// cos and sin of position * theta^(-2i / h), each [positions, h / 2]. Angles are f32 products as in Hugging Face: f64 angles
/// would be more exact, but different.
struct RotaryTable {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RotaryTable {
    fn new(positions: RangeInclusive<u32>, config: &Qwen3Config) -> Self {
        let width = config.head_dim;
        let frequency = |i: usize| (1.0 / config.rope_theta.powf((2 * i) as f64 / width as f64)) as f32;
        let frequencies: Vec<f32> = (0..width / 2).map(frequency).collect();
        let angles = positions.flat_map(|p| frequencies.iter().map(move |f| f64::from(p as f32 * f)));
        let (cos, sin) = angles.map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        Self { cos, sin }
    }
}
