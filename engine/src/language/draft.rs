//! Drafts of stages: which stages a configuration has and which artifacts each reads, before any settings are decoded.

mod average;
mod compared;
mod made;
mod report;
mod teacher;

pub(crate) use average::list_averaged_updates;
pub(crate) use compared::{find_compared_datasets, list_held_out_parts, list_originals};
pub(crate) use made::find_made_files;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::language::mixture;
use crate::language::names::Declarations;
use crate::language::record::Record;
use crate::language::schema::CanonicalValue;
use crate::pipeline::role::InputRole;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;

/// A stage whose settings have not been decoded yet.
#[derive(Clone, Debug)]
pub(crate) struct Draft<'a> {
    /// Unique name of the stage; `ROWS/DATASET` for a rows stage, `CONVERT/source` for an implicit fetch.
    pub name: String,
    /// The node that declares it: the `rows` node of a rows stage, the `convert` node of an implicit fetch.
    pub record: &'a Record,
    /// The dataset of a rows stage.
    pub dataset: Option<&'a Record>,
    /// Whether this is the fetch that a `convert` from a path implies.
    pub implicit_fetch: bool,
    /// The artifacts that it reads.
    pub inputs: Vec<DraftInput>,
}

/// An artifact that a drafted stage reads.
#[derive(Clone, Debug)]
pub(crate) struct DraftInput {
    /// What the stage uses it for.
    pub role: InputRole,
    /// The name of the stage that makes it.
    pub stage: String,
    /// Where the configuration names it.
    pub span: Span,
}

/// All stages of a configuration, in the order of the text. A rows stage exists only for a pair of a `rows` node and a
/// dataset that some stage uses. No two stages have one name.
pub(crate) fn collect_drafts<'a>(world: &'a Declarations, sink: &mut Sink) -> Vec<Draft<'a>> {
    let used = find_used_rows(world);
    let mut drafts = Vec::new();
    for record in world.records.iter().filter(|record| world.declares(record)) {
        match record.spec.name.as_str() {
            "rows" => draft_rows(world, record, &used, &mut drafts),
            "convert" => draft_conversion(record, &mut drafts),
            "evaluate" | "frontier" => draft_evaluation(world, record, &used, &mut drafts, sink),
            _ if record.spec.namespace == "stage" => draft_plain_stage(world, record, &mut drafts),
            _ => {}
        }
    }
    drop_repeated_names(&mut drafts, sink);
    drafts
}

/// Reports and drops every draft whose name an earlier one has. Names that the text declares are unique, but a composed one
/// can be that of another stage.
fn drop_repeated_names(drafts: &mut Vec<Draft<'_>>, sink: &mut Sink) {
    let mut firsts: BTreeMap<String, &Record> = BTreeMap::new();
    drafts.retain(|draft| match firsts.entry(draft.name.clone()) {
        Entry::Vacant(free) => {
            free.insert(draft.record);
            true
        }
        Entry::Occupied(taken) => {
            sink.push(repeated_stage_name(draft, taken.get()));
            false
        }
    });
}

fn repeated_stage_name(draft: &Draft<'_>, first: &Record) -> Diagnostic {
    let place = |record: &Record| record.name_leaf().map_or(&record.span, |leaf| &leaf.span).clone();
    Diagnostic::new(Code::DuplicateName, format!("two stages are called `{}`", draft.name))
        .at(&place(draft.record), "again here")
        .also(&place(first), "first here")
        .help("rename the `rows` node, the dataset or the `convert`")
}

/// A used pair of a `rows` node and a dataset, and where it is used first.
struct UsedRows<'a> {
    rows: &'a Record,
    dataset: &'a Record,
    span: Span,
}

impl UsedRows<'_> {
    fn name(&self) -> String {
        format_rows_name(self.rows, self.dataset)
    }
}

fn format_rows_name(rows: &Record, dataset: &Record) -> String {
    format!("{}/{}", rows.expect_name(), dataset.expect_name())
}

/// All used pairs, each once, in the order of the text: first those of training stages, then those of measurements that
/// name their rows.
fn find_used_rows(world: &Declarations) -> Vec<UsedRows<'_>> {
    let mut used: Vec<UsedRows<'_>> = Vec::new();
    for record in world.of_kind("train") {
        used.extend(find_trained_rows(world, record));
    }
    for record in world.of_kind("evaluate").chain(world.of_kind("frontier")) {
        for measured in record.children("held-out").chain(record.children("exact-match")) {
            let target = |field: &str| world.any_target(measured.leaf(field)?);
            if let (Some(rows), Some(dataset)) = (target("rows"), target("dataset")) {
                used.push(UsedRows { rows, dataset, span: measured.span.clone() });
            }
        }
    }
    let mut names = BTreeSet::new();
    used.retain(|pair| names.insert(pair.name()));
    used
}

