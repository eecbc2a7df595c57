//! Every operation against its reference on the CPU: values and gradients, over random shapes and masks.
//!
//! `FMFLOW_DEVICE` names the device whose kernels are tested: `cpu` (the default), `cube-cpu` (the kernels of GPUs on the
//! processor) or `cuda`, if they are compiled in.
#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod inputs;

use burn_tensor::{Device, Int, Tensor, TensorData};
use fmflow_ops::{AdamWRates, Angles, Intervals, LossTerms, Precision, reference};
use inputs::{intervals, noise, values};
use proptest::prelude::*;

/// f32 sums of some hundred terms of size 1, in another order. On CUDA products may round their factors to TF32, whose mantissa
/// has 10 bits.
fn tolerance() -> f64 {
    if cfg!(feature = "cuda") && Tested::named() == "cuda" { 4e-3 } else { 2e-4 }
}

/// The device whose kernels are tested.
struct Tested;

impl Tested {
    fn named() -> String {
        std::env::var("FMFLOW_DEVICE").unwrap_or_else(|_| "cpu".into())
    }

    fn open() -> Device {
        match Self::named().as_str() {
            "cpu" => Device::flex(),
            #[cfg(feature = "cube-cpu")]
            "cube-cpu" => Device::cpu(),
            #[cfg(feature = "cuda")]
            "cuda" => Device::cuda(0),
            other => panic!("FMFLOW_DEVICE={other} is not compiled in"),
        }
    }

    /// Kernels of other devices are compiled for every new shape.
    fn cases() -> ProptestConfig {
        ProptestConfig::with_cases(if Self::named() == "cpu" { 40 } else { 6 })
    }
}

/// An update of AdamW.
type Update = fn(Tensor<1>, Tensor<1>, [Tensor<1>; 2], AdamWRates) -> fmflow_ops::UpdatedValues;

/// An operation of attention.
type Attend = fn(Tensor<4>, Tensor<4>, Tensor<4>, Intervals, Precision) -> Tensor<4>;

/// Values of `f`, and gradients of its inner product with noise, with respect to every input.
fn differentiate<const D: usize, const E: usize, const N: usize>(
    inputs: [Tensor<D>; N],
    weight: Option<Tensor<1>>,
    f: impl Fn([Tensor<D>; N], Option<Tensor<1>>) -> Tensor<E>,
) -> Vec<Vec<f64>> {
    let inputs = inputs.map(|x| x.autodiff().require_grad());
    let weight = weight.map(|x| x.autodiff().require_grad());
    let y = f(inputs.clone(), weight.clone());
    let upstream = noise(y.dims(), 99, &y.device()).autodiff();
    let grads = (y.clone() * upstream).sum().backward();
    let mut found = vec![values(y)];
    for x in inputs {
        found.push(values(x.grad(&grads).unwrap().autodiff()));
    }
    found.extend(weight.map(|w| values(w.grad(&grads).unwrap().autodiff())));
    found
}

fn assert_close(found: &[Vec<f64>], expected: &[Vec<f64>]) {
    assert_eq!(found.len(), expected.len());
    for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len());
        let size = expected.iter().fold(1.0, |size: f64, x| size.max(x.abs()));
        let worst = found.iter().zip(expected).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        assert!(worst <= tolerance() * size, "tensor {number}: {worst:e} of {size}");
    }
}

fn angles(rows: usize, l: usize, half: usize, device: &Device) -> Angles {
    let table = |f: fn(f32) -> f32| {
        let values: Vec<f32> =
            (0..rows * l * half).map(|i| f((i / half) as f32 / 1.7_f32.powi((i % half) as i32))).collect();
        Tensor::from_data(TensorData::new(values, [rows, l, half]), device)
    };
    Angles { cos: table(f32::cos), sin: table(f32::sin) }
}

