//! What a stage reads: files on disk as they are, up to a limit, and generated ones for the rest.

use std::collections::HashMap;
use std::path::PathBuf;

use fmflow_grade::problem::Layout;

use crate::error::Result;
use crate::pipeline::config::{
    ComparedTexts, ContaminationCheck, DatasetConfig, DatasetFormat, FileLayout, RowsConfig, StageConfig,
    TextDocuments, TokenCap, TokenizerConfig,
};
use crate::pipeline::stage::{SourceFiles, Stage};
use crate::smoke::backbone::replace_tokenizer_file;
use crate::smoke::changes::Changes;
use crate::smoke::documents::{DOCUMENTS, write_records, write_short_text, write_text};
use crate::smoke::files::SmokeFiles;
use crate::smoke::ledger::find_written;
use crate::smoke::problems::{PROBLEMS, write_problems};
use crate::smoke::sizes::Sizes;
use crate::text::file_head::read_file_size;

/// Share of generated documents that are held out, if any are.
const HELD_OUT: f64 = 0.25;
/// Most training tokens that are made of a dataset on disk.
const TOKENS: u64 = 200_000;
/// Most bytes of data on disk that rows are made of: their digest is that of whole files.
const ROWS_BYTES: u64 = 1 << 30;
/// Most bytes of data on disk that a tokenizer is trained on, which reads all of them.
const TOKENIZER_BYTES: u64 = 16 << 20;
/// What the name of every generated file begins with.
const GENERATED: &str = "generated";

/// Replaces what a stage reads and is not on disk, or is too much. Returns whether the documents of rows are generated.
pub(super) fn replace_sources(
    stage: &mut Stage,
    sizes: &Sizes<'_>,
    files: &SmokeFiles<'_>,
    changes: &mut Changes,
) -> Result<bool> {
    if sizes.replaces_tokenizers {
        replace_tokenizer_file(stage, files, changes)?;
    }
    let from = find_written(stage, "dataset.from");
    let reference = find_written(stage, "certify.reference");
    let mut generated = false;
    match &mut stage.config {
        StageConfig::Rows(config) => {
            generated = read_rows_sources(config, &mut stage.sources, &from, files, changes)?;
        }
        StageConfig::Tokenizer(TokenizerConfig::ByteLevelBpe { datasets, .. }) => {
            for dataset in datasets {
                let Some(source) = stage.sources.iter_mut().find(|source| source.name == dataset.name) else {
                    continue;
                };
                if is_absent(source) || is_elsewhere(dataset) || count_bytes(&source.files) > TOKENIZER_BYTES
                {
                    generate_documents(dataset, source, "its files", files, changes)?;
                }
            }
        }
        StageConfig::Convert(config) if config.reference.is_some() => {
            changes.say(format!("no comparison with {reference}, which is of another model"));
            config.reference = None;
            stage.sources.retain(|source| source.name != "reference");
        }
        _ => {}
    }
    let layouts = list_layouts(&stage.config);
    let mut read = stage.sources.iter_mut().chain(&mut stage.observed);
    read.try_for_each(|source| replace_problems(source, &layouts, files, changes))?;
    Ok(generated)
}

fn is_absent(source: &SourceFiles) -> bool {
    source.made.is_none() && (source.remote.is_some() || source.files.is_empty())
}

/// Whether the files of a dataset only name documents, which would have to be fetched.
fn is_elsewhere(dataset: &DatasetConfig) -> bool {
    matches!(dataset.format, DatasetFormat::Contents(_))
}

fn count_bytes(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| read_file_size(file)).fold(0, u64::saturating_add)
}

fn read_rows_sources(
    config: &mut RowsConfig,
    sources: &mut Vec<SourceFiles>,
    from: &str,
    files: &SmokeFiles<'_>,
    changes: &mut Changes,
) -> Result<bool> {
    drop_absent_comparisons(config, sources, changes);
    let dataset = &mut config.dataset;
    let source = sources.iter_mut().find(|source| source.name == dataset.name);
    let source = source.expect("rows have a source with the name of their dataset");
    if is_absent(source) || is_elsewhere(dataset) {
        generate_documents(dataset, source, from, files, changes)?;
        return Ok(true);
    }
    let (all, mut bytes) = (source.files.len(), 0_u64);
    let fits = |file: &&PathBuf| {
        bytes = bytes.saturating_add(read_file_size(file).unwrap_or(0));
        bytes <= ROWS_BYTES
    };
    let kept = source.files.iter().take_while(fits).count().max(1);
    source.files.truncate(kept);
    if kept < all {
        changes.tell(format!("dataset `{}`: the first {kept} of its {all} files", dataset.name));
    }
    let most = dataset.cap.map_or(TOKENS, |cap| cap.tokens.min(TOKENS));
    if count_bytes(&source.files) > TOKENS {
        changes.tell(format!("dataset `{}`: at most {most} training tokens", dataset.name));
    }
    dataset.cap = Some(TokenCap { tokens: most, may_end_before: true });
    Ok(false)
}

