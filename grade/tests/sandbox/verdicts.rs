//! Honest programs: what crosses between the interpreters, and what a verdict says.

use std::path::PathBuf;
use std::time::Duration;

use fmflow_grade::grading::{GradeError, Grader, Program};
use fmflow_grade::interpreter::Interpreter;
use fmflow_grade::problem::{Layout, Problem};
use fmflow_grade::sandbox::{Isolation, LIMITS};
use fmflow_grade::search::{InterpreterError, find_among};
use fmflow_grade::session::{Outcome, SessionError};
use libtest_mimic::Trial;

use super::{grade, interpreter, problem, trial};

pub(super) fn trials() -> Vec<Trial> {
    let all: [(&str, fn()); 15] = [
        ("values_cross_unchanged", values_cross_unchanged),
        ("subclasses_cross_as_their_base", subclasses_cross_as_their_base),
        ("other_values_have_only_their_truth", other_values_have_only_their_truth),
        ("exceptions_reach_the_tests", exceptions_reach_the_tests),
        ("outcomes_say_what_happened", outcomes_say_what_happened),
        ("check_gets_the_candidate_and_not_the_reference", check_gets_the_candidate_and_not_the_reference),
        ("tests_see_what_the_reference_imports", tests_see_what_the_reference_imports),
        ("evalplus_compares_with_the_reference", evalplus_compares_with_the_reference),
        ("mbpp_plus_says_what_its_inputs_stand_for", mbpp_plus_says_what_its_inputs_stand_for),
        ("evalplus_has_rules_for_single_problems", evalplus_has_rules_for_single_problems),
        ("verdicts_do_not_depend_on_workers", verdicts_do_not_depend_on_workers),
        ("a_problem_at_fault_is_an_error", a_problem_at_fault_is_an_error),
        (
            "arguments_that_nobody_can_pass_on_are_the_fault_of_the_test",
            arguments_that_nobody_can_pass_on_are_the_fault_of_the_test,
        ),
        (
            "answers_that_a_test_passes_on_are_the_fault_of_the_program",
            answers_that_a_test_passes_on_are_the_fault_of_the_program,
        ),
        ("interpreters_that_cannot_be_used_are_named", interpreters_that_cannot_be_used_are_named),
    ];
    all.into_iter().map(|(name, test)| trial(name.into(), test)).collect()
}

fn outcome(tests: &[&str], source: &str) -> Outcome {
    grade(&problem(tests), source).outcome
}

fn values_cross_unchanged() {
    let values = "[None, True, False, 0, -1, 2**200, 0.1, -0.0, float('inf'), 1e-320, 3+4j, '', 'ä\\ud800', b'\\0', [], (1, (2,)), {1, 2}, \
                  frozenset([1]), {'a': {(1, 2): []}}]";
    let test = format!(
        "given, expected = f({values}), {values}\nassert given == expected\nassert repr(given) == repr(expected)"
    );
    assert_eq!(outcome(&[&test], "def f(x): return x"), Outcome::Passed);
    assert_eq!(outcome(&["assert f(1, y=2) == (1, 2)"], "def f(x, y): return x, y"), Outcome::Passed);
    // What the program does to its arguments is its own matter.
    let own = "x = [1]\nassert f(x) == [1, 2]\nassert x == [1]";
    assert_eq!(outcome(&[own], "def f(x):\n    x.append(2)\n    return x"), Outcome::Passed);
}

fn subclasses_cross_as_their_base() {
    let source = "from collections import Counter, OrderedDict, namedtuple\nfrom enum import IntEnum\nPair = namedtuple('Pair', 'a b')\n\
                  class Level(IntEnum):\n    LOW = 1\ndef f(): return [Counter('aa'), OrderedDict(a=1), Pair(1, 2), Level.LOW]";
    let test = "given = f()\nassert given == [{'a': 2}, {'a': 1}, (1, 2), 1]\nassert [type(x) for x in given] == [dict, dict, tuple, int]";
    assert_eq!(outcome(&[test], source), Outcome::Passed);
}

