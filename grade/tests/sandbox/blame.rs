//! Whose fault it is: the program's, or that of the problem. Nothing that a program does may end the grading of the others.

use std::sync::atomic::{AtomicUsize, Ordering};

use fmflow_grade::grading::{GradeError, Grader, Program};
use fmflow_grade::problem::{Layout, Problem};
use fmflow_grade::sandbox::{LIMITS, Limits};
use fmflow_grade::session::Outcome;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{grade, interpreter, problem, trial};

pub(super) fn trials() -> Vec<Trial> {
    let all: [(&str, fn()); 12] = [
        ("a_function_has_its_own_name_in_check", a_function_has_its_own_name_in_check),
        (
            "without_a_reference_every_unknown_name_is_the_program",
            without_a_reference_every_unknown_name_is_the_program,
        ),
        ("a_problem_that_calls_nothing_is_no_problem", a_problem_that_calls_nothing_is_no_problem),
        (
            "a_faulty_reference_is_found_whatever_the_program_is",
            a_faulty_reference_is_found_whatever_the_program_is,
        ),
        ("what_a_reference_makes_of_others_is_its_own", what_a_reference_makes_of_others_is_its_own),
        ("no_text_of_a_program_ends_the_grading", no_text_of_a_program_ends_the_grading),
        ("the_end_of_a_loop_is_no_answer", the_end_of_a_loop_is_no_answer),
        ("what_a_program_raises_is_its_own", what_a_program_raises_is_its_own),
        ("what_a_reference_imports_or_keeps_is_the_tests", what_a_reference_imports_or_keeps_is_the_tests),
        ("a_reference_that_returns_no_literal_is_at_fault", a_reference_that_returns_no_literal_is_at_fault),
        ("sleep_has_an_end_in_all", sleep_has_an_end_in_all),
        ("a_signal_ends_a_program_that_runs", a_signal_ends_a_program_that_runs),
    ];
    all.into_iter().map(|(name, test)| trial(format!("blame::{name}"), test)).collect()
}

fn read(layout: Layout, record: &Value) -> Problem {
    Problem::from_record(layout, record.as_object().unwrap()).unwrap()
}

/// A problem whose program begins with `prompt`, and whose function `f` adds 1.
fn check(prompt: &str, solution: &Value, test: &str) -> Problem {
    let test = format!("def check(candidate):\n    {}\n", test.replace('\n', "\n    "));
    let record = json!({"task_id": 1, "prompt": prompt, "entry_point": "f", "canonical_solution": solution, "test": test});
    read(Layout::HumanEval, &record)
}

/// Why a problem cannot be graded.
fn refuse(problem: &Problem, source: &str) -> String {
    let grader = Grader { interpreter: Some(interpreter()), limits: LIMITS, workers: 1, stop: &|| false };
    grader.grade(&[Program { problem, source }], &|_, _| {}).unwrap_err().to_string()
}

fn a_function_has_its_own_name_in_check() {
    let (prompt, solution) = ("def g(x):\n    return x\n\ndef f(x):\n", json!("    return x + 1\n"));
    let by_name = check(prompt, &solution, "assert f(g(1)) == 2");
    assert!(grade(&by_name, "def f(x): return x + 1").passed());
    assert_eq!(grade(&by_name, "def f(x): return None").outcome, Outcome::WrongAnswer);
    let record = json!({
        "task_id": 1, "prompt": "def f(x):\n", "suffix": "    return x\n", "canonical_solution": "    x += 1\n",
        "entry_point": "f", "test": "def check(candidate):\n    assert f(1) == 2\n",
    });
    let gap = read(Layout::Infilling, &record);
    assert!(grade(&gap, &gap.complete("    x = x + 1\n")).passed());
    assert_eq!(grade(&gap, &gap.complete("    x = 7\n")).outcome, Outcome::WrongAnswer);
}

fn without_a_reference_every_unknown_name_is_the_program() {
    let own = check("", &Value::Null, "import math\nassert math.isclose(f(g(1)), 2) and candidate(2) == 3");
    assert!(grade(&own, "def g(x): return x\ndef f(x): return x + 1").passed());
    assert_eq!(grade(&own, "def g(x): return x\ndef f(x): return x").outcome, Outcome::WrongAnswer);
    assert_eq!(grade(&own, "def f(x): return x + 1").detail, "missing: g");
}