proptest! {
    #![proptest_config(Tested::cases())]

    #[test]
    fn attention(b in 1_usize..3, l in 1_usize..150, shared in 1_usize..3, group in 1_usize..4, half in 1_usize..24, seed in 1_u64..1000, one in any::<bool>()) {
        let h = 2 * half;
        let visible = intervals(if one { 1 } else { b }, l, seed);
        let run = |f: Attend, device: Device| {
            let q = noise([b, l, shared * group, h], seed, &device);
            let [k, v] = [1, 2].map(|salt| noise([b, l, shared, h], seed + salt, &device));
            let [q, k, v] = [q, k, v].map(|x| x.autodiff().require_grad());
            let y = f(q.clone(), k.clone(), v.clone(), visible.clone(), Precision::F32);
            let upstream = noise(y.dims(), 99, &device).autodiff();
            let grads = (y.clone() * upstream).sum().backward();
            let mut found = vec![values(y)];
            for x in [q, k, v] {
                found.push(values(x.grad(&grads).unwrap().autodiff()));
            }
            found
        };
        assert_close(&run(fmflow_ops::attention, Tested::open()), &run(reference::attention, Device::flex()));
    }

    #[test]
    fn norms(rows in 1_usize..150, n in 1_usize..70, seed in 1_u64..1000) {
        let run = |f: fn(Tensor<2>, Tensor<1>, f64) -> Tensor<2>, device: Device| {
            let weight = noise([n], seed + 1, &device) + 1.5;
            differentiate([noise([rows, n], seed, &device)], Some(weight), |[x], w| f(x, w.unwrap(), 1e-3))
        };
        assert_close(&run(fmflow_ops::rms_norm, Tested::open()), &run(reference::rms_norm, Device::flex()));
    }

    #[test]
    fn heads_are_turned(b in 1_usize..3, l in 1_usize..80, heads in 1_usize..5, half in 1_usize..20, seed in 1_u64..1000, one in any::<bool>()) {
        let run = |f: fn(Tensor<4>, Tensor<1>, f64, &Angles) -> Tensor<4>, device: Device| {
            let angles = angles(if one { 1 } else { b }, l, half, &device);
            let weight = noise([2 * half], seed + 1, &device) + 1.5;
            differentiate([noise([b, l, heads, 2 * half], seed, &device)], Some(weight), |[x], w| f(x, w.unwrap(), 1e-3, &angles))
        };
        assert_close(&run(fmflow_ops::turn, Tested::open()), &run(reference::turn, Device::flex()));
    }

    #[test]
    fn gates(rows in 1_usize..40, n in 1_usize..700, seed in 1_u64..1000) {
        let run = |f: fn(Tensor<2>, Tensor<2>) -> Tensor<2>, device: Device| {
            let inputs = [noise([rows, n], seed, &device) * 6.0, noise([rows, n], seed + 1, &device)];
            differentiate(inputs, None, |[a, b], _| f(a, b))
        };
        assert_close(&run(fmflow_ops::gate, Tested::open()), &run(reference::gate, Device::flex()));
    }

    #[test]
    fn products(rows in 1_usize..130, from in 1_usize..600, to in 1_usize..90, seed in 1_u64..1000) {
        let run = |f: fn(Tensor<2>, Tensor<2>, Precision) -> Tensor<2>, device: Device| {
            let (x, w) = (noise([rows, from], seed, &device), noise([to, from], seed + 1, &device));
            let [x, w] = [x, w].map(|x| x.autodiff().require_grad());
            let y = f(x.clone(), w.clone(), Precision::F32);
            let upstream = noise(y.dims(), 99, &device).autodiff();
            let grads = (y.clone() * upstream).sum().backward();
            [y].into_iter().map(values).chain([x, w].map(|x| values(x.grad(&grads).unwrap().autodiff()))).collect::<Vec<_>>()
        };
        assert_close(&run(fmflow_ops::linear, Tested::open()), &run(reference::linear, Device::flex()));
    }
}

