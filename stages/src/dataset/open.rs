//! Documents of a dataset, its shards, and the options of its rows.

use std::path::PathBuf;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{DatasetConfig, EndOfTurn, RowsConfig};
use fmflow_engine::pipeline::shards::{FilePart, ShardPlan};
use fmflow_engine::pipeline::stage::SourceFiles;
use fmflow_engine::run::execute::Job;
use fmflow_engine::text::escape::show_path;
#[cfg(not(feature = "hub"))]
use fmflow_engine::{error::FailureKind, pipeline::config::DatasetFormat};

#[cfg(feature = "hub")]
use crate::contents::open_contents;
#[cfg(not(feature = "hub"))]
use crate::data::corpus::ContentStore;

use crate::data::build::{PlacedDocument, RowsOptions};
use crate::data::contamination::Contamination;
use crate::data::corpus::{CorpusError, CorpusPart, Documents, Patience, read_documents};
use crate::data::special_token_mentions::SpecialTokenMentions;
use crate::failure::input_failure;
use crate::job::{find_some_files, remove_downloads};

/// The documents of some parts of a dataset. Those that its records only name are fetched while they are read.
///
/// # Errors
/// If the place where they are cannot be opened.
pub(crate) fn open_documents<'a>(
    job: &'a Job<'a>,
    dataset: &'a DatasetConfig,
    parts: Vec<CorpusPart>,
    patience: Patience<'a>,
) -> Result<Documents<'a>, Failure> {
    let documents = read_documents(parts, dataset, patience, job);
    Ok(match open_contents(job, dataset)? {
        Some(contents) => documents.with_contents(contents),
        None => documents,
    })
}

/// Parts of a dataset as they are read, and their files. Those of a repository are downloaded first, and others of it are removed.
///
/// # Errors
/// If a file cannot be downloaded.
pub(crate) fn find_parts(
    job: &Job<'_>,
    source: &SourceFiles,
    parts: &[FilePart],
) -> Result<(Vec<CorpusPart>, Vec<PathBuf>), Failure> {
    let first = parts.first().map_or(0, |part| part.file);
    let end = parts.last().map_or(0, |part| part.file + 1);
    let files = find_some_files(job, source, first..end)?;
    let part =
        |part: &FilePart| CorpusPart { file: files[part.file - first].clone(), bytes: part.bytes.clone() };
    Ok((parts.iter().map(part).collect(), files))
}

/// Removes what files of a shard needed, once its rows are there: what was fetched of the contents that they name, and they themselves
/// if they were downloaded.
///
/// # Errors
/// If it cannot be removed.
pub(crate) fn remove_fetched(
    job: &Job<'_>,
    dataset: &DatasetConfig,
    source: &SourceFiles,
    files: &[PathBuf],
) -> Result<(), Failure> {
    remove_kept_contents(job, dataset, files)?;
    remove_downloads(job, source, files)
}

/// Removes what was fetched of the contents that files name, once their rows are there.
fn remove_kept_contents(job: &Job<'_>, dataset: &DatasetConfig, files: &[PathBuf]) -> Result<(), Failure> {
    #[cfg(feature = "hub")]
    return crate::contents::remove_contents(job, dataset, files);
    #[cfg(not(feature = "hub"))]
    Ok(())
}

/// The engine refuses such a stage before any work.
#[cfg(not(feature = "hub"))]
fn open_contents<'a>(
    _: &'a Job<'a>,
    dataset: &'a DatasetConfig,
) -> Result<Option<Box<dyn ContentStore + 'a>>, Failure> {
    match dataset.format {
        DatasetFormat::Contents(_) => {
            let message =
                format!("dataset `{}` reads S3, which this program was built without", dataset.name);
            Err(Failure {
                kind: FailureKind::Stage,
                message,
                help: Some("rebuild with `--features hub`".into()),
            })
        }
        _ => Ok(None),
    }
}

/// The options of rows with these settings.
#[must_use]
pub(crate) fn read_rows_options(config: &RowsConfig) -> RowsOptions {
    RowsOptions {
        length: config.length,
        packing: config.packing,
        end_of_document: config.end_of_document,
        canvas: config.canvas,
        answer_block: config.end_of_turn.and_then(EndOfTurn::block),
        specials: config.specials,
        held_out: config.dataset.held_out,
        cap: config.dataset.cap,
    }
}

/// The shards of a dataset, each from so many bytes of its files.
///
/// # Errors
/// If the size of a file cannot be read.
pub(crate) fn plan_shards(
    source: &SourceFiles,
    dataset: &DatasetConfig,
    shard_bytes: u64,
) -> Result<ShardPlan, Failure> {
    let sizes: Vec<u64> = match &source.remote {
        Some(remote) => remote.files.iter().map(|file| file.size).collect(),
        None => source.files.iter().map(|file| read_size(file)).collect::<Result<_, _>>()?,
    };
    Ok(ShardPlan::of_source(source, &sizes, dataset, shard_bytes))
}

fn read_size(file: &std::path::Path) -> Result<u64, Failure> {
    let found = std::fs::metadata(file).map(|about| about.len());
    found.map_err(|error| {
        let what = format!("{} cannot be inspected: {error}", show_path(file));
        input_failure(what, "make it readable, or remove it from the dataset")
    })
}

/// Passes the documents through with their places and the shards of their parts, without those that have words of what they are
/// compared with, and counts their mentions of special tokens. The share `held_out` of them is held out.
pub(crate) fn watch_documents<'a>(
    documents: &'a mut Documents<'_>,
    mut named: Option<&'a mut SpecialTokenMentions>,
    compared: &'a mut Contamination,
    held_out: f64,
    shard_of: impl Fn(usize) -> usize + 'a,
) -> impl Iterator<Item = Result<PlacedDocument, CorpusError>> + 'a {
    std::iter::from_fn(move || {
        loop {
            let document = match documents.next()? {
                Ok(document) => document,
                Err(fault) => return Some(Err(fault)),
            };
            if !compared.admits(&document, documents.place(), held_out) {
                continue;
            }
            if let Some(named) = &mut named {
                named.count(&document, documents.place());
            }
            let place = documents.place().map(|(file, place)| (file.to_owned(), place));
            let shard = shard_of(documents.part_number());
            return Some(Ok(PlacedDocument { document, place, shard }));
        }
    })
}
