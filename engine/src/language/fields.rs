//! Flattens the settings of a stage into a list of fields with dotted paths, places and origins. References are inlined.
//! Fingerprints and `show --resolved` are made from this list.

use crate::language::draft::{
    Draft, find_compared_datasets, list_averaged_updates, list_held_out_parts, list_originals,
};
use crate::language::mixture;
use crate::language::names::Declarations;
use crate::language::record::{Leaf, Record};
use crate::language::schema::CanonicalValue;
use crate::pipeline::stage::FieldValue;
use crate::text::place::{Origin, Span};

/// Deepest inlining of references. Only mixtures can refer to their own kind, and their nesting has been checked before;
/// this limit makes sure that a mistake in the field table cannot cause endless recursion.
const MAX_INLINE_DEPTH: usize = 32;

/// The settings of one stage, and those that `run` refuses.
pub(crate) struct StageFields<'a> {
    world: &'a Declarations,
    /// All fields, in the order of the field table.
    pub list: Vec<FieldValue>,
    /// Places of features that `run` does not support yet, with reasons.
    pub unsupported: Vec<(Span, String)>,
}

/// Collects the settings of a stage. `seed` is the pipeline's seed, which belongs to every stage that draws random numbers.
#[must_use]
pub(crate) fn collect_stage_fields<'a>(
    world: &'a Declarations,
    draft: &Draft<'_>,
    seed: Option<&Leaf>,
) -> StageFields<'a> {
    let mut fields = StageFields { world, list: Vec::new(), unsupported: Vec::new() };
    if draft.implicit_fetch {
        if let Some(leaf) = draft.record.leaf("from") {
            fields.add_leaf(leaf, "from".to_owned(), true, 0);
        }
        return fields;
    }
    fields.add_record(draft.record, "", true, 0);
    if let Some(dataset) = draft.dataset {
        fields.add_record(dataset, "dataset", true, 0);
        fields.add_compared(draft.record, dataset);
    }
    fields.add_mixture_shares(draft.record);
    fields.add_window(draft.record);
    fields.add_averaged_updates(draft.record);
    // What draws no random numbers must not have another fingerprint with another seed.
    let draws = match draft.record.spec.name.as_str() {
        "fetch" | "export" | "average" | "report" => false,
        "command" => draft.record.boolean("seeded") == Some(true),
        _ => true,
    };
    if let Some(leaf) = seed.filter(|_| draws) {
        fields.add_leaf(leaf, "seed".to_owned(), true, 0);
    }
    fields
}

/// Places and reasons of what `run` refuses in a node that is not a stage.
#[must_use]
pub(crate) fn find_unsupported_fields(world: &Declarations, record: &Record) -> Vec<(Span, String)> {
    let mut fields = StageFields { world, list: Vec::new(), unsupported: Vec::new() };
    fields.add_record(record, "", true, 0);
    fields.unsupported
}

