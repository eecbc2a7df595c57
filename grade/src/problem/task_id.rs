//! Names of problems, as files of problems and of samples write them.

use super::Layout;

/// The layouts of the built-in benchmarks that number their problems.
const NUMBERED: [Layout; 3] = [Layout::HumanEval, Layout::Mbpp, Layout::Gsm8k];

/// What identifies a problem: its name, of which a built-in benchmark's part and a number's zeros are set apart. Any other name counts as
/// a whole: `algebra/0` and `anatomy/0` are two problems, and so are `RandomSpanInfilling/HumanEval/0/1` and "1".
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// The built-in benchmark that numbers it, if its name says so: `Mbpp` of "Mbpp/2".
    benchmark: Option<&'static str>,
    /// Its number, or all of its name.
    own: String,
}

impl TaskId {
    /// From the text or number of a `task_id`.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let built_in = name.split_once('/').and_then(|(benchmark, last)| {
            let known = NUMBERED.into_iter().filter_map(Layout::numbers).find(|known| *known == benchmark)?;
            number(last).then_some((known, last))
        });
        let (benchmark, last) = match built_in {
            Some((benchmark, last)) => (Some(benchmark), last),
            None => (None, name),
        };
        let own = if number(last) { last.trim_start_matches('0') } else { last };
        Self { benchmark, own: if own.is_empty() { "0".into() } else { own.to_owned() } }
    }

    /// That of a problem: in MBPP, 2, "2" and "Mbpp/2" are the same.
    pub(super) fn of_problem(layout: Layout, name: &str) -> Self {
        let id = Self::from_name(name);
        let benchmark = id.benchmark.or_else(|| layout.numbers().filter(|_| id.number().is_some()));
        Self { benchmark, ..id }
    }

    /// Whether both may name the same problem: they are equal, or they have the same number and one says no benchmark.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let same = self.own == other.own && self.number().is_some();
        self == other || (same && (self.benchmark.is_none() || other.benchmark.is_none()))
    }

    /// The number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.own.parse().ok()
    }
}
