//! Suggestions for a `--set` path that does not resolve.

use kdl::KdlNode;

use super::{PathWord, Setting, find_node_name, find_own_argument};
use crate::language::schema::{FieldSpec, NodeSpec, foreign_names, load_schema};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::suggest;

impl Setting<'_> {
    /// The first words of the path do not name a declaration.
    pub(super) fn undeclared(&self, nodes: &[KdlNode]) -> Diagnostic {
        let (kind, rest) = self.flag.path.split_first().expect("a path has a word");
        let Some(spec) = load_schema().node(&kind.text) else { return self.unknown_kind(kind, nodes) };
        if spec.properties.is_empty() && spec.children.is_empty() {
            let message = format!("`--set` cannot change `{}`", spec.name);
            return self.fault(Code::UnknownField, kind, message, "change it in the file");
        }
        if spec.single {
            let message = format!("the file has no `{}` node", spec.name);
            let fault = self.fault(Code::UnknownName, kind, message, "not found");
            return fault.help("add it to the file; `--set` only changes nodes that exist");
        }
        let declared = list_declared_names(spec, nodes);
        let Some(name) = rest.first() else {
            let fault =
                self.fault(Code::UnknownField, kind, format!("which `{}`?", spec.name), "needs a name");
            return fault.help(self.declared_help(spec, &declared));
        };
        let message = format!("no `{}` is called `{}`", spec.name, name.text);
        let fault = self.fault(Code::UnknownName, name, message, "not declared");
        let near = suggest::find_closest_name(&name.text, declared.iter().copied());
        fault.help(match near {
            Some(near) => format!("did you mean `{}`?", self.path_with(1, near)),
            None => self.declared_help(spec, &declared),
        })
    }

    fn declared_help(&self, spec: &NodeSpec, declared: &[&str]) -> String {
        match declared {
            [] => format!("the file declares no `{}`", spec.name),
            _ => format!("declared: {}", suggest::format_name_list(declared.iter().copied())),
        }
    }

    /// The first word is not a kind of node; perhaps it is the name of a node, or misspelled.
    fn unknown_kind(&self, kind: &PathWord, nodes: &[KdlNode]) -> Diagnostic {
        let fault = self.fault(
            Code::UnknownNode,
            kind,
            format!("no node `{}` exists at the top level", kind.text),
            "a path starts with a kind of node",
        );
        let named = nodes.iter().find(|node| find_node_name(node) == Some(&kind.text));
        if let Some(named) = named {
            return fault.help(format!("did you mean `{}.{}`?", named.name().value(), self.path_text()));
        }
        if let Some(instead) = foreign_names::find_replacement(&kind.text) {
            return fault.help(instead);
        }
        if let Some(path) = find_declared_path(&kind.text, nodes) {
            return fault.help(format!("did you mean `{}`?", self.path_with(0, &path)));
        }
        let kinds = load_schema()
            .nodes
            .iter()
            .filter(|spec| !spec.properties.is_empty() || !spec.children.is_empty());
        let names: Vec<_> = kinds.map(|spec| spec.name.as_str()).collect();
        fault.help(match suggest::find_closest_name(&kind.text, names.iter().copied()) {
            Some(near) => format!("did you mean `{}`?", self.path_with(0, near)),
            None => format!("a path starts with one of {}", suggest::format_name_list(names.into_iter())),
        })
    }

    /// A node has neither a field nor a child of this name, or the path goes on after a field.
    pub(super) fn unknown(
        &self,
        node: &KdlNode,
        spec: &'static NodeSpec,
        word: &PathWord,
        after: &[PathWord],
    ) -> Diagnostic {
        if let Some(field) = spec.property(&word.text) {
            return self.path_beyond_field(node, spec, field, after);
        }
        let message = format!("`{}` has no field `{}`", spec.name, word.text);
        let fault = self.fault(Code::UnknownField, word, message, "unknown field");
        let at = self.position(word);
        if let Some(instead) = foreign_names::find_replacement(&word.text) {
            return fault.help(instead);
        }
        fault.help(match find_meant_field(spec, &word.text) {
            Some(near) => format!("did you mean `{}`?", self.path_with(at, &near)),
            None => list_possible_fields(spec),
        })
    }

    /// The path goes on after a field. If the field is a reference, its author probably meant the node that it names.
    fn path_beyond_field(
        &self,
        node: &KdlNode,
        spec: &NodeSpec,
        field: &FieldSpec,
        after: &[PathWord],
    ) -> Diagnostic {
        let message = format!("`{}` of `{}` has no fields of its own", field.name, spec.name);
        let (first, last) = after.first().zip(after.last()).expect("the path goes on after the field");
        let place = self.span(first, last);
        let fault = Diagnostic::new(Code::UnknownField, message).at(&place, "nothing to set here");
        let named = node.get(field.name.as_str()).and_then(|value| value.as_string());
        fault.help(match (field.to.as_slice(), named) {
            ([kind], Some(name)) => format!("did you mean `{kind}.{name}.{}`?", place.text()),
            _ => format!("end the path with `{}`", field.name),
        })
    }

    /// The path ends at a node that has no value of its own.
    pub(super) fn node_without_value(&self, spec: &'static NodeSpec) -> Diagnostic {
        let message = format!("`{}` has no value of its own", spec.name);
        let (first, last) = self.flag.path.first().zip(self.flag.path.last()).expect("a path is not empty");
        Diagnostic::new(Code::UnknownField, message)
            .at(&self.span(first, last), "add the name of a field")
            .help(list_possible_fields(spec))
    }

    /// Which word of the path this is.
    pub(super) fn position(&self, word: &PathWord) -> usize {
        self.flag.path.iter().position(|other| other == word).expect("the word is one of the path")
    }

    /// The path as it is written, without its `=`.
    fn path_text(&self) -> &str {
        self.file.text[..self.flag.value.start - 1].trim()
    }

    /// The whole path with the word at one index replaced.
    pub(super) fn path_with(&self, at: usize, word: &str) -> String {
        let words = self.flag.path.iter().enumerate();
        let words = words.map(|(number, own)| if number == at { word } else { own.text.as_str() });
        words.collect::<Vec<_>>().join(".")
    }
}