fn other_values_have_only_their_truth() {
    let source =
        "import re\ndef f(yes): return re.match('a', 'a' if yes else 'b') or (object() if yes else range(0))";
    assert_eq!(
        outcome(&["assert f(True)", "assert not f(False)", "assert f(True) != f(True)"], source),
        Outcome::Passed
    );
    assert_eq!(outcome(&["assert len(f(True))"], source), Outcome::WrongAnswer);
}

fn exceptions_reach_the_tests() {
    let test = "try:\n    f()\nexcept KeyError as error:\n    assert error.args == (\"'x'\",)\nelse:\n    assert False";
    assert_eq!(outcome(&[test], "def f(): return {}['x']"), Outcome::Passed);
    let own = "class Odd(ValueError): pass\ndef f(): raise Odd('no')";
    assert_eq!(outcome(&["try:\n    f()\nexcept ValueError:\n    pass"], own), Outcome::Passed);
}

fn outcomes_say_what_happened() {
    let tests = problem(&["assert f(1) == 1", "assert f(2) == 2, 'two'"]);
    let found = |source: &str| {
        let verdict = grade(&tests, source);
        (verdict.outcome, verdict.detail)
    };
    assert_eq!(
        found("def f(x): return 1"),
        (Outcome::WrongAnswer, "AssertionError: two (line 1 of the tests)".into())
    );
    assert_eq!(
        found("def f(x): return 1 / 0"),
        (Outcome::Raised, "ZeroDivisionError: division by zero (line 1 of the tests)".into())
    );
    assert_eq!(
        found("def f(x) return"),
        (Outcome::SyntaxError, "SyntaxError: expected ':' (solution.py, line 1)".into())
    );
    assert_eq!(
        found("import nothing"),
        (Outcome::Raised, "ModuleNotFoundError: No module named 'nothing'".into())
    );
    assert_eq!(found("g = 1"), (Outcome::Raised, "missing: f".into()));
    assert_eq!(found("def f(x): raise SystemExit"), (Outcome::Raised, "SystemExit: ".into()));
}

fn humaneval(record: &serde_json::Value) -> Problem {
    Problem::from_record(Layout::HumanEval, record.as_object().unwrap()).unwrap()
}

fn check_gets_the_candidate_and_not_the_reference() {
    let problem = humaneval(&serde_json::json!({
        "task_id": "HumanEval/0", "prompt": "def helper(x):\n    return x\n\ndef twice(x):\n", "entry_point": "twice",
        "canonical_solution": "    return 2 * x\n",
        "test": "def check(candidate):\n    for x in range(3):\n        assert candidate(x) == 2 * helper(x)\n",
    }));
    assert!(grade(&problem, problem.reference.as_ref().unwrap()).passed());
    assert!(!grade(&problem, &problem.complete("    return x\n")).passed());
}

fn tests_see_what_the_reference_imports() {
    let record = serde_json::json!({
        "task_id": 1, "prompt": "", "code": "import math\ndef area(r):\n    return math.pi * r * r",
        "test_list": ["assert math.isclose(area(2), 4 * math.pi)"],
    });
    let problem = Problem::from_record(Layout::Mbpp, record.as_object().unwrap()).unwrap();
    assert!(grade(&problem, "from math import pi\ndef area(r): return r * r * pi").passed());
    assert!(!grade(&problem, "def area(r): return r").passed());
}

fn evalplus_compares_with_the_reference() {
    let problem = humaneval(&serde_json::json!({
        "task_id": "HumanEval/0", "prompt": "def third(x):\n", "entry_point": "third", "canonical_solution": "    return x / 3\n",
        "base_input": [[1], [2]], "plus_input": [[100]], "atol": 0,
    }));
    assert!(grade(&problem, "def third(x): return x * (1 / 3)").passed());
    let verdict = grade(&problem, "def third(x): return x / 3 if x < 50 else 0.0");
    assert_eq!((verdict.outcome, verdict.detail.as_str()), (Outcome::WrongAnswer, "AssertionError: input 3"));
}