fn a_problem_that_calls_nothing_is_no_problem() {
    let solution = json!("    return x + 1\n");
    let right = "def f(x): return x + 1";
    for test in ["pass", "assert f", "assert callable(candidate)"] {
        let said = refuse(&check("def f(x):\n", &solution, test), right);
        assert_eq!(said, "task 1: the problem cannot be graded: no test calls f", "{test}");
    }
    let said = refuse(&check("def f(x):\n", &solution, "assert f(nobody)"), right);
    assert!(
        said.contains("the tests raise NameError: name 'nobody' is not defined before they call"),
        "{said}"
    );
    let said = refuse(&check("def g(x):\n", &solution, "assert f(1)"), right);
    assert!(said.ends_with("the reference solution defines no function f"), "{said}");
    assert!(refuse(&problem(&["assert f"]), right).ends_with("no test calls a function of the solution"));
    let record = json!({
        "task_id": 1, "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": solution, "base_input": [],
    });
    assert!(refuse(&read(Layout::HumanEval, &record), right).ends_with("no test calls f"));
}

fn a_faulty_reference_is_found_whatever_the_program_is() {
    let faulty = check("import nothing\ndef f(x):\n", &json!("    return x\n"), "assert f(1) == 2");
    for source in ["def f(x) return", "1 / 0", "def f(x): return None", ""] {
        let said = refuse(&faulty, source);
        assert!(said.contains("the reference solution raises ModuleNotFoundError"), "{said}");
    }
    // Of the last input, although the first one fails already.
    let record = json!({
        "task_id": 1, "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return 1 / x\n",
        "base_input": [[1]], "plus_input": [[0]],
    });
    let said = refuse(&read(Layout::HumanEval, &record), "def f(x): return 7");
    assert!(
        said.ends_with("the reference solution raises ZeroDivisionError: division by zero, of input 2"),
        "{said}"
    );
}

fn what_a_reference_makes_of_others_is_its_own() {
    for code in [
        "from functools import partial\nfrom operator import add\nf = partial(add, 1)",
        "from functools import lru_cache\n@lru_cache\ndef f(x): return x + 1",
    ] {
        let record = json!({"task_id": 1, "prompt": "", "code": code, "test_list": ["assert f(1) == 2"]});
        let problem = read(Layout::Mbpp, &record);
        assert!(grade(&problem, "def f(x): return x + 1").passed(), "{code}");
        assert!(!grade(&problem, "def f(x): return x").passed(), "{code}");
    }
}

fn no_text_of_a_program_ends_the_grading() {
    let put = "import os, time\ndef put(kind, body):\n    data = f'{kind} 1 {len(body)}\\n{body}'.encode()\n    \
               while data: data = data[os.write(4, data):]\n    time.sleep(9)\n";
    let bytes = "'B' + '00' * 500000 + ';'";
    for (kind, body, outcome) in [
        ("missing", bytes.to_owned(), Outcome::Raised),
        ("unsayable", bytes.to_owned(), Outcome::Raised),
        ("raised", format!("'U3;' + {bytes} + 'L0;N'"), Outcome::Raised),
        ("raised", format!("'U3;NL0;' + {bytes}"), Outcome::Raised),
        ("raised", format!("'U3;' + {bytes} + 'L0;' + {bytes}"), Outcome::BadAnswer),
        ("raised", "'U3;S;M0;S;'".to_owned(), Outcome::Raised),
        ("answer", "'D0x1p99999;'".to_owned(), Outcome::Raised),
    ] {
        let source = format!("{put}def f(x): put({kind:?}, {body})");
        let verdict = grade(&problem(&["assert f(1) == 1"]), &source);
        assert_eq!(verdict.outcome, outcome, "{verdict:?}");
        assert!(verdict.detail.len() < 1000, "{kind}: {}", verdict.detail.len());
    }
    let twice = problem(&["a = f(3)\nassert f([a, a]) == 3"]);
    let verdict = grade(&twice, "def f(x): return 'x' * 300000");
    assert_eq!(verdict.detail, "an argument that depends on its answers is longer than 1048576 bytes");
    let long = problem(&["assert f('x' * 600000)"]);
    assert!(
        refuse(&long, "def f(x): return x").ends_with("an argument of a test is longer than 1048576 bytes")
    );
    let ends = problem(&["import os\nassert f(1) or os._exit(3)"]);
    assert_eq!(grade(&ends, "def f(x): return 0").outcome, Outcome::BadAnswer);
    // What a program says of itself has the same bounds as what it answers.
    let source = format!(
        "{put}import sys\nsys.modules['__main__'].send('syntax', 0, ('x' * 400000, (), 'y' * 1000))\ntime.sleep(9)"
    );
    let verdict = grade(&problem(&["assert f(1) == 1"]), &source);
    assert!(
        verdict.outcome == Outcome::SyntaxError && verdict.detail.len() <= 4096,
        "{}",
        verdict.detail.len()
    );
}

