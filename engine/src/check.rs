//! From a file to a checked pipeline: every phase works on what survived the one before, and one run tells everything.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::decode::{self, Decoded, Decoder};
use crate::diagnostic::{Code, Diagnostic, Severity, Sink};
use crate::draft::{self, Draft};
use crate::file::Loaded;
use crate::levels::Levels;
use crate::lockfile::{self, Lockfile};
use crate::pipeline::{File, Input, Pipeline, Span, Stage, StageId};
use crate::record::Record;
use crate::resolve::World;
use crate::schema::validate;
use crate::{fields, file, graph, lint, mixture, repository, settings};

/// What a check may know about the world besides the text.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names of the secrets that are there.
    pub secrets: Vec<String>,
    /// Settings that stand in for the file's, as `path=value`; later ones win.
    pub settings: Vec<String>,
    /// Codes of warnings that are not told.
    pub allow: Vec<String>,
    /// Codes of warnings that are errors; `warnings` stands for all that nothing allows.
    pub deny: Vec<String>,
}

impl Options {
    /// Secrets taken from the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        Self { secrets: file::environment(), ..Self::default() }
    }
}

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
    let absolute = file::absolute(path);
    match file::read(path, &mut sink) {
        Some(file) => check_file(&file, &absolute, options, resolve, sink),
        None => Checked { pipeline: None, diagnostics: sink.finish(), allowed: 0 },
    }
}

/// Checks a text whose paths are relative to `base`; reads no other configuration than those it includes,
/// and the lock file of its name.
#[must_use]
pub fn check_text(name: &str, text: &str, base: &Path, options: &Options) -> Checked {
    let base = file::absolute(base);
    let path = base.join(name);
    let file = file::named(name, text.to_owned(), base);
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
    let Some(mut loaded) = file::load(file, path, sink) else { return (None, Levels::default()) };
    settings::apply(&options.settings, &mut loaded, sink);
    let mut world = world(&loaded, sink);
    let levels = Levels::of(world.of_kind("lint").next(), options, sink);
    world.check_references(sink);
    mixture::check(&mut world, sink);
    let lock = lockfile::read(path, sink);
    let lock = resolve(&world, lock, sink);
    let pins = repository::pin(&mut world, &lock, sink);
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
    let world = World::new(records, phantoms, loaded.complete, sink);
    // The files were read before there was a world.
    world.of_kind("include").for_each(|record| record.heed(&["value"]));
    world
}

fn finished(
    world: &World,
    stages: Vec<Stage>,
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
fn stages(world: &World, refusals: &mut Vec<(Span, String)>, sink: &mut Sink) -> Vec<Stage> {
    let drafts = draft::drafts(world, sink);
    let order = graph::order(&drafts, sink);
    let seed = world.of_kind("pipeline").next().and_then(|root| root.leaf("seed"));
    let mut stages: Vec<Stage> = Vec::new();
    let mut ids: IndexMap<String, StageId> = IndexMap::new();
    for draft in order.into_iter().filter_map(|at| drafts.get(at)) {
        let before = sink.errors();
        let Some(decoded) = decoded(world, draft, sink) else {
            undecoded(draft, before, sink);
            continue;
        };
        let id = StageId(u32::try_from(stages.len()).unwrap_or(u32::MAX));
        ids.insert(draft.name.clone(), id);
        let mut fields = fields::of_stage(world, draft, seed);
        fields.unsupported.extend(decoded.unsupported);
        let inputs = draft.inputs.iter().filter_map(|(role, name, _)| {
            Some(Input { role: role.clone(), stage: *ids.get(name.as_str())? })
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
    use crate::schema::{NodeSpec, schema};

    /// What the shipped pipelines do not write.
    const OTHERS: &str = include_str!("../../tests/every.kdl");

    fn names(prefix: &str, record: &Record, read: &mut BTreeSet<String>) {
        let path = format!("{prefix}/{}", record.spec.name);
        let seen = record.leaves.iter().filter(|leaf| leaf.seen.get());
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

    #[test]
    fn every_field_of_the_table_is_read_by_a_decoder() {
        let base = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines"));
        let mut read = BTreeSet::new();
        for text in
            [OTHERS, include_str!("../../pipelines/quickstart.kdl"), include_str!("../../pipelines/full.kdl")]
        {
            let file = file::named("test.kdl", text.to_owned(), base.to_owned());
            let mut sink = Sink::default();
            let loaded = file::load(&file, &base.join("test.kdl"), &mut sink).unwrap();
            let mut world = world(&loaded, &mut sink);
            let _ = Levels::of(world.of_kind("lint").next(), &Options::default(), &mut sink);
            world.check_references(&mut sink);
            mixture::check(&mut world, &mut sink);
            repository::pin(&mut world, &Lockfile::default(), &mut sink);
            let mut refusals = Vec::new();
            let stages = stages(&world, &mut refusals, &mut sink);
            lint::pipeline(&world, &stages, &Options::default(), &mut refusals, &mut sink);
            decode::pipeline(world.of_kind("pipeline").next().unwrap()).unwrap();
            let found = crate::render::concise(&sink.finish());
            assert!(!found.contains("error["), "{found}");
            world.records.iter().for_each(|record| names("", record, &mut read));
        }
        let mut all = BTreeSet::new();
        schema().nodes.iter().for_each(|node| expected("", node, &mut all));
        let unread: Vec<_> = all.difference(&read).collect();
        assert_eq!(unread, Vec::<&String>::new());
    }
}
