//! The `README.md` of an exported folder: what the weights are for, and what they do in a program that only knows Qwen3.
//!
//! The text is part of the artifact: whoever changes a word has to raise the code revision of `export`, which makes every export again.

use fmflow_engine::pipeline::config::train::Scheduler;

use super::sidecar::{self, to_torch_name};
use super::{CONDITIONING, Export, sdar};
use crate::backbone::{Attention, TimeConditioning};
use fmflow_engine::pipeline::contract::{Contract, ModelKind};
use fmflow_engine::text::escape::escape_line;

/// Describes the model in one line.
pub(super) fn describe_model(contract: &Contract) -> String {
    match (contract.kind, contract.mask_token) {
        (ModelKind::Flow, Some(mask)) => {
            format!(
                "a discrete flow matching model; mask token {mask}, {} attention",
                describe_attention(contract)
            )
        }
        (ModelKind::Flow, None) => {
            format!("a discrete flow matching model, {} attention", describe_attention(contract))
        }
        (ModelKind::Autoregressive, _) => "an autoregressive model".into(),
    }
}

fn describe_attention(contract: &Contract) -> String {
    match contract.attention {
        Attention::Causal => "causal".into(),
        Attention::Bidirectional => "bidirectional".into(),
        Attention::BlockCausal { block } => format!("block-causal ({block} tokens)"),
    }
}

/// The whole text of the file.
pub(super) fn render_readme(export: &Export<'_>, conditioned: bool) -> String {
    let (contract, dtype) = (export.contract, to_torch_name(export.dtype));
    let mut text = format!(
        "# Exported by fmflow\n\nThis is {}. The weights are those of a Qwen3 in {dtype}, under the names of Hugging Face\n\
         transformers; `fmflow.json` holds the whole contract.\n",
        describe_model(contract),
    );
    let mut facts = list_computation_facts(export);
    match contract.kind {
        ModelKind::Autoregressive => {
            text.push_str(&render_facts_table(&facts));
            text.push_str(AUTOREGRESSIVE);
        }
        ModelKind::Flow => {
            facts.splice(0..0, list_flow_facts(contract));
            text.push_str(&render_facts_table(&facts));
            text.push_str(&describe_sampling(contract));
            match (export.sdar, contract.mask_token) {
                (Some(block), Some(mask)) => {
                    text.push_str(&sdar::render_readme(block, mask, export.text.is_some()));
                }
                _ => text.push_str(&describe_causal_use(contract, conditioned)),
            }
        }
    }
    text
}

const AUTOREGRESSIVE: &str = "\n## Use\n\nPosition i predicts token i + 1 under a causal mask: `AutoModelForCausalLM.from_pretrained(folder)` and\n`generate` do what they always do.\n";

/// Names and values of what a flow model needs besides the weights.
fn list_flow_facts(contract: &Contract) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("attention", describe_attention(contract)),
        (
            "mask token",
            contract
                .mask_token
                .map_or("none".into(), |id| format!("id {id}; it stands for no text and is never emitted")),
        ),
        (
            "shift",
            match contract.shift {
                true => "position i predicts token i + 1".into(),
                false => "position i predicts the token at i".into(),
            },
        ),
        ("time", contract.time_direction.clone()),
        ("source and scheduler", describe_path(contract)),
        ("updates since conversion", contract.trained_updates.to_string()),
    ];
    if let Some(stride) = contract.stride {
        facts.push(("stride", format!("{stride} tokens are drafted at once, from masks behind the text")));
    }
    if let Some(growth) = contract.growth {
        let (expand, delete) = (growth.expand, growth.delete);
        facts.push(("growing gaps", format!("token {expand} becomes two masks, and token {delete} is removed; elsewhere neither is emitted")));
    }
    if let Some(canvas) = contract.canvas {
        facts.push(("canvas", format!("answers were learnt with their filler in {canvas} tokens")));
    }
    facts
}

/// Names and values of the constants with which fmflow computed, all of them also in config.json.
fn list_computation_facts(export: &Export<'_>) -> Vec<(&'static str, String)> {
    let config = &export.checkpoint.config;
    vec![
        ("rotary base", format!("{}, unscaled, over the whole head", config.rope_theta)),
        ("epsilon of the RMS norms", format!("{}", config.rms_norm_eps)),
        ("context", format!("{} tokens", config.max_position_embeddings)),
        ("output head", if config.tie_word_embeddings { "the embedding" } else { "its own matrix" }.into()),
        ("an answer ends with", describe_ends(export)),
        ("computed in", "float32, without dropout".into()),
    ]
}

