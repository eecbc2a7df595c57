//! Elementwise functions and sums. Loops over fixed-size chunks become vector instructions inside [`vectorized`].

use pulp::{Arch, NullaryFnOnce};

/// Lanes of a sum. A multiple of the width of every register, so that the order of additions is the same for all.
pub(crate) const LANES: usize = 16;

/// Runs `work` with the widest vector instructions of this processor. What `work` calls must be inlined to profit.
#[inline(always)]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    struct Work<F>(F);
    impl<R, F: FnOnce() -> R> NullaryFnOnce for Work<F> {
        type Output = R;
        #[inline(always)]
        fn call(self) -> R {
            (self.0)()
        }
    }
    Arch::new().dispatch(Work(work))
}

/// e^x within 2 units in the last place; 0 below -87.3, infinite above 88.3, NaN for NaN.
///
/// Range reduction and polynomial of Cephes' `expf` (Moshier, 1992), with fused multiply-adds.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number, which then fills the low bits
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, x));
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let y = p.mul_add(r * r, r) + 1.0;
    let y = f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23));
    let y = if x < -87.3 { 0.0 } else { y };
    if x > 88.3 { f32::INFINITY } else { y }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The sum of `term(i)` over `0..count`, in [`LANES`] lanes.
#[inline(always)]
pub(crate) fn sum(count: usize, add: impl Fn(usize, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = count / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = add(start + i, *lane);
        }
    }
    for i in whole..count {
        lanes[i - whole] = add(i, lanes[i - whole]);
    }
    add_lanes(lanes)
}

/// Adds neighbors, then neighbors of the results, and so on.
#[inline(always)]
fn add_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The sum of x_i y_i, in [`LANES`] lanes of fused multiply-adds.
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let count = x.len().min(y.len());
    let (x, y) = (&x[..count], &y[..count]);
    sum(count, |i, lane| x[i].mul_add(y[i], lane))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// No vector instructions, those of AVX2 processors, and the widest.
    pub(crate) fn find_instruction_sets() -> Vec<Arch> {
        #[cfg(target_arch = "x86_64")]
        let middle = pulp::x86::V3::try_new().map(Arch::V3);
        #[cfg(not(target_arch = "x86_64"))]
        let middle = None;
        [Arch::Scalar].into_iter().chain(middle).chain([Arch::new()]).collect()
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let (found, exact) = (f64::from(exp(x)), f64::from(x).exp());
            worst = worst.max(((found - exact) / exact).abs());
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:e}");
    }

    #[test]
    fn exp_is_exact_where_it_must_be() {
        assert_eq!([0.0, f32::NEG_INFINITY, f32::INFINITY].map(exp), [1.0, 0.0, f32::INFINITY]);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn vector_instructions_change_no_bit() {
        let x: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.7).sin() * 40.0).collect();
        let compute = || (x.iter().map(|x| exp(*x).to_bits()).collect::<Vec<_>>(), dot(&x, &x).to_bits());
        assert_eq!(compute(), vectorized(compute));
    }
}
