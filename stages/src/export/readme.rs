//! `README.md` of an exported folder: what the weights are for, and what becomes of them in a program that knows Qwen3 only.

use fmflow_engine::config::train::Scheduler;

use super::CONDITIONING;
use super::sidecar::torch_name;
use crate::backbone::{Attention, TimeConditioning};
use crate::provenance::{Kind, Provenance};
use crate::weights::Dtype;

/// What the model is, in a line.
pub(super) fn headline(provenance: &Provenance) -> String {
    match (provenance.kind, provenance.mask_token) {
        (Kind::Flow, Some(mask)) => {
            format!("a discrete flow matching model; mask token {mask}, {} attention", attention(provenance))
        }
        (Kind::Flow, None) => format!("a discrete flow matching model, {} attention", attention(provenance)),
        (Kind::Autoregressive, _) => "an autoregressive model".into(),
    }
}

fn attention(provenance: &Provenance) -> String {
    match provenance.attention {
        Attention::Causal => "causal".into(),
        Attention::Bidirectional => "bidirectional".into(),
        Attention::BlockCausal { block } => format!("block-causal ({block} tokens)"),
    }
}

/// The whole text.
pub(super) fn text(provenance: &Provenance, dtype: Dtype, conditioned: bool) -> String {
    let mut text = format!(
        "# Exported by fmflow\n\nThis is {}. The weights are those of a Qwen3 in {}, under the names of Hugging Face\n\
         transformers; `fmflow.json` holds the whole contract.\n",
        headline(provenance),
        torch_name(dtype)
    );
    match provenance.kind {
        Kind::Autoregressive => text.push_str(AUTOREGRESSIVE),
        Kind::Flow => {
            text.push_str(&facts(provenance));
            text.push_str(&sampling(provenance));
            text.push_str(&causal(provenance, conditioned));
        }
    }
    text
}

const AUTOREGRESSIVE: &str = "\n## Use\n\nPosition i predicts token i + 1 under a causal mask: `AutoModelForCausalLM.from_pretrained(folder)` and\n`generate` do what they always do.\n";

fn facts(provenance: &Provenance) -> String {
    let mut lines = vec![
        ("attention", attention(provenance)),
        (
            "mask token",
            provenance
                .mask_token
                .map_or("none".into(), |id| format!("id {id}; it has no text and is never emitted")),
        ),
        (
            "shift",
            match provenance.shift {
                true => "position i predicts token i + 1".into(),
                false => "position i predicts the token at i".into(),
            },
        ),
        ("time", provenance.time_direction.clone()),
        ("source and scheduler", path(provenance)),
        ("updates since conversion", provenance.trained_updates.to_string()),
    ];
    if let Some(canvas) = provenance.canvas {
        lines.push(("canvas", format!("answers were learnt with their filler in {canvas} tokens")));
    }
    let lines: Vec<String> =
        lines.into_iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    format!("\n| | |\n|---|---|\n{}", lines.concat())
}

