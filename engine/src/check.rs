//! From a file to a checked pipeline: every phase works on what survived the one before, and one run tells everything.

pub mod levels;
pub mod lint;
pub mod options;

pub use options::Options;

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::check::levels::Levels;
use crate::hub::lockfile::{self, Lockfile};
use crate::hub::online::{Hub, Resolution, Session};
use crate::hub::pins;
use crate::language::decode::{self, Decoded, Decoder};
use crate::language::draft::{self, Draft};
use crate::language::include::{self, Loaded};
use crate::language::names::World;
use crate::language::record::Record;
use crate::language::validate;
use crate::language::{fields, mixture, order, settings};
use crate::pipeline::Pipeline;
use crate::pipeline::stage::{Input, Stage, StageId, Stages};
use crate::text::diagnostic::{Code, Diagnostic, Severity, Sink};
use crate::text::place::{File, Span};
use crate::text::read;

/// What a check gives: a pipeline unless there is an error, and everything that was found.
#[derive(Debug)]
pub struct Checked {
    /// The pipeline, if there is no error.
    pub pipeline: Option<Pipeline>,
    /// Errors and warnings, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
    /// How many warnings were found and are allowed.
    pub allowed: usize,
}

impl Checked {
    /// Whether there is an error.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Makes the lock file that counts of the one that was read, which is all that a check may ask others about.
pub type Resolve<'a> = &'a mut dyn FnMut(&World, Lockfile, &mut Sink) -> Lockfile;

/// Checks a file; the lock file counts as it is.
#[must_use]
pub fn check(path: &Path, options: &Options) -> Checked {
    check_with(path, options, &mut |_, lock, _| lock)
}

/// Checks a file with the lock file that `resolve` makes.
#[must_use]
pub fn check_with(path: &Path, options: &Options, resolve: Resolve<'_>) -> Checked {
    let mut sink = Sink::default();
    let absolute = read::absolute_path(path);
    match read::read_configuration(path, &mut sink) {
        Some(file) => check_file(&file, &absolute, options, resolve, sink),
        None => Checked { pipeline: None, diagnostics: sink.finish(), allowed: 0 },
    }
}

/// Checks a file and asks `hub` about its repositories. Pins that are there stay, unless `update` is set.
#[must_use]
pub fn check_online(path: &Path, options: &Options, hub: &dyn Hub, update: bool) -> (Checked, Resolution) {
    let mut resolution = Resolution::default();
    let checked = check_with(path, options, &mut |world, old, sink| {
        resolution = Session::new(hub, update, world, sink).resolve(&old);
        resolution.lock.clone()
    });
    (checked, resolution)
}

/// Checks a text whose paths are relative to `base`; reads no other configuration than those it includes,
/// and the lock file of its name.
#[must_use]
pub fn check_text(name: &str, text: &str, base: &Path, options: &Options) -> Checked {
    let base = read::absolute_path(base);
    let path = base.join(name);
    let file = read::root_file(name, text.to_owned(), base);
    check_file(&file, &path, options, &mut |_, lock, _| lock, Sink::default())
}

fn check_file(
    file: &Arc<File>,
    path: &Path,
    options: &Options,
    resolve: Resolve<'_>,
    mut sink: Sink,
) -> Checked {
    let (pipeline, levels) = pipeline(file, path, options, resolve, &mut sink);
    let (diagnostics, allowed) = levels.apply(sink.finish());
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    Checked { pipeline: pipeline.filter(|_| !failed), diagnostics, allowed }
}

fn pipeline(
    file: &Arc<File>,
    path: &Path,
    options: &Options,
    resolve: Resolve<'_>,
    sink: &mut Sink,
) -> (Option<Pipeline>, Levels) {
    let Some(mut loaded) = include::load_with_includes(file, path, sink) else {
        return (None, Levels::default());
    };
    settings::apply(&options.settings, &mut loaded, sink);
    let mut world = world(&loaded, sink);
    let levels = Levels::of(world.of_kind("lint").next(), options, sink);
    world.check_references(sink);
    mixture::check(&mut world, sink);
    let lock = lockfile::read(path, sink);
    let lock = resolve(&world, lock, sink);
    let pins = pins::pin(&mut world, &lock, sink);
    let mut refusals = Vec::new();
    let stages = stages(&world, &mut refusals, sink);
    lint::pipeline(&world, &stages, options, &mut refusals, sink);
    lint::not_supported(refusals, sink);
    let finished = finished(&world, stages, path, options, sink);
    (finished.map(|pipeline| Pipeline { pins, ..pipeline }), levels)
}

/// The names of all files. What a missing file may declare is not asked for.
fn world(loaded: &Loaded, sink: &mut Sink) -> World {
    let (records, phantoms) = validate::nodes(&loaded.sources, &loaded.nodes, sink);
    require_pipeline(loaded, sink);
    World::new(records, phantoms, loaded.complete, sink)
}

fn finished(
    world: &World,
    stages: Stages,
    path: &Path,
    options: &Options,
    sink: &mut Sink,
) -> Option<Pipeline> {
    let root = world.of_kind("pipeline").next()?;
    let (name, seed, budget) = decode::pipeline(root)?;
    if stages.is_empty() && sink.errors() == 0 {
        sink.push(no_stages(root));
    }
    let settings = options.settings.clone();
    let secrets = world.of_kind("secret").filter_map(|record| record.name().map(str::to_owned)).collect();
    let file = path.to_owned();
    let pipeline = Pipeline { name, seed, budget, file, settings, pins: Vec::new(), secrets, stages };
    lint::estimates(root, &pipeline, sink);
    Some(pipeline)
}

/// The `pipeline` node is required even when all others are fine; nothing else of the table says so.
fn require_pipeline(loaded: &Loaded, sink: &mut Sink) {
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

fn no_stages(root: &Record) -> Diagnostic {
    Diagnostic::new(Code::NoStages, "the pipeline has no stages")
        .at(&root.span, "nothing to run")
        .help("declare one, such as `train`; `fmflow explain train` shows how")
}

/// All stages that can be decoded, in topological order.
fn stages(world: &World, refusals: &mut Vec<(Span, String)>, sink: &mut Sink) -> Stages {
    let drafts = draft::drafts(world, sink);
    let order = order::order(&drafts, sink);
    let seed = world.of_kind("pipeline").next().and_then(|root| root.leaf("seed"));
    let mut stages = Stages::default();
    let mut ids: IndexMap<String, StageId> = IndexMap::new();
    for draft in order.into_iter().filter_map(|at| drafts.get(at)) {
        let before = sink.errors();
        let Some(decoded) = decoded(world, draft, sink) else {
            undecoded(draft, before, sink);
            continue;
        };
        let id = stages.next_id();
        ids.insert(draft.name.clone(), id);
        let mut fields = fields::of_stage(world, draft, seed);
        fields.unsupported.extend(decoded.unsupported);
        let inputs = draft.inputs.iter().filter_map(|input| {
            Some(Input { role: input.role.clone(), stage: *ids.get(input.stage.as_str())? })
        });
        refusals.extend(fields.unsupported.iter().cloned());
        stages.push(Stage {
            id,
            name: draft.name.clone(),
            config: decoded.config,
            inputs: inputs.collect(),
            sources: decoded.sources,
            fields: fields.list,
            span: draft.record.name_leaf().map_or(&draft.record.span, |leaf| &leaf.span).clone(),
            unsupported: sentences(&fields.unsupported),
        });
    }
    stages
}

fn decoded(world: &World, draft: &Draft<'_>, sink: &mut Sink) -> Option<Decoded> {
    if draft.record.broken {
        return None;
    }
    Decoder::new(world, sink).stage(draft)
}

/// A stage that cannot be decoded although nothing is known to be wrong is a defect of the table or of the decoder.
fn undecoded(draft: &Draft<'_>, before: usize, sink: &mut Sink) {
    if sink.errors() == 0 && before == 0 {
        let message = format!("stage `{}` cannot be decoded", draft.name);
        sink.push(
            Diagnostic::new(Code::Internal, message)
                .at(&draft.record.span, "here")
                .help("this is a defect of fmflow: please report it with this file"),
        );
    }
}

/// Reasons as sentences, each once.
fn sentences(unsupported: &[(Span, String)]) -> Vec<String> {
    let mut reasons = Vec::new();
    for (_, reason) in unsupported {
        let sentence = format!("not supported yet: {reason}");
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
    use crate::language::schema::{NodeSpec, schema};
    use crate::pipeline::field_path;

    /// What the shipped pipelines do not write.
    const OTHERS: &str = include_str!("../../tests/every.kdl");

    fn names(prefix: &str, record: &Record, read: &mut BTreeSet<String>) {
        let path = format!("{prefix}/{}", record.spec.name);
        let seen = record.leaves.iter().filter(|leaf| spy::was_read(leaf));
        read.extend(seen.map(|leaf| format!("{path}.{}", leaf.spec.name)));
        record.children.iter().for_each(|child| names(&path, child, read));
    }

    fn expected(prefix: &str, node: &NodeSpec, all: &mut BTreeSet<String>) {
        let ignored =
            ["profile", "recipe", "window", "end-of-turn", "contents", "permanent", "guard", "probe"];
        if ignored.contains(&node.name.as_str()) {
            return;
        }
        let path = format!("{prefix}/{}", node.name);
        let fields = node.fields().filter(|field| !field.unsupported);
        all.extend(fields.map(|field| format!("{path}.{}", field.name)));
        node.children.iter().for_each(|child| expected(&path, child, all));
    }

    /// Fields that no decoder reads: files are included and recipes merged before there are records to decode, benchmarks do
    /// not run yet, and the others have one value so far.
    const READ_BY_NO_DECODER: &[&str] = &[
        "/evaluate/benchmark.new-tokens",
        "/evaluate/benchmark.samples",
        "/export.format",
        "/include.value",
        "/random-init/shape.value",
        "/sampler.cache",
        "/train.use",
        "/train/optimizer.value",
        "/train/precision.accumulate",
        "/train/precision.compute",
        "/train/precision.master",
    ];

    /// Pipelines that write every field between them.
    const TEXTS: [&str; 3] =
        [OTHERS, include_str!("../../pipelines/quickstart.kdl"), include_str!("../../pipelines/full.kdl")];

    /// The records and the stages of a text without errors.
    fn decoded_text(text: &str) -> (World, Stages) {
        let base = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines"));
        let file = read::root_file("test.kdl", text.to_owned(), base.to_owned());
        let mut sink = Sink::default();
        let loaded = include::load_with_includes(&file, &base.join("test.kdl"), &mut sink).unwrap();
        let mut world = world(&loaded, &mut sink);
        spy::forget();
        let _ = Levels::of(world.of_kind("lint").next(), &Options::default(), &mut sink);
        world.check_references(&mut sink);
        mixture::check(&mut world, &mut sink);
        pins::pin(&mut world, &Lockfile::default(), &mut sink);
        let mut refusals = Vec::new();
        let stages = stages(&world, &mut refusals, &mut sink);
        lint::pipeline(&world, &stages, &Options::default(), &mut refusals, &mut sink);
        decode::pipeline(world.of_kind("pipeline").next().unwrap()).unwrap();
        let found = crate::text::render::concise(&sink.finish());
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
        schema().nodes.iter().for_each(|node| expected("", node, &mut all));
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
        let misspelt: Vec<_> =
            asked.filter(|(kind, path)| !known.contains(&(*kind, (*path).to_owned()))).collect();
        assert_eq!(misspelt, []);
    }
}
