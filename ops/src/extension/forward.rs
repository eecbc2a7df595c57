//! The operations without a graph, which every backend with kernels computes in one way.

/// The operations without a graph: the forward passes of the kernels of a backend.
macro_rules! forward_through_kernels {
    ($backend:ty) => {
        impl $crate::extension::FusedOps for $backend {
            fn attention(
                queries: FloatTensor<Self>,
                keys: FloatTensor<Self>,
                values: FloatTensor<Self>,
                visible: Intervals,
                precision: Precision,
            ) -> FloatTensor<Self> {
                Self::attention_forward(&AttentionInputs { queries, keys, values, visible, precision }).0
            }

            fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
                Self::rms_norm_forward(&x, &weight, eps).0
            }

            fn turn(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                cos: FloatTensor<Self>,
                sin: FloatTensor<Self>,
                eps: f64,
            ) -> FloatTensor<Self> {
                Self::turn_forward(&TurnInputs { x, weight, cos, sin }, eps).0
            }

            fn gate(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::gate_forward(&gate, &up)
            }

            fn linear(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                precision: Precision,
            ) -> FloatTensor<Self> {
                Self::linear_forward(&x, &weight, precision)
            }
        }
    };
}
pub(crate) use forward_through_kernels;
