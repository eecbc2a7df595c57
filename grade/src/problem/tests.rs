//! Records of benchmarks, whole and at fault.

use serde_json::json;

use super::*;

fn read(layout: Layout, record: &Value) -> Result<Problem, RecordError> {
    Problem::from_record(layout, record.as_object().unwrap())
}

#[test]
fn a_task_is_the_same_however_its_number_is_written() {
    let names = ["2", "Mbpp/2", "02"];
    let mbpp = names.map(|name| TaskId::of_problem(Layout::Mbpp, name));
    assert!(mbpp.iter().all(|id| *id == mbpp[0]), "{mbpp:?}");
    // Of somebody's own, each is a problem, and a number alone may be any of them.
    let own = ["HumanEval/2", "Mbpp/2", "2"].map(|name| TaskId::of_problem(Layout::Code, name));
    assert!(own[0] != own[1] && !own[0].may_be(&own[1]), "{own:?}");
    assert!(own[2].may_be(&own[0]) && own[0].may_be(&own[2]) && own[2] != own[0], "{own:?}");
    assert!(!TaskId::from_name("3").may_be(&own[0]));
    assert_ne!(TaskId::from_name("sort"), TaskId::from_name("sort/x"));
    assert!(!TaskId::from_name("sort/x").may_be(&TaskId::from_name("sort")));
    // Problems of somebody's own are numbered by subject.
    assert_ne!(TaskId::from_name("algebra/0"), TaskId::from_name("anatomy/0"));
    // A span of a problem is no problem with the number of the span.
    let spans = ["RandomSpanInfilling/HumanEval/0/1", "RandomSpanInfilling/HumanEval/1/1", "1"];
    let ids: std::collections::HashSet<TaskId> = spans.iter().map(|name| TaskId::from_name(name)).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert_eq!(TaskId::from_name(spans[0]).number(), None);
}

#[test]
fn a_completion_continues_the_prompt_of_humaneval_only() {
    let record = json!({"task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f", "test": ""});
    assert_eq!(read(Layout::HumanEval, &record).unwrap().complete("    pass\n"), "def f():\n    pass\n");
    let record = json!({"task_id": 2, "prompt": "Write f.", "test_list": ["assert f()"]});
    let problem = read(Layout::Mbpp, &record).unwrap();
    assert_eq!((problem.name.as_str(), problem.complete("x").as_str()), ("2", "x"));
}

#[test]
fn a_gap_is_filled_between_its_prompt_and_its_suffix() {
    let good = json!({"task_id": "RandomSpanInfilling/HumanEval/0/1", "prompt": "def f():\n    return ", "suffix": "\n",
        "canonical_solution": "1", "entry_point": "f", "test": ""});
    let problem = read(Layout::Infilling, &good).unwrap();
    assert_eq!(problem.complete("2"), "def f():\n    return 2\n");
    assert_eq!(problem.reference.as_deref(), Some("def f():\n    return 1\n"));
    assert_eq!(problem.reference_gap.as_deref(), Some("1"));
    assert!(good.as_object().unwrap().keys().all(|field| Layout::Infilling.reads(field)));
    let without = |field: &str| {
        let mut record = good.clone();
        record.as_object_mut().unwrap().remove(field);
        read(Layout::Infilling, &record)
    };
    for field in ["task_id", "prompt", "suffix", "entry_point", "test"] {
        assert_eq!(without(field).unwrap_err().to_string(), format!("`{field}` is missing"));
    }
    let unsolved = without("canonical_solution").unwrap();
    assert_eq!((unsolved.reference, unsolved.reference_gap), (None, None));
}

