//! Arguments and properties of one node.

use kdl::{KdlEntry, KdlNode};

use super::Validator;
use crate::language::record::{Leaf, Record};
use crate::language::schema::{FieldSpec, NodeSpec, Type, Value, elsewhere, schema, value};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::Span;
use crate::text::suggest;

impl Validator<'_> {
    pub(super) fn entries(&mut self, raw: &KdlNode, record: &mut Record) {
        let spec = record.spec;
        let mut position = 0;
        let mut written: Vec<(String, Span)> = Vec::new();
        let mut failed: Vec<String> = Vec::new();
        let mut trapped = 0;
        for (at, entry) in raw.entries().iter().enumerate() {
            if at < trapped {
                continue;
            }
            if let Some((length, field)) = self.trap(raw, at, spec) {
                trapped = at + length;
                position += usize::from(entry.name().is_none());
                failed.extend(field);
                continue;
            }
            if let Some(annotation) = entry.ty() {
                self.annotation(annotation);
            }
            let field = match entry.name() {
                Some(name) => {
                    self.repeated(name, &mut written);
                    self.property(name, entry, spec, &mut failed)
                }
                None => {
                    position += 1;
                    self.argument(entry, spec, position, &mut failed)
                }
            };
            let Some(field) = field else { continue };
            match self.leaf(entry, spec, field) {
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
        self.conclude(raw, record, &failed);
    }

    fn repeated(&mut self, name: &kdl::KdlIdentifier, written: &mut Vec<(String, Span)>) {
        let span = self.span(name.span());
        if let Some((_, first)) = written.iter().find(|(other, _)| other == name.value()) {
            let message = format!("`{}` is written twice", name.value());
            self.sink.push(
                Diagnostic::new(Code::DuplicateField, message)
                    .at(&span, "again here")
                    .also(first, "first here")
                    .help(format!("keep one `{}=`", name.value())),
            );
        }
        written.push((name.value().to_owned(), span));
    }

    fn property(
        &mut self,
        name: &kdl::KdlIdentifier,
        entry: &KdlEntry,
        spec: &'static NodeSpec,
        failed: &mut Vec<String>,
    ) -> Option<&'static FieldSpec> {
        if let Some(field) = spec.properties.iter().find(|field| field.name == name.value()) {
            return Some(field);
        }
        let near = similar(name.value(), spec);
        let argument = spec.arguments.iter().find(|field| is(field, name.value()));
        failed.extend(near.or(argument).map(|field| field.name.clone()));
        let of_other = elsewhere::instead(name.value()).and(spec.arguments.first());
        failed.extend(of_other.map(|field| field.name.clone()));
        let value = self.sources.value(entry);
        let parent = parent(name.value(), entry, spec);
        failed.extend(parent.map(|field| field.name.clone()));
        let help = match (elsewhere::instead_of(name.value(), value.text(), &self.known), near, parent) {
            (Some(instead), ..) => Some(instead),
            (None, Some(field), _) => Some(format!("did you mean `{}`?", field.name)),
            (None, None, Some(field)) => Some(format!("write `{}={}`", field.name, value.text())),
            (None, None, None) => self.other_form(name.value(), value.text(), spec),
        };
        let message = format!("`{}` has no field `{}`", spec.name, name.value());
        self.sink.push(
            Diagnostic::new(Code::UnknownField, message)
                .at(&self.span(name.span()), "unknown field")
                .maybe_help(help),
        );
        None
    }

    /// Help when the field is an argument or a node, or else the list of fields.
    fn other_form(&self, name: &str, value: &str, spec: &NodeSpec) -> Option<String> {
        if let Some(child) = spec.children.iter().find(|child| named(&child.name, &child.aliases, name)) {
            let example = child.example.clone().unwrap_or_else(|| format!("{} ...", child.name));
            return Some(format!("write it as a node between the braces: `{example}`"));
        }
        if spec.arguments.iter().any(|field| is(field, name)) {
            return Some(format!("write the value alone: `{} {value}`", spec.name));
        }
        if let Some(place) = elsewhere::place(name) {
            return Some(format!("did you mean {place}?"));
        }
        if spec.properties.is_empty() {
            return Some(format!("`{}` has no properties", spec.name));
        }
        let names = suggest::list(spec.properties.iter().map(|field| field.name.as_str()));
        Some(format!("its fields: {names}"))
    }

    fn argument(
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
            0 => "takes no values without a name".to_owned(),
            1 => "takes one value".to_owned(),
            count => format!("takes {count} values"),
        };
        let surplus = position - 1 - spec.arguments.len();
        let required = spec.properties.iter().filter(|field| field.required).nth(surplus);
        failed.extend(required.map(|field| field.name.clone()));
        let span = self.sources.value(entry);
        let text = span.text();
        let fits = |field: &&FieldSpec| value::accept(field, entry.value()).is_ok();
        let help = match (required.or(spec.properties.first()), &spec.example) {
            (Some(field), None) => format!("name it, as in `{} {}={text}`", spec.name, field.name),
            (Some(field), _) if fits(&field) => {
                format!("name it, as in `{} {}={text}`", spec.name, field.name)
            }
            (Some(_), Some(example)) => format!("every value has a name here, as in `{example}`"),
            (None, _) => "remove it".to_owned(),
        };
        self.sink.push(
            Diagnostic::new(Code::UnknownField, format!("`{}` {taken}", spec.name))
                .at(&span, "one value too many")
                .help(help),
        );
        None
    }

    fn leaf(&mut self, entry: &KdlEntry, spec: &NodeSpec, field: &'static FieldSpec) -> Option<Leaf> {
        let span = self.sources.value(entry);
        match value::accept(field, entry.value()) {
            Ok(value) if field.types == [Type::Name] => self.named(value, span, field),
            Ok(value) => Some(written(field, value, span)),
            // What cannot be a name was told where it is declared.
            Err(_) if field.types.contains(&Type::Ref) && self.declares(entry) => None,
            Err(fault) => {
                let message = format!("{} {}", called(spec, field), fault.message);
                let example = spec.example_of(field).filter(|_| fault.code == Code::OutOfRange);
                let example = example.map(|example| format!("as in `{example}`"));
                let share =
                    ["warmup", "decay"].contains(&field.name.as_str()) && fault.code == Code::WrongType;
                let share = share.then(|| elsewhere::share(&field.name, span.text(), &self.known)).flatten();
                let help: Vec<_> = share.or(fault.help).into_iter().chain(example).collect();
                let help = (!help.is_empty()).then(|| help.join("; "));
                self.sink.push(Diagnostic::new(fault.code, message).at(&span, fault.label).maybe_help(help));
                None
            }
        }
    }

    /// Names become folders' names and file names: they are kept plain.
    fn named(&mut self, value: Value, span: Span, field: &'static FieldSpec) -> Option<Leaf> {
        let Value::Name(name) = &value else { return None };
        if is_name(name) {
            return Some(written(field, value, span));
        }
        let better: String = name.chars().map(|letter| if plain(letter) { letter } else { '-' }).collect();
        let better = better.trim_start_matches(['.', '-']).chars().take(40).collect::<String>();
        let name: String = name.chars().take(40).collect();
        let help =
            if better.is_empty() { "write a word".to_owned() } else { format!("write `\"{better}\"`") };
        self.sink.push(
            Diagnostic::new(Code::InvalidName, format!("`{name}` cannot be a name"))
                .at(&span, "at most 100 letters, digits, `-`, `_` and `.`")
                .help(help),
        );
        None
    }
}

