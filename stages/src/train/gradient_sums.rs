//! Collects the gradients of several backward passes, parameter by parameter.

use burn_tensor::Tensor;

use crate::backbone::Backbone;

/// Gradients of all parameters that are trained, flat, in the order of [`Backbone::trained`]. Sums are kept in f32: in bf16, the sum of many
/// micro-batches would lose small contributions.
pub type FlatGradients = Vec<Tensor<1>>;

/// Partial sums of gradients in the same order; `None` for a parameter that no backward pass has reached yet.
pub(super) type GradientSums = Vec<Option<Tensor<1>>>;

/// Adds the result of a backward pass to the gradients of the parameters.
pub(super) fn collect_gradients(
    model: &Backbone,
    mut found: burn_tensor::Gradients,
    gradients: &mut GradientSums,
) {
    for ((_, parameter), slot) in model.trained().zip(gradients) {
        if let Some(gradient) = parameter.take_gradient(&mut found) {
            *slot = Some(match slot.take() {
                None => gradient,
                Some(before) => before + gradient,
            });
        }
    }
}
