//! Turns a configuration file into a checked [`Pipeline`].
//!
//! No phase stops at the first problem: each works on whatever survived the phase before it, so that one check reports
//! every problem of every file.

pub(crate) mod levels;
pub mod lint;
pub(crate) mod options;

pub use options::CheckOptions;

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::check::levels::WarningLevels;
use crate::check::lint::SharedRefusals;
use crate::hub::lockfile::{self, Lockfile};
use crate::hub::online::{Hub, LockResolution, Session};
use crate::hub::pins;
use crate::language::decode::{self, DecodedStage, Decoder};
use crate::language::draft::{self, Draft};
use crate::language::include::{self, LoadedConfiguration};
use crate::language::names::Declarations;
use crate::language::record::Record;
use crate::language::validate;
use crate::language::{fields, mixture, order, settings};
use crate::pipeline::Pipeline;
use crate::pipeline::stage::{NOT_YET, Stage, StageId, StageInput, Stages};
use crate::text::diagnostic::{Code, Diagnostic, Severity, Sink};
use crate::text::place::{ConfigFile, Span};
use crate::text::read;

/// Result of a check.
#[derive(Debug)]
pub struct CheckResult {
    /// The pipeline; `None` if any diagnostic is an error of the configuration. Faulty lines of data leave it, so that its results
    /// can be shown.
    pub pipeline: Option<Pipeline>,
    /// Errors and warnings, sorted by place; allowed warnings are left out.
    pub diagnostics: Vec<Diagnostic>,
    /// Number of warnings that were found but are allowed.
    pub allowed: usize,
}

