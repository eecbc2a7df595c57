//! Conversations. A model learns the answers, each from the turns before it.

use serde::{Deserialize, Serialize};

use crate::pipeline::message::{Message, Speaker};

/// A list of turns that ends with an answer to learn. Every answer follows a user turn, or another answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    messages: Vec<Message>,
    /// For every turn, whether it is an answer to learn.
    learned: Vec<bool>,
    group: String,
}

/// An answer and all turns before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// The turns before the question; empty in most data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Message>,
    /// The user's question.
    pub prompt: String,
    /// Answers to the same question that were given before this one; empty in most data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Message>,
    /// The assistant's answer.
    pub answer: String,
    /// The kind of question; "" if the data do not name one.
    pub group: String,
}

impl Conversation {
    /// A question and its answer.
    #[must_use]
    pub fn pair(prompt: String, answer: String, group: String) -> Self {
        let answer = Message { role: Speaker::Assistant, content: answer };
        let messages = vec![Message { role: Speaker::User, content: prompt }, answer];
        Self { messages, learned: vec![false, true], group }
    }

    /// Keeps the turns up to the last answer to learn, because nothing after it is used. `None` if there is no such answer.
    #[must_use]
    pub fn from_turns(mut messages: Vec<Message>, mut learned: Vec<bool>, group: String) -> Option<Self> {
        let last = learned.iter().rposition(|learned| *learned)?;
        messages.truncate(last + 1);
        learned.truncate(last + 1);
        Some(Self { messages, learned, group })
    }

    /// The same turns, preceded by a system turn with `rules`.
    pub(super) fn with_rules(mut self, rules: String) -> Self {
        self.messages.insert(0, Message { role: Speaker::System, content: rules });
        self.learned.insert(0, false);
        self
    }

    /// All turns, in order.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// For every turn, whether it is an answer to learn.
    #[must_use]
    pub fn learned(&self) -> &[bool] {
        &self.learned
    }

    /// Whether every answer is learned.
    #[must_use]
    pub fn is_learned_whole(&self) -> bool {
        let given = |(turn, learned): (&Message, &bool)| !learned && turn.role == Speaker::Assistant;
        !self.messages.iter().zip(&self.learned).any(given)
    }

    /// Every answer to learn, with the turns before it, in order.
    ///
    /// Each answer becomes an example without the later turns, because bidirectional attention would show it the next
    /// question.
    pub fn chats(&self) -> impl Iterator<Item = Chat> {
        let turns = self.messages.iter().zip(&self.learned).enumerate();
        let answers = turns.filter(|(_, (_, learned))| **learned);
        answers.map(|(at, (answer, _))| {
            let given = &self.messages[..at];
            let asked = given.iter().rposition(|turn| turn.role == Speaker::User);
            let asked = asked.expect("an answer follows a question");
            let (before, after) = (given[..asked].to_vec(), given[asked + 1..].to_vec());
            let (prompt, answer) = (given[asked].content.clone(), answer.content.clone());
            Chat { before, prompt, after, answer, group: self.group.clone() }
        })
    }

    /// The text that decides whether the conversation is held out: the first user turn. System turns are unsuitable,
    /// because many conversations share the same one.
    #[must_use]
    pub fn opening(&self) -> &str {
        let user = self.messages.iter().find(|message| message.role == Speaker::User);
        &user.expect("an answer follows a user's turn").content
    }
}

impl Chat {
    /// The turns that the model is given: all before the answer.
    #[must_use]
    pub fn given(&self) -> Vec<Message> {
        let mut turns = self.before.clone();
        turns.push(Message::user(&self.prompt));
        turns.extend(self.after.iter().cloned());
        turns
    }
}
