//! Products in pairs against their definition, bit by bit; against f64; and the invariances of their bits.

use super::*;
use crate::kernels::product::{PackedMatrix, multiply, multiply_onto, multiply_packed};
use crate::kernels::rounding::round_to_bf16;
use crate::kernels::vector::tests::find_instruction_sets;

/// Values with exponents of all sizes that sums of hundreds of them can have without an overflow, and some zeros.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 33
    };
    let mut value = |_| match next() % 9 {
        0 => 0.0,
        kind => (next() as f32 / 1_073_741_824.0 - 1.0) * if kind == 1 { 1e-3 } else { 1.0 },
    };
    (0..count).map(&mut value).collect()
}

/// What the instructions do to a denormal number.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0_f32.copysign(x) } else { x }
}

/// The definition: chains, in which the second of two summands is added first, or without the instructions one after the other.
fn define(arch: Arch, a: View, b: View) -> Vec<f32> {
    let paired = find_bf16_instructions(arch).is_some();
    let flush = |x: f32| if paired { flush(x) } else { x };
    let at =
        |x: View, i: usize, j: usize| round_to_bf16(flush(x.values[i * x.row_stride + j * x.column_stride]));
    let add = |i: usize, j: usize, sum: f32, k: usize| flush(at(a, i, k).mul_add(at(b, k, j), sum));
    let chain = |i: usize, j: usize, from: usize| {
        let end = a.columns.min(from + CHAIN);
        let pairs = (from..end).step_by(2);
        pairs.fold(0.0, |sum, k| match k + 1 < end {
            true if paired => add(i, j, add(i, j, sum, k + 1), k),
            true => add(i, j, add(i, j, sum, k), k + 1),
            false => add(i, j, sum, k),
        })
    };
    let element = |i: usize, j: usize| {
        let rest = (CHAIN..a.columns).step_by(CHAIN);
        rest.fold(chain(i, j, 0), |sum, from| sum + chain(i, j, from))
    };
    (0..a.rows).flat_map(|i| (0..b.columns).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect()
}

/// Bits, of which those of NaN are one.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

/// The factors [m, k] and [k, n] in every order in memory: by rows, by columns, and with gaps.
fn views<'a>(a: &'a [f32], b: &'a [f32], [m, n, k]: [usize; 3]) -> Vec<[View<'a>; 2]> {
    let gaps =
        |values, rows, columns| View { column_stride: 2, ..View::new(values, rows, columns, 2 * columns) };
    let left = [View::new(a, m, k, k), View::new(a, k, m, m).transposed(), gaps(a, m, k)];
    let right = [View::new(b, k, n, n), View::new(b, n, k, k).transposed(), gaps(b, k, n)];
    let pairs = left.into_iter().flat_map(|a| right.map(|b| [a, b]));
    pairs.map(|factors| factors.map(|x| x.rounded(Precision::Bf16))).collect()
}

fn multiply_all(arch: Arch, [a, b]: [View; 2]) -> Vec<f32> {
    let mut out = vec![f32::NAN; a.rows * b.columns];
    multiply(arch, a, b, &mut out);
    out
}

/// Every remainder of a tile, a panel and a transposed block, and some whole ones.
fn shapes() -> impl Iterator<Item = [usize; 3]> {
    let remainders = (1..=70).map(|i| [i, (i * 29) % 71, (i * 43) % 71]);
    remainders.chain([[1, 1, 1], [13, 70, 600], [97, 40, 257], [200, 3, 31], [5, 1100, 256], [48, 33, 513]])
}

#[test]
fn every_bit_is_that_of_the_definition() {
    for [m, n, k] in shapes() {
        let (a, b) = (noise(2 * m * k, 37), noise(2 * k * n, 91));
        for [a, b] in views(&a, &b, [m, n, k]) {
            for arch in find_instruction_sets() {
                let found = multiply_all(arch, [a, b]);
                assert!(bits(&found) == bits(&define(arch, a, b)), "{m} x {n} x {k}, {arch:?}");
                let mut packed = vec![f32::NAN; m * n];
                multiply_packed(arch, a, &PackedMatrix::new(arch, b), &mut packed);
                assert_eq!(bits(&packed), bits(&found));
            }
        }
    }
}

