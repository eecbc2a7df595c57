//! Decodes text that grows: how a training makes it, and by how much a gap may grow.

use super::Decoder;
use crate::language::record::Record;
use crate::pipeline::config::GrowthSettings;
use crate::text::diagnostic::{Code, Diagnostic};

/// What a training does to masks.
pub(super) fn decode_growth(record: &Record) -> Option<GrowthSettings> {
    Some(GrowthSettings {
        merge: record.number("merge")?,
        delete: record.size("delete")?,
        expand_token: record.text("expand-token")?.to_owned(),
        delete_token: record.text("delete-token")?.to_owned(),
    })
}

impl Decoder<'_> {
    /// By how many tokens the gap of a request may grow, or `None` in it. Only a single gap without a constraint can, and one that grows
    /// has no range of lengths.
    pub(super) fn growth(&mut self, record: &Record, constrained: bool) -> Option<Option<usize>> {
        let Some(leaf) = record.leaf("grow") else { return Some(None) };
        let refuse = |message: &str, other, label: &str, help: &str| {
            Diagnostic::new(Code::ConflictingFields, message)
                .at(&leaf.span, "grows")
                .also(other, label)
                .help(help)
        };
        let length = record.leaf("length")?;
        let found = if length.text().is_some() {
            let message = "a gap that grows has one length to begin with, not a range";
            Some(refuse(message, &length.span, "a range of lengths", "write `length=8`, or remove `grow=`"))
        } else if let Some(gap) = record.children("gap").next() {
            let message = "one of several gaps does not grow";
            Some(refuse(message, &gap.span, "another gap", "remove `grow=`"))
        } else {
            constrained.then(|| {
                let message = "a constraint is kept for a gap that does not grow";
                refuse(
                    message,
                    &record.span,
                    "has a constraint",
                    "remove `grow=`, or use a sampler without a constraint",
                )
            })
        };
        match found {
            None => record.size("grow").map(Some),
            Some(found) => {
                self.sink.push(found);
                None
            }
        }
    }
}
