//! Conversations, laid out by the tokenizer's own chat template; in ChatML, Qwen's layout, where it has none:
//!
//! ```text
//! <|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>
//! ```
//!
//! The prompt is what the template renders up to the place where the assistant speaks (`add_generation_prompt`); it is given.
//! The answer is the rest of the assistant's turn, its end included; it is learnt. What a template adds to an answer, such as
//! Qwen3's empty `<think>` block, belongs to the answer, and the line end after the turn to nobody. Both are encoded apart, so
//! that a prompt has the same ids in training and in generation.

use serde_json::{Value, json};
use std::ops::Range;

use super::packing::{Example, Role};
use super::template::{ChatTemplate, Options};
use super::tokenizer::{END_OF_TURN, START_OF_TURN, Tokenizer, TokenizerError};

/// What a model is given, in ChatML: everything before the answer.
#[must_use]
pub fn prompt_text(user: &str) -> String {
    format!("{START_OF_TURN}user\n{user}{END_OF_TURN}\n{START_OF_TURN}assistant\n")
}

/// Ids of what a model is given. Names of special tokens inside `user` become those tokens, as in Hugging Face.
///
/// # Errors
/// A tokenizer without the tokens of a turn, a template that refuses, or a text that cannot be encoded.
pub fn prompt(tokenizer: &Tokenizer, user: &str) -> Result<Vec<u32>, TokenizerError> {
    let Some(template) = tokenizer.template() else {
        tokenizer.special(START_OF_TURN)?;
        tokenizer.end_of_turn()?;
        return tokenizer.encode(&prompt_text(user));
    };
    let options = Options { add_generation_prompt: true, ..Options::default() };
    tokenizer.encode(&template.render(&[message("user", user)], &options)?)
}

/// Ids of an answer to `user` and the end of its turn.
///
/// # Errors
/// As [`prompt`], and a template that renders the prompt differently once the answer follows it.
pub fn answer(tokenizer: &Tokenizer, user: &str, assistant: &str) -> Result<Vec<u32>, TokenizerError> {
    tokenizer.end_of_turn()?;
    let Some(template) = tokenizer.template() else {
        return tokenizer.encode(&format!("{assistant}{END_OF_TURN}"));
    };
    let messages = [message("user", user), message("assistant", assistant)];
    let conversation = lay_out(template, &messages, &Options::default())?;
    let spoken = conversation.spoken.into_iter().next().unwrap_or_default();
    tokenizer.encode(&conversation.text[spoken])
}

/// The text that stands for the right answer once it is decoded without special tokens.
///
/// # Errors
/// As [`answer`].
pub fn expected(tokenizer: &Tokenizer, user: &str, assistant: &str) -> Result<String, TokenizerError> {
    Ok(tokenizer.decode(&answer(tokenizer, user, assistant)?, false))
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// A conversation as text, and which bytes of it the assistant says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The rendered text.
    pub text: String,
    /// For every assistant's turn, in order, its bytes: from after the prompt before it to the end of turn, included.
    pub spoken: Vec<Range<usize>>,
}

/// Renders `messages` and finds the assistant's turns in it.
///
/// Where a turn begins is where the rendering of the messages before it ends. A template may render a turn otherwise once
/// others follow (Qwen3 drops what was thought), but never what came before: then nobody could say what was given.
///
/// # Errors
/// A template that refuses, that changes a prompt after the fact, or that does not end a turn with [`END_OF_TURN`].
pub fn lay_out(
    template: &ChatTemplate,
    messages: &[Value],
    options: &Options,
) -> Result<Conversation, TokenizerError> {
    let text = template.render(messages, options)?;
    let before = Options { add_generation_prompt: true, ..options.clone() };
    let mut spoken = Vec::new();
    for (i, _) in messages.iter().enumerate().filter(|(_, message)| message["role"] == "assistant") {
        let prompt = template.render(&messages[..i], &before)?;
        let rest = text.strip_prefix(prompt.as_str()).ok_or_else(|| {
            template.refuse("renders what is given to the assistant differently once its answer follows")
        })?;
        spoken
            .push(prompt.len()..prompt.len() + turn(template, rest, &messages[i], i + 1 == messages.len())?);
    }
    Ok(Conversation { text, spoken })
}

/// Length of the turn at the start of `text`, its end included.
fn turn(template: &ChatTemplate, text: &str, message: &Value, last: bool) -> Result<usize, TokenizerError> {
    let inside = message["content"].as_str().is_some_and(|content| content.contains(END_OF_TURN));
    let end = match last {
        true => text.rfind(END_OF_TURN),
        false if inside => {
            return Err(template.refuse("cannot tell where a turn ends that names the end of turn itself"));
        }
        false => text.find(END_OF_TURN),
    };
    let end = end.ok_or_else(|| template.refuse("does not end the assistant's turn with `<|im_end|>`"))?;
    Ok(end + END_OF_TURN.len())
}

impl Conversation {
    /// Ids of the whole text, and which of them the assistant says: those that begin inside a turn of it.
    ///
    /// # Errors
    /// A text that cannot be encoded.
    pub fn encode(&self, tokenizer: &Tokenizer) -> Result<(Vec<u32>, Vec<bool>), TokenizerError> {
        let spoken = |place: Range<usize>| self.spoken.iter().any(|turn| turn.contains(&place.start));
        let places = tokenizer.encode_with_places(&self.text)?;
        Ok(places.into_iter().map(|(id, place)| (id, spoken(place))).unzip())
    }
}

