//! Validates KDL nodes against the field table and turns them into records. Problems go to the sink.

mod complete;
mod entries;
mod field_names;
mod foreign_forms;
mod missing_fields;
mod traps;

use kdl::KdlNode;

use self::foreign_forms::find_known_counts;
use self::missing_fields::DeclaredNode;
use crate::language::config_files::ConfigFiles;
use crate::language::record::Record;
use crate::language::schema::foreign_names::KnownCounts;
use crate::language::schema::{NodeSpec, foreign_names, load_schema, visit_node_specs};
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;
use crate::text::suggest;

/// Validates the nodes of a configuration. Returns one record for each known top-level node, with recipes merged and
/// defaults filled in, and the names of the nodes that could not be understood.
pub(crate) fn validate_nodes(
    sources: &ConfigFiles,
    nodes: &[KdlNode],
    sink: &mut Sink,
) -> (Vec<Record>, Vec<String>) {
    let (declared, known) = (DeclaredNode::from_nodes(nodes), KnownCounts::default());
    let mut validator = Validator { sources, declared, known, sink };
    let mut records = validator.top_level(nodes);
    let recipes: Vec<_> = records.iter().filter(|record| record.spec.name == "recipe").cloned().collect();
    for record in &mut records {
        validator.merge_recipe(record, &recipes);
        validator.complete(record);
    }
    (records, collect_unresolved_names(nodes))
}

/// The names that unknown top-level nodes declare, and names that are invalid.
fn collect_unresolved_names(nodes: &[KdlNode]) -> Vec<String> {
    let names = nodes.iter().filter_map(|raw| Some((raw, raw.get(0)?.as_string()?)));
    let lost = names.filter(|(raw, name)| {
        load_schema().node(raw.name().value()).is_none() || !entries::is_valid_name(name)
    });
    lost.map(|(_, name)| name.to_owned()).collect()
}

struct Validator<'a> {
    sources: &'a ConfigFiles,
    declared: Vec<DeclaredNode>,
    sink: &'a mut Sink,
    /// Counts of the current top-level node, for suggestions.
    known: KnownCounts,
}

