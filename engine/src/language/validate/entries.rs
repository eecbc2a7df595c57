//! Validates the arguments and properties of one node.

use kdl::{KdlEntry, KdlNode};

use super::Validator;
use crate::language::record::{Leaf, Record};
use crate::language::schema::{
    CanonicalValue, FieldSpec, FieldType, NodeSpec, foreign_names, load_schema, value,
};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::Span;
use crate::text::suggest;

impl Validator<'_> {
    pub(super) fn entries(&mut self, raw: &KdlNode, record: &mut Record) {
        let spec = record.spec;
        let mut position = self.add_free_name(raw, record);
        let mut written: Vec<(String, Span)> = Vec::new();
        let mut failed: Vec<String> = Vec::new();
        let mut trapped = 0;
        for (at, entry) in raw.entries().iter().enumerate() {
            if at < trapped {
                continue;
            }
            if let Some((length, field)) = self.report_trap(raw, at, spec) {
                trapped = at + length;
                position += usize::from(entry.name().is_none());
                failed.extend(field);
                continue;
            }
            if let Some(annotation) = entry.ty() {
                self.report_annotation(annotation);
            }
            let field = match entry.name() {
                Some(name) => {
                    self.report_repeated(name, spec, &mut written);
                    self.find_property(name, entry, spec, &mut failed)
                }
                None => {
                    position += 1;
                    self.find_argument(entry, spec, position, &mut failed)
                }
            };
            let Some(field) = field else { continue };
            match self.build_leaf(entry, spec, field) {
                Some(leaf) => {
                    if !field.many {
                        record.leaves.retain(|old| old.spec.name != field.name);
                    }
                    record.leaves.push(leaf);
                }
                None => {
                    record.broken = true;
                    failed.push(field.name.clone());
                }
            }
        }
        self.finish_fields(raw, record, &failed);
    }

    /// The name of a node that stands for another is the first argument of that one. Returns how many arguments that makes.
    fn add_free_name(&mut self, raw: &KdlNode, record: &mut Record) -> usize {
        let name = raw.name();
        let Some(field) =
            record.spec.arguments.first().filter(|_| record.spec.free && record.spec.name != name.value())
        else {
            return 0;
        };
        let value = CanonicalValue::Text(name.value().to_owned());
        record.leaves.push(build_written_leaf(field, value, self.span(name.span())));
        1
    }

    fn find_property(
        &mut self,
        name: &kdl::KdlIdentifier,
        entry: &KdlEntry,
        spec: &'static NodeSpec,
        failed: &mut Vec<String>,
    ) -> Option<&'static FieldSpec> {
        if let Some(field) = spec.property(name.value()) {
            self.report_old_name(entry, spec, field);
            return Some(field);
        }
        let near = find_similar_field(name.value(), spec);
        let argument = spec.arguments.iter().find(|field| has_field_name(field, name.value()));
        failed.extend(near.or(argument).map(|field| field.name.clone()));
        let of_other = foreign_names::find_replacement(name.value()).and(spec.arguments.first());
        failed.extend(of_other.map(|field| field.name.clone()));
        let value = self.sources.value(entry);
        let parent = find_parent_field(name.value(), entry, spec);
        failed.extend(parent.map(|field| field.name.clone()));
        let help =
            match (foreign_names::compute_replacement(name.value(), value.text(), &self.known), near, parent)
            {
                (Some(instead), ..) => Some(instead),
                (None, Some(field), _) => Some(format!("did you mean `{}`?", field.name)),
                (None, None, Some(field)) => Some(format!("write `{}={}`", field.name, value.text())),
                (None, None, None) => self.other_form_help(name.value(), value.text(), spec),
            };
        let message = format!("`{}` has no field `{}`", spec.name, name.value());
        self.sink.push(
            Diagnostic::new(Code::UnknownField, message)
                .at(&self.span(name.span()), "unknown field")
                .maybe_help(help),
        );
        None
    }

    /// Help for an unknown property: it is a child node, an argument, a field elsewhere, or else the list of fields.
    fn other_form_help(&self, name: &str, value: &str, spec: &NodeSpec) -> Option<String> {
        if let Some(child) =
            spec.children.iter().find(|child| has_name_or_alias(&child.name, &child.aliases, name))
        {
            let alone =
                child.arguments.iter().any(|field| field.name == "value") && child.properties.is_empty();
            let example = child.example.clone().filter(|_| !alone);
            let example = example.unwrap_or_else(|| format!("{} {value}", child.name));
            return Some(format!("write it as a node between the braces: `{example}`"));
        }
        if spec.arguments.iter().any(|field| has_field_name(field, name)) {
            return Some(format!("write the value alone: `{} {value}`", spec.name));
        }
        if let Some(place) = foreign_names::describe_location(name) {
            return Some(format!("did you mean {place}?"));
        }
        if spec.properties.is_empty() {
            return Some(format!("`{}` has no properties", spec.name));
        }
        let names = suggest::format_name_list(spec.properties.iter().map(|field| field.name.as_str()));
        Some(format!("its fields: {names}"))
    }

    fn find_argument(
        &mut self,
        entry: &KdlEntry,
        spec: &'static NodeSpec,
        position: usize,
        failed: &mut Vec<String>,
    ) -> Option<&'static FieldSpec> {
        let many = spec.arguments.last().filter(|field| field.many);
        if let Some(field) = spec.arguments.get(position - 1).or(many) {
            return Some(field);
        }
        let taken = match spec.arguments.len() {
            0 => "does not take values without a name".to_owned(),
            1 => "takes one value".to_owned(),
            count => format!("takes {count} values"),
        };
        let surplus = position - 1 - spec.arguments.len();
        let required = spec.properties.iter().filter(|field| field.required).nth(surplus);
        failed.extend(required.map(|field| field.name.clone()));
        let span = self.sources.value(entry);
        let text = span.text();
        let fits = |field: &&FieldSpec| value::accept_value(field, entry.value()).is_ok();
        let again = spec.arguments.last().filter(|last| {
            !spec.single && required.is_none() && last.types == [FieldType::Text] && fits(last)
        });
        let help = match (required.or(spec.properties.first()), &spec.example) {
            _ if again.is_some() => format!("write another one, `{} {text}`", spec.name),
            (Some(field), None) => format!("name it, as in `{} {}={text}`", spec.name, field.name),
            (Some(field), _) if fits(&field) => {
                format!("name it, as in `{} {}={text}`", spec.name, field.name)
            }
            (Some(_), Some(example)) => format!("every value needs a name here, as in `{example}`"),
            (None, _) => "remove it".to_owned(),
        };
        self.sink.push(
            Diagnostic::new(Code::UnknownField, format!("`{}` {taken}", spec.name))
                .at(&span, "one value too many")
                .help(help),
        );
        None
    }

    fn build_leaf(&mut self, entry: &KdlEntry, spec: &NodeSpec, field: &'static FieldSpec) -> Option<Leaf> {
        let span = self.sources.value(entry);
        match value::accept_value(field, entry.value()) {
            Ok(value) if field.types == [FieldType::Name] => self.build_name_leaf(value, span, field),
            Ok(value) => Some(build_written_leaf(field, value, span)),
            // An invalid name has been reported at its declaration.
            Err(_) if field.types.contains(&FieldType::Ref) && self.declares(entry) => None,
            Err(fault) => {
                let message = format!("{} {}", describe_field_place(spec, field), fault.message);
                let example = spec.example_of(field).filter(|_| fault.code == Code::OutOfRange);
                let example = example.map(|example| format!("as in `{example}`"));
                let share =
                    ["warmup", "decay"].contains(&field.name.as_str()) && fault.code == Code::WrongType;
                let share = share
                    .then(|| foreign_names::suggest_share_updates(&field.name, span.text(), &self.known))
                    .flatten();
                let help: Vec<_> = share.or(fault.help).into_iter().chain(example).collect();
                let help = (!help.is_empty()).then(|| help.join("; "));
                self.sink.push(Diagnostic::new(fault.code, message).at(&span, fault.label).maybe_help(help));
                None
            }
        }
    }

    /// Checks a declared name. Names must be plain, because they become names of folders and files.
    fn build_name_leaf(
        &mut self,
        value: CanonicalValue,
        span: Span,
        field: &'static FieldSpec,
    ) -> Option<Leaf> {
        let CanonicalValue::Name(name) = &value else { unreachable!("a field of names takes {value:?}") };
        if is_valid_name(name) {
            return Some(build_written_leaf(field, value, span));
        }
        let better: String =
            name.chars().map(|letter| if is_name_letter(letter) { letter } else { '-' }).collect();
        let better = better.trim_start_matches(['.', '-']).chars().take(40).collect::<String>();
        let name: String = name.chars().take(40).collect();
        let help =
            if better.is_empty() { "write a word".to_owned() } else { format!("write `\"{better}\"`") };
        self.sink.push(
            Diagnostic::new(Code::InvalidName, format!("`{name}` is not a valid name"))
                .at(&span, "at most 100 letters, digits, `-`, `_` and `.`")
                .help(help),
        );
        None
    }
}

