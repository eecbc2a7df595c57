//! Operations that round their factors to bf16, against the same operations in f32 on factors that were rounded before: bit by bit,
//! values and gradients.
//!
//! Instructions for bf16 add the second of two neighboring summands first. With neighbors exchanged, f32 does the same.
#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod inputs;

use burn_tensor::{Device, Int, Tensor, TensorData};
use fmflow_ops::{Intervals, LossGradients, LossTerms, Precision, reference};
use inputs::{intervals, noise, values};
use proptest::prelude::*;

/// The values of an operation and the gradients of its inputs.
type Found = Vec<Vec<f64>>;

/// Runs `f` in bf16 on the inputs, and in f32 on rounded inputs in another order, which is undone in what it yields; the gradient
/// of the output is rounded in the same way.
fn run_both<const D: usize, const N: usize>(
    inputs: [Tensor<D>; N],
    order: fn(Tensor<D>) -> Tensor<D>,
    f: impl Fn([Tensor<D>; N], Precision) -> Tensor<D>,
) -> [Found; 2] {
    let run = |before: Precision, order: fn(Tensor<D>) -> Tensor<D>, within: Precision| {
        let inputs = inputs.clone().map(|x| order(before.round(x)).autodiff().require_grad());
        let y = f(inputs.clone(), within);
        let upstream = order(before.round(noise(y.dims(), 99, &Device::flex()))).autodiff();
        let grads = (y.clone() * upstream).sum().backward();
        let gradients = inputs.map(|x| x.grad(&grads).unwrap());
        [y.inner()].into_iter().chain(gradients).map(|x| values(order(x).autodiff())).collect()
    };
    [run(Precision::F32, |x| x, Precision::Bf16), run(Precision::Bf16, order, Precision::F32)]
}

/// Exchanges neighbors in both dimensions, if this processor has instructions for bf16.
fn exchange_neighbors(x: Tensor<2>) -> Tensor<2> {
    let [bf16, f32] = [Precision::Bf16, Precision::F32].map(fmflow_ops::name_processor_class);
    if bf16 == f32 {
        return x;
    }
    let exchanged = |n: usize| {
        let neighbors = (0..n as i32).map(|i| if (i ^ 1) < n as i32 { i ^ 1 } else { i });
        Tensor::<1, Int>::from_data(TensorData::new(neighbors.collect(), [n]), &Device::flex())
    };
    let [rows, columns] = x.dims();
    x.select(0, exchanged(rows)).select(1, exchanged(columns))
}

/// The largest difference, relative to the largest value.
fn compare(found: &Found, expected: &Found) -> f64 {
    let pairs = found.iter().zip(expected).map(|(found, expected)| {
        let size = expected.iter().fold(1e-9, |size: f64, x| size.max(x.abs()));
        found.iter().zip(expected).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max) / size
    });
    pairs.fold(0.0, f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn products_read_rounded_factors(rows in 1_usize..130, from in 1_usize..600, to in 1_usize..90, seed in 1_u64..1000) {
        let device = Device::flex();
        let inputs = [noise([rows, from], seed, &device), noise([to, from], seed + 1, &device)];
        let [found, expected] = run_both(inputs.clone(), exchange_neighbors, |[x, w], precision| fmflow_ops::linear(x, w, precision));
        prop_assert_eq!(&found, &expected);
        // Otherwise rounding nothing at all would pass.
        let [x, w] = inputs;
        prop_assert!(values(fmflow_ops::linear(x, w, Precision::F32)) != expected[0]);
    }

    #[test]
    fn attention_reads_rounded_factors(b in 1_usize..3, l in 1_usize..150, shared in 1_usize..3, half in 1_usize..24, seed in 1_u64..1000) {
        let (h, device) = (2 * half, Device::flex());
        let visible = intervals(b, l, seed);
        let inputs = [0, 1, 2].map(|salt| noise([b, l, shared, h], seed + salt, &device));
        let [found, expected] = run_both(inputs, |x| x, |[q, k, v], precision| {
            fmflow_ops::attention(q, k, v, visible.clone(), precision)
        });
        prop_assert_eq!(found, expected);
    }

    /// The gradient of the logits is a factor, too.
    #[test]
    fn losses_read_rounded_factors(n in 1_usize..600, v in 1_usize..90, d in 1_usize..50, seed in 1_u64..1000) {
        let (device, round) = (Device::flex(), |x: Tensor<2>| Precision::Bf16.round(x));
        let tokens = |step: u64| {
            let ids: Vec<i32> = (0..n).map(|i| ((i as u64 * step + seed) % v as u64) as i32).collect();
            Tensor::<1, Int>::from_data(TensorData::new(ids, [n]), &device)
        };
        let [cross_entropy, probability] = [3, 4].map(|salt| noise([n], seed + salt, &device));
        let terms = LossTerms { targets: tokens(7), present: tokens(11), cross_entropy, probability };
        let (hidden, head) = (noise([n, d], seed, &device), noise([v, d], seed + 1, &device));
        let LossGradients { losses, hidden: dx, head: dw } =
            fmflow_ops::differentiate_losses(hidden.clone(), head.clone(), terms.clone(), Precision::Bf16);
        let (hidden, head) = (round(hidden), round(head));
        let multiply = |a: Tensor<2>, b: Tensor<2>| {
            exchange_neighbors(fmflow_ops::linear(exchange_neighbors(a), exchange_neighbors(b), Precision::F32))
        };
        let (same, gradient) = fmflow_ops::differentiate_logits(multiply(hidden.clone(), head.clone()), terms.clone());
        let gradient = round(gradient);
        prop_assert_eq!(values(losses.cross_entropy.clone()), values(same.cross_entropy));
        prop_assert_eq!(values(dx), values(multiply(gradient.clone(), head.clone().transpose())));
        prop_assert_eq!(values(dw), values(multiply(gradient.transpose(), hidden.clone().transpose())));
        let measured = fmflow_ops::measure_losses(hidden, head, terms.targets, terms.present, Precision::Bf16);
        prop_assert_eq!(values(measured.cross_entropy), values(losses.cross_entropy));
    }

    /// The reference multiplies in bf16 and rounds its results, too: two units in the last place of a bf16, 2^-8 each, in a
    /// product, and as many again for the probabilities of attention.
    #[test]
    fn bf16_arithmetic_is_near(l in 1_usize..90, from in 1_usize..200, seed in 1_u64..1000) {
        let device = Device::flex();
        let inputs = [noise([l, from], seed, &device), noise([30, from], seed + 1, &device)];
        let run = |f: fn(Tensor<2>, Tensor<2>, Precision) -> Tensor<2>| {
            let [x, w] = inputs.clone();
            vec![values(f(x, w, Precision::Bf16))]
        };
        let apart = compare(&run(fmflow_ops::linear), &run(reference::linear));
        prop_assert!(apart < 0.008, "{}", apart);
        let sides = [0, 1, 2].map(|salt| noise([1, l, 2, 16], seed + salt, &device));
        let visible = intervals(1, l, seed);
        let run = |f: fn(Tensor<4>, Tensor<4>, Tensor<4>, Intervals, Precision) -> Tensor<4>| {
            let [q, k, v] = sides.clone();
            vec![values(f(q, k, v, visible.clone(), Precision::Bf16))]
        };
        let apart = compare(&run(fmflow_ops::attention), &run(reference::attention));
        prop_assert!(apart < 0.016, "{}", apart);
    }
}
