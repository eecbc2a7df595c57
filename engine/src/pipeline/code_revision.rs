//! How often the code behind each kind of stage has changed its results.

use crate::pipeline::config::sample::ExactMatch;
use crate::pipeline::config::{
    DatasetFormat, EvaluateConfig, ExportFormat, Prompt, RowsConfig, StageConfig, TokenizerConfig,
};
use crate::pipeline::shards::has_independent_records;
use crate::pipeline::source_facts::plan_shards;
use crate::pipeline::stage::Stage;

/// Revision of the code behind a kind of stage. Raise it when the same inputs give different bytes.
///
/// History: all kinds start at 1.
/// - 2: `rows` formats conversations with the tokenizer's chat template; `convert` keeps reference logits in its certificate, and `train`
///   passes the certificate on; `evaluate` and `generate` start a uniform or mixed source from the source of training, and top-k keeps ties.
/// - 3: `train` does not count a corrupted first token in the divisor if the shift leaves it without a term; `evaluate` bounds
///   the likelihood of a uniform or mixed source by the generalized KL.
/// - 2 of `fetch`: it brings the `fmflow.json` of an exported folder along, which is the contract of the model.
/// - 4: `evaluate` skips answers that do not fit into the canvas or the context, and lists the turns before a question.
/// - 3 of `generate` and 5 of `evaluate`: an answer also ends with the end tokens that config.json names.
/// - Later, each kind by itself: `fetch` 2, `random-init` 2, `convert` 4 and `train` 4 carry the settings of generation, all end
///   tokens and all files of the tokenizer; `export` 2 states what a flow model needs in config.json, in the settings of generation
///   and in the tokenizer.
/// - 4 of `generate`: samples have `tokens_per_pass`, passes that would write nothing are left out, and the autoregressive baseline has a
///   key-value cache.
/// - The same revisions of `train`, `convert`, `evaluate` and `generate` compute with fused operations, whose sums have another
///   order. 3 of `rows` counts what the fields of a document leave out.
/// - 5 of `train` and 6 of `evaluate`: the head and its loss are one operation, whose sums have another order.
/// - 8 of `evaluate` with a code benchmark: inputs of EvalPlus keep all their digits, and a problem whose tests nobody can pass is no
///   failure of the program.
/// - 4 of `rows`, 5 of `generate` and 7 of `evaluate`: the name of a mask token in a turn is text and never the mask.
/// - 5 of `rows` and 6 of `train`: rows are made in shards, and a pass visits them in groups; of a dataset of several groups only the
///   first has held-out rows.
/// - 10 of `evaluate`: a likelihood is divided by the tokens that are predicted; with a shift, the first one of a document is not. Exact
///   matches count tokens and passes, and each line of answers has its dataset.
/// - 11 of `evaluate`: all choices of a problem are charged for the same part of the text, the name of a mask token in them is text, and an
///   answer that was never written fails. Exact match asks for a later answer with the ids of training.
/// - 6 of `rows` and 2 of `tokenizer`: of several answers in a row each is learned; before, a dataset of such conversations was at fault, or
///   had them skipped.
/// - 12 of `evaluate`: a gap of blanks is an answer; gaps of known length are written in batches. 13: its report has batch and template.
/// - 14 of `evaluate` with a code benchmark: in a test of HumanEval the function has its own name; `StopIteration` fails a program; its sleep
///   is bounded in all.
/// - 3 of `export`: the README of a checkpoint trained with strides says how it drafts, and that it is an autoregressive model.
/// - 7 of `train` with an adapter: its result shares the weights of its base, and the change is added to them in a fixed order of sums.
/// - 6 of `generate` with a constraint on a gap at the end of a text: the end of the text does not show in it, where it is no special token.
/// - 3 of `tokenizer` with a dataset that leaves records out: its summary says how many.
/// - 7 of `rows` with a file that is divided into parts, or one of a command, whose size nobody knows: a large file was one shard.
/// - 2 of `frontier` and 15 of `evaluate` with an approximate cache: both say how often it changed an answer.
/// - 4 of `export` with `format="sdar"`: its ends are all at which the expected answers stop.
#[must_use]
pub fn find_stage_revision(stage: &Stage) -> u32 {
    match &stage.config {
        StageConfig::Rows(config) if divides_files(stage, config) => 7,
        config => find_code_revision(config),
    }
}

