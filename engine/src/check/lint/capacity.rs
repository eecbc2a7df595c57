//! Lints of lengths: a canvas must fit into its rows; rows, and a request with its answer, into the model's context.

use crate::check::lint::checkpoint_folders::find_tokenizer_source;
use crate::check::lint::context::KnownContext;
use crate::check::lint::lineage::Lineages;
use crate::check::lint::sampler_paths::number_requests;

use crate::pipeline::checkpoint_headers::TokenTable;
use crate::pipeline::config::sample::AnswerLength;
use crate::pipeline::config::{
    EvaluateConfig, FetchConfig, GenerateConfig, Prompt, PromptKind, RowsConfig, StageConfig,
    TokenizerConfig, TrainConfig,
};
use crate::pipeline::field_path::{FieldPath, evaluate, rows, train};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display::count_noun;
use crate::text::place::Span;

/// Reports a canvas that leaves no room for a prompt.
pub(super) fn check_canvas_length(stage: &Stage, config: &RowsConfig, sink: &mut Sink) {
    let Some(canvas) = config.canvas.filter(|canvas| *canvas >= config.length) else { return };
    let message =
        format!("a canvas of {canvas} tokens and a prompt do not fit into rows of {}", config.length);
    let help = match config.length / 2 {
        0 => "use longer rows".to_owned(),
        half => format!("write `canvas={half}`, or use longer rows"),
    };
    sink.push(
        Diagnostic::new(Code::OutOfRange, message)
            .at(stage.place(rows::CANVAS), "no room for a prompt")
            .also(stage.place(rows::LENGTH), "tokens in a row")
            .help(help),
    );
}

/// Reports rows that are longer than the context of the model that `user` gives them to.
pub(super) fn check_row_length(
    rows: &Stage,
    context: KnownContext<'_>,
    (user, place): (&Stage, &Span),
    sink: &mut Sink,
) {
    let StageConfig::Rows(config) = &rows.config else { return };
    let (length, most) = (config.length, context.tokens);
    if length <= most {
        return;
    }
    let name = &context.root.name;
    let message = format!("rows of {length} tokens do not fit into the context of `{name}`: {most}");
    let found =
        Diagnostic::new(Code::RowOverContext, message).at(rows.place(rows::LENGTH), format!("over {most}"));
    let shorter = format!("write `length={most}`");
    let help = match context.suggest_longer(length) {
        Some(longer) => format!("{longer}, or `length={most}` in the rows"),
        None => shorter,
    };
    sink.push(context.show(found).also(place, format!("used by `{}`", user.name)).help(help));
}

/// Reports measurements whose rows or answers do not fit into the context of a measured checkpoint.
pub(super) fn check_measured_lengths(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &EvaluateConfig,
    sink: &mut Sink,
) {
    let checkpoint = |name: &String| lineages.input(stage, &InputRole::Checkpoint(name.clone()));
    let checkpoints = config.checkpoints.iter().filter_map(checkpoint);
    for context in checkpoints.filter_map(|checkpoint| KnownContext::find(lineages, checkpoint)) {
        for (at, one) in config.held_out.iter().enumerate() {
            if let Some(rows) = lineages.input(stage, &one.role) {
                let place = stage.place(evaluate::NTH_HELD_OUT_DATASET.nth(at));
                check_row_length(rows, context, (stage, place), sink);
            }
        }
        for (at, one) in config.exact_match.iter().enumerate() {
            let Some(rows) = lineages.input(stage, &one.role) else { continue };
            let StageConfig::Rows(settings) = &rows.config else { continue };
            let Some(canvas) = settings.canvas else { continue };
            if canvas >= context.tokens {
                let place = stage.place(evaluate::NTH_EXACT_MATCH_DATASET.nth(at));
                sink.push(canvas_over_context(stage, (rows, canvas), context, place));
            }
        }
        for (at, benchmark) in config.benchmarks.iter().enumerate() {
            let Some(length) = benchmark.writing().map(|writing| writing.length) else { continue };
            let Some(tokens) = length.most().filter(|tokens| *tokens >= context.tokens) else { continue };
            let (path, word) = find_length_path(length, MEASURED_LENGTHS);
            sink.push(answer_over_context(stage, tokens, context, (stage.place(path.nth(at)), word, 0)));
        }
    }
}

/// Reports answers of a probe that fill the context of the training's model, so that nothing can be asked.
pub(super) fn check_probe_lengths(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &TrainConfig,
    sink: &mut Sink,
) {
    let (Some(probe), Some(context)) = (&config.probe, KnownContext::find(lineages, stage)) else { return };
    let prompts = probe.prompts.iter().zip(number_requests(&probe.prompts));
    let prompts = prompts.filter_map(|(prompt, number)| {
        Some((prompt.most_tokens()?, number.probed_length_path(), number.length_word()))
    });
    let benchmarks = probe.benchmarks.iter().enumerate().filter_map(|(at, benchmark)| {
        let length = benchmark.writing()?.length;
        let (path, word) = find_length_path(length, PROBED_LENGTHS);
        Some((length.most()?, path.nth(at), word))
    });
    for (tokens, path, word) in prompts.chain(benchmarks) {
        if tokens >= context.tokens {
            sink.push(answer_over_context(stage, tokens, context, (stage.place(path), word, 0)));
        }
    }
}

/// The settings of the length of answers to a benchmark of an evaluation.
pub(super) const MEASURED_LENGTHS: [FieldPath; 2] =
    [evaluate::NTH_BENCHMARK_LENGTH, evaluate::NTH_BENCHMARK_GAP];

