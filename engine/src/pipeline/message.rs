//! Turns of a conversation.

use serde::{Deserialize, Serialize};

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// Sets the rules.
    System,
    /// Asks.
    User,
    /// Answers; this is the model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Speaker,
    /// The text of the turn.
    pub content: String,
}

impl Message {
    /// A turn of somebody.
    #[must_use]
    pub fn new(role: Speaker, content: &str) -> Self {
        Self { role, content: content.to_owned() }
    }

    /// A user turn.
    #[must_use]
    pub fn user(content: &str) -> Self {
        Self::new(Speaker::User, content)
    }
}
