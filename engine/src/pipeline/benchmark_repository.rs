//! Where the problems of a built-in benchmark come from if its node names no file.

/// A repository with the problems of a benchmark.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BenchmarkRepository {
    /// Name of the benchmark.
    pub benchmark: &'static str,
    /// `OWNER/NAME` of the dataset.
    pub name: &'static str,
    /// The subset that is read.
    pub subset: &'static str,
    /// Pattern of its files.
    pub files: &'static str,
    /// The columns that a problem needs.
    pub columns: &'static [&'static str],
}

/// The repositories. Of MBPP all splits are read: together they are the 427 problems of its authors' file. Of GSM8K the test split is read.
pub(crate) const BENCHMARK_REPOSITORIES: [BenchmarkRepository; 3] = [
    BenchmarkRepository {
        benchmark: "humaneval",
        name: "openai/openai_humaneval",
        subset: "openai_humaneval",
        files: "openai_humaneval/*.parquet",
        columns: &["task_id", "prompt", "canonical_solution", "test", "entry_point"],
    },
    BenchmarkRepository {
        benchmark: "mbpp",
        name: "google-research-datasets/mbpp",
        subset: "sanitized",
        files: "sanitized/*.parquet",
        columns: &["task_id", "prompt", "code", "test_imports", "test_list"],
    },
    BenchmarkRepository {
        benchmark: "gsm8k",
        name: "openai/gsm8k",
        subset: "main",
        files: "main/test-*.parquet",
        columns: &["question", "answer"],
    },
];

/// The repository of a benchmark; `None` if it is read from files only.
#[must_use]
pub(crate) fn find_benchmark_repository(benchmark: &str) -> Option<&'static BenchmarkRepository> {
    BENCHMARK_REPOSITORIES.iter().find(|one| one.benchmark == benchmark)
}