#[test]
fn a_block_of_code_comes_after_the_imports_and_helpers_of_its_prompt() {
    let prompt = "import math\n\n\ndef help(x):\n    return x\n\ndef f(x):\n    \"\"\"Not def g.\"\"\"\n";
    let record = json!({"task_id": 0, "prompt": prompt, "entry_point": "f", "test": ""});
    let program = read(Layout::HumanEval, &record).unwrap().complete_block("def f(x):\n    return 1");
    let expected = "import math\n\n\ndef help(x):\n    return x\n\ndef f(x):\n    return 1\n";
    assert_eq!(program, expected);
    let record = json!({"task_id": 0, "prompt": "def f():\n", "entry_point": "f", "test": ""});
    assert_eq!(read(Layout::HumanEval, &record).unwrap().complete_block("x"), "x\n");
    let record = json!({"task_id": 2, "prompt": "Write\ndef f.", "test_list": ["assert f()"]});
    assert_eq!(read(Layout::Mbpp, &record).unwrap().complete_block("x"), "x");
}

#[test]
fn every_unfit_field_is_named() {
    let fault = |layout, record| read(layout, &record).unwrap_err().to_string();
    let good = json!({"task_id": 1, "prompt": "", "entry_point": "f", "test": "", "canonical_solution": ""});
    for field in ["task_id", "prompt", "entry_point", "test"] {
        let mut record = good.clone();
        record.as_object_mut().unwrap().remove(field);
        assert_eq!(fault(Layout::HumanEval, record), format!("`{field}` is missing"));
        let mut record = good.clone();
        record[field] = json!([1]);
        assert!(fault(Layout::HumanEval, record).starts_with(&format!("`{field}` is n")), "{field}");
    }
    let mbpp = |tests: Value| json!({"task_id": 1, "prompt": "", "test_list": tests});
    assert_eq!(fault(Layout::Mbpp, mbpp(json!([]))), "`test_list` has no test");
    assert_eq!(fault(Layout::Mbpp, mbpp(json!([1]))), "`test_list` is not a list of texts");
    let plus = json!({"task_id": 1, "prompt": "", "entry_point": "f", "base_input": [1]});
    assert_eq!(fault(Layout::Mbpp, plus), "`base_input` is not a list of lists");
    let plus = json!({"task_id": 1, "prompt": "", "entry_point": "f", "base_input": [[1]]});
    let expected = "`canonical_solution` is missing: the expected outputs are its outputs";
    assert_eq!(fault(Layout::HumanEval, plus), expected);
}

#[test]
fn a_question_of_gsm8k_has_a_number_as_its_answer() {
    let record = json!({"question": "How many?", "answer": "48/2 = <<48/2=24>>24\n48+24 = 72\n#### 1,072"});
    let problem = read(Layout::Gsm8k, &record).unwrap();
    assert_eq!((problem.name.as_str(), problem.id.number()), ("gsm8k/0", Some(0)));
    for unfit in ["72", "####", "#### many", "#### 7 apples", "#### 7\nMore."] {
        let fault = read(Layout::Gsm8k, &json!({"question": "", "answer": unfit})).unwrap_err();
        assert_eq!(fault.to_string(), "`answer` does not end with `#### ` and a number", "{unfit}");
    }
    let second = Problem::from_numbered(Layout::Gsm8k, record.as_object().unwrap(), None, 1).unwrap();
    assert_eq!(second.name, "gsm8k/1");
}

#[test]
fn a_question_of_ones_own_has_a_text_as_its_answer() {
    let record = json!({"prompt": "The capital of France is", "answer": ["Paris", "Paris, France"]});
    let problem = Problem::from_numbered(Layout::Exact, record.as_object().unwrap(), None, 4).unwrap();
    assert_eq!((problem.name.as_str(), problem.has_long_answer()), ("4", false));
    let fault = |record: Value| read(Layout::Exact, &record).unwrap_err().to_string();
    assert_eq!(fault(json!({"prompt": "", "answer": "x"})), "`prompt` is empty");
    assert_eq!(fault(json!({"prompt": "x", "answer": " "})), "`answer` is empty");
    assert_eq!(fault(json!({"prompt": "x", "answer": []})), "`answer` is empty");
    assert_eq!(fault(json!({"prompt": "x", "answer": 7})), "`answer` is neither a text nor a list of texts");
    assert_eq!(fault(json!({"prompt": "x"})), "`answer` is missing");
}