fn path(provenance: &Provenance) -> String {
    let Some(path) = &provenance.path else { return "none yet: converted, not trained".into() };
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

fn sampling(provenance: &Provenance) -> String {
    let mask = provenance.mask_token.map_or("the mask token".into(), |id| format!("token {id}"));
    let masked = provenance.path.as_ref().is_none_or(|path| path.mask_share >= 1.0);
    let (start, sampler) = match masked {
        true => (format!("fill the places to be written with {mask}"), "`confidence` or `euler`"),
        false => ("fill the places to be written from the source above".into(), "`euler`"),
    };
    let order = match provenance.attention {
        Attention::BlockCausal { block } => format!(
            " Write one block of {block} tokens\nafter the other, counted from the start of the text: a block sees itself and those before it."
        ),
        Attention::Causal | Attention::Bidirectional => String::new(),
    };
    let place = if provenance.shift { "of the position before it" } else { "of that same position" };
    format!(
        "\n## Sampling\n\nIt needs a sampler of flow matching, in fmflow one of kind {sampler}: {start}, then, a few\n\
         dozen times or fewer, run the model over the whole row under its attention mask, take for every unwritten place the\n\
         logits {place} (never the mask token), and write some of them: the most confident ones, or each with\n\
         probability (kappa(t + h) - kappa(t)) / (1 - kappa(t)). What was given stays as it is.{order}\n"
    )
}

fn causal(provenance: &Provenance, conditioned: bool) -> String {
    let mut text = String::from("\n## Causal use\n\n");
    text.push_str(
        "Programs that know Qwen3 load this folder without missing or unexpected tensors, and run it under a *causal* mask.\n",
    );
    text.push_str(match (provenance.trained_updates, provenance.shift) {
        (0, _) => {
            "Nobody has trained it since it was converted: under that mask it computes the logits of its source, the mask\n\
             token aside, and predicts the next token as the source does.\n"
        }
        (_, true) => {
            "It was trained under another mask since. Its positions still predict the next token, so left-to-right\n\
             generation runs, but that is not what was trained: measure before you rely on it.\n"
        }
        (_, false) => {
            "It was trained to predict the token *at* a position, not the next one: `generate`, perplexity and everything else\n\
             that goes from left to right give nonsense. Call the model with an explicit attention mask that lets every\n\
             position see what the table says, such as a 4-dimensional mask of zeros for bidirectional attention.\n"
        }
    });
    if conditioned && let TimeConditioning::AdaLn { rank } = provenance.time_conditioning {
        text.push_str(&format!(
            "\nThe model is told the time t by modulation of every block (rank {rank}). Those tensors are in\n\
             `{CONDITIONING}`, which other programs do not read: {}\n",
            match provenance.trained_updates {
                0 => "untrained, it is the identity, and nothing is lost.",
                _ => "without it they compute another function than the one that was trained.",
            }
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use fmflow_engine::config::train::Path;

    fn flow(updates: u64, shift: bool, mask_share: f64) -> Provenance {
        Provenance {
            kind: Kind::Flow,
            shift,
            mask_token: Some(9),
            attention: Attention::BlockCausal { block: 32 },
            path: Some(Path { mask_share, scheduler: Scheduler::Cosine }),
            time_conditioning: TimeConditioning::AdaLn { rank: 8 },
            canvas: Some(6),
            trained_updates: updates,
            ..Provenance::autoregressive()
        }
    }

    #[track_caller]
    fn says(provenance: &Provenance, conditioned: bool, words: &[&str], never: &[&str]) {
        let text = text(provenance, Dtype::BF16, conditioned);
        words.iter().for_each(|word| assert!(text.contains(word), "{word:?} in\n{text}"));
        never.iter().for_each(|word| assert!(!text.contains(word), "{word:?} in\n{text}"));
    }

    #[test]
    fn what_causal_use_means_depends_on_what_was_trained() {
        says(
            &Provenance::autoregressive(),
            false,
            &["what they always do", "bfloat16"],
            &["mask token", "Sampling"],
        );
        says(&flow(0, false, 1.0), true, &["Nobody has trained it", "nothing is lost"], &["nonsense"]);
        says(
            &flow(5, true, 1.0),
            true,
            &["still predict the next token", "position before it", "another function"],
            &[],
        );
        says(&flow(5, false, 1.0), false, &["give nonsense", "that same position"], &[CONDITIONING]);
    }

    #[test]
    fn it_names_mask_sampler_source_and_attention() {
        let words = [
            "mask token 9",
            "fill the places to be written with token 9",
            "`confidence` or `euler`",
            "cos(pi t / 2)",
        ];
        says(&flow(5, false, 1.0), false, &words, &[]);
        let mixed = ["10 % mask token, the rest uniform", "from the source above", "one of kind `euler`"];
        says(&flow(5, false, 0.1), false, &mixed, &["`confidence`"]);
        says(
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