/// The problem of MBPP+ with this number, whose solution `f` returns its arguments as text.
fn mbpp_plus(number: u32, entry: &str, code: &str, inputs: &serde_json::Value) -> Problem {
    let record = serde_json::json!({
        "task_id": format!("Mbpp/{number}"), "prompt": "", "entry_point": entry, "canonical_solution": code,
        "base_input": inputs, "plus_input": [], "atol": 0,
    });
    Problem::from_record(Layout::Mbpp, record.as_object().unwrap()).unwrap()
}

fn mbpp_plus_says_what_its_inputs_stand_for() {
    // What evalplus 0.3.1 makes of these inputs.
    let cases = [
        (2, "[[1, 2], [[3]]]", "((1, 2), ([3],))"),
        (63, "[[[1, 2], [3]]]", "([(1, 2), (3,)],)"),
        (259, "[[[1], [2]], [[3]]]", "(((1,), (2,)), ((3,),))"),
        (75, "[[[1, 2]], 3]", "([(1, 2)], 3)"),
        (307, "[[\"a\", [1]], 1, 50]", "(('a', [1]), 1, 50)"),
        (278, "[[1, [2, 3], \"x\"]]", "((1, (2, 3), 'x'),)"),
        (115, "[[[1, 1], [], {}]]", "([{1}, {}, {}],)"),
        (722, "[{\"a\": [1, 2.5]}, 6]", "({'a': (1, 2.5)}, 6)"),
        (252, "[3]", "((3+0j),)"),
        (106, "[[1], [2]]", "([1], (2,))"),
        (124, "[\"1\", \"2j\"]", "(1.0, 2j)"),
        (580, "[[1, [2, [3]]]]", "((1, (2, (3,))),)"),
        (3, "[[1, [2]]]", "([1, [2]],)"),
    ];
    for (number, arguments, expected) in cases {
        let inputs = serde_json::from_str(&format!("[{arguments}]")).unwrap();
        // The reference sees the same as the candidate, so that it can check what it gets itself.
        let code = format!("def f(*given):\n    return repr(given) == {expected:?}\n");
        let problem = mbpp_plus(number, "f", &code, &inputs);
        let verdict = grade(
            &problem,
            &format!("def f(*given):\n    assert repr(given) == {expected:?}, given\n    return True"),
        );
        assert!(verdict.passed(), "{number}: {verdict:?}");
    }
    let unfit = mbpp_plus(2, "f", "def f(*given): return 1", &serde_json::json!([[1, 2]]));
    let grader = Grader { interpreter: Some(interpreter()), limits: LIMITS, workers: 1, stop: &|| false };
    let program = Program { problem: &unfit, source: "def f(*given): return 1" };
    let said = grader.grade(&[program], &|_, _| {}).unwrap_err().to_string();
    assert!(said.contains("input 1 is not that of MBPP+"), "{said}");
}

