//! Documents, and which of them are held out.

use super::Conversation;

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// Text, all of which is learned.
    Text(String),
    /// A conversation whose answers are learned.
    Chat(Conversation),
}

impl Document {
    /// The text that decides whether the document is held out. For a conversation it is the first question, so that all its
    /// answers stay together and a held-out question is never learned in another conversation that opens with it.
    #[must_use]
    pub fn opening(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Chat(chat) => chat.opening(),
        }
    }

    /// Whether the document is held out.
    #[must_use]
    pub fn is_held_out(&self, fraction: f64) -> bool {
        is_held_out(self.opening(), fraction)
    }
}

/// Whether a text belongs to the held-out `fraction` (0 to 1) of its dataset.
///
/// The split hashes the text instead of drawing random numbers, so it is a function of the text alone: order, file names
/// and other documents do not matter, copies stay on the same side, the tokenizer and the rows agree, and a larger fraction
/// holds out a superset.
#[must_use]
pub fn is_held_out(text: &str, fraction: f64) -> bool {
    find_split_point(text) < fraction
}

/// The number in [0, 1) of a text: it is held out by every larger share.
#[must_use]
pub(crate) fn find_split_point(text: &str) -> f64 {
    let digest = blake3::derive_key("fmflow 2026 held-out split", text.as_bytes());
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    // The upper 53 bits as a number in [0, 1), as in `rng` of the stages.
    ((u64::from_le_bytes(head) >> 11) as f64) * (1.0 / 9_007_199_254_740_992.0)
}
