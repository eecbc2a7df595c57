//! Tells how long training waited until the first rows of its windows were there.

use fmflow_engine::run::execute::Job;

use super::setup::TrainingSetup;
use crate::window::WindowRows;

/// What was not told yet about the wait for the first rows.
pub(super) struct DataWait<'a, 'b> {
    windows: Vec<&'a WindowRows<'b>>,
}

impl<'a, 'b> DataWait<'a, 'b> {
    /// Nothing is told about rows that are all there.
    pub(super) fn new(setup: &'a TrainingSetup<'b>) -> Self {
        Self { windows: setup.windows() }
    }

    /// Tells it after the first update of this run.
    pub(super) fn tell_first(&mut self, job: &Job<'_>) {
        for window in self.windows.drain(..) {
            let seconds = window.waited().as_secs_f64();
            job.report.event(&format!("waited {seconds:.1} s for the first rows of {}", window.name()));
        }
    }
}
