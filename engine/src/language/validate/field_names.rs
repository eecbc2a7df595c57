//! Names of properties as people wrote them: twice, or as they were before.

use kdl::KdlEntry;

use super::Validator;
use crate::language::schema::{FieldSpec, NodeSpec};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::Span;

impl Validator<'_> {
    /// Reports a field that was written before, by its name or the one that it had.
    pub(super) fn report_repeated(
        &mut self,
        name: &kdl::KdlIdentifier,
        spec: &NodeSpec,
        written: &mut Vec<(String, Span)>,
    ) {
        let span = self.span(name.span());
        let name = spec.property(name.value()).map_or(name.value(), |field| &field.name);
        if let Some((_, first)) = written.iter().find(|(other, _)| other == name) {
            let message = format!("`{name}` is written twice");
            self.sink.push(
                Diagnostic::new(Code::DuplicateField, message)
                    .at(&span, "again here")
                    .also(first, "first here")
                    .help(format!("keep one `{name}=`")),
            );
        }
        written.push((name.to_owned(), span));
    }

    /// Reports a field under the name that it had before.
    pub(super) fn report_old_name(&mut self, entry: &KdlEntry, spec: &NodeSpec, field: &FieldSpec) {
        let Some(name) = entry.name().filter(|name| name.value() != field.name) else { return };
        let value = self.sources.value(entry);
        let message = format!("`{}` of `{}` is called `{}` now", name.value(), spec.name, field.name);
        self.sink.push(
            Diagnostic::new(Code::OldName, message)
                .at(&self.span(entry.span()), "it still works")
                .help(format!("write `{}={}`", field.name, value.text())),
        );
    }
}
