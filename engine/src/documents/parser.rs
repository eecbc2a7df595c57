//! From the object of a line to a document, by the fields that a dataset names.

use serde_json::{Map, Value};

use super::fields::find_field;
use super::filter::passes_filters;
use super::json::{JsonRecord, parse_record};
use super::leftovers::{Leftovers, PROMPT_FIELDS, find_unread_fields, list_read_fields};
use super::line::LineFault;
use super::named::{NamedContent, read_name};
use super::text_field::{missing_field, read_field, read_nonblank_field, read_optional_field};
use super::turns::{self, TurnCounts};
use super::{Conversation, Document};
use crate::pipeline::config::{ColumnFilter, DatasetConfig, DatasetFormat, FileLayout, TurnFields};

/// Parses the records of a dataset.
#[derive(Clone, Debug)]
pub struct DocumentParser {
    layout: FileLayout,
    format: DatasetFormat,
    ignored: Vec<String>,
    strict: bool,
    filters: Vec<ColumnFilter>,
}

/// The document of a record, and what it does not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedDocument {
    /// The document.
    pub document: Document,
    /// What of the record is not part of it.
    pub leftovers: Leftovers,
}

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedRecord {
    /// It is a document.
    Document(Box<ParsedDocument>),
    /// Its document lies elsewhere.
    Named(Box<NamedContent>),
    /// The filter of the dataset leaves it out.
    FilteredOut,
}

impl ParsedDocument {
    /// A document of plain text, all of which is used.
    pub(super) fn of_text(text: String) -> Self {
        Self { document: Document::Text(text), leftovers: Leftovers::default() }
    }
}

impl DocumentParser {
    /// A parser for the records of `dataset`.
    #[must_use]
    pub fn new(dataset: &DatasetConfig) -> Self {
        let DatasetConfig { layout, format, unread, strict, filters, .. } = dataset.clone();
        Self { layout, format, ignored: unread, strict, filters }
    }

    /// How records are found in a file.
    #[must_use]
    pub fn layout(&self) -> FileLayout {
        self.layout
    }

    /// How files are split into documents.
    #[must_use]
    pub fn format(&self) -> &DatasetFormat {
        &self.format
    }

    /// Parses a line that is not blank. `first` says that no document was found in its file before.
    ///
    /// # Errors
    /// If the line is not a JSON object with the fields of the dataset, or, for a strict dataset, if it has leftovers.
    pub fn parse(&self, line: &str, first: bool) -> Result<ParsedRecord, LineFault> {
        self.parse_record(parse_record(line, first)?)
    }

    /// Parses the fields of a row of a table.
    pub(super) fn parse_fields(&self, fields: Map<String, Value>) -> Result<ParsedRecord, LineFault> {
        self.parse_record(JsonRecord { fields, repeated: Vec::new() })
    }

    fn parse_record(&self, record: JsonRecord) -> Result<ParsedRecord, LineFault> {
        let JsonRecord { fields, repeated } = record;
        if !passes_filters(&self.filters, &fields)? {
            return Ok(ParsedRecord::FilteredOut);
        }
        if let DatasetFormat::Contents(contents) = &self.format {
            let (key, encoding) = read_name(contents, &fields)?;
            let named = Document::Text(key.clone());
            let leftovers = self.find_leftovers(&fields, repeated, &named, TurnCounts::default())?;
            return Ok(ParsedRecord::Named(Box::new(NamedContent { key, encoding, leftovers })));
        }
        let (document, turns) = self.read_document(&fields)?;
        let leftovers = self.find_leftovers(&fields, repeated, &document, turns)?;
        Ok(ParsedRecord::Document(Box::new(ParsedDocument { document, leftovers })))
    }

    /// What of a record is not part of its document; a fault, if the dataset is strict and there is something.
    fn find_leftovers(
        &self,
        fields: &Map<String, Value>,
        repeated: Vec<String>,
        document: &Document,
        turns: TurnCounts,
    ) -> Result<Leftovers, LineFault> {
        let filtered: Vec<&str> = self.list_filtered_fields().collect();
        let leftovers = Leftovers {
            unread: find_unread_fields(&self.format, &self.ignored, &filtered, fields, document),
            absent: self.list_absent_fields(fields),
            later_turns: turns.later,
            repeated_roles: turns.repeated_roles,
            repeated_keys: repeated,
        };
        leftovers.to_fault(&self.format).filter(|_| self.strict).map_or(Ok(leftovers), Err)
    }

    fn read_document(&self, fields: &Map<String, Value>) -> Result<(Document, TurnCounts), LineFault> {
        let (talk, counts) = match &self.format {
            DatasetFormat::Text | DatasetFormat::Contents(_) => {
                unreachable!("text has no lines of JSON, and contents lie elsewhere")
            }
            DatasetFormat::Jsonl { text } => {
                return Ok((Document::Text(read_field(fields, text)?.to_owned()), TurnCounts::default()));
            }
            DatasetFormat::Chat { turns: TurnFields::Pair { user, input, assistant }, system, group } => {
                let prompt = read_prompt(fields, user, input.as_deref())?;
                let answer = read_nonblank_field(fields, assistant)?.to_owned();
                let talk = Conversation::pair(prompt, answer, read_group(fields, group.as_deref())?);
                let rules = system.as_deref().map(|name| read_optional_field(fields, name)).transpose()?;
                let talk = match rules.flatten() {
                    Some(rules) => talk.with_rules(rules.to_owned()),
                    None => talk,
                };
                (talk, TurnCounts::default())
            }
            DatasetFormat::Chat { turns: TurnFields::List { messages }, system, group } => {
                read_turns(fields, messages, system.as_deref(), group.as_deref())?
            }
        };
        Ok((Document::Chat(talk), counts))
    }

