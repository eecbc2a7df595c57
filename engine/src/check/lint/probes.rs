//! Lints of a probe's samplers. A probe that fails ends nothing, so what would be an error elsewhere is a warning here.

use crate::check::lint::capacity::{PROBED_LENGTHS, find_length_path};
use crate::check::lint::lineage::Lineages;
use crate::check::lint::sampler_fit::{SamplerPlaces, check_sampler_fit};
use crate::check::lint::sampler_paths::number_requests;
use crate::check::lint::sampling::{
    PassPlaces, check_sampler_passes, find_trained_block, rows_without_canvas,
};
use crate::language::names::Declarations;
use crate::pipeline::config::train::ProbeSettings;
use crate::pipeline::config::{AttentionSchedule, Sampler, StageConfig, TrainConfig};
use crate::pipeline::field_path::{FieldPath, rows, train};
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Severity, Sink};
use crate::text::display::count_noun;
use crate::text::place::Span;

/// A use of a sampler in a probe.
struct ProbedSampler<'a> {
    sampler: &'a Sampler,
    /// Where it is named: at the request, or for the whole probe.
    place: &'a Span,
    /// Tokens of the answer, and where that is said; `None` if it is not known before the run.
    length: Option<(usize, &'a Span)>,
}

/// Warns about samplers that do not fit what the training makes, and about passes without effect. Each sampler is reported once.
pub(super) fn lint_probe(
    world: &Declarations,
    lineages: &Lineages<'_>,
    (stage, config): (&Stage, &TrainConfig),
    sink: &mut Sink,
) {
    let Some(probe) = &config.probe else { return };
    let (mut seen, mut found) = (Vec::new(), Sink::default());
    for used in list_samplers(lineages, stage, probe) {
        let name = used.sampler.name.as_str();
        let declared = world.of_kind("sampler").find(|record| record.name() == Some(name));
        let written = |field: &str| declared.and_then(|record| record.leaf(field)).map(|leaf| &leaf.span);
        let place = |field: &str| written(field).unwrap_or(used.place);
        if !seen.contains(&name) {
            seen.push(name);
            let (block, cache) = (place("block"), place("cache"));
            let places = SamplerPlaces { sampler: used.place, block, cache, kind: written("kind") };
            check_sampler_fit(lineages, stage, used.sampler, &places, &mut found);
            sink.extend(find_small_blocks(stage, config, probe, &used));
        }
        let trained = stage.place(train::ATTENTION);
        let places = PassPlaces { passes: place("passes"), block: place("block"), trained };
        if let Some(length) = used.length {
            check_sampler_passes(used.sampler, &places, length, find_trained_block(lineages, stage), sink);
        }
    }
    check_answer_lengths(lineages, stage, probe, &mut found);
    sink.extend(found.finish().into_iter().map(|fault| into_warning(stage, fault)));
}

/// Reports conversations that nobody can be asked, because their rows do not say how long an answer may be.
fn check_answer_lengths(lineages: &Lineages<'_>, stage: &Stage, probe: &ProbeSettings, sink: &mut Sink) {
    for (at, exact) in probe.exact_match.iter().enumerate() {
        let Some(rows) = lineages.input(stage, &exact.role) else { continue };
        if matches!(&rows.config, StageConfig::Rows(settings) if settings.canvas.is_none()) {
            sink.push(rows_without_canvas(stage, rows, train::NTH_PROBE_EXACT_MATCH_DATASET.nth(at)));
        }
    }
}

/// All samplers of a probe, with what each writes.
fn list_samplers<'a>(
    lineages: &Lineages<'a>,
    stage: &'a Stage,
    probe: &'a ProbeSettings,
) -> Vec<ProbedSampler<'a>> {
    let place = |own: FieldPath| {
        let field = stage.field(own).or_else(|| stage.field(train::PROBE_SAMPLER));
        field.map_or(&stage.span, |field| &field.span)
    };
    let prompts = probe.prompts.iter().zip(number_requests(&probe.prompts)).map(|(prompt, number)| {
        let length = lineages.canvas(stage).find_answer_length(prompt.most_tokens());
        let written = || stage.place(number.probed_length_path());
        let length = length.map(|(tokens, place)| (tokens, place.unwrap_or_else(written)));
        ProbedSampler { sampler: &prompt.sampler, place: place(number.probed_sampler_path()), length }
    });
    let matches = probe.exact_match.iter().enumerate().map(|(at, exact)| {
        let length = lineages.input(stage, &exact.role).and_then(|rows| match &rows.config {
            StageConfig::Rows(settings) => Some((settings.canvas?, rows.place(rows::CANVAS))),
            _ => None,
        });
        let own = train::NTH_PROBE_EXACT_MATCH_SAMPLER.nth(at);
        ProbedSampler { sampler: &exact.sampler, place: place(own), length }
    });
    let benchmarks = probe.benchmarks.iter().enumerate().filter_map(|(at, benchmark)| {
        let writing = benchmark.writing()?;
        let written = stage.place(find_length_path(writing.length, PROBED_LENGTHS).0.nth(at));
        let length = writing.length.most().map(|tokens| (tokens, written));
        let own = train::NTH_PROBE_BENCHMARK_SAMPLER.nth(at);
        Some(ProbedSampler { sampler: &writing.sampler, place: place(own), length })
    });
    prompts.chain(matches).chain(benchmarks).collect()
}

/// Warns about blocks of a sampler that do not divide those of an earlier phase in which probes are made.
fn find_small_blocks(
    stage: &Stage,
    config: &TrainConfig,
    probe: &ProbeSettings,
    used: &ProbedSampler<'_>,
) -> Option<Diagnostic> {
    let AttentionSchedule::Block { phases } = &config.attention else { return None };
    let block = used.sampler.block?;
    let mut start = 0;
    for (at, phase) in phases.iter().enumerate() {
        // The last phase is that of the finished checkpoint.
        let end = phase.until?.saturating_add(1);
        let probed = end / probe.every > start / probe.every;
        if probed && !phase.size.is_multiple_of(block) {
            let message = format!(
                "probes of `{}` fail until update {end}: the blocks of sampler `{}` do not divide {}",
                stage.name,
                used.sampler.name,
                count_noun(phase.size, "token")
            );
            return Some(
                Diagnostic::new(Code::ProbeMisfit, message)
                    .at(used.place, format!("blocks of {}", count_noun(block, "token")))
                    .also(stage.place(train::ATTENTION_NTH_SIZE.nth(at)), "smaller blocks at first")
                    .help("use a sampler without `block=`, which writes in the blocks of the moment"),
            );
        }
        start = end;
    }
    None
}

/// What would be an error of a stage that samples.
fn into_warning(stage: &Stage, fault: Diagnostic) -> Diagnostic {
    if fault.severity != Severity::Error {
        return fault;
    }
    let message = format!("probes of `{}` fail: {}", stage.name, fault.message);
    Diagnostic { code: Code::ProbeMisfit, severity: Code::ProbeMisfit.severity(), message, ..fault }
}
