//! Work of an earlier training that a run would not use.

use crate::text::display::{count_noun, format_duration};
use crate::text::shell::{format_settings, quote_always};

/// Seconds of work that a run may leave unused without being asked: an hour.
pub(crate) const LARGE_LOSS: f64 = 3600.0;

/// Updates of an earlier training of a stage that a run would not use.
#[derive(Clone, Debug, PartialEq)]
pub struct UnusedWork {
    /// Updates.
    pub updates: u64,
    /// Seconds that they took, as far as their metrics are left.
    pub seconds: f64,
    /// Whether the earlier training is finished.
    pub finished: bool,
    /// What is different now, one sentence each, with its place.
    pub changes: Vec<String>,
    /// The `--set` settings with which the earlier training was last run, if they are others than now.
    pub settings: Option<Vec<String>>,
    /// Whether it may be a mistake that it is not used, so that a run asks before it starts.
    pub mistakable: bool,
}

impl UnusedWork {
    /// The sentence of a plan about a training that has to start over.
    #[must_use]
    pub(crate) fn describe(&self) -> String {
        let updates = count_noun(self.updates, "update");
        let finished = if self.finished { ", of a finished training," } else { "" };
        format!("starts over from 0: {updates} of work{finished} are not used{}", self.describe_settings())
    }

    /// The line of a run about this work of `stage`.
    #[must_use]
    pub(crate) fn describe_loss(&self, stage: &str) -> String {
        let updates = count_noun(self.updates, "update");
        // Without metrics nobody knows.
        let time = match self.seconds > 0.0 {
            true => format!(", which took {}", format_duration(self.seconds)),
            false => String::new(),
        };
        format!("`{stage}`: {updates} of work are not used{time}{}", self.describe_settings())
    }

    /// With which settings the work was done, if they are others than now.
    fn describe_settings(&self) -> String {
        match self.settings.as_deref() {
            None => String::new(),
            Some([]) => "; that run had no `--set`".to_owned(),
            Some(settings) => format!("; that run had `{}`", format_settings(settings, quote_always)),
        }
    }
}
