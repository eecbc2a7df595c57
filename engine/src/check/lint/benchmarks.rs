//! Lints of the files of benchmarks: problems that cannot be read, and prompts that somebody stripped.

use fmflow_grade::problem::Layout;

use crate::benchmark::{BenchmarkFileError, read_first_problems};
use crate::pipeline::config::EvaluateConfig;
use crate::pipeline::field_path::evaluate;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::escape::show_path;
use crate::text::file_head::open_regular_file;
use crate::text::place::Span;

/// Problems of a file that are looked at.
const MOST_PROBLEMS: usize = 20;

/// Looks at the first problems of each benchmark whose file is named.
pub(super) fn lint_benchmark_files(stage: &Stage, config: &EvaluateConfig, sink: &mut Sink) {
    for (at, benchmark) in config.benchmarks.iter().enumerate() {
        let source = stage.sources.iter().find(|source| source.name == benchmark.source());
        let Some(path) = source.and_then(|source| source.files.first()) else { continue };
        let place = stage.place(evaluate::NTH_BENCHMARK_FROM.nth(at));
        let layout = Layout::by_name(&benchmark.name).expect("the field table names the same benchmarks");
        let shown = show_path(path.strip_prefix(&place.file.folder).unwrap_or(path));
        // That the file cannot be opened is said where its digest is made.
        let Ok((file, _)) = open_regular_file(path) else { continue };
        match read_first_problems(file, &shown, layout, MOST_PROBLEMS) {
            Err(error) => sink.push(faulty_problems(&benchmark.name, &error, place)),
            Ok(problems) if layout == Layout::HumanEval => {
                let stripped = |prompt: &str| !prompt.ends_with(char::is_whitespace);
                let first = problems.iter().find(|(_, problem)| stripped(&problem.prompt));
                sink.extend(
                    first.map(|(place_in_file, _)| stripped_prompt(&benchmark.name, place_in_file, place)),
                );
            }
            Ok(_) => {}
        }
    }
}

fn faulty_problems(name: &str, error: &BenchmarkFileError, place: &Span) -> Diagnostic {
    Diagnostic::new(Code::FaultyLines, format!("benchmark `{name}`: {error}"))
        .at(place, "its problems")
        .help(error.fix.as_str())
}

fn stripped_prompt(name: &str, place_in_file: &str, place: &Span) -> Diagnostic {
    let message = format!("a prompt of benchmark `{name}` does not end with a line end ({place_in_file})");
    Diagnostic::new(Code::StrippedPrompt, message)
        .at(place, "its problems")
        .help("use the benchmark's own file, whose prompts end with a line end")
}
