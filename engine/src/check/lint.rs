//! What the field table cannot say: contradictions between stages, and declarations without effect.

mod attention;
mod chain;
mod declarations;
mod estimates;
mod fit;
mod lineage;
mod optimizer;
mod rates;
mod rows;
mod sampler_paths;
mod sampling;
mod training;
mod vocabulary;
mod weights;

use indexmap::IndexMap;

pub use optimizer::{PARAMETERS, TIME};

use crate::check::lint::lineage::{Lineages, StoredFacts};
use crate::check::options::Options;
use crate::language::names::World;
use crate::language::record::Record;
use crate::pipeline::Pipeline;
use crate::pipeline::config::{FetchConfig, StageConfig};
use crate::pipeline::contract::LARGEST;
use crate::pipeline::origins::StoredContract;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::{Stage, Stages};
use crate::text::diagnostic::{Code, Diagnostic, Severity, Sink};
use crate::text::head;
use crate::text::place::Span;

/// All lints over the stages that could be decoded.
pub fn pipeline(
    world: &World,
    stages: &Stages,
    options: &Options,
    refusals: &mut Vec<(Span, String)>,
    sink: &mut Sink,
) {
    let stored: StoredFacts =
        stages.iter().filter_map(|stage| Some((stage.id, read_stored_facts(stage)?))).collect();
    let lineages = &Lineages::new(stages, &stored);
    for stage in stages {
        match &stage.config {
            StageConfig::Train(config) => {
                training::lint(lineages, stage, config, sink);
                optimizer::lint(lineages, stage, config, sink);
                weights::lint(stage, config, sink);
                rows::conversations(lineages, stage, sink);
            }
            StageConfig::Convert(config) => {
                chain::convert(lineages, stage, config, sink);
                vocabulary::lint(lineages, stage, config, sink);
            }
            StageConfig::Rows(config) => {
                fit::canvas(stage, config, sink);
                rows::lint(stage, config, sink);
            }
            StageConfig::Evaluate(config) => {
                chain::evaluate(lineages, stage, config, sink);
                sampling::evaluate(lineages, stage, config, sink);
            }
            StageConfig::Generate(config) => {
                chain::generate(lineages, stage, config, sink);
                sampling::generate(lineages, stage, config, sink);
                fit::prompts(lineages, stage, config, sink);
            }
            _ => {}
        }
    }
    declarations::lint(world, options, refusals, sink);
}

/// Lints that need the sizes of models and files. `root` is the `pipeline` node.
pub fn estimates(root: &Record, pipeline: &Pipeline, sink: &mut Sink) {
    estimates::lint(root, pipeline, sink);
}

/// What the folder of a `fetch` says of itself.
fn read_stored_facts(stage: &Stage) -> Option<StoredContract> {
    let StageConfig::Fetch(FetchConfig::Folder(folder)) = &stage.config else { return None };
    StoredContract::read(|name| String::from_utf8(head::read_small_file(&folder.join(name), LARGEST)?).ok())
}

/// Contradictions between a stage and the checkpoints that it takes, of which `stored` tells by the numbers of their stages.
/// `rows` gives the digests of the tokenizers of the rows that it takes, by role.
pub fn find_contradictions(
    stages: &Stages,
    stage: &Stage,
    stored: &StoredFacts,
    rows: &IndexMap<InputRole, String>,
) -> Vec<Diagnostic> {
    let (lineages, mut sink) = (&Lineages::new(stages, stored), Sink::default());
    match &stage.config {
        StageConfig::Train(config) => {
            training::provenance(lineages, stage, config, &mut sink);
            training::tokenizers(lineages, stage, rows, &mut sink);
        }
        StageConfig::Convert(_) => chain::converted_before(lineages, stage, &mut sink),
        StageConfig::Evaluate(config) => chain::measured(lineages, stage, config, &mut sink),
        StageConfig::Generate(config) => chain::generate(lineages, stage, config, &mut sink),
        _ => {}
    }
    sink.finish().into_iter().filter(|finding| finding.severity == Severity::Error).collect()
}

/// Warnings that `run` will refuse something: one for each reason, with all its places.
pub fn not_supported(mut refusals: Vec<(Span, String)>, sink: &mut Sink) {
    refusals.sort_by_key(|(span, _)| span.key());
    refusals.dedup_by_key(|(span, reason)| (span.key(), reason.clone()));
    let mut reasons: IndexMap<String, Vec<Span>> = IndexMap::new();
    for (span, reason) in refusals {
        reasons.entry(reason).or_default().push(span);
    }
    for (reason, places) in reasons {
        let mut diagnostic = Diagnostic::new(Code::NotSupportedYet, format!("not supported yet: {reason}"));
        for (at, place) in places.iter().enumerate() {
            diagnostic = match at {
                0 => diagnostic.at(place, "not yet"),
                _ => diagnostic.also(place, "nor this"),
            };
        }
        sink.push(
            diagnostic.help("`run` refuses what asks for it; to run the rest, switch it off with `/-`"),
        );
    }
}
