//! An autoregressive backbone becomes the start of a flow matching model.
//!
//! The weights stay what they are; what changes is what the model is asked for. Three things may be new, each stated by the
//! caller and recorded: the row of the mask token, the tensors of time conditioning (which start as the identity), and the
//! provenance. [`certify`] proves it from the files alone.

mod certificate;
mod elsewhere;
mod mask;
mod reference;

use indexmap::IndexMap;

use crate::backbone::{Attention, Backbone, BackboneError, TimeConditioning, layout};
use crate::device::Device;
use crate::provenance::{Kind, Provenance};
use crate::weights::{Checkpoint, WeightsError};

pub use certificate::{Action, Certificate, Line, Parity, SCHEMA, TOLERANCE, certify};
pub use elsewhere::{Elsewhere, FORM, Given};
pub use mask::{MaskRow, MaskToken};
pub use reference::{Logit, Reference};

/// Why a conversion is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The vocabulary has no row for the mask token.
    #[error(
        "the tokenizer uses {used} ids and the embedding has {rows} rows, so none is reserved; name a mask id below {rows}"
    )]
    NoReservedRow {
        /// Ids that the tokenizer uses.
        used: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// The mask id is not a row of the embedding.
    #[error("mask id {id} is outside the vocabulary of {rows}")]
    MaskId {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        rows: usize,
    },
    /// A number of the options makes no sense.
    #[error("{0}")]
    Option(&'static str),
    /// A tensor of the artifact is neither the source's nor accounted for.
    #[error("tensor `{0}` of the artifact is not that of the source")]
    Differs(String),
    /// The artifact computes something else than the source.
    #[error("the artifact's logits differ from the reference's by more than the tolerance\n{0}")]
    Parity(Box<Certificate>),
    /// The weights are refused.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The backbone is refused.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
}

/// What the converted model shall be.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Which row is the mask token.
    pub mask: MaskToken,
    /// What that row becomes.
    pub row: MaskRow,
    /// Ids that the tokenizer uses: rows 0..used are the known tokens.
    pub used: usize,
    /// Attention that the flow model is for.
    pub attention: Attention,
    /// Whether position i goes on predicting token i + 1.
    pub shift: bool,
    /// Time conditioning to add.
    pub time: TimeConditioning,
    /// BLAKE3 of tokenizer.json, where there is one.
    pub tokenizer: Option<String>,
    /// Seed of new numbers.
    pub seed: u64,
}

/// Converts the autoregressive weights `source`: the backbone, and the contract to be stored beside it.
///
/// # Errors
/// When the mask token has no row, an option makes no sense, or the source already is a flow model.
pub fn convert(
    source: Checkpoint,
    options: &Options,
    device: &Device,
) -> Result<(Backbone, Provenance), ConvertError> {
    if source.provenance.as_ref().is_some_and(|p| p.kind == Kind::Flow) {
        return Err(ConvertError::Option("the source already is a flow matching model"));
    }
    if matches!(options.time, TimeConditioning::AdaLn { rank } if rank == 0 || rank > source.config.hidden_size)
    {
        return Err(ConvertError::Option("the rank of time conditioning is 1 to the hidden size"));
    }
    let mask = mask::row(&source.config, options)?;
    let mut tensors: IndexMap<String, Vec<f32>> =
        source.tensors.into_iter().map(|(name, tensor)| (name, tensor.values)).collect();
    mask::change(&mut tensors, &source.config, mask, options)?;
    // The new tensors are those of a fresh backbone; the copied ones never pass through it.
    let fresh = Fresh::new(&source.config, options, device)?;
    let backbone =
        Backbone::build(&source.config, options.time, device, |name, _| match tensors.swap_remove(name) {
            Some(values) => Ok(values),
            None => fresh.values(name),
        })?;
    let provenance = Provenance {
        kind: Kind::Flow,
        shift: options.shift,
        mask_token: Some(mask),
        attention: options.attention,
        time_conditioning: options.time,
        tokenizer: options.tokenizer.clone(),
        ..Provenance::autoregressive()
    };
    Ok((backbone, provenance))
}

/// Initial values of the tensors of time conditioning, made with the smallest backbone that has them.
struct Fresh(Option<Backbone>);

impl Fresh {
    fn new(
        config: &crate::backbone::Qwen3Config,
        options: &Options,
        device: &Device,
    ) -> Result<Self, ConvertError> {
        if options.time == TimeConditioning::None {
            return Ok(Self(None));
        }
        let small = crate::backbone::Qwen3Config {
            vocab_size: 1,
            intermediate_size: 1,
            num_attention_heads: 1,
            num_key_value_heads: 1,
            head_dim: 2,
            ..config.clone()
        };
        debug_assert_eq!(layout(&small, options.time).len(), layout(config, options.time).len());
        Ok(Self(Some(Backbone::new(&small, options.time, options.seed, device)?)))
    }

    fn values(&self, name: &str) -> Result<Vec<f32>, ConvertError> {
        let parameter = self.0.as_ref().and_then(|fresh| fresh.parameter(name));
        let missing = || BackboneError::Missing(name.into());
        Ok(parameter.ok_or_else(missing)?.values()?)
    }
}

#[cfg(test)]
pub(crate) mod tests;