/// Whether a text is a valid name for a declaration.
pub(super) fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 100 && name.chars().all(is_name_letter) && !name.starts_with(['.', '-'])
}

fn is_name_letter(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.')
}

fn build_written_leaf(spec: &'static FieldSpec, value: CanonicalValue, span: Span) -> Leaf {
    Leaf { spec, value, origin: span.origin(), span }
}

/// `` `warmup` of `learning-rate` ``, or `` `steps` `` for an argument that is known by the name of its node.
pub(super) fn describe_field_place(spec: &NodeSpec, field: &FieldSpec) -> String {
    if field.name == "value" {
        format!("`{}`", spec.name)
    } else {
        format!("`{}` of `{}`", field.name, spec.name)
    }
}

/// Whether a field is called `name`, here or in another tool.
fn has_field_name(field: &FieldSpec, name: &str) -> bool {
    has_name_or_alias(&field.name, &field.aliases, name)
}

/// The field `from`, if `name` is what other tools call the path of a checkpoint and the value looks like the name of a stage.
fn find_parent_field(name: &str, entry: &KdlEntry, spec: &'static NodeSpec) -> Option<&'static FieldSpec> {
    let fetched = load_schema().node("fetch")?.properties.iter().find(|field| field.name == "from")?;
    let text = entry.value().as_string()?;
    let stage = has_field_name(fetched, name) && !text.contains('/');
    spec.properties
        .iter()
        .find(|field| stage && field.name == "from" && field.types.contains(&FieldType::Ref))
}

fn has_name_or_alias(own: &str, aliases: &[String], name: &str) -> bool {
    let normal = suggest::normalize_name(name);
    own == normal || aliases.iter().any(|alias| suggest::normalize_name(alias) == normal)
}

fn find_similar_field(name: &str, spec: &'static NodeSpec) -> Option<&'static FieldSpec> {
    let normal = suggest::normalize_name(name);
    let alias =
        |field: &&FieldSpec| field.aliases.iter().any(|alias| suggest::normalize_name(alias) == normal);
    let by_name = spec.properties.iter().find(|field| field.name == normal);
    by_name.or_else(|| spec.properties.iter().find(alias)).or_else(|| {
        if spec.child(&normal).is_some() {
            return None;
        }
        let near = suggest::find_closest_name(name, spec.properties.iter().map(|field| field.name.as_str()))?;
        spec.properties.iter().find(|field| field.name == near)
    })
}