fn the_end_of_a_loop_is_no_answer() {
    let source = "def f(x): raise StopIteration('no')";
    let verdict = grade(&problem(&["assert all(map(lambda x: f(x) == x, range(5)))"]), source);
    assert_eq!((verdict.outcome, verdict.detail.as_str()), (Outcome::Raised, "StopIteration: no"));
    // A test may expect it.
    for expected in ["StopIteration as error", "Exception as error"] {
        let test = format!(
            "try:\n    f(1)\nexcept {expected}:\n    assert str(error) == 'no'\nelse:\n    assert False"
        );
        assert!(grade(&problem(&[&test]), source).passed(), "{expected}");
    }
    for test in [
        "try:\n    f(1)\nexcept:\n    pass",
        "import contextlib\nwith contextlib.suppress(StopIteration):\n    f(1)",
    ] {
        assert!(grade(&problem(&[test]), source).passed(), "{test}");
    }
    // To raise an exception is not to expect one.
    let raises = problem(&["if not all(map(f, [1, 2])):\n    raise Exception('StopIteration')"]);
    assert_eq!(grade(&raises, source).outcome, Outcome::Raised);
}

fn what_a_program_raises_is_its_own() {
    let caught = |kept: &str, then: &str| {
        let test = format!("try:\n    f(1)\nexcept ValueError as error:\n    x = {kept}\n{then}");
        grade(&problem(&[&test]), "def f(x): raise ValueError('ab')")
    };
    let long = "an argument that depends on its answers is longer than 1048576 bytes";
    for (kept, then, detail) in [
        ("str(error)", "f(x * 1000000)", long),
        ("error", "f(x)", "it answered no literal, and a test passes that on"),
        ("error", "f({1: [x]})", "it answered no literal, and a test passes that on"),
    ] {
        let verdict = caught(kept, then);
        assert_eq!((verdict.outcome, verdict.detail.as_str()), (Outcome::Raised, detail), "{kept}, {then}");
    }
    // An exception that the test itself makes is the fault of the test, as any other object.
    let own = problem(&["f(1)\nf(ValueError('ab'))"]);
    assert!(refuse(&own, "def f(x): return x").ends_with("neither a literal nor made of literals"));
}

fn what_a_reference_imports_or_keeps_is_the_tests() {
    for (code, test) in [
        (
            "from urllib.parse import urlsplit\ndef f(x): return urlsplit(x).netloc",
            "assert f('http://a/b') == urlsplit('http://a/b').netloc",
        ),
        (
            "class Point:\n    def __init__(self, x): self.x = x\nZERO = Point('a')\ndef f(x): return ZERO.x",
            "assert f('http://a/b') == ZERO.x",
        ),
    ] {
        let record = json!({"task_id": 1, "prompt": "", "code": code, "test_list": [test]});
        let problem = read(Layout::Mbpp, &record);
        assert!(grade(&problem, "def f(x): return x[7]").passed(), "{code}");
        assert!(!grade(&problem, "def f(x): return x[8]").passed(), "{code}");
    }
}

fn a_reference_that_returns_no_literal_is_at_fault() {
    for solution in ["    return map(str, x)\n", "    return [x, iter(x)]\n"] {
        let record = json!({
            "task_id": 1, "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": solution,
            "base_input": [[[1]]], "plus_input": [],
        });
        let said = refuse(&read(Layout::HumanEval, &record), "def f(x): return x");
        assert!(said.ends_with("the reference solution returns no literal, for input 1"), "{said}");
    }
    // Where every answer is right, it does not matter what the reference returns.
    let record = json!({
        "task_id": "Mbpp/164", "prompt": "", "entry_point": "are_equivalent", "base_input": [[1, 2]], "plus_input": [],
        "canonical_solution": "def are_equivalent(a, b): return iter([a, b])", "atol": 0,
    });
    assert!(grade(&read(Layout::Mbpp, &record), "def are_equivalent(a, b): return 1").passed());
}

fn sleep_has_an_end_in_all() {
    let verdict = grade(
        &problem(&["assert all(f(i) == i for i in range(1000))"]),
        "import time\ndef f(x):\n    time.sleep(0.5)\n    return x",
    );
    let expected = (Outcome::TimedOut, "its answers take too long in all");
    assert_eq!((verdict.outcome, verdict.detail.as_str()), expected);
}

fn a_signal_ends_a_program_that_runs() {
    let problem = problem(&["assert f() == 1"]);
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) > 20;
    let limits = Limits { cpu_seconds: 20, ..LIMITS };
    let grader = Grader { interpreter: Some(interpreter()), limits, workers: 1, stop: &stop };
    let program = Program { problem: &problem, source: "def f():\n    while True: pass" };
    let found = grader.grade(&[program], &|_, _| {});
    assert!(matches!(found, Err(GradeError::Stopped)), "{found:?}");
}
