//! AVX512-BF16: whether the processor has it, and its instructions as functions of slices. All `unsafe` of products is here.
//!
//! `VDPBF16PS` adds two products to each f32 lane: first that of the upper halves, then that of the lower ones, each by a fused
//! multiply-add that rounds to nearest even, takes denormal inputs for 0 and flushes denormal results to 0, whatever MXCSR says
//! (Intel, "Software Developer's Manual", volume 2, VDPBF16PS). `VCVTNE2PS2BF16` rounds in the same way and keeps NaN.

#![expect(
    unsafe_code,
    reason = "instructions that only some processors have, and registers that are loaded and stored"
)]

use std::arch::x86_64::*;
use std::mem::transmute;

use super::pack::Source;
use super::{Onto, PAIRS, WIDTH, pack, tile};
use crate::kernels::panels::View;

/// Lanes of a register.
pub(super) const LANES: usize = 16;

/// Registers of a line.
pub(super) const NV: usize = WIDTH / LANES;

/// Two bf16 numbers that follow one another in a sum, the first in the lower half.
pub(super) type Pair = u32;

/// A row of the left factor: the pairs of one chain.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct LeftRow(pub(super) [[Pair; LANES]; PAIRS / LANES]);

impl LeftRow {
    pub(super) const ZERO: Self = Self([[0; LANES]; PAIRS / LANES]);
}

/// A pair of each column of a panel of the right factor.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [[Pair; LANES]; NV]);

impl Line {
    pub(super) const ZERO: Self = Self([[0; LANES]; NV]);
}

/// Proof that the processor has AVX512-BF16.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512Bf16(());

impl Avx512Bf16 {
    /// `None` if the processor lacks it.
    pub(crate) fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        all.then_some(Self(()))
    }

    /// Rounds summands `from..end` of the rows from `first` on, one for each of `out`; what is behind `end` is 0.
    pub(super) fn pack_left(self, view: View, first: usize, from: usize, end: usize, out: &mut [LeftRow]) {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { pack::pack_left(&Source { view, end }, first, from, out) }
    }

    /// Rounds summands `from..end` of a panel: of [`WIDTH`] rows of `view` from `first` on, which are columns of the product.
    pub(super) fn pack_right(self, view: View, first: usize, from: usize, end: usize, out: &mut [Line]) {
        // SAFETY: as above.
        unsafe { pack::pack_right(&Source { view, end }, first, from, out) }
    }

    /// Multiplies all rows with a panel of one chain. The panel `ahead` is fetched into the second cache meanwhile.
    pub(super) fn multiply(self, left: &[LeftRow], right: &[Line], ahead: &[Line], onto: &mut Onto) {
        // SAFETY: as above.
        unsafe { tile::multiply(left, [right, ahead], onto) }
    }
}

/// Writes or adds the first lanes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_part(part: &mut [f32], sum: __m512, add: bool) {
    let mask = mask(part.len());
    // SAFETY: the mask lets no lane be read or written behind the end of `part`.
    unsafe {
        let sum = if add { _mm512_add_ps(_mm512_maskz_loadu_ps(mask, part.as_ptr()), sum) } else { sum };
        _mm512_mask_storeu_ps(part.as_mut_ptr(), mask, sum);
    }
}

/// The first `count` lanes, at most all.
#[inline]
fn mask(count: usize) -> u16 {
    if count >= LANES { u16::MAX } else { (1 << count) - 1 }
}

/// Values from place `at` on, each `step` after the one before; as many as there are lanes, at most `count`. The others are 0.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn read(values: &[f32], at: usize, step: usize, count: usize) -> __m512 {
    let count = count.min(LANES);
    if count == 0 {
        return _mm512_setzero_ps();
    }
    if step == 1 {
        let values = &values[at..at + count];
        // SAFETY: the mask lets no lane be read behind the end of `values`.
        return unsafe { _mm512_maskz_loadu_ps(mask(count), values.as_ptr()) };
    }
    let mut found = [0.0_f32; LANES];
    for (found, value) in found[..count].iter_mut().zip(values[at..].iter().step_by(step)) {
        *found = *value;
    }
    // SAFETY: both types are 64 bytes of which every pattern is a value.
    unsafe { transmute::<[f32; LANES], __m512>(found) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(pairs: &[Pair; LANES]) -> __m512i {
    // SAFETY: the array is as long as a register.
    unsafe { _mm512_loadu_si512(pairs.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(pairs: __m512i, out: &mut [Pair; LANES]) {
    // SAFETY: the array is as long as a register.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs) }
}

/// 32 values rounded to bf16, in their order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn round(first: __m512, second: __m512) -> __m512i {
    // SAFETY: both types are 64 bytes of which every pattern is a value.
    unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first)) }
}

/// `sum` plus both products of each pair.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn add_products(sum: __m512, left: __m512i, right: __m512i) -> __m512 {
    // SAFETY: all types are 64 bytes of which every pattern is a value.
    unsafe {
        _mm512_dpbf16_ps(sum, transmute::<__m512i, __m512bh>(left), transmute::<__m512i, __m512bh>(right))
    }
}
