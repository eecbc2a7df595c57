//! What a model reads for a problem, and where its answer ends. Both are named with a version: a change is another benchmark.

use fmflow_engine::pipeline::config::sample::AskingMode;
use fmflow_grade::number::LAST_NUMBER;
use fmflow_grade::problem::{Layout, Problem};

use super::fenced::FENCED_BLOCK;
use super::shots::GSM8K_SHOTS;

/// How a benchmark asks: its name and version, and the texts at which an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AskingStyle {
    pub name: &'static str,
    pub stops: &'static [&'static str],
    /// Name and version of the rule that finds the answer in the text, if it is not the text.
    pub extraction: Option<&'static str>,
    pub mode: AskingMode,
}

/// A function continues until something begins at the left margin.
const HUMANEVAL: AskingStyle = AskingStyle {
    name: "humaneval-base/1",
    stops: &[
        "\ndef ",
        "\nclass ",
        "\nimport ",
        "\nfrom ",
        "\nassert ",
        "\nif __name__",
        "\nprint(",
        "\n```",
        "\n#",
        "\n@",
    ],
    extraction: None,
    mode: AskingMode::Base,
};

/// A program may have several functions; it ends where tests or another problem begin.
const MBPP: AskingStyle = AskingStyle {
    name: "mbpp-base/1",
    stops: &["\n\"\"\"", "\nassert ", "\nif __name__", "\ndef main(", "\nprint(", "\n```"],
    extraction: None,
    mode: AskingMode::Base,
};

/// A gap between a prompt and a suffix; it ends where its length ends.
const INFILLING: AskingStyle =
    AskingStyle { name: "infilling/1", stops: &[], extraction: None, mode: AskingMode::Base };

/// Each choice follows the prompt as it is.
const CHOICE: AskingStyle =
    AskingStyle { name: "choice/1", stops: &[], extraction: None, mode: AskingMode::Base };

/// Four worked questions come before the one that is asked; the answer ends where another question begins.
const GSM8K: AskingStyle = AskingStyle {
    name: "gsm8k-base-4-shot/1",
    stops: &["\nQuestion:"],
    extraction: Some(LAST_NUMBER),
    mode: AskingMode::Base,
};

/// The prompt is what stands before the answer, which is one line.
const EXACT_LINE: AskingStyle =
    AskingStyle { name: "exact-line/1", stops: &["\n"], extraction: None, mode: AskingMode::Base };

/// The same for answers of which one has several lines: they end where the model ends them.
const EXACT_TEXT: AskingStyle =
    AskingStyle { name: "exact-text/1", stops: &[], extraction: None, mode: AskingMode::Base };

/// A conversation: the answer ends where the model ends its turn.
const fn chat(name: &'static str, extraction: Option<&'static str>) -> AskingStyle {
    AskingStyle { name, stops: &[], extraction, mode: AskingMode::Chat }
}

impl AskingStyle {
    /// How all these problems of one layout are asked.
    pub(super) fn of(problems: &[Problem], mode: AskingMode) -> Self {
        let layout = problems.first().expect("a benchmark has a problem").layout();
        match layout {
            _ if mode == AskingMode::Chat => Self::of_chat(layout),
            Layout::HumanEval => HUMANEVAL,
            Layout::Mbpp => MBPP,
            Layout::Gsm8k => GSM8K,
            Layout::Infilling => INFILLING,
            Layout::Choice => CHOICE,
            Layout::Exact if problems.iter().any(Problem::has_long_answer) => EXACT_TEXT,
            Layout::Exact => EXACT_LINE,
            Layout::Code => unreachable!("a problem of one's own is laid out in one of two ways"),
        }
    }

    fn of_chat(layout: Layout) -> Self {
        match layout {
            Layout::HumanEval => chat("humaneval-chat/1", Some(FENCED_BLOCK)),
            Layout::Mbpp => chat("mbpp-chat/1", Some(FENCED_BLOCK)),
            Layout::Gsm8k => chat("gsm8k-chat/1", Some(LAST_NUMBER)),
            Layout::Exact => chat("exact-chat/1", None),
            Layout::Infilling | Layout::Choice => unreachable!("neither is asked in a conversation"),
            Layout::Code => unreachable!("a problem of one's own is laid out in one of two ways"),
        }
    }