impl CheckResult {
    /// Whether any diagnostic is an error, including warnings that were raised to errors.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Takes the lock file that was read and returns the one to use. This is the only step of a check that may ask a hub.
pub(crate) type LockResolver<'a> = &'a mut dyn FnMut(&Declarations, Lockfile, &mut Sink) -> Lockfile;

/// Checks a file offline: the lock file is used as it is.
#[must_use]
pub fn check_path(path: &Path, options: &CheckOptions) -> CheckResult {
    check_path_with_resolver(path, options, &mut |_, lock, _| lock)
}

/// Checks a file, using the lock file that `resolve` returns.
#[must_use]
pub(crate) fn check_path_with_resolver(
    path: &Path,
    options: &CheckOptions,
    resolve: LockResolver<'_>,
) -> CheckResult {
    let mut sink = Sink::default();
    let absolute = read::to_absolute_path(path);
    match read::read_configuration(path, &mut sink) {
        Some(file) => check_file(&file, &absolute, options, resolve, sink),
        None => CheckResult { pipeline: None, diagnostics: sink.finish(), allowed: 0 },
    }
}

/// Checks a file and asks `hub` about its repositories. Existing pins are kept unless `update` is set.
#[must_use]
pub(crate) fn check_online(
    path: &Path,
    options: &CheckOptions,
    hub: &dyn Hub,
    update: bool,
) -> (CheckResult, LockResolution) {
    let mut resolution = LockResolution::default();
    let checked = check_path_with_resolver(path, options, &mut |world, old, sink| {
        resolution = Session::new(hub, update, world, sink).resolve(&old);
        resolution.lock.clone()
    });
    (checked, resolution)
}

/// Checks configuration text as if it were the file `name` in the folder `base`, without reading that file.
///
/// Files that the text includes are read, and so is the lock file that belongs to `name`.
#[must_use]
pub fn check_text(name: &str, text: &str, base: &Path, options: &CheckOptions) -> CheckResult {
    let base = read::to_absolute_path(base);
    let path = base.join(name);
    let file = read::build_root_file(name, text.to_owned(), base);
    check_file(&file, &path, options, &mut |_, lock, _| lock, Sink::default())
}

fn check_file(
    file: &Arc<ConfigFile>,
    path: &Path,
    options: &CheckOptions,
    resolve: LockResolver<'_>,
    mut sink: Sink,
) -> CheckResult {
    let (pipeline, levels) = build_pipeline(file, path, options, resolve, &mut sink);
    let (diagnostics, allowed) = levels.apply(sink.finish());
    let is_error = |found: &Diagnostic| found.severity == Severity::Error;
    let broken = diagnostics.iter().any(|found| is_error(found) && found.code.leaves_no_pipeline());
    CheckResult { pipeline: pipeline.filter(|_| !broken), diagnostics, allowed }
}

fn build_pipeline(
    file: &Arc<ConfigFile>,
    path: &Path,
    options: &CheckOptions,
    resolve: LockResolver<'_>,
    sink: &mut Sink,
) -> (Option<Pipeline>, WarningLevels) {
    let Some(mut loaded) = include::load_with_includes(file, path, sink) else {
        return (None, WarningLevels::default());
    };
    settings::apply_settings(&options.settings, &mut loaded, sink);
    let mut world = collect_declarations(&loaded, sink);
    let levels = WarningLevels::collect(world.of_kind("lint").next(), options, sink);
    world.check_references(sink);
    mixture::check_mixtures(&mut world, sink);
    let lock = match options.smoke {
        true => Lockfile::default(),
        false => resolve(&world, lockfile::read_lockfile(path, sink), sink),
    };
    let pins = pins::pin_repositories(&mut world, &lock, sink);
    let mut refusals = Vec::new();
    let stages = decode_stages(&world, options, &mut refusals, sink);
    lint::lint_pipeline(&world, &stages, options, &mut refusals, sink);
    lint::report_unsupported(refusals, sink);
    let finished = assemble_pipeline(&world, stages, path, options, sink);
    (finished.map(|pipeline| Pipeline { pins, ..pipeline }), levels)
}

/// Collects the declarations of all files. If a file is missing, references to unknown names are not reported: it may
/// have declared them.
fn collect_declarations(loaded: &LoadedConfiguration, sink: &mut Sink) -> Declarations {
    let (records, unresolved) = validate::validate_nodes(&loaded.sources, &loaded.nodes, sink);
    require_pipeline(loaded, sink);
    Declarations::new(records, unresolved, loaded.complete, sink)
}

fn assemble_pipeline(
    world: &Declarations,
    stages: Stages,
    path: &Path,
    options: &CheckOptions,
    sink: &mut Sink,
) -> Option<Pipeline> {
    let root = world.of_kind("pipeline").next()?;
    let (name, seed, budget) = decode::decode_pipeline(root)?;
    if stages.is_empty() && sink.errors() == 0 {
        sink.push(pipeline_without_stages(root));
    }
    let settings = options.settings.clone();
    let secrets = world.of_kind("secret").filter_map(|record| record.name().map(str::to_owned));
    let secrets: Vec<_> = secrets.collect();
    let absent_secrets = secrets.iter().filter(|name| !options.secrets.contains(name)).cloned().collect();
    let (file, pins) = (path.to_owned(), Vec::new());
    let watchers = decode::decode_watchers(world);
    let pipeline =
        Pipeline { name, seed, budget, file, settings, pins, secrets, absent_secrets, watchers, stages };
    lint::lint_costs(root, &pipeline, sink);
    Some(pipeline)
}

/// Requires a `pipeline` node. The field table can require fields of a node but not the presence of a top-level node.
fn require_pipeline(loaded: &LoadedConfiguration, sink: &mut Sink) {
    let named = |node: &kdl::KdlNode| node.name().value().trim_end_matches(':') == "pipeline";
    if loaded.nodes.iter().any(named) {
        return;
    }
    let span = Span { file: loaded.sources.root().clone(), offset: 0, length: 0 };
    sink.push(
        Diagnostic::new(Code::NoPipeline, "there is no `pipeline` node")
            .at(&span, "expected in this file")
            .help("start the file with `pipeline \"mine\" seed=1`"),
    );
}

fn pipeline_without_stages(root: &Record) -> Diagnostic {
    Diagnostic::new(Code::NoStages, "the pipeline has no stages")
        .at(&root.span, "nothing to run")
        .help("declare one; `fmflow explain train` shows how")
}

/// Decodes every stage that can be decoded, in topological order.
fn decode_stages(
    world: &Declarations,
    options: &CheckOptions,
    refusals: &mut Vec<(Span, String)>,
    sink: &mut Sink,
) -> Stages {
    let drafts = draft::collect_drafts(world, sink);
    let order = order::order_stages(&drafts, sink);
    let seed = world.of_kind("pipeline").next().and_then(|root| root.leaf("seed"));
    let mut stages = Stages::default();
    let mut ids: IndexMap<String, StageId> = IndexMap::new();
    let shared = if options.smoke { SharedRefusals::default() } else { SharedRefusals::find(world) };
    for draft in order.into_iter().map(|at| &drafts[at]) {
        let before = sink.errors();
        let Some(decoded) = decode_stage(world, draft, options, sink) else {
            report_undecoded_stage(draft, before, sink);
            continue;
        };
        let id = stages.next_id();
        ids.insert(draft.name.clone(), id);
        let mut fields = fields::collect_stage_fields(world, draft, seed);
        fields.list.extend(decoded.named);
        fields.unsupported.extend(decoded.unsupported);
        fields.unsupported.extend(shared.of_stage(&decoded.config));
        let inputs = draft.inputs.iter().filter_map(|input| {
            Some(StageInput { role: input.role.clone(), stage: *ids.get(input.stage.as_str())? })
        });
        refusals.extend(fields.unsupported.iter().cloned());
        stages.push(Stage {
            id,
            name: draft.name.clone(),
            config: decoded.config,
            inputs: inputs.collect(),
            sources: decoded.sources,
            observed: decoded.observed,
            fields: fields.list,
            span: draft.record.name_leaf().map_or(&draft.record.span, |leaf| &leaf.span).clone(),
            // What is not pinned is not downloaded either.
            unsupported: match options.smoke {
                true => format_unsupported_reasons(&fields.unsupported),
                false => [format_unsupported_reasons(&fields.unsupported), decoded.refusals].concat(),
            },
        });
    }
    stages
}

fn decode_stage(
    world: &Declarations,
    draft: &Draft<'_>,
    options: &CheckOptions,
    sink: &mut Sink,
) -> Option<DecodedStage> {
    if draft.record.broken {
        return None;
    }
    Decoder::new(world, options.smoke, sink).stage(draft)
}

/// If a stage does not decode although no error was reported, the field table or the decoder has a bug. Without this
/// report the stage would silently be missing from the pipeline.
fn report_undecoded_stage(draft: &Draft<'_>, before: usize, sink: &mut Sink) {
    if sink.errors() == 0 && before == 0 {
        let message = format!("stage `{}` cannot be decoded", draft.name);
        sink.push(
            Diagnostic::new(Code::Internal, message)
                .at(&draft.record.span, "here")
                .help("this is a bug in fmflow: please report it with this file"),
        );
    }
}

/// The reasons as sentences, without duplicates.
fn format_unsupported_reasons(unsupported: &[(Span, String)]) -> Vec<String> {
    let mut reasons = Vec::new();
    for (_, reason) in unsupported {
        let sentence = format!("{NOT_YET}: {reason}");
        if !reasons.contains(&sentence) {
            reasons.push(sentence);
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::language::record::spy;
    use crate::language::schema::{NodeSpec, load_schema};
    use crate::pipeline::field_path;

    /// Covers the fields that the shipped pipelines do not use.
    const OTHERS: &str = include_str!("../../tests/cases/data/every.kdl");

    fn names(prefix: &str, record: &Record, read: &mut BTreeSet<String>) {
        let path = format!("{prefix}/{}", record.spec.name);
        let seen = record.leaves.iter().filter(|leaf| spy::was_read(leaf));
        read.extend(seen.map(|leaf| format!("{path}.{}", leaf.spec.name)));
        record.children.iter().for_each(|child| names(&path, child, read));
    }

    fn expected(prefix: &str, node: &NodeSpec, all: &mut BTreeSet<String>) {
        let ignored = ["profile", "recipe", "contents"];
        if ignored.contains(&node.name.as_str()) {
            return;
        }
        let path = format!("{prefix}/{}", node.name);
        let fields = node.fields().filter(|field| !field.unsupported);
        all.extend(fields.map(|field| format!("{path}.{}", field.name)));
        node.children.iter().for_each(|child| expected(&path, child, all));
    }

    /// Fields that no decoder reads: includes and recipes are merged before records are decoded, and the other fields have
    /// only one possible value so far.
    const READ_BY_NO_DECODER: &[&str] = &[
        "/include.value",
        "/random-init/shape.value",
        "/train.use",
        "/train/optimizer.value",
        "/train/precision.accumulate",
        "/train/precision.master",
    ];

    /// Pipelines that together set every field.
    const TEXTS: [&str; 6] = [
        OTHERS,
        include_str!("../../tests/cases/data/adapters.kdl"),
        include_str!("../../pipelines/quickstart.kdl"),
        include_str!("../../pipelines/full.kdl"),
        include_str!("../../pipelines/i-dlm.kdl"),
        include_str!("../../pipelines/laptop.kdl"),
    ];

    /// The records and stages of a text that must have no errors.
    fn decoded_text(text: &str) -> (Declarations, Stages) {
        let base = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines"));
        let file = read::build_root_file("test.kdl", text.to_owned(), base.to_owned());
        let mut sink = Sink::default();
        let loaded = include::load_with_includes(&file, &base.join("test.kdl"), &mut sink).unwrap();
        let mut world = collect_declarations(&loaded, &mut sink);
        spy::forget();
        let _ = WarningLevels::collect(world.of_kind("lint").next(), &CheckOptions::default(), &mut sink);
        world.check_references(&mut sink);
        mixture::check_mixtures(&mut world, &mut sink);
        pins::pin_repositories(&mut world, &Lockfile::default(), &mut sink);
        let mut refusals = Vec::new();
        let stages = decode_stages(&world, &CheckOptions::default(), &mut refusals, &mut sink);
        lint::lint_pipeline(&world, &stages, &CheckOptions::default(), &mut refusals, &mut sink);
        decode::decode_pipeline(world.of_kind("pipeline").next().unwrap()).unwrap();
        let _ = decode::decode_watchers(&world);
        let found = crate::text::render::render_concise_lines(&sink.finish());
        assert!(!found.contains("error["), "{found}");
        (world, stages)
    }

    #[test]
    fn every_field_of_the_table_is_read_by_a_decoder() {
        let mut read = BTreeSet::new();
        for text in TEXTS {
            let (world, _) = decoded_text(text);
            world.records.iter().for_each(|record| names("", record, &mut read));
        }
        let mut all = BTreeSet::new();
        load_schema().nodes.iter().for_each(|node| expected("", node, &mut all));
        let unread: Vec<_> = all.difference(&read).map(String::as_str).collect();
        assert_eq!(unread, READ_BY_NO_DECODER);
    }

    #[test]
    fn every_path_that_code_asks_for_exists() {
        let numbered = |path: &str| {
            let part =
                |part: &str| if part.parse::<usize>().is_ok() { "#".to_owned() } else { part.to_owned() };
            path.split('.').map(part).collect::<Vec<_>>().join(".")
        };
        let mut known = BTreeSet::new();
        for text in TEXTS {
            let (_, stages) = decoded_text(text);
            for stage in &stages {
                known.extend(stage.fields.iter().map(|field| (stage.config.kind(), numbered(&field.path))));
            }
        }
        let asked = field_path::ALL.iter().map(|path| path.pattern());
        let misspelled: Vec<_> =
            asked.filter(|(kind, path)| !known.contains(&(*kind, (*path).to_owned()))).collect();
        assert_eq!(misspelled, []);
    }
}