proptest! {
    #![proptest_config(Tested::cases())]

    #[test]
    fn losses(n in 1_usize..600, v in 1_usize..90, d in 1_usize..50, seed in 1_u64..1000) {
        let inputs = |device: &Device| {
            let tokens = |step: u64| {
                let ids: Vec<i32> = (0..n).map(|i| ((i as u64 * step + seed) % v as u64) as i32).collect();
                Tensor::<1, Int>::from_data(TensorData::new(ids, [n]), device)
            };
            let [cross_entropy, probability] = [3, 4].map(|salt| noise([n], seed + salt, device));
            let terms = LossTerms { targets: tokens(7), present: tokens(11), cross_entropy, probability };
            (noise([n, d], seed, device), noise([v, d], seed + 1, device), terms)
        };
        let list = |found: fmflow_ops::LossGradients| {
            let losses = [found.losses.cross_entropy, found.losses.probability].map(values);
            losses.into_iter().chain([found.hidden, found.head].map(values)).collect::<Vec<_>>()
        };
        let (hidden, head, terms) = inputs(&Device::flex());
        let expected = list(reference::differentiate_losses(hidden, head, terms, Precision::F32));
        let (hidden, head, terms) = inputs(&Tested::open());
        let found = fmflow_ops::differentiate_losses(hidden.clone(), head.clone(), terms.clone(), Precision::F32);
        assert_close(&list(found.clone()), &expected);
        // Without the head's gradient the others are the same to the last bit.
        let (losses, dx) =
            fmflow_ops::differentiate_hidden(hidden.clone(), head.clone(), terms.clone(), Precision::F32);
        let whole = [found.losses.cross_entropy, found.losses.probability].map(values);
        prop_assert_eq!([losses.cross_entropy, losses.probability].map(values), whole);
        prop_assert_eq!(values(dx), values(found.hidden));
        let measured = fmflow_ops::measure_losses(hidden, head, terms.targets, terms.present, Precision::F32);
        assert_close(&[measured.cross_entropy, measured.probability].map(values), &expected[..2]);
    }

    /// On the CPU values and moments are those of the reference to the last bit. Sums of squares are added in another order.
    #[test]
    fn updates(n in 1_usize..40_000, seed in 1_u64..1000, clipped in any::<bool>()) {
        let inputs = |device: &Device| {
            let [w, g, m] = [0, 1, 2].map(|salt| noise([n], seed + salt, device));
            [w, g, m, noise([n], seed + 3, device).powi_scalar(2)]
        };
        let rates = AdamWRates {
            scale: if clipped { 0.37 } else { 1.0 },
            first: [0.9, 0.1],
            second: [0.95, 0.05],
            root: 1.7,
            epsilon: 1e-8,
            rate: 3e-3,
            keep: 0.999,
        };
        let run = |f: Update, [w, g, m, v]: [Tensor<1>; 4]| {
            let found = f(w, g, [m, v], rates);
            let [first, second] = found.moments;
            let squares = values(found.squares);
            let sum = |i: usize| squares.iter().skip(i).step_by(2).sum::<f64>();
            ([found.values, first, second].map(values), [sum(0), sum(1)])
        };
        let given = inputs(&Tested::open());
        let found = run(fmflow_ops::update_values, given.clone());
        let expected = run(reference::update_values, inputs(&Device::flex()));
        if Tested::named() == "cpu" {
            assert_eq!(found.0, expected.0);
        }
        assert_close(&found.0, &expected.0);
        let close = |x: f64, y: f64| (x - y).abs() <= 1e-5 * y;
        assert!(found.1.iter().zip(expected.1).all(|(x, y)| close(*x, y)), "{:?} {:?}", found.1, expected.1);
        let [total, same] = [fmflow_ops::sum_squares, reference::sum_squares]
            .map(|f| values(f(given[1].clone())).iter().sum::<f64>());
        assert!(close(total, same), "{total} {same}");
        let before = inputs(&Device::flex());
        assert_eq!(given.map(values), before.map(values), "tensors that others hold are not changed");
    }
}

/// A batch row alone gives the same bits as within a batch: forward, and the gradients that belong to rows.
#[test]
fn a_row_depends_on_no_other_row() {
    let (device, l, heads, h) = (Tested::open(), 70, 4, 16);
    let whole = noise([3, l, heads, h], 5, &device);
    let bits = |x: Tensor<4>| x.inner().into_data().iter::<f32>().map(f32::to_bits).collect::<Vec<_>>();
    let weight = noise([h], 1, &device) + 1.5;
    let matrix = noise([heads * h, heads * h], 2, &device);
    let angles = angles(1, l, h / 2, &device);
    let visible = intervals(1, l, 3);
    let run = |x: Tensor<4>| {
        let b = x.dims()[0];
        let x = x.autodiff().require_grad();
        let y = fmflow_ops::turn(x.clone(), weight.clone().autodiff(), 1e-6, &angles);
        let y = fmflow_ops::attention(y.clone(), y.clone(), y, visible.clone(), Precision::Bf16);
        let y = y.reshape([b * l, heads * h]);
        let y = fmflow_ops::linear(y, matrix.clone().autodiff(), Precision::Bf16);
        let y = fmflow_ops::gate(
            y.clone(),
            fmflow_ops::rms_norm(y, Tensor::<1>::ones([heads * h], &device).autodiff(), 1e-6),
        );
        let y = y.reshape([b, l, heads, h]);
        let grads = (y.clone() * y.clone()).sum().backward();
        [bits(y), bits(x.grad(&grads).unwrap().autodiff())]
    };
    let all = run(whole.clone());
    for row in 0..3 {
        let alone = run(whole.clone().narrow(0, row, 1));
        for (all, alone) in all.iter().zip(alone) {
            assert_eq!(all[row * alone.len()..][..alone.len()], alone);
        }
    }
}
