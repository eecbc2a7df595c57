//! Interprets the hub's answers. An answer that lacks a required field is treated as no answer.

use fmflow_engine::hub::online::{HubError, SubsetColumns};
use fmflow_engine::pipeline::repository::{PinnedFile, is_commit, is_hash};
use serde_json::Value;

use super::client::HttpAnswer;

fn incomplete_answer(what: &str) -> HubError {
    HubError::Unreachable(format!("the answer has no {what}"))
}

/// Maps the hub's error codes as `hf_raise_for_status` of `huggingface_hub` does.
pub(super) fn to_hub_error(answer: &HttpAnswer) -> HubError {
    let reason = answer.reason();
    match (answer.code.as_str(), answer.status) {
        ("RevisionNotFound", _) => HubError::NoRevision,
        ("GatedRepo", _) => HubError::Gated,
        ("RepoNotFound", _) => HubError::NoRepository,
        (_, 401) if reason.contains("Invalid credentials") => HubError::BadToken,
        // The hub answers 401 for unknown repositories too, so as not to reveal that a private one exists.
        (_, 401 | 404) => HubError::NoRepository,
        (_, 400 | 403 | 410 | 451) => HubError::Refused(reason),
        _ => HubError::Unreachable(reason),
    }
}

/// The commit, and whether the repository is gated.
pub(super) fn read_commit(answer: &HttpAnswer) -> Result<(String, bool), HubError> {
    let body = answer.json()?;
    let commit = body.get("sha").and_then(Value::as_str).filter(|sha| is_commit(sha));
    let gated = body.get("gated").is_some_and(|gated| gated.is_string() || *gated == Value::Bool(true));
    Ok((commit.ok_or_else(|| incomplete_answer("commit"))?.to_owned(), gated))
}

/// One page of the list of files.
pub(super) fn read_file_page(answer: &HttpAnswer) -> Result<Vec<PinnedFile>, HubError> {
    let body = answer.json()?;
    let entries = body.as_array().ok_or_else(|| incomplete_answer("list of files"))?;
    let files = entries.iter().filter(|entry| entry.get("type").and_then(Value::as_str) == Some("file"));
    files
        .map(|entry| read_pinned_file(entry).ok_or_else(|| incomplete_answer("names and sizes of files")))
        .collect()
}

fn read_pinned_file(entry: &Value) -> Option<PinnedFile> {
    let lfs = entry.get("lfs");
    let size = lfs.and_then(|lfs| lfs.get("size")).or_else(|| entry.get("size"))?.as_u64()?;
    let digest = lfs.and_then(|lfs| lfs.get("oid")).and_then(Value::as_str);
    let sha256 = digest.filter(|text| is_hash(text, 64)).map(str::to_lowercase);
    // Of a file in LFS, this is the hash of the pointer that git has in its place.
    let blob = entry.get("oid").and_then(Value::as_str).filter(|text| lfs.is_none() && is_hash(text, 40));
    let path = entry.get("path")?.as_str()?.to_owned();
    Some(PinnedFile { path, size, sha256, blob: blob.map(str::to_lowercase) })
}

/// Columns by subset; empty for a subset that the server has not processed.
pub(super) fn read_columns(answer: &HttpAnswer) -> Result<SubsetColumns, HubError> {
    let body = answer.json()?;
    let subsets =
        body.get("dataset_info").and_then(Value::as_object).ok_or_else(|| incomplete_answer("subsets"))?;
    let names = |info: &Value| match info.get("features") {
        Some(Value::Object(features)) => features.keys().cloned().collect(),
        _ => Vec::new(),
    };
    let mut columns: SubsetColumns =
        subsets.iter().map(|(subset, info)| (subset.clone(), names(info))).collect();
    for open in ["pending", "failed"] {
        let entries = body.get(open).and_then(Value::as_array).into_iter().flatten();
        for subset in entries.filter_map(|entry| entry.get("config")?.as_str()) {
            columns.entry(subset.to_owned()).or_default();
        }
    }
    Ok(columns)
}