    /// Whether the program is a block of the answer.
    pub(super) fn finds_block(&self) -> bool {
        self.extraction == Some(FENCED_BLOCK)
    }

    /// The text before an answer; in a conversation, the user's turn.
    pub(super) fn prompt(&self, problem: &Problem) -> String {
        match self.mode {
            AskingMode::Base => Self::base_prompt(problem),
            AskingMode::Chat => Self::turn(problem),
        }
    }

    fn turn(problem: &Problem) -> String {
        let asked = problem.prompt.trim_end();
        match problem.layout() {
            Layout::HumanEval | Layout::Code => format!(
                "Complete this Python function. Answer with the whole function in one fenced block of code.\n\n```python\n{asked}\n```"
            ),
            Layout::Mbpp => {
                let test =
                    problem.shown_tests.first().map(|test| format!("\nIt has to pass this test:\n{test}"));
                let test = test.unwrap_or_default();
                format!(
                    "{}{test}\nAnswer with the whole Python program in one fenced block of code.",
                    asked.trim_matches(['\n', '"'])
                )
            }
            Layout::Gsm8k => format!(
                "{asked}\nReason step by step. Then write `#### ` and the answer, as a number, on the last line."
            ),
            Layout::Exact => problem.prompt.clone(),
            Layout::Infilling | Layout::Choice => unreachable!("neither is asked in a conversation"),
        }
    }

    /// The text before an answer. That of HumanEval is the prompt as it is, with the line end that it ends with: without that line end
    /// models write worse programs.
    fn base_prompt(problem: &Problem) -> String {
        match problem.layout() {
            Layout::HumanEval | Layout::Infilling | Layout::Exact | Layout::Choice | Layout::Code => {
                problem.prompt.clone()
            }
            Layout::Mbpp => {
                let test = problem.shown_tests.first().map(|test| format!("\n{test}")).unwrap_or_default();
                format!("\"\"\"\n{}{test}\n\"\"\"\n", problem.prompt.trim_matches(['\n', '"']))
            }
            Layout::Gsm8k => format!("{GSM8K_SHOTS}Question: {}\nAnswer:", problem.prompt),
        }
    }

