//! `fmflow diff`: what differs between two results or two runs, which problems only one of two evaluations solves, and whether that is
//! more than chance.

mod measures;
mod render;
mod side;

use clap::Args;
use indexmap::IndexSet;

use self::measures::{LossPair, MeasurePair, Measures, pair_measures};
use self::side::{Lookup, Operand, Side};
use super::CommandContext;
use crate::error::{Error, Result};
use crate::pipeline::fingerprint::IngredientKind;
use crate::plan::compare::{IngredientDifference, Upstream, compare_ledgers, compare_results};
use crate::plan::why::History;
use crate::store::StoreListing;
use crate::store::journal::RunRecord;
use crate::text::escape::{escape_line, show_path};

#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    /// A result: the folder of an artifact or checkpoint, a stage of the last run, or `STAGE@RUN`; `:CHECKPOINT` behind it names one
    /// of the checkpoints of an evaluation. Or a run: its number
    a: String,
    /// What it is compared with
    b: String,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// How two results differ.
struct ResultDiff {
    sides: [Side; 2],
    differences: Vec<IngredientDifference>,
    measures: Vec<MeasurePair>,
    losses: Vec<LossPair>,
}

/// How two runs differ.
struct RunDiff {
    numbers: [u64; 2],
    /// File, settings and device, where they differ.
    facts: Vec<(&'static str, [String; 2])>,
    /// Stages of one run alone.
    alone: [Vec<String>; 2],
    /// Stages of both with the same result.
    same: Vec<String>,
    /// Stages of both that differ by more than their inputs, and evaluations.
    stages: Vec<ResultDiff>,
    /// Stages that differ only because their inputs do.
    follow: Vec<String>,
}

pub(super) fn run_diff(arguments: &DiffArguments, context: &CommandContext<'_>) -> Result<()> {
    let store = context.open_store()?;
    let listing = store.as_ref().map(StoreListing::read).transpose()?.unwrap_or_default();
    let history = match &store {
        Some(store) => History::read(store, &listing)?,
        None => History::default(),
    };
    let lookup = Lookup { store: store.as_ref(), listing: &listing };
    match (lookup.find(&arguments.a)?, lookup.find(&arguments.b)?) {
        (Operand::Result(first), Operand::Result(second)) => {
            let diff = compare_sides(&history, [*first, *second])?;
            match arguments.json {
                true => context.output.json(&diff.json()),
                false => context.output.result(&diff.text()),
            }
        }
        (Operand::Run { number: first, record: a }, Operand::Run { number: second, record: b }) => {
            let diff = compare_runs(&history, &lookup, [first, second], [&a, &b])?;
            match arguments.json {
                true => context.output.json(&diff.json()),
                false => context.output.result(&diff.text()),
            }
        }
        _ => Err(Error::usage(
            "one of the two is a run, the other a result",
            "compare two runs, or two results: `STAGE@RUN` is the result of a stage in a run",
        )),
    }
}

fn compare_sides(history: &History, sides: [Side; 2]) -> Result<ResultDiff> {
    let [first, second] = &sides;
    if (first.kind == "evaluate") != (second.kind == "evaluate") {
        let name = |side: &Side| format!("`{}` is of kind `{}`", escape_line(&side.shown), side.kind);
        let message = format!("{}, but {}", name(first), name(second));
        return Err(Error::usage(message, "compare two evaluations, or two other results"));
    }
    let mut differences = compare_ledgers(history, &first.ledger, &second.ledger);
    if let Some((a, b)) = first.checkpoint_fingerprint().zip(second.checkpoint_fingerprint()) {
        // The other checkpoints are not asked about.
        let other = |one: &IngredientDifference| {
            one.what == IngredientKind::Input && one.name.starts_with("checkpoint/")
                || one.what == IngredientKind::Field
                    && (one.name == "checkpoint" || one.name.starts_with("checkpoint."))
        };
        differences.retain(|one| !other(one));
        match compare_results(history, a, b) {
            Some(found) => differences.extend(found),
            // No record says how they were made: that they are two is all there is to say.
            None if a == b => {}
            None => differences.push(IngredientDifference {
                what: IngredientKind::Input,
                name: "checkpoint".into(),
                values: [Some(a.to_owned()), Some(b.to_owned())],
                places: [None, None],
                upstream: Upstream::Unknown,
            }),
        }
    }
    let measured = [Measures::read(first)?, Measures::read(second)?];
    let (measures, losses) = pair_measures([first, second], [&measured[0], &measured[1]]);
    Ok(ResultDiff { sides, differences, measures, losses })
}

fn compare_runs(
    history: &History,
    lookup: &Lookup<'_>,
    numbers: [u64; 2],
    records: [&RunRecord; 2],
) -> Result<RunDiff> {
    let [first, second] = records;
    let alone = [(first, second), (second, first)].map(|(own, other)| {
        own.stages.keys().filter(|name| !other.stages.contains_key(*name)).cloned().collect::<Vec<_>>()
    });
    let mut diff = RunDiff {
        numbers,
        facts: compare_facts(records),
        alone,
        same: vec![],
        stages: vec![],
        follow: vec![],
    };
    let common: IndexSet<&String> =
        first.stages.keys().filter(|name| second.stages.contains_key(*name)).collect();
    for name in common {
        let side = |record: &RunRecord| lookup.of_record(name, record).expect("the record has the stage");
        let sides = [side(first), side(second)];
        if sides[0].fingerprint() == sides[1].fingerprint() {
            diff.same.push(name.clone());
            continue;
        }
        if sides[0].kind != sides[1].kind {
            // Another kind of stage measures other things.
            let mut differences = compare_ledgers(history, &sides[0].ledger, &sides[1].ledger);
            differences.retain(|one| one.what != IngredientKind::Input);
            diff.stages.push(ResultDiff { sides, differences, measures: vec![], losses: vec![] });
            continue;
        }
        let mut found = compare_sides(history, sides)?;
        // What differs upstream is said at the stage upstream.
        found.differences.retain(|one| one.what != IngredientKind::Input);
        match found.differences.is_empty() && found.measures.is_empty() && found.losses.is_empty() {
            true => diff.follow.push(name.clone()),
            false => diff.stages.push(found),
        }
    }
    Ok(diff)
}

fn compare_facts([first, second]: [&RunRecord; 2]) -> Vec<(&'static str, [String; 2])> {
    let facts = |run: &RunRecord| {
        [("file", show_path(&run.file)), ("--set", run.settings.join(" ")), ("device", run.device.clone())]
    };
    let pairs = facts(first).into_iter().zip(facts(second));
    pairs.filter(|(a, b)| a.1 != b.1).map(|((name, a), (_, b))| (name, [a, b])).collect()
}
