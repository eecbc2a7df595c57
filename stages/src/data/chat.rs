//! Conversations in ChatML, Qwen's layout:
//!
//! ```text
//! <|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>
//! ```
//!
//! The prompt, up to the line end after `assistant`, is given; the answer and the end of its turn are learnt. Both are
//! encoded apart, so that a prompt has the same ids in training and in generation.

use super::packing::{Example, Role};
use super::tokenizer::{END_OF_TURN, START_OF_TURN, Tokenizer, TokenizerError};

/// What a model is given: everything before the answer.
#[must_use]
pub fn prompt_text(user: &str) -> String {
    format!("{START_OF_TURN}user\n{user}{END_OF_TURN}\n{START_OF_TURN}assistant\n")
}

/// Ids of what a model is given. Names of special tokens inside `user` become those tokens, as in Hugging Face.
///
/// # Errors
/// A tokenizer without the tokens of a turn, or a text that cannot be encoded.
pub fn prompt(tokenizer: &Tokenizer, user: &str) -> Result<Vec<u32>, TokenizerError> {
    tokenizer.special(START_OF_TURN)?;
    tokenizer.end_of_turn()?;
    tokenizer.encode(&prompt_text(user))
}

/// Ids of an answer and the end of its turn.
///
/// # Errors
/// As [`prompt`].
pub fn answer(tokenizer: &Tokenizer, assistant: &str) -> Result<Vec<u32>, TokenizerError> {
    let mut ids = tokenizer.encode(assistant)?;
    ids.push(tokenizer.end_of_turn()?);
    Ok(ids)
}

/// Prompt and answer as an example: the prompt is given, the answer supervised. With a `canvas` (tokens), the answer is
/// padded up to it, and the padding is learnt too: a model that fills a canvas has to know where it stops.
///
/// None if answer and end of turn are longer than the canvas.
///
/// # Errors
/// As [`prompt`].
pub fn example(
    tokenizer: &Tokenizer,
    user: &str,
    assistant: &str,
    canvas: Option<usize>,
) -> Result<Option<Example>, TokenizerError> {
    let mut tokens = prompt(tokenizer, user)?;
    let mut roles = vec![Role::Prompt; tokens.len()];
    let mut answer = answer(tokenizer, assistant)?;
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
    use minijinja::{Environment, context};
    use serde_json::{Value, json};

    #[test]
    fn roles_follow_the_layout() {
        let tokenizer = small();
        let example = example(&tokenizer, "sort: d a", "a d", Some(6)).unwrap().unwrap();
        let text = "<|im_start|>user\nsort: d a<|im_end|>\n<|im_start|>assistant\na d<|im_end|>";
        assert_eq!(tokenizer.decode(&example.tokens, true), format!("{text}{}", "<|endoftext|>".repeat(3)));
        let (given, learnt) = example.tokens.split_at(example.tokens.len() - 6);
        assert_eq!(given, prompt(&tokenizer, "sort: d a").unwrap());
        assert_eq!(learnt[..3], answer(&tokenizer, "a d").unwrap());
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

    #[test]
    fn the_template_for_other_tools_gives_the_same_text() {
        let files = super::super::tokenizer::tests::small_files();
        let config: Value = serde_json::from_slice(&files.config).unwrap();
        let mut jinja = Environment::new();
        jinja.add_template("chat", config["chat_template"].as_str().unwrap()).unwrap();
        let render = |turns: &[(&str, &str)], go: bool| {
            let turn = |&(role, content): &(&str, &str)| context! { role => role, content => content };
            let messages: Vec<_> = turns.iter().map(turn).collect();
            let context = context! { messages => messages, add_generation_prompt => go };
            jinja.get_template("chat").unwrap().render(context).unwrap()
        };
        assert_eq!(render(&[("user", "hi")], true), prompt_text("hi"));
        let both = render(&[("user", "hi"), ("assistant", "ho")], false);
        assert_eq!(both, format!("{}ho<|im_end|>\n", prompt_text("hi")));
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
