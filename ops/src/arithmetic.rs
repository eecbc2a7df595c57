//! What decides the last bits of a result beside the numbers that go in.

use crate::Precision;

/// Revision of the operations. It is raised when an operation gives other bits for the same numbers on the same class of processors.
pub const REVISION: u32 = 1;

/// The class of this processor for operations that round the factors of their products to `precision`: kernels choose their
/// instructions by it, and with them the order of sums. The names of x86-64 are the levels of its psABI; `avx2` alone is what remains
/// of the third without fused multiplication. `avx512_bf16` is named only where it is used.
#[must_use]
pub fn name_processor_class(precision: Precision) -> &'static str {
    if uses_avx512_bf16(precision) { "x86-64-v4 with avx512_bf16" } else { name_level() }
}

#[cfg(all(feature = "cpu", target_arch = "x86_64"))]
fn uses_avx512_bf16(precision: Precision) -> bool {
    precision == Precision::Bf16
        && crate::kernels::product::find_bf16_instructions(pulp::Arch::new()).is_some()
}

#[cfg(not(all(feature = "cpu", target_arch = "x86_64")))]
fn uses_avx512_bf16(_: Precision) -> bool {
    false
}

fn name_level() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let wide =
            has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
        match (has!("avx2"), has!("fma")) {
            (true, true) if wide => "x86-64-v4",
            (true, true) => "x86-64-v3",
            (true, false) => "x86-64 with avx2",
            (false, _) => "x86-64",
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    if cfg!(target_arch = "aarch64") { "aarch64" } else { "another architecture" }
}
