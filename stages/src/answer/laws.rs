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
    /// Letters that were complete with the last token that was told.
    letters: usize,
}

impl Laws {
    /// Notes the law of a place; a later one replaces it.
    pub(super) fn note(&mut self, place: usize, law: RankedLaw) {
        if self.found.len() <= place {
            self.found.resize(place + 1, None);
        }
        self.found[place] = Some(law);
    }

    /// The laws of the first tokens of the answer, as far as they were not told before.
    ///
    /// # Errors
    /// If a token cannot be decoded.
    pub(super) fn take(
        &mut self,
        tokens: &[u32],
        tokenizer: &Tokenizer,
    ) -> Result<Vec<TokenLaw>, TokenizerError> {
        let end = tokens.len().min(self.found.len());
        let new = self.told.min(end)..end;
        self.told = self.told.max(end);
        let mut told = Vec::new();
        for place in new {
            let Some(law) = self.found[place].take() else { continue };
            // What a token adds to a text depends on those before it: only the text as a whole tells its letters.
            let text = tokenizer.decode(&tokens[..=place], false)?;
            let before = self.letters;
            self.letters = before.max(text.trim_end_matches('\u{fffd}').chars().count());
            let behind = place.checked_sub(1).map(|before| tokens[before]);
            told.push(spell_law(&law, behind, self.letters - before, tokenizer)?);
        }
        Ok(told)
    }
}

fn spell_law(
    law: &RankedLaw,
    behind: Option<u32>,
    letters: usize,
    tokenizer: &Tokenizer,
) -> Result<TokenLaw, TokenizerError> {
    let spell = |(id, log_probability): (u32, f64)| {
        let (text, bytes) = tokenizer.spell(behind, id)?;
        Ok(TokenChance { id, text, bytes, log_probability })
    };
    let top = law.top.iter().map(|chance| spell(*chance)).collect::<Result<_, _>>()?;
    Ok(TokenLaw { token: spell((law.token, law.log_probability))?, letters, top })
}
