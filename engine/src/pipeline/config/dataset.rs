//! Settings of datasets.

/// A dataset: how its files are read, and how much of it is held out.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetConfig {
    /// Name of the dataset; its files are the stage's source of the same name.
    pub name: String,
    /// How a file is split into documents.
    pub format: DatasetFormat,
    /// Share of documents that no tokenizer and no training row may see, in [0, 1).
    pub held_out: f64,
    /// Whether leftovers are errors: fields with content that no setting reads, turns that are not used, turns of one role in a
    /// row, keys that appear twice.
    pub strict: bool,
    /// Fields that are left out on purpose, and are no leftovers.
    pub unread: Vec<String>,
}

impl DatasetConfig {
    /// A dataset of this format, without anything held out.
    #[must_use]
    pub fn of_format(name: &str, format: DatasetFormat) -> Self {
        Self { name: name.to_owned(), format, held_out: 0.0, strict: false, unread: Vec::new() }
    }
}

/// How a file is split into documents.
#[derive(Clone, Debug, PartialEq)]
pub enum DatasetFormat {
    /// Plain text.
    Text,
    /// One JSON object per line, with the document in one of its fields.
    Jsonl {
        /// Name of that field.
        text: String,
    },
    /// One JSON object per line, each a conversation.
    Chat {
        /// The fields that hold the turns.
        turns: TurnFields,
        /// Field with a system turn before the others.
        system: Option<String>,
        /// Field that names the kind of task, for scores per task.
        group: Option<String>,
    },
}

impl DatasetFormat {
    /// Conversations with these turns, and nothing beside them.
    #[must_use]
    pub fn chat(turns: TurnFields) -> Self {
        Self::Chat { turns, system: None, group: None }
    }
}

/// The fields that hold the turns of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnFields {
    /// A question and its answer, each in a field of its own.
    Pair {
        /// Field with the user's turn.
        user: String,
        /// Field whose text follows it, on a new line.
        input: Option<String>,
        /// Field with the assistant's turn.
        assistant: String,
    },
    /// Any number of turns, in a list.
    List {
        /// Field with the list.
        messages: String,
    },
}

impl TurnFields {
    /// A question and its answer.
    #[must_use]
    pub fn pair(user: &str, assistant: &str) -> Self {
        Self::Pair { user: user.to_owned(), input: None, assistant: assistant.to_owned() }
    }

    /// A list of turns.
    #[must_use]
    pub fn list(messages: &str) -> Self {
        Self::List { messages: messages.to_owned() }
    }
}