/// Whether the rows are made of a file that is divided, or may be.
fn divides_files(stage: &Stage, config: &RowsConfig) -> bool {
    stage.all_sources().any(|source| {
        let Some(dataset) = config.dataset_called(&source.name) else { return false };
        let shards = config.list_held_out_parts(&source.name).map(|part| part.shard_bytes);
        let divides = |shard_bytes| plan_shards(source, dataset, shard_bytes).divides_files();
        (source.made.is_some() && has_independent_records(dataset))
            || shards.chain([config.shard_bytes]).any(divides)
    })
}

/// As [`find_stage_revision`], of rows without such files.
#[must_use]
pub fn find_code_revision(config: &StageConfig) -> u32 {
    match config {
        StageConfig::Frontier(config) if has_approximate_cache(&config.points) => 2,
        StageConfig::Command(_)
        | StageConfig::Average(_)
        | StageConfig::Frontier(_)
        | StageConfig::Report => 1,
        StageConfig::Tokenizer(config) if leaves_records_out(config) => 3,
        StageConfig::Tokenizer(_) | StageConfig::Fetch(_) | StageConfig::RandomInit(_) => 2,
        StageConfig::Export(config) if config.format == ExportFormat::Sdar => 4,
        StageConfig::Export(_) => 3,
        StageConfig::Convert(_) => 4,
        StageConfig::Generate(config) if config.prompts.iter().any(Prompt::ends_in_constrained_gap) => 6,
        StageConfig::Generate(_) => 5,
        StageConfig::Train(config) if config.adapter.is_some() => 7,
        StageConfig::Rows(_) | StageConfig::Train(_) => 6,
        StageConfig::Evaluate(config) if has_approximate_cache(&config.exact_match) => 15,
        StageConfig::Evaluate(config) if runs_programs(config) => 14,
        StageConfig::Evaluate(_) => 13,
    }
}

fn leaves_records_out(config: &TokenizerConfig) -> bool {
    let TokenizerConfig::ByteLevelBpe { datasets, .. } = config else { return false };
    datasets.iter().any(|dataset| {
        let names_contents = matches!(dataset.format, DatasetFormat::Contents(_));
        dataset.skipped.is_some() || dataset.drops_duplicates || !dataset.filters.is_empty() || names_contents
    })
}

/// Whether an exact match says what an approximate cache changed.
fn has_approximate_cache(matches: &[ExactMatch]) -> bool {
    matches.iter().any(|exact| exact.sampler.cache.is_approximate())
}

fn runs_programs(config: &EvaluateConfig) -> bool {
    config.benchmarks.iter().any(|benchmark| benchmark.layout.runs_programs())
}

#[cfg(test)]
mod tests {
    use fmflow_grade::problem::Layout;

    use super::*;
    use crate::pipeline::config::sample::{Asking, BenchmarkSettings, ChoiceDivisor, ChoosingSettings};

    #[test]
    fn grading_of_programs_changes_no_other_evaluation() {
        let revision = |layouts: &[Layout]| {
            let choosing = ChoosingSettings { normalise: ChoiceDivisor::None, times: 1, draws: 1 };
            let benchmark = |layout: &Layout| BenchmarkSettings {
                name: "b".into(),
                layout: *layout,
                problems: None,
                asking: Asking::Choose(choosing),
            };
            find_code_revision(&StageConfig::Evaluate(EvaluateConfig {
                checkpoints: vec![],
                held_out: vec![],
                exact_match: vec![],
                require: vec![],
                benchmarks: layouts.iter().map(benchmark).collect(),
                unsafe_no_sandbox: false,
            }))
        };
        assert_eq!(revision(&[]), 13);
        assert_eq!(revision(&[Layout::Gsm8k, Layout::Choice]), 13);
        assert_eq!(revision(&[Layout::Gsm8k, Layout::Mbpp]), 14);
    }
}
