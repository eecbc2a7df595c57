//! Decodes averages.

use super::Decoder;
use crate::language::draft::list_averaged_updates;
use crate::language::record::Record;
use crate::pipeline::config::AverageConfig;
use crate::text::diagnostic::{Code, Diagnostic};

impl Decoder<'_> {
    /// The checkpoints to average, all of which the training has to keep.
    pub(super) fn average(&mut self, record: &Record) -> Option<AverageConfig> {
        let (of, last) = (record.leaf("of")?, record.leaf("last")?);
        let (train, wanted) = (self.world.target(of)?, record.size("last")?);
        let name = of.expect_text();
        if let Some(adapter) = train.child("adapter") {
            let message = format!("`{name}` trains an adapter, whose checkpoints cannot be averaged");
            self.sink.push(
                Diagnostic::new(Code::ConflictingFields, message)
                    .at(&of.span, "averages whole weights")
                    .also(&adapter.span, "trains an adapter")
                    .help(format!("remove `average \"{}\"`", record.expect_name())),
            );
            return None;
        }
        let updates = list_averaged_updates(self.world, record);
        if updates.len() == wanted {
            return Some(AverageConfig { updates });
        }
        let steps = train.child("steps").and_then(|steps| steps.size("value")).unwrap_or(wanted);
        let every = (steps / wanted).max(1);
        let permanent = train.child("checkpoint").and_then(|checkpoint| checkpoint.child("permanent"));
        let found = match permanent {
            None => Diagnostic::new(Code::NotKept, format!("`{name}` keeps no permanent checkpoints"))
                .at(&of.span, "nothing to average")
                .also(&train.span, "no `permanent` here")
                .help(format!("write `checkpoint {{ permanent every={every} }}` in `{name}`")),
            Some(permanent) => {
                let message = format!(
                    "`{name}` keeps {} permanent checkpoints, and {wanted} are to be averaged",
                    updates.len()
                );
                let found = Diagnostic::new(Code::NotKept, message)
                    .at(&last.span, "more than there are")
                    .also(&permanent.span, "updates between those that it keeps");
                match updates.len() {
                    0 | 1 => found.help(format!("lower `permanent every=` in `{name}`")),
                    many => found.help(format!("write `last={many}`")),
                }
            }
        };
        self.sink.push(found);
        None
    }
}
