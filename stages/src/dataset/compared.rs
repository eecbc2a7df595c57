//! Texts that must not be in a dataset: benchmarks, and held-out documents, which are chosen by their hash and so are known before any
//! rows are made.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;

use fmflow_engine::documents::Document;
use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{ComparedTexts, ContaminationCheck, HeldOutPart, RowsConfig};
use fmflow_engine::pipeline::shards::{FilePart, ShardPlan, join_beginnings};
use fmflow_engine::pipeline::stage::Stage;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::ArtifactWriter;
use fmflow_engine::text::escape::escape_line;
use serde::{Deserialize, Serialize};

use super::open::{find_parts, open_documents, plan_shards, remove_fetched};
use crate::data::build::BuildError;
use crate::data::contamination::{Contamination, ContaminationError, TextSet, list_document_texts};
use crate::data::corpus::{LeftOutShares, Patience};
use crate::failure::{input_failure, stage_failure};
use crate::job::{explain_build_error, find_source};

/// Name of the file that keeps held-out documents for the shards of a window: other datasets are read only once.
const COMPARED: &str = "compared.jsonl";

/// A line of [`COMPARED`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptText {
    /// The number of the comparison in the dataset.
    check: usize,
    /// The number of the held-out document.
    record: u64,
    text: String,
}

/// Reads what a dataset is compared with. Held-out documents are also written to [`COMPARED`] of `keep`.
///
/// # Errors
/// If a file of them cannot be read, or has nothing to compare.
pub(crate) fn read_compared(
    job: &Job<'_>,
    config: &RowsConfig,
    mut keep: Option<&mut ArtifactWriter>,
) -> Result<Contamination, Failure> {
    let held = |check: &ContaminationCheck| matches!(check.texts, ComparedTexts::HeldOut { .. });
    let checks = &config.dataset.contamination;
    let keep = keep.as_mut().filter(|_| checks.iter().any(held));
    let mut file = keep.map(|writer| writer.file(COMPARED)).transpose()?;
    let mut sets = Vec::new();
    for (number, check) in checks.iter().enumerate() {
        sets.push(match &check.texts {
            ComparedTexts::Benchmark { source } => read_benchmark(job.stage, check, source)?,
            ComparedTexts::HeldOut { dataset, parts } => {
                read_held_out(job, config, check, (dataset, parts), |record, text| {
                    let Some(file) = &mut file else { return Ok(()) };
                    let kept = KeptText { check: number, record, text: text.to_owned() };
                    let mut line = serde_json::to_vec(&kept).map_err(stage_failure)?;
                    line.push(b'\n');
                    file.write_all(&line).map_err(stage_failure)
                })?
            }
        });
    }
    if let Some(file) = file {
        file.finish()?;
    }
    Ok(Contamination::new(sets))
}

/// The same for a shard of a window, from the folder of its plan.
///
/// # Errors
/// If a benchmark cannot be read, or the plan has no such file.
pub(crate) fn read_kept_compared(
    stage: &Stage,
    config: &RowsConfig,
    plan: &Path,
) -> Result<Contamination, Failure> {
    let checks = &config.dataset.contamination;
    let held =
        |(_, check): &(usize, &ContaminationCheck)| matches!(check.texts, ComparedTexts::HeldOut { .. });
    let held = checks.iter().enumerate().filter(held).map(|(at, check)| (at, TextSet::new(check.clone())));
    let mut held: BTreeMap<usize, TextSet> = held.collect();
    if !held.is_empty() {
        read_kept_texts(plan, &mut held)?;
    }
    let sets = checks.iter().enumerate().map(|(at, check)| match (&check.texts, held.remove(&at)) {
        (ComparedTexts::Benchmark { source }, _) => read_benchmark(stage, check, source),
        (ComparedTexts::HeldOut { .. }, set) => {
            set.expect("it was made above").finish().map_err(refuse_texts)
        }
    });
    Ok(Contamination::new(sets.collect::<Result<_, Failure>>()?))
}

/// Adds the texts that a plan keeps to the sets with their numbers.
fn read_kept_texts(plan: &Path, sets: &mut BTreeMap<usize, TextSet>) -> Result<(), Failure> {
    let file = std::fs::File::open(plan.join(COMPARED)).map_err(stage_failure)?;
    for line in std::io::BufReader::new(file).lines() {
        let line: KeptText = serde_json::from_str(&line.map_err(stage_failure)?).map_err(stage_failure)?;
        if let Some(set) = sets.get_mut(&line.check) {
            set.add(&line.text, line.record).map_err(refuse_texts)?;
        }
    }
    Ok(())
}

fn read_benchmark(stage: &Stage, check: &ContaminationCheck, source: &str) -> Result<TextSet, Failure> {
    TextSet::of_files(check.clone(), &find_source(stage, source)?.files).map_err(refuse_texts)
}

fn refuse_texts(error: ContaminationError) -> Failure {
    input_failure(error, "check `contamination` of the dataset")
}

/// Reads the held-out documents of a dataset that are in rows: of each part those of its first shards. `keep` gets each text of them.
fn read_held_out(
    job: &Job<'_>,
    config: &RowsConfig,
    check: &ContaminationCheck,
    (name, parts): (&str, &[HeldOutPart]),
    mut keep: impl FnMut(u64, &str) -> Result<(), Failure>,
) -> Result<TextSet, Failure> {
    let dataset = config.dataset_called(name).expect("rows have the datasets that they are compared with");
    let source = find_source(job.stage, name)?;
    let plans = parts.iter().map(|part| plan_shards(source, dataset, part.shard_bytes));
    let plans: Vec<ShardPlan> = plans.collect::<Result<_, Failure>>()?;
    let openings: Vec<&[FilePart]> = plans.iter().map(ShardPlan::opening_parts).collect();
    let (read, ends) = join_beginnings(&openings);
    let openings: Vec<(f64, usize)> = parts.iter().map(|part| part.share).zip(ends).collect();
    let (read, files) = find_parts(job, source, &read)?;
    job.report.note(&format!("the held-out documents of `{}` are looked for first", escape_line(name)));
    let patience = Patience { interrupt: job.interrupt, tell: Some(job.report) };
    // The shares of a whole dataset are not asked of its beginning, and a copy has the words of its original.
    let shares = LeftOutShares::new(dataset);
    let documents = open_documents(job, dataset, read, patience)?;
    let mut documents = documents.with_shares(shares).with_copies(None);
    let mut set = TextSet::new(check.clone());
    let fault = |error| explain_build_error(job, BuildError::from(error), &format!("check dataset `{name}`"));
    let mut record = 0;
    while let Some(document) = documents.next() {
        crate::job::check_interrupt(job)?;
        let document: Document = document.map_err(fault)?;
        let part = documents.part_number();
        if !openings.iter().any(|(share, end)| part < *end && document.is_held_out(*share)) {
            continue;
        }
        for text in list_document_texts(&document) {
            set.add(text, record).map_err(refuse_texts)?;
            keep(record, text)?;
        }
        record += 1;
    }
    drop(documents);
    // The dataset itself is read next.
    if name != config.dataset.name {
        remove_fetched(job, dataset, source, &files)?;
    }
    set.finish().map_err(refuse_texts)
}
