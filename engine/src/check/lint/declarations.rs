//! Lints of single declarations: unused ones, secrets that are not set, machines that are not supported yet.

use super::{benchmarks, sampling};
use crate::check::options::CheckOptions;
use crate::language::fields;
use crate::language::names::Declarations;
use crate::language::record::Record;
use crate::pipeline::config::StageConfig;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;

/// Runs all lints of single declarations.
pub(super) fn lint_declarations(
    world: &Declarations,
    options: &CheckOptions,
    refusals: &mut Vec<(Span, String)>,
    sink: &mut Sink,
) {
    // After an error, such as a misspelled name, declarations look unused that are not meant to be.
    if sink.errors() == 0 {
        report_unused_declarations(world, sink);
    }
    for record in &world.records {
        match record.spec.name.as_str() {
            "sampler" => sampling::check_sampler_filters(record, sink),
            "benchmark" => benchmarks::check_benchmark_name(record, sink),
            "secret" => check_secret(record, options, sink),
            _ => {}
        }
    }
    let shared = SharedRefusals::find(world);
    refusals.extend(shared.all.into_iter().chain(shared.training));
}

/// What `run` refuses in declarations that are not stages: a profile concerns every stage, a machine those that train, or every
/// stage if none does.
#[derive(Debug, Default)]
pub(crate) struct SharedRefusals {
    all: Vec<(Span, String)>,
    training: Vec<(Span, String)>,
}

impl SharedRefusals {
    pub(crate) fn find(world: &Declarations) -> Self {
        let profiles = world.of_kind("profile");
        let mut all: Vec<_> =
            profiles.flat_map(|record| fields::find_unsupported_fields(world, record)).collect();
        let mut training: Vec<_> = world.of_kind("pipeline").filter_map(refuse_several_devices).collect();
        if world.of_kind("train").next().is_none() {
            all.append(&mut training);
        }
        Self { all, training }
    }

    /// Places and reasons that concern a stage.
    pub(crate) fn of_stage(&self, config: &StageConfig) -> impl Iterator<Item = (Span, String)> {
        let trains = matches!(config, StageConfig::Train(_));
        let training = self.training.iter().filter(move |_| trains);
        self.all.iter().chain(training).cloned()
    }
}

/// Kinds of nodes that have no effect unless another node names them.
const REFERENCED_KINDS: &[&str] =
    &["dataset", "mixture", "rows", "scheduler", "path", "sampler", "recipe", "tokenizer"];

fn report_unused_declarations(world: &Declarations, sink: &mut Sink) {
    let mut used: Vec<*const Record> = Vec::new();
    for record in &world.records {
        record.visit(&mut |inner| {
            for leaf in inner.leaves.iter().filter(|leaf| leaf.reference().is_some()) {
                used.extend(world.any_target(leaf).map(std::ptr::from_ref));
            }
        });
    }
    for record in world.records.iter().filter(|record| REFERENCED_KINDS.contains(&record.spec.name.as_str()))
    {
        if world.declares(record) && !used.contains(&std::ptr::from_ref(record)) {
            sink.push(unused_declaration(record));
        }
    }
}

fn unused_declaration(record: &Record) -> Diagnostic {
    let (kind, name) = (&record.spec.name, record.expect_name());
    let span = record.name_leaf().map_or(&record.span, |leaf| &leaf.span);
    Diagnostic::new(Code::Unused, format!("nothing uses {kind} `{name}`"))
        .at(span, "declared but not used")
        .help(match kind.as_str() {
            "dataset" => format!("add `dataset \"{name}\"` to a `mixture`, or comment it out with `/-`"),
            _ => "remove it, or comment it out with `/-`".to_owned(),
        })
}

fn check_secret(record: &Record, options: &CheckOptions, sink: &mut Sink) {
    let Some(leaf) = record.name_leaf() else { return };
    let name = leaf.expect_text();
    if options.secrets.iter().any(|secret| secret == name) {
        return;
    }
    sink.push(
        Diagnostic::new(Code::AbsentSecret, format!("the environment variable `{name}` is not set"))
            .at(&leaf.span, "not in the environment")
            .help(format!("set it before `run`: `export {name}=...`")),
    );
}

/// A machine with several devices is fine for estimates, but `run` cannot train on it yet.
fn refuse_several_devices(record: &Record) -> Option<(Span, String)> {
    let leaf = record.child("machine")?.leaf("gpu")?;
    let count =
        leaf.text().and_then(|text| text.split_once('x')).and_then(|(count, _)| count.parse::<u32>().ok());
    (count? > 1).then(|| (leaf.span.clone(), "training on several devices".to_owned()))
}
