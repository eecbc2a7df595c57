//! Lints of adapters: the base that they were trained on, moments that are carried over, and exports of nothing but an adapter.

use crate::check::lint::lineage::Lineages;
use crate::pipeline::config::{ExportConfig, ExportFormat, StageConfig, TimeConditioning, TrainConfig};
use crate::pipeline::field_path::{convert, export, train};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// Reports an adapter that starts from one of another base, or from none, and moments that belong to an adapter.
pub(super) fn lint_adapter(lineages: &Lineages<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    check_carried_moments(lineages, stage, config, sink);
    check_time_conditioning(lineages, stage, config, sink);
    let Some(source) = lineages.input(stage, &InputRole::Adapter) else { return };
    let StageConfig::Train(before) = &source.config else { return };
    let report = |message: String, label: &str| {
        Diagnostic::new(Code::AdapterMismatch, message).at(stage.place(train::ADAPTER_FROM), label)
    };
    let same_base = stage.parent() == source.parent() && config.branch == before.branch;
    if before.adapter.is_none() {
        let message = format!("`{}` trains no adapter", source.name);
        let help = "leave `from=` out of `adapter`: a new one starts without effect";
        sink.push(report(message, "there is none").also(&source.span, "trains all weights").help(help));
    } else if !same_base {
        let base = lineages.parent(source).map_or("", |base| base.name.as_str());
        let message = format!("the adapter of `{}` was trained on another base", source.name);
        let diagnostic = Diagnostic::new(Code::AdapterMismatch, message)
            .at(stage.parent_place(), "another base")
            .also(stage.place(train::ADAPTER_FROM), "the adapter to go on from")
            .also(source.parent_place(), "its base");
        sink.push(diagnostic.help(format!(
            "write `from=\"{base}\"`, or leave `from=` out of `adapter`: the weights of `{}` have its adapter merged",
            source.name
        )));
    } else if before.adapter != config.adapter {
        sink.push(
            report(format!("the adapter of `{}` has other settings", source.name), "goes on from this")
                .also(source.place(train::ADAPTER), "its settings")
                .help("copy rank, alpha, target and norms from there"),
        );
    }
}

/// Reports an adapter on a conversion with time conditioning: it starts without effect, and an adapter does not train it.
fn check_time_conditioning(lineages: &Lineages<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    if config.adapter.is_none() {
        return;
    }
    let Some(base) = find_first_trained(lineages, stage) else { return };
    let StageConfig::Convert(converted) = &base.config else { return };
    if converted.time_conditioning == TimeConditioning::None {
        return;
    }
    let message = format!("an adapter does not train the time conditioning of `{}`", base.name);
    sink.push(
        Diagnostic::new(Code::AdapterMismatch, message)
            .at(stage.place(train::ADAPTER), "trains projections")
            .also(base.place(convert::TIME_CONDITIONING), "starts without effect, and would stay so")
            .help("write `time-conditioning \"none\"` there, or train all weights first"),
    );
}

/// The stage whose weights the first of the adapters that follow each other changes.
fn find_first_trained<'a>(lineages: &Lineages<'a>, stage: &Stage) -> Option<&'a Stage> {
    let mut base = lineages.parent(stage)?;
    while matches!(&base.config, StageConfig::Train(before) if before.adapter.is_some()) {
        base = lineages.parent(base)?;
    }
    Some(base)
}

/// Moments are those of an adapter, but the weights of a branch point are merged: a new adapter starts there.
fn check_carried_moments(lineages: &Lineages<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    if !config.branch.is_some_and(|branch| branch.carries_optimizer) {
        return;
    }
    let before = lineages.parent(stage).and_then(|parent| match &parent.config {
        StageConfig::Train(before) => before.adapter.as_ref().map(|_| parent),
        _ => None,
    });
    let place = match (before, &config.adapter) {
        (Some(parent), _) => parent.place(train::ADAPTER),
        (None, Some(_)) => stage.place(train::ADAPTER),
        (None, None) => return,
    };
    sink.push(
        Diagnostic::new(
            Code::AdapterMismatch,
            "moments of an optimizer cannot be carried over with an adapter",
        )
        .at(stage.place(train::CARRY), "whose moments?")
        .also(place, "not all weights are trained")
        .help("leave `carry=` out"),
    );
}

/// Reports an export of the adapter of a stage that has none.
pub(super) fn lint_export(lineages: &Lineages<'_>, stage: &Stage, config: &ExportConfig, sink: &mut Sink) {
    let Some(parent) = lineages.parent(stage).filter(|_| config.format == ExportFormat::Peft) else { return };
    if matches!(&parent.config, StageConfig::Train(source) if source.adapter.is_some()) {
        return;
    }
    let message = format!("`{}` has no adapter to export", parent.name);
    sink.push(
        Diagnostic::new(Code::AdapterMismatch, message)
            .at(stage.place(export::FORMAT), "the adapter alone")
            .also(&parent.span, "trains none")
            .help("write `format=\"huggingface\"`"),
    );
}
