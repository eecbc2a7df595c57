//! Lints of text that grows: the training that teaches it, and the requests that let a gap grow.

use crate::check::lint::lineage::{KnownContract, Lineages};
use crate::check::lint::sampler_paths::{PromptNumber, SamplerPaths, number_requests};
use crate::pipeline::config::train::Objective;
use crate::pipeline::config::{AttentionSchedule, GenerateConfig, Prompt, TrainConfig};
use crate::pipeline::field_path::{generate, train};
use crate::pipeline::origins::ContractFact;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// Reports a training that cannot teach a gap to grow.
pub(super) fn lint_growing_training(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let Objective::Flow { path, growth: Some(growth), .. } = &config.objective else { return };
    let report = |message: &str| {
        Diagnostic::new(Code::GrowthMismatch, message).at(stage.place(train::GROW_MERGE), "merges masks")
    };
    if path.mask_share < 1.0 {
        let found = report("text grows where masks stand, but some noise is not the mask")
            .also(stage.place(train::OBJECTIVE_PATH), "a source that is not masks alone");
        sink.push(found.help("use a path with `source \"mask\"`, or remove `grow`"));
    }
    if !matches!(config.attention, AttentionSchedule::Bidirectional | AttentionSchedule::Annealed { .. }) {
        let found = report("a gap grows by what stands on both sides of it, which the model does not see")
            .also(stage.place(train::ATTENTION), "sees no later text");
        sink.push(found.help("write `attention \"bidirectional\"`, or remove `grow`"));
    }
    if growth.merge == 0.0 && growth.delete == 0 {
        sink.push(report("nothing grows: no mask is merged, and none is appended").help("write `merge=0.5`"));
    }
    if growth.expand_token == growth.delete_token {
        let found = Diagnostic::new(Code::GrowthMismatch, "one token cannot mean two masks and none")
            .at(stage.place(train::GROW_DELETE_TOKEN), "also the expand token");
        let help = match growth.delete_token.as_str() {
            "<|fim_middle|>" => "write `delete-token=\"<|fim_pad|>\"`",
            _ => "write `expand-token=\"<|fim_middle|>\"`",
        };
        sink.push(found.help(help));
    }
}

/// Reports gaps that are to grow, for checkpoints and samplers that cannot.
pub(super) fn check_growing_gaps(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &GenerateConfig,
    sink: &mut Sink,
) {
    let known =
        lineages.parent(stage).and_then(|checkpoint| Some((checkpoint, lineages.contract(checkpoint)?)));
    let numbered = config.prompts.iter().zip(number_requests(&config.prompts));
    let growing = numbered.zip(SamplerPaths::for_prompts(stage, config));
    for ((prompt, number), paths) in growing.filter(|((prompt, _), _)| prompt.grow.is_some()) {
        sink.extend(known.and_then(|known| untrained_growth(stage, number, known)));
        if !prompt.sampler.lets_grow() {
            sink.push(unfit_sampler(stage, (prompt, number), paths));
        }
    }
}

fn untrained_growth(
    stage: &Stage,
    number: PromptNumber,
    (checkpoint, known): (&Stage, &KnownContract<'_>),
) -> Option<Diagnostic> {
    if known.contract.growth.is_some() {
        return None;
    }
    let message = format!("`{}` was not trained for text that grows", checkpoint.name);
    let found = Diagnostic::new(Code::GrowthMismatch, message)
        .at(stage.place(generate::NTH_INFILL_GROW.nth(number.number)), "no token stands for more masks")
        .help("remove `grow=`; `fmflow explain grow` shows how to train it");
    Some(known.show_fact(ContractFact::Growth, found, "trained without `grow`"))
}

fn unfit_sampler(
    stage: &Stage,
    (prompt, number): (&Prompt, PromptNumber),
    paths: SamplerPaths,
) -> Diagnostic {
    let message = format!(
        "sampler `{}` counts masks and places before it writes, so that no gap can grow",
        prompt.sampler.name
    );
    Diagnostic::new(Code::GrowthMismatch, message)
        .at(stage.place(paths.sampler), "not with a gap that grows")
        .also(stage.place(generate::NTH_INFILL_GROW.nth(number.number)), "grows")
        .help("declare `sampler \"sure\" kind=\"threshold\" threshold=0.9` and write `sampler=\"sure\"`, or remove `grow=`")
}
