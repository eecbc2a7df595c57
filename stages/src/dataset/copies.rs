//! Documents that are equal to earlier ones, where they cannot be found while rows are made: those of other datasets, and those of a
//! window, whose shards are made alone.

use std::collections::HashSet;
use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{DatasetConfig, RowsConfig};
use fmflow_engine::run::execute::Job;
use fmflow_engine::text::escape::escape_line;
use serde::{Deserialize, Serialize};

use super::open::{find_parts, open_documents, plan_shards, remove_fetched};
use crate::data::build::BuildError;
use crate::data::corpus::{Documents, LeftOutShares, Patience, SeenDocuments};
use crate::failure::stage_failure;
use crate::job::{check_interrupt, explain_build_error, find_source};

/// Name of the file in which the plan of a window keeps where copies are.
pub(crate) const COPIES: &str = "copies.jsonl";

/// The copies of a shard: a line of [`COPIES`], in the order of the shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardCopies {
    /// Documents of the shard, copies included.
    pub documents: u64,
    /// Which of them are copies, counted from 0.
    pub copies: Vec<u64>,
}

impl ShardCopies {
    /// The copies of several shards, as if they were one.
    pub(crate) fn join(shards: &[Self]) -> HashSet<u64> {
        let mut before = 0;
        let numbers = shards.iter().flat_map(|shard| {
            let start = before;
            before += shard.documents;
            shard.copies.iter().map(move |copy| start + copy)
        });
        numbers.collect()
    }
}

/// Reads the datasets whose documents are dropped in that of the rows, shard by shard.
///
/// # Errors
/// If they cannot be read, or what was seen of them cannot be kept.
pub(crate) fn read_originals<'a>(
    job: &'a Job<'_>,
    config: &RowsConfig,
) -> Result<SeenDocuments<'a>, Failure> {
    let mut seen = SeenDocuments::new(job);
    for name in &config.dataset.originals {
        let dataset =
            config.dataset_called(name).expect("rows have the datasets that they are compared with");
        job.report.note(&format!("the documents of `{}` are read first, to find copies", escape_line(name)));
        seen.begin_original(name);
        walk_shards(job, config, dataset, |documents| {
            documents.try_for_each(|document| {
                check_interrupt(job)?;
                let added = document.and_then(|document| seen.add_original(&document));
                added.map_err(|error| explain(job, dataset, error))
            })
        })?;
    }
    Ok(seen)
}

/// Finds the copies in every shard of the rows' dataset, which is read whole for that. `seen` has those of other datasets.
///
/// # Errors
/// If it cannot be read, or what was seen of it cannot be kept.
pub(crate) fn find_copies(
    job: &Job<'_>,
    config: &RowsConfig,
    seen: &mut SeenDocuments<'_>,
) -> Result<Vec<ShardCopies>, Failure> {
    let dataset = &config.dataset;
    job.report.note("all documents are read first, to find copies");
    let mut shards = Vec::new();
    walk_shards(job, config, dataset, |documents| {
        let mut shard = ShardCopies { documents: 0, copies: Vec::new() };
        while let Some(document) = documents.next() {
            check_interrupt(job)?;
            let document = document.map_err(|error| explain(job, dataset, error))?;
            let place = || documents.describe_place();
            if !seen.is_new(&document, place).map_err(|error| explain(job, dataset, error))? {
                shard.copies.push(shard.documents);
            }
            shard.documents += 1;
        }
        shards.push(shard);
        Ok(())
    })?;
    Ok(shards)
}

/// The copies in each shard of a window, from the folder of its plan.
///
/// # Errors
/// If the plan has no such file.
pub(crate) fn read_kept_copies(plan: &Path) -> Result<Vec<ShardCopies>, Failure> {
    let text = std::fs::read_to_string(plan.join(COPIES)).map_err(stage_failure)?;
    text.lines().map(|line| serde_json::from_str(line).map_err(stage_failure)).collect()
}

/// Calls `take` with the documents of each shard, of which only the files of one are there at a time.
fn walk_shards(
    job: &Job<'_>,
    config: &RowsConfig,
    dataset: &DatasetConfig,
    mut take: impl FnMut(&mut Documents<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let source = find_source(job.stage, &dataset.name)?;
    let plan = plan_shards(source, dataset, config.shard_bytes)?;
    // A share that is too large in one shard may be allowed in all of them.
    let mut shares = LeftOutShares::new(dataset);
    for shard in 0..plan.len() {
        let (parts, files) = find_parts(job, source, plan.parts(shard))?;
        let patience = Patience { interrupt: job.interrupt, tell: Some(job.report) };
        let mut documents =
            open_documents(job, dataset, parts, patience)?.with_shares(shares).with_copies(None);
        take(&mut documents)?;
        shares = documents.into_shares();
        remove_fetched(job, dataset, source, &files)?;
    }
    shares.check().map_err(|error| explain(job, dataset, error))
}

fn explain(job: &Job<'_>, dataset: &DatasetConfig, error: crate::data::corpus::CorpusError) -> Failure {
    explain_build_error(job, BuildError::from(error), &format!("check dataset `{}`", dataset.name))
}
