//! Attacks on the machine and forgeries of verdicts, as this user and, if this is root, as an ordinary user too. The tests have a `main` of
//! their own because every interpreter is this program, started again.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod attacks;
mod blame;
mod exhaustion;
mod forgeries;
mod verdicts;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Instant;

use fmflow_grade::grading::{Grader, Program};
use fmflow_grade::interpreter::Interpreter;
use fmflow_grade::problem::{Layout, Problem};
use fmflow_grade::sandbox::{Isolation, Limits};
use fmflow_grade::search::{InterpreterError, find_interpreter};
use fmflow_grade::session::Verdict;
use libtest_mimic::{Arguments, Trial};

/// The argument of this program when it runs as an ordinary user.
const AS_USER: &str = "--as-user";

/// The argument of this program when its kernel has no Landlock.
const WITHOUT_LANDLOCK: &str = "--without-landlock";

fn main() -> ExitCode {
    if let Some(exit) = fmflow_grade::enter_sandbox() {
        return exit;
    }
    let mut arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == WITHOUT_LANDLOCK) {
        return refuses_without_landlock();
    }
    let user = arguments.iter().any(|argument| argument == AS_USER);
    arguments.retain(|argument| argument != AS_USER);
    let mut trials =
        [attacks::trials(), forgeries::trials(), exhaustion::trials(), verdicts::trials(), blame::trials()]
            .concat_all();
    if !user {
        trials.push(Trial::test("a_kernel_without_landlock_is_refused", run_without_landlock));
        if rustix::process::getuid().is_root() {
            trials.push(Trial::test("the_same_as_an_ordinary_user", run_as_user));
        }
    }
    let before = read_peak_kib();
    let conclusion = libtest_mimic::run(&Arguments::from_iter(arguments), trials);
    let grown = read_peak_kib() - before;
    let children = list_children();
    if grown > 64 << 10 || !children.is_empty() || !attacks::canary_is_whole() {
        eprintln!(
            "memory grew by {grown} KiB; survivors: {children:?}; files whole: {}",
            attacks::canary_is_whole()
        );
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

trait ConcatAll {
    fn concat_all(self) -> Vec<Trial>;
}

impl<const N: usize> ConcatAll for [Vec<Trial>; N] {
    fn concat_all(self) -> Vec<Trial> {
        self.into_iter().flatten().collect()
    }
}

/// Most memory that this process ever had, in KiB.
fn read_peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn list_children() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let children = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")));
    children.filter_map(Result::ok).filter(|children| !children.trim().is_empty()).collect()
}

/// The interpreter that all tests use.
fn interpreter() -> &'static Interpreter {
    static FOUND: OnceLock<Interpreter> = OnceLock::new();
    FOUND.get_or_init(|| find_interpreter(Isolation::Enforced).unwrap())
}

fn problem(tests: &[&str]) -> Problem {
    let record = serde_json::json!({"task_id": 1, "prompt": "", "test_list": tests});
    Problem::from_record(Layout::Mbpp, record.as_object().unwrap()).unwrap()
}

/// Grades one program, with a second of processor time.
fn grade(problem: &Problem, source: &str) -> Verdict {
    grade_in(interpreter(), problem, source)
}

fn grade_in(interpreter: &Interpreter, problem: &Problem, source: &str) -> Verdict {
    let limits = Limits { cpu_seconds: 1, memory_bytes: 1 << 30 };
    let grader = Grader { interpreter: Some(interpreter), limits, workers: 1, stop: &|| false };
    let mut verdicts = grader.grade(&[Program { problem, source }], &|_, _| {}).unwrap();
    verdicts.pop().unwrap()
}

fn trial(name: String, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// This program again, as a user who owns nothing.
fn run_as_user() -> Result<(), libtest_mimic::Failed> {
    let start = Instant::now();
    let output = Command::new("/proc/self/exe")
        .args([AS_USER, "--test-threads=2"])
        .current_dir("/")
        .env("TMPDIR", "/tmp")
        .uid(61_000)
        .gid(61_000)
        .output()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!(
        "as a user in {:.1} s: {}",
        start.elapsed().as_secs_f64(),
        text.lines().last().unwrap_or_default()
    );
    if output.status.success() { Ok(()) } else { Err(text.into()) }
}

/// This program again, in a process whose kernel says that it has no Landlock.
fn run_without_landlock() -> Result<(), libtest_mimic::Failed> {
    let output = Command::new("/proc/self/exe").arg(WITHOUT_LANDLOCK).output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(text.into()) }
}

fn refuses_without_landlock() -> ExitCode {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let calls = [(libc::SYS_landlock_create_ruleset, Vec::new())].into_iter().collect();
    let here = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let filter: BpfProgram =
        SeccompFilter::new(calls, SeccompAction::Allow, missing, here).unwrap().try_into().unwrap();
    seccompiler::apply_filter(&filter).unwrap();
    match find_interpreter(Isolation::Enforced) {
        Err(InterpreterError::NoSandbox(what)) if what.contains("Landlock") => {}
        other => {
            eprintln!("{other:?}");
            return ExitCode::FAILURE;
        }
    }
    // Without the sandbox, grading goes on, and the result says so.
    let interpreter = find_interpreter(Isolation::UnsafeNoSandbox).unwrap();
    let verdict = grade_in(&interpreter, &problem(&["assert f(1) == 2"]), "def f(x): return x + 1");
    assert!(verdict.passed() && interpreter.isolation == Isolation::UnsafeNoSandbox, "{verdict:?}");
    ExitCode::SUCCESS
}

/// A folder that attacks try to read and change.
fn canary() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("canary").tempdir().unwrap().keep();
        std::fs::write(folder.join("secret"), "canary").unwrap();
        folder
    })
}
