//! Lints of what watches a training: parts of it that never happen. Those of its guard are in `guards`.

use crate::check::lint::guards::{lint_guard, never};
use crate::pipeline::config::TrainConfig;
use crate::pipeline::field_path::{FieldPath, train};
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::Sink;

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
    lint_guard(stage, config, sink);
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
    let found = never(stage, config, what, (path, "after the last update"));
    sink.push(found.help(format!("write `every={}`", (config.steps / 4).max(1))));
}
