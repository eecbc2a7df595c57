//! `fmflow verify`: re-hashes every byte of an artifact or checkpoint, inside a store or copied elsewhere.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{CommandContext, usage_error};
use crate::cli::run::parse_device;
use crate::error::{Error, Result};
use crate::run::execute::Operations;
use crate::store::Manifest;
use crate::store::layout::WINDOWS;
use crate::store::verify::{IntegrityError, VerifyDepth, inspect_folder};
use crate::store::vfs::Disk;
use crate::store::window::find_damaged_shards;
use crate::text::display::{count_noun, format_bytes};
use crate::text::escape::show_path;

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The folder of the artifact or checkpoint
    folder: PathBuf,
    /// Also repeat the forward pass of its certificate
    #[arg(long)]
    deep: bool,
    /// What computes in `--deep`
    #[arg(long, default_value = "fused", requires = "deep")]
    ops: Operations,
    /// Also answer requests alone, in batches and with a cache, and compare the tokens
    #[arg(long)]
    batches: bool,
    /// The device for `--batches`: `cpu` or `cuda:<n>`
    #[arg(long, default_value = "cpu", value_parser = parse_device, requires = "batches")]
    device: String,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run_verify(arguments: &VerifyArguments, context: &CommandContext<'_>) -> Result<()> {
    let folder = &arguments.folder;
    if !folder.is_dir() {
        let message = format!("{} is not a folder", show_path(folder));
        return Err(Error::usage(message, "`fmflow show FILE STAGE --path` prints the folder of a stage"));
    }
    let (manifest, mut problems) = inspect_folder(&Disk, folder, VerifyDepth::Bytes)?;
    let window = find_window(folder);
    if let Some(window) = &window {
        problems.extend(verify_window(window)?);
    }
    let deep = match arguments.deep && problems.is_empty() {
        true => Some(verify_certificate(arguments, context)?),
        false => None,
    };
    let batches = match arguments.batches && problems.is_empty() {
        true => Some(verify_batches(arguments, context)?),
        false => None,
    };
    if arguments.json {
        let more = [("deep", deep.as_deref()), ("batches", batches.as_deref())];
        context.output.json(&render_verify_json(manifest.as_ref(), &problems, more))?;
    } else if let (Some(manifest), true) = (&manifest, problems.is_empty()) {
        let (files, size) = (count_noun(manifest.files.len(), "file"), format_bytes(manifest.bytes()));
        let window = window.map(|_| "the shards of its window: every byte verified".to_owned());
        let more: String =
            window.iter().chain(&deep).chain(&batches).map(|line| format!("{line}\n")).collect();
        context
            .output
            .result(&format!("{}: {files}, {size}, every byte verified\n{more}", show_path(folder)))?;
    }
    let mut problems = problems.into_iter();
    let Some(first) = problems.next() else { return Ok(()) };
    for other in problems {
        context.output.message(&format!("also `{}`: {other}\n", other.file));
    }
    // Absolute, because only then the help can say whether a run recreates the folder.
    let folder = std::path::absolute(folder).map_err(Error::io("find", folder))?;
    Err(Error::Corrupt { folder, what: first.to_string(), file: first.file })
}

/// The window of rows whose plan is in `folder`, if the folder lies in a store that has one.
fn find_window(folder: &Path) -> Option<PathBuf> {
    let folder = std::path::absolute(folder).ok()?;
    let window = folder.parent()?.parent()?.join(WINDOWS).join(folder.file_name()?);
    window.is_dir().then_some(window)
}

/// What is wrong with the shards of a window. A run removes them and makes them again.
fn verify_window(window: &Path) -> Result<impl Iterator<Item = IntegrityError>> {
    let found = find_damaged_shards(&Disk, window)?;
    let place = show_path(window);
    Ok(found.into_iter().map(move |(file, what)| IntegrityError {
        file: format!("{place}/{file}"),
        chunk: None,
        what: what.to_owned(),
    }))
}

fn verify_certificate(arguments: &VerifyArguments, context: &CommandContext<'_>) -> Result<String> {
    let name = show_path(&arguments.folder);
    let done = context.executor()?.verify_deep(&arguments.folder, arguments.ops);
    done.map_err(|failure| Error::Stage { stage: name, failure })
}

fn verify_batches(arguments: &VerifyArguments, context: &CommandContext<'_>) -> Result<String> {
    let execute = context.executor()?;
    execute.check_device(&arguments.device).map_err(usage_error)?;
    let name = show_path(&arguments.folder);
    let done = execute.verify_batches(&arguments.folder, &arguments.device);
    done.map_err(|failure| Error::Stage { stage: name, failure })
}

fn render_verify_json(
    manifest: Option<&Manifest>,
    problems: &[IntegrityError],
    more: [(&str, Option<&str>); 2],
) -> serde_json::Value {
    let problems: Vec<_> = problems
        .iter()
        .map(|problem| json!({ "file": problem.file, "chunk": problem.chunk, "what": problem.what }))
        .collect();
    let mut answer = json!({
        "schema": "fmflow.verify/1",
        "ok": problems.is_empty(),
        "stage": manifest.map(|manifest| &manifest.stage.name),
        "fingerprint": manifest.map(|manifest| &manifest.fingerprint),
        "files": manifest.map(|manifest| manifest.files.len()),
        "problems": problems,
    });
    for (name, line) in more {
        answer[name] = line.into();
    }
    answer
}
