//! Requests that do not fit into the model's context: their tokens are counted as soon as the tokenizer is there, before any training, and
//! not by the last stage.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use indexmap::{IndexMap, IndexSet};

use crate::check::lint::{UncountedPrompt, judge_prompt, list_uncounted_prompts};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::pipeline::stage::StageId;
use crate::plan::{Plan, PlanState};
use crate::run::execute::Execute;
use crate::run::runner::Runner;
use crate::store::Store;
use crate::text::diagnostic::Diagnostic;

/// Refuses a run whose requests do not fit, as far as their tokenizers are in the store.
pub(super) fn refuse_long_prompts(runner: &Runner<'_>) -> Result<()> {
    let Some(execute) = runner.execute else { return Ok(()) };
    refuse_found(find_long_prompts(runner.pipeline, runner.plan, runner.store, execute))
}

/// Tokenizers by which a run has counted: each of them counts once.
#[derive(Debug, Default)]
pub(super) struct CountedTokenizers(Mutex<IndexSet<PathBuf>>);

impl CountedTokenizers {
    /// As [`refuse_long_prompts`], of the tokenizers that this run has made since. Other trainings wait meanwhile.
    pub(super) fn refuse_long_prompts(&self, runner: &Runner<'_>) -> Result<()> {
        let Some(execute) = runner.execute else { return Ok(()) };
        let mut asked = group_by_tokenizer(runner.pipeline, runner.plan, runner.store);
        let made = |tokenizer: &UncountedPrompt<'_>| {
            runner.plan.planned(tokenizer.tokenizer).state != PlanState::Cached
        };
        asked.retain(|_, prompts| prompts.first().is_some_and(made));
        self.judge_once(asked, |asked| refuse_found(judge_all(runner.pipeline, asked, execute)))
    }

    /// Judges what is asked of tokenizers that have not counted yet. One whose requests are refused counts again for the next training: else
    /// that one would train to its end.
    fn judge_once<T>(
        &self,
        mut asked: IndexMap<PathBuf, T>,
        judge: impl FnOnce(IndexMap<PathBuf, T>) -> Result<()>,
    ) -> Result<()> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|folder, _| !counted.contains(folder));
        let folders: Vec<PathBuf> = asked.keys().cloned().collect();
        judge(asked)?;
        counted.extend(folders);
        Ok(())
    }
}

fn refuse_found(found: Vec<(String, Diagnostic)>) -> Result<()> {
    let Some((stage, _)) = found.first() else { return Ok(()) };
    let stage = stage.clone();
    let findings = found.into_iter().filter(|(other, _)| *other == stage).map(|(_, finding)| finding);
    Err(Error::Contradiction { findings: findings.collect(), stage })
}

/// Requests of the selected stages that do not fit, with the stages that ask, as far as their tokenizers are in the store. What is wrong
/// with a tokenizer that cannot be read is told by the first stage that opens it.
#[must_use]
pub(crate) fn find_long_prompts(
    pipeline: &Pipeline,
    plan: &Plan,
    store: &Store,
    execute: &dyn Execute,
) -> Vec<(String, Diagnostic)> {
    judge_all(pipeline, group_by_tokenizer(pipeline, plan, store), execute)
}

/// What is asked by the selected stages, by the folder of the tokenizer, as far as that is in the store.
fn group_by_tokenizer<'a>(
    pipeline: &'a Pipeline,
    plan: &Plan,
    store: &Store,
) -> IndexMap<PathBuf, Vec<UncountedPrompt<'a>>> {
    let asked: Vec<StageId> = plan.running().into_iter().map(|planned| planned.id).collect();
    let mut by_tokenizer: IndexMap<PathBuf, Vec<UncountedPrompt<'_>>> = IndexMap::new();
    for prompt in list_uncounted_prompts(&pipeline.stages) {
        let key = &plan.planned(prompt.tokenizer).key;
        let folder = store.artifact(&key.name, &key.fingerprint);
        // What is to be made again is not the one that will be there.
        let stays = !matches!(plan.planned(prompt.tokenizer).state, PlanState::Again | PlanState::Corrupt(_));
        if asked.contains(&prompt.stage.id) && stays && store.vfs().stat(&folder).is_ok() {
            by_tokenizer.entry(folder).or_default().push(prompt);
        }
    }
    by_tokenizer
}

fn judge_all(
    pipeline: &Pipeline,
    by_tokenizer: IndexMap<PathBuf, Vec<UncountedPrompt<'_>>>,
    execute: &dyn Execute,
) -> Vec<(String, Diagnostic)> {
    let mut found = Vec::new();
    for (folder, prompts) in by_tokenizer {
        let kinds: Vec<_> = prompts.iter().map(|prompt| prompt.prompt).collect();
        let Ok(counts) = execute.count_prompt_tokens(&folder, &kinds) else { continue };
        for (prompt, tokens) in prompts.iter().zip(counts) {
            let finding = tokens.and_then(|tokens| judge_prompt(&pipeline.stages, prompt, tokens));
            found.extend(finding.map(|finding| (prompt.stage.name.clone(), finding)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_training_beside_a_refused_one_is_refused() {
        let counted = CountedTokenizers::default();
        let asked = || IndexMap::from([(PathBuf::from("bpe"), ())]);
        let refuse = |_| Err(Error::usage("too long", "shorten it"));
        assert!(counted.judge_once(asked(), refuse).is_err());
        assert!(counted.judge_once(asked(), refuse).is_err(), "the second training asks, too");
        counted.judge_once(asked(), |_| Ok(())).unwrap();
        let nothing = |asked: IndexMap<PathBuf, ()>| {
            assert!(asked.is_empty(), "it has counted");
            Ok(())
        };
        counted.judge_once(asked(), nothing).unwrap();
    }
}
