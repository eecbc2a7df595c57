//! The guard against updates that are not finite and against jumps of the loss.
//!
//! A jump is seen as OLMo does it: a loss more than some standard deviations above the mean of the last updates. An update may be
//! left out, or the stage goes back and leaves out the rows since, as PaLM was trained ("PaLM: Scaling Language Modeling with
//! Pathways", 2022, section 5.1). What is decided is a function of the updates before, and what was decided is part of the
//! state, so a run that is killed and resumed decides the same.

use std::collections::VecDeque;

use fmflow_engine::pipeline::config::train::{GuardSettings, SpikeGuard};
use fmflow_engine::text::display::count_noun;
use serde::{Deserialize, Serialize};

/// Smallest standard deviation of the losses, as a share of their mean: a loss that hardly moves makes no jump of its rounding.
const LEAST_DEVIATION: f64 = 1e-3;

/// Why an update was refused. Nothing was changed by it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trouble {
    /// The loss or the gradient is not finite; a sentence says which.
    NonFinite(String),
    /// The loss jumped; a sentence says how far.
    Spike(String),
}

/// A return to an earlier update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rewind {
    /// The update that was refused.
    pub at: u64,
    /// Updates done in the state that the stage went back to.
    pub to: u64,
    /// Why.
    pub why: String,
}

/// What the guard has seen and done; a part of the counters of the stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GuardRecord {
    /// Updates that were left out.
    pub skipped: u64,
    /// Returns to earlier updates, in their order.
    pub rewinds: Vec<Rewind>,
    /// Updates in a row that were not finite.
    non_finite: u64,
    /// One more than the last update that was not finite; 0: there is none.
    after_non_finite: u64,
    /// Jumps of the loss.
    spikes: u64,
    /// Losses of the last applied updates, oldest first, as bits of f64: JSON may round numbers.
    recent: VecDeque<u64>,
}

impl GuardRecord {
    /// How many updates further on the rows and the noise of an update are: as many as the rewinds took back.
    #[must_use]
    pub(super) fn shift(&self) -> u64 {
        self.rewinds.iter().map(|rewind| rewind.at + 1 - rewind.to).sum()
    }

    /// Judges the loss of an update before it is applied. Without enough updates before it, there is nothing to compare it with.
    pub(super) fn find_spike(&self, guard: &SpikeGuard, loss: f64) -> Option<Trouble> {
        if self.recent.len() < guard.window {
            return None;
        }
        let (mean, deviation) = self.describe_recent();
        (loss > mean + guard.sigma * deviation).then(|| {
            let sigma = (loss - mean) / deviation;
            Trouble::Spike(format!(
                "the cross-entropy is {loss:.3}, {sigma:.1} standard deviations above the mean of the last {} ({mean:.3})",
                count_noun(guard.window, "update")
            ))
        })
    }

