//! Keys and values of texts that are not at work any more, so that a request which begins like one of them need not compute them again.
//!
//! They are found by content: the tokens, and the attention under which they were computed. On the CPU they have the bits that the request
//! would compute itself, so that an answer does not depend on what was answered before.

use crate::backbone::{Attention, KeptTokens};

/// Most bytes of keys and values that are kept for later requests.
pub(super) const PREFIX_BYTES: usize = 256 << 20;

/// Beginnings of fewer tokens are computed again. A choice, not measured.
const SHORTEST: usize = 8;

/// Texts that were answered, the least recently used first.
#[derive(Debug)]
pub(crate) struct PrefixStore {
    texts: Vec<SharedText>,
    /// Most tokens of all texts.
    room: usize,
    /// Tokens that were not computed again.
    shared: usize,
}

#[derive(Debug)]
struct SharedText {
    attention: Attention,
    tokens: Vec<u32>,
    kept: KeptTokens,
}

impl PrefixStore {
    /// An empty store of up to `bytes` bytes, of which a token takes `token_bytes`.
    pub(crate) fn new(bytes: usize, token_bytes: usize) -> Self {
        Self { texts: Vec::new(), room: bytes / token_bytes.max(1), shared: 0 }
    }

    /// Tokens that were not computed again so far.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> usize {
        self.shared
    }

    /// Tokens that are kept.
    pub(super) fn count_tokens(&self) -> usize {
        self.texts.iter().map(|text| text.tokens.len()).sum()
    }

    /// Whether a text of so many tokens may be kept.
    pub(super) fn takes(&self, count: usize) -> bool {
        (SHORTEST..=self.room).contains(&count)
    }

    /// Keeps a text, and forgets those that were not used for the longest time until there is room.
    pub(super) fn put(&mut self, attention: Attention, tokens: Vec<u32>, copy: impl FnOnce() -> KeptTokens) {
        if !self.takes(tokens.len()) {
            return;
        }
        let same = |text: &SharedText| text.attention == attention;
        if let Some(at) = self.texts.iter().position(|text| same(text) && text.tokens.starts_with(&tokens)) {
            return self.touch(at);
        }
        self.texts.retain(|text| !(same(text) && tokens.starts_with(&text.tokens)));
        while self.count_tokens() + tokens.len() > self.room {
            self.texts.remove(0);
        }
        self.texts.push(SharedText { attention, tokens, kept: copy() });
    }

    /// The text that has the longest beginning in common with `tokens`, and how long that is: a multiple of `block`.
    pub(super) fn find(
        &mut self,
        attention: Attention,
        tokens: &[u32],
        block: usize,
    ) -> Option<(usize, &KeptTokens)> {
        let common = |text: &SharedText| match text.attention == attention {
            true => count_common(&text.tokens, tokens, block),
            false => 0,
        };
        let (at, count) = self.texts.iter().map(common).enumerate().max_by_key(|(_, count)| *count)?;
        if count < SHORTEST {
            return None;
        }
        self.touch(at);
        self.texts.last().map(|text| (count, &text.kept))
    }

    /// Makes a text the most recently used.
    fn touch(&mut self, at: usize) {
        let text = self.texts.remove(at);
        self.texts.push(text);
    }

    /// Counts tokens that a request took from another one.
    pub(super) fn note_shared(&mut self, count: usize) {
        self.shared += count;
    }
}

/// How many tokens two texts have in common at their beginning, in whole blocks; 0 if they are too few.
pub(super) fn count_common(one: &[u32], other: &[u32], block: usize) -> usize {
    let common = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let common = common / block * block;
    if common < SHORTEST { 0 } else { common }
}
