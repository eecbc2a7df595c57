//! Checks mixtures and flattens them into datasets with shares. A mixture can contain other mixtures, and weights can
//! change over the updates.
//!
//! A mixture inside another one divides its own share by its own weights. The weight of a part can be a schedule: one value
//! until an update, another one from then on. Updates are those of the training stage.

mod nesting;

use std::collections::BTreeSet;

use indexmap::IndexMap;

use crate::language::names::Declarations;
use crate::language::record::Record;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use nesting::{MAX_MIXTURE_PARTS, NestingSearch};

/// A mixture whose nested mixtures have been resolved into datasets.
#[derive(Clone, Debug)]
pub(crate) struct FlatMixture<'a> {
    /// First update of every phase, ascending; the first is 0.
    pub phases: Vec<u64>,
    /// Every dataset once, in the order of the text, with its weight in each phase. Weights are not normalized.
    pub datasets: Vec<(&'a Record, Vec<f64>)>,
}

impl FlatMixture<'_> {
    /// Phases and weights as JSON, for the fingerprint: `[[first update, weight of the first dataset, ..], ..]`.
    #[must_use]
    pub(crate) fn json(&self) -> serde_json::Value {
        let weights = |at: usize| self.datasets.iter().map(move |(_, weights)| weights[at]);
        let phase = |(at, start): (usize, &u64)| {
            let row =
                std::iter::once(serde_json::json!(start)).chain(weights(at).map(|w| serde_json::json!(w)));
            serde_json::Value::from_iter(row)
        };
        serde_json::Value::from_iter(self.phases.iter().enumerate().map(phase))
    }
}

/// Whether a mixture has nested mixtures or scheduled weights, instead of only datasets with one weight each.
#[must_use]
pub(crate) fn is_composed_mixture(mixture: &Record) -> bool {
    mixture.children.iter().any(|part| part.spec.name == "mixture" || part.child("weight").is_some())
}

/// The datasets of a mixture, each once, in the order of the text.
///
/// Also works for broken mixtures, which drafts of stages still refer to: a cycle is entered once, and the number of steps
/// is limited.
#[must_use]
pub(crate) fn collect_mixture_datasets<'a>(world: &'a Declarations, mixture: &'a Record) -> Vec<&'a Record> {
    let mut found: Vec<&Record> = Vec::new();
    let mut open = vec![MixtureWalk { mixture, next: 0 }];
    let mut steps = 0;
    while let Some(walk) = open.last_mut() {
        let Some(part) = walk.mixture.children.get(walk.next) else {
            open.pop();
            continue;
        };
        walk.next += 1;
        steps += 1;
        let Some(target) = part.leaf("name").and_then(|leaf| world.any_target(leaf)) else { continue };
        match part.spec.name.as_str() {
            "dataset" if !found.iter().any(|other| std::ptr::eq(*other, target)) => found.push(target),
            "mixture"
                if steps <= MAX_MIXTURE_PARTS
                    && !open.iter().any(|walk| std::ptr::eq(walk.mixture, target)) =>
            {
                open.push(MixtureWalk { mixture: target, next: 0 });
            }
            _ => {}
        }
    }
    found
}

struct MixtureWalk<'a> {
    mixture: &'a Record,
    next: usize,
}

/// Phases and weights of a mixture; `None` if it or a part of it is broken. Only for mixtures that [`check_mixtures`] has
/// checked, because it recurses without a limit.
#[must_use]
pub(crate) fn flatten_mixture<'a>(world: &'a Declarations, mixture: &'a Record) -> Option<FlatMixture<'a>> {
    if mixture.broken {
        return None;
    }
    let mut starts = BTreeSet::from([0]);
    collect_phase_starts(world, mixture, &mut starts)?;
    let phases: Vec<u64> = starts.into_iter().collect();
    let mut datasets: IndexMap<*const Record, (&Record, Vec<f64>)> = IndexMap::new();
    for (at, update) in phases.iter().enumerate() {
        for (dataset, weight) in compute_dataset_weights(world, mixture, *update)? {
            let empty = || (dataset, vec![0.0; phases.len()]);
            let entry = datasets.entry(std::ptr::from_ref(dataset)).or_insert_with(empty);
            entry.1[at] += weight;
        }
    }
    Some(FlatMixture { phases, datasets: datasets.into_values().collect() })
}

/// Adds the updates at which a weight changes, in the mixture or in one inside it.
fn collect_phase_starts(world: &Declarations, mixture: &Record, starts: &mut BTreeSet<u64>) -> Option<()> {
    for part in &mixture.children {
        starts.extend(part.children("weight").filter_map(|phase| phase.count("until")));
        if part.spec.name == "mixture" {
            collect_phase_starts(world, world.target(part.leaf("name")?)?, starts)?;
        }
    }
    Some(())
}

/// The datasets of a mixture with their weights at an update. The weights of an inner mixture's datasets are scaled so that
/// they add up to the weight of that mixture.
fn compute_dataset_weights<'a>(
    world: &'a Declarations,
    mixture: &'a Record,
    update: u64,
) -> Option<Vec<(&'a Record, f64)>> {
    let mut found = Vec::new();
    for part in &mixture.children {
        let (target, weight) = (world.target(part.leaf("name")?)?, find_part_weight(part, update)?);
        if part.spec.name == "dataset" {
            found.push((target, weight));
            continue;
        }
        let inner = compute_dataset_weights(world, target, update)?;
        let all: f64 = inner.iter().map(|(_, weight)| weight).sum();
        found.extend(
            inner
                .into_iter()
                .map(|(dataset, own)| (dataset, if all > 0.0 { weight * own / all } else { 0.0 })),
        );
    }
    Some(found)
}