/// Each of the k + k / 256 additions rounds by half a unit in the last place of a sum that the sum of all sizes bounds; the bound
/// of Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1, in its first order.
#[test]
fn sums_are_within_the_bound_of_f32() {
    for [m, n, k] in [[7, 9, 5], [30, 40, 256], [20, 33, 1500]] {
        let (a, b) = (noise(m * k, 3), noise(k * n, 5));
        let factors = [View::new(&a, m, k, k), View::new(&b, k, n, n)].map(|x| x.rounded(Precision::Bf16));
        let exact = |i: usize, j: usize| {
            let products = (0..k)
                .map(|p| f64::from(round_to_bf16(a[i * k + p])) * f64::from(round_to_bf16(b[p * n + j])));
            products.fold((0.0, 0.0), |(sum, size): (f64, f64), x| (sum + x, size + x.abs()))
        };
        for arch in find_instruction_sets() {
            for (at, found) in multiply_all(arch, factors).into_iter().enumerate() {
                let (sum, size) = exact(at / n, at % n);
                let bound = (k + k / CHAIN) as f64 * f64::from(f32::EPSILON) / 2.0 * size;
                assert!((f64::from(found) - sum).abs() <= bound, "{m} x {n} x {k}: {found}, {sum}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (m, n, k) = (300, 130, 700);
    let (a, b) = (noise(m * k, 37), noise(k * n, 91));
    let factors = [View::new(&a, m, k, k), View::new(&b, k, n, n)].map(|x| x.rounded(Precision::Bf16));
    let alone = tasks::serially(|| multiply_all(Arch::new(), factors));
    for threads in [1, 2, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| multiply_all(Arch::new(), factors)) == alone, "{threads} threads");
    }
}

#[test]
fn a_row_depends_on_no_other_row_and_a_column_on_no_other_column() {
    let (m, n, k) = (61, 75, 300);
    let (a, b) = (noise(m * k, 37), noise(k * n, 91));
    let [a, b] = [View::new(&a, m, k, k), View::new(&b, k, n, n)].map(|x| x.rounded(Precision::Bf16));
    let whole = multiply_all(Arch::new(), [a, b]);
    for at in [0, 11, 12, 47, 48, 60] {
        let row = View { values: &a.values[at * k..], rows: 1, ..a };
        assert_eq!(multiply_all(Arch::new(), [row, b]), whole[at * n..][..n]);
        let column = View { values: &b.values[at..], columns: 1, ..b };
        let expected: Vec<f32> = whole.iter().skip(at).step_by(n).copied().collect();
        assert_eq!(multiply_all(Arch::new(), [a, column]), expected);
    }
}

#[test]
fn sums_of_products_over_chains_are_the_product() {
    let (m, n, k) = (30, 37, 2 * CHAIN + 5);
    let (a, b) = (noise(m * k, 37), noise(k * n, 91));
    let [a, b] = [View::new(&a, m, k, k), View::new(&b, k, n, n)].map(|x| x.rounded(Precision::Bf16));
    let mut sum = vec![f32::NAN; m * n];
    for from in (0..k).step_by(CHAIN) {
        let part = from..k.min(from + CHAIN);
        let left = View { values: &a.values[from..], columns: part.len(), ..a };
        let right = View { values: &b.values[from * n..], rows: part.len(), ..b };
        multiply_onto(Arch::new(), left, right, &mut sum, from > 0);
    }
    assert_eq!(multiply_all(Arch::new(), [a, b]), sum);
}

/// Every factor that is not an ordinary number meets every other one, as the first and as the second of a pair.
#[test]
fn infinities_and_nan_stay_and_denormal_numbers_count_as_nothing() {
    let (tiny, largest) = (f32::from_bits(0x0040_0000), f32::MAX);
    let kinds = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        tiny,
        -tiny,
        1e-30,
        -1e-20,
        1e25,
        largest,
        -largest,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    let count = kinds.len();
    let pair = |x: f32| [[x, 1.0], [1.0, x]];
    let a: Vec<f32> = kinds.iter().flat_map(|x| pair(*x)).flatten().collect();
    let a = View::new(&a, 2 * count, 2, 2).rounded(Precision::Bf16);
    for arch in find_instruction_sets() {
        let found = multiply_all(arch, [a, a.transposed()]);
        assert_eq!(bits(&found), bits(&define(arch, a, a.transposed())), "{arch:?}");
        let at = |x: usize, y: usize| found[2 * x * 2 * count + 2 * y];
        // f32::MAX is nearer to the infinite bf16 than to the largest finite one.
        assert_eq!((at(9, 2), at(10, 2)), (f32::INFINITY, f32::NEG_INFINITY));
        assert_eq!(at(11, 3), f32::NEG_INFINITY);
        assert!(at(11, 0).is_nan() && (0..count).all(|y| at(13, y).is_nan()));
    }
    let small = View::new(&[1e-20], 1, 1, 1).rounded(Precision::Bf16);
    let flushed = find_bf16_instructions(Arch::new()).is_some();
    assert_eq!(multiply_all(Arch::new(), [small, small])[0] == 0.0, flushed);
}
