//! What a plan needs to know of the world outside the store: digests and sizes of sources, shapes of given checkpoints.

use std::path::Path;

use serde_json::Value;

use super::cost::Shape;
use crate::config::{FetchConfig, StageConfig, TokenizerConfig};
use crate::error::{Error, Result};
use crate::pipeline::{Pipeline, Stage, StageId};
use crate::store::Store;
use crate::store::digest::Digests;
use crate::vfs::{Disk, Vfs};

/// What is known of the world outside the store, by stage.
#[derive(Clone, Debug, Default)]
pub struct Facts(pub Vec<Fact>);

/// What is known about the sources of one stage.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    /// Content digests of its sources, in order.
    pub digests: Vec<String>,
    /// Bytes of its sources.
    pub bytes: u64,
    /// Of a `fetch`: the shape its `config.json` tells.
    pub shape: Option<Shape>,
    /// Of a `tokenizer`: rows of the embedding it asks for.
    pub vocabulary: Option<u64>,
}

impl Facts {
    /// Reads what the pipeline's sources tell.
    ///
    /// # Errors
    /// [`Error::Input`] for a source that cannot be read.
    pub fn gather(pipeline: &Pipeline, store: Option<&Store>) -> Result<Self> {
        let mut digests = Digests::new(&Disk, store);
        let facts = pipeline.stages.iter().map(|stage| fact(stage, &mut digests)).collect::<Result<_>>()?;
        digests.remember();
        Ok(Self(facts))
    }

    /// Content digests of a stage's sources.
    #[must_use]
    pub fn digests(&self, id: StageId) -> Vec<String> {
        self.of(id).digests
    }

    /// Everything known about a stage's sources.
    #[must_use]
    pub fn of(&self, id: StageId) -> Fact {
        self.0.get(id.0 as usize).cloned().unwrap_or_default()
    }
}

/// Refuses to go on when a stage's sources are not what the plan saw.
///
/// # Errors
/// [`Error::Input`] that names the source.
pub fn check_unchanged(stage: &Stage, planned: &[String], store: &Store) -> Result<()> {
    let mut digests = Digests::new(&Disk, Some(store));
    for (source, planned) in stage.sources.iter().zip(planned) {
        if digests.source(source)? != *planned {
            let message = format!("source `{}` changed since the plan was made", source.name);
            return Err(Error::Input { message, help: Some("run the same command again".into()) });
        }
    }
    digests.remember();
    Ok(())
}

fn fact(stage: &Stage, digests: &mut Digests<'_>) -> Result<Fact> {
    let files = stage.sources.iter().flat_map(|source| &source.files);
    let bytes = files.filter_map(|file| Disk.stat(file).ok()).map(|stat| stat.size).sum();
    let (mut shape, mut vocabulary) = (None, None);
    match &stage.config {
        StageConfig::Fetch(FetchConfig::Folder(folder)) => shape = read_shape(&folder.join("config.json")),
        StageConfig::Fetch(FetchConfig::Hub { from, .. }) => shape = Shape::published(from),
        StageConfig::Tokenizer(TokenizerConfig::ByteLevelBpe { vocabulary: rows, .. }) => {
            vocabulary = Some(*rows as u64);
        }
        StageConfig::Tokenizer(TokenizerConfig::File(file)) => vocabulary = read_vocabulary(file),
        _ => {}
    }
    let digests = stage.sources.iter().map(|source| digests.source(source)).collect::<Result<_>>()?;
    Ok(Fact { digests, bytes, shape, vocabulary })
}

/// The shape in a Hugging Face `config.json`, if it tells one.
fn read_shape(path: &Path) -> Option<Shape> {
    let config: Value = serde_json::from_slice(&Disk.read(path).ok()?).ok()?;
    let number = |name: &str| config.get(name).and_then(Value::as_u64);
    let (hidden, heads) = (number("hidden_size")?, number("num_attention_heads")?);
    Some(Shape {
        vocabulary: number("vocab_size")?,
        hidden,
        layers: number("num_hidden_layers")?,
        heads,
        kv_heads: number("num_key_value_heads").unwrap_or(heads),
        head_dim: number("head_dim").or(hidden.checked_div(heads))?,
        feed_forward: number("intermediate_size")?,
        tied: config.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// One more than the largest token of a `tokenizer.json`.
fn read_vocabulary(path: &Path) -> Option<u64> {
    let tokenizer: Value = serde_json::from_slice(&Disk.read(path).ok()?).ok()?;
    let tokens = tokenizer.get("model")?.get("vocab")?.as_object()?.values().filter_map(Value::as_u64).max();
    let added = tokenizer.get("added_tokens").and_then(Value::as_array);
    let added = added.into_iter().flatten().filter_map(|token| token.get("id")?.as_u64()).max();
    tokens.max(added).map(|last| last + 1)
}
