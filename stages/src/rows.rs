//! The `rows` stage: tokenizes and packs one dataset.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{DatasetConfig, EndOfTurn, RowsConfig};
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::Summary;
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::show_path;
use indexmap::IndexMap;

use crate::data::build::{PlacedDocument, RowsOptions, build_rows};
use crate::data::contamination::{Contamination, LISTED};
use crate::data::corpus::{CorpusError, Documents};
use crate::data::dropped::RowsShape;
use crate::data::rows::{RowsSummary, Split};
use crate::data::special_token_mentions::SpecialTokenMentions;
use crate::failure::input_failure;
use crate::job::{ArtifactSink, explain_build_error, find_input_folder, find_source_files, open_documents};
use crate::model::open_tokenizer;

/// Tokenizes and packs a dataset.
///
/// # Errors
/// If data cannot be read, or the settings do not fit the data.
pub(crate) fn run_rows(job: &Job<'_>, config: &RowsConfig) -> Result<Summary, Failure> {
    let tokenizer = open_tokenizer(find_input_folder(job, &InputRole::Tokenizer)?)?
        .with_special_names(config.specials.unwrap_or_default());
    let options = RowsOptions {
        length: config.length,
        packing: config.packing,
        end_of_document: config.end_of_document,
        canvas: config.canvas,
        answer_block: config.end_of_turn.and_then(EndOfTurn::block),
        specials: config.specials,
        held_out: config.dataset.held_out,
        cap: config.dataset.cap,
    };
    let mut writer = job.slot.artifact()?;
    let mut sink = ArtifactSink(&mut writer);
    let mut named = SpecialTokenMentions::new(&tokenizer, config.specials);
    let mut documents = open_documents(job, &config.dataset)?;
    let mut benchmarks = read_benchmarks(job, &config.dataset)?;
    let read = watch_documents(&mut documents, &mut named, &mut benchmarks);
    let built = build_rows(read, &tokenizer, &options, &mut sink, job.cores, job.interrupt);
    // A cap may end the reading before the iterator looks at all records together.
    let built = built.and_then(|found| match documents.find_fault_of_all() {
        None => Ok(found),
        Some(fault) => Err(fault.into()),
    });
    let found = built.map_err(|e| {
        explain_build_error(
            job,
            e,
            &format!("check dataset `{}` and the settings of its rows", config.dataset.name),
        )
    })?;
    if benchmarks.is_checked() {
        writer.write(LISTED, benchmarks.listed())?;
    }
    let shape =
        RowsShape { length: found.length, canvas: found.canvas, packing: found.packing, chats: found.chats };
    let left = documents.tally().describe(&config.dataset.format, "");
    let left: Vec<String> = left.iter().map(|remark| format!("{}: {}", remark.text, remark.fix)).collect();
    let left: Vec<String> = describe_cap(&config.dataset, &found, &documents)
        .into_iter()
        .chain(documents.describe_left_out())
        .chain(benchmarks.describe())
        .chain(left)
        .collect();
    left.iter().cloned().chain(named.describe()).for_each(|note| job.report.note(&note));
    for split in [Split::Train, Split::HeldOut] {
        shape.describe_dropped(split, found.split(split)).iter().for_each(|note| job.report.note(note));
    }
    let mut summary = summarize_rows(&found, shape);
    summary.lines.extend(left);
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

/// What was used of a cap, and where the reading stopped. The name of the file alone becomes part of the artifact.
fn describe_cap(dataset: &DatasetConfig, found: &RowsSummary, documents: &Documents<'_>) -> Option<String> {
    let cap = dataset.cap?;
    let used = count_noun(found.split(Split::Train).tokens, "token");
    let place = documents.place().map(|(file, place)| {
        let name = file.file_name().unwrap_or(file.as_os_str());
        format!("; the last document that was read ends in {}", place.in_file(&show_path(name)))
    });
    Some(format!("cap: {used} of {} are used{}", cap.tokens, place.unwrap_or_default()))
}

/// The benchmarks that must not be in a dataset.
fn read_benchmarks(job: &Job<'_>, dataset: &DatasetConfig) -> Result<Contamination, Failure> {
    let checks = dataset.contamination.iter();
    let checks = checks.map(|check| Ok((check.clone(), find_source_files(job, &check.source)?)));
    let checks: Vec<_> = checks.collect::<Result<_, Failure>>()?;
    Contamination::read(checks.into_iter())
        .map_err(|error| input_failure(error, "check `contamination` of the dataset"))
}

/// Passes the documents through with their places, without those that have words of a benchmark, and counts their mentions of
/// special tokens.
fn watch_documents<'a>(
    documents: &'a mut Documents<'_>,
    named: &'a mut SpecialTokenMentions,
    benchmarks: &'a mut Contamination,
) -> impl Iterator<Item = Result<PlacedDocument, CorpusError>> + 'a {
    std::iter::from_fn(move || {
        loop {
            let document = match documents.next()? {
                Ok(document) => document,
                Err(fault) => return Some(Err(fault)),
            };
            if !benchmarks.admits(&document, documents.place()) {
                continue;
            }
            named.count(&document, documents.place());
            let place = documents.place().map(|(file, place)| (file.to_owned(), place));
            return Some(Ok(PlacedDocument { document, place }));
        }
    })
}

fn summarize_rows(found: &RowsSummary, shape: RowsShape) -> Summary {
    let (train, held) = (found.split(Split::Train), found.split(Split::HeldOut));
    let line = |name: &str, split: Split| {
        let s = found.split(split);
        format!(
            "{name}: {}, {}, {}, {} supervised, {:.1} % of positions used, {} too long, {} over the canvas",
            count_noun(s.documents, "document"),
            count_noun(s.rows, "row"),
            count_noun(s.tokens, "token"),
            s.supervised,
            100.0 * found.efficiency(split),
            s.too_long,
            s.beyond_canvas
        )
    };
    let left_out = match train.count_dropped() + held.count_dropped() {
        0 => String::new(),
        many => format!(", {} left out", count_noun(many, shape.unit().trim_end_matches('s'))),
    };
    Summary {
        headline: format!(
            "{} of {}, {} held out{left_out}",
            count_noun(train.rows, "row"),
            found.length,
            held.rows
        ),
        lines: vec![line("train", Split::Train), line("held out", Split::HeldOut)],
        metrics: [("rows", train.rows), ("tokens", train.tokens), ("held_out_rows", held.rows)]
            .map(|(name, value)| (name.to_owned(), value as f64))
            .into(),
    }
}