fn find_trained_rows<'a>(world: &'a Declarations, record: &'a Record) -> Vec<UsedRows<'a>> {
    let Some(data) = record.child("data") else { return Vec::new() };
    let target = |field: &str| world.any_target(data.leaf(field)?);
    let (Some(rows), Some(mixture)) = (target("rows"), target("mixture")) else { return Vec::new() };
    let datasets = mixture::collect_mixture_datasets(world, mixture).into_iter();
    datasets.map(|dataset| UsedRows { rows, dataset, span: data.span.clone() }).collect()
}

fn draft_rows<'a>(
    world: &Declarations,
    record: &'a Record,
    used: &[UsedRows<'a>],
    drafts: &mut Vec<Draft<'a>>,
) {
    let mine = used.iter().filter(|pair| std::ptr::eq(pair.rows, record));
    for pair in mine {
        let tokenizer = find_referenced_input(record, "tokenizer", InputRole::Tokenizer);
        let read = [pair.dataset].into_iter().chain(find_compared_datasets(world, pair.dataset));
        let made = read.filter_map(|dataset| made::find_made_documents(world, dataset));
        let inputs = tokenizer.into_iter().chain(made).collect();
        drafts.push(Draft {
            name: pair.name(),
            record,
            dataset: Some(pair.dataset),
            implicit_fetch: false,
            inputs,
        });
    }
}

/// The input that a reference field of the node names.
fn find_referenced_input(record: &Record, field: &str, role: InputRole) -> Option<DraftInput> {
    let leaf = record.leaf(field)?;
    Some(DraftInput { role, stage: leaf.reference()?.to_owned(), span: leaf.span.clone() })
}

fn draft_conversion<'a>(record: &'a Record, drafts: &mut Vec<Draft<'a>>) {
    let name = record.expect_name();
    let mut inputs: Vec<_> = find_referenced_input(record, "from", InputRole::From).into_iter().collect();
    if let Some(leaf) = record.leaf("from").filter(|leaf| matches!(leaf.value, CanonicalValue::Path(_))) {
        let source = format!("{name}/source");
        inputs.push(DraftInput { role: InputRole::From, stage: source.clone(), span: leaf.span.clone() });
        drafts.push(Draft { name: source, record, dataset: None, implicit_fetch: true, inputs: Vec::new() });
    }
    inputs.extend(
        record
            .child("tokenizer")
            .and_then(|child| find_referenced_input(child, "value", InputRole::Tokenizer)),
    );
    drafts.push(Draft { name: name.to_owned(), record, dataset: None, implicit_fetch: false, inputs });
}

fn draft_plain_stage<'a>(world: &'a Declarations, record: &'a Record, drafts: &mut Vec<Draft<'a>>) {
    let name = record.expect_name();
    let mut inputs = made::find_made_inputs(world, record);
    inputs.extend(find_referenced_input(record, "from", InputRole::From));
    inputs.extend(find_referenced_input(record, "tokenizer", InputRole::Tokenizer));
    inputs.extend(average::find_averaged(world, record));
    inputs.extend(report::find_reported(world, record));
    if record.spec.name == "train" {
        let adapter = record.child("adapter");
        inputs.extend(adapter.and_then(|child| find_referenced_input(child, "from", InputRole::Adapter)));
        inputs.extend(teacher::find_teacher(world, record));
        for pair in find_trained_rows(world, record) {
            let role = InputRole::rows_of(pair.dataset.expect_name());
            inputs.push(DraftInput { role, stage: pair.name(), span: pair.span.clone() });
        }
    }
    drafts.push(Draft { name: name.to_owned(), record, dataset: None, implicit_fetch: false, inputs });
}

fn draft_evaluation<'a>(
    world: &'a Declarations,
    record: &'a Record,
    used: &[UsedRows<'a>],
    drafts: &mut Vec<Draft<'a>>,
    sink: &mut Sink,
) {
    let name = record.expect_name();
    let mut inputs = Vec::new();
    let checkpoints = record.child("checkpoint").into_iter().flat_map(|child| child.all("name"));
    for leaf in checkpoints {
        let stage = leaf.expect_text().to_owned();
        let (role, span) = (InputRole::Checkpoint(stage.clone()), leaf.span.clone());
        inputs.push(DraftInput { role, stage, span });
    }
    for measured in &record.children {
        if matches!(measured.spec.name.as_str(), "held-out" | "exact-match") {
            inputs.extend(
                find_measured_rows(world, record, measured, used, sink).map(|(role, stage)| DraftInput {
                    role,
                    stage,
                    span: measured.span.clone(),
                }),
            );
        }
    }
    let mut seen = HashSet::new();
    inputs.retain(|input| seen.insert((input.role.clone(), input.stage.clone())));
    drafts.push(Draft { name: name.to_owned(), record, dataset: None, implicit_fetch: false, inputs });
}

