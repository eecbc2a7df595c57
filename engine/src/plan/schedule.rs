//! The settings of a training that may change from update to update, read from its ledger: so that the settings of two trainings can be
//! compared for the updates that were done, whatever shape they have.

use serde_json::Value;

use crate::pipeline::config::learning_rate::LearningRateShape;
use crate::pipeline::config::train::MIXTURE_BLOCK;
use crate::pipeline::config::{AttentionSchedule, BlockPhase, LearningRate};
use crate::pipeline::fingerprint::{IngredientKind, Ledger, LedgerChange};

/// The setting that says how many updates there are.
pub(super) const STEPS: &str = "steps";

/// Beginnings of the paths of settings that are read here.
const SCHEDULES: [&str; 3] = ["learning-rate.", "attention.", "data.mixture."];

/// What updates are done with, as a function of their number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TrainingSchedule {
    pub steps: u64,
    rate: LearningRate,
    attention: AttentionSchedule,
    /// Rows of an update.
    rows: u64,
    /// The first update of each phase that begins within `steps`, and the weight of each dataset in it.
    phases: Vec<(u64, Vec<f64>)>,
}

/// The first setting in which two trainings differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Differing {
    LearningRate,
    Attention,
    Rows,
}

impl Differing {
    /// What it is, at the beginning of a sentence about one thing.
    #[must_use]
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::LearningRate => "the learning rate",
            Self::Attention => "the attention",
            Self::Rows => "the order of the rows",
        }
    }
}

/// Whether a change is one of settings that a [`TrainingSchedule`] has.
#[must_use]
pub(super) fn is_of_schedule(change: &LedgerChange) -> bool {
    let name = change.name.as_str();
    change.what == IngredientKind::Field
        && (name == STEPS || SCHEDULES.iter().any(|start| name.starts_with(start)))
}

impl TrainingSchedule {
    /// Reads the ledger of a training; `None` if it has other settings than those of today.
    #[must_use]
    pub(super) fn read(ledger: &Ledger) -> Option<Self> {
        let fields = Fields(ledger);
        let steps = fields.count(STEPS)?;
        Some(Self {
            steps,
            rate: fields.learning_rate()?,
            attention: fields.attention()?,
            rows: fields.count("batch.rows")?,
            phases: fields.phases()?.into_iter().filter(|(start, _)| *start < steps).collect(),
        })
    }

    /// How many of the first `most` updates are done with the same settings in both trainings, to the last bit, and what differs in the
    /// next one. A state after so many updates is a state of both.
    #[must_use]
    pub(super) fn count_shared(&self, other: &Self, most: u64) -> (u64, Option<Differing>) {
        let most = most.min(self.steps).min(other.steps);
        let rows = self.count_shared_rows(other);
        let found = (0..most).find_map(|k| Some((k, self.find_difference(other, rows, k)?)));
        found.map_or((most, None), |(k, differing)| (k, Some(differing)))
    }

    fn find_difference(&self, other: &Self, rows: u64, k: u64) -> Option<Differing> {
        let rate = |of: &Self| of.rate.at(k, of.steps).to_bits();
        let attention = |of: &Self| {
            let of = &of.attention;
            let later = of.later_share_at(k).to_bits();
            (std::mem::discriminant(of), of.block_at(k), of.stride_at(k), later)
        };
        if rate(self) != rate(other) {
            return Some(Differing::LearningRate);
        }
        if attention(self) != attention(other) {
            return Some(Differing::Attention);
        }
        (k >= rows).then_some(Differing::Rows)
    }

    /// The first updates that have the same rows: those of equal phases, and of a phase that ends earlier in one of the trainings all but
    /// those in its last block, which is shuffled by itself.
    fn count_shared_rows(&self, other: &Self) -> u64 {
        assert_eq!(self.rows, other.rows, "the rows of an update are none of the settings that may differ");
        for at in 0.. {
            let (own, its) = match (self.phases.get(at), other.phases.get(at)) {
                (None, None) => return u64::MAX,
                (Some(own), Some(its)) if own == its => (self.end_of(at), other.end_of(at)),
                // The phase before ends here in one of them, and was compared; or these differ from their beginning on.
                (own, its) => {
                    return [own, its].into_iter().flatten().map(|phase| phase.0).min().unwrap_or(0);
                }
            };
            if own != its {
                return own.min(its).saturating_sub(self.count_updates_of_last_block());
            }
        }
        unreachable!("there are fewer phases than numbers")
    }