    /// Mean and standard deviation of the recent losses.
    fn describe_recent(&self) -> (f64, f64) {
        let (losses, n) = (|| self.recent.iter().map(|bits| f64::from_bits(*bits)), self.recent.len() as f64);
        let mean = losses().sum::<f64>() / n;
        let variance = losses().map(|loss| (loss - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt().max(LEAST_DEVIATION * mean.abs()))
    }

    /// Remembers an update that was applied.
    pub(super) fn note_applied(&mut self, guard: &GuardSettings, k: u64, loss: f64) {
        if k >= self.after_non_finite {
            self.non_finite = 0;
        }
        let Some(spike) = &guard.spike else { return };
        self.recent.push_back(loss.to_bits());
        let surplus = self.recent.len().saturating_sub(spike.window);
        self.recent.drain(..surplus);
    }

    /// Counts the trouble of update `k`; how often there was such, and how that is counted.
    pub(super) fn count(&mut self, k: u64, trouble: &Trouble) -> (u64, &'static str) {
        match trouble {
            Trouble::NonFinite(_) => {
                self.non_finite += 1;
                self.after_non_finite = k + 1;
                (self.non_finite, "in a row")
            }
            Trouble::Spike(_) => {
                self.spikes += 1;
                (self.spikes, "in this stage")
            }
        }
    }

    /// Takes over what does not go back in a rewind, and adds the rewind.
    pub(super) fn carry_over(&mut self, now: Self, rewind: Rewind) {
        let Self { rewinds, non_finite, after_non_finite, spikes, .. } = now;
        (self.rewinds, self.non_finite) = (rewinds, non_finite);
        (self.after_non_finite, self.spikes) = (after_non_finite, spikes);
        self.rewinds.push(rewind);
    }

    /// A line for the summary of the stage; `None` if the guard had nothing to do.
    #[must_use]
    pub(super) fn describe(&self) -> Option<String> {
        let skipped = (self.skipped > 0).then(|| format!("{} left out", count_noun(self.skipped, "update")));
        let back = |rewind: &Rewind| format!("update {} to {}", rewind.at, rewind.to);
        let back: Vec<_> = self.rewinds.iter().map(back).collect();
        let back = (!back.is_empty()).then(|| format!("went back from {}", back.join(", from ")));
        let all: Vec<_> = skipped.into_iter().chain(back).collect();
        (!all.is_empty()).then(|| format!("guard: {}", all.join("; ")))
    }
}

/// Updates done in the state that a rewind goes back to from update `k`: the last but one that is kept for it, but not one before the
/// last rewind, because those are gone.
pub(super) fn find_rewind_target(record: &GuardRecord, k: u64, back: u64) -> u64 {
    let last = record.rewinds.last().map_or(0, |rewind| rewind.to);
    (k / back * back).saturating_sub(back).max(last)
}

/// Whether a state is kept after `done` updates, to go back to it.
pub(super) fn is_rewind_point(guard: &GuardSettings, done: u64) -> bool {
    guard.list_rewinds().any(|back| done.is_multiple_of(back))
}

/// Whether a rewind after `done` updates or later may go back to the state after `step` updates.
pub(super) fn is_rewind_needed(guard: &GuardSettings, record: &GuardRecord, done: u64, step: u64) -> bool {
    guard.list_rewinds().any(|back| {
        let first = find_rewind_target(record, done, back);
        step == first || step > first && step.is_multiple_of(back)
    })
}

#[cfg(test)]
mod tests {
    use fmflow_engine::pipeline::config::train::{DivergenceSettings, GuardAction, NonFiniteGuard};

    use super::*;
    use crate::rng::{RandomPurpose, derive_stream};

    fn settings(non_finite: Option<GuardAction>, spike: Option<GuardAction>) -> GuardSettings {
        let diverged = DivergenceSettings { stop: true, margin: 0.02, limit: 3, growth: 100.0 };
        let spike = spike.map(|action| SpikeGuard { action, sigma: 6.0, window: 128, limit: 5 });
        let non_finite = non_finite.map(|action| NonFiniteGuard { action, limit: 3 });
        GuardSettings { diverged, non_finite, spike }
    }

    fn normal(seed: u64) -> impl FnMut() -> f64 {
        let mut stream = derive_stream(seed, RandomPurpose::Source, [0, 0, 0]);
        move || stream.normal()
    }

    #[test]
    fn every_jump_of_ten_sigma_is_seen_and_noise_is_not() {
        let guard = settings(None, Some(GuardAction::Skip));
        let spike = guard.spike.unwrap();
        let (mut record, mut draw) = (GuardRecord::default(), normal(1));
        let (mut false_alarms, mut seen, mut jumps) = (0, 0, 0);
        for k in 0..100_000 {
            let loss = 3.0 + 0.05 * draw();
            if k >= 128 && k % 1000 == 0 {
                jumps += 1;
                // The deviation of 128 draws is off by a fifth at most, so ten of the true ones are more than six measured.
                seen += u32::from(record.find_spike(&spike, 3.0 + 0.05 * 10.0).is_some());
            }
            false_alarms += u32::from(record.find_spike(&spike, loss).is_some());
            record.note_applied(&guard, k, loss);
        }
        assert_eq!((seen, false_alarms), (jumps, 0));
        assert_eq!(record.recent.len(), 128);
    }

