//! Which lines of a file of samples are graded. `evaluate` writes the answers of all of its benchmarks and checkpoints into one file, and each
//! line says which it belongs to; lines of other programs say nothing of it.

use fmflow_grade::problem::{Layout, is_own_kind};
use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::files::{BenchmarkFileError, fault};
use crate::text::escape::escape_line;

/// What somebody wants to have graded.
#[derive(Clone, Copy, Debug)]
pub struct WantedSamples<'a> {
    /// The name of a benchmark or of a kind of own ones: how the problems are laid out.
    pub name: &'a str,
    /// The benchmark of which the samples are, if it is not the one that `name` says.
    pub benchmark: Option<&'a str>,
    /// The checkpoint that wrote the samples; needed where several did.
    pub checkpoint: Option<&'a str>,
}

/// What a line says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub benchmark: Option<String>,
    pub checkpoint: Option<String>,
}

impl Marks {
    pub(super) fn read(record: &Map<String, Value>) -> Self {
        let word = |field: &str| match record.get(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            // A number, such as that of an update.
            Some(other) => Some(other.to_string()),
        };
        Self { benchmark: word("benchmark"), checkpoint: word("checkpoint") }
    }
}

/// Lines that were left out, by what they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// Samples of other benchmarks.
    pub benchmarks: IndexMap<String, usize>,
    /// Samples of other checkpoints.
    pub checkpoints: IndexMap<String, usize>,
}

impl LeftOut {
    /// One line for each kind, for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let parts = [("benchmarks", &self.benchmarks), ("checkpoints", &self.checkpoints)];
        let line = |(kind, counts): (&str, &IndexMap<String, usize>)| {
            let each = counts.iter().map(|(name, count)| format!("{} ({count})", escape_line(name)));
            format!("left out, of other {kind}: {}", each.collect::<Vec<_>>().join(", "))
        };
        parts.into_iter().filter(|(_, counts)| !counts.is_empty()).map(line).collect()
    }
}

impl WantedSamples<'_> {
    /// Whether each line is graded, and what is left out. `marks` has at least one line.
    ///
    /// # Errors
    /// If it is not clear which benchmark or checkpoint is meant, or nothing of it is there.
    pub(super) fn choose(
        &self,
        shown: &str,
        marks: &[Marks],
    ) -> Result<(Vec<bool>, LeftOut), BenchmarkFileError> {
        let unmarked = marks.iter().any(|line| line.benchmark.is_none());
        let written = list(marks.iter().map(|line| &line.benchmark));
        let benchmark = self.find_benchmark(shown, &written, unmarked)?;
        let mut kept: Vec<bool> =
            marks.iter().map(|line| self.keeps_benchmark(line, benchmark.as_deref())).collect();
        let of = |kept: &[bool], keeps: bool| {
            marks.iter().zip(kept.to_vec()).filter(move |(_, kept)| *kept == keeps).map(|(line, _)| line)
        };
        let mut left_out = LeftOut::default();
        of(&kept, false).for_each(|line| count(&mut left_out.benchmarks, line.benchmark.as_ref()));
        let checkpoints = list(of(&kept, true).map(|line| &line.checkpoint));
        if let Some(checkpoint) = self.find_checkpoint(shown, &checkpoints)? {
            for (line, kept) in marks.iter().zip(&mut kept) {
                if *kept && line.checkpoint.as_ref() != Some(&checkpoint) {
                    *kept = false;
                    count(&mut left_out.checkpoints, line.checkpoint.as_ref());
                }
            }
        }
        Ok((kept, left_out))
    }

    /// A line that says nothing is kept, unless a benchmark is asked for by its name.
    fn keeps_benchmark(&self, line: &Marks, benchmark: Option<&str>) -> bool {
        match &line.benchmark {
            None => self.benchmark.is_none(),
            written => written.as_deref() == benchmark,
        }
    }

    /// Which of the benchmarks in a file is meant; `None` if only lines that say nothing are, of which there are some if `unmarked`.
    fn find_benchmark(
        &self,
        shown: &str,
        written: &[&str],
        unmarked: bool,
    ) -> Result<Option<String>, BenchmarkFileError> {
        let words = ("benchmark", "no line says of which benchmark it is");
        if let Some(asked) = self.benchmark {
            return find_asked(shown, words, asked, written).map(Some);
        }
        let choices = match written.contains(&self.name) {
            true => vec![self.name],
            false => self.list_fitting(written),
        };
        match choices.as_slice() {
            [] if unmarked => Ok(None),
            [one] => Ok(Some((*one).to_owned())),
            [] => {
                let what = format!("no sample is of {}: they are of {}", self.name, list_words(written));
                Err(fault(shown, what, "name that benchmark and its problems, or choose with `--benchmark`"))
            }
            several => {
                let what = format!("samples of several benchmarks: {}", list_words(several));
                Err(fault(shown, what, "choose one of them with `--benchmark NAME`"))
            }
        }
    }

    /// The benchmarks that the name may stand for: those of its layout, such as `humaneval` for `humaneval+`; else own ones, of which only
    /// their file knows the layout; else, for a kind of own ones, any.
    fn list_fitting<'w>(&self, written: &[&'w str]) -> Vec<&'w str> {
        let layout = Layout::by_name(self.name);
        let of = |wanted: &dyn Fn(Option<Layout>) -> bool| -> Vec<&'w str> {
            written.iter().copied().filter(|name| wanted(Layout::by_name(name))).collect()
        };
        let same = of(&|found| found == layout);
        let own = of(&|found| found.is_none());
        if !same.is_empty() {
            same
        } else if !own.is_empty() {
            own
        } else if is_own_kind(self.name) {
            written.to_vec()
        } else {
            Vec::new()
        }
    }

    /// The checkpoint that is meant, if one has to be chosen.
    fn find_checkpoint(&self, shown: &str, written: &[&str]) -> Result<Option<String>, BenchmarkFileError> {
        let words = ("checkpoint", "no line says which checkpoint wrote it");
        match self.checkpoint {
            Some(asked) => find_asked(shown, words, asked, written).map(Some),
            None if written.len() > 1 => Err(fault(
                shown,
                format!("samples of several checkpoints: {}", list_words(written)),
                "choose one of them with `--checkpoint NAME`",
            )),
            None => Ok(None),
        }
    }
}

