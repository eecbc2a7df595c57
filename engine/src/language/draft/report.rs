//! What a `report` reads: the stages that it names, or all of the file.

use super::DraftInput;
use crate::language::names::Declarations;
use crate::language::record::Record;
use crate::pipeline::role::InputRole;
use crate::text::place::Span;

/// The inputs of a report, none of another stage. Rows have no name of their own in a file; they are reported because others read them.
pub(super) fn find_reported(world: &Declarations, record: &Record) -> Vec<DraftInput> {
    if record.spec.name != "report" {
        return Vec::new();
    }
    let input = |stage: &str, span: &Span| {
        let stage = stage.to_owned();
        DraftInput { role: InputRole::Reported(stage.clone()), stage, span: span.clone() }
    };
    match record.child("of") {
        Some(of) => of.all("name").filter_map(|leaf| Some(input(leaf.reference()?, &leaf.span))).collect(),
        None => {
            let all =
                world.records.iter().filter(|other| world.declares(other) && is_reported_by_default(other));
            all.map(|other| input(other.expect_name(), &record.span)).collect()
        }
    }
}

fn is_reported_by_default(record: &Record) -> bool {
    let spec = &record.spec;
    spec.namespace == "stage" && !["rows", "report"].contains(&spec.name.as_str())
}
