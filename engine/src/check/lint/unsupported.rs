//! What to do instead of what `run` does not support yet.

use crate::language::schema::{self, load_schema};
use crate::text::place::Span;

/// What to do until `run` supports the feature called `reason`, which is used at `place`.
pub(super) fn suggest_instead(reason: &str, place: &Span) -> String {
    let written = place.text().trim_matches('"');
    match reason {
        "repositories on a hub" => suggest_download(written, ""),
        "datasets on a hub" => suggest_download(written, " --repo-type dataset"),
        "training on several devices" => {
            let one = written.split_once('x').map_or(written, |(_, one)| one);
            format!("write `gpu=\"1x{one}\"`")
        }
        "checkpoints by the clock" => "write `every=500`, which counts updates".to_owned(),
        "infills whose length the model chooses" => {
            let longest = written.rsplit('.').next().expect("splitting gives at least one piece");
            format!("write `length={longest}`")
        }
        _ => find_in_table(reason).unwrap_or("remove it").to_owned(),
    }
}

/// How to get the files of a repository without `run`.
fn suggest_download(address: &str, kind: &str) -> String {
    let Some(name) = address.strip_prefix("hf:") else {
        return "download its files and name them in `from=`".to_owned();
    };
    let folder = name.rsplit('/').next().expect("splitting gives at least one piece");
    let rest = match kind {
        "" => format!("write `from=\"{folder}\"` and leave `revision=` out"),
        _ => format!("name its files below `{folder}` in `from=`, and leave out what only a repository has"),
    };
    format!("download it with `hf download {name}{kind} --local-dir {folder}`, then {rest}")
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
