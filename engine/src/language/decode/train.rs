//! Decodes training stages.

use super::growth::decode_growth;
use super::{Decoder, unknown_word};
use crate::language::mixture;
use crate::language::record::Record;
use crate::language::schema::CanonicalValue;
use crate::pipeline::config::teacher::TeacherSettings;
use crate::pipeline::config::train::{
    BatchSettings, Branch, CheckpointInterval, CheckpointSettings, ComputeFormat, DivergenceSettings,
    GuardAction, GuardSettings, Loss, LossDivisor, LossPositions, MixturePart, NonFiniteGuard, Objective,
    OptimizerSettings, SpikeGuard, TimeSampling, TimeSettings, ValidateSettings,
};
use crate::pipeline::config::{
    AdapterSettings, AttentionSchedule, LearningRate, LearningRateShape, TrainConfig,
};
use crate::pipeline::role::InputRole;
use crate::text::diagnostic::{Code, Diagnostic};

impl Decoder<'_> {
    pub(super) fn train(&mut self, record: &Record) -> Option<TrainConfig> {
        let steps = record.child("steps")?.count("value")?;
        let attention = self.attention(record.child("attention")?)?;
        let (phases, parts) = self.parts(record.child("data")?, steps)?;
        let probe = match record.child("probe") {
            Some(probe) => Some(self.probe(probe, &parts)?),
            None => None,
        };
        Some(TrainConfig {
            branch: self.branch(record)?,
            phases,
            parts,
            objective: self.objective(record.child("objective")?)?,
            adapter: match record.child("adapter") {
                Some(adapter) => Some(self.adapter(adapter)?),
                None => None,
            },
            teacher: record.child("teacher").map(decode_teacher),
            time: decode_time(record.child("time")?, &attention)?,
            attention,
            batch: decode_batch(record.child("batch")?)?,
            steps,
            optimizer: decode_optimizer(record.child("optimizer")?)?,
            ema: match record.child("ema") {
                Some(ema) => Some(ema.number("decay")?),
                None => None,
            },
            learning_rate: decode_learning_rate(record.child("learning-rate")?)?,
            checkpoint: decode_checkpoint(record.child("checkpoint")?)?,
            guard: decode_guard(record.child("guard")?)?,
            validate: decode_validation(record.child("validate")?)?,
            probe,
            log_every: record.child("log")?.count("every")?,
            recompute: match record.child("recompute")?.text("value")? {
                "block" => true,
                "none" => false,
                word => unknown_word(word),
            },
            compute: match record.child("precision")?.text("compute")? {
                "f32" => ComputeFormat::F32,
                "bf16" => ComputeFormat::Bf16,
                word => unknown_word(word),
            },
        })
    }

    /// The settings of an adapter. Every word of `target` must name a projection.
    fn adapter(&mut self, record: &Record) -> Option<AdapterSettings> {
        match record.text("value")? {
            "lora" => {}
            word => unknown_word(word),
        }
        let target = record.leaf("target")?;
        let words: Vec<&str> = target.text()?.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let named = |word: &&str| AdapterSettings::find_projections(word).next().is_some();
        if words.is_empty() || !words.iter().all(named) {
            let wrong = words.iter().find(|word| !named(word)).copied().unwrap_or_default();
            let wrong = crate::text::escape::escape_line(wrong);
            self.sink.push(
                Diagnostic::new(Code::AdapterMismatch, format!("no projection is called `{wrong}`"))
                    .at(&target.span, "matches nothing")
                    .help(
                        "write `target=\"attention\"`, or other words of: attention, feed-forward, q_proj, k_proj, v_proj, o_proj, \
                         gate_proj, up_proj, down_proj",
                    ),
            );
            return None;
        }
        let found: Vec<&str> =
            words.iter().flat_map(|word| AdapterSettings::find_projections(word)).collect();
        Some(AdapterSettings {
            rank: record.size("rank")?,
            alpha: record.number("alpha")?,
            targets: AdapterSettings::sort_targets(&found),
            norms: record.boolean("norms")?,
        })
    }

    /// The permanent checkpoint to start from, or `None` in it.
    fn branch(&mut self, record: &Record) -> Option<Option<Branch>> {
        let (at, carry) = (record.count("at"), record.leaf("carry"));
        if let (None, Some(carry)) = (at, carry) {
            let message = "only a permanent checkpoint has a state of the optimizer to carry over";
            self.sink.push(
                Diagnostic::new(Code::MissingField, message)
                    .at(&carry.span, "without `at=`")
                    .help("leave `carry=` out, or name the update of a permanent checkpoint with `at=`"),
            );
            return None;
        }
        Some(at.map(|at| Branch { at, carries_optimizer: carry.is_some() }))
    }

    /// The first update of every phase that begins within `steps`, and every dataset with its weight in each phase.
    fn parts(&mut self, data: &Record, steps: u64) -> Option<(Vec<u64>, Vec<MixturePart>)> {
        self.world.target(data.leaf("rows")?)?;
        let flat = mixture::flatten_mixture(self.world, self.world.target(data.leaf("mixture")?)?)?;
        let phases: Vec<u64> = flat.phases.iter().copied().filter(|start| *start < steps).collect();
        let part = |(dataset, mut weights): (&Record, Vec<f64>)| {
            weights.truncate(phases.len());
            let dataset = dataset.name()?.to_owned();
            Some(MixturePart { role: InputRole::rows_of(&dataset), dataset, weights })
        };
        let parts = flat.datasets.into_iter().map(part).collect::<Option<_>>()?;
        Some((phases, parts))
    }

    fn objective(&mut self, record: &Record) -> Option<Objective> {
        match record.text("value")? {
            "autoregressive" => return Some(Objective::Autoregressive),
            "flow" => {}
            word => unknown_word(word),
        }
        Some(Objective::Flow {
            path: self.path(record.leaf("path")?)?,
            loss: match record.text("loss")? {
                "gkl" => Loss::GeneralizedKl,
                "elbo" => Loss::Elbo,
                "cross-entropy" => Loss::CrossEntropy,
                word => unknown_word(word),
            },
            over: match record.text("over")? {
                "corrupted" => LossPositions::Corrupted,
                "supervised" => LossPositions::Supervised,
                word => unknown_word(word),
            },
            normalise: match record.text("normalise")? {
                "tokens" => LossDivisor::Tokens,
                "corrupted" => LossDivisor::Corrupted,
                word => unknown_word(word),
            },
            max_weight: record.number("max-weight"),
            clean_weight: record.child("clean-loss").and_then(|child| child.number("weight")),
            growth: match record.child("grow") {
                Some(grow) => Some(decode_growth(grow)?),
                None => None,
            },
        })
    }
}

