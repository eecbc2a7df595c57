//! The time that a whole run takes, from the speed of the training that runs.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::plan::{Plan, PlanState};
use crate::text::display::format_duration;

/// A training must have run for so long before the budget is compared with its speed.
const SETTLED: Duration = Duration::from_secs(30);

/// What a training has to compute.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TrainingLoad {
    /// Name of the stage.
    pub name: String,
    /// Updates that are left.
    pub updates: f64,
    /// Floating-point operations of an update.
    pub flops: f64,
}

/// The trainings of a run, and what its author is willing to spend.
#[derive(Debug)]
pub(super) struct RunTime {
    start: Instant,
    /// Seconds of the budget, if there is one and it was not compared yet.
    budget: Mutex<Option<f64>>,
    /// Trainings that did not start yet, and those that run.
    loads: Mutex<(Vec<TrainingLoad>, Vec<TrainingLoad>)>,
}

impl RunTime {
    /// Of a run that starts now.
    pub(super) fn new(budget: Option<f64>, loads: Vec<TrainingLoad>) -> Self {
        Self { start: Instant::now(), budget: Mutex::new(budget), loads: Mutex::new((loads, Vec::new())) }
    }

    /// A stage starts.
    pub(super) fn begin(&self, stage: &str) {
        let (waiting, running) = &mut *self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = waiting.iter().position(|load| load.name == stage) {
            running.push(waiting.remove(at));
        }
    }

    /// Seconds that all later trainings take if they compute as fast as this stage, which takes `seconds` for an update. `None` if it is
    /// the last one, or no training.
    pub(super) fn estimate_later(&self, stage: &str, seconds: f64) -> Option<f64> {
        let (waiting, running) = &*self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        let own = running.iter().find(|load| load.name == stage)?;
        let later: f64 = waiting.iter().map(|load| load.updates * load.flops).sum();
        (later > 0.0 && own.flops > 0.0).then(|| later * seconds / own.flops)
    }

    /// Tells once that the run takes longer than the budget: `rest` seconds from now.
    pub(super) fn exceeds_budget(&self, now: Instant, rest: f64) -> Option<String> {
        let passed = now.duration_since(self.start);
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let all = passed.as_secs_f64() + rest;
        let limit = budget.filter(|limit| passed >= SETTLED && all > *limit)?;
        *budget = None;
        Some(format!(
            "at this speed the trainings of this run take {}, more than the budget of {}",
            format_duration(all),
            format_duration(limit)
        ))
    }
}

/// The trainings that a plan has left.
pub(super) fn list_loads(pipeline: &Pipeline, plan: &Plan) -> Vec<TrainingLoad> {
    let open = plan.wanted().filter(|planned| planned.state != PlanState::Cached);
    let load = open.filter_map(|planned| {
        let StageConfig::Train(config) = &pipeline.stage(planned.id).config else { return None };
        let done = match planned.state {
            PlanState::Resume { step, .. } => step,
            _ => 0,
        };
        let flops = planned.cost.training.as_ref()?.flops? / config.steps.max(1) as f64;
        Some(TrainingLoad {
            name: planned.key.name.clone(),
            updates: config.steps.saturating_sub(done) as f64,
            flops,
        })
    });
    load.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(name: &str, updates: f64, flops: f64) -> TrainingLoad {
        TrainingLoad { name: name.into(), updates, flops }
    }

    #[test]
    fn later_trainings_take_the_time_of_their_arithmetic() {
        let run = RunTime::new(None, vec![load("a", 100.0, 2e9), load("b", 10.0, 8e9), load("c", 5.0, 4e9)]);
        assert_eq!(run.estimate_later("a", 0.5), None, "it did not start");
        run.begin("a");
        // 80 + 20 GFLOP at 2 GFLOP in half a second.
        assert_eq!(run.estimate_later("a", 0.5), Some(25.0));
        run.begin("b");
        assert_eq!(run.estimate_later("b", 1.0), Some(2.5));
        run.begin("c");
        assert_eq!(run.estimate_later("c", 1.0), None, "nothing comes later");
        run.begin("rows");
        assert_eq!(run.estimate_later("rows", 1.0), None);
    }

    #[test]
    fn a_budget_is_told_once_and_not_in_the_first_moments() {
        let run = RunTime::new(Some(100.0), Vec::new());
        let at = |seconds| run.start + Duration::from_secs(seconds);
        assert_eq!(run.exceeds_budget(at(10), 500.0), None);
        assert_eq!(run.exceeds_budget(at(40), 50.0), None);
        let told = run.exceeds_budget(at(40), 140.0).unwrap();
        assert!(told.ends_with("take 3m00s, more than the budget of 1m40s"), "{told}");
        assert_eq!(run.exceeds_budget(at(50), 500.0), None);
    }
}
