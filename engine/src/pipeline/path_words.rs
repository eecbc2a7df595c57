//! A probability path in the words of a configuration.

use crate::pipeline::config::train::{ProbabilityPath, Scheduler};

/// Describes the source of a path in the words of a configuration.
#[must_use]
pub(crate) fn describe_source(path: &ProbabilityPath) -> String {
    match path.mask_share {
        share if share >= 1.0 => "mask".to_owned(),
        share if share <= 0.0 => "uniform".to_owned(),
        share => format!("mask {share:.3}, uniform {:.3}", 1.0 - share),
    }
}

/// Describes a scheduler in the words of a configuration.
#[must_use]
pub(crate) fn describe_scheduler(scheduler: Scheduler) -> String {
    match scheduler {
        Scheduler::Polynomial { exponent: 1.0 } => "linear".to_owned(),
        Scheduler::Polynomial { exponent } => format!("polynomial, exponent {exponent}"),
        Scheduler::Cosine => "cosine".to_owned(),
        Scheduler::SineSquared => "sine-squared".to_owned(),
    }
}
