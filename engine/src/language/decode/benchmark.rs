//! Decodes benchmarks, in an `evaluate` and in the `probe` of a `train`.

use fmflow_grade::problem::Layout;

use super::Decoder;
use super::sample::decode_infill_length;
use crate::language::record::{Leaf, Record};
use crate::pipeline::benchmark_repository::find_benchmark_repository;
use crate::pipeline::config::sample::{
    AnswerLength, Asking, AskingMode, BenchmarkSettings, ChoiceDivisor, ChoosingSettings, GapLength,
    WritingSettings,
};
use crate::pipeline::stage::SourceFiles;
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::Origin;

impl Decoder<'_> {
    /// Decodes a benchmark; its problems become a source of the stage. `sampler` is that of the probe around it.
    pub(super) fn benchmark(&mut self, record: &Record, sampler: Option<&Leaf>) -> Option<BenchmarkSettings> {
        let value = record.leaf("value")?;
        let own = match value.reference() {
            Some(_) => Some(self.world.target(value)?),
            None => None,
        };
        let layout = own.map_or(Some(value.expect_text()), |own| own.text("kind")).and_then(Layout::by_name);
        let layout = layout.expect("the field table names the same benchmarks and kinds");
        let benchmark = BenchmarkSettings {
            name: value.expect_text().to_owned(),
            layout,
            problems: record.size("problems"),
            asking: match own.filter(|_| layout == Layout::Choice) {
                Some(own) => Asking::Choose(self.choosing(record, own)?),
                None => Asking::Write(self.writing(record, layout, sampler)?),
            },
        };
        match record.leaf("from") {
            _ if own.is_some() => self.own_problems(record, own?, &benchmark.source())?,
            Some(leaf) => drop(self.one_file("the file of a benchmark", &benchmark.source(), leaf)?),
            None if find_benchmark_repository(&benchmark.name).is_some() => {
                let remote = self.pinned_files(record);
                let none = SourceFiles::local(&benchmark.source(), Vec::new());
                self.sources.push(SourceFiles { remote, ..none });
            }
            None => {
                self.sink.push(benchmark_without_file(record, &benchmark.name));
                return None;
            }
        }
        Some(benchmark)
    }

    fn writing(
        &mut self,
        record: &Record,
        layout: Layout,
        sampler: Option<&Leaf>,
    ) -> Option<WritingSettings> {
        let Some(sampler) = record.leaf("sampler").or(sampler) else {
            let example = self.world.of_kind("sampler").find_map(Record::name).unwrap_or("parallel");
            self.sink.push(
                Diagnostic::new(Code::MissingField, "`benchmark` needs `sampler`")
                    .at(&record.span, "no sampler here")
                    .help(format!("add `sampler=\"{example}\"`")),
            );
            return None;
        };
        let sampler = self.sampler(sampler)?;
        let length = self.answer_length(record, layout)?;
        if let AnswerLength::Gap(GapLength::Chosen(shortest, _)) = length {
            self.refuse_constrained_gaps(&sampler, record, (Some(shortest), &[]))?;
        }
        Some(WritingSettings {
            mode: match record.text("mode")? {
                "base" => AskingMode::Base,
                "chat" => AskingMode::Chat,
                other => unreachable!("the field table has no mode `{other}`"),
            },
            sampler,
            samples: record.size("samples")?,
            length,
        })
    }

    /// How the answers of an own benchmark are compared. Nothing is written, so what says how to write does not apply.
    fn choosing(&mut self, record: &Record, own: &Record) -> Option<ChoosingSettings> {
        let writing = ["sampler", "samples", "new-tokens", "length", "mode"];
        let written = |name: &&str| record.leaf(name).filter(|leaf| leaf.origin != Origin::Default);
        let refused: Vec<&Leaf> = writing.iter().filter_map(written).collect();
        self.sink.extend(refused.iter().map(|leaf| field_of_other_answers(leaf, "nothing is written", "")));
        let word = own.text("normalise")?;
        let divisor = ChoiceDivisor::ALL.into_iter().find(|divisor| divisor.word() == word);
        let found = ChoosingSettings {
            normalise: divisor.expect("the field table names the same divisors"),
            times: own.size("times")?,
            draws: own.size("draws")?,
        };
        refused.is_empty().then_some(found)
    }

    /// How long answers are: gaps have a `length`, everything else has `new-tokens`.
    fn answer_length(&mut self, record: &Record, layout: Layout) -> Option<AnswerLength> {
        if layout != Layout::Infilling {
            let refused = record.leaf("length");
            self.sink.extend(refused.map(|leaf| {
                field_of_other_answers(
                    leaf,
                    "only gaps have one",
                    "; `new-tokens` says how long its answers may be",
                )
            }));
            return refused.is_none().then(|| record.size("new-tokens").map(AnswerLength::AtMost))?;
        }
        let written = |name: &str| record.leaf(name).filter(|leaf| leaf.origin != Origin::Default);
        let refused = [(written("new-tokens"), "; `length` says how long gaps are"), (written("mode"), "")];
        let mut sound = true;
        for (leaf, more) in refused.into_iter().filter_map(|(leaf, more)| Some((leaf?, more))) {
            self.sink.push(field_of_other_answers(leaf, "its answers fill gaps", more));
            sound = false;
        }
        let Some(leaf) = record.leaf("length") else {
            self.sink.push(gap_without_length(record));
            return None;
        };
        let gap = match leaf.text() {
            Some("reference") => GapLength::Reference,
            _ => match decode_infill_length(record)? {
                (None, tokens) => GapLength::Known(tokens),
                (Some(shortest), longest) => GapLength::Chosen(shortest, longest),
            },
        };
        sound.then_some(AnswerLength::Gap(gap))
    }

    /// The problems of an own benchmark, which its declaration names.
    fn own_problems(&mut self, record: &Record, own: &Record, source: &str) -> Option<()> {
        let refused: Vec<&Leaf> = ["from", "revision"].iter().filter_map(|name| record.leaf(name)).collect();
        self.sink.extend(refused.iter().map(|leaf| field_of_declaration(leaf, own)));
        let from = own.leaf("from")?;
        let files = self.files("`from` of a benchmark", from.expect_text(), &from.span)?;
        self.sources.push(SourceFiles::local(source, files));
        refused.is_empty().then_some(())
    }

    /// As [`Self::benchmark`], of a probe: no result depends on its problems.
    pub(super) fn probed_benchmark(&mut self, probe: &Record, record: &Record) -> Option<BenchmarkSettings> {
        let own = self.sources.len();
        let benchmark = self.benchmark(record, probe.leaf("sampler"));
        self.observed.extend(self.sources.drain(own..));
        benchmark
    }
}

