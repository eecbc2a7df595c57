//! Decodes constraints on the text of answers.

use super::Decoder;
use crate::language::record::{Leaf, Record};
use crate::pipeline::config::{Constraint, ConstraintError, ConstraintSource, FurtherGap, Sampler};
use crate::pipeline::stage::FieldValue;
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::file_head;
use crate::text::place::Span;

/// Most bytes of a file that are read for a schema: more than one may have, so that a refusal tells how many there are.
const READ_BYTES: u64 = 1 << 20;

impl Decoder<'_> {
    /// A sampler with the constraint between the braces of `record`: of itself, or of a request that is answered with it. `place` is
    /// where the sampler is chosen.
    pub(super) fn constrain(&mut self, sampler: Sampler, record: &Record, place: &Span) -> Option<Sampler> {
        let Some(node) = record.child("constraint") else { return Some(sampler) };
        let constraint = match node.leaf("regex") {
            Some(leaf) => self.constraint(leaf, ConstraintSource::Regex(leaf.text()?.to_owned()))?,
            None => {
                let leaf = node.leaf("json-schema")?;
                let text = self.schema_text(leaf)?;
                self.constraint(leaf, ConstraintSource::JsonSchema(text))?
            }
        };
        if !sampler.keeps_constraints() {
            let message = format!(
                "sampler `{}` rewrites what it has written, so that it keeps no constraint",
                sampler.name
            );
            self.sink.push(
                Diagnostic::new(Code::BadConstraint, message)
                    .at(&node.span, "cannot be kept")
                    .also(place, "this sampler")
                    .help("remove it, or use a sampler of another kind, such as \"threshold\""),
            );
            return None;
        }
        Some(Sampler { constraint: Some(constraint), ..sampler })
    }

    fn constraint(&mut self, leaf: &Leaf, source: ConstraintSource) -> Option<Constraint> {
        if let Some(known) = self.constraints.get(&source) {
            return Some(known.clone());
        }
        let read = Constraint::new(source.clone());
        let found = read.map_err(|error| self.sink.push(bad_constraint(leaf, &error))).ok()?;
        self.constraints.insert(source, found.clone());
        Some(found)
    }

    /// The text of a schema, which counts for the result.
    fn schema_text(&mut self, leaf: &Leaf) -> Option<String> {
        let path = leaf.span.file.folder.join(leaf.text()?);
        let bytes = file_head::read_small_file(&path, READ_BYTES);
        let text = match bytes.map(String::from_utf8) {
            Some(Ok(text)) => text,
            // Of a pipeline made small the files need not be there.
            None if self.may_lack_files && !file_head::is_present(&path) => "true".to_owned(),
            unread => {
                self.sink.push(unreadable_schema(leaf, unread.is_some()));
                return None;
            }
        };
        self.named.push(FieldValue {
            path: format!("json-schema.{}", self.named.len()),
            value: text.clone().into(),
            span: leaf.span.clone(),
            origin: leaf.origin.clone(),
            semantic: true,
        });
        Some(text)
    }

    /// Refuses what a constraint says nothing of: several gaps, and gaps of several lengths.
    pub(super) fn refuse_constrained_gaps(
        &mut self,
        sampler: &Sampler,
        record: &Record,
        (shortest, more): (Option<usize>, &[FurtherGap]),
    ) -> Option<()> {
        if sampler.constraint.is_none() || (shortest.is_none() && more.is_empty()) {
            return Some(());
        }
        let (place, label) = match record.children("gap").next() {
            Some(gap) => (&gap.span, "another text"),
            None => (&record.leaf("length")?.span, "several lengths"),
        };
        self.sink.push(
            Diagnostic::new(
                Code::BadConstraint,
                format!("the constraint of sampler `{}` is kept for one gap of one length", sampler.name),
            )
            .at(place, label)
            .help(if more.is_empty() { "write `length=8`" } else { "remove it" }),
        );
        None
    }
}

fn bad_constraint(leaf: &Leaf, error: &ConstraintError) -> Diagnostic {
    let what = match leaf.spec.name.as_str() {
        "json-schema" => leaf.expect_text(),
        name => name,
    };
    Diagnostic::new(Code::BadConstraint, format!("`{what}` is no constraint: {error}"))
        .at(&leaf.span, "nothing can be kept within it")
        .help(error.help())
}

fn unreadable_schema(leaf: &Leaf, read: bool) -> Diagnostic {
    let what = if read { "is not UTF-8" } else { "cannot be read" };
    Diagnostic::new(Code::NoFiles, format!("the schema `{}` {what}", leaf.expect_text()))
        .at(&leaf.span, "no schema here")
        .help("name a file of at most 64 KiB; paths are relative to the file in which they are written")
}
