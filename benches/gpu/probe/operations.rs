//! The fused operations at the shape of a model, one by one.

use burn_tensor::{Device, Distribution, Int, Tensor, TensorData};
use fmflow_ops::{AdamWRates, Angles, Intervals, LossTerms, Precision};
use serde_json::json;

use super::{Shape, report, time};

/// Values of the tensor that an update of AdamW changes.
const UPDATED: usize = 1 << 26;

/// Positions whose loss is measured at once.
const POSITIONS: usize = 4096;

/// Forward alone, and forward with backward, of a row of `length` tokens in bf16.
pub(super) fn measure(device: &Device, shape: &Shape, length: usize) {
    let at = At { device, shape, length };
    at.attention();
    at.norms();
    at.gate();
    at.loss();
    at.adamw();
}

struct At<'a> {
    device: &'a Device,
    shape: &'a Shape,
    length: usize,
}

impl At<'_> {
    fn draw<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), self.device)
    }

    fn say(&self, operation: &str, kind: &str, [first, seconds]: [f64; 2]) {
        let (shape, length) = (&self.shape.name, self.length);
        report(json!({
            "operation": operation, "kind": kind, "shape": shape, "length": length, "ms": 1e3 * seconds, "first_s": first,
        }));
    }

    /// Times `f` on tensors without gradients, and its forward and backward pass.
    fn both<const D: usize, const E: usize, const N: usize>(
        &self,
        name: &str,
        inputs: [Tensor<D>; N],
        f: impl Fn([Tensor<D>; N]) -> Tensor<E>,
    ) {
        self.say(name, "forward", time(self.device, || f(inputs.clone())));
        let twice = || {
            let tracked = inputs.clone().map(|x| x.autodiff().require_grad());
            f(tracked).sum().backward()
        };
        self.say(name, "forward and backward", time(self.device, twice));
    }

    fn attention(&self) {
        let c = &self.shape.config;
        let l = self.length;
        let side = |heads: usize| self.draw([1, l, heads, c.head_dim]);
        let inputs = [side(c.num_attention_heads), side(c.num_key_value_heads), side(c.num_key_value_heads)];
        for (name, last) in [("attention, causal", None), ("attention, bidirectional", Some(l as i32))] {
            let bounds = (0..l as i32).flat_map(|i| [0, last.unwrap_or(i + 1), 0, 0]).collect();
            let visible = Intervals::new(bounds, l);
            self.both(name, inputs.clone(), |[q, k, v]| {
                fmflow_ops::attention(q, k, v, visible.clone(), Precision::Bf16)
            });
        }
    }

    fn norms(&self) {
        let c = &self.shape.config;
        let weight = Tensor::<1>::ones([c.hidden_size], self.device);
        let x = self.draw([self.length, c.hidden_size]);
        self.both("norm", [x], |[x]| {
            let weight = if x.is_require_grad() { weight.clone().autodiff() } else { weight.clone() };
            fmflow_ops::rms_norm(x, weight, 1e-6)
        });
        let half = c.head_dim / 2;
        let table = || self.draw([1, self.length, half]);
        let angles = Angles { cos: table(), sin: table() };
        let weight = Tensor::<1>::ones([c.head_dim], self.device);
        let heads = self.draw([1, self.length, c.num_attention_heads, c.head_dim]);
        self.both("norm and rotary positions of queries", [heads], |[x]| {
            let weight = if x.is_require_grad() { weight.clone().autodiff() } else { weight.clone() };
            fmflow_ops::turn(x, weight, 1e-6, &angles)
        });
    }

    fn gate(&self) {
        let inputs = [(); 2].map(|()| self.draw([self.length, self.shape.config.intermediate_size]));
        self.both("gate", inputs, |[gate, up]| fmflow_ops::gate(gate, up));
    }

    fn loss(&self) {
        let c = &self.shape.config;
        let ids: Vec<i32> = (0..POSITIONS).map(|i| (i * 7919 % c.vocab_size) as i32).collect();
        let tokens = Tensor::<1, Int>::from_data(TensorData::new(ids, [POSITIONS]), self.device);
        let one = Tensor::<1>::ones([POSITIONS], self.device);
        let terms = LossTerms {
            targets: tokens.clone(),
            present: tokens,
            cross_entropy: one.clone(),
            probability: one * 0.0,
        };
        let (hidden, head) =
            (self.draw([POSITIONS, c.hidden_size]), self.draw([c.vocab_size, c.hidden_size]));
        let run =
            || fmflow_ops::differentiate_losses(hidden.clone(), head.clone(), terms.clone(), Precision::Bf16);
        self.say(&format!("loss of {POSITIONS} positions"), "with gradients", time(self.device, run));
    }

    fn adamw(&self) {
        let rates = AdamWRates {
            scale: 1.0,
            first: [0.9, 0.1],
            second: [0.95, 0.05],
            root: 1.0,
            epsilon: 1e-8,
            rate: 1e-4,
            keep: 0.9999,
        };
        let gradient = self.draw([UPDATED]);
        let held = std::cell::RefCell::new(Some([(); 3].map(|()| self.draw([UPDATED]).abs())));
        let run = || {
            let [values, first, second] = held.take().expect("put back after every update");
            let found = fmflow_ops::update_values(values, gradient.clone(), [first, second], rates);
            let [first, second] = found.moments;
            held.replace(Some([found.values, first, second]));
        };
        self.say(&format!("AdamW of {UPDATED} values"), "update", time(self.device, run));
    }
}
