//! Records of benchmarks, whole and at fault.

use serde_json::json;

use super::*;

fn read(layout: Layout, record: &Value) -> Result<Problem, RecordError> {
    Problem::from_record(layout, record.as_object().unwrap())
}

#[test]
fn a_task_is_the_same_however_its_number_is_written() {
    let ids = ["2", "Mbpp/2", "HumanEval/2", "02"].map(TaskId::from_name);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_ne!(TaskId::from_name("sort"), TaskId::from_name("sort/x"));
    assert_eq!(TaskId::from_name("HumanEval/0").to_string(), "0");
    assert_eq!(TaskId::from_name("a/b").to_string(), "a/b");
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
fn inputs_are_literals() {
    let text =
        inputs::encode_inputs(&[json!([-1, 18446744073709551615_u64, 0.5, "ä", null, true, {"a": []}])]);
    assert_eq!(text, "L1;L7;I-1;Iffffffffffffffff;D0x1.0000000000000p-1;Sc3a4;NTM1;S61;L0;");
    assert_eq!(crate::literal::check_literal(text.as_bytes()), Ok(()));
}
