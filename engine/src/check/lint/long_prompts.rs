//! Requests that are too long for the model's context. `check` knows bounds; their tokens are counted when the tokenizer is there, which is
//! before any training.

use crate::check::lint::capacity::prompt_over_context;
use crate::check::lint::checkpoint_folders::find_tokenizer_source;
use crate::check::lint::context::KnownContext;
use crate::check::lint::lineage::{Lineages, StoredContracts};
use crate::check::lint::sampler_paths::{PromptNumber, number_requests};
use crate::pipeline::config::{PromptKind, StageConfig};
use crate::pipeline::stage::{Stage, StageId, Stages};
use crate::text::diagnostic::Diagnostic;
use crate::text::display::count_noun;

/// A request whose tokens can be counted as soon as a tokenizer is there.
pub(crate) struct UncountedPrompt<'a> {
    /// The stage that asks.
    pub stage: &'a Stage,
    /// The stage that makes the tokenizer.
    pub tokenizer: StageId,
    /// What is asked.
    pub prompt: &'a PromptKind,
    number: PromptNumber,
    /// Tokens of the answer, with the gaps of an infill.
    answer: usize,
    /// Tokens of the model's context.
    most: usize,
    /// The stage that the weights start from.
    root: StageId,
}

/// All requests of `generate` stages and of probes whose context and answer are known.
pub(crate) fn list_uncounted_prompts(stages: &Stages) -> Vec<UncountedPrompt<'_>> {
    let stored = StoredContracts::default();
    let lineages = Lineages::new(stages, &stored);
    let mut found = Vec::new();
    for stage in stages {
        let (model, prompts) = match &stage.config {
            StageConfig::Generate(config) => (lineages.parent(stage), &config.prompts),
            StageConfig::Train(config) => match &config.probe {
                Some(probe) => (Some(stage), &probe.prompts),
                None => continue,
            },
            _ => continue,
        };
        let Some(model) = model else { continue };
        let Some(tokenizer) = find_tokenizer_source(&lineages, model) else { continue };
        let Some(context) = KnownContext::find(&lineages, model) else { continue };
        for (prompt, number) in prompts.iter().zip(number_requests(prompts)) {
            let answer = lineages.canvas(model).find_answer_length(prompt.most_tokens());
            let Some((answer, _)) = answer else { continue };
            let (tokenizer, prompt) = (tokenizer.id, &prompt.kind);
            let (most, root) = (context.tokens, context.root.id);
            found.push(UncountedPrompt { stage, tokenizer, prompt, number, answer, most, root });
        }
    }
    found
}

/// What is wrong with a request whose text takes so many tokens; `None` if it fits with its answer.
#[must_use]
pub(crate) fn judge_prompt(
    stages: &Stages,
    prompt: &UncountedPrompt<'_>,
    tokens: usize,
) -> Option<Diagnostic> {
    if tokens.saturating_add(prompt.answer) <= prompt.most {
        return None;
    }
    let stored = StoredContracts::default();
    let lineages = Lineages::new(stages, &stored);
    let context = KnownContext::find(&lineages, &stages[prompt.root])?;
    let probes = matches!(prompt.stage.config, StageConfig::Train(_));
    let place = if probes { prompt.number.probed_text_path() } else { prompt.number.text_path() };
    let (stage, takes) = (prompt.stage, count_noun(tokens, "token"));
    Some(prompt_over_context(stage, (stage.place(place), &takes, prompt.answer), context))
}
