//! `fmflow init`: writes a small project to start from, data included.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{CommandContext, pipeline_arguments};
use crate::error::{Error, Result};
use crate::text::escape::escape_line;

/// The commented pipeline.
const PIPELINE: &str = include_str!("../../../examples/starter/pipeline.kdl");
/// Prose to train a tokenizer and a language model on.
const TEXT: &str = include_str!("../../../examples/quickstart/corpus/notes.txt");

#[derive(Debug, Args)]
pub(super) struct InitArguments {
    /// The folder; created if it does not exist
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run_init(arguments: &InitArguments, context: &CommandContext<'_>) -> Result<()> {
    let folder = &arguments.folder;
    // The pipeline comes last: if it exists, everything does.
    let files = [
        (folder.join("data/text.txt"), TEXT.to_string()),
        (folder.join("data/questions.jsonl"), build_questions()),
        (folder.join("pipeline.kdl"), PIPELINE.to_string()),
    ];
    refuse_existing_files(&files)?;
    let data = folder.join("data");
    fs::create_dir_all(&data).map_err(|error| file_system_error("create", &data, error))?;
    write_files(&files)?;
    let [.., (pipeline, _)] = &files;
    let paths: Vec<_> = files.iter().map(|(path, _)| format_tidy_path(path)).collect();
    let pipeline = pipeline_arguments::quote_path(Path::new(&format_tidy_path(pipeline)));
    let next = [context.format_command("check", &pipeline), context.format_command("run", &pipeline)];
    if arguments.json {
        return context.output.json(&json!({ "schema": "fmflow.init/1", "files": paths, "next": next }));
    }
    let wrote: String = paths.iter().map(|path| format!("wrote {}\n", escape_line(path))).collect();
    context.output.result(&format!("{wrote}next: {}\nthen: {}\n", next[0], next[1]))
}

/// Refuses to write anything if one of the files exists.
fn refuse_existing_files(files: &[(PathBuf, String)]) -> Result<()> {
    let taken: Vec<_> = files.iter().filter(|(path, _)| path.symlink_metadata().is_ok()).collect();
    if taken.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = taken.iter().map(|(path, _)| format_tidy_path(path)).collect();
    let verb = if names.len() == 1 { "exists" } else { "exist" };
    let message = format!("{} already {verb}; nothing is overwritten", names.join(", "));
    Err(Error::usage(message, "name another folder: `fmflow init DIR`"))
}

/// Writes all files; on an error, removes those that it wrote.
fn write_files(files: &[(PathBuf, String)]) -> Result<()> {
    for (at, (path, text)) in files.iter().enumerate() {
        let written = fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            // A file that someone else created meanwhile is not ours to remove; one that we wrote in part is.
            let own = if error.kind() == std::io::ErrorKind::AlreadyExists { at } else { at + 1 };
            files.iter().take(own).for_each(|(path, _)| drop(fs::remove_file(path)));
            return Err(file_system_error("write", path, error));
        }
    }
    Ok(())
}

/// The error for a refused file operation. Another folder helps against everything but a full disk.
fn file_system_error(action: &'static str, path: &Path, error: io::Error) -> Error {
    let error = Error::io(action, Path::new(&format_tidy_path(path)))(error);
    match error.exit_code() {
        1 => Error::usage(error.to_string(), "name a folder that you may write to: `fmflow init DIR`"),
        _ => error,
    }
}

/// A path without `./` at its start.
fn format_tidy_path(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).to_string_lossy().into_owned()
}

/// Questions about three letters with their answers, one JSON object per line.
fn build_questions() -> String {
    let letters = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut lines = String::new();
    for (i, x) in letters.iter().enumerate() {
        for (j, y) in letters.iter().enumerate() {
            for (k, z) in letters.iter().enumerate() {
                let (task, answer) = match (i + j + k) % 3 {
                    0 => ("first", (*x).to_string()),
                    1 => ("last", (*z).to_string()),
                    _ => ("reverse", format!("{z} {y} {x}")),
                };
                let question = format!("{task}: {x} {y} {z}");
                let line = json!({ "task": task, "question": question, "answer": answer });
                lines += &format!("{line}\n");
            }
        }
    }
    lines
}
