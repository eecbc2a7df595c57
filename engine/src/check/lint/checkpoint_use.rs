//! Lints of stages that use a checkpoint: conversions, samplers, required scores.

use crate::check::lint::attention;
use crate::check::lint::growth;
use crate::check::lint::lineage::Lineages;
use crate::check::lint::requests;
use crate::check::lint::sampler_fit::{SamplerPlaces, check_sampler_fit};
use crate::check::lint::sampler_paths::SamplerPaths;
use crate::pipeline::config::{
    ConvertConfig, EvaluateConfig, GenerateConfig, MaskToken, Sampler, StageConfig, TokenizerChoice,
};
use crate::pipeline::contract::ModelKind;
use crate::pipeline::field_path::FieldPath;
use crate::pipeline::field_path::{convert, evaluate, rows};
use crate::pipeline::origins::ContractFact;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;

/// Reports a conversion of a flow checkpoint, or one whose mask token cannot be determined.
pub(super) fn lint_conversion(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &ConvertConfig,
    sink: &mut Sink,
) {
    if config.mask_token == MaskToken::Reserved && config.tokenizer == TokenizerChoice::None {
        sink.push(
            Diagnostic::new(Code::ConflictingFields, "the reserved row cannot be found without a tokenizer")
                .at(stage.place(convert::MASK_TOKEN), "the first entry that no token uses")
                .also(stage.place(convert::TOKENIZER), "no tokenizer")
                .help("write the number of a row, such as `mask-token 151669`, or name a tokenizer"),
        );
    }
    check_converted_before(lineages, stage, sink);
}

/// Reports a conversion of a checkpoint that is already a flow checkpoint.
pub(super) fn check_converted_before(lineages: &Lineages<'_>, stage: &Stage, sink: &mut Sink) {
    let Some(parent) = lineages.parent(stage) else { return };
    let Some(known) = lineages.contract(parent) else { return };
    if known.contract.kind == ModelKind::Flow {
        let message = format!("`{}` converts a checkpoint that is already converted", stage.name);
        let help = suggest_parent(stage, parent);
        let diagnostic = Diagnostic::new(Code::AlreadyConverted, message)
            .at(stage.place(convert::FROM), "a flow checkpoint")
            .help(help);
        sink.push(known.show_fact(ContractFact::Kind, diagnostic, "converted here"));
    }
}

/// What to write in place of a conversion of `parent`.
fn suggest_parent(stage: &Stage, parent: &Stage) -> String {
    let name = &stage.name;
    match parent.field_at("from").and_then(|field| field.value.as_str()) {
        // A fetch that the conversion implies has no name that another stage could use.
        Some(from) if parent.span.key() == stage.span.key() => {
            format!("write `fetch \"{name}\" from=\"{from}\"` in place of the conversion")
        }
        _ => format!("remove `convert \"{name}\"` and start from `{}` itself", parent.name),
    }
}

/// Reports samplers that do not fit their checkpoint, data that is not held out, and required scores that are not measured.
pub(super) fn lint_evaluated_checkpoints(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &EvaluateConfig,
    sink: &mut Sink,
) {
    check_measured_checkpoints(lineages, stage, config, sink);
    requests::check_measured_gaps(stage, config, sink);
    for (at, one) in config.held_out.iter().enumerate() {
        check_held_out_documents(lineages, stage, evaluate::NTH_HELD_OUT_DATASET.nth(at), &one.role, sink);
    }
    for (at, one) in config.exact_match.iter().enumerate() {
        check_held_out_documents(lineages, stage, evaluate::NTH_EXACT_MATCH_DATASET.nth(at), &one.role, sink);
    }
    for (at, require) in config.require.iter().enumerate() {
        if !config.checkpoints.contains(&require.checkpoint) {
            let span = stage.place(evaluate::NTH_REQUIRE.nth(at));
            sink.push(unmeasured_checkpoint(stage, &require.checkpoint, span));
        } else if config.exact_match.is_empty() && config.benchmarks.is_empty() {
            let span = stage.place(evaluate::NTH_REQUIRE_AT_LEAST.nth(at));
            sink.push(unmeasured_score(stage, span));
        }
    }
}

