//! What the field table cannot say: contradictions between stages, and declarations without effect.

mod attention;
mod chain;
mod contract;
mod declarations;
mod estimates;
mod fit;
mod optimizer;
mod rates;
mod rows;
mod sampling;
mod training;
mod vocabulary;
mod weights;

use indexmap::IndexMap;

pub use optimizer::{PARAMETERS, TIME};

use crate::check::Options;
use crate::config::{FetchConfig, StageConfig};
use crate::contract::{LARGEST, Stored};
use crate::diagnostic::{Code, Diagnostic, Severity, Sink};
use crate::file;
use crate::pipeline::{FieldValue, Input, Pipeline, Span, Stage};
use crate::record::Record;
use crate::resolve::World;

/// All lints over the stages that could be decoded.
pub fn pipeline(
    world: &World,
    stages: &[Stage],
    options: &Options,
    refusals: &mut Vec<(Span, String)>,
    sink: &mut Sink,
) {
    let graph = Graph::new(stages, stages.iter().filter_map(|stage| Some((stage.id.0, folder(stage)?))));
    for stage in stages {
        match &stage.config {
            StageConfig::Train(config) => {
                training::lint(&graph, stage, config, sink);
                optimizer::lint(&graph, stage, config, sink);
                weights::lint(stage, config, sink);
                rows::conversations(&graph, stage, sink);
            }
            StageConfig::Convert(config) => {
                chain::convert(&graph, stage, config, sink);
                vocabulary::lint(&graph, stage, config, sink);
            }
            StageConfig::Rows(config) => {
                fit::canvas(stage, config, sink);
                rows::lint(stage, config, sink);
            }
            StageConfig::Evaluate(config) => {
                chain::evaluate(&graph, stage, config, sink);
                sampling::evaluate(&graph, stage, config, sink);
            }
            StageConfig::Generate(config) => {
                chain::generate(&graph, stage, config, sink);
                sampling::generate(&graph, stage, config, sink);
                fit::prompts(&graph, stage, config, sink);
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
fn folder(stage: &Stage) -> Option<Stored> {
    let StageConfig::Fetch(FetchConfig::Folder(folder)) = &stage.config else { return None };
    Stored::read(|name| String::from_utf8(file::small(&folder.join(name), LARGEST)?).ok())
}

/// Contradictions between a stage and the checkpoints that it takes, of which `stored` tells by the numbers of their stages.
/// `rows` gives the digests of the tokenizers of the rows that it takes, by role.
pub fn against(
    stages: &[Stage],
    stage: &Stage,
    stored: impl Iterator<Item = (u32, Stored)>,
    rows: &IndexMap<String, String>,
) -> Vec<Diagnostic> {
    let (graph, mut sink) = (Graph::new(stages, stored), Sink::default());
    match &stage.config {
        StageConfig::Train(config) => {
            training::provenance(&graph, stage, config, &mut sink);
            training::tokenizers(&graph, stage, rows, &mut sink);
        }
        StageConfig::Convert(_) => chain::converted_before(&graph, stage, &mut sink),
        StageConfig::Evaluate(config) => chain::measured(&graph, stage, config, &mut sink),
        StageConfig::Generate(config) => chain::generate(&graph, stage, config, &mut sink),
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

/// Stages by number.
struct Graph<'a> {
    stages: IndexMap<u32, &'a Stage>,
    stored: IndexMap<u32, Stored>,
}

impl<'a> Graph<'a> {
    fn new(stages: &'a [Stage], stored: impl Iterator<Item = (u32, Stored)>) -> Self {
        Self { stages: stages.iter().map(|stage| (stage.id.0, stage)).collect(), stored: stored.collect() }
    }

    /// The stage that makes the input in this role.
    fn input(&self, stage: &Stage, role: &str) -> Option<&'a Stage> {
        let input: &Input = stage.inputs.iter().find(|input| input.role == role)?;
        self.stages.get(&input.stage.0).copied()
    }

    /// A stage, its checkpoint's maker, and so on to the first.
    fn ancestors(&self, stage: &'a Stage) -> impl Iterator<Item = &'a Stage> {
        std::iter::successors(Some(stage), |stage| self.input(stage, "from"))
    }
}

/// The setting at `path`.
fn field<'a>(stage: &'a Stage, path: &str) -> Option<&'a FieldValue> {
    stage.fields.iter().find(|field| field.path == path)
}

/// Where the setting at `path` is written.
fn place<'a>(stage: &'a Stage, path: &str) -> &'a Span {
    field(stage, path).map_or(&stage.span, |field| &field.span)
}
