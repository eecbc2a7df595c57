//! Lints of a training that is measured from a teacher: the teacher must predict the next token.

use crate::check::lint::lineage::Lineages;
use crate::pipeline::config::TrainConfig;
use crate::pipeline::field_path::train;
use crate::pipeline::origins::ContractFact;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// Reports a teacher that has no autoregressive law.
pub(super) fn lint_teacher(lineages: &Lineages<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    if config.teacher.is_none() {
        return;
    }
    let Some(teacher) = lineages.input(stage, &InputRole::Teacher) else { return };
    let Some(known) = lineages.contract(teacher).filter(|known| !known.contract.predicts_next_token()) else {
        return;
    };
    let named = stage.field(train::TEACHER_FROM).map(|field| &field.span);
    let diagnostic =
        Diagnostic::new(Code::TeacherMismatch, format!("`{}` cannot be an `ar` teacher", teacher.name))
            .at(named.unwrap_or(stage.place(train::TEACHER)), "it does not predict the next token")
            .help("name an autoregressive checkpoint: `teacher \"ar\" from=\"...\"`, or remove `teacher`");
    sink.push(known.show_fact(ContractFact::Kind, diagnostic, "a flow model since here"));
}
