//! How two results differ: the ingredients of their ledgers, with the places where settings were written, and below an input the
//! ingredients of the results that it names.

use std::collections::HashSet;

use crate::pipeline::fingerprint::{IngredientKind, Ledger, LedgerChange};
use crate::plan::why::History;

/// An ingredient that differs between two results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IngredientDifference {
    /// Its kind.
    pub what: IngredientKind,
    /// Its name; of a setting, the dotted path.
    pub name: String,
    /// Its value in the first and in the second result; `None` where it has no such ingredient.
    pub values: [Option<String>; 2],
    /// Where a setting was written, as `file:line:column`, if a run recorded it.
    pub places: [Option<String>; 2],
    /// Of an input: how the results that it names differ.
    pub upstream: Upstream,
}

/// What is known of two inputs that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// It is no input, or one of the two results is not in the history.
    Unknown,
    /// These two results were compared before.
    Above,
    /// How they differ.
    Differences(Vec<IngredientDifference>),
}

/// Compares two ledgers, and the results upstream as far as the history knows them.
#[must_use]
pub(crate) fn compare_ledgers(
    history: &History,
    first: &Ledger,
    second: &Ledger,
) -> Vec<IngredientDifference> {
    Comparison { history, seen: HashSet::new() }.compare(first, second)
}

/// Compares two results by their fingerprints; `None` if the history does not know both.
#[must_use]
pub(crate) fn compare_results(
    history: &History,
    first: &str,
    second: &str,
) -> Option<Vec<IngredientDifference>> {
    let (first, second) = (history.ledger(first)?, history.ledger(second)?);
    Some(compare_ledgers(history, first, second))
}

struct Comparison<'a> {
    history: &'a History,
    /// Pairs of results that were compared: a checkpoint may be an input of many.
    seen: HashSet<(String, String)>,
}

impl Comparison<'_> {
    fn compare(&mut self, first: &Ledger, second: &Ledger) -> Vec<IngredientDifference> {
        let changes = second.changes_since(first);
        let fingerprints = [first, second].map(Ledger::fingerprint);
        let place = |at: usize, name: &str| self.history.place(&fingerprints[at].0, name).map(str::to_owned);
        let placed: Vec<_> = changes
            .into_iter()
            .map(|change| {
                let is_field = change.what == IngredientKind::Field;
                let places = [&change.old, &change.new].map(|value| is_field && value.is_some());
                let places = [0, 1].map(|at| places[at].then(|| place(at, &change.name)).flatten());
                (change, places)
            })
            .collect();
        placed.into_iter().map(|(change, places)| self.difference(change, places)).collect()
    }

    fn difference(&mut self, change: LedgerChange, places: [Option<String>; 2]) -> IngredientDifference {
        let upstream = self.compare_upstream(&change);
        let LedgerChange { what, name, old, new } = change;
        IngredientDifference { what, name, values: [old, new], places, upstream }
    }

    fn compare_upstream(&mut self, change: &LedgerChange) -> Upstream {
        let (IngredientKind::Input, Some(old), Some(new)) = (change.what, &change.old, &change.new) else {
            return Upstream::Unknown;
        };
        let Some((first, second)) = self.history.ledger(old).zip(self.history.ledger(new)) else {
            return Upstream::Unknown;
        };
        match self.seen.insert((old.clone(), new.clone())) {
            true => Upstream::Differences(self.compare(first, second)),
            false => Upstream::Above,
        }
    }
}
