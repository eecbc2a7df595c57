//! Lints of the mask token: it must be a row of the embedding, and not one that an ordinary token uses.

use std::borrow::Cow;

use crate::check::lint::checkpoint_folders::CheckpointFolders;
use crate::check::lint::lineage::Lineages;

use crate::pipeline::checkpoint_headers::{self, TokenTable};
use crate::pipeline::config::{
    ConvertConfig, FetchConfig, MaskToken, StageConfig, TokenizerChoice, TokenizerConfig,
};
use crate::pipeline::field_path::convert;
use crate::pipeline::role::InputRole;
use crate::pipeline::shape::ModelShape;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// Number of ids that Qwen3's published tokenizer uses; the rows from this one on are reserved.
const QWEN3_USED_IDS: u64 = 151_669;

/// What is known of a tokenizer's ids without loading it.
struct UsedIds<'a> {
    /// No token uses this id or a larger one.
    end: u64,
    /// The tokens, if they can be read.
    tokens: Option<Cow<'a, TokenTable>>,
}

/// Reports a mask token that is outside of the embedding or already used by a token.
pub(super) fn lint_mask_token(
    lineages: &Lineages<'_>,
    folders: &CheckpointFolders,
    stage: &Stage,
    config: &ConvertConfig,
    sink: &mut Sink,
) {
    let Some(root) = lineages.parent(stage).map(|from| lineages.root(from)) else { return };
    if folders.is_unfit(root) {
        return;
    }
    let rows = count_embedding_rows(lineages, root);
    let find = |stage| find_used_ids(folders, stage);
    let used = match config.tokenizer {
        TokenizerChoice::None => None,
        TokenizerChoice::Named => lineages.input(stage, &InputRole::Tokenizer).and_then(find),
        TokenizerChoice::Beside => find(lineages.input(root, &InputRole::Tokenizer).unwrap_or(root)),
    };
    match (config.mask_token, rows, used) {
        (MaskToken::Id(id), Some(rows), _) if u64::from(id) >= rows => {
            sink.push(mask_outside_embedding(stage, root, id, rows));
        }
        (MaskToken::Id(id), _, Some(used)) if u64::from(id) < used.end => {
            check_mask_token_taken(stage, root, id, rows, &used, sink)
        }
        (MaskToken::Reserved, Some(rows), Some(used)) if used.end >= rows => {
            sink.push(no_reserved_row(stage, root, rows));
        }
        _ => {}
    }
}

/// Number of rows of the embedding; `None` if unknown before the run.
fn count_embedding_rows(lineages: &Lineages<'_>, root: &Stage) -> Option<u64> {
    match &root.config {
        StageConfig::Fetch(FetchConfig::Folder(folder)) => {
            Some(checkpoint_headers::read_model_shape(&folder.join("config.json"))?.vocabulary)
        }
        StageConfig::Fetch(FetchConfig::Hub { from, .. }) => Some(ModelShape::published(from)?.vocabulary),
        StageConfig::RandomInit(_) => match &lineages.input(root, &InputRole::Tokenizer)?.config {
            StageConfig::Tokenizer(TokenizerConfig::ByteLevelBpe { vocabulary, .. }) => {
                Some(*vocabulary as u64)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The ids of the tokenizer that `stage` brings. A tokenizer that is yet to be trained may use all rows but the last.
fn find_used_ids<'a>(folders: &'a CheckpointFolders, stage: &Stage) -> Option<UsedIds<'a>> {
    let all = |tokens: Cow<'a, TokenTable>| UsedIds { end: tokens.end(), tokens: Some(tokens) };
    match &stage.config {
        StageConfig::Fetch(FetchConfig::Folder(_)) => folders.tokens(stage).map(Cow::Borrowed).map(all),
        StageConfig::Fetch(FetchConfig::Hub { from, .. }) => {
            ModelShape::published(from).map(|_| UsedIds { end: QWEN3_USED_IDS, tokens: None })
        }
        StageConfig::Tokenizer(TokenizerConfig::File(file)) => {
            TokenTable::read(file).map(Cow::Owned).map(all)
        }
        StageConfig::Tokenizer(TokenizerConfig::ByteLevelBpe { vocabulary, .. }) => {
            Some(UsedIds { end: (*vocabulary as u64).saturating_sub(1), tokens: None })
        }
        _ => None,
    }
}

fn mask_outside_embedding(stage: &Stage, root: &Stage, id: u32, rows: u64) -> Diagnostic {
    let message =
        format!("token id {id} is outside the vocabulary of `{}`, which has {rows} entries", root.name);
    Diagnostic::new(Code::MaskOutsideVocabulary, message)
        .at(stage.place(convert::MASK_TOKEN), format!("the last id is {}", rows.saturating_sub(1)))
        .also(&root.span, "the vocabulary comes from here")
        .help("write `mask-token \"reserved\"`: the first entry that no token uses")
}

fn no_reserved_row(stage: &Stage, root: &Stage, rows: u64) -> Diagnostic {
    let message = format!("`{}` has no token id to spare: its tokenizer uses all {rows}", root.name);
    Diagnostic::new(Code::MaskOutsideVocabulary, message)
        .at(stage.place(convert::MASK_TOKEN), "no entry is reserved")
        .also(&root.span, "the vocabulary comes from here")
        .help("start from a checkpoint whose `vocab_size` exceeds its number of tokens, such as Qwen3")
}

/// Reports a mask token that is already a token of the tokenizer, unless that token is called a mask: then the checkpoint
/// probably has a mask token of its own.
fn check_mask_token_taken(
    stage: &Stage,
    root: &Stage,
    id: u32,
    rows: Option<u64>,
    used: &UsedIds<'_>,
    sink: &mut Sink,
) {
    let text = used.tokens.as_ref().and_then(|tokens| tokens.text(u64::from(id)));
    if text.is_some_and(|text| text.to_lowercase().contains("mask")) {
        return;
    }
    let whose = text.map_or("a token of the tokenizer".to_owned(), |text| format!("`{text}`"));
    let spare = rows.is_none_or(|rows| used.end < rows);
    let better = if spare { used.end.to_string() } else { "\"reserved\"".to_owned() };
    sink.push(
        Diagnostic::new(
            Code::MaskTokenTaken,
            format!("token id {id} belongs to {whose}, so text would look like noise"),
        )
        .at(stage.place(convert::MASK_TOKEN), format!("the tokenizer uses the ids below {}", used.end))
        .also(&root.span, "the checkpoint")
        .help(format!("write `mask-token {better}`")),
    );
}
