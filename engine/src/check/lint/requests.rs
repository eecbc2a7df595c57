//! Lints of the requests of `generate`: gaps without a beginning, gaps for a sampler that reads from left to right, text for a
//! checkpoint that has no tokenizer.

use fmflow_grade::problem::Layout;

use crate::check::lint::lineage::Lineages;
use crate::check::lint::sampler_paths::{PromptNumber, number_requests};

use crate::pipeline::config::{EvaluateConfig, GenerateConfig, PromptKind, StageConfig, TokenizerChoice};
use crate::pipeline::contract::ModelKind;
use crate::pipeline::field_path::{convert, evaluate, generate};
use crate::pipeline::origins::ContractFact;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;

/// Runs the lints of the requests of one stage.
pub(super) fn lint_requests(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &GenerateConfig,
    sink: &mut Sink,
) {
    for (prompt, number) in config.prompts.iter().zip(number_requests(&config.prompts)) {
        let PromptKind::Infill { prefix, .. } = &prompt.kind else { continue };
        let left_to_right = prompt.sampler.reads_next_tokens();
        if prefix.is_empty() {
            sink.extend(gap_without_beginning(lineages, stage, number, left_to_right));
        }
        if left_to_right && prompt.kind.has_text_behind() {
            sink.push(suffix_for_left_to_right(stage, number, &prompt.sampler.name));
        }
    }
    if let Some(checkpoint) = lineages.parent(stage) {
        let place = stage.place(generate::FROM);
        check_tokenizer_present(lineages, (stage, place), checkpoint, sink);
    }
}

/// A gap at the beginning of a text, where the sampler or the model needs something before it.
fn gap_without_beginning(
    lineages: &Lineages<'_>,
    stage: &Stage,
    number: PromptNumber,
    left_to_right: bool,
) -> Option<Diagnostic> {
    let at = |message: &str| {
        Diagnostic::new(Code::OutOfRange, message)
            .at(stage.place(generate::NTH_INFILL_PREFIX.nth(number.number)), "nothing to start from")
    };
    if left_to_right {
        let found = at("an autoregressive sampler cannot write the beginning of a text");
        return Some(found.help("write some text in `prefix=`, or use a sampler for flow models"));
    }
    let known = lineages.parent(stage).and_then(|checkpoint| lineages.contract(checkpoint))?;
    if known.contract.kind != ModelKind::Flow || !known.contract.shift {
        return None;
    }
    let found = at("with a shift nothing predicts the first token of a text")
        .help("write some text in `prefix=`, or convert with `shift #false`");
    Some(known.show_fact(ContractFact::Shift, found, "each token is predicted at the one before it"))
}

/// Reports an infilling benchmark for a sampler that does not see the suffixes.
pub(super) fn check_measured_gaps(stage: &Stage, config: &EvaluateConfig, sink: &mut Sink) {
    for (at, benchmark) in config.benchmarks.iter().enumerate() {
        let Some(writing) = benchmark.writing() else { continue };
        if benchmark.layout == Layout::Infilling && writing.sampler.reads_next_tokens() {
            let place = stage.place(evaluate::NTH_BENCHMARK_SAMPLER.nth(at));
            sink.push(
                unseen_suffix(&writing.sampler.name, place, "its gaps are filled by the prefix alone")
                    .help("declare `sampler \"by-confidence\" kind=\"confidence\" passes=16` and write `sampler=\"by-confidence\"`, for flow checkpoints"),
            );
        }
    }
}

fn unseen_suffix(sampler: &str, place: &Span, label: &str) -> Diagnostic {
    let message =
        format!("sampler `{sampler}` writes from left to right and does not see what follows a gap");
    Diagnostic::new(Code::SuffixUnseen, message).at(place, label)
}

fn suffix_for_left_to_right(stage: &Stage, number: PromptNumber, sampler: &str) -> Diagnostic {
    let place = stage.place(generate::NTH_INFILL_SUFFIX.nth(number.number));
    unseen_suffix(sampler, place, "has no effect on the gap")
        .help("declare `sampler \"by-confidence\" kind=\"confidence\" passes=16` and write `sampler=\"by-confidence\"`, or write `suffix=\"\"`")
}

/// Reports text that is given to a checkpoint converted without a tokenizer.
pub(super) fn check_tokenizer_present(
    lineages: &Lineages<'_>,
    (user, place): (&Stage, &Span),
    checkpoint: &Stage,
    sink: &mut Sink,
) {
    let converted = find_conversion(lineages, checkpoint);
    let Some((conversion, StageConfig::Convert(config))) = converted.map(|stage| (stage, &stage.config))
    else {
        return;
    };
    if config.tokenizer != TokenizerChoice::None {
        return;
    }
    let message = format!("`{}` gives text to `{}`, which has no tokenizer", user.name, checkpoint.name);
    sink.push(
        Diagnostic::new(Code::ConflictingFields, message)
            .at(place, "needs a tokenizer")
            .also(conversion.place(convert::TOKENIZER), "converted without one")
            .help("remove `tokenizer \"none\"`, or name a tokenizer there"),
    );
}

/// The nearest conversion among `checkpoint` and the stages that it starts from.
fn find_conversion<'a>(lineages: &Lineages<'a>, checkpoint: &'a Stage) -> Option<&'a Stage> {
    let mut stage = checkpoint;
    while !matches!(stage.config, StageConfig::Convert(_)) {
        stage = lineages.parent(stage)?;
    }
    Some(stage)
}
