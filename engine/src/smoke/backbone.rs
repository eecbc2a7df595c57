//! Random backbones and small tokenizers in place of real ones.

use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::pipeline::config::{
    DatasetConfig, DatasetFormat, FetchConfig, RandomInitConfig, StageConfig, TokenizerConfig,
};
use crate::pipeline::role::InputRole;
use crate::pipeline::shape::ModelShape;
use crate::pipeline::stage::{SourceFiles, Stage, StageId, StageInput, Stages};
use crate::smoke::changes::Changes;
use crate::smoke::documents::write_text;
use crate::smoke::files::SmokeFiles;
use crate::smoke::ledger::{find_written, set_ledger};

/// Rows of the embedding of a generated tokenizer: the bytes, Qwen3's special tokens, some merges, and reserved rows.
const VOCABULARY: usize = 320;
/// Most rows of a tokenizer that the pipeline trains: its canvases and lengths were chosen for its own size.
const MOST_ROWS: usize = 2048;

/// A tiny Qwen3. The numbers that are no sizes are those of the published ones.
const TINY: RandomInitConfig = RandomInitConfig {
    hidden: 64,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    head_dim: 16,
    feed_forward: 128,
    tied: true,
    context: 8192,
    rope_theta: 1e6,
    norm_epsilon: 1e-6,
    initializer_range: 0.02,
};

/// The settings of a tokenizer that is trained on generated text.
fn generated_tokenizer() -> TokenizerConfig {
    let datasets = vec![DatasetConfig::of_format("smoke", DatasetFormat::Text)];
    TokenizerConfig::ByteLevelBpe { vocabulary: VOCABULARY, special: "qwen3".to_owned(), datasets }
}

fn generated_text(files: &SmokeFiles<'_>) -> Result<SourceFiles> {
    Ok(SourceFiles::local("smoke", vec![files.write("tokenizer", ".txt", &write_text())?]))
}

/// Adds the tokenizer of all replaced checkpoints as the first stage.
pub(super) fn add_tokenizer(
    pipeline: &Pipeline,
    stages: &mut Stages,
    files: &SmokeFiles<'_>,
) -> Result<StageId> {
    let mut name = "smoke-tokenizer".to_owned();
    while pipeline.stages.iter().any(|stage| stage.name == name) {
        name.push('-');
    }
    let id = stages.next_id();
    let span = pipeline.stages.first().expect("a checkpoint is a stage").span.clone();
    let config = StageConfig::Tokenizer(generated_tokenizer());
    let (inputs, observed, fields, unsupported) = Default::default();
    let sources = vec![generated_text(files)?];
    let mut stage = Stage { id, name, config, inputs, sources, observed, fields, span, unsupported };
    set_ledger(&mut stage, pipeline.seed);
    stages.push(stage);
    Ok(id)
}

/// Turns a checkpoint that would be fetched into a random backbone with the tokenizer of stage `tokenizer`.
pub(super) fn replace_fetch(stage: &mut Stage, tokenizer: StageId, changes: &mut Changes) {
    let StageConfig::Fetch(config) = &stage.config else { return };
    let tied = match config {
        FetchConfig::Folder(_) | FetchConfig::Made => None,
        FetchConfig::Hub { from, .. } => ModelShape::published(from).map(|shape| shape.tied),
    };
    let from = find_written(stage, "from");
    changes.say(format!(
        "a random backbone ({} layers of {}, a vocabulary of {VOCABULARY}) and its own tokenizer instead of {from}",
        TINY.layers, TINY.hidden
    ));
    stage.config = StageConfig::RandomInit(RandomInitConfig { tied: tied.unwrap_or(TINY.tied), ..TINY });
    stage.inputs = vec![StageInput { role: InputRole::Tokenizer, stage: tokenizer }];
    stage.sources.clear();
}

/// Trains a tokenizer that comes from a file on generated text: it has to be the one of the replaced checkpoints.
pub(super) fn replace_tokenizer_file(
    stage: &mut Stage,
    files: &SmokeFiles<'_>,
    changes: &mut Changes,
) -> Result<()> {
    if !matches!(stage.config, StageConfig::Tokenizer(TokenizerConfig::File(_))) {
        return Ok(());
    }
    changes.say(format!(
        "a tokenizer with a vocabulary of {VOCABULARY}, trained on generated text, instead of {}",
        find_written(stage, "from")
    ));
    stage.config = StageConfig::Tokenizer(generated_tokenizer());
    stage.sources = vec![generated_text(files)?];
    Ok(())
}

pub(super) fn shrink_tokenizer(config: &mut TokenizerConfig, changes: &mut Changes) {
    if let TokenizerConfig::ByteLevelBpe { vocabulary, .. } = config {
        changes.lower("vocabulary", vocabulary, MOST_ROWS);
    }
}

/// Shrinks the shape of a random backbone; the ratios of its heads stay whole.
pub(super) fn shrink_shape(config: &mut RandomInitConfig, changes: &mut Changes) {
    changes.lower("hidden", &mut config.hidden, TINY.hidden);
    changes.lower("layers", &mut config.layers, TINY.layers);
    changes.lower("heads", &mut config.heads, TINY.heads);
    let most = config.kv_heads.min(config.heads);
    let divisor = (1..=most).rev().find(|count| config.heads.is_multiple_of(*count)).expect("1 divides all");
    changes.set("kv-heads", &mut config.kv_heads, divisor);
    changes.lower("head-dim", &mut config.head_dim, TINY.head_dim);
    changes.lower("feed-forward", &mut config.feed_forward, TINY.feed_forward);
}
