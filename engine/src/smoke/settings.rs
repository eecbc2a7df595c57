//! Settings of the stages that convert, measure and write.

use crate::pipeline::config::sample::{
    AnswerLength, Asking, BenchmarkSettings, ExactMatch, GapLength, WritingSettings,
};
use crate::pipeline::config::{
    ConvertConfig, EvaluateConfig, MaskToken, Prompt, PromptKind, Sampler, SamplerKind, TimeConditioning,
    TokenizerChoice,
};
use crate::smoke::changes::Changes;
use crate::smoke::problems::PROBLEMS;
use crate::smoke::sizes::{shrink_answer, shrink_block};

/// Most passes of a sampler that is given their number.
const PASSES: usize = 4;
/// Most rows, times and answers of a measurement.
const MEASURED: usize = 2;
/// Most width of time conditioning.
const TIME_RANK: usize = 8;
/// A row that every vocabulary has.
const FIRST_ROWS: u32 = 256;

/// A small vocabulary has other rows, so the mask is its first reserved one.
pub(super) fn shrink_conversion(config: &mut ConvertConfig, changes: &mut Changes) {
    if let MaskToken::Id(id) = config.mask_token {
        match config.tokenizer {
            TokenizerChoice::None => config.mask_token = MaskToken::Id(id.min(FIRST_ROWS)),
            TokenizerChoice::Beside | TokenizerChoice::Named => {
                changes.say(format!("mask-token \"reserved\" instead of {id}"));
                config.mask_token = MaskToken::Reserved;
            }
        }
    }
    if let TimeConditioning::AdaLn { rank } = &mut config.time_conditioning {
        changes.lower("time-conditioning rank", rank, TIME_RANK);
    }
}

pub(super) fn shrink_evaluation(config: &mut EvaluateConfig, changes: &mut Changes) {
    for measured in &mut config.held_out {
        changes.lower("times", &mut measured.times, MEASURED);
        changes.lower("draws", &mut measured.draws, MEASURED);
        changes.lower("rows", &mut measured.rows, MEASURED);
    }
    config.exact_match.iter_mut().for_each(|asked| shrink_match(asked, changes));
    config.benchmarks.iter_mut().for_each(|benchmark| shrink_benchmark(benchmark, changes));
    if !config.require.is_empty() {
        changes.say("no `require`".to_owned());
        config.require.clear();
    }
}

pub(super) fn shrink_match(asked: &mut ExactMatch, changes: &mut Changes) {
    shrink_sampler(&mut asked.sampler, changes);
    if asked.limit.is_none_or(|limit| limit > MEASURED) {
        changes.say(format!("the first {MEASURED} answers"));
        asked.limit = Some(MEASURED);
    }
}

pub(super) fn shrink_benchmark(benchmark: &mut BenchmarkSettings, changes: &mut Changes) {
    match &mut benchmark.asking {
        Asking::Write(writing) => shrink_writing(writing, changes),
        Asking::Choose(choosing) => {
            changes.lower("times", &mut choosing.times, MEASURED);
            changes.lower("draws", &mut choosing.draws, MEASURED);
        }
    }
    if benchmark.problems.is_none_or(|problems| problems > PROBLEMS) {
        changes.say(format!("problems {PROBLEMS}"));
        benchmark.problems = Some(PROBLEMS);
    }
}

fn shrink_writing(writing: &mut WritingSettings, changes: &mut Changes) {
    shrink_sampler(&mut writing.sampler, changes);
    let block = writing.sampler.block;
    match &mut writing.length {
        AnswerLength::AtMost(tokens) => changes.lower("new-tokens", tokens, shrink_answer(*tokens, block)),
        AnswerLength::Gap(GapLength::Known(tokens)) => {
            changes.lower("length", tokens, shrink_answer(*tokens, block));
        }
        AnswerLength::Gap(GapLength::Chosen(shortest, longest)) => {
            let most = shrink_answer(*longest, block);
            changes.lower("length", longest, most);
            changes.lower("shortest", shortest, most);
        }
        AnswerLength::Gap(GapLength::Reference) => {}
    }
    changes.lower("samples", &mut writing.samples, MEASURED);
}

pub(super) fn shrink_prompt(prompt: &mut Prompt, changes: &mut Changes) {
    shrink_sampler(&mut prompt.sampler, changes);
    let block = prompt.sampler.block;
    if let PromptKind::Infill { more, .. } = &mut prompt.kind
        && !more.is_empty()
    {
        let all = prompt.new_tokens.as_mut().expect("gaps have lengths");
        let mut first = *all - more.iter().map(|gap| gap.tokens).sum::<usize>();
        changes.lower("length", &mut first, 1);
        more.iter_mut().for_each(|gap| changes.lower("length", &mut gap.tokens, 1));
        *all = first + more.iter().map(|gap| gap.tokens).sum::<usize>();
        return;
    }
    if let Some(tokens) = &mut prompt.new_tokens {
        let most = shrink_answer(*tokens, block);
        changes.lower("new-tokens", tokens, most);
        changes.lower_some("shortest", &mut prompt.shortest, most);
        changes.lower_some("grow", &mut prompt.grow, most);
    }
}

fn shrink_sampler(sampler: &mut Sampler, changes: &mut Changes) {
    // What has to match may not fit into the few tokens of an answer.
    if sampler.constraint.take().is_some() {
        changes.say("no `constraint`".to_owned());
    }
    if let Some(block) = &mut sampler.block {
        changes.lower("block", block, shrink_block(*block));
    }
    match &mut sampler.kind {
        SamplerKind::Reveal { passes, .. } | SamplerKind::Euler { passes, .. } => {
            changes.lower("passes", passes, PASSES);
        }
        SamplerKind::Threshold { .. }
        | SamplerKind::EntropyBound { .. }
        | SamplerKind::Edit { .. }
        | SamplerKind::Autoregressive
        | SamplerKind::Speculative { .. } => {}
    }
}