fn list_declared_names<'a>(spec: &NodeSpec, nodes: &'a [KdlNode]) -> Vec<&'a str> {
    nodes.iter().filter(|node| node.name().value() == spec.name).filter_map(find_node_name).collect()
}

/// The path of a field or child with this name, here or in another tool, in the first declaration that has one.
fn find_declared_path(word: &str, nodes: &[KdlNode]) -> Option<String> {
    // Fields of a recipe are set on the stages that use it.
    nodes.iter().filter(|node| node.name().value() != "recipe").find_map(|node| {
        let spec = load_schema().node(node.name().value())?;
        let field = find_field_or_alias(spec, word)?;
        match (spec.single, find_node_name(node)) {
            (true, _) => Some(format!("{}.{field}", spec.name)),
            (false, name) => Some(format!("{}.{}.{field}", spec.name, name?)),
        }
    })
}

/// The field that a word means, here or in another tool, in the node or one level below; or else the one with the closest
/// name.
fn find_meant_field(spec: &'static NodeSpec, word: &str) -> Option<String> {
    find_field_or_alias(spec, word).or_else(|| {
        let names = spec.properties.iter().map(|field| field.name.as_str());
        let names = names.chain(spec.children.iter().map(|child| child.name.as_str()));
        suggest::find_closest_name(word, names).map(str::to_owned)
    })
}

/// The field with this name, here or in another tool, in the node or one level below.
fn find_field_or_alias(spec: &'static NodeSpec, word: &str) -> Option<String> {
    let normal = suggest::normalize_name(word);
    let same = |name: &str, aliases: &[String]| {
        name == normal || aliases.iter().any(|alias| suggest::normalize_name(alias) == normal)
    };
    let own = spec
        .properties
        .iter()
        .find(|field| same(&field.name, &field.aliases))
        .map(|field| field.name.clone());
    let below = || {
        let single = spec.children.iter().filter(|child| child.single);
        single.into_iter().find_map(|child| {
            let field = child.properties.iter().find(|field| same(&field.name, &field.aliases));
            field.map(|field| format!("{}.{}", child.name, field.name))
        })
    };
    let child = spec.children.iter().find(|child| same(&child.name, &child.aliases));
    let child = child.filter(|child| find_own_argument(child).is_some()).map(|child| child.name.clone());
    own.or(child).or_else(below)
}

/// Help with the fields and children that can follow in the path.
fn list_possible_fields(spec: &'static NodeSpec) -> String {
    let names = spec.properties.iter().map(|field| field.name.as_str());
    let names = names.chain(spec.children.iter().map(|child| child.name.as_str()));
    let names = suggest::format_name_list(names);
    match names.is_empty() {
        true => format!("`{}` has no fields that can be set", spec.name),
        false => format!("allowed here: {names}"),
    }
}
