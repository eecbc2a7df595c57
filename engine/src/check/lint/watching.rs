//! Lints of what watches a training: parts of it that never happen, and a guard that takes ordinary noise for trouble.

use crate::pipeline::config::TrainConfig;
use crate::pipeline::config::train::{GuardAction, SpikeGuard};
use crate::pipeline::field_path::{FieldPath, train};
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display::count_noun;

/// Standard deviations that noise does not reach: once in 10^9 updates.
const SAFE_SIGMA: f64 = 6.0;

/// Runs the lints of what watches a training.
pub(super) fn lint_watching(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    if let Some(every) = config.checkpoint.permanent {
        check_interval(
            stage,
            config,
            (every, train::PERMANENT_EVERY),
            "no permanent checkpoint is saved",
            sink,
        );
    }
    if let Some(probe) = &config.probe {
        check_interval(stage, config, (probe.every, train::PROBE_EVERY), "no probe is made", sink);
    }
    let Some(spike) = &config.guard.spike else { return };
    check_spike_window(stage, config, spike, sink);
    check_spike_sigma(stage, config, spike, sink);
}

/// Warns about something that happens every so many updates, if there are fewer.
fn check_interval(
    stage: &Stage,
    config: &TrainConfig,
    (every, path): (u64, FieldPath),
    what: &str,
    sink: &mut Sink,
) {
    if every <= config.steps {
        return;
    }
    let message = format!("`{}` ends after {}: {what}", stage.name, count_noun(config.steps, "update"));
    sink.push(
        Diagnostic::new(Code::NeverFires, message)
            .at(stage.place(path), "after the last update")
            .also(stage.place(train::STEPS), "updates in all")
            .help(format!("write `every={}`", (config.steps / 4).max(1))),
    );
}

/// Warns about a guard whose window is full only when the training ends.
fn check_spike_window(stage: &Stage, config: &TrainConfig, spike: &SpikeGuard, sink: &mut Sink) {
    if (spike.window as u64) < config.steps {
        return;
    }
    let message = format!(
        "`{}` ends after {}, before the guard has seen enough of them to know a spike",
        stage.name,
        count_noun(config.steps, "update")
    );
    let diagnostic = Diagnostic::new(Code::NeverFires, message)
        .at(stage.place(train::SPIKE_WINDOW), "updates before anything is a spike")
        .also(stage.place(train::STEPS), "updates in all");
    let window = config.steps / 4;
    sink.push(match window {
        0 | 1 => diagnostic.help("remove `spike`"),
        window => diagnostic.help(format!("write `window={window}`")),
    });
}

/// Warns about a guard that ordinary noise is certain to set off more often than it may be.
fn check_spike_sigma(stage: &Stage, config: &TrainConfig, spike: &SpikeGuard, sink: &mut Sink) {
    let judged = config.steps.saturating_sub(spike.window as u64) as f64;
    let expected = judged * bound_noise_above(spike.sigma);
    if spike.sigma >= SAFE_SIGMA || expected <= spike.limit.max(1) as f64 {
        return;
    }
    let message =
        format!("ordinary noise alone sets off the guard of `{}` in about {expected:.0} updates", stage.name);
    let end = match spike.action {
        GuardAction::Stop => "the first one ends the stage".to_owned(),
        GuardAction::Skip | GuardAction::Rewind { .. } => format!("more than {} end the stage", spike.limit),
    };
    sink.push(
        Diagnostic::new(Code::AlwaysFires, message)
            .at(stage.place(train::SPIKE_SIGMA), end)
            .help(format!("write `sigma={SAFE_SIGMA}`")),
    );
}

/// A lower bound of the probability that a normal variable is more than `sigma` deviations above its mean (Gordon, 1941).
fn bound_noise_above(sigma: f64) -> f64 {
    let density = (-sigma * sigma / 2.0).exp() / std::f64::consts::TAU.sqrt();
    density * sigma / (1.0 + sigma * sigma)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_below_the_tail_and_close_to_it() {
        // Tails of the normal distribution, from tables.
        for (sigma, tail) in [(1.0, 0.158_655), (2.0, 0.022_750), (3.0, 1.349_9e-3), (6.0, 9.866e-10)] {
            let bound = bound_noise_above(sigma);
            assert!(bound < tail && bound > 0.7 * tail, "{sigma}: {bound} of {tail}");
        }
    }
}