    /// The update before which phase `at` ends; the last one has no end.
    fn end_of(&self, at: usize) -> u64 {
        self.phases.get(at + 1).map_or(u64::MAX, |(start, _)| *start)
    }

    /// Updates at most with rows of the last block of a phase, if that is cut short. Where the first phase begins among all rows, the ledger
    /// does not say; blocks of rows and updates have their greatest common divisor in common.
    fn count_updates_of_last_block(&self) -> u64 {
        let aligned = 1u64 << self.rows.trailing_zeros().min(MIXTURE_BLOCK.trailing_zeros());
        (MIXTURE_BLOCK - aligned).div_ceil(self.rows.max(1))
    }
}

/// Values of a ledger by the paths of its settings.
struct Fields<'a>(&'a Ledger);

impl Fields<'_> {
    fn value(&self, path: &str) -> Option<Value> {
        serde_json::from_str(self.0.value(IngredientKind::Field, path)?).ok()
    }

    fn count(&self, path: &str) -> Option<u64> {
        self.value(path)?.as_u64()
    }

    fn number(&self, path: &str) -> Option<f64> {
        self.value(path)?.as_f64()
    }

    fn learning_rate(&self) -> Option<LearningRate> {
        let peak = self.number("learning-rate.peak")?;
        let shape = match self.value("learning-rate.shape")?.as_str()? {
            "cosine" => LearningRateShape::Cosine,
            "linear" => LearningRateShape::Linear,
            "constant" => LearningRateShape::Constant,
            "warmup-stable-decay" => {
                LearningRateShape::WarmupStableDecay { decay: self.count("learning-rate.decay")? }
            }
            _ => return None,
        };
        let final_value = match shape {
            LearningRateShape::Constant => peak,
            _ => self.number("learning-rate.final")?,
        };
        Some(LearningRate { peak, final_value, warmup: self.count("learning-rate.warmup")?, shape })
    }

    fn attention(&self) -> Option<AttentionSchedule> {
        let strides = self.block_phases("attention.stride");
        Some(match self.value("attention")?.as_str()? {
            "causal" if strides.is_empty() => AttentionSchedule::Causal,
            "causal" => AttentionSchedule::Strided { phases: strides },
            "bidirectional" => match self.count("attention.anneal.until") {
                Some(until) => AttentionSchedule::Annealed { until },
                None => AttentionSchedule::Bidirectional,
            },
            "block" => AttentionSchedule::Block { phases: self.block_sizes()? },
            _ => return None,
        })
    }

    fn block_sizes(&self) -> Option<Vec<BlockPhase>> {
        let phases = match self.count("attention.size") {
            Some(size) => vec![BlockPhase { size: usize::try_from(size).ok()?, until: None }],
            None => self.block_phases("attention.size"),
        };
        (!phases.is_empty()).then_some(phases)
    }

    fn block_phases(&self, path: &str) -> Vec<BlockPhase> {
        let phase = |at: usize| {
            let size = usize::try_from(self.count(&format!("{path}.{at}"))?).ok()?;
            Some(BlockPhase { size, until: self.count(&format!("{path}.{at}.until")) })
        };
        (0..).map_while(phase).collect()
    }

    /// The first update of each phase of the mixture, and its weights. A mixture of datasets with one weight each has one phase.
    fn phases(&self) -> Option<Vec<(u64, Vec<f64>)>> {
        let Some(shares) = self.value("data.mixture.shares") else {
            let weight = |at: usize| self.number(&format!("data.mixture.dataset.{at}.weight"));
            return Some(vec![(0, (0..).map_while(weight).collect())]);
        };
        let phase = |row: &Value| {
            let (start, weights) = row.as_array()?.split_first()?;
            Some((start.as_u64()?, weights.iter().map(Value::as_f64).collect::<Option<_>>()?))
        };
        shares.as_array()?.iter().map(phase).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSTANT: LearningRate =
        LearningRate { peak: 1e-3, final_value: 1e-3, warmup: 5, shape: LearningRateShape::Constant };

    fn schedule(steps: u64, rate: LearningRate) -> TrainingSchedule {
        let (attention, phases) = (AttentionSchedule::Causal, vec![(0, vec![1.0])]);
        TrainingSchedule { steps, rate, attention, rows: 4, phases }
    }

    #[test]
    fn rates_are_compared_and_not_their_shapes() {
        let decay = |decay| LearningRate {
            final_value: 0.0,
            shape: LearningRateShape::WarmupStableDecay { decay },
            ..CONSTANT
        };
        let cosine = LearningRate { final_value: 0.0, shape: LearningRateShape::Cosine, ..CONSTANT };
        let rate = Some(Differing::LearningRate);
        let shared = |a: (u64, LearningRate), b: (u64, LearningRate)| {
            let found = schedule(a.0, a.1).count_shared(&schedule(b.0, b.1), 1000);
            assert_eq!(found, schedule(b.0, b.1).count_shared(&schedule(a.0, a.1), 1000));
            found
        };
        assert_eq!(shared((40, CONSTANT), (80, CONSTANT)), (40, None));
        assert_eq!(shared((40, CONSTANT), (80, decay(40))), (40, None), "the decay begins at the old end");
        assert_eq!(shared((40, CONSTANT), (80, decay(41))), (40, None), "a decay begins at the peak");
        assert_eq!(shared((40, CONSTANT), (80, decay(50))), (31, rate));
        assert_eq!(shared((40, decay(10)), (60, decay(10))), (31, rate));
        assert_eq!(shared((40, cosine), (60, cosine)), (6, rate));
        assert_eq!(shared((40, LearningRate { warmup: 6, ..CONSTANT }), (40, CONSTANT)), (1, rate));
        let low = LearningRate { peak: 1e-3 + 1e-18, ..CONSTANT };
        assert_eq!(shared((40, low), (40, CONSTANT)).0, 1, "to the last bit");
    }

    #[test]
    fn an_attention_with_an_end_is_the_same_until_then() {
        let with = |steps, attention| TrainingSchedule { attention, ..schedule(steps, CONSTANT) };
        let phases = |ends: &[(usize, Option<u64>)]| {
            ends.iter().map(|(size, until)| BlockPhase { size: *size, until: *until }).collect::<Vec<_>>()
        };
        let strides = |ends: &[(usize, Option<u64>)]| AttentionSchedule::Strided { phases: phases(ends) };
        let blocks = |ends: &[(usize, Option<u64>)]| AttentionSchedule::Block { phases: phases(ends) };
        let shared = |a, b| with(40, a).count_shared(&with(80, b), 1000);
        let attention = Some(Differing::Attention);
        let one = [(1, Some(10)), (3, None)];
        assert_eq!(shared(strides(&one), strides(&one)), (40, None));
        let more = [(1, Some(10)), (3, Some(40)), (5, None)];
        assert_eq!(shared(strides(&one), strides(&more)), (40, None), "another stride after the old end");
        let early = [(1, Some(10)), (3, Some(39)), (5, None)];
        assert_eq!(shared(strides(&one), strides(&early)), (39, attention));
        assert_eq!(shared(strides(&one), blocks(&one)), (0, attention));
        let anneal = |until| AttentionSchedule::Annealed { until };
        assert_eq!(shared(anneal(60), anneal(60)), (40, None));
        assert_eq!(shared(anneal(60), anneal(61)), (0, attention));
    }

    #[test]
    fn a_phase_of_the_mixture_shuffles_its_last_block_by_itself() {
        let with = |steps, rows, starts: &[u64]| {
            let phases = starts.iter().map(|start| (*start, vec![1.0, 1.0 + *start as f64])).collect();
            TrainingSchedule { rows, phases, ..schedule(steps, CONSTANT) }
        };
        let shared = |rows, a: &[u64], b: &[u64]| with(400, rows, a).count_shared(&with(800, rows, b), 1000);
        let order = Some(Differing::Rows);
        assert_eq!(shared(4, &[0, 100], &[0, 100]), (400, None));
        assert_eq!(shared(4, &[0], &[0, 600]), (400, None), "the last block begins after the old end");
        assert_eq!(shared(4, &[0], &[0, 400]), (337, order), "252 rows at most are of the last block");
        assert_eq!(shared(256, &[0], &[0, 400]), (400, None));
        assert_eq!(shared(300, &[0], &[0, 399]), (398, order));
        assert_eq!(shared(256, &[0, 50], &[0, 60]), (50, order));
        let other = TrainingSchedule { phases: vec![(0, vec![2.0, 1.0])], ..with(400, 4, &[0]) };
        assert_eq!(with(400, 4, &[0]).count_shared(&other, 9), (0, order));
    }

    #[test]
    fn ledgers_of_other_times_are_not_compared() {
        assert_eq!(TrainingSchedule::read(&Ledger::default()), None);
    }
}
