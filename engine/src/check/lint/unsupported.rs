//! What to do instead of what `run` does not support yet.

use crate::language::decode::{UNREADABLE_FILES, UNWINDOWED_COPIES};
use crate::language::schema::{self, load_schema};
use crate::text::place::Span;

/// What to do until `run` supports the feature called `reason`, which is used at `place`.
pub(super) fn suggest_instead(reason: &str, place: &Span) -> String {
    let written = place.text().trim_matches('"');
    match reason {
        UNREADABLE_FILES => "choose its files with `files=`, or say `format=`".to_owned(),
        "training on several devices" => {
            let one = written.split_once('x').map_or(written, |(_, one)| one);
            format!("write `gpu=\"1x{one}\"`")
        }
        UNWINDOWED_COPIES => "write `duplicates \"keep\"`, or remove `window`".to_owned(),
        _ => find_in_table(reason).unwrap_or("remove it").to_owned(),
    }
}

/// What the field table says to do, wherever it gives this reason.
fn find_in_table(reason: &str) -> Option<&'static str> {
    let mut found = None;
    for top in &load_schema().nodes {
        schema::visit_node_specs(top, &mut |spec| {
            let own = spec.unsupported.as_deref() == Some(reason);
            found = found.or(spec.instead.as_deref().filter(|_| own));
            let field = spec.fields().find(|field| field.reason == reason);
            found = found.or(field.and_then(|field| field.instead.as_deref()));
        });
    }
    found
}
