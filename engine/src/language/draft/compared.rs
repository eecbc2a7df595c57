//! Datasets that the documents of another one are compared with.

use crate::language::names::Declarations;
use crate::language::record::{Leaf, Record};
use crate::pipeline::config::HeldOutPart;

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

/// What is held out of a dataset that documents of `rows` are compared with: by these rows of their own dataset, and by all rows that
/// another one is in. One that is in no rows holds out what it says itself.
pub(crate) fn list_held_out_parts(
    world: &Declarations,
    (rows, own): (&Record, &Record),
    dataset: &Record,
) -> Vec<HeldOutPart> {
    let said = dataset.number("held-out").filter(|share| *share > 0.0);
    let part = |rows: &Record, share: Option<f64>| {
        let share = share.filter(|share| *share > 0.0)?;
        Some(HeldOutPart { share, shard_bytes: rows.count("shard")? })
    };
    let of_rows = |rows: &Record| part(rows, said.or_else(|| rows.number("held-out")));
    let used = if std::ptr::eq(own, dataset) { vec![rows] } else { find_rows_of(world, dataset) };
    let mut parts: Vec<HeldOutPart> = match used.is_empty() {
        true => part(rows, said).into_iter().collect(),
        false => used.into_iter().filter_map(of_rows).collect(),
    };
    parts.sort_by(|a, b| a.share.total_cmp(&b.share).then(a.shard_bytes.cmp(&b.shard_bytes)));
    parts.dedup();
    parts
}

/// The nodes of rows that a stage uses with a dataset.
fn find_rows_of<'a>(world: &'a Declarations, dataset: &Record) -> Vec<&'a Record> {
    let used = super::find_used_rows(world).into_iter();
    used.filter(|pair| std::ptr::eq(pair.dataset, dataset)).map(|pair| pair.rows).collect()
}