/// Whether a text may be the name of a declaration.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 100 && name.chars().all(plain) && !name.starts_with(['.', '-'])
}

fn plain(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.')
}

fn written(spec: &'static FieldSpec, value: Value, span: Span) -> Leaf {
    Leaf { spec, value, origin: span.origin(), span }
}

/// `` `warmup` of `learning-rate` ``, or `` `steps` `` for the argument that shares its node's name.
pub(super) fn called(spec: &NodeSpec, field: &FieldSpec) -> String {
    if field.name == "value" {
        format!("`{}`", spec.name)
    } else {
        format!("`{}` of `{}`", field.name, spec.name)
    }
}

/// Whether a field has this name, here or in another tool.
fn is(field: &FieldSpec, name: &str) -> bool {
    named(&field.name, &field.aliases, name)
}

/// The field that a stage goes on from, for the name that other tools give to a checkpoint, with a stage's name as its value.
fn parent(name: &str, entry: &KdlEntry, spec: &'static NodeSpec) -> Option<&'static FieldSpec> {
    let fetched = schema().node("fetch")?.properties.iter().find(|field| field.name == "from")?;
    let text = entry.value().as_string()?;
    let stage = is(fetched, name) && !text.contains('/');
    spec.properties.iter().find(|field| stage && field.name == "from" && field.types.contains(&Type::Ref))
}

fn named(own: &str, aliases: &[String], name: &str) -> bool {
    let normal = suggest::normal(name);
    own == normal || aliases.iter().any(|alias| suggest::normal(alias) == normal)
}

fn similar(name: &str, spec: &'static NodeSpec) -> Option<&'static FieldSpec> {
    let normal = suggest::normal(name);
    let alias = |field: &&FieldSpec| field.aliases.iter().any(|alias| suggest::normal(alias) == normal);
    let by_name = spec.properties.iter().find(|field| field.name == normal);
    by_name.or_else(|| spec.properties.iter().find(alias)).or_else(|| {
        if spec.child(&normal).is_some() {
            return None;
        }
        let near = suggest::closest(name, spec.properties.iter().map(|field| field.name.as_str()))?;
        spec.properties.iter().find(|field| field.name == near)
    })
}
