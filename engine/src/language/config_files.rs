//! All files of a configuration in one row: every byte has one number, whichever file it is in. So a node that is put
//! together from several files still says where each part of it is written.

use std::sync::Arc;

use kdl::{KdlDocument, KdlEntry, KdlIdentifier, KdlNode};
use miette::SourceSpan;

use crate::text::place::{ConfigFile, Span};

/// Files with the numbers of their first bytes; the one that was named is the first.
#[derive(Debug)]
pub struct ConfigFiles {
    root: Arc<ConfigFile>,
    others: Vec<(usize, Arc<ConfigFile>)>,
}

impl ConfigFiles {
    /// Begins with the file that was named.
    #[must_use]
    pub fn new(root: Arc<ConfigFile>) -> Self {
        Self { root, others: Vec::new() }
    }

    /// The file that was named.
    #[must_use]
    pub fn root(&self) -> &Arc<ConfigFile> {
        &self.root
    }

    /// How many files there are: the number of the next one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// Adds a file; gives the number of its first byte.
    pub fn add(&mut self, file: Arc<ConfigFile>) -> usize {
        let last = self.others.last().map_or((0, &self.root), |(start, file)| (*start, file));
        let start = last.0 + last.1.text.len() + 1;
        self.others.push((start, file));
        start
    }

    /// The place in a file of a place in the row.
    #[must_use]
    pub fn span(&self, span: SourceSpan) -> Span {
        let begun = self.others.partition_point(|(start, _)| *start <= span.offset());
        let found = begun.checked_sub(1).and_then(|at| self.others.get(at));
        let (start, file) = found.map_or((0, &self.root), |(start, file)| (*start, file));
        Span { file: file.clone(), offset: span.offset() - start, length: span.len() }
    }

    /// The place of an entry's value: `kdl` has none of its own, it is the end of the entry.
    #[must_use]
    pub fn value(&self, entry: &KdlEntry) -> Span {
        let span = self.span(entry.span());
        let length = entry.format().map_or(span.length, |format| format.value_repr.len()).min(span.length);
        let offset = span.offset + span.length - length;
        Span { offset, length, ..span }
    }
}

/// Moves every place of a document from its own text to the row.
pub fn shift_document(document: &mut KdlDocument, by: usize) {
    document.nodes_mut().iter_mut().for_each(|node| shift_node(node, by));
}

fn shift_node(node: &mut KdlNode, by: usize) {
    node.set_span(shift_span(node.span(), by));
    shift_name(node.name_mut(), by);
    node.ty_mut().iter_mut().for_each(|ty| shift_name(ty, by));
    for entry in node.entries_mut() {
        shift_entry(entry, by);
    }
    if let Some(children) = node.children_mut() {
        shift_document(children, by);
    }
}

/// The same for one entry.
pub fn shift_entry(entry: &mut KdlEntry, by: usize) {
    entry.set_span(shift_span(entry.span(), by));
    entry.name_mut().into_iter().for_each(|name| shift_name(name, by));
    entry.ty_mut().into_iter().for_each(|ty| shift_name(ty, by));
}

fn shift_name(name: &mut KdlIdentifier, by: usize) {
    name.set_span(shift_span(name.span(), by));
}

fn shift_span(span: SourceSpan, by: usize) -> SourceSpan {
    (span.offset() + by, span.len()).into()
}
