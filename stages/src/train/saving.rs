//! When checkpoints are saved. The instant changes no result: a checkpoint copies the state and leaves it as it is.

use std::time::{Duration, Instant};

use fmflow_engine::pipeline::config::TrainConfig;
use fmflow_engine::pipeline::config::train::CheckpointInterval;

use super::guard::is_rewind_point;
use super::probing::is_probe_due;

/// How long a checkpoint stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    /// Until newer ones replace it.
    Replaced,
    /// For good, also when the stage is finished.
    Permanent,
}

/// Remembers when the last checkpoint was saved, for those by the clock.
pub(super) struct SaveClock {
    last: Instant,
}

impl SaveClock {
    /// Starts the clock.
    pub(super) fn start() -> Self {
        Self { last: Instant::now() }
    }

    /// Starts the time until the next checkpoint.
    pub(super) fn restart(&mut self) {
        self.last = Instant::now();
    }

    /// Whether a checkpoint is saved after `done` updates. After the last one the artifact takes its place, unless it is
    /// permanent or a probe follows.
    pub(super) fn find_due(&self, config: &TrainConfig, done: u64) -> Option<Retention> {
        find_due_checkpoint(config, done, self.last.elapsed())
    }
}

fn find_due_checkpoint(config: &TrainConfig, done: u64, waited: Duration) -> Option<Retention> {
    if config.keeps_for_good(done) {
        return Some(Retention::Permanent);
    }
    let due = match config.checkpoint.every {
        CheckpointInterval::Updates(every) => done.is_multiple_of(every),
        CheckpointInterval::Seconds(seconds) => waited.as_secs_f64() >= seconds,
    };
    let due = due || is_rewind_point(&config.guard, done);
    (due && done < config.steps || is_probe_due(config.probe.as_ref(), done)).then_some(Retention::Replaced)
}

#[cfg(test)]
mod tests {
    use fmflow_engine::check::{CheckOptions, check_text};
    use fmflow_engine::pipeline::config::StageConfig;

    use super::*;

    /// The settings of a training of 30 updates with these nodes.
    fn config(nodes: &str) -> TrainConfig {
        let text = format!(
            "pipeline \"p\" seed=1\ndataset \"d\" from=\"lib.rs\" format=\"text\" held-out=\"2%\"\n\
             tokenizer \"b\" kind=\"byte-level-bpe\" vocabulary=512 {{ dataset \"d\" }}\n\
             rows \"r\" tokenizer=\"b\" length=64 packing=\"concat\"\n\
             random-init \"t\" tokenizer=\"b\" {{ shape \"qwen3\" hidden=8 layers=1 heads=2 head-dim=4 feed-forward=16 }}\n\
             mixture \"m\" {{ dataset \"d\" }}\nsampler \"s\" kind=\"autoregressive\"\ntrain \"ar\" from=\"t\" {{ data rows=\"r\" mixture=\"m\"\n\
             objective \"autoregressive\"\nattention \"causal\"\nbatch rows=4\nsteps 30\n\
             learning-rate peak=1e-3 final=0 shape=\"cosine\"\n{nodes}\n}}\n"
        );
        let text = match nodes.starts_with("learning-rate") {
            true => text.replace("learning-rate peak=1e-3 final=0 shape=\"cosine\"\n", ""),
            false => text,
        };
        let base = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let checked = check_text("p.kdl", &text, &base, &CheckOptions::default());
        let pipeline = checked.pipeline.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
        match &pipeline.stages.iter().find(|stage| stage.name == "ar").unwrap().config {
            StageConfig::Train(config) => (**config).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn due(config: &TrainConfig, seconds: f64) -> Vec<(u64, Retention)> {
        let waited = Duration::from_secs_f64(seconds);
        (1..=30).filter_map(|done| Some((done, find_due_checkpoint(config, done, waited)?))).collect()
    }

    #[test]
    fn checkpoints_are_saved_by_updates_by_the_clock_for_good_and_to_go_back_to() {
        let (kept, forever) = (Retention::Replaced, Retention::Permanent);
        let counted = config("checkpoint every=10 { permanent every=15 }");
        assert_eq!(due(&counted, 1e6), [(10, kept), (15, forever), (20, kept), (30, forever)]);
        let extendable = config(
            "learning-rate peak=1e-3 final=0 warmup=2 decay=5 shape=\"warmup-stable-decay\"\ncheckpoint every=10",
        );
        assert_eq!(due(&extendable, 1.0), [(10, kept), (20, kept), (25, forever)], "where its decay begins");
        let timed = config("checkpoint every=\"30min\"");
        assert_eq!(due(&timed, 1799.0), []);
        assert_eq!(due(&timed, 1800.0).len(), 29, "after the last update there is the artifact");
        let guarded =
            config("checkpoint every=\"30min\"\nguard { spike action=\"rewind\" back=12 window=8 }");
        assert_eq!(due(&guarded, 1.0), [(12, kept), (24, kept)]);
        let probed = config("checkpoint every=100\nprobe every=15 sampler=\"s\" { prompt \"x\" }");
        assert_eq!(due(&probed, 1.0), [(15, kept), (30, kept)]);
    }
}
