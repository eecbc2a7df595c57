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

/// Why turns are no conversation that a model can answer: what is wrong, and what to do.
#[must_use]
pub fn find_fault_of_turns(turns: &[Message]) -> Option<(String, &'static str)> {
    let misplaced = |(at, turn): (usize, &Message)| match turn.role {
        Speaker::System => at > 0,
        role => at > 0 && turns[at - 1].role == role,
    };
    if let Some(at) = turns.iter().enumerate().position(misplaced) {
        let help = "a system turn comes first, then user and assistant take turns";
        return Some((format!("turn {} is out of order", at + 1), help));
    }
    match turns.last() {
        Some(Message { role: Speaker::User, .. }) => None,
        _ => Some((
            "the user does not speak last".into(),
            "end with a turn of the user, which the model answers",
        )),
    }
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