/// The weight of a part at an update.
fn find_part_weight(part: &Record, update: u64) -> Option<f64> {
    let now = |phase: &&Record| phase.count("until").is_none_or(|until| update < until);
    match part.children("weight").find(now) {
        Some(phase) => phase.number("value"),
        None => part.number("weight"),
    }
}

/// Reports mixtures that contain themselves, that have no weight, or whose phases are out of order, and marks them broken.
pub(crate) fn check_mixtures(world: &mut Declarations, sink: &mut Sink) {
    let mut broken = Vec::new();
    for (at, record) in world.records.iter().enumerate().filter(|(_, record)| record.spec.name == "mixture") {
        let before = sink.errors();
        record.children.iter().for_each(|part| check_weight_phases(part, sink));
        let loops = NestingSearch::new(world, record).walk(record, &mut Vec::new());
        loops
            .iter()
            .filter_map(|found| found.to_diagnostic(world, record))
            .for_each(|fault| sink.push(fault));
        if loops.is_some() || sink.errors() > before {
            broken.push(at);
        }
    }
    mark_broken(world, &broken);
    let mixtures = world.records.iter().enumerate().filter(|(_, record)| record.spec.name == "mixture");
    let fault =
        |(at, record)| Some((at, record, weightless_mixture(&flatten_mixture(world, record)?, record)?));
    let faults: Vec<(usize, &Record, Diagnostic)> = mixtures.filter_map(fault).collect();
    // A mixture that contains a weightless mixture would repeat the diagnostic of that part.
    let follows = |record: &Record| {
        let mut parts = record.children("mixture").filter_map(|part| world.any_target(part.leaf("name")?));
        parts.any(|part| faults.iter().any(|(_, other, _)| std::ptr::eq(*other, part)))
    };
    let reported = faults.iter().filter(|(_, record, _)| !follows(record));
    reported.for_each(|(.., fault)| sink.push(fault.clone()));
    let broken: Vec<usize> = faults.iter().map(|(at, ..)| *at).collect();
    mark_broken(world, &broken);
}

fn mark_broken(world: &mut Declarations, broken: &[usize]) {
    for at in broken {
        world.records[*at].broken = true;
    }
}

/// Reports weight phases that do not end in ascending order, and a last phase with an end.
fn check_weight_phases(part: &Record, sink: &mut Sink) {
    let (name, all) = (part.name().unwrap_or(&part.spec.name), part.children("weight").collect::<Vec<_>>());
    for (at, phase) in all.iter().enumerate() {
        let until = |phase: &Record| phase.count("until").expect("an update is a whole number from 1 on");
        let end = |phase: &Record| phase.leaf("until").map(|leaf| (leaf.span.clone(), until(phase)));
        let before = at.checked_sub(1).and_then(|at| end(all[at]));
        match (end(phase), all.get(at + 1), before) {
            (Some((span, _)), None, _) => sink.push(
                Diagnostic::new(
                    Code::FieldDoesNotApply,
                    format!("the last weight of `{name}` must not have an end"),
                )
                .at(&span, "no weight follows")
                .help("remove `until=`, or add the weight that follows: `weight 1`"),
            ),
            (None, Some(next), _) => sink.push(
                Diagnostic::new(
                    Code::MissingField,
                    format!("a weight of `{name}` that another one follows needs `until`"),
                )
                .at(&phase.span, "`until` is missing")
                .also(&next.span, "the next weight")
                .help("add the update at which it ends, as in `weight 1 until=1_000`"),
            ),
            (Some((span, until)), _, Some((place, start))) if until <= start => sink.push(
                Diagnostic::new(Code::OutOfRange, format!("a weight of `{name}` ends before it begins"))
                    .at(&span, format!("not after {}", start))
                    .also(&place, "it begins here")
                    .help(format!("write an update above {start}, or remove this weight")),
            ),
            _ => {}
        }
    }
}

/// The diagnostic for a mixture without datasets, or without any weight in one of its phases.
fn weightless_mixture(flat: &FlatMixture<'_>, mixture: &Record) -> Option<Diagnostic> {
    let name = mixture.expect_name();
    if flat.datasets.is_empty() {
        let message = format!("mixture `{name}` has no dataset");
        let fault = Diagnostic::new(Code::EmptyMixture, message).at(&mixture.span, "nothing to read");
        return Some(fault.help("add one between the braces, as in `dataset \"text\" weight=1`"));
    }
    let silent = |at: &usize| flat.datasets.iter().all(|(_, weights)| weights[*at] == 0.0);
    let at = (0..flat.phases.len()).find(silent)?;
    let (from, until) = (flat.phases[at], flat.phases.get(at + 1));
    let when = match until {
        Some(until) => format!("from update {from} until {until}"),
        None => format!("from update {from} on"),
    };
    let fault = Diagnostic::new(
        Code::EmptyMixture,
        format!("no dataset of mixture `{name}` has a weight above 0 {when}"),
    );
    Some(
        fault
            .at(&mixture.span, "nothing to read then")
            .help("give one of its parts a weight above 0 for these updates"),
    )
}

#[cfg(test)]
mod tests;