impl Validator<'_> {
    fn span(&self, span: miette::SourceSpan) -> Span {
        self.sources.span(span)
    }

    fn top_level(&mut self, nodes: &[KdlNode]) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        let specs = &load_schema().nodes;
        for raw in nodes {
            let Some(spec) = self.find_spec(raw, specs, "the top level", &mut Vec::new()) else { continue };
            if let Some(first) = self.first_of_single(spec, &records) {
                self.report_duplicate(raw, spec, &first);
                continue;
            }
            self.known = find_known_counts(raw, nodes);
            records.push(self.node(raw, spec));
        }
        records
    }

    /// The record of a node. Its fields are complete; missing children are reported later, after recipes are merged.
    fn node(&mut self, raw: &KdlNode, spec: &'static NodeSpec) -> Record {
        let before = self.sink.errors();
        let span = self.span(raw.name().span());
        let mut record = Record {
            spec,
            origin: span.origin(),
            span,
            leaves: Vec::new(),
            children: Vec::new(),
            broken: false,
            excused: Vec::new(),
            pinned: None,
        };
        if let Some(annotation) = raw.ty() {
            self.report_annotation(annotation);
        }
        self.entries(raw, &mut record);
        self.validate_children(raw, &mut record);
        record.broken |= self.sink.errors() > before;
        record
    }

    fn validate_children(&mut self, raw: &KdlNode, record: &mut Record) {
        let spec = record.spec;
        let place = format!("`{}`", spec.name);
        for raw in raw.iter_children() {
            let Some(child) = self.find_spec(raw, &spec.children, &place, &mut record.excused) else {
                self.report_property_as_node(raw, spec);
                continue;
            };
            if let Some(first) = self.first_of_single(child, &record.children) {
                self.report_duplicate(raw, child, &first);
                continue;
            }
            let made = self.node(raw, child);
            self.report_duplicate_key(&made, &record.children);
            record.children.push(made);
        }
    }

    /// The row of the table for a node. `None` after a diagnostic, or if [`Self::report_property_as_node`] will report it.
    fn find_spec(
        &mut self,
        raw: &KdlNode,
        specs: &'static [NodeSpec],
        place: &str,
        excused: &mut Vec<String>,
    ) -> Option<&'static NodeSpec> {
        let name = raw.name().value();
        if let Some(spec) = specs.iter().find(|spec| spec.name == name) {
            return Some(spec);
        }
        if let Some(free) = specs.iter().find(|spec| spec.free) {
            return Some(free);
        }
        let near = find_similar_node(name, specs);
        excused.extend(near.map(|spec| spec.name.clone()));
        let span = self.span(raw.name().span());
        if let Some(diagnostic) = self.trailing_colon(raw, near) {
            self.sink.push(diagnostic.at(&span, "remove the colon"));
            return None;
        }
        if let Some((diagnostic, meant)) = self.foreign_form(raw, specs) {
            excused.push(meant);
            self.sink.push(diagnostic.at(&span, "the syntax of another language"));
            return None;
        }
        if specs.is_empty() || near.is_none() && self.is_property(name, place) {
            return None;
        }
        let help = self.help_for_unknown(raw, specs, near, place, excused);
        let message =
            format!("no node `{name}` exists in {place}").replace("in the top level", "at the top level");
        self.sink.push(Diagnostic::new(Code::UnknownNode, message).at(&span, "unknown node").help(help));
        None
    }

    /// Help for an unknown node: the first suggestion that fits.
    fn help_for_unknown(
        &self,
        raw: &KdlNode,
        specs: &'static [NodeSpec],
        near: Option<&NodeSpec>,
        place: &str,
        excused: &mut Vec<String>,
    ) -> String {
        let name = raw.name().value();
        let comment =
            ["--", "%", "<!--", "*", "rem", ";"].iter().any(|start| name.to_lowercase().starts_with(start));
        let top = load_schema().node(name).filter(|_| place != "the top level");
        foreign_names::compute_replacement(name, &self.values(raw), &self.known)
            .or_else(|| near.map(|spec| format_node_suggestion(name, spec)))
            .or_else(|| comment.then(|| "a comment starts with `//`".to_owned()))
            .or_else(|| suggest_keyed_node(raw, specs, excused))
            .or_else(|| top.map(|_| format!("`{name}` belongs at the top level, outside these braces")))
            .or_else(|| foreign_names::describe_location(name).map(|place| format!("did you mean {place}?")))
            .unwrap_or_else(|| {
                format!(
                    "allowed here: {}",
                    suggest::format_name_list(specs.iter().map(|spec| spec.name.as_str()))
                )
            })
    }

    /// Whether `name` is a property of the node called `place`, which gets a message of its own.
    fn is_property(&self, name: &str, place: &str) -> bool {
        let name = suggest::normalize_name(name);
        let place = place.trim_matches('`');
        let mut found = false;
        for top in &load_schema().nodes {
            visit_node_specs(top, &mut |spec| {
                found |= spec.name == place && spec.property(&name).is_some();
            });
        }
        found
    }

    /// Reports a property that is written as a node, or a node inside one that has no children.
    fn report_property_as_node(&mut self, raw: &KdlNode, parent: &'static NodeSpec) {
        let name = raw.name().value();
        let span = self.span(raw.name().span());
        let normal = suggest::normalize_name(name);
        if let Some(field) = parent.property(&normal) {
            let message = format!("`{}` is a property of `{}`, not a node", field.name, parent.name);
            let value = raw.entries().first().map(|entry| self.sources.value(entry));
            let value = value.as_ref().map_or("...", Span::text);
            let help = format!("write `{}={value}` on the line of `{}`", field.name, parent.name);
            self.sink.push(Diagnostic::new(Code::UnknownNode, message).at(&span, "not a node").help(help));
        } else if parent.children.is_empty() {
            let message = format!("`{}` cannot contain nodes", parent.name);
            self.sink.push(
                Diagnostic::new(Code::UnknownNode, message)
                    .at(&span, "unknown node")
                    .maybe_help(parent.example.as_ref().map(|example| format!("write `{example}`"))),
            );
        }
    }

    fn first_of_single(&self, spec: &NodeSpec, records: &[Record]) -> Option<Span> {
        let same = |record: &&Record| spec.single && record.spec.name == spec.name;
        records.iter().find(same).map(|record| record.span.clone())
    }

    fn report_duplicate(&mut self, raw: &KdlNode, spec: &NodeSpec, first: &Span) {
        let span = self.span(raw.name().span());
        let message = format!("`{}` appears twice", spec.name);
        self.sink.push(
            Diagnostic::new(Code::DuplicateNode, message)
                .at(&span, "again here")
                .also(first, "first here")
                .help("keep one of them; `/-` in front of a node disables it"),
        );
    }

    fn report_duplicate_key(&mut self, made: &Record, others: &[Record]) {
        let Some(key) = &made.spec.key else { return };
        let Some(leaf) = made.leaf(key) else { return };
        let same = |other: &&Record| other.spec.name == made.spec.name && other.text(key) == leaf.text();
        let Some(first) = others.iter().find(same).and_then(|other| other.leaf(key)) else { return };
        let message = format!("`{} \"{}\"` appears twice", made.spec.name, leaf.expect_text());
        self.sink.push(
            Diagnostic::new(Code::DuplicateNode, message)
                .at(&leaf.span, "again here")
                .also(&first.span, "first here")
                .help("keep one of them"),
        );
    }

    fn report_annotation(&mut self, annotation: &kdl::KdlIdentifier) {
        let span = self.span(annotation.span());
        let message = format!("the type annotation `({})` has no meaning here", annotation.value());
        self.sink.push(
            Diagnostic::new(Code::TypeAnnotation, message)
                .at(&span, "remove it")
                .help("the type of every field is fixed"),
        );
    }
}

