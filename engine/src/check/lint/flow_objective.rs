//! Lints of a flow objective: how much one position may weigh, and which positions it sees.

use std::f64::consts::{FRAC_PI_2, PI};

use crate::pipeline::config::train::{Loss, Objective, Scheduler, TimeSettings};
use crate::pipeline::config::{AttentionSchedule, TrainConfig};
use crate::pipeline::field_path::train;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// Largest weight of a position that does not make the loss useless; caps in use are 20 to 32.
const MAX_STABLE_WEIGHT: f64 = 100.0;

/// Runs all lints of a flow objective.
pub(super) fn lint_flow_objective(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let Objective::Flow { path, loss, max_weight, .. } = &config.objective else { return };
    if *loss != Loss::CrossEntropy {
        let largest = compute_largest_weight(path.scheduler, config.time);
        check_weight_cap(stage, largest, *max_weight, sink);
    }
    if config.attention == AttentionSchedule::Causal {
        report_causal_flow(stage, sink);
    }
}

/// Largest weight over the times in use. The weight is monotonic in t, or falls and then rises, so that its maximum is at
/// one of the ends.
fn compute_largest_weight(scheduler: Scheduler, time: TimeSettings) -> f64 {
    compute_position_weight(scheduler, time.from).max(compute_position_weight(scheduler, time.to))
}

/// Weight of a position at time t: kappa'(t) / (1 - kappa(t)).
fn compute_position_weight(scheduler: Scheduler, t: f64) -> f64 {
    let angle = FRAC_PI_2 * t;
    match scheduler {
        Scheduler::Polynomial { exponent } => exponent * t.powf(exponent - 1.0) / (1.0 - t.powf(exponent)),
        Scheduler::Cosine => FRAC_PI_2 * angle.tan(),
        Scheduler::SineSquared => PI * angle.tan(),
    }
}

fn check_weight_cap(stage: &Stage, largest: f64, cap: Option<f64>, sink: &mut Sink) {
    if cap.map_or(largest, |cap| cap.min(largest)) <= MAX_STABLE_WEIGHT {
        return;
    }
    let weight = match cap.filter(|cap| *cap < largest) {
        Some(cap) => format!("up to {cap}"),
        None if largest.is_finite() => format!("up to {largest:.0}"),
        None => "without bound".to_owned(),
    };
    let message =
        format!("positions of `{}` weigh {weight}: the loss will jump from update to update", stage.name);
    let label = if cap.is_some() { "this cap is too high" } else { "nothing caps its weights" };
    let path = if cap.is_some() { train::OBJECTIVE_MAX_WEIGHT } else { train::OBJECTIVE_LOSS };
    let mut diagnostic = Diagnostic::new(Code::UncappedWeight, message).at(stage.place(path), label);
    if let Some(epsilon) =
        stage.field(train::TIME_EPSILON).filter(|field| field.origin != crate::text::place::Origin::Default)
    {
        diagnostic = diagnostic.also(&epsilon.span, "how close t comes to 1");
    }
    sink.push(diagnostic.help("write `max-weight=32`; `evaluate` never caps, whatever you write here"));
}

fn report_causal_flow(stage: &Stage, sink: &mut Sink) {
    let message = format!("`{}` learns to fill masks without seeing later positions", stage.name);
    sink.push(
        Diagnostic::new(Code::CausalFlow, message)
            .at(stage.place(train::ATTENTION), "sees earlier positions only")
            .also(stage.place(train::OBJECTIVE), "predicts all positions at once")
            .help("write `attention \"bidirectional\"`"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::config::train::TimeSampling;

    fn over(from: f64, to: f64, scheduler: Scheduler) -> f64 {
        compute_largest_weight(
            scheduler,
            TimeSettings { sampling: TimeSampling::Uniform, from, to, at_least_masked: 1 },
        )
    }

    /// Golden numbers of the weight, and its limit: 1 / epsilon for 1 - kappa = epsilon.
    #[test]
    fn the_largest_weight_is_at_an_end_of_the_times() {
        let polynomial = |exponent| Scheduler::Polynomial { exponent };
        assert!((over(0.0, 0.25, Scheduler::Cosine) - 0.650_645_14).abs() < 1e-8);
        assert!((over(0.0, 0.999, polynomial(1.0)) - 1000.0).abs() < 1e-6);
        assert!((over(0.0, 0.999, polynomial(3.0)) / 1000.0 - 1.0).abs() < 2e-3);
        assert_eq!(over(0.0, 0.5, polynomial(0.5)), f64::INFINITY);
        assert!((over(0.2, 0.7, polynomial(1.0)) - 1.0 / 0.3).abs() < 1e-12);
    }
}
