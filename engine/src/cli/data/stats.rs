//! `fmflow data stats`: what is in rows.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::super::CommandContext;
use super::super::pipeline_arguments::PipelineArguments;
use super::FinishedStages;
use crate::error::{Error, Result};
use crate::run::rows_view::{LengthCount, PartStatistics, RowsStatistics};
use crate::store::summary;
use crate::text::display::{count_noun, format_count, render_table};
use crate::text::escape::escape_line;

/// Rows of a part that are read at most, for lengths and special tokens.
const MOST_ROWS: u64 = 100_000;

/// The longest bar of a histogram, in columns.
const LONGEST_BAR: usize = 40;

#[derive(Debug, Args)]
pub(super) struct StatsArguments {
    #[command(flatten)]
    pub(super) source: PipelineArguments,
    /// The rows, as ROWS/DATASET [default: a table of all finished ones]
    stage: Option<String>,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// Statistics of one dataset's rows.
struct StageStatistics {
    stage: String,
    found: RowsStatistics,
    /// What reading the dataset left out, in sentences.
    notes: Vec<String>,
}

pub(super) fn show_statistics(arguments: &StatsArguments, context: &CommandContext<'_>) -> Result<()> {
    let stages = FinishedStages::read(&arguments.source, context)?;
    if let Some(stage) = &arguments.stage {
        let one = measure(&stages, stage, context)?;
        return match arguments.json {
            true => context.output.json(&render_json(&[one])),
            false => context.output.result(&render_one(&one, context.output.stdout_columns())),
        };
    }
    let mut all = Vec::new();
    for name in stages.list_rows() {
        match measure(&stages, name, context) {
            Ok(one) => all.push(one),
            // Rows that are not finished have no line; damaged ones are told.
            Err(_) if !stages.are_made(name)? => {}
            Err(error) => return Err(error),
        }
    }
    if all.is_empty() {
        let first = stages.list_rows().next();
        let Some(first) = first else {
            return Err(Error::usage("no stage of this file makes rows", "see `fmflow explain rows`"));
        };
        return Err(stages.find_rows(first, context).expect_err("no rows are finished"));
    }
    match arguments.json {
        true => context.output.json(&render_json(&all)),
        false => context.output.result(&render_all(&all)),
    }
}

fn measure(
    stages: &FinishedStages<'_>,
    stage: &str,
    context: &CommandContext<'_>,
) -> Result<StageStatistics> {
    let folder = stages.find_rows(stage, context)?;
    let found = context.executor()?.measure_rows(&folder, MOST_ROWS);
    let found = found.map_err(|failure| Error::Stage { stage: stage.to_owned(), failure })?;
    Ok(StageStatistics { stage: stage.to_owned(), found, notes: read_notes(stages, &folder)? })
}

/// What the stage said about its data, without the counts of its parts.
fn read_notes(stages: &FinishedStages<'_>, folder: &Path) -> Result<Vec<String>> {
    let store = stages.store.as_ref().expect("rows that were found are in a store");
    let lines = summary::read_summary(store.vfs(), folder)?.lines;
    let counts = ["train: ", "first shards: ", "held out: "];
    let is_note = |line: &String| !counts.iter().any(|start| line.starts_with(start));
    Ok(lines.into_iter().filter(is_note).collect())
}

fn render_json(all: &[StageStatistics]) -> Value {
    let one = |StageStatistics { stage, found, notes }: &StageStatistics| {
        let mut value = serde_json::to_value(found).expect("statistics have a JSON form");
        value["stage"] = json!(stage);
        value["notes"] = json!(notes);
        value
    };
    json!({ "schema": "fmflow.data/1", "rows": all.iter().map(one).collect::<Vec<_>>() })
}

fn render_all(all: &[StageStatistics]) -> String {
    let line = |StageStatistics { stage, found, .. }: &StageStatistics| {
        let PartStatistics { documents, rows, tokens, learned, efficiency, too_long, beyond_canvas } =
            found.train;
        vec![
            stage.clone(),
            format_count(documents as f64),
            format_count(rows as f64),
            found.length.to_string(),
            format_count(tokens as f64),
            format_percent(learned, tokens),
            format!("{:.1} %", 100.0 * efficiency),
            format_percent(too_long + beyond_canvas, documents),
            format_count(found.held_out.rows as f64),
        ]
    };
    let head =
        ["stage", "documents", "rows", "length", "tokens", "learned", "used", "left out", "held-out rows"];
    render_table(&head, all.iter().map(line).collect())
}

fn render_one(one: &StageStatistics, columns: usize) -> String {
    let StageStatistics { stage, found, notes } = one;
    let mut text = format!(
        "{}: rows of {}, packing \"{}\"\n\n",
        escape_line(stage),
        count_noun(found.length, "token"),
        found.packing
    );
    text += &render_parts(found);
    for note in notes {
        let note = format!("note: {}", escape_line(note));
        text += &textwrap::fill(&note, textwrap::Options::new(columns).subsequent_indent("      "));
        text.push('\n');
    }
    let all = found.train.rows + found.held_out.rows;
    let from = match found.rows_read == all {
        _ if found.window => {
            format!(" (from {} held-out rows: those for training are in a window)", found.rows_read)
        }
        true => String::new(),
        false => format!(" (from {} of {all} rows, evenly spaced)", found.rows_read),
    };
    let what =
        if found.packing == "concat" { "documents, or their parts, in rows" } else { "documents in rows" };
    text += &format!("\nlength of {what}, in tokens{from}\n{}", render_histogram(&found.lengths));
    if !found.special_tokens.is_empty() {
        text += "\nspecial tokens, without padding\n";
        let rows = found.special_tokens.iter();
        let rows: Vec<_> = rows.map(|(name, count)| (name.as_str(), *count)).collect();
        text += &render_bars(&rows);
    }
    text
}

/// The counts of both parts side by side.
fn render_parts(found: &RowsStatistics) -> String {
    type Cell<'a> = &'a dyn Fn(&PartStatistics) -> String;
    let share = |count: u64, of: u64| match count {
        0 => "0".to_owned(),
        many => format!("{many} ({})", format_percent(many, of)),
    };
    let lines: [(&str, Cell<'_>); 7] = [
        (found.unit, &|part| part.documents.to_string()),
        ("rows", &|part| part.rows.to_string()),
        ("tokens", &|part| part.tokens.to_string()),
        ("learned", &|part| share(part.learned, part.tokens)),
        ("positions used", &|part| format!("{:.1} %", 100.0 * part.efficiency)),
        ("left out: longer than a row", &|part| share(part.too_long, part.documents)),
        ("left out: longer than the canvas", &|part| share(part.beyond_canvas, part.documents)),
    ];
    let rows =
        lines.iter().map(|(name, cell)| vec![(*name).to_owned(), cell(&found.train), cell(&found.held_out)]);
    let training = if found.window { "first shards" } else { "training" };
    render_table(&["", training, "held out"], rows.collect())
}

fn render_histogram(lengths: &[LengthCount]) -> String {
    let label = |range: &LengthCount| match range.from == range.to {
        true => range.from.to_string(),
        false => format!("{} to {}", range.from, range.to),
    };
    let labels: Vec<_> = lengths.iter().map(label).collect();
    let rows: Vec<_> =
        labels.iter().zip(lengths).map(|(label, range)| (label.as_str(), range.documents)).collect();
    render_bars(&rows)
}

/// A bar for every count, with its share of all.
fn render_bars(rows: &[(&str, u64)]) -> String {
    let longest = rows.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let all: u64 = rows.iter().map(|(_, count)| count).sum();
    let label = rows.iter().map(|(label, _)| escape_line(label).chars().count()).max().unwrap_or(0);
    let line = |(name, count): &(&str, u64)| {
        // A count that is not 0 has a bar, however small its share is.
        let columns = (*count as f64 / longest as f64 * LONGEST_BAR as f64).ceil() as usize;
        let (bar, share) = ("█".repeat(columns), format_percent(*count, all));
        format!("  {:>label$} │{bar:<LONGEST_BAR$} {count} ({share})\n", escape_line(name))
    };
    rows.iter().map(line).collect()
}

fn format_percent(count: u64, of: u64) -> String {
    format!("{:.1} %", 100.0 * count as f64 / of.max(1) as f64)
}
