//! Decodes samplers.

use super::{Decoder, unknown_word};
use crate::language::record::{Leaf, Record};
use crate::pipeline::config::{
    Certainty, EulerKernel, FilterOrder, RemaskSettings, Sampler, SamplerCache, SamplerKind,
};
use crate::text::diagnostic::{Code, Diagnostic};

impl Decoder<'_> {
    pub(super) fn sampler(&mut self, leaf: &Leaf) -> Option<Sampler> {
        let record = self.world.target(leaf)?;
        let sampler = Sampler {
            name: record.name()?.to_owned(),
            kind: self.sampler_kind(record)?,
            temperature: record.number("temperature")?,
            top_k: record.size("top-k"),
            top_p: record.number("top-p"),
            block: record.size("block"),
            order: match record.text("filter-order")? {
                "top-k-first" => FilterOrder::TopKFirst,
                "top-p-first" => FilterOrder::TopPFirst,
                word => unknown_word(word),
            },
            repetition_penalty: record.number("repetition-penalty").unwrap_or(1.0),
            cache: match record.text("cache")? {
                "exact" => SamplerCache::Exact,
                "auto" => SamplerCache::Auto,
                "none" => SamplerCache::None,
                "prefix" => SamplerCache::Prefix,
                "dual" => SamplerCache::Dual,
                word => unknown_word(word),
            },
            constraint: None,
        };
        if let Some(fault) = find_cache_fault(record, &sampler) {
            self.sink.push(fault);
            return None;
        }
        self.constrain(sampler, record, &record.leaf("kind")?.span)
    }

    fn sampler_kind(&mut self, record: &Record) -> Option<SamplerKind> {
        let reveal = |by| Some(SamplerKind::Reveal { passes: record.size("passes")?, by });
        match record.text("kind")? {
            "confidence" => reveal(Certainty::Confidence),
            "entropy" => reveal(Certainty::Entropy),
            "margin" => reveal(Certainty::Margin),
            "threshold" => Some(SamplerKind::Threshold { threshold: record.number("threshold")? }),
            "entropy-bound" => Some(SamplerKind::EntropyBound { bound: record.number("bound")? }),
            "edit" => Some(SamplerKind::Edit {
                threshold: record.number("threshold")?,
                revise: record.number("revise")?,
            }),
            "euler" => {
                Some(SamplerKind::Euler { passes: record.size("passes")?, kernel: self.kernel(record)? })
            }
            "autoregressive" => Some(SamplerKind::Autoregressive),
            "speculative" => Some(SamplerKind::Speculative { stride: record.size("stride")? }),
            word => unknown_word(word),
        }
    }

    /// Decodes the kernel and its corrector. Each corrector works with only one kernel.
    fn kernel(&mut self, record: &Record) -> Option<EulerKernel> {
        let kernel = record.leaf("kernel")?;
        let Some(corrector) = record.child("corrector") else {
            return match kernel.text()? {
                "exact" => Some(EulerKernel::Exact),
                "rate" => Some(EulerKernel::Rate { div_free: 0.0 }),
                word => unknown_word(word),
            };
        };
        match (kernel.text()?, corrector.text("value")?) {
            ("exact", "remask") => Some(EulerKernel::Remask(decode_remask(corrector)?)),
            ("rate", "div-free") => Some(EulerKernel::Rate { div_free: corrector.number("weight")? }),
            ("exact", name @ "div-free") | ("rate", name @ "remask") => {
                self.sink.push(mismatched_corrector(kernel, corrector.leaf("value")?, name));
                None
            }
            ("exact" | "rate", word) | (word, _) => unknown_word(word),
        }
    }
}

fn decode_remask(corrector: &Record) -> Option<RemaskSettings> {
    corrector
        .number("cap")
        .map(RemaskSettings::Cap)
        .or(corrector.number("rescale").map(RemaskSettings::Rescale))
}

/// Why a sampler cannot have its approximate cache, which is filled at the start of each block.
fn find_cache_fault(record: &Record, sampler: &Sampler) -> Option<Diagnostic> {
    let word = sampler.cache.word();
    let leaf = record.leaf("cache").filter(|_| sampler.cache.is_approximate())?;
    if sampler.reads_next_tokens() {
        let message = format!("cache `{word}` is for samplers that write blocks");
        let kind = record.leaf("kind")?;
        return Some(
            Diagnostic::new(Code::FieldDoesNotApply, message)
                .at(&leaf.span, "an approximate cache")
                .also(&kind.span, "from left to right, where the exact cache costs nothing")
                .help("write `cache=\"exact\"`"),
        );
    }
    if sampler.block.is_some() {
        return None;
    }
    let message = format!("cache `{word}` needs `block`");
    Some(
        Diagnostic::new(Code::MissingField, message)
            .at(&leaf.span, "filled at the start of each block")
            .help("add `block=32`"),
    )
}

fn mismatched_corrector(kernel: &Leaf, corrector: &Leaf, name: &str) -> Diagnostic {
    let (needed, other) = match name {
        "remask" => ("exact", "corrector \"div-free\" weight=1.0"),
        _ => ("rate", "corrector \"remask\" cap=0.02"),
    };
    let present = kernel.expect_text();
    let message = format!("corrector `{name}` applies only when `kernel` is `{needed}`");
    Diagnostic::new(Code::FieldDoesNotApply, message)
        .at(&corrector.span, "has no effect")
        .also(&kernel.span, format!("the kernel is `{present}`"))
        .help(format!("write `kernel=\"{needed}\"`, or `{other}`"))
}
