//! Names: one namespace for each kind of thing, every reference checked against what is declared.

use std::collections::BTreeMap;

use crate::language::record::{Leaf, Record};
use crate::language::schema::load_schema;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::suggest;

/// All declarations by namespace and name.
pub struct Declarations {
    /// Validated top-level nodes, in the order of the text.
    pub records: Vec<Record>,
    names: BTreeMap<(String, String), usize>,
    unresolved: Vec<String>,
    complete: bool,
}

impl Declarations {
    /// Gathers declarations; a name that stands twice is told with both places. Phantoms are names of nodes that could
    /// not be understood: a reference to one is no second fault. Neither is one to what an unreadable file may declare:
    /// then the world is not complete.
    pub fn new(records: Vec<Record>, phantoms: Vec<String>, complete: bool, sink: &mut Sink) -> Self {
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
        Self { records, names, unresolved: phantoms, complete }
    }

    /// Reports every reference to a name that is not declared, or that is something else.
    pub fn check_references(&mut self, sink: &mut Sink) {
        let mut broken = Vec::new();
        for (at, record) in self.records.iter().enumerate() {
            let before = sink.errors();
            let mut phantom = false;
            record.visit(&mut |inner| {
                for leaf in &inner.leaves {
                    self.check_reference(inner, leaf, sink);
                    phantom |= leaf.reference().is_some_and(|name| self.is_unresolved(leaf, name));
                }
            });
            if phantom || sink.errors() > before {
                broken.push(at);
            }
        }
        for at in broken {
            self.records[at].broken = true;
        }
    }

    /// The node that a reference names, if it is one that the field takes and nothing is wrong with it.
    #[must_use]
    pub fn target(&self, leaf: &Leaf) -> Option<&Record> {
        let found = self.any_target(leaf)?;
        (!found.broken).then_some(found)
    }

    /// The same, but with whatever is wrong with it.
    #[must_use]
    pub fn any_target(&self, leaf: &Leaf) -> Option<&Record> {
        let name = leaf.reference()?;
        leaf.spec
            .to
            .iter()
            .find_map(|kind| self.named(kind, name))
            .filter(|found| is_allowed_target(leaf, found))
    }

    /// The node of this kind, or of its namespace, called `name`.
    #[must_use]
    pub fn named(&self, kind: &str, name: &str) -> Option<&Record> {
        let namespace = load_schema().node(kind)?.namespace.clone();
        Some(&self.records[*self.names.get(&(namespace, name.to_owned()))?])
    }

    /// Whether this node, and no earlier one of the same name, is what its name stands for.
    #[must_use]
    pub fn declares(&self, record: &Record) -> bool {
        let found = record.name().and_then(|name| self.named(&record.spec.name, name));
        found.is_some_and(|found| std::ptr::eq(found, record))
    }

    /// Records of a kind, in the order of the text.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |record| record.spec.name == kind)
    }

    fn check_reference(&self, record: &Record, leaf: &Leaf, sink: &mut Sink) {
        let Some(name) = leaf.reference() else { return };
        let found = leaf.spec.to.iter().find_map(|kind| self.named(kind, name));
        match found {
            Some(found) if is_allowed_target(leaf, found) => {}
            Some(found) => sink.push(self.wrong_kind(leaf, name, found)),
            None if self.is_unresolved(leaf, name) => {}
            None => sink.push(self.unknown_name(record, leaf, name)),
        }
    }

    fn is_unresolved(&self, leaf: &Leaf, name: &str) -> bool {
        let known = leaf.spec.to.iter().any(|kind| self.named(kind, name).is_some());
        let lost = || self.unresolved.iter().any(|phantom| phantom == name);
        !known && (!self.complete || lost() || self.is_meant_for_namesake(leaf, name))
    }

    /// Whether a name that nothing is spelt like is probably the one that a node should have instead of another's.
    fn is_meant_for_namesake(&self, leaf: &Leaf, name: &str) -> bool {
        let fitting = || self.records.iter().filter(|found| is_allowed_target(leaf, found));
        let namesake = fitting().any(|found| found.name_leaf().is_some() && !self.declares(found));
        namesake && suggest::find_closest_name(name, fitting().filter_map(Record::name)).is_none()
    }

    fn unknown_name(&self, record: &Record, leaf: &Leaf, name: &str) -> Diagnostic {
        let candidates = || {
            let fitting = self.records.iter().filter(|found| is_allowed_target(leaf, found));
            fitting.filter_map(|found| found.name_leaf().and_then(Leaf::text))
        };
        let what = leaf.spec.to.join("` or `");
        let message = if leaf.spec.to.len() > 2 {
            format!("no checkpoint is called `{name}`")
        } else {
            format!("no `{what}` is called `{name}`")
        };
        let diagnostic = Diagnostic::new(Code::UnknownName, message).at(&leaf.span, "not declared");
        let words = leaf.spec.words.iter().map(String::as_str);
        if let Some(near) = suggest::find_closest_name(name, candidates().chain(words)) {
            let place = self
                .records
                .iter()
                .filter(|found| is_allowed_target(leaf, found))
                .filter_map(Record::name_leaf);
            let place =
                place.into_iter().find(|leaf| leaf.text() == Some(near)).map(|leaf| leaf.span.clone());
            let diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            return match place {
                Some(place) => diagnostic.also(&place, "a similar name is declared here"),
                None => diagnostic,
            };
        }
        let names = suggest::format_name_list(candidates());
        let declare = leaf.spec.to.first().and_then(|kind| load_schema().node(kind)?.example.clone());
        let declare = declare.unwrap_or_else(|| record.spec.name.clone());
        diagnostic.help(if names.is_empty() {
            format!("declare one at the top level, as in `{declare}`")
        } else {
            format!("declared are {names}")
        })
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
            format!("declare a `{wanted}`")
        } else {
            format!("these fit: {fitting}")
        })
    }
}

/// Whether a reference may name this node.
fn is_allowed_target(leaf: &Leaf, found: &Record) -> bool {
    leaf.spec.to.contains(&found.spec.name)
}

fn duplicate_name(record: &Record, leaf: &Leaf, first: &Record) -> Diagnostic {
    let name = leaf.expect_text();
    let message = if record.spec.name == first.spec.name {
        format!("two `{}` nodes are called `{name}`", record.spec.name)
    } else {
        format!(
            "a `{}` and a `{}` are both called `{name}`; stages share their names",
            first.spec.name, record.spec.name
        )
    };
    let place = first.name_leaf().map_or(&first.span, |leaf| &leaf.span);
    Diagnostic::new(Code::DuplicateName, message)
        .at(&leaf.span, "again here")
        .also(place, "first here")
        .help(format!("rename one of them, for example to `\"{name}-2\"`"))
}