    /// The fields that a line may lack although the dataset names them.
    #[must_use]
    pub fn list_optional_fields(&self) -> Vec<&str> {
        match &self.format {
            DatasetFormat::Chat { turns, system, .. } => {
                let input = match turns {
                    TurnFields::Pair { input, .. } => input.as_deref(),
                    TurnFields::List { .. } => None,
                };
                [input, system.as_deref()].into_iter().flatten().collect()
            }
            DatasetFormat::Text | DatasetFormat::Jsonl { .. } | DatasetFormat::Contents(_) => vec![],
        }
    }

    /// The fields that every record must have, and whether each holds a list of turns rather than text.
    #[cfg_attr(not(feature = "columns"), expect(dead_code, reason = "only tables are read by columns"))]
    pub(super) fn list_required_fields(&self) -> Vec<(&str, bool)> {
        match &self.format {
            DatasetFormat::Text => vec![],
            DatasetFormat::Jsonl { text } => vec![(text, false)],
            DatasetFormat::Contents(contents) => {
                contents.encoding.iter().map(|name| (name.as_str(), false)).collect()
            }
            DatasetFormat::Chat { turns, group, .. } => {
                let turns: Vec<(&str, bool)> = match turns {
                    TurnFields::Pair { user, assistant, .. } => vec![(user, false), (assistant, false)],
                    TurnFields::List { messages } => vec![(messages, true)],
                };
                turns.into_iter().chain(group.as_deref().map(|group| (group, false))).collect()
            }
        }
    }

    /// The fields that are read of a table; `None` for all. Of conversations, those that usually hold a part of the prompt are among
    /// them, so that none is left out unnoticed.
    #[cfg_attr(not(feature = "columns"), expect(dead_code, reason = "only tables are read by columns"))]
    pub(super) fn list_needed_fields(&self) -> Option<Vec<String>> {
        if self.strict {
            return None;
        }
        let usual = PROMPT_FIELDS.into_iter().filter(|_| matches!(self.format, DatasetFormat::Chat { .. }));
        let filtered = self.list_filtered_fields();
        Some(
            list_read_fields(&self.format)
                .into_iter()
                .chain(usual)
                .chain(filtered)
                .map(str::to_owned)
                .collect(),
        )
    }

    /// The fields that decide whether a record is a document.
    pub fn list_filtered_fields(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().map(|filter| filter.column.as_str())
    }

    /// The fields that every table must have, whatever they hold: those of filters, and of the keys of contents.
    #[cfg_attr(not(feature = "columns"), expect(dead_code, reason = "only tables are read by columns"))]
    pub(super) fn list_compared_fields(&self) -> impl Iterator<Item = &str> {
        let key = match &self.format {
            DatasetFormat::Contents(contents) => Some(contents.key.fields()),
            _ => None,
        };
        self.list_filtered_fields().chain(key.into_iter().flatten())
    }

    fn list_absent_fields(&self, fields: &Map<String, Value>) -> Vec<String> {
        let absent =
            self.list_optional_fields().into_iter().filter(|name| find_field(fields, name).is_none());
        absent.map(str::to_owned).collect()
    }
}

/// The user's turn: the question, and on the line after it the input, if there is one.
fn read_prompt(fields: &Map<String, Value>, user: &str, input: Option<&str>) -> Result<String, LineFault> {
    let question = read_nonblank_field(fields, user)?;
    let input = input.map(|name| read_optional_field(fields, name)).transpose()?.flatten();
    Ok(input.map_or_else(|| question.to_owned(), |input| format!("{question}\n{input}")))
}

/// The conversation in the field `messages` of a line, with system rules from other fields of the line.
fn read_turns(
    fields: &Map<String, Value>,
    messages: &str,
    system: Option<&str>,
    group: Option<&str>,
) -> Result<(Conversation, TurnCounts), LineFault> {
    let list = find_field(fields, messages).ok_or_else(|| missing_field(fields, messages))?;
    let kind = read_group(fields, group)?;
    let taken = [messages, group.unwrap_or(messages)];
    let found = turns::parse_conversation(list, messages, kind).and_then(|(talk, counts)| {
        let rules = turns::find_line_rules(fields, system, &taken)?;
        Ok((turns::add_system_rules(talk, messages, rules)?, counts))
    });
    found.map_err(|(problem, fix)| LineFault::new(problem, fix))
}

/// The kind of a conversation; "" if the dataset does not name a field for it.
fn read_group(fields: &Map<String, Value>, name: Option<&str>) -> Result<String, LineFault> {
    name.map_or(Ok(String::new()), |name| read_field(fields, name).map(str::to_owned))
}

#[cfg(test)]
mod tests;
