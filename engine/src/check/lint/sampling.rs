//! Lints of samplers: filters without effect, passes against the length of the answer, equal samples.

use crate::check::lint::capacity::{MEASURED_LENGTHS, find_length_path};
use crate::check::lint::lineage::Lineages;

use crate::check::lint::lineage::TrainedCanvas;
use crate::check::lint::rows::find_rows_name;
use crate::check::lint::sampler_paths::{PromptNumber, SamplerPaths, number_requests};
use crate::language::record::Record;
use crate::language::schema::CanonicalValue;
use crate::pipeline::config::{EvaluateConfig, GenerateConfig, Sampler, SamplerKind, StageConfig};
use crate::pipeline::field_path::{FieldPath, evaluate, generate, rows};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display::count_noun;
use crate::text::place::Span;

/// Warns about `top-k` and `top-p` at temperature 0: the argmax ignores them.
pub(super) fn check_sampler_filters(record: &Record, sink: &mut Sink) {
    let Some(temperature) =
        record.leaf("temperature").filter(|leaf| leaf.value == CanonicalValue::Number(0.0))
    else {
        return;
    };
    for name in ["top-k", "top-p"] {
        let Some(leaf) = record.leaf(name) else { continue };
        sink.push(
            Diagnostic::new(
                Code::FieldDoesNotApply,
                format!("`{name}` has an effect only if `temperature` is above 0"),
            )
            .at(&leaf.span, "no effect")
            .also(&temperature.span, "the argmax is taken")
            .help(format!("write `temperature=0.7`, or remove `{name}`")),
        );
    }
}

/// Runs the sampler lints of an evaluation.
pub(super) fn lint_evaluation_sampling(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &EvaluateConfig,
    sink: &mut Sink,
) {
    for (at, exact) in config.exact_match.iter().enumerate() {
        let Some(rows) = lineages.input(stage, &exact.role) else { continue };
        let StageConfig::Rows(settings) = &rows.config else { continue };
        match settings.canvas {
            None => sink.push(rows_without_canvas(stage, rows, evaluate::NTH_EXACT_MATCH_DATASET.nth(at))),
            Some(canvas) => {
                let places = PassPlaces::of(stage, SamplerPaths::for_exact_match(at));
                let length = (canvas, rows.place(rows::CANVAS));
                let trained = find_largest_trained_block(lineages, stage, config);
                check_sampler_passes(&exact.sampler, &places, length, trained, sink);
            }
        }
    }
    for (at, benchmark) in config.benchmarks.iter().enumerate() {
        let Some(writing) = benchmark.writing() else { continue };
        check_equal_samples(stage, at, sink);
        // A gap as long as the reference differs from problem to problem.
        let Some(tokens) = writing.length.most() else { continue };
        let length = (tokens, stage.place(find_length_path(writing.length, MEASURED_LENGTHS).0.nth(at)));
        let trained = find_largest_trained_block(lineages, stage, config);
        let places = PassPlaces::of(stage, SamplerPaths::for_benchmark(at));
        check_sampler_passes(&writing.sampler, &places, length, trained, sink);
    }
}

pub(super) fn rows_without_canvas(stage: &Stage, rows: &Stage, dataset: FieldPath) -> Diagnostic {
    let name = find_rows_name(rows);
    Diagnostic::new(
        Code::NoCanvas,
        format!("`{}` does not say how many tokens an answer may have", stage.name),
    )
    .at(stage.place(dataset), "answers of what length?")
    .also(&rows.span, "rows without a canvas")
    .help(format!("add `canvas=16` to rows `{name}`"))
}

/// Runs the sampler lints of requests.
pub(super) fn lint_generation_sampling(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &GenerateConfig,
    sink: &mut Sink,
) {
    let Some(checkpoint) = lineages.parent(stage) else { return };
    let canvas = lineages.canvas(checkpoint);
    let trained = find_trained_block(lineages, checkpoint);
    let numbered = config.prompts.iter().zip(number_requests(&config.prompts));
    for ((prompt, number), sampler) in numbered.zip(SamplerPaths::for_prompts(stage, config)) {
        let places = PassPlaces::of(stage, sampler);
        match (prompt.new_tokens, canvas) {
            (Some(tokens), _) => {
                let length = (tokens, stage.place(number.length_path()));
                check_sampler_passes(&prompt.sampler, &places, length, trained, sink);
            }
            (None, TrainedCanvas::Known(place, tokens)) => {
                check_sampler_passes(&prompt.sampler, &places, (tokens, place), trained, sink);
            }
            (None, TrainedCanvas::None) => sink.push(answer_without_length(stage, checkpoint, number)),
            (None, TrainedCanvas::Unknown) => {}
        }
    }
}

