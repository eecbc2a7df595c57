//! Work of an earlier training that a run would not use.

use crate::text::display::{count_noun, format_duration};
use crate::text::shell::{format_settings, quote_always};

/// Seconds of work that a run may leave unused without being asked: an hour.
const LARGE_LOSS: f64 = 3600.0;

/// Updates of an earlier training of a stage that a run would not use.
#[derive(Clone, Debug, PartialEq)]
pub struct UnusedWork {
    /// Updates.
    pub updates: u64,
    /// Seconds that they took, as far as their metrics are left; `None` if none are.
    pub seconds: Option<f64>,
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
        let time = self.seconds.map(|seconds| format!(", which took {}", format_duration(seconds)));
        let time = time.unwrap_or_default();
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

/// The sum of some work in words, if it is so much that a run asks before it leaves that unused. So is what nobody knows the time of.
#[must_use]
pub(super) fn describe_large_loss(work: &[&UnusedWork]) -> Option<String> {
    let updates = || work.iter().map(|work| work.updates).sum::<u64>();
    match work.iter().map(|work| work.seconds).sum::<Option<f64>>() {
        None => Some(format!("{} of work, whose time is not known", count_noun(updates(), "update"))),
        Some(seconds) => (seconds > LARGE_LOSS).then(|| format!("{} of work", format_duration(seconds))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(updates: u64, seconds: Option<f64>) -> UnusedWork {
        UnusedWork { updates, seconds, finished: false, changes: vec![], settings: None, mistakable: true }
    }

    #[test]
    fn what_nobody_knows_the_time_of_is_asked() {
        let asked = |work: &[UnusedWork]| describe_large_loss(&work.iter().collect::<Vec<_>>());
        assert_eq!(asked(&[]), None);
        assert_eq!(asked(&[work(9, Some(1800.0)), work(9, Some(1800.0))]), None);
        assert_eq!(asked(&[work(9, Some(1800.0)), work(9, Some(1801.0))]).as_deref(), Some("1h00m of work"));
        let unknown = Some("29 updates of work, whose time is not known");
        assert_eq!(asked(&[work(9, Some(1.0)), work(20, None)]).as_deref(), unknown);
        assert_eq!(work(20, None).describe_loss("ar"), "`ar`: 20 updates of work are not used");
    }
}