#[test]
fn a_choice_has_several_texts_of_which_one_is_right() {
    let good = json!({"prompt": "Water is", "choices": [" wet", " dry"], "answer": " dry"});
    let problem = read(Layout::Choice, &good).unwrap();
    let choices = Choices { texts: vec![" wet".into(), " dry".into()], right: 1 };
    assert_eq!((problem.choices, problem.name.as_str()), (Some(choices), "0"));
    let with = |field: &str, value: Value| {
        let mut record = good.clone();
        record[field] = value;
        read(Layout::Choice, &record)
    };
    assert_eq!(with("answer", json!(0)).unwrap().choices.unwrap().right, 0);
    let fault = |field: &str, value: Value| with(field, value).unwrap_err().to_string();
    assert_eq!(fault("prompt", json!("")), "`prompt` is empty");
    assert_eq!(fault("choices", Value::Null), "`choices` is missing");
    assert_eq!(fault("choices", json!([" wet"])), "`choices` has less than two texts");
    assert_eq!(fault("choices", json!([" wet", ""])), "`choices` has an empty text");
    assert_eq!(fault("choices", json!([" wet", " wet"])), "`choices` has the same text twice");
    let neither = "`answer` is neither one of the `choices` nor its number, counted from 0";
    assert_eq!(fault("answer", json!("dry")), neither);
    assert_eq!(fault("answer", json!(2)), neither);
    assert_eq!(fault("answer", json!(-1)), "`answer` is neither a text nor a whole number from 0");
    assert_eq!(fault("answer", Value::Null), "`answer` is missing");
}

#[test]
fn own_programs_are_laid_out_in_one_of_two_ways() {
    let human = json!({"task_id": "a", "prompt": "def f():\n", "entry_point": "f", "test": ""});
    let text = json!({"task_id": "b", "prompt": "Write f.", "test_list": ["assert f()"]});
    let layouts = [human, text].map(|record| read(Layout::Code, &record).unwrap().layout());
    assert_eq!(layouts, [Layout::HumanEval, Layout::Mbpp]);
}

#[test]
fn inputs_are_literals() {
    let text = inputs::encode_value(&json!([-1, 18446744073709551615_u64, 0.5, "ä", null, true, {"a": []}]));
    assert_eq!(text, "L7;I-1;Iffffffffffffffff;D0x1.0000000000000p-1;Sc3a4;NTM1;S61;L0;");
    assert_eq!(crate::literal::check_literal(text.as_bytes()), Ok(()));
}

#[test]
fn numbers_of_a_line_keep_all_digits() {
    // 2^64 and 10^40 are beyond 64 bits; the last decimal is one that a parser without correct rounding moves to a neighbor.
    let line = r#" {"a": [{"b": "\"]"}, 1], "base_input": [[18446744073709551616, -10000000000000000000000000000000000000000],
        [ 0.1 , -0, 51.24817837550540 , 1e-320,{"x":[], "x" : null}]], "plus_input": []}"#;
    let items = json_text::encode_items(line, "base_input").unwrap();
    assert_eq!(
        items,
        [
            "L2;I10000000000000000;I-1d6329f1c35ca4bfabb9f5610000000000;".to_owned(),
            format!(
                "L5;{}I0;{}{}M1;S78;N",
                crate::literal::encode_float(0.1),
                crate::literal::encode_float(51.248_178_375_505_4),
                crate::literal::encode_float(1e-320)
            )
        ]
    );
    assert!(items.iter().all(|item| crate::literal::check_literal(item.as_bytes()).is_ok()));
    assert_eq!(json_text::encode_items(line, "plus_input"), Some(vec![]));
    assert_eq!(
        (json_text::encode_items(line, "c"), json_text::encode_items("{\"c\": 1}", "c")),
        (None, None)
    );
}

#[test]
fn digits_are_the_number() {
    for number in [0, 1, 9, 10, 999_999_999, 1_000_000_000, u64::MAX.into(), i128::MAX] {
        for number in [number, -number] {
            let expected = crate::literal::encode_integer(number);
            assert_eq!(crate::literal::encode_digits(&number.to_string()), expected, "{number}");
        }
    }
    assert_eq!(crate::literal::encode_digits("-0"), "I0;");
}
