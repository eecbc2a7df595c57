//! Inputs of operations with more than three.

use burn_backend::Backend;
use burn_backend::tensor::FloatTensor;

use crate::{Intervals, Precision};

/// Inputs of attention.
#[derive(Debug)]
pub(crate) struct AttentionInputs<B: Backend> {
    pub(crate) queries: FloatTensor<B>,
    pub(crate) keys: FloatTensor<B>,
    pub(crate) values: FloatTensor<B>,
    pub(crate) visible: Intervals,
    pub(crate) precision: Precision,
}

impl<B: Backend> Clone for AttentionInputs<B> {
    fn clone(&self) -> Self {
        let Self { queries, keys, values, visible, precision } = self;
        Self {
            queries: queries.clone(),
            keys: keys.clone(),
            values: values.clone(),
            visible: visible.clone(),
            precision: *precision,
        }
    }
}

/// Inputs of `turn`.
#[derive(Debug)]
pub(crate) struct TurnInputs<B: Backend> {
    pub(crate) x: FloatTensor<B>,
    pub(crate) weight: FloatTensor<B>,
    pub(crate) cos: FloatTensor<B>,
    pub(crate) sin: FloatTensor<B>,
}

impl<B: Backend> Clone for TurnInputs<B> {
    fn clone(&self) -> Self {
        let Self { x, weight, cos, sin } = self;
        Self { x: x.clone(), weight: weight.clone(), cos: cos.clone(), sin: sin.clone() }
    }
}
