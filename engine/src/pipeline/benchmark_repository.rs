//! Where the problems of a built-in benchmark come from if its node names no file.

use super::repository::PARQUET_BRANCH;

/// A repository with the problems of a benchmark.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BenchmarkRepository {
    /// Name of the benchmark.
    pub benchmark: &'static str,
    /// `OWNER/NAME` of the dataset.
    pub name: &'static str,
    /// The branch that is read if the pipeline names none; `None`: the default branch.
    pub branch: Option<&'static str>,
    /// The subset that is read.
    pub subset: &'static str,
    /// Pattern of its files.
    pub files: &'static str,
    /// The columns that a problem needs.
    pub columns: &'static [&'static str],
}

/// The repositories. Of MBPP all splits are read: together they are the 427 problems of its authors' file. Of GSM8K the test split is read.
/// HumanEval-Infilling has its problems only on the branch that the hub converts, because its own branch holds a program that downloads them.
pub(crate) const BENCHMARK_REPOSITORIES: [BenchmarkRepository; 7] = [
    BenchmarkRepository {
        benchmark: "humaneval",
        name: "openai/openai_humaneval",
        branch: None,
        subset: "openai_humaneval",
        files: "openai_humaneval/*.parquet",
        columns: &["task_id", "prompt", "canonical_solution", "test", "entry_point"],
    },
    BenchmarkRepository {
        benchmark: "mbpp",
        name: "google-research-datasets/mbpp",
        branch: None,
        subset: "sanitized",
        files: "sanitized/*.parquet",
        columns: &["task_id", "prompt", "code", "test_imports", "test_list"],
    },
    BenchmarkRepository {
        benchmark: "gsm8k",
        name: "openai/gsm8k",
        branch: None,
        subset: "main",
        files: "main/test-*.parquet",
        columns: &["question", "answer"],
    },
    infilling(
        "humaneval-single-line",
        "HumanEval-SingleLineInfilling",
        "HumanEval-SingleLineInfilling/**/*.parquet",
    ),
    infilling(
        "humaneval-multi-line",
        "HumanEval-MultiLineInfilling",
        "HumanEval-MultiLineInfilling/**/*.parquet",
    ),
    infilling(
        "humaneval-random-span",
        "HumanEval-RandomSpanInfilling",
        "HumanEval-RandomSpanInfilling/**/*.parquet",
    ),
    infilling(
        "humaneval-random-span-light",
        "HumanEval-RandomSpanInfillingLight",
        "HumanEval-RandomSpanInfillingLight/**/*.parquet",
    ),
];

/// A subset of HumanEval-Infilling.
const fn infilling(
    benchmark: &'static str,
    subset: &'static str,
    files: &'static str,
) -> BenchmarkRepository {
    BenchmarkRepository {
        benchmark,
        name: "loubnabnl/humaneval_infilling",
        branch: Some(PARQUET_BRANCH),
        subset,
        files,
        columns: &["task_id", "prompt", "suffix", "canonical_solution", "test", "entry_point"],
    }
}

/// The repository of a benchmark; `None` if it is read from files only.
#[must_use]
pub(crate) fn find_benchmark_repository(benchmark: &str) -> Option<&'static BenchmarkRepository> {
    BENCHMARK_REPOSITORIES.iter().find(|one| one.benchmark == benchmark)
}