/// What `--benchmark` or `--checkpoint`, called `word`, asks for, if it is among what is `written`; `unsaid` is told if nothing is.
fn find_asked(
    shown: &str,
    (word, unsaid): (&str, &str),
    asked: &str,
    written: &[&str],
) -> Result<String, BenchmarkFileError> {
    if written.contains(&asked) {
        return Ok(asked.to_owned());
    }
    if written.is_empty() {
        let fix = format!("leave out `--{word}`, or give each line a `{word}`");
        return Err(fault(shown, unsaid, fix));
    }
    let what = format!("no sample is of {word} {}", escape_line(asked));
    Err(fault(shown, what, format!("name one of {}", list_words(written))))
}

fn list_words(words: &[&str]) -> String {
    escape_line(&words.join(", ")).into_owned()
}

/// The words that are there, each once, in their order.
fn list<'a>(words: impl Iterator<Item = &'a Option<String>>) -> Vec<&'a str> {
    words.flatten().map(String::as_str).collect::<indexmap::IndexSet<_>>().into_iter().collect()
}

fn count(counts: &mut IndexMap<String, usize>, word: Option<&String>) {
    let word = word.cloned().unwrap_or_else(|| "without a name".to_owned());
    *counts.entry(word).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the lines that are graded, or what is wrong.
    fn choose(
        (name, benchmark, checkpoint): (&str, Option<&str>, Option<&str>),
        lines: &[(&str, &str)],
    ) -> Result<(Vec<usize>, usize), String> {
        let word = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let line = |(benchmark, checkpoint): &(&str, &str)| Marks {
            benchmark: word(benchmark),
            checkpoint: word(checkpoint),
        };
        let marks: Vec<Marks> = lines.iter().map(line).collect();
        let wanted = WantedSamples { name, benchmark, checkpoint };
        let (kept, left_out) =
            wanted.choose("s", &marks).map_err(|error| format!("{error}; {}", error.fix))?;
        let numbers = (0..kept.len()).filter(|at| kept[*at]).collect();
        Ok((numbers, left_out.benchmarks.values().chain(left_out.checkpoints.values()).sum()))
    }

    #[test]
    fn lines_of_other_benchmarks_are_left_out() {
        let mixed = [("humaneval", ""), ("mbpp", ""), ("mine", ""), ("", "")];
        for (name, benchmark, expected) in [
            ("humaneval", None, &[0, 3][..]),
            ("humaneval+", None, &[0, 3]),
            ("mbpp", None, &[1, 3]),
            ("code", None, &[2, 3]),
            ("code", Some("mbpp"), &[1]),
            ("gsm8k", Some("mine"), &[2]),
        ] {
            let found = choose((name, benchmark, None), &mixed);
            assert_eq!(found, Ok((expected.to_vec(), 4 - expected.len())), "{name}");
        }
        // Samples of an own benchmark that is laid out as a known one.
        assert_eq!(choose(("humaneval", None, None), &[("mine", "")]), Ok((vec![0], 0)));
        assert_eq!(choose(("code", None, None), &[("humaneval", "")]), Ok((vec![0], 0)));
        assert_eq!(choose(("mbpp", None, None), &[("", ""), ("", "")]), Ok((vec![0, 1], 0)));
        assert_eq!(choose(("mbpp", None, None), &[("", ""), ("humaneval", "")]), Ok((vec![0], 1)));
    }

    #[test]
    fn what_is_not_clear_is_asked() {
        for (asked, lines, expected) in [
            (
                ("mbpp", None, None),
                &[("humaneval", ""), ("gsm8k", "")][..],
                "no sample is of mbpp: they are of humaneval, gsm8k",
            ),
            (
                ("code", None, None),
                &[("a", ""), ("b", "")],
                "samples of several benchmarks: a, b; choose one of them with `--benchmark NAME`",
            ),
            (
                ("code", Some("c"), None),
                &[("a", ""), ("b", "")],
                "no sample is of benchmark c; name one of a, b",
            ),
            (("code", Some("c"), None), &[("", "")], "no line says of which benchmark it is"),
            (
                ("mbpp", None, None),
                &[("mbpp", "a"), ("mbpp", "b")],
                "samples of several checkpoints: a, b; choose one of them with `--checkpoint NAME`",
            ),
            (
                ("mbpp", None, Some("c")),
                &[("mbpp", "a"), ("gsm8k", "c")],
                "no sample is of checkpoint c; name one of a",
            ),
            (("mbpp", None, Some("c")), &[("mbpp", "")], "no line says which checkpoint wrote it"),
        ] {
            let found = choose(asked, lines).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn one_checkpoint_is_chosen_of_several() {
        let lines = [("mbpp", "a"), ("mbpp", "b"), ("gsm8k", "a"), ("mbpp", "")];
        assert_eq!(choose(("mbpp", None, Some("b")), &lines), Ok((vec![1], 3)));
        // Another benchmark's checkpoints do not matter.
        assert_eq!(choose(("gsm8k", None, None), &lines), Ok((vec![2], 3)));
    }
}
