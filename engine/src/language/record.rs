//! Records: nodes after validation, with canonical values and defaults filled in. Every value keeps its place and origin.

use crate::language::schema::{CanonicalValue, FieldSpec, NodeSpec};
use crate::pipeline::repository::RepositoryFiles;
use crate::text::place::{Origin, Span};

/// A validated node.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The node's row of the field table.
    pub spec: &'static NodeSpec,
    /// Place of the node's name; an implied node has the place of its parent.
    pub span: Span,
    /// Where the node comes from.
    pub origin: Origin,
    /// The fields, in the order of the table.
    pub leaves: Vec<Leaf>,
    /// Child nodes in the order of the text, then those of the recipe and the implied ones.
    pub children: Vec<Record>,
    /// Whether an error in this node has been reported. Its consequences are not reported then.
    pub broken: bool,
    /// Names of required fields and nodes that must not be reported as missing, because an error that has been reported
    /// already (usually a misspelled name) probably means them.
    pub excused: Vec<String>,
    /// For a node that names a repository: the files that the lock file pins, or why there are none.
    pub pinned: Option<Result<RepositoryFiles, String>>,
}

/// Where a record is: which top-level node, and which child in each node on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordPath {
    /// Index of the top-level node.
    pub top: usize,
    /// Indices into [`Record::children`].
    pub inner: Vec<usize>,
}

/// A field of a record with its value.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// The field's row of the field table.
    pub spec: &'static FieldSpec,
    /// The canonical value.
    pub value: CanonicalValue,
    /// Place of the value; a default has the place of its node.
    pub span: Span,
    /// Where the value comes from.
    pub origin: Origin,
}

impl Leaf {
    /// The value, if it is any kind of text: a word, name, path, address or range.
    #[must_use]
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            CanonicalValue::Text(text)
            | CanonicalValue::Name(text)
            | CanonicalValue::Path(text)
            | CanonicalValue::Hub(text)
            | CanonicalValue::Range(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a field that takes nothing else: validation makes no other leaf for it, not even in a broken record.
    ///
    /// # Panics
    /// If the field also takes numbers or booleans, and holds one.
    #[must_use]
    pub(crate) fn expect_text(&self) -> &str {
        self.text()
            .unwrap_or_else(|| panic!("`{}` takes only text, but has {:?}", self.spec.name, self.value))
    }

    /// The name that the value refers to, if the field is a reference.
    #[must_use]
    pub(crate) fn reference(&self) -> Option<&str> {
        match &self.value {
            CanonicalValue::Name(name) if !self.spec.to.is_empty() => Some(name),
            _ => None,
        }
    }
}

impl Record {
    /// The first value of the field called `name`.
    #[must_use]
    pub(crate) fn leaf(&self, name: &str) -> Option<&Leaf> {
        self.all(name).next()
    }

    /// All values of the field called `name`.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Leaf> {
        let name = name.to_owned();
        let found = self.leaves.iter().filter(move |leaf| leaf.spec.name == name);
        #[cfg(test)]
        let found = found.inspect(|leaf| spy::note(leaf));
        found
    }

    /// The argument that declares the name of this node.
    #[must_use]
    pub(crate) fn name_leaf(&self) -> Option<&Leaf> {
        self.leaf("name")
    }

    /// The name that this node declares or, inside another node, refers to.
    #[must_use]
    pub(crate) fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// The declared name of a record that must have one: it was found by its name, or nothing is wrong with it.
    ///
    /// # Panics
    /// If the name is missing or invalid. Such a record is broken and cannot be found by name.
    #[must_use]
    pub(crate) fn expect_name(&self) -> &str {
        self.name().unwrap_or_else(|| panic!("a `{}` that is used has a name", self.spec.name))
    }

    /// The text of a field; see [`Leaf::text`].
    #[must_use]
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.leaf(name)?.text()
    }

    /// The integer value of a field.
    #[must_use]
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        match self.leaf(name)?.value {
            CanonicalValue::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// The integer value of a field as `usize`; `None` if it is negative.
    #[must_use]
    pub(crate) fn size(&self, name: &str) -> Option<usize> {
        self.integer(name).and_then(|number| usize::try_from(number).ok())
    }

    /// The integer value of a field as `u64`; `None` if it is negative.
    #[must_use]
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        self.integer(name).and_then(|number| u64::try_from(number).ok())
    }

    /// The number of a field, or its time in seconds.
    #[must_use]
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.leaf(name)?.value {
            CanonicalValue::Number(number) | CanonicalValue::Seconds(number) => Some(number),
            _ => None,
        }
    }

    /// The boolean value of a field.
    #[must_use]
    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        match self.leaf(name)?.value {
            CanonicalValue::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The first child node called `name`.
    #[must_use]
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children(name).next()
    }

    /// All child nodes called `name`.
    pub(crate) fn children<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Self> {
        let name = name.to_owned();
        self.children.iter().filter(move |child| child.spec.name == name)
    }

    /// Calls `visit` with this record and all records inside it.
    pub(crate) fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        self.children.iter().for_each(|child| child.visit(visit));
    }

    /// A copy whose written values have the recipe called `name` as their origin. Values of `--set` keep their origin.
    #[must_use]
    pub(crate) fn copy_for_recipe(&self, name: &str) -> Self {
        let mut copy = self.clone();
        copy.relabel(name);
        copy
    }

    fn relabel(&mut self, name: &str) {
        let origin = Origin::Recipe(name.to_owned());
        self.origin = origin.clone();
        for leaf in self.leaves.iter_mut().filter(|leaf| leaf.origin == Origin::Written) {
            leaf.origin = origin.clone();
        }
        self.children.iter_mut().for_each(|child| child.relabel(name));
    }
}

/// Records which leaves were read in this thread, for the test that every field of the table has a reader.
#[cfg(test)]
pub(crate) mod spy {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::Leaf;

    thread_local! {
        static READ: RefCell<BTreeSet<*const Leaf>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn note(leaf: &Leaf) {
        READ.with_borrow_mut(|read| read.insert(std::ptr::from_ref(leaf)));
    }

    /// Forgets all reads. Leaves are known by address, and a new leaf can get the address of one that was freed.
    pub(crate) fn forget() {
        READ.with_borrow_mut(BTreeSet::clear);
    }

    /// Whether `leaf` was read since the last [`forget`].
    pub(crate) fn was_read(leaf: &Leaf) -> bool {
        READ.with_borrow(|read| read.contains(&std::ptr::from_ref(leaf)))
    }
}
