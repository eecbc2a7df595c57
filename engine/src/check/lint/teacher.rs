//! Lints of a training that is measured from a teacher: both must predict the next token.

use crate::check::lint::lineage::Lineages;
use crate::pipeline::config::TrainConfig;
use crate::pipeline::config::train::Objective;
use crate::pipeline::field_path::train;
use crate::pipeline::origins::ContractFact;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// Runs all of them on one training stage.
pub(super) fn lint_teacher(lineages: &Lineages<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let Some(settings) = &config.teacher else { return };
    check_teacher(lineages, stage, sink);
    if settings.weight.is_some() && config.objective != Objective::Autoregressive {
        check_own_shift(lineages, stage, sink);
    }
}

/// Reports a teacher that has no autoregressive law.
fn check_teacher(lineages: &Lineages<'_>, stage: &Stage, sink: &mut Sink) {
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

/// Reports a loss that asks every position for the next token, where the objective asks for its own.
fn check_own_shift(lineages: &Lineages<'_>, stage: &Stage, sink: &mut Sink) {
    let known = lineages.parent(stage).and_then(|parent| lineages.contract(parent));
    let Some(known) = known.filter(|known| !known.contract.shift) else { return };
    let message = format!("the loss of the teacher contradicts the objective of `{}`", stage.name);
    let diagnostic = Diagnostic::new(Code::TeacherMismatch, message)
        .at(stage.place(train::TEACHER), "asks for the next token")
        .also(stage.place(train::OBJECTIVE), "asks for the token at the same place")
        .help("remove `weight`: the divergence is still measured; or write `shift #true` in the conversion");
    sink.push(known.show_fact(ContractFact::Shift, diagnostic, "predicts the token at its own place"));
}