fn evalplus_has_rules_for_single_problems() {
    // A problem, its function and what the reference returns, the inputs; what a program returns, and whether it passes.
    let cases = [
        // As sets, in any order and of any kind.
        (
            2,
            "similar_elements(a, b)",
            "tuple(set(a) & set(b))",
            "[[[3, 4, 5], [5, 4, 9]]]",
            "[5, 4, 5]",
            true,
        ),
        (2, "similar_elements(a, b)", "tuple(set(a) & set(b))", "[[[3, 4, 5], [5, 4, 9]]]", "[5]", false),
        // A match counts as something, whatever it is.
        (461, "check_str(s)", "re.match('[aeiou]', s)", r#"[["annie"], ["x"]]"#, "s[0] in 'aeiou'", true),
        (461, "check_str(s)", "re.match('[aeiou]', s)", r#"[["annie"]]"#, "re.search('a', s)", true),
        (461, "check_str(s)", "re.match('[aeiou]', s)", r#"[["annie"]]"#, "None", false),
        (295, "sum_div(n)", "1", "[[8], [9]]", "0", true),
        (295, "sum_div(n)", "1", "[[8]]", "2", false),
        (164, "are_equivalent(a, b)", "True", "[[36, 57]]", "False", true),
        (164, "are_equivalent(a, b)", "True", "[[36, 57]]", "1 / 0", false),
        // 33 by the slant height; 3 * 3 + 2 * 3 * sqrt(1.5 * 1.5 + 4 * 4) = 34.6 by the height.
        (581, "surface_Area(b, s)", "2 * b * s + b * b", "[[3, 4]]", "35", true),
        (581, "surface_Area(b, s)", "2 * b * s + b * b", "[[3, 4]]", "34", false),
        // 23 and 156: 1 + 3 + 3 = 7 with zeros, else the sum of the digits of 133.
        (558, "digit_distance_nums(a, b)", "6", "[[23, 156]]", "7", true),
        (558, "digit_distance_nums(a, b)", "6", "[[23, 156]]", "8", false),
        // A number of another type is not close, only equal.
        (3, "f(x)", "x / 3", "[[6]]", "2", true),
        (3, "f(x)", "x / 3", "[[6.0000003]]", "2", false),
        (3, "f(x)", "x / 3", "[[6.0000003]]", "2.0", true),
    ];
    for (number, head, reference, given, answer, passes) in cases {
        let define = |returned: &str| format!("import re\ndef {head}: return {returned}");
        let (entry, _) = head.split_once('(').unwrap();
        let problem = mbpp_plus(number, entry, &define(reference), &serde_json::from_str(given).unwrap());
        assert_eq!(grade(&problem, &define(answer)).passed(), passes, "{number}: {answer}");
    }
    let root = humaneval(&serde_json::json!({
        "task_id": "HumanEval/32", "prompt": "def find_zero(xs):\n", "entry_point": "find_zero", "canonical_solution": "    return 1.0\n",
        "base_input": [[[2, -3, 1]]], "plus_input": [], "atol": 0.0001,
    }));
    assert!(grade(&root, "def find_zero(xs): return 2.0").passed(), "the other root");
    assert!(!grade(&root, "def find_zero(xs): return 1.5").passed());
}

fn verdicts_do_not_depend_on_workers() {
    let problem = problem(&["assert f(3) == 6"]);
    let sources: Vec<String> = (0..12).map(|i| format!("def f(x): return x * {}", i % 3)).collect();
    let programs: Vec<Program<'_>> =
        sources.iter().map(|source| Program { problem: &problem, source }).collect();
    let found = |workers| {
        let grader = Grader { interpreter: Some(interpreter()), limits: LIMITS, workers, stop: &|| false };
        grader.grade(&programs, &|_, _| {}).unwrap()
    };
    let one = found(1);
    assert_eq!(one.iter().filter(|verdict| verdict.passed()).count(), 4);
    assert_eq!(one, found(4));
}

fn a_problem_at_fault_is_an_error() {
    let record = serde_json::json!({"task_id": 7, "prompt": "", "code": "import nothing", "test_list": ["assert f()"]});
    let problem = Problem::from_record(Layout::Mbpp, record.as_object().unwrap()).unwrap();
    let grader = Grader { interpreter: Some(interpreter()), limits: LIMITS, workers: 2, stop: &|| false };
    let program = Program { problem: &problem, source: "def f(): return True" };
    let error = grader.grade(&[program; 3], &|_, _| {}).unwrap_err();
    assert!(matches!(&error, GradeError::Session { error: SessionError::Unfit(_), .. }), "{error}");
    assert!(
        error.to_string().starts_with("task 7: the problem cannot be graded: the reference solution raises"),
        "{error}"
    );
    let stopped = Grader { stop: &|| true, ..grader };
    assert!(matches!(stopped.grade(&[program], &|_, _| {}), Err(GradeError::Stopped)));
}

fn arguments_that_nobody_can_pass_on_are_the_fault_of_the_test() {
    let refuse = |problem: &Problem, source: &str| {
        let grader = Grader { interpreter: Some(interpreter()), limits: LIMITS, workers: 1, stop: &|| false };
        grader.grade(&[Program { problem, source }], &|_, _| {}).unwrap_err().to_string()
    };
    let deep = "deep = []\nfor _ in range(40): deep = [deep]\n";
    let echo = "def f(x): return x";
    let said = refuse(&problem(&[&format!("{deep}assert f(deep) == deep")]), echo);
    assert!(
        said.contains("the problem cannot be graded: an argument of a test is a value deeper than 32"),
        "{said}"
    );
    let said = refuse(&problem(&[&format!("{deep}try:\n    f(x=deep)\nexcept Exception: pass")]), echo);
    assert!(said.contains("an argument of a test is a value deeper than 32"), "{said}");
    let said = refuse(&problem(&["assert f(1) == 1", "assert f(lambda: 1)"]), echo);
    assert!(said.contains("neither a literal nor made of literals"), "{said}");
    let record = serde_json::json!({
        "task_id": 1, "prompt": "def f(x):\n", "entry_point": "f", "base_input": [[1]],
        "canonical_solution": "    for _ in range(40): x = [x]\n    return x\n",
    });
    let plus = Problem::from_record(Layout::HumanEval, record.as_object().unwrap()).unwrap();
    let said = refuse(&plus, echo);
    assert!(said.contains("the reference solution returns a value deeper than 32"), "{said}");
}

fn answers_that_a_test_passes_on_are_the_fault_of_the_program() {
    let given = |source: &str| grade(&problem(&["x = f(1)\nassert g([x]) is True"]), source);
    let verdict = given("def f(x): return object()\ndef g(x): return True");
    assert_eq!(
        (verdict.outcome, verdict.detail.as_str()),
        (Outcome::Raised, "it answered no literal, and a test passes that on")
    );
    let verdict = given("def f(x):\n    for _ in range(32): x = [x]\n    return x\ndef g(x): return True");
    assert_eq!(
        (verdict.outcome, verdict.detail.as_str()),
        (Outcome::Raised, "an argument that depends on its answers is a value deeper than 32")
    );
    // Also where it is a key.
    let keyed = problem(&["x = f(1)\nassert g({x: 0}) is True"]);
    let verdict = grade(&keyed, "def f(x): return object()\ndef g(x): return True");
    assert_eq!(verdict.detail, "it answered no literal, and a test passes that on");
    assert!(given("def f(x): return [x]\ndef g(x): return x == [[1]]").passed());
}

/// As `find_among`, for a program that was just written: a process that another thread starts in between holds it open for a moment.
fn find_written(path: &PathBuf) -> Result<Interpreter, InterpreterError> {
    loop {
        match find_among(std::slice::from_ref(path), Isolation::Enforced) {
            Err(InterpreterError::None(tried)) if tried[0].contains("Text file busy") => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

fn interpreters_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("python3");
    let shim = |text: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let InterpreterError::None(tried) = find_written(&path).unwrap_err() else {
            panic!("not the sandbox");
        };
        tried[0].split_once(": ").unwrap().1.to_owned()
    };
    assert_eq!(shim("#!/bin/sh\nexit 127\n"), "it ends with exit status: 127");
    assert_eq!(shim("#!/bin/sh\necho hello\n"), "it does not answer like Python");
    // Nobody waits for what it goes on writing.
    assert_eq!(shim("#!/bin/sh\nhead -c 10000000 /dev/zero\n"), "it does not answer like Python");
    // Nor for a child that keeps the pipe open.
    assert_eq!(shim("#!/bin/sh\nsleep 30 &\n"), "it has ended, and something else keeps its output open");
    assert_eq!(
        shim("#!/bin/sh\necho '{\"version\": \"3.6.1\"}'\n"),
        "it is Python 3.6.1, and 3.8 or newer is needed"
    );
    let found = shim("#!/bin/sh\necho '{\"version\": \"3.9.1\", \"program\": \"/nowhere/python3\"}'\n");
    assert!(found.starts_with("it does not start in the sandbox"), "{found}");
    // A shim that leads to a real interpreter is followed.
    std::fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", interpreter().program.display())).unwrap();
    assert_eq!(find_written(&path).unwrap().program, interpreter().program);
}
