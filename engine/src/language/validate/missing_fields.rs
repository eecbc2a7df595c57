//! Reports missing fields with help that can be pasted: an accepted word, a declared name, or a sensible number.

#[cfg(test)]
mod tests;

use kdl::{KdlDocument, KdlEntry, KdlNode};

use super::Validator;
use crate::language::record::Record;
use crate::language::schema::{FieldSpec, FieldType, NodeSpec, load_schema};
use crate::text::diagnostic::{Code, Diagnostic};

/// A declaration with its kind, its name and its global byte range.
pub(super) struct DeclaredNode {
    kind: String,
    name: String,
    start: usize,
    end: usize,
}

impl DeclaredNode {
    pub(super) fn from_nodes(nodes: &[KdlNode]) -> Vec<Self> {
        let declared = nodes.iter().filter_map(|raw| {
            let (kind, span) = (raw.name().value().to_owned(), raw.span());
            let (start, end) = (span.offset(), span.offset() + span.len());
            Some(Self { kind, name: raw.get(0)?.as_string()?.to_owned(), start, end })
        });
        declared.collect()
    }
}

impl Validator<'_> {
    /// Whether any node declares the name in a value.
    pub(super) fn declares(&self, entry: &KdlEntry) -> bool {
        let name = entry.value().as_string();
        self.declared.iter().any(|declared| Some(declared.name.as_str()) == name)
    }

    pub(super) fn report_missing_fields(&mut self, raw: &KdlNode, record: &Record, missing: &[&FieldSpec]) {
        let spec = record.spec;
        if let Some((message, help)) = self.describe_alternatives(raw, spec, missing) {
            let fault = Diagnostic::new(Code::MissingField, message).at(&record.span, "incomplete");
            self.sink.push(fault.help(help));
            return;
        }
        // Of two fields that can replace each other, only the first is reported.
        let mut wanted: Vec<&FieldSpec> = Vec::new();
        for field in missing {
            let is_alternative = |other: &&FieldSpec| find_alternative_field(field) == Some(&other.name);
            if !wanted.iter().any(is_alternative) {
                wanted.push(field);
            }
        }
        let needs =
            wanted.iter().map(|field| match (is_positional(spec, field), find_alternative_field(field)) {
                (true, _) => describe_field_types(field),
                (false, None) => format!("`{}`", field.name),
                (false, Some(other)) => format!("`{}` or `{other}`", field.name),
            });
        let message = format!("`{}` needs {}", spec.name, needs.collect::<Vec<_>>().join(" and "));
        let help = wanted.iter().map(|field| {
            let text = self.with_dependents(raw, spec, field);
            let (verb, text) = match is_positional(spec, field) {
                true => ("write", format!("{} {text}", spec.name)),
                false => ("add", format!("{}={text}", field.name)),
            };
            format!(
                "{verb} `{text}`: {}. {}{}",
                describe_field_types(field),
                field.doc,
                self.undeclared_help(raw, field)
            )
        });
        let help = help.collect::<Vec<_>>().join("\n");
        self.sink
            .push(Diagnostic::new(Code::MissingField, message).at(&record.span, "incomplete").help(help));
    }

    /// Message and help if one field can replace all missing ones: both ways to write it.
    fn describe_alternatives(
        &self,
        raw: &KdlNode,
        spec: &NodeSpec,
        missing: &[&FieldSpec],
    ) -> Option<(String, String)> {
        let [first, _, ..] = missing else { return None };
        let other = find_alternative_field(first)
            .filter(|other| missing.iter().all(|field| find_alternative_field(field) == Some(other)))?;
        let other = spec.properties.iter().find(|field| field.name == *other)?;
        let names: Vec<_> = missing.iter().map(|field| format!("`{}`", field.name)).collect();
        let message = format!("`{}` needs {}, or `{}`", spec.name, names.join(" and "), other.name);
        let paste = |field: &FieldSpec| format!("{}={}", field.name, self.example_to_paste(raw, spec, field));
        let own: Vec<_> = missing.iter().map(|field| paste(field)).collect();
        let what = other.doc.split([',', '.']).next().expect("a split text has a first part");
        let what = what.replacen("Field with ", "", 1);
        Some((message, format!("add `{}`, or `{}` for {what}", own.join(" "), paste(other))))
    }

    /// A value for the field, followed by the fields that this value makes necessary.
    fn with_dependents(&self, raw: &KdlNode, spec: &NodeSpec, field: &FieldSpec) -> String {
        let mut text = self.example_to_paste(raw, spec, field);
        let word = text.trim_matches('"').to_owned();
        let child = |name: &str| raw.iter_children().any(|child| child.name().value() == name);
        let applies = |other: &&FieldSpec| {
            let when = other.when.as_ref().filter(|when| when.field == field.name);
            when.is_some_and(|when| when.values.contains(&word))
        };
        let mut added: Vec<&FieldSpec> = Vec::new();
        for other in spec.properties.iter().filter(applies) {
            let is_set = |name: &String| {
                raw.get(name.as_str()).is_some() || child(name) || added.iter().any(|own| own.name == *name)
            };
            let needed = other.required || other.required_unless.as_ref().is_some_and(|name| !is_set(name));
            if needed && !is_set(&other.name) {
                text += &format!(" {}={}", other.name, self.example_to_paste(raw, spec, other));
                added.push(other);
            }
        }
        text
    }

    /// A value that the field accepts at this place.
    fn example_to_paste(&self, raw: &KdlNode, spec: &NodeSpec, field: &FieldSpec) -> String {
        let word =
            || field.words.iter().find(|word| !field.not_yet.contains(word)).map(|word| quote_text(word));
        let example = || find_example_value(spec, field);
        let value = match field.types.as_slice() {
            [FieldType::Name, ..] => example().map(|name| self.unused_name(&name)),
            types if types.contains(&FieldType::Ref) => self
                .nearest_declaration(raw, field)
                .map(|name| quote_text(&name))
                .or_else(|| find_example_name(field)),
            _ => word().or_else(|| field.sample.clone()),
        };
        value.or_else(example).unwrap_or_else(|| "...".to_owned())
    }

    /// The nearest declaration before this place that the field can refer to, or else a later one. A later one must be of
    /// another kind than the node around this place; otherwise two nodes could end up referring to each other.
    fn nearest_declaration(&self, raw: &KdlNode, field: &FieldSpec) -> Option<String> {
        let here = raw.span().offset();
        let around = |declared: &&DeclaredNode| (declared.start..declared.end).contains(&here);
        let own = self.declared.iter().find(around).map_or(raw.name().value(), |around| &around.kind);
        let all = || self.declared.iter().filter(|declared| field.to.contains(&declared.kind));
        let before = all().filter(|declared| declared.end <= here).max_by_key(|declared| declared.start);
        let later = || all().find(|declared| declared.start > here && declared.kind != own);
        before.or_else(later).map(|declared| declared.name.clone())
    }

    /// How to declare something that the field can refer to, if nothing suitable is declared.
    fn undeclared_help(&self, raw: &KdlNode, field: &FieldSpec) -> String {
        let nothing = field.types.contains(&FieldType::Ref) && self.nearest_declaration(raw, field).is_none();
        let spec = field.to.first().filter(|_| nothing).and_then(|kind| load_schema().node(kind));
        let example = spec.and_then(|spec| spec.example.as_ref());
        example.map_or_else(String::new, |example| format!(" None is declared yet: add `{example}`."))
    }

    /// The example name in quotes, with a number if it is already taken.
    fn unused_name(&self, example: &str) -> String {
        let name = example.trim_matches('"');
        let taken = |name: &str| self.declared.iter().any(|declared| declared.name == name);
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        quote_text(&names.find(|name| !taken(name)).expect("there is no end of numbers"))
    }
}

