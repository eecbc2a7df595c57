//! Packing: factors in any order in memory become pairs of bf16 numbers, rows of them on the left and panels of columns on the right.
//! Where the order in memory is the other one, blocks of 16 x 16 pairs are transposed in registers.

use std::arch::x86_64::*;

use super::avx512::{LANES, LeftRow, Line, NV, Pair, load, read, round, store};
use crate::kernels::panels::View;

/// Places of the numbers of each pair among 16 first and 16 second ones.
const INTERLEAVED: [Pair; LANES] = {
    let mut places = [0; LANES];
    let mut i = 0;
    while i < LANES {
        places[i] = ((LANES + i) << 16 | i) as Pair;
        i += 1;
    }
    places
};

/// A factor as rows of summands, of which those before `end` are read.
pub(super) struct Source<'a> {
    pub(super) view: View<'a>,
    pub(super) end: usize,
}

impl Source<'_> {
    /// 16 pairs of a row from summand `from` on; 0 behind the last row or summand.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn read_along(&self, row: usize, from: usize) -> __m512i {
        let step = self.view.column_stride;
        let read = |k: usize| match row < self.view.rows {
            true => read(
                self.view.values,
                row * self.view.row_stride + k * step,
                step,
                self.end.saturating_sub(k),
            ),
            false => _mm512_setzero_ps(),
        };
        round(read(from), read(from + LANES))
    }

    /// A pair of each of 16 rows from `first` on; 0 behind the last row or summand.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn read_across(&self, first: usize, from: usize) -> __m512i {
        let (step, rows) = (self.view.row_stride, self.view.rows.saturating_sub(first));
        let read = |k: usize| match k < self.end {
            true => read(self.view.values, first * step + k * self.view.column_stride, step, rows),
            false => _mm512_setzero_ps(),
        };
        _mm512_permutexvar_epi16(load(&INTERLEAVED), round(read(from), read(from + 1)))
    }
}

/// Rows of the left factor from `first` on, as pairs from summand `from` on.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn pack_left(source: &Source, first: usize, from: usize, out: &mut [LeftRow]) {
    let blocks = (source.end - from).div_ceil(2 * LANES);
    if source.view.column_stride == 1 {
        for (r, row) in out.iter_mut().enumerate() {
            for (block, part) in row.0[..blocks].iter_mut().enumerate() {
                store(source.read_along(first + r, from + block * 2 * LANES), part);
            }
        }
        return;
    }
    for block in 0..blocks {
        // Neighboring rows lie in the same pages of memory, neighboring summands need not.
        for (tile, rows) in out.chunks_mut(LANES).enumerate() {
            let mut pairs = [_mm512_setzero_si512(); LANES];
            for (p, pairs) in pairs.iter_mut().enumerate() {
                *pairs = source.read_across(first + tile * LANES, from + 2 * (block * LANES + p));
            }
            for (row, pairs) in rows.iter_mut().zip(transpose(&pairs)) {
                store(pairs, &mut row.0[block]);
            }
        }
    }
}

/// A panel of columns of the right factor, which are rows of the source from `first` on, as pairs from summand `from` on.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn pack_right(source: &Source, first: usize, from: usize, out: &mut [Line]) {
    if source.view.row_stride == 1 {
        for (p, line) in out.iter_mut().enumerate() {
            for (half, part) in line.0.iter_mut().enumerate() {
                store(source.read_across(first + half * LANES, from + 2 * p), part);
            }
        }
        return;
    }
    for (block, lines) in out.chunks_mut(LANES).enumerate() {
        for half in 0..NV {
            let mut rows = [_mm512_setzero_si512(); LANES];
            for (r, row) in rows.iter_mut().enumerate() {
                *row = source.read_along(first + half * LANES + r, from + block * 2 * LANES);
            }
            for (line, pairs) in lines.iter_mut().zip(transpose(&rows)) {
                store(pairs, &mut line.0[half]);
            }
        }
    }
}

/// Lane j of register i becomes lane i of register j.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &[__m512i; LANES]) -> [__m512i; LANES] {
    let mut quads = *rows;
    for (out, rows) in quads.as_chunks_mut::<4>().0.iter_mut().zip(rows.as_chunks::<4>().0) {
        let [a, b, c, d] = *rows;
        let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (low2, high2) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        // Quarter L of register c: lane 4 L + c of four rows.
        *out = [
            _mm512_unpacklo_epi64(low, low2),
            _mm512_unpackhi_epi64(low, low2),
            _mm512_unpacklo_epi64(high, high2),
            _mm512_unpackhi_epi64(high, high2),
        ];
    }
    let mut columns = *rows;
    for c in 0..4 {
        let [a, b, x, y] = [quads[c], quads[4 + c], quads[8 + c], quads[12 + c]];
        let even = [_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(x, y)];
        let odd = [_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(x, y)];
        columns[c] = _mm512_shuffle_i32x4::<0x88>(even[0], even[1]);
        columns[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]);
        columns[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]);
    }
    columns
}
