//! The identity of a stage's result. Each stage has one ledger; both the digest and the explanation of a change are made from
//! it, so that they cannot disagree.
//!
//! | counts | does not count |
//! |---|---|
//! | version of the ledger, kind of stage, revision of its code | name of the stage, paths, times of files |
//! | semantic fields, by value; `seed` if the kind draws random numbers | log intervals, device, host, threads |
//! | contents of source files, in the order of their paths | names of the files and of the datasets |
//! | fingerprints of upstream artifacts, in the order of the roles | their names; their contents, which the fingerprints identify |

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pipeline::code_revision::find_stage_revision;
use crate::pipeline::stage::{FieldValue, Stage};

/// Version of the ledger itself. Since version 2, sources and inputs are named by their position and no longer by name.
pub(crate) const LEDGER_VERSION: u32 = 2;

/// BLAKE3 of a ledger, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    /// The first 12 digits, for folder names.
    #[must_use]
    pub(crate) fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Kind of an ingredient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IngredientKind {
    /// Version of the ledger.
    Schema,
    /// Kind of stage.
    Kind,
    /// Revision of the kind's code.
    Revision,
    /// A semantic field; its name is the dotted path.
    Field,
    /// Digest of a source's contents; its name is its position, its label the dataset.
    Source,
    /// Fingerprint of an upstream artifact; its name is its position, its label the role.
    Input,
}

/// One thing that a stage's result depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredient {
    /// Kind of the ingredient.
    pub what: IngredientKind,
    /// Name that distinguishes it from others of its kind.
    pub name: String,
    /// Canonical value; see [`format_canonical_value`].
    pub value: String,
    /// Name to show to people, if not [`Self::name`]; not part of the fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Ingredient {
    /// Name to show to people.
    #[must_use]
    pub(crate) fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }
}

/// Everything that a stage's result depends on, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger(pub Vec<Ingredient>);

/// One difference between two ledgers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LedgerChange {
    /// Kind of the ingredient that differs.
    pub what: IngredientKind,
    /// Its label.
    pub name: String,
    /// Old value; `None` if the ingredient is new.
    pub old: Option<String>,
    /// New value; `None` if the ingredient is gone.
    pub new: Option<String>,
}

impl Ledger {
    /// The ledger of `stage`. `sources` has the content digest of each of its sources, `upstream` the fingerprint of each of
    /// its inputs, both in the stage's order.
    #[must_use]
    pub(crate) fn for_stage(stage: &Stage, sources: &[String], upstream: &[Fingerprint]) -> Self {
        // A digest that is left out would give one fingerprint to two results.
        assert_eq!(sources.len(), stage.sources.len(), "every source has a digest");
        assert_eq!(upstream.len(), stage.inputs.len(), "every input has a fingerprint");
        let kind = stage.config.kind();
        let mut ledger = Self::default();
        ledger.add(IngredientKind::Schema, "", LEDGER_VERSION.to_string());
        ledger.add(IngredientKind::Kind, "", kind.to_string());
        ledger.add(IngredientKind::Revision, kind, find_stage_revision(stage).to_string());
        let semantic = stage.fields.iter().filter(|field| field.semantic);
        let mut fields: Vec<_> = semantic.flat_map(canonicalize_field).collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        for (path, value) in fields {
            ledger.add(IngredientKind::Field, &path, value);
        }
        for (at, (source, digest)) in stage.sources.iter().zip(sources).enumerate() {
            ledger.add_labeled(IngredientKind::Source, at, &source.name, digest);
        }
        for (at, (input, fingerprint)) in stage.inputs.iter().zip(upstream).enumerate() {
            ledger.add_labeled(IngredientKind::Input, at, &input.role.to_string(), &fingerprint.0);
        }
        ledger
    }

    fn add(&mut self, what: IngredientKind, name: &str, value: String) {
        self.0.push(Ingredient { what, name: name.to_string(), value, label: None });
    }

    /// Adds an ingredient that is named by its position, so that renaming a dataset or a stage changes no fingerprint.
    fn add_labeled(&mut self, what: IngredientKind, at: usize, label: &str, value: &str) {
        let (name, label) = (at.to_string(), Some(label.to_string()));
        self.0.push(Ingredient { what, name, value: value.to_string(), label });
    }

