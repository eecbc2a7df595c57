//! The teacher of a training: a checkpoint that it is measured from.

use super::{DraftInput, find_referenced_input};
use crate::language::names::Declarations;
use crate::language::record::Record;
use crate::language::schema::CanonicalValue;
use crate::pipeline::role::InputRole;

/// The teacher of a training: the checkpoint that it names, or what the weights were converted from, or what they start from if no
/// stage before converts them.
pub(super) fn find_teacher(world: &Declarations, record: &Record) -> Option<DraftInput> {
    let teacher = record.child("teacher")?;
    if teacher.leaf("from").is_some() {
        return find_referenced_input(teacher, "from", InputRole::Teacher);
    }
    let converted = find_conversion_source(world, record);
    let stage = converted.or_else(|| record.leaf("from")?.reference().map(str::to_owned))?;
    Some(DraftInput { role: InputRole::Teacher, stage, span: teacher.span.clone() })
}

/// The name of the stage whose checkpoint the nearest conversion before `record` took; `None` if there is none, or a circle of stages,
/// which is reported elsewhere.
fn find_conversion_source(world: &Declarations, record: &Record) -> Option<String> {
    let mut at = record;
    for _ in &world.records {
        let from = at.leaf("from").or_else(|| at.leaf("of"))?;
        match (at.spec.name.as_str(), &from.value) {
            ("convert", CanonicalValue::Path(_)) => return Some(format!("{}/source", at.name()?)),
            ("convert", _) => return from.reference().map(str::to_owned),
            ("train" | "average", _) => at = world.any_target(from)?,
            _ => return None,
        }
    }
    None
}
