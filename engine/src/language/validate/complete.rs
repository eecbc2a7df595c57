//! Completes records with what is not written: defaults, recipes and implied nodes. Reports what is missing or does not
//! apply.

use kdl::KdlNode;

use super::Validator;
use super::entries::describe_field_place;
use crate::language::record::{Leaf, Record};
use crate::language::schema::{Condition, FieldSpec, NodeSpec, value};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::{Origin, Span};

impl Validator<'_> {
    /// After the written fields have been read: checks conditions and exclusions, fills in defaults and reports missing
    /// fields, in the order of the table. `failed` has the names of fields whose values were refused.
    pub(super) fn finish_fields(&mut self, raw: &KdlNode, record: &mut Record, failed: &[String]) {
        let spec = record.spec;
        record.excused.extend(failed.iter().cloned());
        let mut missing = Vec::new();
        for field in spec.fields() {
            let written: Vec<_> = record.leaves.iter().filter(|leaf| leaf.spec.name == field.name).collect();
            let unset = |when: &Condition| missing.iter().any(|field: &&FieldSpec| field.name == when.field);
            let uncertain = |when: &Condition| failed.contains(&when.field) || unset(when);
            if failed.contains(&field.name) || field.when.as_ref().is_some_and(uncertain) {
                continue;
            }
            let applies = is_condition_met(field.when.as_ref(), record);
            match written.first().map(|leaf| leaf.span.clone()) {
                Some(span) if !applies => self.report_inapplicable_field(spec, field, &span, record),
                Some(span) => self.report_exclusion(raw, field, &span, record),
                None if applies => missing.extend(fill_absent_field(raw, field, record)),
                None => {}
            }
        }
        if !missing.is_empty() {
            self.report_missing_fields(raw, record, &missing);
            record.excused.extend(missing.iter().map(|field| field.name.clone()));
        }
        let place = |leaf: &Leaf| spec.fields().position(|field| field.name == leaf.spec.name);
        record.leaves.sort_by_key(place);
    }

    fn report_inapplicable_field(
        &mut self,
        spec: &NodeSpec,
        field: &FieldSpec,
        span: &Span,
        record: &Record,
    ) {
        let when = field.when.as_ref().expect("a field without a condition always applies");
        let words: Vec<_> = when.values.iter().map(|word| format!("`{word}`")).collect();
        let condition = if when.field == "value" { spec.name.clone() } else { when.field.clone() };
        let message = format!(
            "{} applies only when `{condition}` is {}",
            describe_field_place(spec, field),
            words.join(" or ")
        );
        let mut diagnostic = Diagnostic::new(Code::FieldDoesNotApply, message).at(span, "has no effect");
        if let Some(leaf) = record.leaves.iter().find(|leaf| leaf.spec.name == when.field) {
            diagnostic = diagnostic.also(&leaf.span, format!("it is `{}`", leaf.expect_text()));
        }
        self.sink.push(diagnostic.help(format!("remove `{}`", field.name)));
    }

    fn report_exclusion(&mut self, raw: &KdlNode, field: &FieldSpec, span: &Span, record: &Record) {
        let Some(other) = &field.excludes else { return };
        let leaf = record.leaves.iter().find(|leaf| leaf.spec.name == *other && leaf.spec.name != field.name);
        let child = raw.iter_children().find(|child| child.name().value() == other);
        let place = leaf.map(|leaf| leaf.span.clone()).or(child.map(|child| self.span(child.name().span())));
        let Some(place) = place else { return };
        let message = format!("`{}` has both `{}` and `{other}`", record.spec.name, field.name)
            .replace(&format!("both `{0}` and `{0}`", field.name), &format!("`{}` twice", field.name));
        self.sink.push(
            Diagnostic::new(Code::ConflictingFields, message)
                .at(span, "one of these")
                .also(&place, "excludes the other")
                .help("keep one of them"),
        );
    }

    /// Copies the nodes of the recipe that `use=` names, except those that the stage has itself. A node of the stage replaces
    /// the recipe's node of the same name with all its fields.
    pub(super) fn merge_recipe(&mut self, record: &mut Record, recipes: &[Record]) {
        let Some(name) = record.leaves.iter().find(|leaf| leaf.spec.name == "use") else { return };
        let name = name.expect_text().to_owned();
        let Some(recipe) = recipes.iter().find(|recipe| recipe.name() == Some(&name)) else {
            record.broken = true;
            record.excused.extend(record.spec.children.iter().map(|child| child.name.clone()));
            return;
        };
        record.broken |= recipe.broken;
        record.excused.extend(recipe.excused.iter().cloned());
        for child in &mut record.children {
            // `--set` copies nodes of the recipe into the stage; they keep the recipe as their origin.
            if recipe.children.iter().any(|given| given.span.key() == child.span.key()) {
                *child = child.copy_for_recipe(&name);
            }
        }
        let written: Vec<_> = record.children.iter().map(|child| child.spec.name.clone()).collect();
        let copied = recipe.children.iter().filter(|child| !written.contains(&child.spec.name));
        let copied: Vec<_> = copied.map(|child| child.copy_for_recipe(&name)).collect();
        record.children.extend(copied);
    }

    /// Adds implied nodes and reports missing ones, at every depth.
    pub(super) fn complete(&mut self, record: &mut Record) {
        let before = self.sink.errors();
        let mut missing = Vec::new();
        for spec in &record.spec.children {
            let present = record.children.iter().any(|child| child.spec.name == spec.name);
            let applies = is_condition_met(spec.when.as_ref(), record);
            let uncertain = spec.when.as_ref().is_some_and(|when| record.excused.contains(&when.field));
            if uncertain {
                continue;
            } else if present && !applies {
                self.report_inapplicable_node(record, spec);
            } else if !present && spec.implied {
                record.children.push(build_implied_record(spec, &record.span));
            } else if !present && spec.required && applies && !record.excused.contains(&spec.name) {
                missing.push(spec);
            }
        }
        if !missing.is_empty() {
            self.report_missing_nodes(record, &missing);
        }
        for child in &mut record.children {
            self.complete(child);
        }
        record.broken |= self.sink.errors() > before;
    }

    fn report_inapplicable_node(&mut self, record: &Record, spec: &NodeSpec) {
        let when = spec.when.as_ref().expect("a node without a condition always applies");
        let child = record.child(&spec.name).expect("what does not apply is there");
        let condition = if when.field == "value" { &record.spec.name } else { &when.field };
        let message =
            format!("`{}` applies only when `{condition}` is `{}`", spec.name, when.values.join("` or `"));
        self.sink.push(
            Diagnostic::new(Code::FieldDoesNotApply, message)
                .at(&child.span, "has no effect")
                .help(format!("remove `{}`", spec.name)),
        );
    }

    fn report_missing_nodes(&mut self, record: &Record, missing: &[&NodeSpec]) {
        let name = record.name().map_or(String::new(), |name| format!(" \"{name}\""));
        let needs: Vec<_> = missing.iter().map(|spec| format!("`{}`", spec.name)).collect();
        let message = format!("`{}{name}` needs {}", record.spec.name, needs.join(", "));
        let example = |spec: &&NodeSpec| spec.example.clone().unwrap_or_else(|| format!("{} ...", spec.name));
        let examples: Vec<_> = missing.iter().map(|spec| format!("`{}`", example(spec))).collect();
        let help = match examples.as_slice() {
            [one] => format!("add it between the braces, as in {one}"),
            many => format!("add them between the braces, as in\n{}", many.join("\n")),
        };
        self.sink.push(Diagnostic::new(Code::MissingNode, message).at(&record.span, "incomplete").help(help));
    }
}

