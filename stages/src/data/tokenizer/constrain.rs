//! Constraints on text, joined with a vocabulary.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fmflow_constrain::{Constraint, ConstraintSource, TokenConstraint};
use tokenizers::DecoderWrapper;

use super::plain::read_name;
use super::{Tokenizer, TokenizerError};

/// Most constraints that are remembered. Joining one with a vocabulary takes up to some seconds.
const REMEMBERED: usize = 64;

/// Most bytes that they take together; the last one is remembered in any case.
const REMEMBERED_BYTES: usize = 512 << 20;

/// Constraints that were joined.
#[derive(Clone, Default)]
pub(super) struct JoinedConstraints(Arc<JoinedStore>);

#[derive(Default)]
struct JoinedStore {
    /// The most recent last.
    known: Mutex<Vec<Arc<Joined>>>,
    /// Held by who joins one: each takes all cores and much memory.
    joining: Mutex<()>,
}

/// A constraint with the tokens that end a text and the mask.
struct Joined {
    source: ConstraintSource,
    ends: Vec<u32>,
    mask: u32,
    /// What came of it. Also why there is none, which takes as long to find out. Who needs it meanwhile waits; others do not.
    found: OnceLock<Result<Arc<TokenConstraint>, String>>,
}

impl Joined {
    fn bytes(&self) -> usize {
        self.found.get().and_then(|found| found.as_ref().ok()).map_or(0, |found| found.bytes())
    }
}

impl fmt::Debug for JoinedConstraints {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("constraints")
    }
}

impl JoinedConstraints {
    /// Does something with those that are remembered. Nothing is left half done in there by a panic.
    fn with<R>(&self, act: impl FnOnce(&mut Vec<Arc<Joined>>) -> R) -> R {
        act(&mut self.0.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The place of a constraint, which is now the most recent.
    fn find(&self, source: &ConstraintSource, (ends, mask): (&[u32], u32)) -> Arc<Joined> {
        self.with(|known| {
            let same =
                |joined: &Arc<Joined>| joined.mask == mask && joined.ends == ends && joined.source == *source;
            let joined = match known.iter().position(same) {
                Some(at) => known.remove(at),
                None => {
                    let (source, ends, found) = (source.clone(), ends.to_vec(), OnceLock::new());
                    Arc::new(Joined { source, ends, mask, found })
                }
            };
            known.push(joined.clone());
            joined
        })
    }

    /// Forgets those that were not used for the longest time, until the others fit.
    fn forget(&self, most: usize, most_bytes: usize) {
        self.with(|known| {
            let mut bytes: usize = known.iter().map(|joined| joined.bytes()).sum();
            while known.len() > 1 && (known.len() > most || bytes > most_bytes) {
                bytes = bytes.saturating_sub(known.remove(0).bytes());
            }
        });
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
        let joined = self.constraints.find(constraint.source(), (ends, mask));
        let found = joined.found.get_or_init(|| self.join(constraint, ends, mask));
        self.constraints.forget(REMEMBERED, REMEMBERED_BYTES);
        found.clone().map_err(TokenizerError::Constraint)
    }

    fn join(&self, constraint: &Constraint, ends: &[u32], mask: u32) -> Result<Arc<TokenConstraint>, String> {
        let _alone = self.constraints.0.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let mut vocabulary = self.spell_all()?;
        if let Some(bytes) = vocabulary.get_mut(mask as usize) {
            *bytes = None;
        }
        let found = TokenConstraint::new(constraint.automaton().clone(), &vocabulary, ends);
        found.map(Arc::new).map_err(|error| error.to_string())
    }

    /// The bytes of every token as the decoder writes them; `None` for special tokens and ids without a token.
    fn spell_all(&self) -> Result<Vec<Option<Vec<u8>>>, String> {
        if !matches!(self.inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_))) {
            let what =
                "its tokens are not bytes: a constraint needs a tokenizer whose decoder is `ByteLevel`";
            return Err(what.to_owned());
        }
        let added = self.inner.get_added_tokens_decoder();
        let spell = |id: u32| {
            let name = self.token(id).filter(|_| added.get(&id).is_none_or(|token| !token.special))?;
            Some(read_name(&name))
        };
        Ok((0..self.used).map(spell).collect())
    }
}
