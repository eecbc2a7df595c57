//! What a small stage is made of, and what the file says of it.

use crate::pipeline::stage::{FieldValue, Stage};
use crate::text::escape::escape_line;
use crate::text::place::Origin;

/// What the file says in a field of the stage.
pub(super) fn find_written(stage: &Stage, path: &str) -> String {
    let written = stage.field_at(path).and_then(|field| field.value.as_str());
    escape_line(written.unwrap_or("what the file names")).into_owned()
}

/// Puts what runs into the ledger, in place of what the file says. The fields stay, to show where a setting is written; those that
/// estimate sizes would speak of other data.
pub(super) fn set_ledger(stage: &mut Stage, seed: u64) {
    let settings = format!("{seed} {:?}", stage.config);
    stage.fields.retain(|field| field.path != "dataset.tokens");
    stage.fields.iter_mut().for_each(|field| field.semantic = false);
    stage.fields.push(FieldValue {
        path: "smoke".to_owned(),
        value: blake3::hash(settings.as_bytes()).to_hex().to_string().into(),
        span: stage.span.clone(),
        origin: Origin::Default,
        semantic: true,
    });
}
