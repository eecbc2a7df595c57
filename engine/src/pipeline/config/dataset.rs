//! Settings of datasets.

use super::{ContentsConfig, RowsConfig};

/// A dataset: how its files are read, and how much of it is held out.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetConfig {
    /// Name of the dataset; its files are the stage's source of the same name.
    pub name: String,
    /// How records are found in a file.
    pub layout: FileLayout,
    /// How a document is made of a record.
    pub format: DatasetFormat,
    /// Share of documents that no tokenizer and no training row may see, in [0, 1).
    pub held_out: f64,
    /// Whether leftovers are errors: fields with content that no setting reads, turns that are not used, turns of one role in a
    /// row, keys that appear twice.
    pub strict: bool,
    /// Fields that are left out on purpose, and are no leftovers.
    pub unread: Vec<String>,
    /// What the fields of a record must hold for it to be a document.
    pub filters: Vec<ColumnFilter>,
    /// Largest share of records at fault that are skipped; `None` if one is an error.
    pub skipped: Option<f64>,
    /// Whether a document that is equal to an earlier one is dropped.
    pub drops_duplicates: bool,
    /// Names of datasets whose documents are dropped too, if they are dropped at all.
    pub originals: Vec<String>,
    /// Texts that must not be in the documents.
    pub contamination: Vec<ContaminationCheck>,
    /// Where reading stops.
    pub cap: Option<TokenCap>,
}

/// Texts that must not be in the documents of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct ContaminationCheck {
    /// Name of the benchmark or dataset for people.
    pub name: String,
    /// Where they are.
    pub texts: ComparedTexts,
    /// Words in a row that a document may not have in common with it.
    pub words: usize,
    /// Whether such documents are left out.
    pub drops: bool,
}

/// Texts that documents are compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum ComparedTexts {
    /// All texts of a benchmark.
    Benchmark {
        /// Name of the stage's source with its files.
        source: String,
    },
    /// The held-out documents of a dataset, as far as they are in its rows: only training documents are compared with them.
    HeldOut {
        /// Name of the dataset, which may be the one that is compared.
        dataset: String,
        /// The rows that it is in, as far as they hold documents out: what any of them holds out is looked for. Filled in for rows.
        parts: Vec<HeldOutPart>,
    },
}

/// What a `rows` node holds out of a dataset: a share of the documents of the first shards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldOutPart {
    /// The share, in (0, 1).
    pub share: f64,
    /// Bytes of source files from which a shard is made, at least.
    pub shard_bytes: u64,
}

/// The values of a field that a record must have to be a document: one of the accepted ones, or a number in the range.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnFilter {
    /// Name of the field.
    pub column: String,
    /// Values, one of which it must have; empty if the range decides.
    pub accepted: Vec<FilterValue>,
    /// Smallest number.
    pub at_least: Option<f64>,
    /// Largest number.
    pub at_most: Option<f64>,
}

impl ColumnFilter {
    /// Whether it compares values rather than a range.
    #[must_use]
    pub(crate) fn is_of_values(&self) -> bool {
        !self.accepted.is_empty()
    }
}

/// A value that a filter accepts.
#[derive(Clone, Debug, PartialEq)]
pub enum FilterValue {
    /// This text.
    Text(String),
    /// This number.
    Number(f64),
    /// True or false.
    Boolean(bool),
}

/// The training tokens after which reading stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCap {
    /// How many.
    pub tokens: u64,
    /// Whether the documents may have fewer.
    pub may_end_before: bool,
}

impl DatasetConfig {
    /// A dataset of this format, in text or JSON lines, without anything held out.
    #[must_use]
    pub fn of_format(name: &str, format: DatasetFormat) -> Self {
        let layout = match format {
            DatasetFormat::Text => FileLayout::Text(TextDocuments::Groups),
            _ => FileLayout::Jsonl,
        };
        Self {
            name: name.to_owned(),
            layout,
            format,
            held_out: 0.0,
            strict: false,
            unread: Vec::new(),
            filters: Vec::new(),
            skipped: None,
            drops_duplicates: false,
            originals: Vec::new(),
            contamination: Vec::new(),
            cap: None,
        }
    }
}

impl RowsConfig {
    /// The dataset of this name: its own, or one that it is compared with.
    #[must_use]
    pub fn dataset_called(&self, name: &str) -> Option<&DatasetConfig> {
        [&self.dataset].into_iter().chain(&self.others).find(|dataset| dataset.name == name)
    }

    /// What the rows of a dataset hold out of it, if its held-out documents are looked for.
    pub fn list_held_out_parts(&self, name: &str) -> impl Iterator<Item = &HeldOutPart> {
        let mut checks = self.dataset.contamination.iter();
        let found = checks.find_map(|check| match &check.texts {
            ComparedTexts::HeldOut { dataset, parts } if dataset == name => Some(parts),
            _ => None,
        });
        found.into_iter().flatten()
    }
}

/// How records are found in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileLayout {
    /// Plain text.
    Text(TextDocuments),
    /// One JSON object per line.
    Jsonl,
    /// One JSON array of objects.
    Json,
    /// A Parquet table.
    Parquet,
    /// An Arrow table: a file or a stream.
    Arrow,
}

/// How plain text is split into documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextDocuments {
    /// Paragraphs up to the first blank line after 1 KiB.
    Groups,
    /// The whole file.
    File,
    /// Every line that is not blank.
    Lines,
    /// Every paragraph: what is between blank lines.
    BlankLine,
}

/// How a document is made of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum DatasetFormat {
    /// Plain text.
    Text,
    /// A record with the document in one of its fields. Fields inside others have paths such as `message.content`.
    Jsonl {
        /// Name of that field.
        text: String,
    },
    /// A record that only names the document.
    Contents(Box<ContentsConfig>),
    /// A record that is a conversation.
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
