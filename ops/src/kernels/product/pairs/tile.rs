//! Products of tiles in registers.

use std::arch::x86_64::*;

use super::avx512::{LANES, LeftRow, Line, NV, add_products, load, store_part};
use super::{Onto, PAIRS, TILE_ROWS};

/// Multiplies all rows with the first panel. The second one is fetched into the second cache meanwhile.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn multiply(left: &[LeftRow], [right, ahead]: [&[Line]; 2], onto: &mut Onto) {
    let (tiles, rest) = left.as_chunks::<TILE_ROWS>();
    for (i, left) in tiles.iter().enumerate() {
        multiply_tile(left, [right, if i == 0 { ahead } else { &[] }], TILE_ROWS * i, onto);
    }
    let first = TILE_ROWS * tiles.len();
    macro_rules! multiply_rest {
        ($($rows:literal)*) => {
            match rest.len() {
                $($rows => if let Some(left) = rest.first_chunk::<$rows>() { multiply_tile(left, [right, &[]], first, onto) },)*
                _ => {}
            }
        };
    }
    multiply_rest!(1 2 3 4 5 6 7 8 9 10 11);
}

/// A tile of R rows, the first of which is row `first` of the result.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn multiply_tile<const R: usize>(
    left: &[LeftRow; R],
    [right, ahead]: [&[Line]; 2],
    first: usize,
    onto: &mut Onto,
) {
    let mut sums = [[_mm512_setzero_ps(); NV]; R];
    for (p, line) in right.iter().enumerate().take(PAIRS) {
        if let Some(line) = ahead.get(p) {
            prefetch(line);
        }
        let columns = [load(&line.0[0]), load(&line.0[1])];
        for (sums, row) in sums.iter_mut().zip(left) {
            let pair = _mm512_set1_epi32(row.0.as_flattened()[p] as i32);
            for (sum, columns) in sums.iter_mut().zip(columns) {
                *sum = add_products(*sum, pair, columns);
            }
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        let at = (first + r) * onto.step;
        let row = &mut onto.out[at..at + onto.width];
        for (part, sum) in row.chunks_mut(LANES).zip(sums) {
            store_part(part, sum, onto.add);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch(line: &Line) {
    for part in &line.0 {
        _mm_prefetch::<_MM_HINT_T1>(part.as_ptr().cast());
    }
}
