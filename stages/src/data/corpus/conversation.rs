//! Conversations, and what a model learns of them: answers, each from what was said before it.

use serde::{Deserialize, Serialize};

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// Who sets the rules.
    System,
    /// Who asks.
    User,
    /// Who answers: the model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Speaker,
    /// What is said.
    pub content: String,
}

/// Turns that end with an answer that is learnt; every answer follows a user's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    messages: Vec<Message>,
    /// For every turn, whether it is an answer that is learnt.
    learnt: Vec<bool>,
    group: String,
}

/// An answer, and everything that was said before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// The turns before the question; none in most data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Message>,
    /// What the user says.
    pub prompt: String,
    /// What the assistant answers.
    pub answer: String,
    /// The kind of question; "" where the data name none.
    pub group: String,
}

impl Message {
    /// A user's turn.
    #[must_use]
    pub fn user(content: &str) -> Self {
        Self { role: Speaker::User, content: content.to_owned() }
    }
}

impl Conversation {
    /// A question and its answer.
    #[must_use]
    pub fn pair(prompt: String, answer: String, group: String) -> Self {
        let answer = Message { role: Speaker::Assistant, content: answer };
        let messages = vec![Message { role: Speaker::User, content: prompt }, answer];
        Self { messages, learnt: vec![false, true], group }
    }

    /// Turns up to the last answer that is learnt; what follows it changes nothing. None without such an answer.
    pub(super) fn from_turns(
        mut messages: Vec<Message>,
        mut learnt: Vec<bool>,
        group: String,
    ) -> Option<Self> {
        let last = learnt.iter().rposition(|learnt| *learnt)?;
        messages.truncate(last + 1);
        learnt.truncate(last + 1);
        Some(Self { messages, learnt, group })
    }

    /// The same turns after those rules.
    pub(super) fn with_rules(mut self, rules: String) -> Self {
        self.messages.insert(0, Message { role: Speaker::System, content: rules });
        self.learnt.insert(0, false);
        self
    }

    /// The turns.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Whether every answer is learnt.
    #[must_use]
    pub fn is_learnt_whole(&self) -> bool {
        let given = |(turn, learnt): (&Message, &bool)| !learnt && turn.role == Speaker::Assistant;
        !self.messages.iter().zip(&self.learnt).any(given)
    }

    /// Every answer that is learnt, with what was said before it, in order.
    ///
    /// An answer is learnt apart from what follows: attention in both directions would show it the next question.
    pub fn chats(&self) -> impl Iterator<Item = Chat> {
        let turns = self.messages.iter().zip(&self.learnt).enumerate();
        let answers = turns.filter(|(_, (_, learnt))| **learnt);
        answers.map(|(at, (answer, _))| {
            let (asked, before) = self.messages[..at].split_last().expect("an answer follows a question");
            let (before, prompt, answer) = (before.to_vec(), asked.content.clone(), answer.content.clone());
            Chat { before, prompt, answer, group: self.group.clone() }
        })
    }

    /// What decides whether it is held out: the first that the user says. Rules of a system are the same in many.
    pub(super) fn opening(&self) -> &str {
        let user = self.messages.iter().find(|message| message.role == Speaker::User);
        &user.expect("an answer follows a user's turn").content
    }
}

impl Chat {
    /// What the model is given: the turns before the answer.
    #[must_use]
    pub fn given(&self) -> Vec<Message> {
        let mut turns = self.before.clone();
        turns.push(Message::user(&self.prompt));
        turns
    }
}
