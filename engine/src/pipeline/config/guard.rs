//! Settings of the guard of a training stage.

/// What happens when training goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuardSettings {
    /// When training counts as diverged although every number is finite. Not part of the fingerprint.
    pub diverged: DivergenceSettings,
    /// What happens to an update whose loss or gradient is not finite; `None`: it ends the stage.
    pub non_finite: Option<NonFiniteGuard>,
    /// What happens to an update whose loss jumps; `None`: nothing.
    pub spike: Option<SpikeGuard>,
}

impl GuardSettings {
    /// Updates between the states that are kept to go back to, for each rule that goes back.
    pub fn list_rewinds(&self) -> impl Iterator<Item = u64> {
        let actions = [self.non_finite.map(|rule| rule.action), self.spike.map(|rule| rule.action)];
        actions.into_iter().flatten().filter_map(|action| match action {
            GuardAction::Rewind { back } => Some(back),
            GuardAction::Skip | GuardAction::Stop => None,
        })
    }

    /// Most states that are kept to go back to.
    #[must_use]
    pub(crate) fn count_rewind_states(&self) -> u64 {
        2 * self.list_rewinds().count() as u64
    }
}

/// What is done about an update that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardAction {
    /// It is left out.
    Skip,
    /// The stage goes back to an earlier state and leaves out the rows since.
    Rewind {
        /// Updates between the states that are kept for it. The stage goes back to the last but one.
        back: u64,
    },
    /// The stage fails.
    Stop,
}

/// What happens to an update whose loss or gradient is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonFiniteGuard {
    /// What is done.
    pub action: GuardAction,
    /// How often in a row; once more, and the stage fails.
    pub limit: u64,
}

/// What happens to an update whose loss jumps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpikeGuard {
    /// What is done.
    pub action: GuardAction,
    /// Standard deviations above the mean that are a jump.
    pub sigma: f64,
    /// Updates of the mean and the standard deviation.
    pub window: usize,
    /// How often in the stage; once more, and it fails.
    pub limit: u64,
}

/// When training counts as diverged although every number is finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DivergenceSettings {
    /// Whether the stage fails; otherwise it only reports.
    pub stop: bool,
    /// How far above chance and above the start of the stage a held-out cross-entropy is worse, as a share of the larger one.
    pub margin: f64,
    /// How many worse measurements in a row end the stage.
    pub limit: u64,
    /// How many times the norm of the weights at the start of the stage their norm may reach.
    pub growth: f64,
}