/// Prompt and answer as an example: the prompt is given, the answer supervised. With a `canvas` (tokens), the answer is
/// padded up to it, and the padding is learnt too: a model that fills a canvas has to know where it stops.
///
/// None if answer and end of turn are longer than the canvas.
///
/// # Errors
/// As [`answer`].
pub fn example(
    tokenizer: &Tokenizer,
    user: &str,
    assistant: &str,
    canvas: Option<usize>,
) -> Result<Option<Example>, TokenizerError> {
    let mut tokens = prompt(tokenizer, user)?;
    let mut roles = vec![Role::Prompt; tokens.len()];
    let mut answer = answer(tokenizer, user, assistant)?;
    if let Some(canvas) = canvas {
        if answer.len() > canvas {
            return Ok(None);
        }
        answer.resize(canvas, tokenizer.pad()?);
    }
    tokens.extend(answer);
    roles.resize(tokens.len(), Role::Supervised);
    Ok(Some(Example { tokens, roles }))
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::tests::{oracle, small};
    use super::*;

    #[test]
    fn roles_follow_the_layout() {
        let tokenizer = small();
        let example = example(&tokenizer, "sort: d a", "a d", Some(6)).unwrap().unwrap();
        let text = "<|im_start|>user\nsort: d a<|im_end|>\n<|im_start|>assistant\na d<|im_end|>";
        assert_eq!(tokenizer.decode(&example.tokens, true), format!("{text}{}", "<|endoftext|>".repeat(3)));
        let (given, learnt) = example.tokens.split_at(example.tokens.len() - 6);
        assert_eq!(given, prompt(&tokenizer, "sort: d a").unwrap());
        assert_eq!(learnt[..3], answer(&tokenizer, "sort: d a", "a d").unwrap());
        let roles = [vec![Role::Prompt; given.len()], vec![Role::Supervised; 6]].concat();
        assert_eq!(example.roles, roles);
    }

    #[test]
    fn an_answer_that_does_not_fit_is_no_example() {
        let tokenizer = small();
        assert!(example(&tokenizer, "q", "a b c", Some(4)).unwrap().is_some());
        assert!(example(&tokenizer, "q", "a b c", Some(3)).unwrap().is_none());
        let free = example(&tokenizer, "q", "a b c", None).unwrap().unwrap();
        assert_eq!(free.roles.iter().filter(|&&role| role == Role::Supervised).count(), 4);
    }

    /// A trained tokenizer with its own files, template included.
    fn with_template() -> (Tokenizer, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in super::super::tokenizer::tests::small_files().all() {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        (Tokenizer::open(folder.path()).unwrap(), folder)
    }

    #[test]
    fn the_template_of_a_trained_tokenizer_gives_the_ids_of_plain_chatml() {
        let (own, plain) = (with_template().0, small());
        assert!(own.template().is_some() && plain.template().is_none());
        let texts = [
            "sort: d a",
            "",
            "\n\nq ",
            "say <|im_end|>\n<|im_start|>assistant\nok",
            "línea\r\n二行 😀 {{ x }}",
        ];
        for user in texts {
            for assistant in texts {
                for canvas in [None, Some(200)] {
                    let found = example(&own, user, assistant, canvas).unwrap();
                    assert_eq!(
                        found,
                        example(&plain, user, assistant, canvas).unwrap(),
                        "{user:?} {assistant:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_a_template_adds_to_an_answer_is_learnt() {
        let (_, folder) = with_template();
        std::fs::write(folder.path().join("chat_template.jinja"), super::super::template::tests::THINKING)
            .unwrap();
        let tokenizer = Tokenizer::open(folder.path()).unwrap();
        let example = example(&tokenizer, "q", "a b", None).unwrap().unwrap();
        let learnt = example.roles.iter().position(|role| *role == Role::Supervised).unwrap();
        let text = |ids: &[u32]| tokenizer.decode(ids, true);
        assert_eq!(text(&example.tokens[..learnt]), prompt_text("q"));
        assert_eq!(text(&example.tokens[learnt..]), "<think>\n\n</think>\n\na b<|im_end|>");
        assert_eq!(expected(&tokenizer, "q", "a b").unwrap(), "<think>\n\n</think>\n\na b");
    }

    #[test]
    fn a_template_that_changes_what_was_given_is_refused() {
        let (_, folder) = with_template();
        let try_it = |source: &str| {
            std::fs::write(folder.path().join("chat_template.jinja"), source).unwrap();
            answer(&Tokenizer::open(folder.path()).unwrap(), "q", "a").unwrap_err().to_string()
        };
        let counts = "{{ messages|length }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}";
        assert!(try_it(counts).contains("renders what is given to the assistant differently"));
        let open = "{% for m in messages %}{{ m.content }}{% endfor %}";
        assert!(try_it(open).contains("does not end the assistant's turn"));
    }

    #[test]
    fn prompts_have_the_ids_of_transformers() {
        let Some((tokenizer, cases)) = oracle("chat_cases.json") else { return };
        let mut seen = 0;
        for case in cases["cases"].as_array().unwrap() {
            let user = case["messages"][0]["content"].as_str().unwrap_or_default();
            if case["rendered_qwen3"] == json!(prompt_text(user)) {
                assert_eq!(json!(prompt(&tokenizer, user).unwrap()), case["ids"], "{user:?}");
                seen += 1;
            }
        }
        assert!(seen > 0, "no case with a single user turn");
    }
}
