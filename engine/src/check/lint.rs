//! Lints for what the field table cannot express: contradictions between stages, and declarations without effect.

mod attention;
mod capacity;
mod checkpoint_use;
mod context;
mod declarations;
mod estimates;
mod flow_objective;
mod lineage;
mod optimizer;
mod peak_rate;
mod requests;
mod rows;
mod sampler_paths;
mod sampling;
mod training;
mod unsupported;
mod vocabulary;

use indexmap::IndexMap;

pub(crate) use declarations::SharedRefusals;
pub use optimizer::{PARAMETER_GROUPS, TIME_PARAMETER_GROUPS};

use crate::check::lint::lineage::{Lineages, StoredContracts};
use crate::check::options::CheckOptions;
use crate::language::names::Declarations;
use crate::language::record::Record;
use crate::pipeline::Pipeline;
use crate::pipeline::config::{FetchConfig, StageConfig};
use crate::pipeline::contract::{ContractError, MAX_CONTRACT_BYTES};
use crate::pipeline::origins::StoredContract;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::{Stage, Stages};
use crate::text::diagnostic::{Code, Diagnostic, Severity, Sink};
use crate::text::file_head;
use crate::text::place::Span;

/// Runs all lints on the stages that could be decoded. Features that `run` would refuse are added to `refusals`.
pub(crate) fn lint_pipeline(
    world: &Declarations,
    stages: &Stages,
    options: &CheckOptions,
    refusals: &mut Vec<(Span, String)>,
    sink: &mut Sink,
) {
    let stored: StoredContracts =
        stages.iter().filter_map(|stage| Some((stage.id, read_stored_contract(stage, sink)?))).collect();
    let lineages = &Lineages::new(stages, &stored);
    for stage in stages {
        match &stage.config {
            StageConfig::Train(config) => {
                training::lint_training(lineages, stage, config, sink);
                optimizer::lint_optimizer(lineages, stage, config, sink);
                flow_objective::lint_flow_objective(stage, config, sink);
                rows::check_cut_conversations(lineages, stage, sink);
            }
            StageConfig::Convert(config) => {
                checkpoint_use::lint_conversion(lineages, stage, config, sink);
                vocabulary::lint_mask_token(lineages, stage, config, sink);
            }
            StageConfig::Rows(config) => {
                capacity::check_canvas_length(stage, config, sink);
                rows::lint_rows(stage, config, sink);
            }
            StageConfig::Evaluate(config) => {
                checkpoint_use::lint_evaluated_checkpoints(lineages, stage, config, sink);
                sampling::lint_evaluation_sampling(lineages, stage, config, sink);
                capacity::check_measured_lengths(lineages, stage, config, sink);
            }
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

/// Runs the lints that need the sizes of models and files. `root` is the `pipeline` node.
pub(crate) fn lint_costs(root: &Record, pipeline: &Pipeline, sink: &mut Sink) {
    estimates::lint_estimates(root, pipeline, sink);
}

/// Reads the contract in the folder of a `fetch`, if there is one; `Some(None)` if there is one and it is invalid.
fn read_stored_contract(stage: &Stage, sink: &mut Sink) -> Option<Option<StoredContract>> {
    let StageConfig::Fetch(FetchConfig::Folder(folder)) = &stage.config else { return None };
    let stored = StoredContract::read(|name| {
        let path = folder.join(name);
        let text = || {
            let bytes = file_head::read_small_file(&path, MAX_CONTRACT_BYTES);
            let bytes = bytes.ok_or_else(|| {
                format!("it cannot be read, or is larger than {} MiB", MAX_CONTRACT_BYTES >> 20)
            })?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        file_head::is_present(&path).then(text)
    });
    match stored {
        Ok(stored) => stored.map(Some),
        Err(error) => {
            sink.push(invalid_contract(stage, &error));
            Some(None)
        }
    }
}

fn invalid_contract(stage: &Stage, error: &ContractError) -> Diagnostic {
    let message = format!("the contract of checkpoint `{}` is invalid: {error}", stage.name);
    Diagnostic::new(Code::InvalidContract, message)
        .at(stage.parent_place(), "in this folder")
        .help("restore the folder from the artifact that it was copied from, or use a version of fmflow that knows this contract")
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
        }
        StageConfig::Convert(_) => checkpoint_use::check_converted_before(lineages, stage, &mut sink),
        StageConfig::Evaluate(config) => {
            checkpoint_use::check_measured_checkpoints(lineages, stage, config, &mut sink)
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
