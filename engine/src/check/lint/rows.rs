//! Lints of rows: documents without an end, conversations cut in two.

use crate::check::lint::lineage::Lineages;

use crate::pipeline::config::{DatasetFormat, Packing, RowsConfig, StageConfig};
use crate::pipeline::field_path::{rows, train};
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;

/// Warns about documents without an end-of-document token.
pub(super) fn lint_rows(stage: &Stage, config: &RowsConfig, sink: &mut Sink) {
    if !matches!(config.dataset.format, DatasetFormat::Chat { .. }) && !config.end_of_document {
        sink.push(endless_documents(stage));
    }
}

/// Warns about conversations that are cut in two, if `stage` reads nothing but conversations. Mixed with documents they
/// count as ordinary text.
pub(super) fn check_cut_conversations(lineages: &Lineages<'_>, stage: &Stage, sink: &mut Sink) {
    let rows: Vec<_> = lineages.rows(stage).collect();
    let cut = |rows: &&Stage| match &rows.config {
        StageConfig::Rows(config) => {
            config.packing == Packing::Concat && matches!(config.dataset.format, DatasetFormat::Chat { .. })
        }
        _ => false,
    };
    if let Some(first) = rows.first().filter(|_| rows.iter().all(cut)) {
        sink.push(cut_conversations(stage, first));
    }
}

/// The name of the `rows` node of a rows stage, which is called `<rows>/<dataset>`.
pub(super) fn find_rows_name(stage: &Stage) -> &str {
    stage.name.split_once('/').expect("a rows stage is named after its rows and its dataset").0
}

/// The place that names the fields of the conversations.
fn find_turns_place(rows: &Stage) -> &Span {
    let list = rows.field(rows::CHAT_MESSAGES);
    list.map_or_else(|| rows.place(rows::CHAT_USER), |list| &list.span)
}

fn cut_conversations(stage: &Stage, rows: &Stage) -> Diagnostic {
    let message = format!("rows `{}` cut conversations wherever a row ends", find_rows_name(rows));
    Diagnostic::new(Code::CutConversations, message)
        .at(rows.place(rows::PACKING), "an answer may lose its question")
        .also(find_turns_place(rows), "conversations")
        .also(stage.place(train::DATA_ROWS), format!("all that `{}` reads", stage.name))
        .help("write `packing=\"first-fit\"`")
}

fn endless_documents(stage: &Stage) -> Diagnostic {
    let message = format!(
        "rows `{}` never say where a document ends, so a model trained on them never learns to stop",
        find_rows_name(stage)
    );
    Diagnostic::new(Code::NoEndOfDocument, message)
        .at(stage.place(rows::END_OF_DOCUMENT), "no end-of-document token")
        .help("write `end-of-document=#true`")
}
