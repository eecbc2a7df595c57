//! Rounding to bf16, in f32.

use super::vector::vectorized;
use crate::Precision;

/// The nearest bf16, ties to even; NaN stays NaN. A value above the largest bf16 becomes infinite.
#[inline(always)]
pub(crate) fn round_to_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    // Half a unit of the last place that stays, less one where that place is even.
    let half = 0x7fff + ((bits >> 16) & 1);
    let rounded = f32::from_bits(bits.wrapping_add(half) & 0xffff_0000);
    if x.is_nan() { x } else { rounded }
}

/// Rounds every value in place as `precision` says.
#[inline(always)]
pub(crate) fn round_values(precision: Precision, values: &mut [f32]) {
    if precision == Precision::Bf16 {
        values.iter_mut().for_each(|x| *x = round_to_bf16(*x));
    }
}

vectorized! {
    /// The values, rounded to bf16.
    pub(crate) fn copy_as_bf16<'a>(values: &'a [f32]) -> Vec<f32> {
        let mut rounded = values.to_vec();
        round_values(Precision::Bf16, &mut rounded);
        rounded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_the_even_neighbor_and_nothing_is_lost_at_the_ends() {
        let one = 1.0_f32.to_bits();
        let cases = [
            (one, one),
            (one + 0x8000, one),
            (one + 0x8001, one + 0x1_0000),
            (one + 0x1_8000, one + 0x2_0000),
            (one + 0x1_7fff, one + 0x1_0000),
            (0x8000_0000, 0x8000_0000),
            (f32::MAX.to_bits(), f32::INFINITY.to_bits()),
            (f32::NEG_INFINITY.to_bits(), f32::NEG_INFINITY.to_bits()),
            (1, 0),
        ];
        for (from, expected) in cases {
            assert_eq!(round_to_bf16(f32::from_bits(from)).to_bits(), expected, "{from:#x}");
        }
        assert!(round_to_bf16(f32::from_bits(0x7f80_0001)).is_nan() && round_to_bf16(f32::NAN).is_nan());
    }

    #[test]
    fn rounding_is_that_of_burn() {
        use burn_tensor::{Device, Tensor};
        let values: Vec<f32> = (0..200_000_u32).map(|i| f32::from_bits(i.wrapping_mul(21_474))).collect();
        let values: Vec<f32> = values.into_iter().filter(|x| !x.is_nan()).collect();
        let tensor = Tensor::<1>::from_data(values.as_slice(), &Device::flex());
        let expected: Vec<u32> =
            Precision::Bf16.round(tensor).into_data().iter::<f32>().map(f32::to_bits).collect();
        assert_eq!(copy_as_bf16(&values).into_iter().map(f32::to_bits).collect::<Vec<_>>(), expected);
    }
}
