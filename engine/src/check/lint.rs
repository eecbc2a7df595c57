//! Lints for what the field table cannot express: contradictions between stages, and declarations without effect.

mod adapter;
mod attention;
mod benchmarks;
mod branch;
mod capacity;
mod card;
mod chat_templates;
mod checkpoint_folders;
mod checkpoint_use;
mod context;
mod conversations;
mod declarations;
mod estimates;
mod flow_objective;
mod growth;
mod guards;
mod lineage;
mod long_prompts;
mod optimizer;
mod peak_rate;
mod probes;
mod requests;
mod rows;
mod sampler_cache;
mod sampler_fit;
mod sampler_paths;
mod sampling;
mod strides;
mod teacher;
mod training;
mod unsupported;
mod vocabulary;
mod watching;
mod windows;

use indexmap::IndexMap;

pub(crate) use declarations::SharedRefusals;
pub(crate) use long_prompts::{UncountedPrompt, judge_prompt, list_uncounted_prompts};
pub use optimizer::{PARAMETER_GROUPS, TIME_PARAMETER_GROUPS};

use crate::check::lint::checkpoint_folders::CheckpointFolders;
use crate::check::lint::lineage::{Lineages, StoredContracts};
use crate::check::options::CheckOptions;
use crate::language::names::Declarations;
use crate::language::record::Record;
use crate::pipeline::Pipeline;
use crate::pipeline::config::{EvaluateConfig, StageConfig, TrainConfig};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::{Stage, Stages};
use crate::text::diagnostic::{Code, Diagnostic, Severity, Sink};
use crate::text::place::Span;

/// Runs all lints on the stages that could be decoded. Features that `run` would refuse are added to `refusals`.
pub(crate) fn lint_pipeline(
    world: &Declarations,
    stages: &Stages,
    options: &CheckOptions,
    refusals: &mut Vec<(Span, String)>,
    sink: &mut Sink,
) {
    let folders = CheckpointFolders::open(stages);
    folders.report_faults(stages, sink);
    let stored = folders.contracts();
    let lineages = &Lineages::new(stages, &stored);
    folders.check_tokenizers(lineages, sink);
    conversations::lint_conversations(&folders, lineages, sink);
    for stage in stages {
        match &stage.config {
            StageConfig::Train(config) => {
                lint_train_stage(world, lineages, (stage, config), sink);
                chat_templates::lint_chat_templates(&folders, lineages, stage, sink);
            }
            StageConfig::Convert(config) => {
                checkpoint_use::lint_conversion(lineages, stage, config, sink);
                vocabulary::lint_mask_token(lineages, &folders, stage, config, sink);
            }
            StageConfig::Rows(config) => {
                capacity::check_canvas_length(stage, config, sink);
                rows::lint_rows(stage, config, sink);
            }
            StageConfig::Evaluate(config) => lint_evaluation(lineages, stage, config, sink),
            StageConfig::Frontier(config) => {
                attention::check_frontier_blocks(lineages, stage, config, sink);
                lint_evaluation(lineages, stage, &config.declared, sink);
            }
            StageConfig::Export(config) => adapter::lint_export(lineages, stage, config, sink),
            StageConfig::Generate(config) => {
                checkpoint_use::lint_generation_checkpoint(lineages, stage, config, sink);
                sampling::lint_generation_sampling(lineages, stage, config, sink);
                capacity::check_prompt_lengths(lineages, stage, config, sink);
                requests::lint_requests(lineages, stage, config, sink);
            }
            _ => {}
        }
    }
    declarations::lint_declarations(world, options, refusals, sink);
}