fn field_of_declaration(leaf: &Leaf, own: &Record) -> Diagnostic {
    let name = &leaf.spec.name;
    let message = format!("`{name}` does not apply to a benchmark that is declared at the top level");
    Diagnostic::new(Code::FieldDoesNotApply, message)
        .at(&leaf.span, "no effect")
        .also(&own.span, "its problems are named here")
        .help(format!("remove `{name}`"))
}

/// A field that has no meaning for the answers of a benchmark.
fn field_of_other_answers(leaf: &Leaf, label: &str, more: &str) -> Diagnostic {
    let name = &leaf.spec.name;
    Diagnostic::new(Code::FieldDoesNotApply, format!("`{name}` does not apply to this benchmark"))
        .at(&leaf.span, label)
        .help(format!("remove `{name}`{more}"))
}

fn gap_without_length(record: &Record) -> Diagnostic {
    let place = record.leaf("value").map_or(&record.span, |leaf| &leaf.span);
    Diagnostic::new(Code::MissingField, "an infilling benchmark needs `length`")
        .at(place, "how many tokens fill a gap?")
        .help("add `length=32`, `length=\"8..64\"` to let the model choose, or `length=\"reference\"` for as many as the reference solution has")
}

fn benchmark_without_file(record: &Record, name: &str) -> Diagnostic {
    let place = record.leaf("value").map_or(&record.span, |leaf| &leaf.span);
    let of_plus = |file: &str, known: &str| {
        let help =
            format!("download the file, and add `from=\"{file}\"`; `{known}` comes from the hub without one");
        ("EvalPlus", help)
    };
    let (whose, help) = match name {
        "mbpp+" => of_plus("MbppPlus.jsonl.gz", "mbpp"),
        "humaneval-infilling" => (
            "github.com/openai/human-eval-infilling",
            "write `benchmark \"humaneval-single-line\"`, which comes from the hub (so do `humaneval-multi-line`, `humaneval-random-span` and `humaneval-random-span-light`), or download a file from the folder `data`, and add `from=\"HumanEval-SingleLineInfilling.jsonl.gz\"`".to_owned(),
        ),
        _ => of_plus("HumanEvalPlus.jsonl.gz", "humaneval"),
    };
    Diagnostic::new(Code::MissingField, format!("benchmark `{name}` needs `from`"))
        .at(place, format!("its problems are in a file of {whose}"))
        .help(help)
}