/// Gives an absent field its default. Returns the field if it has none but is required.
fn fill_absent_field(
    raw: &KdlNode,
    field: &'static FieldSpec,
    record: &mut Record,
) -> Option<&'static FieldSpec> {
    let child = |name: &str| raw.iter_children().any(|child| child.name().value() == name);
    let excluded = field.excludes.as_ref().is_some_and(|other| child(other));
    if let Some(leaf) = find_default_leaf(field, record).filter(|_| !excluded) {
        record.leaves.push(leaf);
        return None;
    }
    let is_set = |other: &String| {
        let written = record.leaves.iter().any(|leaf| leaf.spec.name == *other);
        written || child(other) || record.excused.contains(other)
    };
    let needed = field.required || field.required_unless.as_ref().is_some_and(|other| !is_set(other));
    (needed && !child(&field.name)).then_some(field)
}

/// The default of a field. It can depend on fields that come before it in the table.
fn find_default_leaf(field: &'static FieldSpec, record: &Record) -> Option<Leaf> {
    let leaf = |value| Leaf { spec: field, value, span: record.span.clone(), origin: Origin::Default };
    if let Some(other) = &field.default_from {
        let other = record.leaves.iter().find(|leaf| leaf.spec.name == *other)?;
        return Some(leaf(other.value.clone()));
    }
    let (_, default) = field.defaults.iter().find(|(when, _)| is_condition_met(when.as_ref(), record))?;
    Some(leaf(value::accept_value(field, default).expect("a default of the field table fits its field")))
}

fn is_condition_met(when: Option<&Condition>, record: &Record) -> bool {
    let Some(when) = when else { return true };
    let leaf = record.leaves.iter().find(|leaf| leaf.spec.name == when.field);
    leaf.and_then(Leaf::text).is_some_and(|text| when.values.iter().any(|value| value == text))
}

fn build_implied_record(spec: &'static NodeSpec, span: &Span) -> Record {
    let mut record = Record {
        spec,
        span: span.clone(),
        origin: Origin::Default,
        leaves: Vec::new(),
        children: Vec::new(),
        broken: false,
        excused: Vec::new(),
        pinned: None,
    };
    for field in spec.fields() {
        if is_condition_met(field.when.as_ref(), &record) {
            record.leaves.extend(find_default_leaf(field, &record));
        }
    }
    record
}
