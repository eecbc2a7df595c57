//! A node after validation: fields with canonical values, defaults filled, places and origins kept.

use crate::language::schema::{CanonicalValue, FieldSpec, NodeSpec};
use crate::text::place::{Origin, Span};

/// A validated node.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its row of the field table.
    pub spec: &'static NodeSpec,
    /// Its name in the text; of an implied node, its parent's.
    pub span: Span,
    /// How it came to be.
    pub origin: Origin,
    /// Its fields, in the order of the table.
    pub leaves: Vec<Leaf>,
    /// Nodes inside, in the order of the text, implied ones last.
    pub children: Vec<Record>,
    /// Whether something in it is wrong, so that nothing more is said about what follows from it.
    pub broken: bool,
    /// Required things that a misspelt name probably stands for.
    pub excused: Vec<String>,
}

/// A field's value.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Its row of the field table.
    pub spec: &'static FieldSpec,
    /// The canonical value.
    pub value: CanonicalValue,
    /// Where the value is written; of a default, where its node is.
    pub span: Span,
    /// How it came to be.
    pub origin: Origin,
}

impl Leaf {
    /// Its text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            CanonicalValue::Text(text)
            | CanonicalValue::Name(text)
            | CanonicalValue::Path(text)
            | CanonicalValue::Hub(text)
            | CanonicalValue::Range(text) => Some(text),
            _ => None,
        }
    }

    /// Its text, of a field that takes nothing else: then validation made no leaf of another value, in a broken record either.
    ///
    /// # Panics
    /// When the field takes numbers or truth values too, and holds one.
    #[must_use]
    pub fn expect_text(&self) -> &str {
        self.text()
            .unwrap_or_else(|| panic!("`{}` takes text only, and holds {:?}", self.spec.name, self.value))
    }

    /// The name it refers to, if it is a reference.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        match &self.value {
            CanonicalValue::Name(name) if !self.spec.to.is_empty() => Some(name),
            _ => None,
        }
    }
}

impl Record {
    /// The field called `name`.
    #[must_use]
    pub fn leaf(&self, name: &str) -> Option<&Leaf> {
        self.all(name).next()
    }

    /// All values of the field called `name`.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Leaf> {
        let name = name.to_owned();
        let found = self.leaves.iter().filter(move |leaf| leaf.spec.name == name);
        #[cfg(test)]
        let found = found.inspect(|leaf| spy::note(leaf));
        found
    }

    /// The field that declares its name.
    #[must_use]
    pub fn name_leaf(&self) -> Option<&Leaf> {
        self.leaf("name")
    }

    /// The declared name, if there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// The declared name of a record that has one: because it was found by its name, or because nothing is wrong with it.
    ///
    /// # Panics
    /// When the name is missing or invalid, which makes a record broken and keeps it from being found.
    #[must_use]
    pub fn expect_name(&self) -> &str {
        self.name().unwrap_or_else(|| panic!("a `{}` that is used has a name", self.spec.name))
    }

    /// The text of a field.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.leaf(name)?.text()
    }

    /// The whole number of a field.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.leaf(name)?.value {
            CanonicalValue::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// The whole number of a field, as a size.
    #[must_use]
    pub fn size(&self, name: &str) -> Option<usize> {
        self.integer(name).and_then(|number| usize::try_from(number).ok())
    }

    /// The whole number of a field, as a count.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        self.integer(name).and_then(|number| u64::try_from(number).ok())
    }

    /// The number of a field.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.leaf(name)?.value {
            CanonicalValue::Number(number) | CanonicalValue::Seconds(number) => Some(number),
            _ => None,
        }
    }

    /// The truth value of a field.
    #[must_use]
    pub fn boolean(&self, name: &str) -> Option<bool> {
        match self.leaf(name)?.value {
            CanonicalValue::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The node inside called `name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children(name).next()
    }

    /// All nodes inside called `name`.
    pub fn children<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Self> {
        let name = name.to_owned();
        self.children.iter().filter(move |child| child.spec.name == name)
    }

    /// Calls `visit` with this record and all inside.
    pub fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        self.children.iter().for_each(|child| child.visit(visit));
    }

    /// A copy whose written values say that they come from the recipe called `name`.
    #[must_use]
    pub fn from_recipe(&self, name: &str) -> Self {
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

/// Which leaves were asked for in this thread, for the test that every field of the table has a reader.
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

    /// Forgets what was asked for so far: leaves that are gone leave their places to others.
    pub(crate) fn forget() {
        READ.with_borrow_mut(BTreeSet::clear);
    }

    /// Whether `leaf` was asked for since the last [`forget`].
    pub(crate) fn was_read(leaf: &Leaf) -> bool {
        READ.with_borrow(|read| read.contains(&std::ptr::from_ref(leaf)))
    }
}