    /// The value of an ingredient; `None` if there is no such one.
    #[must_use]
    pub(crate) fn value(&self, what: IngredientKind, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|ingredient| ingredient.what == what && ingredient.name == name);
        found.map(|ingredient| ingredient.value.as_str())
    }

    /// The digest of the ledger. Each part is hashed after its length, so that different ledgers never hash the same bytes.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        for Ingredient { what, name, value, label: _ } in &self.0 {
            hasher.update(&[*what as u8]);
            for part in [name, value] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
        }
        Fingerprint(hasher.finalize().to_hex().to_string())
    }

    /// The differences from `old`: changed and new ingredients in the order of this ledger, then removed ones.
    #[must_use]
    pub(crate) fn changes_since(&self, old: &Self) -> Vec<LedgerChange> {
        let (before, now) = (old.by_name(), self.by_name());
        let mut changes = Vec::new();
        for ((what, name), (label, new)) in &now {
            let old = before.get(&(*what, *name)).map(|(_, old)| old);
            if old != Some(new) {
                changes.push(build_ledger_change(*what, label, old.cloned(), Some(new.clone())));
            }
        }
        for (key, (label, old)) in &before {
            if !now.contains_key(key) {
                changes.push(build_ledger_change(key.0, label, Some(old.clone()), None));
            }
        }
        changes
    }

    /// Labels and values by kind and name; the values of a repeated field are joined.
    fn by_name(&self) -> IndexMap<(IngredientKind, &str), (&str, String)> {
        let mut map: IndexMap<(IngredientKind, &str), (&str, String)> = IndexMap::new();
        for ingredient in &self.0 {
            let Ingredient { what, name, value, .. } = ingredient;
            match map.get_mut(&(*what, name.as_str())) {
                Some((_, values)) => *values = format!("{values} {value}"),
                None => drop(map.insert((*what, name), (ingredient.label(), value.clone()))),
            }
        }
        map
    }
}

/// The canonical form of a field. The scheduler `linear` is written as `polynomial` with exponent 1, so that changing one to
/// the other makes no result stale.
fn canonicalize_field(field: &FieldValue) -> Vec<(String, String)> {
    let (path, value) = (field.path.clone(), format_canonical_value(&field.value));
    match path.strip_suffix("scheduler.kind").filter(|_| value == "\"linear\"") {
        Some(before) => {
            let exponent = (format!("{before}scheduler.exponent"), "1".to_owned());
            vec![(path, "\"polynomial\"".to_owned()), exponent]
        }
        None => vec![(path, value)],
    }
}

fn build_ledger_change(
    what: IngredientKind,
    name: &str,
    old: Option<String>,
    new: Option<String>,
) -> LedgerChange {
    LedgerChange { what, name: name.to_string(), old, new }
}

/// Formats a value so that equal values give equal text: `1e-3` and `0.001`, `1` and `1.0`; keys of objects are sorted.
#[must_use]
pub(crate) fn format_canonical_value(value: &Value) -> String {
    match value {
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(whole), _, _) => whole.to_string(),
            (_, Some(whole), _) => whole.to_string(),
            (_, _, Some(float)) => format_canonical_float(float),
            _ => number.to_string(),
        },
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(format_canonical_value).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(map) => {
            let mut items: Vec<_> = map
                .iter()
                .map(|(key, value)| {
                    format!("{}:{}", Value::from(key.as_str()), format_canonical_value(value))
                })
                .collect();
            items.sort();
            format!("{{{}}}", items.join(","))
        }
        other => other.to_string(),
    }
}

/// The shortest text that reads back as the same number; whole numbers without a point.
fn format_canonical_float(float: f64) -> String {
    /// 2^53: below it every whole float is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() < EXACT {
        format!("{}", float as i64)
    } else {
        format!("{float:?}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ledger(parts: &[(IngredientKind, &str, &str)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (what, name, value) in parts {
            ledger.add(*what, name, (*value).to_string());
        }
        ledger
    }

    #[test]
    fn numbers_compare_by_value() {
        let parse = |text: &str| format_canonical_value(&serde_json::from_str(text).unwrap());
        assert_eq!(parse("1e-3"), parse("0.001"));
        assert_eq!(parse("1"), parse("1.0"));
        assert_eq!(parse("-0.0"), parse("0"));
        assert_eq!(parse("1e300"), parse("1.0e300"));
        assert_ne!(parse("0.1"), parse("0.10000000000000002"));
        assert_ne!(format_canonical_value(&json!("1")), format_canonical_value(&json!(1)));
        assert_eq!(format_canonical_value(&json!({"b": 1, "a": [true, null]})), r#"{"a":[true,null],"b":1}"#);
    }

    #[test]
    fn changes_name_old_and_new() {
        let old = ledger(&[(IngredientKind::Field, "peak", "0.001"), (IngredientKind::Field, "gone", "1")]);
        let new = ledger(&[(IngredientKind::Field, "peak", "0.002"), (IngredientKind::Input, "from", "ab")]);
        let changes = new.changes_since(&old);
        assert_eq!(changes.len(), 3);
        assert_eq!(changes[0].old.as_deref(), Some("0.001"));
        assert_eq!(changes[0].new.as_deref(), Some("0.002"));
        assert_eq!(changes[2], build_ledger_change(IngredientKind::Field, "gone", Some("1".into()), None));
    }

    proptest! {
        /// Digest and explanation walk the same ledger: they agree on what is equal.
        #[test]
        fn equal_digests_mean_no_changes(
            a in proptest::collection::vec(("[ab]{0,2}", "[01]{0,2}"), 0..4),
            b in proptest::collection::vec(("[ab]{0,2}", "[01]{0,2}"), 0..4),
        ) {
            let make = |parts: &[(String, String)]| {
                let map: std::collections::BTreeMap<_, _> = parts.iter().cloned().collect();
                let mut ledger = Ledger::default();
                for (name, value) in map { ledger.add(IngredientKind::Field, &name, value); }
                ledger
            };
            let (a, b) = (make(&a), make(&b));
            prop_assert_eq!(a.fingerprint() == b.fingerprint(), a.changes_since(&b).is_empty());
        }
    }
}
