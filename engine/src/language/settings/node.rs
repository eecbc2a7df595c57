//! Follows a path from a node to a field and writes the value. Missing nodes on the path are created, or copied from the
//! recipe.

use kdl::{KdlEntry, KdlIdentifier, KdlNode};

use super::{PathWord, Setting, find_node_name, find_own_argument};
use crate::language::schema::{FieldSpec, NodeSpec};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::suggest;

impl Setting<'_> {
    /// Writes the value into the field that the rest of the path names.
    pub(super) fn put_within(
        &self,
        node: &mut KdlNode,
        spec: &'static NodeSpec,
        rest: &[PathWord],
        recipe: Option<&KdlNode>,
    ) -> Result<(), Diagnostic> {
        let Some((word, after)) = rest.split_first() else { return self.put_argument(node, spec) };
        let property = spec.property(&word.text);
        if let (Some(field), []) = (property, after) {
            return self.put_property(node, field, word);
        }
        let Some(child) = spec.child(&word.text) else { return Err(self.unknown(node, spec, word, after)) };
        self.ensure_node(node, child, word, recipe);
        let (at, used) = self.select_node(node, child, word, after)?;
        let inside = &mut node.ensure_children().nodes_mut()[at];
        self.put_within(inside, child, &after[used..], None)
    }

    /// Makes sure that the node has this child: its own, a copy of the recipe's, or a new one. The recipe's child has to be
    /// copied as a whole, because a child of the stage replaces the recipe's child with all its fields.
    fn ensure_node(&self, node: &mut KdlNode, child: &NodeSpec, word: &PathWord, recipe: Option<&KdlNode>) {
        if node.iter_children().any(|inner| inner.name().value() == child.name) {
            return;
        }
        let of_recipe = recipe.into_iter().flat_map(KdlNode::iter_children);
        let mut copied: Vec<_> =
            of_recipe.filter(|inner| inner.name().value() == child.name).cloned().collect();
        if copied.is_empty() && child.single {
            let mut made = KdlNode::new(child.name.as_str());
            made.set_name(self.identifier(word));
            copied.push(made);
        }
        if !copied.is_empty() {
            node.ensure_children().nodes_mut().extend(copied);
        }
    }

    /// The index of the child that the path selects, and how many words of the path select it.
    fn select_node(
        &self,
        node: &KdlNode,
        child: &NodeSpec,
        word: &PathWord,
        after: &[PathWord],
    ) -> Result<(usize, usize), Diagnostic> {
        let nodes = node.iter_children().enumerate();
        let nodes: Vec<_> = nodes.filter(|(_, inner)| inner.name().value() == child.name).collect();
        if let (true, Some((at, _))) = (child.single, nodes.first()) {
            return Ok((*at, 0));
        }
        let keys: Vec<_> = nodes.iter().filter_map(|(_, inner)| find_node_name(inner)).collect();
        let known = || match child.key.is_some() && !keys.is_empty() {
            true => suggest::format_name_list(keys.iter().copied()),
            false => suggest::format_name_list(
                (0..nodes.len()).map(|at| at.to_string()).collect::<Vec<_>>().iter().map(String::as_str),
            ),
        };
        let Some(selector) = after.first() else {
            let message =
                format!("`{}` can appear several times, so the path must say which one", child.name);
            let fault = self.fault(Code::UnknownField, word, message, "which of them?");
            return Err(fault.help(format!("add one of {}", known())));
        };
        let keyed = nodes
            .iter()
            .find(|(_, inner)| child.key.is_some() && find_node_name(inner) == Some(&selector.text));
        let numbered = || selector.text.parse::<usize>().ok().and_then(|number| nodes.get(number));
        if let Some((at, _)) = keyed.or_else(numbered) {
            return Ok((*at, 1));
        }
        let message = format!("there is no `{}` `{}` here", child.name, selector.text);
        let fault = self.fault(Code::UnknownName, selector, message, "not found");
        let at = self.position(selector);
        if let (true, Some(first)) = (child.fields().any(|field| field.name == selector.text), keys.first()) {
            // The path goes on with a field, without saying which of the nodes.
            let path = self.path_with(at, &format!("{first}.{}", selector.text));
            return Err(fault.help(format!("did you mean `{path}`?")));
        }
        Err(match suggest::find_closest_name(&selector.text, keys.iter().copied()) {
            Some(near) => fault.help(format!("did you mean `{}`?", self.path_with(at, near))),
            None if nodes.is_empty() => {
                fault.help("add it to the file; `--set` only changes nodes that exist")
            }
            None => fault.help(format!("write one of {}", known())),
        })
    }

    fn put_property(&self, node: &mut KdlNode, field: &FieldSpec, word: &PathWord) -> Result<(), Diagnostic> {
        for mut entry in self.values(field)? {
            entry.set_name(Some(self.identifier(word)));
            let named = |old: &&mut KdlEntry| old.name().is_some_and(|name| field.is_called(name.value()));
            match node.entries_mut().iter_mut().rfind(named) {
                Some(old) => *old = entry,
                None => node.entries_mut().push(entry),
            }
        }
        Ok(())
    }

    fn put_argument(&self, node: &mut KdlNode, spec: &'static NodeSpec) -> Result<(), Diagnostic> {
        let Some((position, field)) = find_own_argument(spec) else {
            return Err(self.node_without_value(spec));
        };
        let new = self.values(field)?;
        let written = node.entries().iter().enumerate().filter(|(_, entry)| entry.name().is_none());
        let places: Vec<_> = written.map(|(at, _)| at).skip(position).collect();
        let end = node.entries().len();
        let first = places.first().copied().unwrap_or(end);
        let old = if field.many { places.as_slice() } else { places.get(..1).unwrap_or_default() };
        old.iter().rev().for_each(|at| drop(node.entries_mut().remove(*at)));
        let entries = node.entries_mut();
        let tail = entries.split_off(first.min(entries.len()));
        entries.extend(new.into_iter().chain(tail));
        Ok(())
    }

    /// A KDL identifier at the place of a word.
    fn identifier(&self, word: &PathWord) -> KdlIdentifier {
        let mut name = KdlIdentifier::from(word.text.as_str());
        name.set_span((self.start + word.range.start, word.range.len()));
        name
    }
}
