//! Decodes the stages that make a backbone (random-init, convert), and the probability paths that training refers to.

use super::{Decoder, unknown_word};
use crate::language::record::{Leaf, Record};
use crate::language::schema::CanonicalValue;
use crate::pipeline::config::train::{ProbabilityPath, Scheduler};
use crate::pipeline::config::{
    ConvertConfig, MaskRow, MaskToken, RandomInitConfig, TimeConditioning, TokenizerChoice,
};
use crate::text::diagnostic::{Code, Diagnostic};

impl Decoder<'_> {
    pub(super) fn random_init(&mut self, record: &Record) -> Option<RandomInitConfig> {
        let shape = record.child("shape")?;
        let config = RandomInitConfig {
            hidden: shape.size("hidden")?,
            layers: shape.size("layers")?,
            heads: shape.size("heads")?,
            kv_heads: shape.size("kv-heads")?,
            head_dim: shape.size("head-dim")?,
            feed_forward: shape.size("feed-forward")?,
            tied: shape.boolean("tied")?,
            context: shape.size("context")?,
            rope_theta: shape.number("rope-theta")?,
            norm_epsilon: shape.number("norm-epsilon")?,
            initializer_range: shape.number("initializer-range")?,
        };
        self.check_heads(shape, &config);
        Some(config)
    }

    fn check_heads(&mut self, shape: &Record, config: &RandomInitConfig) {
        let (heads, kv_heads) = (config.heads, config.kv_heads);
        if let (false, Some(leaf)) = (heads.is_multiple_of(kv_heads), shape.leaf("kv-heads")) {
            let mut diagnostic = Diagnostic::new(
                Code::HeadsNotDivisible,
                format!("{kv_heads} key heads cannot serve {heads} query heads"),
            )
            .at(&leaf.span, "does not divide `heads`");
            if let Some(heads) = shape.leaf("heads") {
                diagnostic = diagnostic.also(&heads.span, "query heads");
            }
            self.sink
                .push(diagnostic.help(format!("write `kv-heads={}`", find_largest_divisor(heads, kv_heads))));
        }
        if let (false, Some(leaf)) = (config.head_dim.is_multiple_of(2), shape.leaf("head-dim")) {
            self.sink.push(
                Diagnostic::new(
                    Code::HeadsNotDivisible,
                    "`head-dim` must be even, because the rotary embedding rotates pairs",
                )
                .at(&leaf.span, "odd")
                .help(format!("write `head-dim={}`", config.head_dim + 1)),
            );
        }
    }

    pub(super) fn convert(&mut self, record: &Record) -> Option<ConvertConfig> {
        let mask = record.child("mask-token")?;
        let certify = record.child("certify")?;
        let reference = match certify.leaf("reference") {
            Some(leaf) => Some(self.one_file("the reference logits", "reference", leaf)?),
            None => None,
        };
        Some(ConvertConfig {
            mask_token: match &mask.leaf("value")?.value {
                CanonicalValue::Integer(id) => {
                    MaskToken::Id(u32::try_from(*id).expect("the field table limits ids to 32 bits"))
                }
                CanonicalValue::Text(word) if word == "reserved" => MaskToken::Reserved,
                other => unreachable!("`mask-token` takes a word or a number, not {other:?}"),
            },
            mask_row: match mask.text("row")? {
                "mean" => MaskRow::Mean { noise: mask.number("noise")? },
                "keep" => MaskRow::Keep,
                word => unknown_word(word),
            },
            time_conditioning: decode_time_conditioning(record.child("time-conditioning")?)?,
            shift: record.child("shift")?.boolean("value")?,
            tolerance: certify.number("tolerance")?,
            reference,
            tokenizer: match &record.child("tokenizer")?.leaf("value")?.value {
                CanonicalValue::Name(_) => TokenizerChoice::Named,
                CanonicalValue::Text(word) if word == "none" => TokenizerChoice::None,
                CanonicalValue::Text(word) if word == "beside" => TokenizerChoice::Beside,
                other => unreachable!("`tokenizer` takes a word or a name, not {other:?}"),
            },
        })
    }

    pub(super) fn path(&mut self, leaf: &Leaf) -> Option<ProbabilityPath> {
        let record = self.world.target(leaf)?;
        let scheduler = self.world.target(record.leaf("scheduler")?)?;
        Some(ProbabilityPath {
            mask_share: compute_mask_share(record)?,
            scheduler: self::decode_scheduler(scheduler)?,
        })
    }
}

/// The largest divisor of `heads` that is at most `wanted`.
fn find_largest_divisor(heads: usize, wanted: usize) -> usize {
    (1..=wanted.min(heads)).rev().find(|count| heads.is_multiple_of(*count)).expect("1 divides every number")
}

fn decode_time_conditioning(record: &Record) -> Option<TimeConditioning> {
    match record.text("value")? {
        "adaln" => Some(TimeConditioning::AdaLn { rank: record.size("rank")? }),
        "none" => Some(TimeConditioning::None),
        word => unknown_word(word),
    }
}

/// Share of the mask token in the source distribution, which is one word or several weighted parts.
fn compute_mask_share(record: &Record) -> Option<f64> {
    if let Some(word) = record.text("source") {
        return Some(decode_mask_share(word));
    }
    let (mut masked, mut all) = (0.0, 0.0);
    for part in record.children("source") {
        let weight = part.number("weight")?;
        all += weight;
        masked += weight * decode_mask_share(part.text("value")?);
    }
    Some(masked / all)
}

/// Share of the mask token in a source of one word.
fn decode_mask_share(word: &str) -> f64 {
    match word {
        "mask" => 1.0,
        "uniform" => 0.0,
        word => unknown_word(word),
    }
}

fn decode_scheduler(record: &Record) -> Option<Scheduler> {
    match record.text("kind")? {
        "linear" => Some(Scheduler::Polynomial { exponent: 1.0 }),
        "polynomial" => Some(Scheduler::Polynomial { exponent: record.number("exponent")? }),
        "cosine" => Some(Scheduler::Cosine),
        "sine-squared" => Some(Scheduler::SineSquared),
        word => unknown_word(word),
    }
}
