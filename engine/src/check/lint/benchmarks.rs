//! Lints of the files of benchmarks, of evaluations and of probes: problems that cannot be read, fields that nobody reads, and prompts that
//! somebody stripped.

use std::path::{Path, PathBuf};

use fmflow_grade::problem::{Layout, Problem};

use crate::benchmark::{BenchmarkFileError, find_unread_field, read_first_problems, read_problems};
use crate::language::record::Record;
use crate::language::schema::load_schema;
use crate::pipeline::config::sample::BenchmarkSettings;
use crate::pipeline::config::train::ProbeSettings;
use crate::pipeline::config::{EvaluateConfig, TrainConfig};
use crate::pipeline::field_path::{FieldPath, evaluate, train};
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::escape::{escape_line, show_path};
use crate::text::file_head::{open_regular_file, read_file_size};
use crate::text::place::Span;

/// Problems of a file that are looked at.
const MOST_PROBLEMS: usize = 20;

/// The benchmark whose prompts are known.
const HUMANEVAL: &str = "humaneval";

/// Own benchmarks up to this size are read whole, in bytes: a task that appears twice is told before a model answers.
const MOST_BYTES: u64 = 16 << 20;

/// Looks at the problems of each benchmark whose file is named.
pub(super) fn lint_benchmark_files(stage: &Stage, config: &EvaluateConfig, sink: &mut Sink) {
    for (at, benchmark) in config.benchmarks.iter().enumerate() {
        lint_files(stage, benchmark, stage.place(evaluate::NTH_BENCHMARK_FROM.nth(at)), sink);
    }
}

/// As [`lint_benchmark_files`], for the benchmarks of a probe.
pub(super) fn lint_probed_files(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let benchmarks = config.probe.iter().flat_map(|probe: &ProbeSettings| &probe.benchmarks);
    for (at, benchmark) in benchmarks.enumerate() {
        let place = |path: FieldPath| stage.field(path.nth(at)).map(|field| &field.span);
        let from = place(train::NTH_PROBE_BENCHMARK_FROM).or_else(|| place(train::NTH_PROBE_BENCHMARK));
        lint_files(stage, benchmark, from.unwrap_or(&stage.span), sink);
    }
}

/// Reports an own benchmark that nobody can use, because its name is that of a built-in one.
pub(super) fn check_benchmark_name(record: &Record, sink: &mut Sink) {
    let Some(leaf) = record.name_leaf() else { return };
    let used = load_schema().node("evaluate").and_then(|node| node.child("benchmark"));
    let words = used
        .and_then(|node| node.fields().find(|field| field.name == "value"))
        .map(|field| field.words.as_slice());
    let words = words.expect("the field table has the names of benchmarks");
    let name = leaf.expect_text();
    if words.iter().any(|word| word == name) {
        sink.push(
            Diagnostic::new(Code::DuplicateName, format!("`{name}` is the name of a built-in benchmark"))
                .at(&leaf.span, "the built-in one would be used")
                .help(format!("rename it, for example to `\"my-{name}\"`")),
        );
    }
}

fn lint_files(stage: &Stage, benchmark: &BenchmarkSettings, place: &Span, sink: &mut Sink) {
    let source = stage.all_sources().find(|source| source.name == benchmark.source());
    let files = source.map(|source| source.files.as_slice()).unwrap_or_default();
    let problems = match read_some_problems(benchmark.layout, files, place) {
        Ok(problems) => problems,
        Err(error) => return sink.push(faulty_problems(&benchmark.name, &error, place)),
    };
    let stripped = |problem: &Problem| {
        problem.layout() == Layout::HumanEval && !problem.prompt.ends_with(char::is_whitespace)
    };
    let first = problems.iter().find(|(_, problem)| stripped(problem));
    sink.extend(first.map(|(place_in_file, _)| stripped_prompt(&benchmark.name, place_in_file, place)));
    let own: Vec<&Problem> = problems.iter().map(|(_, problem)| problem).collect();
    if benchmark.name == HUMANEVAL && lacks_blank_lines(&own) {
        sink.push(headless_prompts(&benchmark.name, place));
    }
    if benchmark.layout.has_only_known_fields() {
        sink.extend(find_unread(benchmark, files, place));
    }
}

/// The first problems of each file, with their places. That a file cannot be opened is said where its digest is made.
fn read_some_problems(
    layout: Layout,
    files: &[PathBuf],
    place: &Span,
) -> Result<Vec<(String, Problem)>, BenchmarkFileError> {
    let opened =
        || files.iter().filter_map(|path| Some((open_regular_file(path).ok()?.0, show(path, place))));
    let bytes: u64 = files.iter().filter_map(|path| read_file_size(path)).sum();
    if layout.has_only_known_fields() && bytes <= MOST_BYTES && !files.is_empty() {
        read_problems(opened().collect(), layout)?;
    }
    let mut all = Vec::new();
    for (file, shown) in opened() {
        all.extend(read_first_problems(file, &shown, layout, MOST_PROBLEMS)?);
    }
    Ok(all)
}

/// A field of the first problems that nothing reads.
fn find_unread(benchmark: &BenchmarkSettings, files: &[PathBuf], place: &Span) -> Option<Diagnostic> {
    let unread = |path: &PathBuf| {
        let (file, _) = open_regular_file(path).ok()?;
        // What cannot be read was told as a faulty problem.
        find_unread_field(file, &show(path, place), benchmark.layout, MOST_PROBLEMS).ok()?
    };
    let (place_in_file, field) = files.iter().find_map(unread)?;
    let (name, field) = (&benchmark.name, escape_line(&field).into_owned());
    let message = format!("nothing reads `{field}` of the problems of benchmark `{name}` ({place_in_file})");
    Some(
        Diagnostic::new(Code::UnreadField, message)
            .at(place, "its problems")
            .help("take the field out of the file, or give it the name of one that is read"),
    )
}

fn show(path: &Path, place: &Span) -> String {
    show_path(path.strip_prefix(&place.file.folder).unwrap_or(path))
}

fn faulty_problems(name: &str, error: &BenchmarkFileError, place: &Span) -> Diagnostic {
    Diagnostic::new(Code::FaultyLines, format!("benchmark `{name}`: {error}"))
        .at(place, "its problems")
        .help(error.fix.as_str())
}

/// Whether so many problems of HumanEval cannot be its own: of its 164 prompts 142 begin with a blank line, 6 of the first 20.
fn lacks_blank_lines(problems: &[&Problem]) -> bool {
    problems.len() >= MOST_PROBLEMS
        && !problems.iter().any(|problem| problem.prompt.starts_with(char::is_whitespace))
}

fn headless_prompts(name: &str, place: &Span) -> Diagnostic {
    let message =
        format!("no prompt of benchmark `{name}` begins with a blank line, as most of HumanEval's do");
    Diagnostic::new(Code::StrippedPrompt, message)
        .at(place, "its problems")
        .help("use the benchmark's own file, whose prompts nobody stripped")
}

fn stripped_prompt(name: &str, place_in_file: &str, place: &Span) -> Diagnostic {
    let message = format!("a prompt of benchmark `{name}` does not end with a line end ({place_in_file})");
    Diagnostic::new(Code::StrippedPrompt, message)
        .at(place, "its problems")
        .help("use the benchmark's own file, whose prompts end with a line end")
}