fn describe_ends(export: &Export<'_>) -> String {
    let ids = sidecar::find_end_ids(export);
    let name = |id: &u32| match export.text.and_then(|text| text.tokenizer.token(*id)) {
        // A bar would end the cell of the table.
        Some(token) => format!("{id} (`{}`)", escape_line(&token).replace('|', "\\|")),
        None => id.to_string(),
    };
    match ids.is_empty() {
        true => "no token known".into(),
        false => ids.iter().map(name).collect::<Vec<_>>().join(" or "),
    }
}

fn render_facts_table(facts: &[(&str, String)]) -> String {
    let lines: Vec<String> = facts.iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    format!("\n| | |\n|---|---|\n{}", lines.concat())
}

fn describe_path(contract: &Contract) -> String {
    let Some(path) = &contract.path else { return "none yet: converted, not trained".into() };
    let source = match path.mask_share {
        share if share >= 1.0 => "the mask token".to_owned(),
        share if share <= 0.0 => "uniform over the vocabulary".to_owned(),
        share => format!("{:.0} % mask token, the rest uniform", 100.0 * share),
    };
    let scheduler = match path.scheduler {
        Scheduler::Polynomial { exponent } => format!("kappa(t) = t^{exponent}"),
        Scheduler::Cosine => "kappa(t) = 1 - cos(pi t / 2)".into(),
        Scheduler::SineSquared => "kappa(t) = sin^2(pi t / 2)".into(),
    };
    format!("{source}; {scheduler}")
}

fn describe_sampling(contract: &Contract) -> String {
    match contract.stride {
        Some(stride) => describe_drafting(contract, stride),
        None => describe_denoising(contract),
    }
}

/// The sampler of strided checkpoints: the p/q rule of Leviathan et al., "Fast Inference from Transformers via Speculative Decoding",
/// 2023, with one set of weights for both laws.
fn describe_drafting(contract: &Contract, stride: usize) -> String {
    let mask = contract.mask_token.map_or("the mask token".into(), |id| format!("token {id}"));
    format!(
        "\n## Sampling\n\nIt drafts and checks with the same weights, in fmflow by the sampler `speculative`: behind the text stand up to {stride}\n\
         places with {mask}, and the logits of the position before each propose a token for it. The proposed\n\
         tokens are then read without masks, as an autoregressive model reads them: each is kept with probability\n\
         min(1, p/q), p its probability there and q that of the proposal; the first that is not is drawn anew from what p has\n\
         above q. The text has the autoregressive law of these weights. Everything stands under a causal mask.\n"
    )
}

fn describe_denoising(contract: &Contract) -> String {
    let mask = contract.mask_token.map_or("the mask token".into(), |id| format!("token {id}"));
    let masked = contract.path.as_ref().is_none_or(|path| path.mask_share >= 1.0);
    let (start, sampler) = match masked {
        true => (format!("fill the places to be written with {mask}"), "`confidence` or `euler`"),
        false => ("fill the places to be written from the source above".into(), "`euler`"),
    };
    let order = match contract.attention {
        Attention::BlockCausal { block } => format!(
            " Write one block of {block} tokens\nafter the other, counted from the start of the text: a block sees itself and those before it."
        ),
        Attention::Causal | Attention::Bidirectional => String::new(),
    };
    let place = if contract.shift { "of the position before it" } else { "of that same position" };
    format!(
        "\n## Sampling\n\nIt needs a sampler of flow matching, in fmflow one of kind {sampler}: {start}, then, a few\n\
         dozen times or fewer, run the model over the whole row under its attention mask, take for every unwritten place the\n\
         logits {place} (never the mask token), and write some of them: the most confident ones, or each with\n\
         probability (kappa(t + h) - kappa(t)) / (1 - kappa(t)). What was given stays as it is.{order}\n"
    )
}

