//! `fmflow data show`: rows as text.

use clap::Args;
use serde_json::json;

use super::super::CommandContext;
use super::super::output::Output;
use super::super::pipeline_arguments::PipelineArguments;
use super::FinishedStages;
use super::wrap::{Style, WrappedText};
use crate::error::{Error, Result};
use crate::run::rows_view::{PieceRole, RowPiece, RowsRequest, RowsView, ViewedRow, WindowView};
use crate::text::display::count_noun;

/// Lines of a piece that are shown without `--full`.
const MOST_LINES: usize = 16;

/// Columns before the text: the document, its role and a rule.
const GUTTER: usize = 15;

#[derive(Debug, Args)]
pub(super) struct ShowRowsArguments {
    #[command(flatten)]
    pub(super) source: PipelineArguments,
    /// The rows, as ROWS/DATASET
    stage: String,
    /// How many rows
    #[arg(short = 'n', value_name = "ROWS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000), conflicts_with = "row")]
    count: u64,
    /// Only this row, counted from 0
    #[arg(long, value_name = "ROW")]
    row: Option<u64>,
    /// Held-out rows instead of those for training
    #[arg(long)]
    held_out: bool,
    /// Show which tokens noise takes at this time t, from 0 (all that are learned) to 1 (none)
    #[arg(long, value_name = "T", value_parser = parse_time)]
    at: Option<f64>,
    /// Show every line of long texts
    #[arg(long)]
    full: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

fn parse_time(text: &str) -> std::result::Result<f64, String> {
    let t: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    (0.0..=1.0).contains(&t).then_some(t).ok_or_else(|| "not a time from 0 to 1".to_owned())
}

pub(super) fn show_rows(arguments: &ShowRowsArguments, context: &CommandContext<'_>) -> Result<()> {
    let ShowRowsArguments { source, stage, count, row, held_out, at, full, json } = arguments;
    let stages = FinishedStages::read(source, context)?;
    let folder = stages.find_rows(stage, context)?;
    let request = RowsRequest {
        held_out: *held_out,
        first: row.unwrap_or(0),
        count: if row.is_some() { 1 } else { *count },
        at: *at,
        seed: stages.pipeline.seed,
        window: stages.list_window(stage)?,
    };
    let found = context.executor()?.view_rows(&folder, &request);
    let found = found.map_err(|failure| Error::Stage { stage: stage.clone(), failure })?;
    if *json {
        let answer = json!({
            "schema": "fmflow.data/1", "stage": stage, "held-out": held_out, "at": at,
            "length": found.length, "total": found.total, "window": found.window, "rows": found.rows,
        });
        return context.output.json(&answer);
    }
    let page = RowsPage { request: &request, full: *full, output: context.output };
    context.output.styled(&page.render(stage, &found))
}

/// How rows are written.
struct RowsPage<'a> {
    request: &'a RowsRequest,
    full: bool,
    output: Output,
}

impl RowsPage<'_> {
    fn render(&self, stage: &str, found: &RowsView) -> String {
        let part = if self.request.held_out { "held-out" } else { "training" };
        let noise = match self.request.at {
            Some(t) => format!("; ░ is a token that noise takes at t = {t}"),
            None => String::new(),
        };
        let mut text = format!(
            "{stage}: {} of {} tokens{}{noise}\n",
            count_noun(found.total, &format!("{part} row")),
            found.length,
            found.window.as_ref().map(describe_window).unwrap_or_default()
        );
        for row in &found.rows {
            text += &format!("\n{}\n", describe_row(row));
            row.pieces.iter().for_each(|piece| text += &self.render_piece(piece));
        }
        text
    }

    fn render_piece(&self, piece: &RowPiece) -> String {
        let (word, style) = match piece.role {
            PieceRole::Given => ("given", Style::Given),
            PieceRole::Learned => ("learned", Style::Learned),
            PieceRole::Padding => ("padding", Style::Faint),
        };
        let mut wrapped =
            WrappedText::new(self.output.stdout_columns() - GUTTER, self.output.colors_stdout());
        if piece.role == PieceRole::Padding {
            wrapped.push(&count_noun(piece.tokens, "token"), style);
        } else {
            for part in &piece.parts {
                match part.corrupted {
                    true => wrapped.push(&"░".repeat(part.tokens), Style::Noise),
                    false => wrapped.push(&shorten_repeats(&part.text), style),
                }
            }
        }
        let mut lines = wrapped.finish();
        if !self.full && lines.len() > MOST_LINES {
            let more = count_noun(lines.len() - (MOST_LINES - 1), "more line");
            lines.truncate(MOST_LINES - 1);
            lines.push(format!("… {more}; `--full` shows them"));
        }
        let document = piece.document.map(|number| number.to_string()).unwrap_or_default();
        let gutter =
            |at| if at == 0 { format!("{document:>4} {word:<8}│ ") } else { format!("{:13}│ ", "") };
        let lines = lines.iter().enumerate().map(|(at, line)| format!("{}{line}\n", gutter(at)));
        lines.map(|line| line.trim_end_matches([' ', '\n']).to_owned() + "\n").collect()
    }
}

/// The text with `<|name|> ×9` in place of a special token that stands there more than three times in a row, as padding does.
fn shorten_repeats(text: &str) -> String {
    let (mut short, mut rest) = (String::new(), text);
    while let Some(start) = rest.find("<|") {
        let Some(length) = rest[start..].find("|>") else { break };
        let token = &rest[start..start + length + "|>".len()];
        let mut after = &rest[start..];
        let mut count = 0;
        while let Some(next) = after.strip_prefix(token) {
            (after, count) = (next, count + 1);
        }
        short.push_str(&rest[..start]);
        match count {
            0..=3 => short.push_str(&token.repeat(count)),
            many => short.push_str(&format!("{token} ×{many}")),
        }
        rest = after;
    }
    short + rest
}

/// Which rows of a window are seen, and where the others are.
fn describe_window(window: &WindowView) -> String {
    let there = window.there.len() as u64;
    let rest = match window.made.saturating_sub(there) {
        _ if there == window.shards => String::new(),
        0 => "; others are made while training reads them".to_owned(),
        dropped => format!("; {dropped} were dropped, and others are made while training reads them"),
    };
    format!(", in the {there} of {} that are there now{rest}", count_noun(window.shards, "shard"))
}

/// The number of a row, and how many of its positions are what.
fn describe_row(row: &ViewedRow) -> String {
    let tokens = |role| -> usize {
        row.pieces.iter().filter(|piece| piece.role == role).map(|piece| piece.tokens).sum()
    };
    let documents = row.pieces.iter().filter_map(|piece| piece.document).max().unwrap_or(0);
    let roles =
        [(PieceRole::Given, "given"), (PieceRole::Learned, "learned"), (PieceRole::Padding, "padding")];
    let roles = roles.map(|(role, word)| (tokens(role), word));
    let roles: Vec<_> =
        roles.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let shard = row.shard.map(|[shard, row]| format!(" (shard {shard}, row {row})")).unwrap_or_default();
    format!("row {}{shard}: {}, {}", row.row, count_noun(documents, "document"), roles.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_that_repeat_are_shortened() {
        for text in ["", "a <|b", "<|x|><|x|><|x|>", "<|a|>\n<|a|>\n<|a|>\n<|a|>", "二<|x|>|>"] {
            assert_eq!(shorten_repeats(text), text);
        }
        assert_eq!(shorten_repeats("a<|e|><|p|><|p|><|p|><|p|>b<|p|>"), "a<|e|><|p|> ×4b<|p|>");
    }
}
