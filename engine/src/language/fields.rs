//! Every setting of a stage as a leaf: references inlined, places and origins kept.

use crate::language::draft::Draft;
use crate::language::mixture;
use crate::language::names::World;
use crate::language::record::{Leaf, Record};
use crate::language::schema::Value;
use crate::pipeline::stage::FieldValue;
use crate::text::place::{Origin, Span};

/// Deepest inlining: references of the table form no circle but those of mixtures, whose depth is checked before.
const DEEPEST: usize = 32;

/// Settings of one stage, and what `run` refuses about them.
pub struct Fields<'a> {
    world: &'a World,
    /// The settings, in the order of the table.
    pub list: Vec<FieldValue>,
    /// Places and reasons.
    pub unsupported: Vec<(Span, String)>,
}

/// The settings of a stage.
#[must_use]
pub fn of_stage<'a>(world: &'a World, draft: &Draft<'_>, seed: Option<&Leaf>) -> Fields<'a> {
    let mut fields = Fields { world, list: Vec::new(), unsupported: Vec::new() };
    if draft.implicit_fetch {
        if let Some(leaf) = draft.record.leaf("from") {
            fields.leaf(leaf, "from".to_owned(), true, 0);
        }
        return fields;
    }
    fields.record(draft.record, "", true, 0);
    if let Some(dataset) = draft.dataset {
        fields.record(dataset, "dataset", true, 0);
    }
    fields.shares(draft.record);
    let draws = !matches!(draft.record.spec.name.as_str(), "fetch" | "export");
    if let Some(leaf) = seed.filter(|_| draws) {
        fields.leaf(leaf, "seed".to_owned(), true, 0);
    }
    fields
}

/// What `run` refuses about a node that is no stage.
#[must_use]
pub fn unsupported(world: &World, record: &Record) -> Vec<(Span, String)> {
    let mut fields = Fields { world, list: Vec::new(), unsupported: Vec::new() };
    fields.record(record, "", true, 0);
    fields.unsupported
}

impl Fields<'_> {
    /// What a composed mixture comes to. Names do not count, and without them the parts alone would not say which dataset
    /// has which share.
    fn shares(&mut self, record: &Record) {
        let Some(leaf) = record.child("data").and_then(|data| data.leaf("mixture")) else { return };
        let Some(mixture) = self.world.target(leaf).filter(|mixture| mixture::is_composed(mixture)) else {
            return;
        };
        let Some(flat) = mixture::flatten(self.world, mixture) else { return };
        self.list.push(FieldValue {
            path: "data.mixture.shares".to_owned(),
            value: flat.json(),
            span: leaf.span.clone(),
            origin: leaf.origin.clone(),
            semantic: true,
        });
    }

    fn record(&mut self, record: &Record, path: &str, semantic: bool, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        let semantic = semantic && record.spec.semantic;
        if let (Some(reason), true) = (&record.spec.unsupported, record.origin != Origin::Default) {
            self.unsupported.push((record.span.clone(), reason.clone()));
        }
        let declaration = record
            .spec
            .arguments
            .first()
            .is_some_and(|field| field.types == [crate::language::schema::Type::Name]);
        let mut count = 0;
        for leaf in &record.leaves {
            if declaration && leaf.spec.name == "name" {
                continue;
            }
            let only = matches!(record.spec.arguments.as_slice(), [only] if only.name == leaf.spec.name);
            let place = if only && !path.is_empty() { path.to_owned() } else { join(path, &leaf.spec.name) };
            let place = if leaf.spec.many { format!("{place}.{count}") } else { place };
            count += usize::from(leaf.spec.many);
            self.leaf(leaf, place, semantic, depth);
        }
        for spec in &record.spec.children {
            for (at, child) in record.children(&spec.name).enumerate() {
                let place = join(path, &spec.name);
                let place = if spec.single { place } else { format!("{place}.{at}") };
                self.record(child, &place, semantic, depth + 1);
            }
        }
    }

    fn leaf(&mut self, leaf: &Leaf, path: String, semantic: bool, depth: usize) {
        self.refusal(leaf);
        let file = matches!(leaf.value, Value::Path(_));
        let inlined = leaf.spec.inline.then(|| self.world.any_target(leaf)).flatten();
        self.list.push(FieldValue {
            path: path.clone(),
            value: leaf.value.json(),
            span: leaf.span.clone(),
            origin: leaf.origin.clone(),
            semantic: semantic && leaf.spec.semantic && !file && leaf.spec.to.is_empty()
                || semantic && leaf.spec.semantic && leaf.reference().is_some()
                || semantic && !leaf.spec.to.is_empty() && matches!(leaf.value, Value::Text(_)),
        });
        if let Some(target) = inlined {
            self.record(target, &path, semantic, depth + 1);
        }
    }

    fn refusal(&mut self, leaf: &Leaf) {
        let word = leaf.text().is_some_and(|text| leaf.spec.not_yet.iter().any(|word| word == text));
        if leaf.origin != Origin::Default && (leaf.spec.unsupported || word) {
            self.unsupported.push((leaf.span.clone(), leaf.spec.reason.clone()));
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
