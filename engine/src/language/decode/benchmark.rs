//! Decodes benchmarks, in an `evaluate` and in the `probe` of a `train`.

use fmflow_grade::problem::Layout;

use super::Decoder;
use crate::language::record::{Leaf, Record};
use crate::pipeline::benchmark_repository::find_benchmark_repository;
use crate::pipeline::config::sample::{AskingMode, BenchmarkSettings};
use crate::pipeline::stage::SourceFiles;
use crate::text::diagnostic::{Code, Diagnostic};

impl Decoder<'_> {
    /// Decodes a benchmark; its problems become a source of the stage. `sampler` is that of the probe around it.
    pub(super) fn benchmark(&mut self, record: &Record, sampler: Option<&Leaf>) -> Option<BenchmarkSettings> {
        let value = record.leaf("value")?;
        let own = match value.reference() {
            Some(_) => Some(self.world.target(value)?),
            None => None,
        };
        let layout = own.map_or(Some(value.expect_text()), |own| own.text("kind")).and_then(Layout::by_name);
        let benchmark = BenchmarkSettings {
            name: value.expect_text().to_owned(),
            layout: layout.expect("the field table names the same benchmarks and kinds"),
            mode: match record.text("mode")? {
                "base" => AskingMode::Base,
                "chat" => AskingMode::Chat,
                other => unreachable!("the field table has no mode `{other}`"),
            },
            sampler: self.sampler(record.leaf("sampler").or(sampler)?)?,
            samples: record.size("samples")?,
            new_tokens: record.size("new-tokens")?,
            problems: record.size("problems"),
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

fn benchmark_without_file(record: &Record, name: &str) -> Diagnostic {
    let place = record.leaf("value").map_or(&record.span, |leaf| &leaf.span);
    let (file, known) = match name {
        "mbpp+" => ("MbppPlus.jsonl.gz", "mbpp"),
        _ => ("HumanEvalPlus.jsonl.gz", "humaneval"),
    };
    Diagnostic::new(Code::MissingField, format!("benchmark `{name}` needs `from`"))
        .at(place, "its problems are in a file of EvalPlus")
        .help(format!(
            "download the file, and add `from=\"{file}\"`; `{known}` comes from the hub without one"
        ))
}
