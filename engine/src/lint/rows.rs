//! Rows that end where they should not, or never.

use super::{Graph, field, place};
use crate::config::{Format, Packing, RowsConfig, StageConfig};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::pipeline::{Span, Stage};

/// Documents without an end.
pub(super) fn lint(stage: &Stage, config: &RowsConfig, sink: &mut Sink) {
    if !matches!(config.dataset.format, Format::Chat { .. }) && !config.end_of_document {
        sink.push(endless(stage));
    }
}

/// Conversations cut in two, where a training stage reads nothing else. Beside documents they are text like any other.
pub(super) fn conversations(graph: &Graph<'_>, stage: &Stage, sink: &mut Sink) {
    let rows = stage.inputs.iter().filter(|input| input.role.starts_with("rows/"));
    let rows: Vec<_> = rows.filter_map(|input| graph.input(stage, &input.role)).collect();
    let cut = |rows: &&Stage| match &rows.config {
        StageConfig::Rows(config) => {
            config.packing == Packing::Concat && matches!(config.dataset.format, Format::Chat { .. })
        }
        _ => false,
    };
    if let Some(first) = rows.first().filter(|_| rows.iter().all(cut)) {
        sink.push(cut_conversations(stage, first));
    }
}

fn name(stage: &Stage) -> &str {
    stage.name.split('/').next().unwrap_or_default()
}

/// Where rows say which fields their conversations are in.
fn turns(rows: &Stage) -> &Span {
    let list = field(rows, "dataset.chat.messages");
    list.map_or_else(|| place(rows, "dataset.chat.user"), |list| &list.span)
}

fn cut_conversations(stage: &Stage, rows: &Stage) -> Diagnostic {
    let message = format!("rows `{}` cut conversations wherever a row ends", name(rows));
    Diagnostic::new(Code::CutConversations, message)
        .at(place(rows, "packing"), "an answer may lose its question")
        .also(turns(rows), "conversations")
        .also(place(stage, "data.rows"), format!("all that `{}` reads", stage.name))
        .help("write `packing=\"first-fit\"`")
}

fn endless(stage: &Stage) -> Diagnostic {
    let message =
        format!("rows `{}` never say where a document ends, so no model of them learns to stop", name(stage));
    Diagnostic::new(Code::NoEndOfDocument, message)
        .at(place(stage, "end-of-document"), "no end-of-document token")
        .help("write `end-of-document=#true`")
}
