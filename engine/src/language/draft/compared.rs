//! Datasets that the documents of another one are compared with.

use crate::language::names::Declarations;
use crate::language::record::{Leaf, Record};

/// The names in `duplicates "drop" { dataset "NAME" }` of a dataset.
pub(crate) fn list_originals(dataset: &Record) -> impl Iterator<Item = &Leaf> {
    dataset
        .child("duplicates")
        .into_iter()
        .flat_map(|child| child.children("dataset"))
        .filter_map(Record::name_leaf)
}

/// The other datasets that one names in `contamination held-out=` and in `duplicates`, each once, in this order.
pub(crate) fn find_compared_datasets<'a>(world: &'a Declarations, dataset: &Record) -> Vec<&'a Record> {
    let held = dataset.children("contamination").filter_map(|child| child.leaf("held-out"));
    let mut found: Vec<&Record> = Vec::new();
    for other in held.chain(list_originals(dataset)).filter_map(|leaf| world.any_target(leaf)) {
        if !std::ptr::eq(other, dataset) && !found.iter().any(|known| std::ptr::eq(*known, other)) {
            found.push(other);
        }
    }
    found
}