    /// The answer before the first text at which it ends, and whether there is one.
    pub(super) fn cut<'a>(&self, answer: &'a str) -> (&'a str, bool) {
        match self.stops.iter().filter_map(|stop| answer.find(stop)).min() {
            Some(end) => (&answer[..end], true),
            None => (answer, false),
        }
    }

    /// The hash of everything that decides what is asked and where an answer ends.
    pub(super) fn hash(&self, problems: &[Problem]) -> String {
        let mut hasher = blake3::Hasher::new();
        let more = |problem: &Problem| {
            let choices = problem.choices.iter().flat_map(|choices| choices.texts.clone());
            problem.suffix.clone().into_iter().chain(choices).collect::<Vec<String>>()
        };
        let texts = problems.iter().flat_map(|problem| [vec![self.prompt(problem)], more(problem)].concat());
        for text in [self.name].into_iter().chain(self.stops.iter().copied()).map(str::to_owned).chain(texts)
        {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(layout: Layout, record: &serde_json::Value) -> Problem {
        Problem::from_record(layout, record.as_object().unwrap()).unwrap()
    }

    #[test]
    fn prompts_keep_their_blanks() {
        let record =
            serde_json::json!({"task_id": 0, "prompt": "\n\ndef f():\n    ", "entry_point": "f", "test": ""});
        assert_eq!(AskingStyle::base_prompt(&problem(Layout::HumanEval, &record)), "\n\ndef f():\n    ");
        let record = serde_json::json!({"task_id": 2, "prompt": "Write f.", "test_list": ["assert f() == 1", "assert f()"]});
        let mbpp = problem(Layout::Mbpp, &record);
        assert_eq!(AskingStyle::base_prompt(&mbpp), "\"\"\"\nWrite f.\nassert f() == 1\n\"\"\"\n");
        assert_ne!(MBPP.hash(std::slice::from_ref(&mbpp)), MBPP.hash(&[]));
    }

    #[test]
    fn a_question_comes_after_worked_ones() {
        let record = serde_json::json!({"question": "How many?", "answer": "Two.\n#### 2"});
        let prompt = AskingStyle::base_prompt(&problem(Layout::Gsm8k, &record));
        assert!(prompt.ends_with("\n\nQuestion: How many?\nAnswer:"), "{prompt}");
        let shots: Vec<&str> = prompt.split("\n\n").collect();
        assert_eq!(shots.len(), 5);
        for shot in &shots[..4] {
            let (question, answer) =
                shot.strip_prefix("Question: ").unwrap().split_once("\nAnswer: ").unwrap();
            let record = serde_json::json!({"question": question, "answer": answer});
            let read = problem(Layout::Gsm8k, &record);
            assert_eq!((read.prompt.as_str(), GSM8K.cut(answer)), (question, (answer, false)));
        }
        assert_eq!(GSM8K.cut(" It is 2.\n#### 2\n\nQuestion: And"), (" It is 2.\n#### 2\n", true));
    }

    #[test]
    fn an_exact_answer_is_a_line_unless_one_of_them_has_two() {
        let read = |answer: &str| {
            problem(Layout::Exact, &serde_json::json!({"prompt": "Q: why?\nA:", "answer": answer}))
        };
        assert_eq!(AskingStyle::base_prompt(&read("so")), "Q: why?\nA:");
        assert_eq!(
            AskingStyle::of(&[read("so"), read("thus")], AskingMode::Base).cut(" so\nQ:"),
            (" so", true)
        );
        assert_eq!(
            AskingStyle::of(&[read("so"), read("a\nb")], AskingMode::Base).cut(" a\nb"),
            (" a\nb", false)
        );
    }

    #[test]
    fn a_conversation_asks_for_what_is_found_in_its_answer() {
        let record =
            serde_json::json!({"task_id": 0, "prompt": "def f():\n    ", "entry_point": "f", "test": ""});
        let human = problem(Layout::HumanEval, &record);
        let style = AskingStyle::of(std::slice::from_ref(&human), AskingMode::Chat);
        assert!(style.prompt(&human).ends_with("block of code.\n\n```python\ndef f():\n```"));
        assert_eq!((style.name, style.finds_block(), style.stops.len()), ("humaneval-chat/1", true, 0));
        let record =
            serde_json::json!({"task_id": 2, "prompt": "Write f.", "test_list": ["assert f() == 1"]});
        let mbpp = problem(Layout::Mbpp, &record);
        let turn = AskingStyle::of(std::slice::from_ref(&mbpp), AskingMode::Chat).prompt(&mbpp);
        assert!(
            turn.starts_with("Write f.\nIt has to pass this test:\nassert f() == 1\nAnswer with"),
            "{turn}"
        );
        let record = serde_json::json!({"question": "How many?", "answer": "#### 2"});
        let question = problem(Layout::Gsm8k, &record);
        let style = AskingStyle::of(std::slice::from_ref(&question), AskingMode::Chat);
        let base = AskingStyle::of(std::slice::from_ref(&question), AskingMode::Base);
        assert!(style.prompt(&question).starts_with("How many?\nReason") && !style.finds_block());
        assert_ne!(style.hash(std::slice::from_ref(&question)), base.hash(std::slice::from_ref(&question)));
    }

    #[test]
    fn an_answer_ends_at_the_first_stop() {
        assert_eq!(HUMANEVAL.cut("    return 1\n\nprint(2)\ndef g():"), ("    return 1\n", true));
        assert_eq!(HUMANEVAL.cut("    return 1\n"), ("    return 1\n", false));
        assert_eq!(
            MBPP.cut("def f():\n    pass\n\ndef g():\n    pass\nassert f()"),
            ("def f():\n    pass\n\ndef g():\n    pass", true)
        );
    }
}
