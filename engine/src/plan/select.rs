//! `--until`, `--only` and `--from`: which stages of a plan run, and which of them run again.

use indexmap::IndexSet;

use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::StageId;
use crate::plan::planned::{Plan, PlanState};

/// The part of a pipeline that the user selects; the default is all of it. Each field is a stage name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Run this stage and everything that it needs.
    pub until: Option<String>,
    /// Run this stage and everything that depends on it again, even if finished.
    pub from: Option<String>,
    /// Run this stage alone; its inputs have to be finished.
    pub only: Option<String>,
}

impl Selection {
    /// Whether all stages are selected; `from` selects nothing, it only makes stages run again.
    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        self.until.is_none() && self.only.is_none()
    }

    /// Looks up the names, so that a typo is reported before anything else happens.
    ///
    /// # Errors
    /// A name that is not a stage of the pipeline.
    pub(crate) fn check_names(&self, pipeline: &Pipeline) -> Result<()> {
        let mut names = self.until.iter().chain(&self.from).chain(&self.only);
        names.try_for_each(|name| pipeline.find_stage(name).map(drop))
    }
}

impl Plan {
    /// Narrows the plan to the selection.
    ///
    /// # Errors
    /// A stage that does not exist, an `only` with unfinished inputs, or a `from` that no selected stage depends on.
    pub(crate) fn select(&mut self, pipeline: &Pipeline, selection: &Selection) -> Result<()> {
        if let Some(until) = &selection.until {
            self.wanted = find_ancestors(pipeline, pipeline.find_stage(until)?.id);
        }
        if let Some(only) = &selection.only {
            let stage = pipeline.find_stage(only)?;
            self.wanted = IndexSet::from([stage.id]);
            self.refuse_unfinished_inputs(pipeline, only)?;
        }
        if let Some(from) = &selection.from {
            self.make_again(pipeline, from)?;
        }
        Ok(())
    }

    fn refuse_unfinished_inputs(&self, pipeline: &Pipeline, name: &str) -> Result<()> {
        let stage = pipeline.find_stage(name)?;
        // The checkpoint that a branch starts from is there before its parent is finished.
        let branches = self.planned(stage.id).branch_point_exists;
        let inputs = stage.inputs.iter().filter(|input| !(branches && input.role == InputRole::From));
        let inputs = inputs.map(|input| self.planned(input.stage));
        let open: Vec<_> = inputs.filter(|planned| planned.state != PlanState::Cached).collect();
        let mut names: Vec<_> = open.iter().map(|planned| format!("`{}`", planned.key.name)).collect();
        names.dedup();
        if names.is_empty() {
            return Ok(());
        }
        let verb = if names.len() == 1 { "is" } else { "are" };
        let message = format!("stage `{name}` cannot run alone: {} {verb} not finished", names.join(", "));
        Err(Error::usage(message, format!("`--until {name}` also runs the missing stages before it")))
    }

    fn make_again(&mut self, pipeline: &Pipeline, from: &str) -> Result<()> {
        let again = find_descendants(pipeline, pipeline.find_stage(from)?.id);
        if !again.iter().any(|id| self.wanted.contains(id)) {
            let message = format!("no selected stage depends on stage `{from}`");
            return Err(Error::usage(message, "name an earlier stage with `--from`, or leave `--from` out"));
        }
        let wanted = &self.wanted;
        let stages = self.stages.iter_mut();
        for planned in stages.filter(|planned| again.contains(&planned.id) && wanted.contains(&planned.id)) {
            planned.state = PlanState::Again;
            planned.reasons = vec![format!("requested by `--from {from}`")];
        }
        Ok(())
    }
}

/// A stage and everything that it needs.
fn find_ancestors(pipeline: &Pipeline, id: StageId) -> IndexSet<StageId> {
    let mut found = IndexSet::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(pipeline.stage(id).inputs.iter().map(|input| input.stage));
        }
    }
    found
}

/// Everything that a stage needs, without the stage itself.
pub(crate) fn find_needed(pipeline: &Pipeline, id: StageId) -> IndexSet<StageId> {
    let mut found = find_ancestors(pipeline, id);
    found.shift_remove(&id);
    found
}

/// A stage and everything that depends on it; stages are in topological order.
pub(super) fn find_descendants(pipeline: &Pipeline, id: StageId) -> IndexSet<StageId> {
    let mut found = IndexSet::from([id]);
    for stage in &pipeline.stages {
        if stage.inputs.iter().any(|input| found.contains(&input.stage)) {
            found.insert(stage.id);
        }
    }
    found
}