fn lint_train_stage(
    world: &Declarations,
    lineages: &Lineages<'_>,
    (stage, config): (&Stage, &TrainConfig),
    sink: &mut Sink,
) {
    training::lint_training(lineages, stage, config, sink);
    optimizer::lint_optimizer(lineages, stage, config, sink);
    card::lint_card(world, stage, config, sink);
    flow_objective::lint_flow_objective(stage, config, sink);
    growth::lint_growing_training(stage, config, sink);
    strides::lint_strides(lineages, stage, config, sink);
    adapter::lint_adapter(lineages, stage, config, sink);
    teacher::lint_teacher(lineages, stage, config, sink);
    branch::lint_branch(lineages, stage, config, sink);
    watching::lint_watching(stage, config, sink);
    probes::lint_probe(world, lineages, (stage, config), sink);
    benchmarks::lint_probed_files(stage, config, sink);
    capacity::check_probe_lengths(lineages, stage, config, sink);
    rows::check_cut_conversations(lineages, stage, sink);
}

fn lint_evaluation(lineages: &Lineages<'_>, stage: &Stage, config: &EvaluateConfig, sink: &mut Sink) {
    checkpoint_use::lint_evaluated_checkpoints(lineages, stage, config, sink);
    sampling::lint_evaluation_sampling(lineages, stage, config, sink);
    benchmarks::lint_benchmark_files(stage, config, sink);
    capacity::check_measured_lengths(lineages, stage, config, sink);
}

/// Runs the lints that need the sizes of models and files. `root` is the `pipeline` node.
pub(crate) fn lint_costs(root: &Record, pipeline: &Pipeline, sink: &mut Sink) {
    estimates::lint_estimates(root, pipeline, sink);
}

/// Finds the errors in which `stage` contradicts the artifacts it is given: the lints of `check`, run again just before
/// the work.
///
/// `stored` holds the contracts of its checkpoints by the id of the stage that made them. `rows` holds the tokenizer
/// digest of each rows input, by role.
pub(crate) fn find_contradictions(
    stages: &Stages,
    stage: &Stage,
    stored: &StoredContracts,
    rows: &IndexMap<InputRole, String>,
) -> Vec<Diagnostic> {
    let (lineages, mut sink) = (&Lineages::new(stages, stored), Sink::default());
    match &stage.config {
        StageConfig::Train(config) => {
            training::check_objective_lineage(lineages, stage, config, &mut sink);
            training::check_tokenizer_digests(lineages, stage, rows, &mut sink);
            teacher::lint_teacher(lineages, stage, config, &mut sink);
        }
        StageConfig::Convert(_) => checkpoint_use::check_converted_before(lineages, stage, &mut sink),
        StageConfig::Evaluate(config) => {
            checkpoint_use::check_measured_checkpoints(lineages, stage, config, &mut sink)
        }
        StageConfig::Frontier(config) => {
            attention::check_frontier_blocks(lineages, stage, config, &mut sink);
            checkpoint_use::check_measured_checkpoints(lineages, stage, &config.declared, &mut sink);
        }
        StageConfig::Generate(config) => {
            checkpoint_use::lint_generation_checkpoint(lineages, stage, config, &mut sink)
        }
        _ => {}
    }
    sink.finish().into_iter().filter(|finding| finding.severity == Severity::Error).collect()
}

/// Warns about everything that `run` will refuse: one warning for each reason, with all its places.
pub(crate) fn report_unsupported(mut refusals: Vec<(Span, String)>, sink: &mut Sink) {
    refusals.sort_by_key(|(span, _)| span.key());
    refusals.dedup_by_key(|(span, reason)| (span.key(), reason.clone()));
    let mut reasons: IndexMap<String, Vec<Span>> = IndexMap::new();
    for (span, reason) in refusals {
        reasons.entry(reason).or_default().push(span);
    }
    for (reason, places) in reasons {
        let instead = unsupported::suggest_instead(&reason, &places[0]);
        let mut diagnostic = Diagnostic::new(Code::NotSupportedYet, format!("not supported yet: {reason}"));
        for (at, place) in places.iter().enumerate() {
            diagnostic = match at {
                0 => diagnostic.at(place, "not yet"),
                _ => diagnostic.also(place, "nor this"),
            };
        }
        sink.push(diagnostic.help(format!("`run` refuses stages that need it: {instead}")));
    }
}
