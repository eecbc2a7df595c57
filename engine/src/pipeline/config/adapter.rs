//! Settings of low-rank adapters.

use serde::{Deserialize, Serialize};

/// The projections of a block and their groups, in the order of the tensors.
const PROJECTIONS: [(&str, &str); 7] = [
    ("q_proj", "attention"),
    ("k_proj", "attention"),
    ("v_proj", "attention"),
    ("o_proj", "attention"),
    ("gate_proj", "feed-forward"),
    ("up_proj", "feed-forward"),
    ("down_proj", "feed-forward"),
];

/// A low-rank adapter: y = W x + alpha / rank · B A x, with A [rank, in] and B [out, rank] for each target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterSettings {
    /// Rows of A, and columns of B.
    pub rank: usize,
    /// The factor of the change is `alpha / rank`.
    pub alpha: f64,
    /// Names of the projections that it changes, such as `q_proj`, in the order of the tensors; at least one.
    pub targets: Vec<String>,
    /// Whether the scales of norms are trained too.
    pub norms: bool,
}

impl AdapterSettings {
    /// The names of the projections that a word stands for: its own, or those of its group; none if it is neither.
    pub(crate) fn find_projections(word: &str) -> impl Iterator<Item = &'static str> {
        PROJECTIONS.iter().filter(move |(name, group)| *name == word || *group == word).map(|(name, _)| *name)
    }

    /// Puts the names of projections into the order of the tensors, each once.
    #[must_use]
    pub(crate) fn sort_targets(names: &[&str]) -> Vec<String> {
        let named = PROJECTIONS.iter().filter(|(name, _)| names.contains(name));
        named.map(|(name, _)| (*name).to_owned()).collect()
    }

    /// Whether `name` is the scale of a norm, and such scales are trained.
    #[must_use]
    pub fn trains_norm(&self, name: &str) -> bool {
        self.norms && name.contains("norm")
    }

    /// The factor of a change.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// Whether it changes the weight with this Hugging Face name.
    #[must_use]
    pub fn adapts(&self, weight: &str) -> bool {
        let projection = weight.strip_suffix(".weight").and_then(|name| name.rsplit_once('.'));
        projection.is_some_and(|(_, last)| self.targets.iter().any(|target| target == last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &[&str], norms: bool) -> AdapterSettings {
        let named: Vec<&str> =
            words.iter().flat_map(|word| AdapterSettings::find_projections(word)).collect();
        AdapterSettings { rank: 4, alpha: 8.0, targets: AdapterSettings::sort_targets(&named), norms }
    }

    #[test]
    fn words_are_projections_or_their_groups() {
        assert_eq!(settings(&["v_proj", "q_proj", "v_proj"], false).targets, ["q_proj", "v_proj"]);
        let all = settings(&["feed-forward", "attention"], false).targets;
        assert_eq!(all, PROJECTIONS.map(|(name, _)| name));
        for word in ["proj", "q", "norm", "lm_head", ""] {
            assert_eq!(AdapterSettings::find_projections(word).count(), 0, "{word}");
        }
        let some = settings(&["q_proj"], false);
        assert!(some.adapts("model.layers.3.self_attn.q_proj.weight"));
        for other in [
            "model.layers.3.self_attn.k_proj.weight",
            "model.layers.3.self_attn.q_proj.lora_A.weight",
            "q_proj",
        ] {
            assert!(!some.adapts(other), "{other}");
        }
        assert_eq!(some.scale(), 2.0);
    }
}
