//! Counts what the documents of a dataset leave unused, and describes it with the first place of each.

use indexmap::IndexMap;

use super::leftovers::{
    LATER_TURNS_FIX, Leftovers, REPEATED_KEYS_FIX, REPEATED_ROLES_FIX, is_prompt_part, suggest_setting,
};
use crate::pipeline::config::DatasetFormat;

/// Most fields that are counted by name; the others are counted together. A stranger's file can have a new name in every line.
const MAX_FIELDS: usize = 32;

/// The name of the other fields.
const OTHERS: &str = "(other fields)";

/// What documents leave unused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    documents: u64,
    unread: IndexMap<String, TallyEntry>,
    absent: IndexMap<String, u64>,
    later_turns: TallyEntry,
    repeated_roles: TallyEntry,
    repeated_keys: TallyEntry,
}

/// One kind of leftover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TallyEntry {
    documents: u64,
    things: u64,
    /// Where the first one is.
    first: String,
}

/// What is told of a kind of leftover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemarkKind {
    /// A field with content that no setting reads.
    UnreadField,
    /// Turns after the last answer.
    LaterTurns,
    /// Turns with the role of the turn before.
    RepeatedRoles,
    /// Keys that appear twice.
    RepeatedKeys,
}

/// One sentence about leftovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What it is about.
    pub kind: RemarkKind,
    /// How many, their share, and where the first is.
    pub text: String,
    /// How to fix it.
    pub fix: String,
    /// Documents that are concerned.
    pub documents: u64,
    /// Whether `check` warns of it.
    pub is_warning: bool,
}

impl TallyEntry {
    fn add(&mut self, things: usize, place: impl FnOnce() -> String) {
        if things == 0 {
            return;
        }
        if self.documents == 0 {
            self.first = place();
        }
        self.documents += 1;
        self.things += things as u64;
    }
}

impl Tally {
    /// Adds the leftovers of a document; `place` is its file and line.
    pub fn add(&mut self, found: &Leftovers, place: impl Fn() -> String) {
        self.documents += 1;
        let mut others = 0;
        for name in &found.unread {
            if self.unread.contains_key(name) || self.unread.len() < MAX_FIELDS {
                self.unread.entry(name.to_owned()).or_default().add(1, &place);
            } else {
                others += 1;
            }
        }
        if others > 0 {
            self.unread.entry(OTHERS.to_owned()).or_default().add(others, &place);
        }
        for name in &found.absent {
            *self.absent.entry(name.clone()).or_default() += 1;
        }
        self.later_turns.add(found.later_turns, &place);
        self.repeated_roles.add(found.repeated_roles.len(), &place);
        self.repeated_keys.add(found.repeated_keys.len(), || {
            format!("`{}` in {}", shorten(&found.repeated_keys[0]), place())
        });
    }

    /// Documents so far.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// A field that the dataset names and no line has. Lines may lack an optional field, but not all of them.
    #[must_use]
    pub fn find_absent_field(&self) -> Option<&str> {
        let everywhere = |(_, lines): &(&String, &u64)| **lines == self.documents;
        self.absent.iter().find(everywhere).map(|(name, _)| name.as_str())
    }

    /// Describes everything that was found. `scope` stands before the number of documents, such as `the first `.
    #[must_use]
    pub fn describe(&self, format: &DatasetFormat, scope: &str) -> Vec<Remark> {
        let unread = self.unread.iter().map(|(name, entry)| {
            let name = shorten(name);
            let text = format!(
                "no setting reads the content of `{name}`: {}, first in {}",
                self.share(entry, scope, "documents"),
                entry.first
            );
            let is_warning = is_prompt_part(&name, format);
            let fix = match name == OTHERS {
                true => "name those that matter in the dataset, and the others in `unread`".to_owned(),
                false => suggest_setting(&name, format),
            };
            Remark { kind: RemarkKind::UnreadField, text, fix, documents: entry.documents, is_warning }
        });
        let later = "turns after the last answer are not used";
        let repeated = "turns have the role of the turn before";
        let turns = [
            (RemarkKind::LaterTurns, &self.later_turns, later, LATER_TURNS_FIX),
            (RemarkKind::RepeatedRoles, &self.repeated_roles, repeated, REPEATED_ROLES_FIX),
        ];
        let turns = turns.into_iter().map(|(kind, entry, what, fix)| {
            let share = self.share(entry, scope, "conversations");
            let text = format!("{what}: {} in {share}, first in {}", entry.things, entry.first);
            Remark { kind, text, fix: fix.to_owned(), documents: entry.documents, is_warning: true }
        });
        unread.chain(turns).chain([self.describe_keys(scope)]).filter(|remark| remark.documents > 0).collect()
    }

    fn describe_keys(&self, scope: &str) -> Remark {
        let TallyEntry { documents, first, .. } = &self.repeated_keys;
        let share = self.share(&self.repeated_keys, scope, "lines");
        let text = format!("keys appear twice: {share}, first {first}");
        let (kind, fix) = (RemarkKind::RepeatedKeys, REPEATED_KEYS_FIX.to_owned());
        Remark { kind, text, fix, documents: *documents, is_warning: true }
    }

    fn share(&self, entry: &TallyEntry, scope: &str, what: &str) -> String {
        let percent = 100.0 * entry.documents as f64 / self.documents.max(1) as f64;
        format!("{} of {scope}{} {what} ({percent:.1} %)", entry.documents, self.documents)
    }
}

/// A name for messages, of at most 80 letters.
fn shorten(name: &str) -> String {
    name.chars().take(80).collect()
}
