//! Conversations that are laid out with another chat template than the model's, where both lie on this machine.

use crate::check::lint::checkpoint_folders::{CheckpointFolders, find_tokenizer_source};
use crate::check::lint::lineage::Lineages;
use crate::pipeline::config::{DatasetFormat, StageConfig, TokenizerConfig};
use crate::pipeline::field_path::{rows, train};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// Reports the rows of conversations of a training stage whose template is not that of its checkpoint: its turns would mean something
/// else to the model. The stage itself refuses them, too.
pub(super) fn lint_chat_templates(
    folders: &CheckpointFolders,
    lineages: &Lineages<'_>,
    stage: &Stage,
    sink: &mut Sink,
) {
    let Some(model) = lineages.parent(stage).and_then(|parent| find_tokenizer_source(lineages, parent))
    else {
        return;
    };
    let Some(its) = find_template(folders, model) else { return };
    for used in lineages.rows(stage).filter(|used| has_conversations(used)) {
        let source = lineages.input(used, &InputRole::Tokenizer);
        let Some(source) = source.and_then(|source| find_tokenizer_source(lineages, source)) else {
            continue;
        };
        let Some(mine) = find_template(folders, source).filter(|mine| source.id != model.id && *mine != its)
        else {
            continue;
        };
        sink.push(differing_templates((stage, used), (source, mine.is_some()), (model, its.is_some())));
    }
}

fn has_conversations(used: &Stage) -> bool {
    matches!(&used.config, StageConfig::Rows(config) if matches!(config.dataset.format, DatasetFormat::Chat { .. }))
}

/// The template that comes with the tokenizer of a stage, if there is one; the outer `None` if that is not known before the run.
fn find_template(folders: &CheckpointFolders, source: &Stage) -> Option<Option<String>> {
    match &source.config {
        // Only tokenizer.json is taken, and no template beside it.
        StageConfig::Tokenizer(TokenizerConfig::File(_)) => Some(None),
        StageConfig::Fetch(_) => folders.fit(source)?.find_template(),
        _ => None,
    }
}

fn differing_templates(
    (stage, used): (&Stage, &Stage),
    (source, has_one): (&Stage, bool),
    (model, model_has_one): (&Stage, bool),
) -> Diagnostic {
    let template = |stage: &Stage, has_one: bool| match has_one {
        true => format!("the chat template of `{}`", stage.name),
        false => format!("ChatML, because the tokenizer of `{}` has no chat template", stage.name),
    };
    let message = format!(
        "`{}` lays out conversations in {}, but the model that `{}` trains has {}",
        used.name,
        template(source, has_one),
        stage.name,
        template(model, model_has_one)
    );
    Diagnostic::new(Code::TokenizerMismatch, message)
        .at(used.place(rows::TOKENIZER), "another template")
        .also(model.parent_place(), "the model's")
        .also(stage.place(train::DATA_ROWS), format!("used by `{}`", stage.name))
        .help(format!("write `tokenizer=\"{}\"` in the rows", model.name))
}
