//! Constraints on text, joined with a vocabulary.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use fmflow_constrain::{Constraint, ConstraintSource, TokenConstraint};
use tokenizers::DecoderWrapper;

use super::plain::read_name;
use super::{Tokenizer, TokenizerError};

/// Most constraints that are remembered. Joining one with a vocabulary takes up to some seconds.
const REMEMBERED: usize = 4;

/// Constraints that were joined, the most recent last.
#[derive(Clone, Default)]
pub(super) struct JoinedConstraints(Arc<Mutex<Vec<Joined>>>);

struct Joined {
    source: ConstraintSource,
    ends: Vec<u32>,
    mask: u32,
    /// Also why there is none, which takes as long to find out.
    constraint: Result<Arc<TokenConstraint>, String>,
}

impl fmt::Debug for JoinedConstraints {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("constraints")
    }
}

impl Tokenizer {
    /// A constraint with this vocabulary, where `ends` end a text and the mask is never written.
    ///
    /// # Errors
    /// If the bytes of a text are not those of its tokens, or the two are too large together.
    pub(crate) fn constrain(
        &self,
        constraint: &Constraint,
        ends: &[u32],
        mask: u32,
    ) -> Result<Arc<TokenConstraint>, TokenizerError> {
        // What stays locked meanwhile would be done twice otherwise. Nothing is left half done in there by a panic.
        let mut known = self.constraints.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |joined: &Joined| {
            joined.mask == mask && joined.ends == ends && joined.source == *constraint.source()
        };
        if let Some(at) = known.iter().position(same) {
            let joined = known.remove(at);
            let found = joined.constraint.clone();
            known.push(joined);
            return found.map_err(TokenizerError::Constraint);
        }
        let mut vocabulary = self.spell_all()?;
        if let Some(bytes) = vocabulary.get_mut(mask as usize) {
            *bytes = None;
        }
        let found = TokenConstraint::new(constraint.automaton().clone(), &vocabulary, ends);
        let found = found.map(Arc::new).map_err(|error| error.to_string());
        if known.len() >= REMEMBERED {
            known.remove(0);
        }
        let (source, ends) = (constraint.source().clone(), ends.to_vec());
        known.push(Joined { source, ends, mask, constraint: found.clone() });
        found.map_err(TokenizerError::Constraint)
    }

    /// The bytes of every token as the decoder writes them; `None` for special tokens and ids without a token.
    fn spell_all(&self) -> Result<Vec<Option<Vec<u8>>>, TokenizerError> {
        if !matches!(self.inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_))) {
            let what =
                "its tokens are not bytes: a constraint needs a tokenizer whose decoder is `ByteLevel`";
            return Err(TokenizerError::Constraint(what.to_owned()));
        }
        let added = self.inner.get_added_tokens_decoder();
        let spell = |id: u32| {
            let name = self.token(id).filter(|_| added.get(&id).is_none_or(|token| !token.special))?;
            Some(read_name(&name))
        };
        Ok((0..self.used).map(spell).collect())
    }
}
