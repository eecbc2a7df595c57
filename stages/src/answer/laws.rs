//! How probable the tokens of a text were, in words for those who hear it.

use fmflow_engine::run::text::{TokenChance, TokenLaw};

use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::flow::sampler::RankedLaw;

/// Laws of the tokens of an answer, told once each, in order.
#[derive(Default)]
pub(super) struct Laws {
    /// By the place in the answer.
    found: Vec<Option<RankedLaw>>,
    told: usize,
}

impl Laws {
    /// Notes the law of a place; a later one replaces it.
    pub(super) fn note(&mut self, place: usize, law: RankedLaw) {
        if self.found.len() <= place {
            self.found.resize(place + 1, None);
        }
        self.found[place] = Some(law);
    }

    /// The laws of the first `end` tokens that were not told before.
    ///
    /// # Errors
    /// If a token cannot be decoded.
    pub(super) fn take(
        &mut self,
        end: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<TokenLaw>, TokenizerError> {
        let end = end.min(self.found.len());
        let new = self.told.min(end)..end;
        self.told = self.told.max(end);
        self.found[new].iter_mut().filter_map(Option::take).map(|law| spell_law(&law, tokenizer)).collect()
    }
}

fn spell_law(law: &RankedLaw, tokenizer: &Tokenizer) -> Result<TokenLaw, TokenizerError> {
    let token = spell_chance((law.token, law.log_probability), tokenizer)?;
    let begins = |byte: &&u8| (**byte & 0b1100_0000) != 0b1000_0000;
    let letters = match &token.bytes {
        _ if tokenizer.is_special(law.token) => 0,
        Some(bytes) => bytes.iter().filter(begins).count(),
        None => token.text.chars().count(),
    };
    let top = law.top.iter().map(|chance| spell_chance(*chance, tokenizer)).collect::<Result<_, _>>()?;
    Ok(TokenLaw { token, letters, top })
}

fn spell_chance(
    (id, log_probability): (u32, f64),
    tokenizer: &Tokenizer,
) -> Result<TokenChance, TokenizerError> {
    let (text, bytes) = (tokenizer.decode(&[id], true)?, tokenizer.token_bytes(id)?);
    Ok(TokenChance { id, text, bytes, log_probability })
}
