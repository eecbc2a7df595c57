//! Gradients while they are collected, parameter by parameter.

use burn_tensor::Tensor;

use crate::backbone::Backbone;

/// Gradients of all parameters, flat, in the order of [`Backbone::parameters`].
pub type FlatGradients = Vec<Tensor<1>>;

/// Gradients while they are collected; `None` where nothing was found yet.
pub(super) type GradientSums = Vec<Option<Tensor<1>>>;

/// Adds what a backward pass found to the gradients of the parameters.
pub(super) fn collect_gradients(
    model: &Backbone,
    mut found: burn_tensor::Gradients,
    gradients: &mut GradientSums,
) {
    for ((_, parameter), slot) in model.parameters().zip(gradients) {
        if let Some(gradient) = parameter.take_gradient(&mut found) {
            *slot = Some(match slot.take() {
                None => gradient,
                Some(before) => before + gradient,
            });
        }
    }
}
