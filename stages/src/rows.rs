//! The `rows` stage: tokenizes and packs one dataset.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{DatasetConfig, RowsConfig};
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::pipeline::shards::ShardPlan;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::{ArtifactWriter, GrowingFile, Summary};
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::show_path;
use indexmap::IndexMap;
use serde_json::Value;

use crate::data::build::{BuiltShards, RowsProgress, build_rows};
use crate::data::contamination::LISTED;
use crate::data::corpus::{Copies, Documents, Patience};
use crate::data::dropped::RowsShape;
use crate::data::rows::{FileSink, RECORDS, RowsFile, RowsSummary, Split, Unwritten};
use crate::data::special_token_mentions::SpecialTokenMentions;
use crate::dataset::{
    COPIES, ShardCopies, find_copies, find_parts, open_documents, plan_shards, read_compared, read_originals,
    read_rows_options, watch_documents,
};
use crate::failure::stage_failure;
use crate::job::{ArtifactSink, explain_build_error, find_input_folder, find_source};
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
    let plan = plan_shards(source, &config.dataset, config.shard_bytes)?;
    let window = config.window.is_some();
    let (mut writer, growing, made) = open_artifact(job, &plan, window)?;
    let shards = BuiltShards { plan: &plan, window, made: made.as_ref() };
    let mut compared = read_compared(job, config, shards.window.then_some(&mut writer))?;
    let (copies, told) = prepare_copies(job, config, shards.window.then_some(&plan), &mut writer)?;
    let mut sink = RowsSink { artifact: ArtifactSink(&mut writer), window: shards.window, growing };
    let mut named = SpecialTokenMentions::new(&tokenizer, config.specials);
    let read = if shards.window { plan.opening_parts() } else { plan.all_parts() };
    let (parts, _) = find_parts(job, source, read)?;
    let patience = Patience { interrupt: job.interrupt, tell: Some(job.report) };
    let mut documents = open_documents(job, &config.dataset, parts, patience)?;
    if let Some(copies) = copies {
        documents = documents.with_copies(Some(copies));
    }
    let held_out = config.dataset.held_out;
    let shard_of = |part| plan.shard_of(part);
    let read = watch_documents(&mut documents, Some(&mut named), &mut compared, held_out, shard_of);
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
    if compared.is_checked() {
        writer.write(LISTED, compared.listed())?;
    }
    if let Some(listed) = documents.list_copies() {
        writer.write(LISTED_COPIES, listed)?;
    }
    let shape =
        RowsShape { length: found.length, canvas: found.canvas, packing: found.packing, chats: found.chats };
    let left = documents.tally().describe(&config.dataset.format, "");
    let left: Vec<String> = left.iter().map(|remark| format!("{}: {}", remark.text, remark.fix)).collect();
    let left: Vec<String> = describe_shards(&found)
        .into_iter()
        .chain(describe_cap(&config.dataset, &found, &documents))
        .chain(documents.describe_left_out())
        .chain(told)
        .chain(compared.describe())
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

/// The artifact of rows, the file of their records, and what an earlier run has made of it. Of a window there are no such records.
fn open_artifact(
    job: &Job<'_>,
    plan: &ShardPlan,
    window: bool,
) -> Result<(ArtifactWriter, Option<GrowingFile>, Option<RowsProgress>), Failure> {
    if window {
        return Ok((job.slot.artifact()?, None, None));
    }
    let (mut writer, mut file, mut growth) = job.slot.growing_artifact(RECORDS)?;
    let mut made = None;
    if let Some(found) = growth.take() {
        let read = serde_json::from_value::<RowsProgress>(found.state).ok();
        made = read.filter(|made| made.is_possible(plan.len()));
        match made.as_ref().map(RowsProgress::shards) {
            Some(done) => job.report.note(&format!(
                "goes on behind {} of {}: their documents are read again, and only those that are held out are encoded",
                count_noun(done as u64, "shard"),
                plan.len()
            )),
            // It is not what this version of the program notes.
            None => {
                drop((writer, file));
                job.slot.forget_growth()?;
                (writer, file, _) = job.slot.growing_artifact(RECORDS)?;
            }
        }
    }
    Ok((writer, Some(file), made))
}

/// Name of the file that lists documents which are in other datasets too.
const LISTED_COPIES: &str = "duplicates.jsonl";

/// Finds out about copies before the documents are read, as far as that is needed: which there are, and what is told of them. The shards
/// of a window, whose plan is given, are made alone, so that all copies are found now and kept with it.
fn prepare_copies<'a>(
    job: &'a Job<'_>,
    config: &RowsConfig,
    window: Option<&ShardPlan>,
    writer: &mut ArtifactWriter,
) -> Result<(Option<Copies<'a>>, Option<String>), Failure> {
    let dataset = &config.dataset;
    if !dataset.drops_duplicates || (dataset.originals.is_empty() && window.is_none()) {
        return Ok((None, None));
    }
    let mut seen = read_originals(job, config)?;
    let Some(plan) = window else { return Ok((Some(Copies::Seen(seen)), None)) };
    let shards = find_copies(job, config, &mut seen)?;
    let mut lines = Vec::new();
    for shard in &shards {
        serde_json::to_writer(&mut lines, shard).map_err(stage_failure)?;
        lines.push(b'\n');
    }
    writer.write(COPIES, &lines)?;
    if let Some(listed) = seen.listed() {
        writer.write(LISTED_COPIES, listed)?;
    }
    let numbers = ShardCopies::join(&shards[..plan.opening()]);
    Ok((Some(Copies::Known { numbers, read: 0 }), Some(seen.describe())))
}

/// How a dataset of several groups is read; one of a single group is shuffled as a whole, and there is nothing to say.
fn describe_shards(found: &RowsSummary) -> Vec<String> {
    let shards = &found.shards;
    let window = shards.is_window().then(|| {
        format!(
            "window: read {} of {}; the training rows of all are made while training reads them",
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
    /// The file of the training rows, which outlives a kill.
    growing: Option<GrowingFile>,
}

impl FileSink for RowsSink<'_> {
    fn file(&mut self, name: &str) -> std::io::Result<Box<dyn RowsFile>> {
        match (name == RECORDS, self.growing.take_if(|_| name == RECORDS)) {
            (_, Some(file)) => Ok(Box::new(file)),
            (true, None) if self.window => Ok(Box::new(Unwritten)),
            _ => self.artifact.file(name),
        }
    }
}

impl RowsFile for GrowingFile {
    fn note(&mut self, step: u64, state: &Value) -> std::io::Result<()> {
        Ok(Self::note(self, step, state.clone())?)
    }

    fn finish(self: Box<Self>) -> std::io::Result<()> {
        Ok(Self::finish(*self)?)
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