fn decode_teacher(record: &Record) -> TeacherSettings {
    match record.text("value") {
        Some("ar") | None => TeacherSettings { weight: record.number("weight") },
        Some(word) => unknown_word(word),
    }
}

fn decode_checkpoint(record: &Record) -> Option<CheckpointSettings> {
    let every = match record.leaf("every")?.value {
        CanonicalValue::Seconds(seconds) => CheckpointInterval::Seconds(seconds),
        _ => CheckpointInterval::Updates(record.count("every")?),
    };
    let permanent = match record.child("permanent") {
        Some(permanent) => Some(permanent.count("every")?),
        None => None,
    };
    Some(CheckpointSettings { every, keep: record.size("keep")?, permanent })
}

fn decode_time(record: &Record, attention: &AttentionSchedule) -> Option<TimeSettings> {
    let (segment, block) = (record.count("masked-per-segment")?, record.count("masked-per-block")?);
    Some(TimeSettings {
        sampling: match record.text("sampling")? {
            "uniform" => TimeSampling::Uniform,
            "low-discrepancy" => TimeSampling::LowDiscrepancy,
            "antithetic" => TimeSampling::Antithetic,
            "stratified" => TimeSampling::Stratified,
            word => unknown_word(word),
        },
        from: record.number("from")?,
        to: record.number("to")?.min(1.0 - record.number("epsilon")?),
        at_least_masked: if matches!(attention, AttentionSchedule::Block { .. }) { block } else { segment },
    })
}