/// Kinds of nodes that decide which rows are made. If one of them is broken, missing rows are a consequence, not an error
/// of their own.
const ROW_MAKING_KINDS: &[&str] = &["train", "mixture", "rows", "recipe"];

/// Role and name of the rows stage that a measurement reads: the one that it names, or the only fitting one that another
/// stage uses. Exact match prefers rows with a canvas, likelihood prefers rows without one.
fn find_measured_rows(
    world: &Declarations,
    evaluation: &Record,
    measured: &Record,
    used: &[UsedRows<'_>],
    sink: &mut Sink,
) -> Option<(InputRole, String)> {
    let dataset = world.any_target(measured.leaf("dataset")?)?;
    let role = find_measured_role(evaluation, measured)?;
    if let Some(leaf) = measured.leaf("rows") {
        return Some((role, format_rows_name(world.any_target(leaf)?, dataset)));
    }
    let all: Vec<_> = used.iter().filter(|pair| std::ptr::eq(pair.dataset, dataset)).collect();
    let canvas = measured.spec.name == "exact-match";
    let fitting: Vec<_> = all.iter().filter(|pair| pair.rows.leaf("canvas").is_some() == canvas).collect();
    let fitting = if fitting.is_empty() { all.iter().collect() } else { fitting };
    match fitting.as_slice() {
        [one] => return Some((role, one.name())),
        [] if world
            .records
            .iter()
            .any(|record| record.broken && ROW_MAKING_KINDS.contains(&record.spec.name.as_str())) => {}
        [] => sink.push(dataset_without_rows(world, measured, dataset)),
        many => sink.push(ambiguous_rows(measured, dataset, many)),
    }
    None
}

/// The role of the rows that a measurement reads, with the name of the rows if the measurement gives one.
///
/// If an evaluation measures both likelihood and exact match on one dataset, exact match gets the role `Answers`, because
/// the two may read different rows.
#[must_use]
pub(crate) fn find_measured_role(evaluation: &Record, measured: &Record) -> Option<InputRole> {
    let dataset = measured.text("dataset")?;
    let both = evaluation.children("held-out").any(|other| other.text("dataset") == Some(dataset));
    let (dataset, rows) = (dataset.to_owned(), measured.text("rows").map(str::to_owned));
    Some(match both && measured.spec.name == "exact-match" {
        true => InputRole::Answers { dataset, rows },
        false => InputRole::Rows { dataset, rows },
    })
}

fn dataset_without_rows(world: &Declarations, measured: &Record, dataset: &Record) -> Diagnostic {
    let name = dataset.expect_name();
    let place = measured.leaf("dataset").map_or(&measured.span, |leaf| &leaf.span);
    let canvas = measured.spec.name == "exact-match";
    let fitting = world.of_kind("rows").find(|rows| rows.leaf("canvas").is_some() == canvas);
    let rows = fitting.or(world.of_kind("rows").next()).and_then(Record::name).unwrap_or("text");
    Diagnostic::new(Code::NoRows, format!("no training stage makes rows from dataset `{name}`"))
        .at(place, "rows of this dataset are needed")
        .help(format!("name the `rows` node to use: `rows=\"{rows}\"`"))
}

fn ambiguous_rows(measured: &Record, dataset: &Record, many: &[&&UsedRows<'_>]) -> Diagnostic {
    let name = dataset.expect_name();
    let names: Vec<_> = many.iter().map(|pair| pair.rows.expect_name()).collect();
    let place = measured.leaf("dataset").map_or(&measured.span, |leaf| &leaf.span);
    let message = format!("dataset `{name}` has several kinds of rows: `{}`", names.join("`, `"));
    let mut diagnostic = Diagnostic::new(Code::AmbiguousRows, message).at(place, "which of them?");
    for pair in many {
        diagnostic = diagnostic.also(&pair.span, format!("uses `{}`", pair.rows.expect_name()));
    }
    diagnostic.help(format!("choose one: `rows=\"{}\"`", names[0]))
}
