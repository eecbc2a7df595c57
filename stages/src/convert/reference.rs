//! Logits of a fixed batch under a causal mask: those that a certificate compares, and those that it keeps for
//! `verify --deep`.

use fmflow_engine::pipeline::config::TimeConditioning;
use fmflow_engine::pipeline::contract::Attention;

use indexmap::IndexMap;

use crate::backbone::{AttentionContext, TokenBatch};
use crate::convert::certificate::{Certificate, ReferenceLogit, ReferenceLogits};
use crate::convert::compare::{LogitDistance, abs_or_infinity, divide_or_infinity, find_meaningless_logits};
use crate::convert::error::ConvertError;
use crate::rng::{self, RandomPurpose};

/// Rows and tokens per row of the compared batch.
pub(super) const BATCH: (usize, usize) = (2, 32);

/// Number of logits that a certificate keeps.
const PLACES: usize = 64;

/// One logit per position, each for a token drawn from the vocabulary without `excluded`.
pub(super) fn select_reference_logits(
    logits: &[f32],
    tokens: Vec<u32>,
    vocab: usize,
    excluded: Option<u32>,
) -> ReferenceLogits {
    let mut stream = rng::derive_stream(0, RandomPurpose::Source, [1, 0, 0]);
    let kept = (0..PLACES.min(tokens.len())).map(|position| {
        let token = draw_token_id(&mut stream, vocab, excluded);
        ReferenceLogit { position, token, value: logits[position * vocab + token as usize] }
    });
    ReferenceLogits { batch: BATCH, logits: kept.collect(), tokens }
}

impl Certificate {
    /// Whether a folder whose files have these digests holds the certified weights. A training stage passes the certificate on but
    /// changes the weights.
    #[must_use]
    pub(crate) fn matches_weights(&self, files: &IndexMap<String, String>) -> bool {
        let weights = |name: &String| name.ends_with(".safetensors");
        let own = files.iter().filter(|(name, _)| weights(name));
        own.eq(self.artifact.iter().filter(|(name, _)| weights(name)))
    }

    /// The batch whose logits the certificate keeps, for a model of `vocab` tokens.
    ///
    /// # Errors
    /// If the certificate's positions or tokens do not fit its batch or this model.
    pub(crate) fn reference_batch(
        &self,
        vocab: usize,
        conditioning: TimeConditioning,
    ) -> Result<TokenBatch, ConvertError> {
        let kept = &self.reference;
        let fits = kept.batch == BATCH
            && kept.tokens.len() == BATCH.0 * BATCH.1
            && kept.tokens.iter().all(|id| (*id as usize) < vocab)
            && kept.logits.len() == PLACES
            && kept.logits.iter().enumerate().all(|(i, l)| l.position == i && (l.token as usize) < vocab);
        if !fits {
            return Err(ConvertError::Option("the certificate's reference logits do not fit the model"));
        }
        Ok(make_causal_batch(kept.tokens.clone(), BATCH, conditioning))
    }

    /// The largest |difference| of the logits `found` for [`Certificate::reference_batch`] from those that the certificate keeps,
    /// relative to the largest |logit| of its position.
    ///
    /// # Errors
    /// If `found` are not finite or all 0 at a position.
    pub(crate) fn compare_kept(&self, found: &[f32], vocab: usize) -> Result<f64, ConvertError> {
        if let Some(what) = find_meaningless_logits(found, vocab) {
            return Err(ConvertError::Meaningless(what));
        }
        let ratio = |l: &ReferenceLogit| {
            let row = &found[l.position * vocab..][..vocab];
            let largest = LogitDistance::measure(row, row, vocab, self.parity.excluded).largest;
            let difference = abs_or_infinity(f64::from(row[l.token as usize]) - f64::from(l.value));
            divide_or_infinity(difference, largest)
        };
        Ok(self.reference.logits.iter().map(ratio).fold(0.0, f64::max))
    }
}

/// Draws an id below `vocab`, never `excluded`.
fn draw_token_id(stream: &mut rng::RandomStream, vocab: usize, excluded: Option<u32>) -> u32 {
    let known = vocab as u64 - u64::from(excluded.is_some() && vocab > 1);
    match stream.below(known) as u32 {
        id if excluded.is_some_and(|excluded| id >= excluded) => (id + 1) % vocab as u32,
        id => id,
    }
}

/// The tokens of the compared batch: a fixed draw from all ids except the mask token.
pub(super) fn draw_reference_tokens(vocab: usize, mask: Option<u32>) -> Vec<u32> {
    let mut stream = rng::derive_stream(0, RandomPurpose::Source, [0; 3]);
    (0..BATCH.0 * BATCH.1).map(|_| draw_token_id(&mut stream, vocab, mask)).collect()
}

/// A batch under a causal mask, of so many rows and tokens per row.
pub(super) fn make_causal_batch(
    tokens: Vec<u32>,
    (rows, length): (usize, usize),
    conditioning: TimeConditioning,
) -> TokenBatch {
    let mut context = AttentionContext::new(Attention::Causal, rows, length);
    if conditioning != TimeConditioning::None {
        context = context.with_time(vec![0.5; rows]);
    }
    TokenBatch { tokens, context }
}
