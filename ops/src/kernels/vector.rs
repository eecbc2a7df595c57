//! Elementwise functions and sums. Loops over fixed-size chunks become vector instructions inside `vectorized!`.

/// Lanes of a sum. A multiple of the width of every register, so that the order of additions is the same for all.
pub(crate) const LANES: usize = 16;

/// Defines a function that runs with the widest vector instructions of this processor.
///
/// What it calls must be always inlined. Code that is not inlined stays without vectors, and then each fused multiply-add is a
/// call of a library. A closure, or a function that is passed as a value, is inlined only if it is short.
macro_rules! vectorized {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident<$life:lifetime>($($field:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block) => {
        $(#[$meta])*
        $visibility fn $name<$life>($($field: $type),*) $(-> $output)? {
            struct Work<$life> { $($field: $type),* }
            impl<$life> pulp::NullaryFnOnce for Work<$life> {
                type Output = $crate::kernels::vector::output!($($output)?);
                #[inline(always)]
                fn call(self) -> Self::Output {
                    let Self { $($field),* } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Work { $($field),* })
        }
    };
}

/// The type that a function returns.
macro_rules! output {
    () => {
        ()
    };
    ($output:ty) => {
        $output
    };
}

pub(crate) use {output, vectorized};

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

/// Folds `add` over the values of N slices of the same length, in [`LANES`] lanes.
#[inline(always)]
pub(crate) fn sum<const N: usize>(inputs: [&[f32]; N], add: impl Fn([f32; N], f32) -> f32) -> f32 {
    let count = inputs[0].len();
    let parts = inputs.map(|x| x[..count].as_chunks::<LANES>());
    let mut lanes = [0.0_f32; LANES];
    for chunk in 0..count / LANES {
        let values = parts.map(|(whole, _)| whole[chunk]);
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = add(values.map(|x| x[i]), *lane);
        }
    }
    for (i, lane) in lanes[..count % LANES].iter_mut().enumerate() {
        *lane = add(parts.map(|(_, rest)| rest[i]), *lane);
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
    sum([x, y], |[x, y], lane| x.mul_add(y, lane))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use pulp::Arch;

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

    vectorized! {
        fn compute_in_vectors<'a>(x: &'a [f32]) -> (Vec<u32>, u32) {
            compute(x)
        }
    }

    #[inline(always)]
    fn compute(x: &[f32]) -> (Vec<u32>, u32) {
        (x.iter().map(|x| exp(*x).to_bits()).collect(), dot(x, x).to_bits())
    }

    #[test]
    fn vector_instructions_change_no_bit() {
        let x: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.7).sin() * 40.0).collect();
        assert_eq!(compute(&x), compute_in_vectors(&x));
    }
}
