//! The progress line of a training.

use fmflow_engine::pipeline::config::train::{Loss, LossDivisor, LossPositions, Objective};
use fmflow_engine::pipeline::config::{AttentionSchedule, TrainConfig};
use fmflow_engine::run::execute::{Job, Progress};
use fmflow_engine::text::display::count_noun;

use indexmap::IndexMap;

use super::metrics::StepMetrics;

/// The numbers of the progress line: sums over the updates since the last line, shown as means. The learning rate is that of the last
/// update.
pub(super) struct ProgressLine {
    loss: f64,
    norm: f64,
    speed: f64,
    updates: u64,
}

impl ProgressLine {
    /// Without any update.
    pub(super) fn new() -> Self {
        Self { loss: 0.0, norm: 0.0, speed: 0.0, updates: 0 }
    }

    /// Counts an update, and shows the line if it is time for one.
    pub(super) fn show(&mut self, job: &Job<'_>, config: &TrainConfig, metrics: &StepMetrics) {
        self.loss += metrics.loss;
        self.norm += metrics.grad_norm;
        self.speed += metrics.tokens_per_second;
        self.updates += 1;
        let done = metrics.step + 1;
        job.note_updates(done);
        if !done.is_multiple_of(config.log_every) && done != config.steps {
            return;
        }
        let n = self.updates as f64;
        let text = format!(
            "loss {:.3} · lr {} · grad norm {:.2} · {:.1}K tok/s",
            self.loss / n,
            format_rate(metrics.learning_rate),
            self.norm / n,
            self.speed / n / 1000.0
        );
        job.report.progress(&Progress { done, total: config.steps, unit: "update", text: &text });
        *self = Self::new();
    }
}

/// A learning rate; a warmup begins at 0.
fn format_rate(rate: f64) -> String {
    if rate == 0.0 { "0".to_owned() } else { format!("{rate:.1e}") }
}

/// The line about losses that were measured after `done` updates on so many rows of each dataset, and what is to be said of the teacher; `None`
/// if nothing was measured.
pub(super) fn describe_validation(
    config: &TrainConfig,
    done: u64,
    measured: &IndexMap<String, f64>,
    rows: &[usize],
    retention: Option<&str>,
) -> Option<String> {
    let losses: Vec<String> = measured.iter().map(|(dataset, loss)| format!("{dataset} {loss:.3}")).collect();
    let ((unit, kind), sample) = (describe_loss_unit(&config.objective), describe_sample(config, rows));
    let retention = retention.map(|line| format!(" · {line}")).unwrap_or_default();
    let line = || {
        format!(
            "held-out loss after update {done}: {} {unit} ({kind}; {sample}){retention}",
            losses.join(", ")
        )
    };
    (!losses.is_empty()).then(line)
}

/// How many rows of each dataset are measured, and at how many times; the loss of an autoregressive model, and one in which every token is
/// masked, has no times.
fn describe_sample(config: &TrainConfig, rows: &[usize]) -> String {
    let (least, most) = rows.iter().fold((usize::MAX, 0), |(a, b), rows| (a.min(*rows), b.max(*rows)));
    let count = if least < most { format!("{least} to {most} rows") } else { count_noun(most, "row") };
    let each = if rows.len() > 1 { " of each" } else { "" };
    let timed = matches!(config.objective, Objective::Flow { .. })
        && !matches!(config.attention, AttentionSchedule::Strided { .. });
    let times = || format!(" at {}", count_noun(config.validate.times, "time"));
    format!("{count}{each}{}", if timed { times() } else { String::new() })
}

/// What a held-out loss is measured in, and whether it bounds the likelihood.
fn describe_loss_unit(objective: &Objective) -> (&'static str, &'static str) {
    let Objective::Flow { loss, over, normalise, .. } = objective else { return ("nats per token", "exact") };
    match (loss, over, normalise) {
        (Loss::Elbo, _, LossDivisor::Tokens)
        | (Loss::GeneralizedKl, LossPositions::Supervised, LossDivisor::Tokens) => {
            ("nats per token", "bound")
        }
        (_, _, LossDivisor::Tokens) => ("nats per token", "no bound"),
        (_, _, LossDivisor::Corrupted) => ("nats per corrupted token", "no bound"),
    }
}

#[cfg(test)]
mod tests {
    use fmflow_engine::pipeline::config::train::{ProbabilityPath, Scheduler};

    use super::*;

    #[test]
    fn rates_are_short() {
        assert_eq!([0.0, 2e-3, 1.234e-4].map(format_rate), ["0", "2.0e-3", "1.2e-4"]);
    }

    #[test]
    fn only_what_bounds_the_likelihood_is_called_a_bound() {
        let flow = |loss, over, normalise| {
            let path = ProbabilityPath { mask_share: 1.0, scheduler: Scheduler::Cosine };
            describe_loss_unit(&Objective::Flow {
                path,
                loss,
                over,
                normalise,
                max_weight: Some(20.0),
                clean_weight: None,
                growth: None,
            })
        };
        let (seen, corrupted) = (LossPositions::Supervised, LossPositions::Corrupted);
        assert_eq!(describe_loss_unit(&Objective::Autoregressive), ("nats per token", "exact"));
        assert_eq!(flow(Loss::Elbo, corrupted, LossDivisor::Tokens), ("nats per token", "bound"));
        assert_eq!(flow(Loss::GeneralizedKl, seen, LossDivisor::Tokens), ("nats per token", "bound"));
        assert_eq!(flow(Loss::GeneralizedKl, corrupted, LossDivisor::Tokens), ("nats per token", "no bound"));
        let flat = flow(Loss::CrossEntropy, corrupted, LossDivisor::Corrupted);
        assert_eq!(flat, ("nats per corrupted token", "no bound"));
    }
}
