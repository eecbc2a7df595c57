//! Generated documents in the form that a dataset declares.

use serde_json::{Map, Value, json};

use crate::pipeline::config::{ColumnFilter, DatasetConfig, DatasetFormat, FilterValue, TurnFields};

/// Documents of a dataset: enough for a few rows, and for some that are held out.
pub(super) const DOCUMENTS: usize = 64;

const NOUNS: [&str; 8] = ["river", "model", "token", "harbor", "garden", "window", "letter", "market"];
const VERBS: [&str; 6] = ["follows", "answers", "carries", "meets", "opens", "measures"];

/// A sentence of up to 50 bytes, another one for each number below a thousand.
fn write_sentence(number: usize) -> String {
    let noun = |at: usize| NOUNS[at % NOUNS.len()];
    let verb = VERBS[(number / NOUNS.len()) % VERBS.len()];
    format!("The {} {verb} the {} of {number}.", noun(number), noun(number / 3 + 1))
}

/// Documents of plain text, apart from each other under every rule of `documents=`: lines, blank lines, or groups of a kilobyte.
pub(super) fn write_text() -> String {
    let paragraph = |number: usize| {
        let sentences: Vec<String> = (0..12).map(|at| write_sentence(number * 12 + at)).collect();
        sentences.join(" ")
    };
    (0..3 * DOCUMENTS).map(|number| paragraph(number) + "\n\n").collect()
}

/// One short document of plain text, for a file of its own.
pub(super) fn write_short_text(number: usize) -> String {
    format!("{} {}\n", write_sentence(number), write_sentence(number + 1))
}

/// Documents as JSON lines with the fields that the dataset names, which pass its filters.
pub(super) fn write_records(dataset: &DatasetConfig) -> String {
    (0..DOCUMENTS).map(|number| Value::Object(build_record(dataset, number)).to_string() + "\n").collect()
}

fn build_record(dataset: &DatasetConfig, number: usize) -> Map<String, Value> {
    let mut record = Map::new();
    // A key that is a path as a whole goes before the fields of an object.
    let mut put = |name: &str, value: Value| drop(record.insert(name.to_owned(), value));
    dataset.filters.iter().for_each(|filter| put(&filter.column, pass_filter(filter)));
    let (question, answer) = (format!("next of {number}"), (number + 1).to_string());
    match &dataset.format {
        DatasetFormat::Text => unreachable!("plain text has no records"),
        DatasetFormat::Contents(_) => unreachable!("a smoke run fetches no contents"),
        DatasetFormat::Jsonl { text } => put(text, write_sentence(number).into()),
        DatasetFormat::Chat { turns, system, group } => {
            match turns {
                TurnFields::Pair { user, input, assistant } => {
                    put(user, question.into());
                    input.iter().for_each(|name| put(name, "count".into()));
                    put(assistant, answer.into());
                }
                TurnFields::List { messages } => {
                    let turns = [("user", question), ("assistant", answer)];
                    let turns = turns.map(|(role, text)| json!({"role": role, "content": text}));
                    put(messages, Value::Array(turns.into()));
                }
            }
            system.iter().for_each(|name| put(name, "Count.".into()));
            group.iter().for_each(|name| put(name, "count".into()));
        }
    }
    record
}

/// A value that a filter lets pass.
fn pass_filter(filter: &ColumnFilter) -> Value {
    match (filter.accepted.first(), filter.at_least.or(filter.at_most)) {
        (Some(FilterValue::Text(text)), _) => text.as_str().into(),
        (Some(FilterValue::Number(number)), _) => json!(number),
        (Some(FilterValue::Boolean(value)), _) => (*value).into(),
        (None, Some(bound)) => json!(bound),
        (None, None) => unreachable!("a filter has values or a range"),
    }
}
