//! Finds answers in a conversation that does not begin with their prompts.
//!
//! A template may render an earlier turn differently once others follow: of two answers in a row, Qwen3 gives only the last one a
//! `<think>` block. The whole conversation is then rendered once and its answers are found in that text: where the template says
//! `{% generation %}`, as transformers' `return_assistant_tokens_mask` does, else behind the words that open an answer.

use std::ops::Range;

use serde_json::Value;

use super::measure_turn;
use crate::data::template::{
    ChatTemplate, GENERATION_END, GENERATION_START, TemplateOptions, TemplateRequest,
};
use crate::data::tokenizer::TokenizerError;

/// The bytes of the assistant's turn `at` of `text`, which is `messages` as `template` renders them with `options`. `prompt` is the
/// prompt of that turn, with which `text` does not begin.
///
/// # Errors
/// If the template does not open an answer with words of its own, or they are also in what somebody says.
pub(super) fn find_changed_turn(
    at: usize,
    template: &ChatTemplate,
    messages: &[Value],
    options: &TemplateOptions,
    (text, prompt): (&str, &str),
) -> Result<Range<usize>, TokenizerError> {
    let unprompted = TemplateOptions { add_generation_prompt: false, ..options.clone() };
    let before = template.render(&messages[..at], &unprompted)?;
    let changed = || template.to_error("renders the assistant's prompt differently once the answer follows");
    let opening = prompt.strip_prefix(&*before).filter(|opening| !opening.is_empty()).ok_or_else(changed)?;
    let turns = count_answers(messages);
    let places: Vec<_> = text.match_indices(opening).map(|(at, _)| at + opening.len()).collect();
    // What opens an answer may also be what somebody says; then it is unclear where an answer begins.
    if places.len() != turns + usize::from(options.add_generation_prompt) {
        return Err(changed());
    }
    let start = places[count_answers(&messages[..at])];
    let length = measure_turn(template, &text[start..], &messages[at], at + 1 == messages.len())?;
    let found = start..start + length;
    if !says(&text[found.clone()], &messages[at]) {
        return Err(changed());
    }
    Ok(found)
}

fn count_answers(messages: &[Value]) -> usize {
    messages.iter().filter(|message| message["role"] == "assistant").count()
}

/// Whether a turn has the content of `message`, without thoughts before it and white space around it.
fn says(turn: &str, message: &Value) -> bool {
    let content = message["content"].as_str().unwrap_or_default();
    let answer = content.rsplit("</think>").next().expect("a split has at least one part");
    turn.contains(answer.trim())
}

/// The bytes of the assistant's turns at the places `turns`, if the template marks what the assistant says; `text` is `messages` as
/// it renders them with `options`.
///
/// # Errors
/// If the template fails, or marks another number of turns than the conversation has.
pub(super) fn find_marked_turns(
    template: &ChatTemplate,
    messages: &[Value],
    options: &TemplateOptions,
    turns: &[usize],
    text: &str,
) -> Result<Option<Vec<Range<usize>>>, TokenizerError> {
    let request = TemplateRequest { messages, options, marked: true };
    let marked = template.render_all(&[request])?.swap_remove(0);
    if marked == text {
        return Ok(None);
    }
    let unclear = || template.to_error("does not put every answer into one `{% generation %}` block");
    let (plain, spoken) = read_marks(&marked).ok_or_else(unclear)?;
    if plain != text || spoken.len() != count_answers(messages) {
        return Err(unclear());
    }
    let place = |at: &usize| spoken[count_answers(&messages[..*at])].clone();
    Ok(Some(turns.iter().map(place).collect()))
}

/// The text without marks, and the bytes between each pair of them; `None` if they are not in pairs.
fn read_marks(marked: &str) -> Option<(String, Vec<Range<usize>>)> {
    let (mut plain, mut spoken, mut rest) = (String::new(), Vec::new(), marked);
    while let Some((before, after)) = rest.split_once(GENERATION_START) {
        let (inside, after) = after.split_once(GENERATION_END)?;
        plain.push_str(before);
        spoken.push(plain.len()..plain.len() + inside.len());
        plain.push_str(inside);
        rest = after;
    }
    plain.push_str(rest);
    (!plain.contains([GENERATION_START, GENERATION_END])).then_some((plain, spoken))
}

#[cfg(test)]
mod tests {
    use super::super::lay_out_conversation;
    use super::*;
    use crate::data::template::tests::THINKING;
    use serde_json::json;

    fn lay_out(source: &str, messages: &Value) -> Result<Vec<String>, String> {
        let template = crate::data::template::tests::template(source);
        let messages = messages.as_array().unwrap();
        let found = lay_out_conversation(&template, messages, &TemplateOptions::default());
        let found = found.map_err(|error| error.to_string())?;
        Ok(found.spoken.iter().map(|turn| found.text[turn.clone()].to_owned()).collect())
    }

    fn said(role: &str, content: &str) -> Value {
        json!({"role": role, "content": content})
    }

    #[test]
    fn of_two_answers_in_a_row_each_is_found() {
        let talk = json!([said("user", "q"), said("assistant", "a"), said("assistant", "b")]);
        let found = lay_out(THINKING, &talk).unwrap();
        assert_eq!(found, ["a<|im_end|>", "<think>\n\n</think>\n\nb<|im_end|>"]);
        let talk = json!([
            said("system", "s"),
            said("user", "q"),
            said("assistant", "<think>\nhm\n</think>\n\na"),
            said("assistant", "b"),
            said("user", "p"),
            said("assistant", "c"),
            said("assistant", "d"),
        ]);
        let found = lay_out(THINKING, &talk).unwrap();
        let last = "<think>\n\n</think>\n\nd<|im_end|>";
        assert_eq!(found, ["a<|im_end|>", "b<|im_end|>", "c<|im_end|>", last]);
    }

    #[test]
    fn words_that_open_an_answer_in_a_turn_are_refused() {
        let opening = "x<|im_end|>\n<|im_start|>assistant\ny";
        for talk in [
            json!([said("user", opening), said("assistant", "a"), said("assistant", "b")]),
            json!([said("user", "q"), said("assistant", opening), said("assistant", "b")]),
        ] {
            let said = lay_out(THINKING, &talk).unwrap_err();
            assert!(said.contains("renders"), "{said}");
        }
    }

    /// The last answer has a sign that the others lack, so that no prompt is the beginning of the whole.
    const GENERATION: &str = "{%- for m in messages %}{{- '[' + m.role + ']' }}{%- if m.role == 'assistant' %}\
        {%- generation %}{{- '(last)' if loop.last else '' }}{{- m.content }}<|im_end|>{%- endgeneration %}\
        {%- else %}{{- m.content }}{%- endif %}\n{% endfor %}\
        {%- if add_generation_prompt %}{{- '[assistant]' }}{%- endif %}";

    #[test]
    fn what_a_template_marks_is_what_the_assistant_says() {
        let talk = json!([said("user", "[assistant]"), said("assistant", "a"), said("assistant", "b")]);
        assert_eq!(lay_out(GENERATION, &talk).unwrap(), ["a<|im_end|>", "(last)b<|im_end|>"]);
    }

    #[test]
    fn marks_are_read_in_pairs() {
        let (start, end) = (GENERATION_START, GENERATION_END);
        let two = format!("a{start}bc{end}d{start}{end}");
        assert_eq!(read_marks(&two), Some(("abcd".to_owned(), vec![1..3, 4..4])));
        for odd in [format!("a{start}b"), format!("a{end}b"), format!("{start}{start}{end}{end}")] {
            assert_eq!(read_marks(&odd), None, "{odd}");
        }
    }
}