impl StageFields<'_> {
    /// Adds the computed shares of a composed mixture. Names are not part of a fingerprint, and without names the inlined
    /// parts do not determine which dataset has which share.
    fn add_mixture_shares(&mut self, record: &Record) {
        let Some(leaf) = record.child("data").and_then(|data| data.leaf("mixture")) else { return };
        let Some(mixture) = self.world.target(leaf).filter(|mixture| mixture::is_composed_mixture(mixture))
        else {
            return;
        };
        let Some(flat) = mixture::flatten_mixture(self.world, mixture) else { return };
        self.list.push(FieldValue {
            path: "data.mixture.shares".to_owned(),
            value: flat.json(),
            span: leaf.span.clone(),
            origin: leaf.origin.clone(),
            semantic: true,
        });
    }

    /// Adds whether rows have a window: then their artifact is a plan and has no training rows. The size of a window changes nothing.
    fn add_window(&mut self, record: &Record) {
        let Some(window) = record.child("window").filter(|_| record.spec.name == "rows") else { return };
        self.list.push(FieldValue {
            path: "window".to_owned(),
            value: true.into(),
            span: window.span.clone(),
            origin: window.origin.clone(),
            semantic: true,
        });
    }

    /// Adds what the documents of the datasets that one is compared with are, and which of them each comparison means: 0 is the dataset
    /// itself. They are not inlined where they are named, because two datasets may be compared with each other.
    fn add_compared(&mut self, rows: &Record, dataset: &Record) {
        let others = find_compared_datasets(self.world, dataset);
        let held = dataset.children("contamination").enumerate();
        let held = held.filter_map(|(at, child)| Some((at, child.leaf("held-out")?)));
        let held: Vec<(usize, &Leaf)> = held.collect();
        for (at, leaf) in &held {
            let Some(target) = self.world.any_target(leaf) else { continue };
            let parts = list_held_out_parts(self.world, (rows, dataset), target);
            let parts = parts.iter().map(|part| serde_json::json!([part.share, part.shard_bytes]));
            self.list.push(FieldValue {
                path: format!("dataset.contamination.{at}.held-out.parts"),
                value: parts.collect(),
                span: leaf.span.clone(),
                origin: leaf.origin.clone(),
                semantic: true,
            });
        }
        let held = held.into_iter();
        let held = held.map(|(at, leaf)| (format!("dataset.contamination.{at}.held-out.compared"), leaf));
        let originals = list_originals(dataset).enumerate();
        let originals =
            originals.map(|(at, leaf)| (format!("dataset.duplicates.dataset.{at}.compared"), leaf));
        for (path, leaf) in held.chain(originals) {
            let Some(target) = self.world.any_target(leaf) else { continue };
            let number = others.iter().position(|other| std::ptr::eq(*other, target)).map_or(0, |at| at + 1);
            let (span, origin) = (leaf.span.clone(), leaf.origin.clone());
            self.list.push(FieldValue { path, value: number.into(), span, origin, semantic: true });
        }
        for (at, other) in others.into_iter().enumerate() {
            self.add_documents(other, &format!("dataset.compared.{}", at + 1));
        }
    }

    /// Adds the settings of a dataset that say what its documents are, and which of them are held out.
    fn add_documents(&mut self, dataset: &Record, path: &str) {
        let counts = |name: &str| !["name", "tokens", "tokens-at-most"].contains(&name);
        for leaf in dataset.leaves.iter().filter(|leaf| counts(&leaf.spec.name)) {
            self.add_leaf(leaf, join_field_path(path, &leaf.spec.name), true, 1);
        }
        for child in ["chat", "filter", "on-bad-record", "contents"] {
            if let Some(child) = dataset.child(child) {
                self.add_record(child, &join_field_path(path, &child.spec.name), true, 1);
            }
        }
    }

    /// Adds which checkpoints an average reads. They follow from the intervals of the training, which are no part of its own fingerprint.
    fn add_averaged_updates(&mut self, record: &Record) {
        let Some(leaf) = record.leaf("of").filter(|_| record.spec.name == "average") else { return };
        self.list.push(FieldValue {
            path: "updates".to_owned(),
            value: list_averaged_updates(self.world, record).into(),
            span: leaf.span.clone(),
            origin: leaf.origin.clone(),
            semantic: true,
        });
    }

    fn add_record(&mut self, record: &Record, path: &str, semantic: bool, depth: usize) {
        // To leave the rest out would make different settings the same result.
        assert!(depth <= MAX_INLINE_DEPTH, "`{path}` inlines too deeply");
        let semantic = semantic && record.spec.semantic;
        if let (Some(reason), true) = (&record.spec.unsupported, record.origin != Origin::Default) {
            self.unsupported.push((record.span.clone(), reason.clone()));
        }
        let declaration = record
            .spec
            .arguments
            .first()
            .is_some_and(|field| field.types == [crate::language::schema::FieldType::Name]);
        let mut count = 0;
        for leaf in &record.leaves {
            // The declared name is not a setting: renaming a declaration must not change fingerprints.
            if declaration && leaf.spec.name == "name" {
                continue;
            }
            // The only argument of a node has the path of the node itself: `steps`, not `steps.value`.
            let only = matches!(record.spec.arguments.as_slice(), [only] if only.name == leaf.spec.name);
            let place = if only && !path.is_empty() {
                path.to_owned()
            } else {
                join_field_path(path, &leaf.spec.name)
            };
            let place = if leaf.spec.many { format!("{place}.{count}") } else { place };
            count += usize::from(leaf.spec.many);
            self.add_leaf(leaf, place, semantic, depth);
        }
        for spec in &record.spec.children {
            for (at, child) in record.children(&spec.name).enumerate() {
                let place = join_field_path(path, &spec.name);
                let place = if spec.single { place } else { format!("{place}.{at}") };
                self.add_record(child, &place, semantic, depth + 1);
            }
        }
    }

    fn add_leaf(&mut self, leaf: &Leaf, path: String, semantic: bool, depth: usize) {
        self.add_unsupported(leaf);
        let file = matches!(leaf.value, CanonicalValue::Path(_));
        let counts = leaf.text().is_some_and(|text| leaf.spec.counts.iter().any(|word| word == text));
        let inlined = leaf.spec.inline.then(|| self.world.any_target(leaf)).flatten();
        // Four kinds of values are part of the fingerprint: plain values other than paths (the digests of the files count
        // instead), references in fields that the table marks, words such as `none` in fields that also take references, and words
        // that the table marks in fields that otherwise change no result.
        self.list.push(FieldValue {
            path: path.clone(),
            value: leaf.value.json(),
            span: leaf.span.clone(),
            origin: leaf.origin.clone(),
            semantic: semantic && leaf.spec.semantic && !file && leaf.spec.to.is_empty()
                || semantic && leaf.spec.semantic && leaf.reference().is_some()
                || semantic && !leaf.spec.to.is_empty() && matches!(leaf.value, CanonicalValue::Text(_))
                || semantic && counts,
        });
        if let Some(target) = inlined {
            self.add_record(target, &path, semantic, depth + 1);
        }
    }

    fn add_unsupported(&mut self, leaf: &Leaf) {
        let word = leaf.text().is_some_and(|text| leaf.spec.not_yet.iter().any(|word| word == text));
        if leaf.origin != Origin::Default && (leaf.spec.unsupported || word) {
            self.unsupported.push((leaf.span.clone(), leaf.spec.reason.clone()));
        }
    }
}

fn join_field_path(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
