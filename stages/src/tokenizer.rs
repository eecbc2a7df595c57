//! The `tokenizer` stage: trains a tokenizer or imports an existing one.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{DatasetConfig, TokenizerConfig};
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::Summary;
use fmflow_engine::text::escape::{escape_line, show_path};
use indexmap::IndexMap;

use crate::data::build::train_tokenizer;
use crate::data::corpus::{Documents, Patience, list_whole_files};
use crate::data::tokenizer::{Tokenizer, TokenizerFiles};
use crate::dataset::open_documents;
use crate::failure::{input_failure, input_failure_in, stage_failure};
use crate::job::{explain_build_error, find_source_files};

/// Trains or imports a tokenizer.
///
/// # Errors
/// If data cannot be read, the vocabulary is too small, or the file is not a tokenizer.
pub(crate) fn run_tokenizer(job: &Job<'_>, config: &TokenizerConfig) -> Result<Summary, Failure> {
    let mut writer = job.slot.artifact()?;
    let mut left = Vec::new();
    let tokenizer = match config {
        TokenizerConfig::ByteLevelBpe { vocabulary, datasets, .. } => {
            let files;
            (files, left) = train_on_datasets(job, *vocabulary, datasets)?;
            for (name, bytes) in files.all() {
                writer.write(name, bytes)?;
            }
            let made = Tokenizer::from_bytes("tokenizer.json", files.tokenizer).map_err(stage_failure)?;
            made.with_rows(*vocabulary as u32).map_err(stage_failure)?
        }
        TokenizerConfig::File(file) => {
            let name = show_path(file);
            let json = std::fs::read(file).map_err(|e| {
                input_failure_in(format!("cannot read {name}"), e, "name an existing tokenizer.json")
            })?;
            let made = Tokenizer::from_bytes(&name, json)
                .map_err(|e| input_failure(e, "name a tokenizer.json written by the library `tokenizers`"))?;
            writer.write("tokenizer.json", made.json())?;
            made
        }
    };
    left.iter().for_each(|note| job.report.note(note));
    let summary = Summary {
        headline: format!("{} tokens, vocabulary of {}", tokenizer.used(), tokenizer.rows()),
        lines: std::iter::once(format!("digest {}", tokenizer.digest())).chain(left).collect(),
        metrics: IndexMap::from([("used".to_owned(), f64::from(tokenizer.used()))]),
    };
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

/// The tokenizer, and what was left out of the records of each dataset, in sentences.
fn train_on_datasets(
    job: &Job<'_>,
    vocabulary: usize,
    datasets: &[DatasetConfig],
) -> Result<(TokenizerFiles, Vec<String>), Failure> {
    let mut opened: Vec<(Documents<'_>, f64)> = Vec::new();
    for dataset in datasets {
        let patience = Patience { interrupt: job.interrupt, tell: Some(job.report) };
        let files = list_whole_files(find_source_files(job, &dataset.name)?);
        opened.push((open_documents(job, dataset, files, patience)?, dataset.held_out));
    }
    let vocabulary = u32::try_from(vocabulary).map_err(stage_failure)?;
    let read = opened.iter_mut().map(|(documents, held_out)| (documents, *held_out)).collect();
    let files = train_tokenizer(read, vocabulary, job.interrupt)
        .map_err(|e| explain_build_error(job, e, "check the dataset and `vocabulary=`"))?;
    let describe = |(dataset, (documents, _)): (&DatasetConfig, &(Documents<'_>, f64))| {
        let name = escape_line(&dataset.name).into_owned();
        documents.describe_left_out().into_iter().map(move |left| format!("dataset `{name}`: {left}"))
    };
    Ok((files, datasets.iter().zip(&opened).flat_map(describe).collect()))
}
