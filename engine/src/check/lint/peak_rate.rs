//! Compares the peak learning rate with published runs that trained the same kind of model on the same kind of data.

use super::optimizer::format_learning_rate;
use crate::pipeline::Pipeline;
use crate::pipeline::config::train::Objective;
use crate::pipeline::config::{DatasetFormat, StageConfig, TrainConfig};
use crate::pipeline::cost::StageCost;
use crate::pipeline::field_path::train;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display;

/// A model with fewer parameters is small: it tolerates learning rates that would ruin a large one.
const SMALL_MODEL_PARAMETERS: u64 = 100_000_000;

/// The range of peaks that are not reported, and the published runs it comes from.
struct UsualPeak {
    /// What is trained.
    what: &'static str,
    /// Below this the model hardly learns.
    low: f64,
    /// Above this it diverges or forgets.
    high: f64,
    /// Peaks of published runs.
    taken: &'static str,
    /// The peak to suggest.
    advice: f64,
}

/// Small models: the sweeps of Wortsman et al., 2023, "Small-scale proxies for large-scale Transformer training
/// instabilities", find 1e-2 best and 1e-1 unstable.
const SMALL_MODEL: UsualPeak = UsualPeak {
    what: "a small model",
    low: 1e-5,
    high: 5e-2,
    taken: "1e-4 to 1e-2 (Wortsman et al., 2023)",
    advice: 1e-3,
};

/// From random weights: Brown et al., 2020, table 2.1, 6e-4 for 125 M parameters to 6e-5 for 175 B; LLaDA hit NaN at 4e-4.
const SCRATCH: UsualPeak = UsualPeak {
    what: "a model from random weights",
    low: 6e-6,
    high: 3e-3,
    taken: "6e-5 to 6e-4 (GPT-3)",
    advice: 3e-4,
};

/// From trained weights: Nemotron-Labs-Diffusion 1e-5, CoDA 3e-4.
const TRAINED: UsualPeak = UsualPeak {
    what: "a trained model",
    low: 1e-6,
    high: 1e-3,
    taken: "1e-5 (Nemotron-Labs-Diffusion) to 3e-4 (CoDA)",
    advice: 1e-4,
};

/// Conversations: Tülu 3 5e-6, CoDA 2e-5. Only for weights that were trained: a model from random weights has nothing to forget.
const CONVERSATIONS: UsualPeak = UsualPeak {
    what: "conversations with a trained model",
    low: 2e-7,
    high: 2e-4,
    taken: "5e-6 (Tülu 3) to 2e-5 (CoDA)",
    advice: 2e-5,
};

/// Warns about a peak far from the usual range. `root` is the stage that the weights start from.
pub(super) fn lint_peak_rate(
    pipeline: &Pipeline,
    (root, stage): (&Stage, &Stage),
    config: &TrainConfig,
    cost: &StageCost,
    sink: &mut Sink,
) {
    let Some(parameters) = cost.shape.map(|shape| shape.parameters()) else { return };
    let usual = find_usual_peak(pipeline, (root, stage), config, parameters);
    let peak = config.learning_rate.peak;
    if (usual.low..=usual.high).contains(&peak) {
        return;
    }
    let (word, effect) = if peak > usual.high { ("high", "far above") } else { ("low", "far below") };
    let message = format!(
        "a peak of {} is {word} for {} ({} parameters)",
        format_learning_rate(peak),
        usual.what,
        display::format_count(parameters as f64)
    );
    let diagnostic = Diagnostic::new(Code::UnusualLearningRate, message)
        .at(stage.place(train::LEARNING_RATE_PEAK), format!("{effect} {}", usual.taken))
        .also(&root.span, "the weights start here");
    sink.push(diagnostic.help(suggest_peak(config.learning_rate.final_value, usual.advice)));
}

/// What to write for a peak; a rate that ends above it needs another end.
fn suggest_peak(last: f64, peak: f64) -> String {
    let text = format_learning_rate(peak);
    match last > peak {
        true => format!("write `peak={text} final={}`", format_learning_rate(peak / 10.0)),
        false => format!("write `peak={text}`"),
    }
}

fn find_usual_peak(
    pipeline: &Pipeline,
    (root, stage): (&Stage, &Stage),
    config: &TrainConfig,
    parameters: u64,
) -> &'static UsualPeak {
    let scratch = matches!(root.config, StageConfig::RandomInit(_));
    let flow = matches!(config.objective, Objective::Flow { .. });
    match () {
        () if parameters < SMALL_MODEL_PARAMETERS => &SMALL_MODEL,
        () if has_only_conversations(pipeline, stage) && was_trained(pipeline, root, stage) => &CONVERSATIONS,
        () if scratch && !flow => &SCRATCH,
        () => &TRAINED,
    }
}

/// Whether the weights that `stage` starts from were trained, before or in this pipeline.
fn was_trained(pipeline: &Pipeline, root: &Stage, stage: &Stage) -> bool {
    let parent = |stage: &&Stage| pipeline.stages.parent(stage);
    let mut before = std::iter::successors(pipeline.stages.parent(stage), parent);
    !matches!(root.config, StageConfig::RandomInit(_))
        || before.any(|stage| matches!(stage.config, StageConfig::Train(_)))
}

fn has_only_conversations(pipeline: &Pipeline, stage: &Stage) -> bool {
    let mut rows = stage.rows().map(|id| &pipeline.stages[id]).peekable();
    let chat = |stage: &Stage| match &stage.config {
        StageConfig::Rows(config) => matches!(config.dataset.format, DatasetFormat::Chat { .. }),
        _ => false,
    };
    rows.peek().is_some() && rows.all(chat)
}
