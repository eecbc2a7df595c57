//! The `rows` stage: tokenizes and packs one dataset.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{DatasetConfig, RowsConfig};
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::Summary;
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::show_path;
use indexmap::IndexMap;

use crate::data::build::{BuiltShards, build_rows};
use crate::data::contamination::LISTED;
use crate::data::corpus::{Documents, Patience};
use crate::data::dropped::RowsShape;
use crate::data::rows::{FileSink, RECORDS, RowsFile, RowsSummary, Split, Unwritten};
use crate::data::special_token_mentions::SpecialTokenMentions;
use crate::dataset::{open_documents, plan_shards, read_benchmarks, read_rows_options, watch_documents};
use crate::job::{ArtifactSink, explain_build_error, find_input_folder, find_some_files, find_source};
use crate::model::open_tokenizer;

/// Tokenizes and packs a dataset; of one with a window the first shards, which say what its rows are like and hold its held-out rows.
///
/// # Errors
/// If data cannot be read, or the settings do not fit the data.
pub(crate) fn run_rows(job: &Job<'_>, config: &RowsConfig) -> Result<Summary, Failure> {
    let tokenizer = open_tokenizer(find_input_folder(job, &InputRole::Tokenizer)?)?
        .with_special_names(config.specials.unwrap_or_default());
    let options = read_rows_options(config);
    let source = find_source(job.stage, &config.dataset.name)?;
    let plan = plan_shards(source, config)?;
    let shards = BuiltShards { plan: &plan, window: config.window.is_some() };
    let mut writer = job.slot.artifact()?;
    let mut sink = RowsSink { artifact: ArtifactSink(&mut writer), window: shards.window };
    let mut named = SpecialTokenMentions::new(&tokenizer, config.specials);
    let last = if shards.window { plan.opening() } else { plan.len() };
    let files = find_some_files(job, source, 0..plan.files(last - 1).end)?;
    let patience = Patience { interrupt: job.interrupt, tell: Some(job.report) };
    let mut documents = open_documents(job, &config.dataset, files, patience)?;
    let mut benchmarks = read_benchmarks(job.stage, &config.dataset)?;
    let read = watch_documents(&mut documents, Some(&mut named), &mut benchmarks, |file| plan.shard_of(file));
    let built = build_rows(read, &tokenizer, &options, &shards, &mut sink, job.cores, job.interrupt);
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
    let left: Vec<String> = describe_shards(&found)
        .into_iter()
        .chain(describe_cap(&config.dataset, &found, &documents))
        .chain(documents.describe_left_out())
        .chain(benchmarks.describe())
        .chain(left)
        .collect();
    // What it keeps of contents goes before the folder that it lies in.
    drop(documents);
    left.iter().cloned().chain(named.describe()).for_each(|note| job.report.note(&note));
    for split in [Split::Train, Split::HeldOut] {
        shape.describe_dropped(split, found.split(split)).iter().for_each(|note| job.report.note(note));
    }
    let mut summary = summarize_rows(&found, shape);
    summary.lines.extend(left);
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

/// How a dataset of several groups is read; one of a single group is shuffled as a whole, and there is nothing to say.
fn describe_shards(found: &RowsSummary) -> Vec<String> {
    let shards = &found.shards;
    let window = shards.is_window().then(|| {
        format!(
            "window: {} of {} were read; the training rows of all are made while training reads them",
            shards.per_group,
            count_noun(shards.count, "shard")
        )
    });
    let order = if shards.in_order {
        "in the order of their documents, because of the cap"
    } else {
        "in random order"
    };
    let several = (shards.per_group < shards.count).then(|| {
        let later = match shards.is_window() {
            true => "documents of later shards that are held out are left out".to_owned(),
            false => format!("{} of later ones are left out", count_noun(shards.held_out_later, "held-out document")),
        };
        format!(
            "shards: {} of about {} rows, read {order}, {} shuffled together; held-out rows are of the first {}, {later}",
            shards.count,
            shards.opening_rows / shards.per_group,
            shards.per_group,
            shards.per_group
        )
    });
    window.into_iter().chain(several).collect()
}

/// The files of rows. Those of a window have no training rows.
struct RowsSink<'a> {
    artifact: ArtifactSink<'a>,
    window: bool,
}

impl FileSink for RowsSink<'_> {
    fn file(&mut self, name: &str) -> std::io::Result<Box<dyn RowsFile>> {
        match self.window && name == RECORDS {
            true => Ok(Box::new(Unwritten)),
            false => self.artifact.file(name),
        }
    }
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
    let shards = count_noun(found.shards.count, "shard");
    let rows = match found.shards.is_window() {
        true => format!("a window on {shards}, rows of {}", found.length),
        false => format!("{} of {}", count_noun(train.rows, "row"), found.length),
    };
    Summary {
        headline: format!("{rows}, {} held out{left_out}", held.rows),
        lines: vec![
            line(if found.shards.is_window() { "first shards" } else { "train" }, Split::Train),
            line("held out", Split::HeldOut),
        ],
        metrics: [("rows", train.rows), ("tokens", train.tokens), ("held_out_rows", held.rows)]
            .map(|(name, value)| (name.to_owned(), value as f64))
            .into(),
    }
}