fn decode_batch(record: &Record) -> Option<BatchSettings> {
    Some(BatchSettings { rows: record.size("rows")?, per_device: record.size("per-device")? })
}

fn decode_optimizer(record: &Record) -> Option<OptimizerSettings> {
    let exempt = record.child("no-decay").into_iter().flat_map(|child| child.all("word"));
    Some(OptimizerSettings {
        beta1: record.number("beta1")?,
        beta2: record.number("beta2")?,
        epsilon: record.number("epsilon")?,
        weight_decay: record.number("weight-decay")?,
        clip: record.number("clip").filter(|clip| *clip > 0.0),
        no_decay: exempt.map(|leaf| leaf.expect_text().to_owned()).collect(),
    })
}

fn decode_learning_rate(record: &Record) -> Option<LearningRate> {
    let peak = record.number("peak")?;
    let shape = match record.text("shape")? {
        "cosine" => LearningRateShape::Cosine,
        "linear" => LearningRateShape::Linear,
        "constant" => LearningRateShape::Constant,
        "warmup-stable-decay" => LearningRateShape::WarmupStableDecay { decay: record.count("decay")? },
        word => unknown_word(word),
    };
    let final_value = match shape {
        LearningRateShape::Constant => peak,
        _ => record.number("final")?,
    };
    Some(LearningRate { peak, final_value, warmup: record.count("warmup")?, shape })
}

fn decode_guard(record: &Record) -> Option<GuardSettings> {
    let non_finite = match record.child("non-finite") {
        Some(rule) => Some(decode_non_finite(rule)?),
        None => None,
    };
    let spike = match record.child("spike") {
        Some(rule) => Some(decode_spike(rule)?),
        None => None,
    };
    Some(GuardSettings { diverged: decode_divergence(record.child("diverged")?)?, non_finite, spike })
}

fn decode_non_finite(record: &Record) -> Option<NonFiniteGuard> {
    let action = decode_guard_action(record)?;
    Some(NonFiniteGuard { action, limit: decode_guard_limit(record, action)? })
}

fn decode_spike(record: &Record) -> Option<SpikeGuard> {
    let action = decode_guard_action(record)?;
    Some(SpikeGuard {
        action,
        sigma: record.number("sigma")?,
        window: record.size("window")?,
        limit: decode_guard_limit(record, action)?,
    })
}

fn decode_guard_action(record: &Record) -> Option<GuardAction> {
    Some(match record.text("action")? {
        "skip" => GuardAction::Skip,
        "rewind" => GuardAction::Rewind { back: record.count("back")? },
        "stop" => GuardAction::Stop,
        word => unknown_word(word),
    })
}

/// How often the action is taken; a guard that stops takes it once.
fn decode_guard_limit(record: &Record, action: GuardAction) -> Option<u64> {
    match action {
        GuardAction::Stop => Some(0),
        GuardAction::Skip | GuardAction::Rewind { .. } => record.count("limit"),
    }
}

fn decode_divergence(record: &Record) -> Option<DivergenceSettings> {
    Some(DivergenceSettings {
        stop: match record.text("action")? {
            "stop" => true,
            "warn" => false,
            word => unknown_word(word),
        },
        margin: record.number("margin")?,
        limit: record.count("limit")?,
        growth: record.number("growth")?,
    })
}

fn decode_validation(record: &Record) -> Option<ValidateSettings> {
    Some(ValidateSettings {
        every: record.count("every")?,
        rows: record.size("rows")?,
        times: record.size("times")?,
    })
}
