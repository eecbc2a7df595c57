//! One offset space for all files of a configuration: every byte has a unique offset, whichever file it is in.
//!
//! A node can be assembled from several files (a recipe in an included file, a `--set` option), and `kdl` gives each part
//! only an offset. With global offsets each part can still be traced to its file.

use std::sync::Arc;

use kdl::{KdlDocument, KdlEntry, KdlIdentifier, KdlNode};
use miette::SourceSpan;

use crate::text::place::{ConfigFile, Span};

/// The files of a configuration with the global offsets of their first bytes. The root file starts at 0.
#[derive(Debug)]
pub(crate) struct ConfigFiles {
    root: Arc<ConfigFile>,
    others: Vec<(usize, Arc<ConfigFile>)>,
}

impl ConfigFiles {
    /// Starts with the root file alone.
    #[must_use]
    pub(crate) fn new(root: Arc<ConfigFile>) -> Self {
        Self { root, others: Vec::new() }
    }

    /// The file that was named on the command line.
    #[must_use]
    pub(crate) fn root(&self) -> &Arc<ConfigFile> {
        &self.root
    }

    /// Number of files, which is also the number that the next file gets.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// Adds a file and returns the global offset of its first byte.
    pub(crate) fn add(&mut self, file: Arc<ConfigFile>) -> usize {
        let last = self.others.last().map_or((0, &self.root), |(start, file)| (*start, file));
        // One byte between files, so that the end of a file is not also the start of the next one.
        let start = last.0 + last.1.text.len() + 1;
        self.others.push((start, file));
        start
    }

    /// The place, as a file and an offset in it, of a span with a global offset.
    #[must_use]
    pub(crate) fn span(&self, span: SourceSpan) -> Span {
        let begun = self.others.partition_point(|(start, _)| *start <= span.offset());
        let found = begun.checked_sub(1).and_then(|at| self.others.get(at));
        let (start, file) = found.map_or((0, &self.root), |(start, file)| (*start, file));
        Span { file: file.clone(), offset: span.offset() - start, length: span.len() }
    }

    /// The place of an entry's value. `kdl` has a span only for the whole entry; the value is its last part.
    #[must_use]
    pub(crate) fn value(&self, entry: &KdlEntry) -> Span {
        let span = self.span(entry.span());
        let length = entry.format().map_or(span.length, |format| format.value_repr.len()).min(span.length);
        let offset = span.offset + span.length - length;
        Span { offset, length, ..span }
    }
}

/// Adds the global offset of a file's first byte to every span of its document.
pub(crate) fn shift_document(document: &mut KdlDocument, by: usize) {
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

/// Adds an offset to every span of one entry.
pub(crate) fn shift_entry(entry: &mut KdlEntry, by: usize) {
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