fn describe_causal_use(contract: &Contract, conditioned: bool) -> String {
    let mut text = String::from("\n## Causal use\n\n");
    text.push_str("Programs that know Qwen3 load this folder without missing or unexpected tensors.");
    text.push_str(match contract.attention {
        Attention::Bidirectional => {
            " Because config.json says\n`is_causal: false`, transformers from version 5.2 on lets every position see every other, as the model was made for.\n\
             Older versions and other programs run it under a *causal* mask; `config.is_causal = True` asks for it.\n\n"
        }
        Attention::Causal | Attention::BlockCausal { .. } => " They run it under a *causal*\nmask.\n\n",
    });
    text.push_str(match (contract.trained_updates, contract.shift) {
        (1.., true) if contract.stride.is_some() => {
            "That is what it was trained for, beside its drafts: on text without the mask token it is an autoregressive model, and\n\
             left-to-right generation has the law by which drafts are accepted.\n"
        }
        (0, _) => {
            "Nobody has trained it since it was converted: under a causal mask it computes the logits of its source, the mask\n\
             token aside, and predicts the next token as the source does.\n"
        }
        (_, true) => {
            "It was trained under another mask since. Its positions still predict the next token, so left-to-right\n\
             generation runs, but that is not what was trained: measure before you rely on it.\n"
        }
        (_, false) => {
            "It was trained to predict the token *at* a position, not the next one: `generate`, perplexity and everything else\n\
             that goes from left to right give nonsense. Where `is_causal` is not obeyed, call the model with an explicit attention\n\
             mask that lets every position see what the table says: a 4-dimensional mask of zeros for bidirectional attention.\n"
        }
    });
    if conditioned && let TimeConditioning::AdaLn { rank } = contract.time_conditioning {
        text.push_str(&format!(
            "\nThe model is told the time t by modulation of every block (rank {rank}). Those tensors are in\n\
             `{CONDITIONING}`, which other programs do not read: {}\n",
            match contract.trained_updates {
                0 => "untrained, it is the identity, and nothing is lost.",
                _ => "without it they compute another function than the one that was trained.",
            }
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::sidecar::tests::with_export;
    use super::*;
    use fmflow_engine::pipeline::config::train::ProbabilityPath;

    fn flow(updates: u64, shift: bool, mask_share: f64) -> Contract {
        Contract {
            kind: ModelKind::Flow,
            shift,
            mask_token: Some(9),
            attention: Attention::BlockCausal { block: 32 },
            path: Some(ProbabilityPath { mask_share, scheduler: Scheduler::Cosine }),
            time_conditioning: TimeConditioning::AdaLn { rank: 8 },
            canvas: Some(6),
            trained_updates: updates,
            ..Contract::autoregressive()
        }
    }

    #[track_caller]
    fn assert_says(contract: &Contract, conditioned: bool, words: &[&str], never: &[&str]) {
        let text = with_export(contract, |export| render_readme(export, conditioned));
        words.iter().for_each(|word| assert!(text.contains(word), "{word:?} in\n{text}"));
        never.iter().for_each(|word| assert!(!text.contains(word), "{word:?} in\n{text}"));
    }

    #[test]
    fn what_causal_use_means_depends_on_what_was_trained() {
        assert_says(
            &Contract::autoregressive(),
            false,
            &[
                "what they always do",
                "bfloat16",
                "| rotary base | 10000,",
                "| epsilon of the RMS norms | 0.000001 |",
            ],
            &["mask token", "Sampling", "is_causal"],
        );
        assert_says(&flow(0, false, 1.0), true, &["Nobody has trained it", "nothing is lost"], &["nonsense"]);
        assert_says(
            &flow(5, true, 1.0),
            true,
            &["still predict the next token", "position before it", "another function"],
            &[],
        );
        assert_says(&flow(5, false, 1.0), false, &["give nonsense", "that same position"], &[CONDITIONING]);
    }

    #[test]
    fn a_checkpoint_that_drafts_is_an_autoregressive_model_too() {
        let strided = Contract {
            stride: Some(3),
            attention: Attention::Causal,
            time_conditioning: TimeConditioning::None,
            ..flow(5, true, 1.0)
        };
        assert_says(
            &strided,
            false,
            &[
                "| stride | 3 tokens",
                "by the sampler `speculative`",
                "up to 3\nplaces with token 9",
                "what it was trained for",
            ],
            &["measure before", "`confidence`"],
        );
    }

    #[test]
    fn it_names_mask_sampler_source_and_attention() {
        let words = [
            "mask token 9",
            "fill the places to be written with token 9",
            "`confidence` or `euler`",
            "cos(pi t / 2)",
        ];
        assert_says(&flow(5, false, 1.0), false, &words, &[]);
        let mixed = ["10 % mask token, the rest uniform", "from the source above", "one of kind `euler`"];
        assert_says(&flow(5, false, 0.1), false, &mixed, &["`confidence`"]);
        assert_says(
            &flow(5, false, 0.0),
            false,
            &[
                "uniform over the vocabulary",
                "block-causal (32 tokens)",
                "Write one block of 32 tokens",
                "6 tokens",
            ],
            &[],
        );
    }
}
