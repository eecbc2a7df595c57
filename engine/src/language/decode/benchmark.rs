//! Decodes benchmarks, in an `evaluate` and in the `probe` of a `train`.

use super::Decoder;
use crate::language::record::{Leaf, Record};
use crate::pipeline::benchmark_repository::find_benchmark_repository;
use crate::pipeline::config::sample::BenchmarkSettings;
use crate::pipeline::stage::SourceFiles;
use crate::text::diagnostic::{Code, Diagnostic};

impl Decoder<'_> {
    /// Decodes a benchmark; its problems become a source of the stage. `sampler` is that of the probe around it.
    pub(super) fn benchmark(&mut self, record: &Record, sampler: Option<&Leaf>) -> Option<BenchmarkSettings> {
        let benchmark = BenchmarkSettings {
            name: record.text("value")?.to_owned(),
            sampler: self.sampler(record.leaf("sampler").or(sampler)?)?,
            samples: record.size("samples")?,
            new_tokens: record.size("new-tokens")?,
            problems: record.size("problems"),
        };
        match record.leaf("from") {
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

    /// As [`Self::benchmark`], of a probe: no result depends on its problems.
    pub(super) fn probed_benchmark(&mut self, probe: &Record, record: &Record) -> Option<BenchmarkSettings> {
        let own = self.sources.len();
        let benchmark = self.benchmark(record, probe.leaf("sampler"));
        self.observed.extend(self.sources.drain(own..));
        benchmark
    }
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
