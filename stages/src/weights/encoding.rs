//! Element types as bytes.

use std::borrow::Cow;

use fmflow_engine::pipeline::checkpoint_folder::Dtype;

/// How values of an element type are stored.
pub(crate) trait Encoding {
    /// Encodes `values` as little-endian elements, each rounded to the nearest value of the type, ties to even. On most machines f32
    /// are stored as they are in memory.
    fn encode(self, values: &[f32]) -> Cow<'_, [u8]>;

    /// The value of `x` after storing it in this type and reading it back.
    fn round(self, x: f32) -> f32;

    /// Decodes the little-endian elements of `bytes` and appends them to `out`. Every type is exact in f32.
    fn decode(self, bytes: &[u8], out: &mut Vec<f32>);
}

impl Encoding for Dtype {
    fn encode(self, values: &[f32]) -> Cow<'_, [u8]> {
        match self {
            Self::F32 if cfg!(target_endian = "little") => Cow::Borrowed(bytemuck::cast_slice(values)),
            Self::F32 => Cow::Owned(collect_bytes(values, f32::to_le_bytes)),
            Self::BF16 => Cow::Owned(collect_bytes(values, |x| half::bf16::from_f32(x).to_le_bytes())),
            Self::F16 => Cow::Owned(collect_bytes(values, |x| half::f16::from_f32(x).to_le_bytes())),
        }
    }

    fn round(self, x: f32) -> f32 {
        match self {
            Self::F32 => x,
            Self::BF16 => half::bf16::from_f32(x).to_f32(),
            Self::F16 => half::f16::from_f32(x).to_f32(),
        }
    }

    fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        let two = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]);
        match self {
            Self::F32 => {
                out.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
            }
            Self::BF16 => out.extend(bytes.chunks_exact(2).map(|b| f32::from_bits(u32::from(two(b)) << 16))),
            Self::F16 => out.extend(bytes.chunks_exact(2).map(|b| half::f16::from_bits(two(b)).to_f32())),
        }
    }
}

/// The bytes of all values. A loop over slices of equal width becomes vector instructions; collecting bytes does not.
fn collect_bytes<const N: usize>(values: &[f32], encode: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * N];
    for (place, value) in bytes.chunks_exact_mut(N).zip(values) {
        place.copy_from_slice(&encode(*value));
    }
    bytes
}
