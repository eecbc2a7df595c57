//! Inputs of the tests, and the device that is tested.

use burn_tensor::{Device, Tensor, TensorData};
use fmflow_ops::Intervals;

/// Values in [-1, 1), a function of their place and the seed.
pub(crate) fn noise<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let value = |i: usize| {
        let x = (i as u64 + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(seed.wrapping_mul(0xbf58_476d_1ce4_e5b9));
        ((x ^ (x >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40) as f32 / 8_388_608.0 - 1.0
    };
    Tensor::from_data(TensorData::new((0..count).map(value).collect::<Vec<f32>>(), shape), device)
}

/// The values on the host.
pub(crate) fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.inner().into_data().iter::<f64>().collect()
}

/// Two random intervals for every query; some see nothing.
pub(crate) fn intervals(rows: usize, l: usize, seed: u64) -> Intervals {
    let bounds: Vec<i32> = (0..rows * l)
        .flat_map(|i| {
            let draw =
                |salt: u64| (((i as u64 + 7) * (seed * 31 + salt) * 2_654_435_761) >> 13) as usize % (l + 1);
            let mut points = [draw(1), draw(2), draw(3), draw(4)];
            points.sort_unstable();
            if i % 11 == 3 { [0; 4] } else { points.map(|x| x as i32) }
        })
        .collect();
    Intervals::new(bounds, l)
}