fn answer_without_length(stage: &Stage, checkpoint: &Stage, chat: PromptNumber) -> Diagnostic {
    let message = format!("`{}` does not say how long the answer to a `chat` may be", stage.name);
    Diagnostic::new(Code::NoCanvas, message)
        .at(stage.place(generate::NTH_CHAT.nth(chat.number)), "an answer of what length?")
        .also(&checkpoint.span, "not trained with a canvas")
        .help("add `new-tokens=64`")
}

/// The block that a checkpoint was trained with: what a sampler without `block=` writes in.
pub(super) fn find_trained_block(lineages: &Lineages<'_>, checkpoint: &Stage) -> Option<usize> {
    lineages.contract(checkpoint)?.contract.block
}

/// The largest block that the measured checkpoints were trained with; `None` if one of them has no blocks or is not known.
fn find_largest_trained_block(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &EvaluateConfig,
) -> Option<usize> {
    let block = |name: &String| {
        let checkpoint = lineages.input(stage, &InputRole::Checkpoint(name.clone()))?;
        find_trained_block(lineages, checkpoint)
    };
    let blocks: Option<Vec<usize>> = config.checkpoints.iter().map(block).collect();
    blocks?.into_iter().max()
}

/// Where it is said how many passes a sampler takes, and for how many tokens.
pub(super) struct PassPlaces<'a> {
    pub(super) passes: &'a Span,
    /// Its own block.
    pub(super) block: &'a Span,
    /// The block that the checkpoint was trained with.
    pub(super) trained: &'a Span,
}

impl<'a> PassPlaces<'a> {
    fn of(stage: &'a Stage, paths: SamplerPaths) -> Self {
        Self {
            passes: stage.place(paths.passes),
            block: stage.place(paths.block),
            trained: stage.parent_place(),
        }
    }
}

/// Warns about a sampler that reveals everything before its last pass. `length` is that of the answer, `trained` the
/// checkpoint's own block.
pub(super) fn check_sampler_passes(
    sampler: &Sampler,
    places: &PassPlaces<'_>,
    (tokens, length): (usize, &Span),
    trained: Option<usize>,
    sink: &mut Sink,
) {
    let SamplerKind::Reveal { passes, .. } = sampler.kind else { return };
    let (tokens, length) = match (sampler.block.filter(|block| *block < tokens), trained) {
        (Some(block), _) => (block, places.block),
        (None, Some(block)) if sampler.block.is_none() && block < tokens => (block, places.trained),
        _ => (tokens, length),
    };
    if passes <= tokens {
        return;
    }
    let message = format!(
        "sampler `{}` takes {} for {}",
        sampler.name,
        count_noun(passes, "pass"),
        count_noun(tokens, "token")
    );
    sink.push(
        Diagnostic::new(Code::MoreStepsThanTokens, message)
            .at(places.passes, "every pass reveals at least one token")
            .also(length, "tokens to reveal")
            .help(format!("write `passes={tokens}`")),
    );
}

/// Warns about several samples that would all be the same text.
fn check_equal_samples(stage: &Stage, benchmark: usize, sink: &mut Sink) {
    let setting = |path: FieldPath| stage.field(path.nth(benchmark));
    let (samples, temperature) =
        (setting(evaluate::NTH_BENCHMARK_SAMPLES), setting(evaluate::NTH_BENCHMARK_TEMPERATURE));
    let (Some(samples), Some(temperature)) = (samples, temperature) else { return };
    let count = samples.value.as_u64().expect("a number of samples is a whole number from 1 on");
    let random = setting(evaluate::NTH_BENCHMARK_KIND).is_some_and(|kind| kind.value == "euler");
    if count < 2 || random || temperature.value.as_f64() != Some(0.0) {
        return;
    }
    let message = format!("{count} samples without randomness are {count} times the same text");
    sink.push(
        Diagnostic::new(Code::EqualSamples, message)
            .at(&samples.span, "one is enough")
            .also(&temperature.span, "the argmax is taken")
            .help("write `samples=1`, or a sampler with `temperature=0.8`"),
    );
}