/// The node that other tools call `name`, or the one with the closest name.
fn find_similar_node(name: &str, specs: &'static [NodeSpec]) -> Option<&'static NodeSpec> {
    let normal = suggest::normalize_name(name);
    let alias = |spec: &&NodeSpec| spec.aliases.iter().any(|alias| suggest::normalize_name(alias) == normal);
    let by_alias = || specs.iter().find(alias);
    let exact = specs.iter().find(|spec| spec.name == normal);
    exact.or_else(by_alias).or_else(|| {
        let near = suggest::find_closest_name(name, specs.iter().map(|spec| spec.name.as_str()))?;
        specs.iter().find(|spec| spec.name == near)
    })
}

/// Help for a name that is written as a node: `text 1` for `dataset "text" weight=1`.
fn suggest_keyed_node(
    raw: &KdlNode,
    specs: &'static [NodeSpec],
    excused: &mut Vec<String>,
) -> Option<String> {
    let spec = specs.iter().find(|spec| spec.key.is_some())?;
    excused.push(spec.name.clone());
    let value = raw.get(0).and_then(|value| Some(format!(" {}={value}", spec.properties.first()?.name)));
    Some(format!("write `{} \"{}\"{}`", spec.name, raw.name().value(), value.unwrap_or_default()))
}

fn format_node_suggestion(name: &str, spec: &NodeSpec) -> String {
    let alias =
        spec.aliases.iter().any(|alias| suggest::normalize_name(alias) == suggest::normalize_name(name));
    let example = spec.example.as_ref().filter(|_| alias);
    let example = example.map_or(String::new(), |example| format!(", as in `{example}`"));
    format!("did you mean `{}`{example}?", spec.name)
}