/// Reports samplers that do not fit the checkpoints they are measured on.
pub(super) fn check_measured_checkpoints(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &EvaluateConfig,
    sink: &mut Sink,
) {
    let exact = config.exact_match.iter().enumerate().map(|(at, exact)| {
        let paths = SamplerPaths::for_exact_match(at);
        (Some((&exact.sampler, paths)), evaluate::NTH_EXACT_MATCH_DATASET.nth(at))
    });
    let benchmarks = config.benchmarks.iter().enumerate().map(|(at, benchmark)| {
        let sampler = benchmark.writing().map(|writing| &writing.sampler);
        (sampler.zip(Some(SamplerPaths::for_benchmark(at))), evaluate::NTH_BENCHMARK.nth(at))
    });
    let measured: Vec<_> = exact.chain(benchmarks).collect();
    let named = config.checkpoints.iter();
    for checkpoint in named.filter_map(|name| lineages.input(stage, &InputRole::Checkpoint(name.clone()))) {
        attention::check_measured_suffixes(lineages, stage, config, checkpoint, sink);
        for (sampler, what) in &measured {
            if let Some((sampler, paths)) = *sampler {
                check_sampler_checkpoint(lineages, checkpoint, sampler, (stage, paths), sink);
            }
            requests::check_tokenizer_present(lineages, (stage, stage.place(*what)), checkpoint, sink);
        }
    }
}

/// Reports a measurement on a dataset that holds no documents out: the score would be on training data.
fn check_held_out_documents(
    lineages: &Lineages<'_>,
    stage: &Stage,
    dataset: FieldPath,
    role: &InputRole,
    sink: &mut Sink,
) {
    let Some(rows) = lineages.input(stage, role) else { return };
    let StageConfig::Rows(config) = &rows.config else { return };
    if config.dataset.held_out > 0.0 {
        return;
    }
    let name = &config.dataset.name;
    sink.push(
        Diagnostic::new(
            Code::NothingHeldOut,
            format!("dataset `{name}` has no held-out documents to measure"),
        )
        .at(stage.place(dataset), "only held-out documents are measured")
        .also(rows.place(rows::DATASET_HELD_OUT), "nothing is held out")
        .help(format!("write `held-out=\"2%\"` in dataset `{name}`")),
    );
}

fn unmeasured_checkpoint(stage: &Stage, name: &str, span: &Span) -> Diagnostic {
    let message = format!("`{}` requires a score for `{name}` but does not measure it", stage.name);
    Diagnostic::new(Code::RequireNotMeasured, message)
        .at(span, "not among the checkpoints")
        .also(stage.place(evaluate::NTH_CHECKPOINT.nth(0)), "the checkpoints")
        .help(format!("add `\"{name}\"` to `checkpoint`, or remove the `require`"))
}

fn unmeasured_score(stage: &Stage, span: &Span) -> Diagnostic {
    let message = format!("`{}` requires an exact-match score but does not measure one", stage.name);
    Diagnostic::new(Code::RequireNotMeasured, message)
        .at(span, "on which dataset?")
        .help("add an `exact-match`; `fmflow explain exact-match` shows one")
}

/// Reports samplers and gaps that do not fit the checkpoint.
pub(super) fn lint_generation_checkpoint(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &GenerateConfig,
    sink: &mut Sink,
) {
    let Some(checkpoint) = lineages.parent(stage) else { return };
    attention::check_infill_suffixes(lineages, stage, config, checkpoint, sink);
    growth::check_growing_gaps(lineages, stage, config, sink);
    let mut seen = Vec::new();
    for (prompt, paths) in config.prompts.iter().zip(SamplerPaths::for_prompts(stage, config)) {
        // One report for each sampler, however many requests use it.
        if seen.contains(&&prompt.sampler.name) {
            continue;
        }
        seen.push(&prompt.sampler.name);
        check_sampler_checkpoint(lineages, checkpoint, &prompt.sampler, (stage, paths), sink);
    }
}

/// Reports a sampler that does not fit `checkpoint`; `stage` names the sampler at `paths`.
fn check_sampler_checkpoint(
    lineages: &Lineages<'_>,
    checkpoint: &Stage,
    sampler: &Sampler,
    (stage, paths): (&Stage, SamplerPaths),
    sink: &mut Sink,
) {
    let span = stage.place(paths.sampler);
    let place = |path: FieldPath| stage.field(path).map_or(span, |field| &field.span);
    let places = SamplerPlaces {
        sampler: span,
        block: place(paths.block),
        cache: place(paths.cache),
        kind: Some(stage.place(paths.kind)),
    };
    check_sampler_fit(lineages, checkpoint, sampler, &places, sink);
}
