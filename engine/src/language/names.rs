//! Resolves names. Each kind of declaration has a namespace, stages share one, and every reference must name a declaration.

mod unknown;

use std::collections::{BTreeMap, BTreeSet};

use crate::language::names::unknown::UnknownNames;
use crate::language::record::{Leaf, Record, RecordPath};
use crate::language::schema::load_schema;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::suggest;

/// All declarations by namespace and name.
pub(crate) struct Declarations {
    /// Validated top-level nodes, in the order of the text.
    pub records: Vec<Record>,
    /// From namespace and name to the index of the first declaration.
    names: BTreeMap<(String, String), usize>,
    unresolved: BTreeSet<String>,
    complete: bool,
}

impl Declarations {
    /// Collects declarations and reports names that are declared twice.
    ///
    /// `unresolved` has the names of nodes that could not be understood. A reference to one of them is a consequence of
    /// that error and is not reported again. If not `complete`, a file could not be read, and any undeclared name may be
    /// declared there.
    pub(crate) fn new(
        records: Vec<Record>,
        unresolved: Vec<String>,
        complete: bool,
        sink: &mut Sink,
    ) -> Self {
        let mut names: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (at, record) in records.iter().enumerate() {
            let Some(leaf) = record.name_leaf() else { continue };
            let key = (record.spec.namespace.clone(), leaf.expect_text().to_owned());
            match names.get(&key) {
                Some(first) => sink.push(duplicate_name(record, leaf, &records[*first])),
                None => {
                    names.insert(key, at);
                }
            }
        }
        Self { records, names, unresolved: unresolved.into_iter().collect(), complete }
    }

    /// Reports every reference to an undeclared name or to the wrong kind of node, and marks the records that contain them
    /// as broken.
    pub(crate) fn check_references(&mut self, sink: &mut Sink) {
        let broken = self.find_broken_references(sink);
        for at in broken {
            self.records[at].broken = true;
        }
    }

    /// Reports wrong references. Returns the indices of the records that contain them or depend on an unresolved name.
    fn find_broken_references(&self, sink: &mut Sink) -> Vec<usize> {
        let mut unknown = UnknownNames::new(self);
        let mut broken = Vec::new();
        for (at, record) in self.records.iter().enumerate() {
            let mut found = false;
            record.visit(&mut |inner| {
                for leaf in &inner.leaves {
                    found |= self.check_reference(inner, leaf, &mut unknown, sink);
                }
            });
            if found {
                broken.push(at);
            }
        }
        broken
    }

    /// The node that a reference names, if the field takes this kind of node and the node is not broken.
    #[must_use]
    pub(crate) fn target(&self, leaf: &Leaf) -> Option<&Record> {
        let found = self.any_target(leaf)?;
        (!found.broken).then_some(found)
    }

    /// The node that a reference names, even if the node is broken.
    #[must_use]
    pub(crate) fn any_target(&self, leaf: &Leaf) -> Option<&Record> {
        let name = leaf.reference()?;
        leaf.spec
            .to
            .iter()
            .find_map(|kind| self.named(kind, name))
            .filter(|found| is_allowed_target(leaf, found))
    }

    /// The node called `name` in the namespace of `kind`. Its own kind may be another one of that namespace.
    #[must_use]
    pub(crate) fn named(&self, kind: &str, name: &str) -> Option<&Record> {
        let namespace = load_schema().node(kind)?.namespace.clone();
        Some(&self.records[*self.names.get(&(namespace, name.to_owned()))?])
    }

    /// Whether references to this node's name resolve to it, and not to an earlier node with the same name.
    #[must_use]
    pub(crate) fn declares(&self, record: &Record) -> bool {
        let found = record.name().and_then(|name| self.named(&record.spec.name, name));
        found.is_some_and(|found| std::ptr::eq(found, record))
    }

    /// The record at a path that was made of these declarations.
    #[must_use]
    pub(crate) fn at(&self, path: &RecordPath) -> &Record {
        path.inner.iter().fold(&self.records[path.top], |record, at| &record.children[*at])
    }

    /// As [`Self::at`], to change the record.
    #[must_use]
    pub(crate) fn at_mut(&mut self, path: &RecordPath) -> &mut Record {
        path.inner.iter().fold(&mut self.records[path.top], |record, at| &mut record.children[*at])
    }

    /// All nodes of a kind, in the order of the text.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |record| record.spec.name == kind)
    }

    /// Reports a wrong reference. Returns whether the record that contains it is broken, even if the cause has been reported
    /// elsewhere.
    fn check_reference<'a>(
        &'a self,
        record: &Record,
        leaf: &'a Leaf,
        unknown: &mut UnknownNames<'a>,
        sink: &mut Sink,
    ) -> bool {
        let Some(name) = leaf.reference() else { return false };
        match leaf.spec.to.iter().find_map(|kind| self.named(kind, name)) {
            Some(found) if is_allowed_target(leaf, found) => return false,
            Some(found) => sink.push(self.wrong_kind(leaf, name, found)),
            None if !self.complete || self.unresolved.contains(name) => {}
            None if unknown.is_meant_for_duplicate(leaf, name) => {}
            None => sink.push(unknown.report(record, leaf, name)),
        }
        true
    }

    fn wrong_kind(&self, leaf: &Leaf, name: &str, found: &Record) -> Diagnostic {
        let kind = &found.spec.name;
        let wanted =
            if leaf.spec.to.len() > 2 { "checkpoint".to_owned() } else { leaf.spec.to.join("` or `") };
        let message = format!("`{name}` is {} `{kind}`, not a `{wanted}`", suggest::choose_article(kind));
        let mut diagnostic =
            Diagnostic::new(Code::WrongKind, message).at(&leaf.span, format!("names a `{kind}`"));
        if let Some(place) = found.name_leaf() {
            diagnostic = diagnostic.also(&place.span, "declared here");
        }
        let fitting =
            self.records.iter().filter(|found| is_allowed_target(leaf, found)).filter_map(Record::name);
        let fitting = suggest::format_name_list(fitting);
        diagnostic.help(if fitting.is_empty() {
            let example = leaf.spec.to.first().and_then(|kind| load_schema().node(kind)?.example.as_deref());
            match example {
                Some(example) => format!("declare one at the top level, as in `{example}`"),
                None => format!("declare a `{wanted}`"),
            }
        } else {
            format!("name one of {fitting}")
        })
    }
}

/// Whether the field of a reference takes this kind of node.
fn is_allowed_target(leaf: &Leaf, found: &Record) -> bool {
    leaf.spec.to.contains(&found.spec.name)
}

fn duplicate_name(record: &Record, leaf: &Leaf, first: &Record) -> Diagnostic {
    let name = leaf.expect_text();
    let message = if record.spec.name == first.spec.name {
        format!("two `{}` nodes are called `{name}`", record.spec.name)
    } else {
        format!(
            "a `{}` and a `{}` are both called `{name}`, but all stages share one namespace",
            first.spec.name, record.spec.name
        )
    };
    let place = first.name_leaf().map_or(&first.span, |leaf| &leaf.span);
    Diagnostic::new(Code::DuplicateName, message)
        .at(&leaf.span, "again here")
        .also(place, "first here")
        .help(format!("rename one of them, for example to `\"{name}-2\"`"))
}