    #[test]
    fn the_window_must_be_full_and_a_constant_loss_makes_no_jump() {
        let guard = settings(None, Some(GuardAction::Skip));
        let spike = guard.spike.unwrap();
        let mut record = GuardRecord::default();
        for k in 0..127 {
            record.note_applied(&guard, k, 2.0);
        }
        assert_eq!(record.find_spike(&spike, 1e9), None);
        record.note_applied(&guard, 127, 2.0);
        assert_eq!(record.find_spike(&spike, 2.0 + 1e-9), None, "rounding is no jump");
        let Some(Trouble::Spike(what)) = record.find_spike(&spike, 3.0) else { panic!("a jump") };
        assert!(what.contains("cross-entropy is 3.000") && what.contains("128 updates (2.000)"), "{what}");
    }

    #[test]
    fn a_state_survives_its_file_bit_by_bit() {
        let guard = settings(None, Some(GuardAction::Skip));
        let (mut record, mut draw) = (GuardRecord::default(), normal(2));
        (0..40).for_each(|k| record.note_applied(&guard, k, 1.0 / 3.0 + draw()));
        record.count(7, &Trouble::NonFinite("x".into()));
        record.rewinds.push(Rewind { at: 9, to: 4, why: "y".into() });
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<GuardRecord>(&text).unwrap(), record);
        assert_eq!(record.shift(), 6);
    }

    #[test]
    fn what_is_not_finite_counts_in_a_row_and_jumps_count_in_all() {
        let guard = settings(Some(GuardAction::Skip), Some(GuardAction::Skip));
        let (mut record, bad) = (GuardRecord::default(), Trouble::NonFinite("x".into()));
        assert_eq!((record.count(5, &bad).0, record.count(6, &bad).0), (1, 2));
        // After a rewind, the updates before the trouble end no row; the one behind it does.
        record.note_applied(&guard, 3, 1.0);
        assert_eq!(record.count(6, &bad).0, 3);
        record.note_applied(&guard, 7, 1.0);
        assert_eq!(record.count(9, &bad).0, 1);
        let jump = Trouble::Spike("x".into());
        assert_eq!(record.count(1, &jump).0, 1);
        record.note_applied(&guard, 2, 1.0);
        assert_eq!(record.count(3, &jump).0, 2);
    }

    /// Whatever the order of saving, pruning and going back, the state to go back to is there.
    #[test]
    fn a_rewind_finds_its_state_whatever_happened_before() {
        for (a, b, keep) in [(100, 100, 1), (10, 7, 1), (3, 8, 2)] {
            let (one, other) = (GuardAction::Rewind { back: a }, GuardAction::Rewind { back: b });
            let guard = settings(Some(one), Some(other));
            let (mut record, mut saved, mut done) = (GuardRecord::default(), vec![], 0u64);
            let mut stream = derive_stream(9, RandomPurpose::Source, [a, b, 0]);
            for _ in 0..5000 {
                if stream.uniform() < 0.05 {
                    let back = if stream.uniform() < 0.5 { a } else { b };
                    let to = find_rewind_target(&record, done, back);
                    assert!(to == 0 || saved.contains(&to), "{to} of {saved:?} after {done}");
                    assert!(to <= done);
                    record.rewinds.push(Rewind { at: done, to, why: String::new() });
                    saved.retain(|step| *step <= to);
                    done = to;
                }
                done += 1;
                if is_rewind_point(&guard, done) || done.is_multiple_of(13) {
                    saved.push(done);
                    let newest = saved.len().saturating_sub(keep);
                    let needed = |step: &u64| is_rewind_needed(&guard, &record, done, *step);
                    let kept = saved.iter().enumerate().filter(|(at, step)| *at >= newest || needed(step));
                    saved = kept.map(|(_, step)| *step).collect();
                }
            }
            assert!(record.rewinds.len() > 100 && saved.len() <= 8, "{saved:?}");
        }
    }

    #[test]
    fn the_summary_says_what_was_done() {
        let mut record = GuardRecord { skipped: 2, ..GuardRecord::default() };
        assert_eq!(record.describe().unwrap(), "guard: 2 updates left out");
        record.rewinds.push(Rewind { at: 130, to: 64, why: String::new() });
        assert_eq!(record.describe().unwrap(), "guard: 2 updates left out; went back from update 130 to 64");
        assert_eq!(GuardRecord::default().describe(), None);
    }
}
