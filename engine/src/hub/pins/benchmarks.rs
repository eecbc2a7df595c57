//! Benchmarks whose problems come from the hub.

use super::{RepositoryUse, refuse_fields_of_repositories};
use crate::hub::lockfile::SelectionRequest;
use crate::language::record::{Leaf, Record, RecordPath};
use crate::pipeline::benchmark_repository::find_benchmark_repository;
use crate::pipeline::repository::{RepositoryKind, RepositoryRequest};
use crate::text::diagnostic::Sink;

/// Collects the benchmarks in a stage whose problems no file holds: those of an `evaluate`, and those of the `probe` of a `train`.
pub(super) fn collect_benchmark_uses(
    record: &Record,
    path: RecordPath,
    uses: &mut Vec<RepositoryUse>,
    sink: &mut Sink,
) {
    if record.spec.name == "benchmark" && !path.inner.is_empty() {
        return collect_benchmark_use(record, path, uses, sink);
    }
    if !["evaluate", "train", "probe"].contains(&record.spec.name.as_str()) {
        return;
    }
    for (at, child) in record.children.iter().enumerate() {
        let mut inner = path.clone();
        inner.inner.push(at);
        collect_benchmark_uses(child, inner, uses, sink);
    }
}

fn collect_benchmark_use(record: &Record, path: RecordPath, uses: &mut Vec<RepositoryUse>, sink: &mut Sink) {
    let Some(value) = record.leaf("value") else { return };
    if let Some(from) = record.leaf("from") {
        return refuse_fields_of_repositories(record, from, sink);
    }
    let Some(found) = find_benchmark_repository(value.expect_text()) else { return };
    let revision = record.leaf("revision");
    uses.push(RepositoryUse {
        asked: RepositoryRequest {
            kind: RepositoryKind::Dataset,
            name: found.name.to_owned(),
            revision: revision.and_then(Leaf::text).or(found.branch).map(str::to_owned),
        },
        record: path,
        from: value.span.clone(),
        revision: revision.map(|leaf| leaf.span.clone()),
        part: SelectionRequest { files: Some(found.files.to_owned()), ..SelectionRequest::default() },
        benchmark: Some(found),
    });
}