/// The same settings of a benchmark of a probe.
pub(super) const PROBED_LENGTHS: [FieldPath; 2] =
    [train::NTH_PROBE_BENCHMARK_LENGTH, train::NTH_PROBE_BENCHMARK_GAP];

/// Which of the settings of the length of a benchmark's answers is the one of this length, and its name.
pub(super) fn find_length_path(
    length: AnswerLength,
    [at_most, gap]: [FieldPath; 2],
) -> (FieldPath, &'static str) {
    match length {
        AnswerLength::AtMost(_) => (at_most, "new-tokens"),
        AnswerLength::Gap(_) => (gap, "length"),
    }
}

fn canvas_over_context(
    stage: &Stage,
    (rows, canvas): (&Stage, usize),
    context: KnownContext<'_>,
    place: &Span,
) -> Diagnostic {
    let message = format!(
        "`{}` asks for answers of {canvas} tokens, but the context of `{}` is {}",
        stage.name, context.root.name, context.tokens
    );
    let found = Diagnostic::new(Code::RowOverContext, message)
        .at(rows.place(rows::CANVAS), "no room for a question")
        .also(place, "measured here");
    let shorter = format!("write `canvas={}`", (context.tokens / 2).max(1));
    context.show(found).help(shorter)
}

/// Reports requests that do not fit into the model's context together with their answers. Their number of tokens is not known
/// here; a bound is.
pub(super) fn check_prompt_lengths(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &GenerateConfig,
    sink: &mut Sink,
) {
    let Some(from) = lineages.parent(stage) else { return };
    let Some(context) = KnownContext::find(lineages, from) else { return };
    let mut tokenizer = None;
    for (prompt, number) in config.prompts.iter().zip(number_requests(&config.prompts)) {
        let answer = lineages.canvas(from).find_answer_length(prompt.most_tokens());
        let Some((answer, _)) = answer else { continue };
        let bytes = count_prompt_bytes(prompt);
        if answer.saturating_add(bytes) <= context.tokens {
            continue;
        }
        if answer.saturating_add(usize::from(bytes > 0)) > context.tokens {
            let place = (stage.place(number.length_path()), number.length_word(), bytes);
            sink.push(answer_over_context(stage, answer, context, place));
            continue;
        }
        let table = tokenizer.get_or_insert_with(|| read_tokens(lineages, from));
        let least = table.as_ref().and_then(|table| bound_prompt_tokens(prompt, table));
        if let Some(least) = least.filter(|least| least + answer > context.tokens) {
            let (place, takes) =
                (stage.place(number.text_path()), format!("at least {}", count_noun(least, "token")));
            sink.push(prompt_over_context(stage, (place, &takes, answer), context));
        }
    }
}

/// Bytes of the text of a request: with a byte-level tokenizer no text takes more tokens.
fn count_prompt_bytes(prompt: &Prompt) -> usize {
    match &prompt.kind {
        PromptKind::Chat(turns) => turns.iter().map(|turn| turn.content.len()).sum(),
        PromptKind::Text(text) => text.len(),
        PromptKind::Infill { prefix, more, suffix } => {
            prefix.len() + suffix.len() + more.iter().map(|gap| gap.before.len()).sum::<usize>()
        }
    }
}

fn bound_prompt_tokens(prompt: &Prompt, table: &TokenTable) -> Option<usize> {
    match &prompt.kind {
        PromptKind::Chat(turns) => turns.iter().map(|turn| table.bound_tokens(&turn.content)).sum(),
        PromptKind::Text(text) => table.bound_tokens(text),
        PromptKind::Infill { prefix, more, suffix } => {
            let between = more.iter().map(|gap| table.bound_tokens(&gap.before)).sum::<Option<usize>>()?;
            Some(table.bound_tokens(prefix)? + between + table.bound_tokens(suffix)?)
        }
    }
}

/// The tokens of a checkpoint's tokenizer, if its file is at hand.
fn read_tokens(lineages: &Lineages<'_>, from: &Stage) -> Option<TokenTable> {
    match &find_tokenizer_source(lineages, from)?.config {
        StageConfig::Tokenizer(TokenizerConfig::File(file)) => TokenTable::read(file),
        StageConfig::Fetch(FetchConfig::Folder(folder)) => TokenTable::read(&folder.join("tokenizer.json")),
        _ => None,
    }
}

/// An answer that fills the context alone. `word` is the field of its length, `bytes` the length of the request's text.
fn answer_over_context(
    stage: &Stage,
    answer: usize,
    context: KnownContext<'_>,
    (place, word, bytes): (&Span, &str, usize),
) -> Diagnostic {
    let most = context.tokens;
    let message = format!(
        "`{}` asks for {}, but the context of `{}` is {most}, prompt included",
        stage.name,
        count_noun(answer, "new token"),
        context.root.name
    );
    let found = Diagnostic::new(Code::RowOverContext, message).at(place, "no room for them");
    let half = (most / 2).max(1);
    let help = match bytes <= most - half {
        true => format!("write `{word}={half}`"),
        false => format!("write `{word}={half}` and a shorter prompt"),
    };
    context.show(found).help(help)
}

/// A request that leaves no room for its answer; `takes` says how many tokens its text takes.
pub(super) fn prompt_over_context(
    stage: &Stage,
    (place, takes, answer): (&Span, &str, usize),
    context: KnownContext<'_>,
) -> Diagnostic {
    let message = format!(
        "a request of `{}` takes {takes} and its answer {answer}, but the context of `{}` is {}",
        stage.name, context.root.name, context.tokens
    );
    let found = Diagnostic::new(Code::RowOverContext, message).at(place, "too long");
    context.show(found).help("write a shorter prompt, or ask for fewer new tokens")
}