fn quote_text(text: &str) -> String {
    format!("\"{text}\"")
}

fn is_positional(spec: &NodeSpec, field: &FieldSpec) -> bool {
    spec.arguments.iter().any(|argument| argument.name == field.name)
}

/// The other field that can replace this one.
fn find_alternative_field(field: &FieldSpec) -> Option<&String> {
    field.required_unless.as_ref().filter(|other| **other != field.name)
}

fn describe_field_types(field: &FieldSpec) -> String {
    let kinds: Vec<_> = field.types.iter().map(|kind| kind.phrase(field)).collect();
    kinds.join(" or ")
}

/// The value of a field in the example of its node, as it is written there.
fn find_example_value(spec: &NodeSpec, field: &FieldSpec) -> Option<String> {
    let document = KdlDocument::parse_v2(spec.example.as_deref()?).ok()?;
    let node = document.nodes().first()?;
    let mut arguments = node.entries().iter().filter(|entry| entry.name().is_none());
    let entry = match spec.arguments.iter().position(|argument| argument.name == field.name) {
        Some(at) => arguments.nth(at),
        None => node.entry(field.name.as_str()),
    };
    Some(entry?.format()?.value_repr.clone())
}

/// The name that the example of the first accepted kind declares, for fields that refer to something undeclared.
fn find_example_name(field: &FieldSpec) -> Option<String> {
    let spec = load_schema().node(field.to.first()?)?;
    find_example_value(spec, spec.arguments.first()?)
}
