//! Lints of the guard of a training: parts of it that can never act, and parts that act in every training.

use crate::pipeline::config::TrainConfig;
use crate::pipeline::config::train::{DivergenceSettings, GuardAction, SpikeGuard};
use crate::pipeline::field_path::{FieldPath, train};
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display::count_noun;
use crate::text::place::Origin;

/// Standard deviations that noise does not reach: once in 10^9 updates.
const SAFE_SIGMA: f64 = 6.0;

/// Standard deviations above which no jump is seen: where the noise of a loss is 1 % of it, only a loss that more than doubles from one
/// update to the next is so far away.
const MOST_SIGMA: f64 = 100.0;

/// Growth of the norm of the weights that ordinary training reaches.
const LEAST_GROWTH: f64 = 1.1;

/// Warns about what a guard can never do, and about what it always does.
pub(super) fn lint_guard(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    check_divergence(stage, config, &config.guard.diverged, sink);
    if let Some(rule) = config.guard.non_finite {
        check_action(stage, config, (rule.action, train::NON_FINITE_BACK), sink);
        check_limit(stage, config, (rule.action, rule.limit, train::NON_FINITE_LIMIT), sink);
    }
    if let Some(spike) = &config.guard.spike {
        check_action(stage, config, (spike.action, train::SPIKE_BACK), sink);
        check_limit(stage, config, (spike.action, spike.limit, train::SPIKE_LIMIT), sink);
        check_spike_window(stage, config, spike, sink);
        check_spike_sigma(stage, config, spike, sink);
    }
}

/// A finding about a setting that cannot act in so few updates.
pub(super) fn never(
    stage: &Stage,
    config: &TrainConfig,
    what: &str,
    (path, label): (FieldPath, &str),
) -> Diagnostic {
    let message = format!("`{}` ends after {}: {what}", stage.name, count_noun(config.steps, "update"));
    Diagnostic::new(Code::NeverFires, message)
        .at(stage.place(path), label)
        .also(stage.place(train::STEPS), "updates in all")
}

/// Whether somebody wrote a setting. Defaults suit trainings of any length.
fn is_written(stage: &Stage, path: FieldPath) -> bool {
    stage.field(path).is_some_and(|field| field.origin != Origin::Default)
}

/// Warns about a return that always leads to the start of the stage: to the last state but one, of at most one.
fn check_action(
    stage: &Stage,
    config: &TrainConfig,
    (action, path): (GuardAction, FieldPath),
    sink: &mut Sink,
) {
    let GuardAction::Rewind { back } = action else { return };
    if back.saturating_mul(2) < config.steps {
        return;
    }
    let what = "its guard can only go back to the start, and everything is lost";
    let found = never(stage, config, what, (path, "updates between the states to go back to"));
    sink.push(match config.steps / 10 {
        0 => found.help("write `action=\"stop\"`"),
        back => found.help(format!("write `back={back}`")),
    });
}

/// Warns about a limit that there are too few updates to reach, so that a stage ends well in which nothing was learned.
fn check_limit(
    stage: &Stage,
    config: &TrainConfig,
    (action, limit, path): (GuardAction, u64, FieldPath),
    sink: &mut Sink,
) {
    if action == GuardAction::Stop || limit < config.steps || !is_written(stage, path) {
        return;
    }
    let what = "its guard never ends it, even if every update goes wrong";
    let most = (config.steps / 10).clamp(1, 5);
    sink.push(
        never(stage, config, what, (path, "more than there are")).help(format!("write `limit={most}`")),
    );
}

/// Warns about divergence that is never found before the end, and about growth that every training has.
fn check_divergence(stage: &Stage, config: &TrainConfig, guard: &DivergenceSettings, sink: &mut Sink) {
    let first = config.learning_rate.warmup.max(1).div_ceil(config.validate.every);
    let measured = (config.steps.saturating_sub(1) / config.validate.every + 1).saturating_sub(first);
    if guard.stop && guard.limit > measured && is_written(stage, train::DIVERGED_LIMIT) {
        let what = match measured {
            0 => "it is never measured between its warmup and its end, so that the guard ends it at its end or not at all".to_owned(),
            _ => format!(
                "it is measured {} between its warmup and its end, and the guard never ends it before",
                count_noun(measured, "time")
            ),
        };
        let found = never(stage, config, &what, (train::DIVERGED_LIMIT, "worse measurements in a row"));
        let found = found.also(stage.place(train::VALIDATE_EVERY), "updates between measurements");
        sink.push(match measured {
            0 => found.help(format!("write `validate every={}`", (config.steps / 10).max(1))),
            most => found.help(format!("write `limit={}`", most.min(3))),
        });
    }
    if guard.stop && guard.growth < LEAST_GROWTH {
        let message = format!(
            "the guard of `{}` ends it as soon as its weights have grown to {} times their norm, as those of most trainings do",
            stage.name, guard.growth
        );
        sink.push(
            Diagnostic::new(Code::AlwaysFires, message)
                .at(stage.place(train::DIVERGED_GROWTH), "ordinary growth")
                .help("write `growth=100`"),
        );
    }
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

/// Warns about a guard that no jump sets off, and about one that ordinary noise is certain to set off more often than it may be.
fn check_spike_sigma(stage: &Stage, config: &TrainConfig, spike: &SpikeGuard, sink: &mut Sink) {
    if spike.sigma > MOST_SIGMA {
        let message = format!(
            "no jump of a loss is {} standard deviations: where they are 1 % of it, the loss would have to become {} times as large in one update",
            format_many(spike.sigma),
            format_many((1.0 + spike.sigma / 100.0).round())
        );
        sink.push(
            Diagnostic::new(Code::NeverFires, message)
                .at(stage.place(train::SPIKE_SIGMA), "nothing is a spike")
                .help(format!("write `sigma={SAFE_SIGMA}`")),
        );
        return;
    }
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

/// A number as it was written, unless nobody would read its digits.
fn format_many(number: f64) -> String {
    if number < 1e9 { number.to_string() } else { format!("{number:e}") }
}

/// A lower bound of the probability that a normal variable is more than `sigma` deviations above its mean (Gordon, 1941). Below one
/// deviation, where that bound falls to 0, it is the one at one deviation.
fn bound_noise_above(sigma: f64) -> f64 {
    let sigma = sigma.max(1.0);
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
