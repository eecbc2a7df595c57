//! Discrete flow matching: schedulers, times, probability paths, losses, samplers.
//!
//! Time runs from t = 0 (source, noise) to t = 1 (data). Along a *probability path* every position of x_t independently holds
//! x_1 with probability kappa(t), and otherwise x_0, which is drawn from the *source*. The backbone gives the *posterior*
//! p(x_1 | x_t, t). Nothing here knows the backbone; training and sampling connect the two.

pub mod kernel;
pub mod loss;
pub mod path;
pub mod sampler;
pub mod scheduler;
pub(crate) mod time;
