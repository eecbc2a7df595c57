//! Lints of conversations: tokenizers that cannot lay out turns, and scores of turns in a form that nobody taught the model.

use crate::check::lint::checkpoint_folders::{CheckpointFolders, find_tokenizer_source};
use crate::check::lint::lineage::{Lineages, TrainedCanvas};
use crate::check::lint::sampler_paths::number_requests;
use crate::pipeline::checkpoint_headers::TokenTable;
use crate::pipeline::config::sample::AskingMode;
use crate::pipeline::config::{
    DatasetFormat, EvaluateConfig, GenerateConfig, PromptKind, StageConfig, TokenizerConfig,
};
use crate::pipeline::field_path::evaluate;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::{Stage, StageId};
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;

/// The tokens of a turn in ChatML.
const TURN_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

/// How a tokenizer lays out turns.
#[derive(Clone, Copy, PartialEq)]
enum TurnLayout {
    /// By its own template.
    Template,
    /// In ChatML, because it has no template.
    ChatMl,
    /// Not at all.
    Missing,
}

/// A place where turns are laid out for a tokenizer.
struct TurnUse<'a> {
    place: &'a Span,
    /// The stage whose tokenizer it is.
    source: &'a Stage,
    /// Of a benchmark: its name, and the checkpoint.
    measured: Option<(&'a str, &'a Stage)>,
}

/// Runs the lints; each tokenizer is reported at the first stage that needs it.
pub(super) fn lint_conversations(folders: &CheckpointFolders, lineages: &Lineages<'_>, sink: &mut Sink) {
    let mut reported: Vec<StageId> = Vec::new();
    for stage in lineages.stages {
        for used in list_uses(lineages, stage) {
            let layout = find_layout(folders, used.source);
            let found = match (layout, used.measured) {
                (Some(TurnLayout::Missing), _) => Some(turns_without_layout(stage, &used)),
                (Some(TurnLayout::ChatMl), Some((name, checkpoint)))
                    if !knows_turns(lineages, checkpoint) =>
                {
                    Some(turns_in_chatml(&used, name, checkpoint))
                }
                _ => None,
            };
            if let Some(found) = found.filter(|_| !reported.contains(&used.source.id)) {
                reported.push(used.source.id);
                sink.push(found);
            }
        }
    }
}

fn list_uses<'a>(lineages: &Lineages<'a>, stage: &'a Stage) -> Vec<TurnUse<'a>> {
    let of = |checkpoint: Option<&'a Stage>| {
        checkpoint.and_then(|checkpoint| find_tokenizer_source(lineages, checkpoint))
    };
    match &stage.config {
        StageConfig::Rows(config) if matches!(config.dataset.format, DatasetFormat::Chat { .. }) => {
            let source = of(lineages.input(stage, &InputRole::Tokenizer));
            source.map(|source| TurnUse { place: &stage.span, source, measured: None }).into_iter().collect()
        }
        StageConfig::Generate(config) => {
            let source = of(lineages.parent(stage));
            let uses = source.map(|source| list_asked(stage, config, source));
            uses.into_iter().flatten().collect()
        }
        StageConfig::Evaluate(config) => list_measured(lineages, stage, config),
        _ => Vec::new(),
    }
}

fn list_asked<'a>(stage: &'a Stage, config: &GenerateConfig, source: &'a Stage) -> Vec<TurnUse<'a>> {
    let numbered = config.prompts.iter().zip(number_requests(&config.prompts));
    let chats = numbered.filter(|(prompt, _)| matches!(prompt.kind, PromptKind::Chat(_)));
    chats
        .map(|(_, number)| TurnUse { place: stage.place(number.text_path()), source, measured: None })
        .collect()
}

fn list_measured<'a>(
    lineages: &Lineages<'a>,
    stage: &'a Stage,
    config: &'a EvaluateConfig,
) -> Vec<TurnUse<'a>> {
    let named = config.checkpoints.iter().map(|name| InputRole::Checkpoint(name.clone()));
    let checkpoints: Vec<&'a Stage> = named.filter_map(|role| lineages.input(stage, &role)).collect();
    let asked =
        config.benchmarks.iter().enumerate().filter(|(_, benchmark)| {
            benchmark.writing().is_some_and(|writing| writing.mode == AskingMode::Chat)
        });
    let uses = asked.flat_map(|(at, benchmark)| {
        let place = stage.place(evaluate::NTH_BENCHMARK.nth(at));
        checkpoints.iter().filter_map(move |checkpoint| {
            let source = find_tokenizer_source(lineages, checkpoint)?;
            Some(TurnUse { place, source, measured: Some((benchmark.name.as_str(), *checkpoint)) })
        })
    });
    uses.collect()
}

/// How the tokenizer that a stage makes or fetches lays out turns; `None` if that is not known before the run.
fn find_layout(folders: &CheckpointFolders, source: &Stage) -> Option<TurnLayout> {
    let by_tokens = |tokens: &TokenTable| match TURN_TOKENS.iter().all(|token| tokens.has(token)) {
        true => TurnLayout::ChatMl,
        false => TurnLayout::Missing,
    };
    match &source.config {
        StageConfig::Tokenizer(TokenizerConfig::ByteLevelBpe { .. }) => Some(TurnLayout::Template),
        // Only tokenizer.json is taken, and no template beside it.
        StageConfig::Tokenizer(TokenizerConfig::File(file)) => TokenTable::read(file).as_ref().map(by_tokens),
        StageConfig::Fetch(_) => {
            let folder = folders.fit(source)?;
            if folder.has_template() {
                return Some(TurnLayout::Template);
            }
            folder.tokens().map(by_tokens)
        }
        _ => None,
    }
}

/// Whether a checkpoint was trained on conversations, as far as is known.
fn knows_turns(lineages: &Lineages<'_>, checkpoint: &Stage) -> bool {
    let mut at = Some(checkpoint);
    while let Some(stage) = at {
        let has_turns = |rows: &Stage| match &rows.config {
            StageConfig::Rows(config) => matches!(config.dataset.format, DatasetFormat::Chat { .. }),
            _ => false,
        };
        if lineages.rows(stage).any(has_turns) {
            return true;
        }
        at = lineages.parent(stage);
    }
    !matches!(lineages.canvas(checkpoint), TrainedCanvas::None)
}

fn turns_without_layout(stage: &Stage, used: &TurnUse<'_>) -> Diagnostic {
    let message = format!(
        "`{}` lays out conversations, but the tokenizer of `{}` has neither a chat template nor the tokens `{}` and `{}`",
        stage.name, used.source.name, TURN_TOKENS[0], TURN_TOKENS[1]
    );
    let help = match &used.source.config {
        StageConfig::Fetch(_) => "save the model's `chat_template.jinja` in its folder",
        _ => "name a tokenizer that has these tokens, or `fetch` the folder of a model with a chat template",
    };
    Diagnostic::new(Code::NoChatTemplate, message)
        .at(used.place, "in what form?")
        .also(used.source.parent_place(), "its tokenizer")
        .help(help)
}

fn turns_in_chatml(used: &TurnUse<'_>, benchmark: &str, checkpoint: &Stage) -> Diagnostic {
    let message = format!(
        "`{}` is asked in ChatML: `{}` has no chat template, and was not trained on conversations here",
        benchmark, checkpoint.name
    );
    Diagnostic::new(Code::ChatmlAssumed, message)
        .at(used.place, "`mode=\"chat\"`")
        .also(used.source.parent_place(), "its tokenizer")
        .help("save the model's `chat_template.jinja` in its folder, or write `mode=\"base\"`")
}
