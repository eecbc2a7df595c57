//! One trainable tensor, whatever its rank.
//!
//! Optimizers work on flat values and gradients; the forward pass works on vectors and matrices. This type connects the two.

use burn_tensor::{Device, Gradients, Tensor, TensorData};

use super::BackboneError;

/// A parameter: a vector `[n]` or a matrix [out, in].
#[derive(Clone, Debug)]
pub enum Parameter {
    /// A norm weight or a bias.
    Vector(Tensor<1>),
    /// A projection or an embedding, laid out as in Hugging Face.
    Matrix(Tensor<2>),
}

impl Parameter {
    /// A parameter with the given values (row-major) on `device`, without gradients.
    ///
    /// # Errors
    /// If the rank is not 1 or 2, or the number of values is not the product of the shape.
    pub(crate) fn new(shape: &[usize], values: Vec<f32>, device: &Device) -> Result<Self, BackboneError> {
        let count = values.len();
        match *shape {
            [n] if n == count => Ok(Self::Vector(Tensor::from_data(TensorData::new(values, [n]), device))),
            [n, m] if n.checked_mul(m) == Some(count) => {
                Ok(Self::Matrix(Tensor::from_data(TensorData::new(values, [n, m]), device)))
            }
            _ => Err(BackboneError::Shape { shape: shape.into(), count }),
        }
    }

    /// `[n]` or [out, in].
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Vector(x) => x.dims().into(),
            Self::Matrix(x) => x.dims().into(),
        }
    }

    /// Number of values.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.shape().iter().product()
    }

    /// The values, without autodiff.
    ///
    /// # Shapes
    /// Returns `[count]`.
    #[must_use]
    pub(crate) fn flat(&self) -> Tensor<1> {
        match self {
            Self::Vector(x) => x.clone().inner(),
            Self::Matrix(x) => flatten_matrix(x.clone().inner()),
        }
    }

    /// The gradient of this parameter, removed from `gradients` so that its memory is freed early; `None` if the loss did not
    /// depend on it.
    ///
    /// # Shapes
    /// Returns `[count]`.
    #[must_use]
    pub(crate) fn take_gradient(&self, gradients: &mut Gradients) -> Option<Tensor<1>> {
        match self {
            Self::Vector(x) => x.grad_remove(gradients),
            Self::Matrix(x) => x.grad_remove(gradients).map(flatten_matrix),
        }
    }

    /// The parameter with the values that `f` makes of its values. If nothing else holds them, `f` owns their memory.
    ///
    /// # Shapes
    /// `[count]`, in and out.
    #[must_use]
    pub(crate) fn map(self, f: impl FnOnce(Tensor<1>) -> Tensor<1>) -> Self {
        match self {
            Self::Vector(x) => {
                let tracked = x.is_require_grad();
                Self::Vector(set_requires_grad(f(x.inner()), tracked))
            }
            Self::Matrix(x) => {
                let (tracked, dims) = (x.is_require_grad(), x.dims());
                let new = f(flatten_matrix(x.inner()));
                Self::Matrix(set_requires_grad(new.reshape(dims), tracked))
            }
        }
    }

    /// The same values as a new autodiff leaf.
    #[must_use]
    pub(crate) fn trainable(self) -> Self {
        match self {
            Self::Vector(x) => Self::Vector(set_requires_grad(x.inner(), true)),
            Self::Matrix(x) => Self::Matrix(set_requires_grad(x.inner(), true)),
        }
    }

    /// The same values in a graph, where they get no gradient.
    #[must_use]
    pub(crate) fn untracked(self) -> Self {
        match self {
            Self::Vector(x) => Self::Vector(x.inner().autodiff()),
            Self::Matrix(x) => Self::Matrix(x.inner().autodiff()),
        }
    }

    /// The same values without autodiff.
    #[must_use]
    pub(crate) fn frozen(self) -> Self {
        match self {
            Self::Vector(x) => Self::Vector(x.inner()),
            Self::Matrix(x) => Self::Matrix(x.inner()),
        }
    }

    /// Copies the values to the host, row-major.
    ///
    /// # Errors
    /// If the device fails.
    pub fn values(&self) -> Result<Vec<f32>, BackboneError> {
        self.flat().try_into_vec_as::<f32>().map_err(|e| BackboneError::Device(e.to_string()))
    }
}

fn flatten_matrix(x: Tensor<2>) -> Tensor<1> {
    let [n, m] = x.dims();
    x.reshape([n * m])
}

fn set_requires_grad<const D: usize>(x: Tensor<D>, gradients: bool) -> Tensor<D> {
    if gradients { x.autodiff().require_grad() } else { x }
}
