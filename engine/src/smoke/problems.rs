//! Two generated problems of each known benchmark, in its own layout.

use fmflow_grade::problem::Layout;
use serde_json::{Value, json};

/// Problems that a benchmark of a smoke run has.
pub(super) const PROBLEMS: usize = 2;

/// The file of a benchmark's problems. EvalPlus has names of its own for its layouts.
pub(super) fn write_problems(benchmark: &str, layout: Layout) -> String {
    let build: fn(usize, &str, &str) -> Value = match (benchmark, layout) {
        ("humaneval+", _) => build_humaneval_plus,
        ("mbpp+", _) => build_mbpp_plus,
        (_, Layout::HumanEval | Layout::Code) => build_humaneval,
        (_, Layout::Mbpp) => build_mbpp,
        (_, Layout::Gsm8k) => build_gsm8k,
        (_, Layout::Infilling) => build_gap,
        (_, Layout::Exact) => build_question,
        (_, Layout::Choice) => build_choice,
    };
    let functions = [("add", "+"), ("subtract", "-")];
    let lines = functions.iter().enumerate().map(|(number, (name, sign))| build(number, name, sign));
    lines.map(|line| line.to_string() + "\n").collect()
}

fn write_head(name: &str) -> String {
    format!("def {name}(a, b):\n    \"\"\"Return the result for two numbers.\"\"\"\n")
}

fn write_body(sign: &str) -> String {
    format!("    return a {sign} b\n")
}

fn find_result(sign: &str) -> i32 {
    if sign == "+" { 5 } else { 1 }
}

fn build_gsm8k(number: usize, name: &str, sign: &str) -> Value {
    let result = find_result(sign);
    json!({
        "question": format!("What do you get if you {name} 3 and 2, in task {number}?"),
        "answer": format!("3 {sign} 2 = {result}\n#### {result}"),
    })
}

fn build_humaneval(number: usize, name: &str, sign: &str) -> Value {
    json!({
        "task_id": format!("HumanEval/{number}"), "prompt": write_head(name), "entry_point": name,
        "canonical_solution": write_body(sign),
        "test": format!("def check(candidate):\n    assert candidate(3, 2) == 3 {sign} 2\n"),
    })
}

fn build_question(number: usize, name: &str, sign: &str) -> Value {
    json!({ "prompt": format!("{name} 3 and 2, in task {number}:"), "answer": find_result(sign).to_string() })
}

fn build_choice(number: usize, name: &str, sign: &str) -> Value {
    json!({
        "prompt": format!("{name} 3 and 2, in task {number}:"), "choices": [" 5", " 1"],
        "answer": format!(" {}", find_result(sign)),
    })
}

fn build_gap(number: usize, name: &str, sign: &str) -> Value {
    json!({
        "task_id": format!("RandomSpanInfilling/HumanEval/{number}/1"),
        "prompt": format!("{}    return a ", write_head(name)), "suffix": " b\n", "entry_point": name,
        "canonical_solution": sign,
        "test": format!("def check(candidate):\n    assert candidate(3, 2) == 3 {sign} 2\n"),
    })
}

fn build_humaneval_plus(number: usize, name: &str, sign: &str) -> Value {
    json!({
        "task_id": format!("HumanEval/{number}"), "prompt": write_head(name), "entry_point": name,
        "canonical_solution": write_body(sign), "base_input": [[3, 2]], "plus_input": [[5, 7]], "atol": 0,
    })
}

fn build_mbpp(number: usize, name: &str, sign: &str) -> Value {
    json!({
        "task_id": number + 1, "prompt": format!("Write a function to {name} two numbers."),
        "code": format!("{}{}", write_head(name), write_body(sign)), "test_imports": [],
        "test_list": [format!("assert {name}(3, 2) == 3 {sign} 2")],
    })
}

fn build_mbpp_plus(number: usize, name: &str, sign: &str) -> Value {
    json!({
        "task_id": format!("Mbpp/{}", number + 1), "prompt": format!("Write a function to {name} two numbers."),
        "entry_point": name, "canonical_solution": format!("{}{}", write_head(name), write_body(sign)),
        "base_input": [[3, 2]], "plus_input": [[5, 7]], "atol": 0,
    })
}
