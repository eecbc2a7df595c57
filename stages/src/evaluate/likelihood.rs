//! The bound of the negative log-likelihood that measures a flow checkpoint on held-out data.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::train::{Loss, LossDivisor, LossPositions, TimeSampling, TimeSettings};

use crate::flow::path::{Corruptor, SourceTokens};
use crate::model::Model;
use crate::train::update::{FlowObjective, TrainingTask};

/// The bound of the negative log-likelihood of a path: the ELBO, valid only for a pure mask source, or the generalized KL,
/// valid for every source (Shaul et al., "Flow Matching with General Discrete Paths", 2024, equation 25).
fn choose_bound(mask_share: f64) -> (Loss, LossPositions) {
    if mask_share >= 1.0 {
        (Loss::Elbo, LossPositions::Corrupted)
    } else {
        (Loss::GeneralizedKl, LossPositions::Supervised)
    }
}

/// The task that measures held-out likelihood: the bound per token, in the model's blocks if it has some, with uncapped
/// weights. A cap would make training more stable, but then the sum is no longer a bound.
pub(super) fn build_likelihood_task(model: &Model) -> Result<TrainingTask, Failure> {
    let contract = model.flow_contract()?;
    let path = model.path()?;
    let (loss, over) = choose_bound(path.mask_share);
    Ok(TrainingTask::Flow(FlowObjective {
        corruptor: Corruptor {
            path,
            tokens: SourceTokens { mask: contract.mask, used: contract.used },
            at_least: 0,
        },
        loss,
        over,
        normalise: LossDivisor::Tokens,
        max_weight: None,
        time: TimeSettings { sampling: TimeSampling::Stratified, from: 0.0, to: 1.0, at_least_masked: 0 },
        shift: contract.shift,
        time_per_row: false,
        block: model.block(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_not_the_mask_alone_is_bounded_by_the_generalized_kl() {
        assert_eq!(choose_bound(1.0), (Loss::Elbo, LossPositions::Corrupted));
        for mask_share in [0.0, 0.9] {
            assert_eq!(choose_bound(mask_share), (Loss::GeneralizedKl, LossPositions::Supervised));
        }
    }
}
