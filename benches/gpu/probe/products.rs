//! Products of matrices at the shapes of Qwen3-1.7B.

use burn_tensor::{DType, Device, Distribution, Tensor};
use serde_json::json;

use super::{report, time};

/// Forward pass, gradient of the input and gradient of the weight of each linear layer, in bf16 and f32.
pub(super) fn measure(device: &Device, length: usize) {
    let layers = [
        ("q", length, 2048, 2048),
        ("k and v", length, 2048, 1024),
        ("gate and up", length, 2048, 6144),
        ("down", length, 6144, 2048),
        ("head", 1024, 2048, 151_936),
    ];
    for dtype in [DType::BF16, DType::F32] {
        for (name, rows, from, to) in layers {
            let draw =
                |a, b| Tensor::<2>::random([a, b], Distribution::Uniform(-1.0, 1.0), device).cast(dtype);
            let (x, w, g) = (draw(rows, from), draw(to, from), draw(rows, to));
            let say = |kind: &str, [first, seconds]: [f64; 2]| {
                let tflops = 2.0 * (rows * from * to) as f64 / seconds / 1e12;
                report(json!({
                    "product": name, "kind": kind, "dtype": format!("{dtype:?}"), "rows": rows, "from": from, "to": to,
                    "ms": 1e3 * seconds, "tflops": tflops, "first_s": first,
                }));
            };
            say("forward", time(device, || x.clone().matmul(w.clone().transpose())));
            say("input", time(device, || g.clone().matmul(w.clone())));
            say("weight", time(device, || g.clone().transpose().matmul(x.clone())));
        }
    }
}