/// Leaves out the comparison with what is absent, and with other datasets, which would have to be made small in the same way.
fn drop_absent_comparisons(config: &mut RowsConfig, sources: &mut Vec<SourceFiles>, changes: &mut Changes) {
    let absent: Vec<String> =
        sources.iter().filter(|source| is_absent(source)).map(|source| source.name.clone()).collect();
    let dataset = &mut config.dataset;
    let name = dataset.name.clone();
    let mut drop_source = |lost: &str| sources.retain(|source| source.name != lost);
    dataset.contamination.retain(|check: &ContaminationCheck| {
        let lost = match &check.texts {
            ComparedTexts::Benchmark { source } if absent.contains(source) => {
                drop_source(source);
                format!("`{}`, whose files are absent", check.name)
            }
            ComparedTexts::HeldOut { dataset, .. } => format!("the held-out documents of `{dataset}`"),
            ComparedTexts::Benchmark { .. } => return true,
        };
        changes.tell(format!("dataset `{name}`: not compared with {lost}"));
        false
    });
    for original in dataset.originals.drain(..) {
        changes.tell(format!("dataset `{name}`: documents of `{original}` are not dropped"));
    }
    config.others.drain(..).for_each(|other| drop_source(&other.name));
}

/// Generates documents with the declared fields. Where they are from and how many of them there are no longer counts.
fn generate_documents(
    dataset: &mut DatasetConfig,
    source: &mut SourceFiles,
    from: &str,
    files: &SmokeFiles<'_>,
    changes: &mut Changes,
) -> Result<()> {
    let name = format!("{GENERATED}-{}", dataset.name);
    if is_elsewhere(dataset) {
        dataset.format = DatasetFormat::Jsonl { text: "text".to_owned() };
    }
    let (written, what) = match (&dataset.format, dataset.layout) {
        (DatasetFormat::Text, FileLayout::Text(TextDocuments::File)) => {
            let one = |number| files.write(&format!("{name} {number}"), ".txt", &write_short_text(number));
            ((0..DOCUMENTS).map(one).collect::<Result<Vec<_>>>()?, "text files")
        }
        (DatasetFormat::Text, _) => (vec![files.write(&name, ".txt", &write_text())?], "text"),
        (DatasetFormat::Jsonl { .. } | DatasetFormat::Contents(_), _) => {
            (vec![files.write(&name, ".jsonl", &write_records(dataset))?], "documents")
        }
        (DatasetFormat::Chat { .. }, _) => {
            (vec![files.write(&name, ".jsonl", &write_records(dataset))?], "conversations")
        }
    };
    if dataset.format != DatasetFormat::Text {
        dataset.layout = FileLayout::Jsonl;
    }
    if dataset.held_out > 0.0 {
        dataset.held_out = dataset.held_out.max(HELD_OUT);
    }
    dataset.cap = None;
    changes.tell(format!("dataset `{}`: generated {what} instead of {from}", dataset.name));
    (source.files, source.remote, source.made) = (written, None, None);
    Ok(())
}

/// The layout of the problems of each benchmark of a stage, by the name of the source that holds them.
fn list_layouts(config: &StageConfig) -> HashMap<String, Layout> {
    let benchmarks = match config {
        StageConfig::Evaluate(config) => config.benchmarks.as_slice(),
        StageConfig::Train(config) => config.probe.as_ref().map_or(&[][..], |probe| &probe.benchmarks),
        _ => &[],
    };
    benchmarks.iter().map(|benchmark| (benchmark.source(), benchmark.layout)).collect()
}

/// Generates the problems of a benchmark that is not on disk.
fn replace_problems(
    source: &mut SourceFiles,
    layouts: &HashMap<String, Layout>,
    files: &SmokeFiles<'_>,
    changes: &mut Changes,
) -> Result<()> {
    let Some(layout) = layouts.get(&source.name).filter(|_| is_absent(source)) else { return Ok(()) };
    let benchmark = source.name.trim_start_matches("benchmark/");
    let problems = write_problems(benchmark, *layout);
    changes.tell(format!("benchmark `{benchmark}`: {PROBLEMS} generated problems instead of its own"));
    let file = files.write(&format!("{GENERATED}-{benchmark}"), ".jsonl", &problems)?;
    (source.files, source.remote) = (vec![file], None);
    Ok(())
}
