//! What the store has of a stage: its summary, its metrics, and the files of its artifact that a report shows.

use std::path::Path;

use serde_json::Value;

use super::stage::{ReportStage, ReportedState};
use crate::store::manifest::read_manifest;
use crate::store::metrics::{Metrics, read_metrics};
use crate::store::{Store, summary};
use crate::text::escape::show_path;

/// Largest file of an artifact that is read into a report, in bytes: none of a usual size comes near.
const MOST_BYTES: u64 = 256 << 20;

/// Reads the results of a stage. What is damaged, too large or of another version becomes a note.
pub(super) fn read_results(stage: &mut ReportStage, store: &Store, notes: &mut Vec<String>) {
    let artifact = store.artifact(&stage.name, &stage.fingerprint);
    let mut note = |what: String| notes.push(format!("stage `{}`: {what}", stage.name));
    if matches!(stage.state, ReportedState::Finished | ReportedState::Failed(_))
        && store.vfs().stat(&artifact).is_ok()
    {
        match summary::read_summary(store.vfs(), &artifact) {
            Ok(found) => stage.summary = Some(found),
            Err(error) => note(error.to_string()),
        }
        match read_manifest(store.vfs(), &artifact) {
            Ok(Some(Ok(found))) => stage.manifest = Some(found),
            Ok(Some(Err(what))) => note(format!("its manifest: {what}")),
            Ok(None) => note("its manifest is missing".into()),
            Err(error) => note(error.to_string()),
        }
        for name in list_files(&stage.kind) {
            match read_json(store, &artifact.join(name)) {
                Ok(Some(value)) => drop(stage.files.insert(name, value)),
                Ok(None) => {}
                Err(what) => note(what),
            }
        }
    }
    let work = store.work(&stage.name, &stage.fingerprint);
    match read_metrics(store.vfs(), &artifact).and_then(|found| match found {
        None => read_metrics(store.vfs(), &work),
        found => Ok(found),
    }) {
        Ok(found) => stage.metrics = found,
        Err(error) => note(error.to_string()),
    }
    if let Some(damage) = stage.metrics.as_ref().and_then(Metrics::describe_damage) {
        note(damage);
    }
}

/// Files of an artifact that a report shows.
fn list_files(kind: &str) -> &'static [&'static str] {
    match kind {
        "evaluate" => &["report.json"],
        "generate" => &["samples.jsonl"],
        "convert" => &["certificate.json"],
        _ => &[],
    }
}

/// A JSON file, or the lines of one as a list; `None` if there is none.
fn read_json(store: &Store, path: &Path) -> std::result::Result<Option<Value>, String> {
    let shown = show_path(path.file_name().map_or(path, Path::new));
    let Ok(found) = store.vfs().stat(path) else { return Ok(None) };
    if found.size > MOST_BYTES {
        return Err(format!("{shown} is too large for a report"));
    }
    let bytes = store.vfs().read(path).map_err(|error| format!("{shown}: {error}"))?;
    let parse = |bytes: &[u8]| {
        serde_json::from_slice(bytes).map_err(|error| format!("{shown} does not parse: {error}"))
    };
    match path.extension().is_some_and(|ending| ending == "jsonl") {
        false => parse(&bytes).map(Some),
        true => {
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.map(parse).collect::<std::result::Result<Vec<Value>, _>>().map(|list| Some(list.into()))
        }
    }
}
