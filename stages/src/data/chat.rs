//! Lays out conversations with the tokenizer's own chat template, or in ChatML (Qwen's layout) if it has none:
//!
//! ```text
//! <|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>
//! ```
//!
//! The prompt is what the template renders up to the point where the assistant speaks (`add_generation_prompt`). It is
//! given. The answer is the rest of the assistant's turn, including its end. It is learned. Whatever a template adds to an
//! answer, such as Qwen3's empty `<think>` block, belongs to the answer; the line end after the turn is dropped. Prompt and
//! answer are encoded separately: encoded together, a token could span the boundary, and the prompt would have other ids in
//! training than in generation.

mod changed_turns;

use serde_json::{Value, json};
use std::ops::Range;

use changed_turns::{find_changed_turn, find_marked_turns};

use super::corpus::{Chat, Message, Speaker};
use super::packing::{Example, PositionRole};
use super::template::{ChatTemplate, TemplateOptions, TemplateRequest};
use super::tokenizer::{END_OF_TURN, START_OF_TURN, Tokenizer, TokenizerError};

/// The prompt in ChatML: everything before the answer.
#[must_use]
pub(crate) fn render_chatml_prompt(given: &[Message]) -> String {
    let turn = |message: &Message| {
        format!("{START_OF_TURN}{}\n{}{END_OF_TURN}\n", to_speaker_name(message.role), message.content)
    };
    format!("{}{START_OF_TURN}assistant\n", given.iter().map(turn).collect::<String>())
}

/// Ids of the prompt. Names of special tokens inside a turn become those tokens, as in Hugging Face, unless the tokenizer has another
/// rule.
///
/// # Errors
/// If the tokenizer lacks the tokens of a turn, the template refuses, or the text cannot be encoded.
pub(crate) fn encode_prompt(tokenizer: &Tokenizer, given: &[Message]) -> Result<Vec<u32>, TokenizerError> {
    let given = mark_names_in_turns(tokenizer, given);
    let Some(template) = tokenizer.template() else {
        tokenizer.special(START_OF_TURN)?;
        tokenizer.end_of_turn()?;
        return tokenizer.encode_marked(&render_chatml_prompt(&given));
    };
    let options = with_generation_prompt(&TemplateOptions::default());
    tokenizer.encode_marked(&template.render(&to_template_messages(&given), &options)?)
}

/// Ids of what a conversation gives and of the answer to it, for training and for asking the same question. A template may render earlier
/// turns differently once the answer follows; what is given is then not [`encode_prompt`]'s, which knows no answer.
///
/// # Errors
/// As [`encode_turn`].
pub(crate) fn encode_chat(
    tokenizer: &Tokenizer,
    chat: &Chat,
) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
    encode_turn(tokenizer, &chat.given(), &chat.answer)
}

/// Ids of the prompt, and ids of the answer to it, including the end of its turn.
///
/// # Errors
/// As [`encode_prompt`]; also if the template renders the prompt differently once the answer follows it, and it cannot be found again.
pub(crate) fn encode_turn(
    tokenizer: &Tokenizer,
    given: &[Message],
    answer: &str,
) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
    tokenizer.end_of_turn()?;
    let answer = tokenizer.mark_names(answer);
    let Some(template) = tokenizer.template() else {
        let answer = tokenizer.encode_marked(&format!("{answer}{END_OF_TURN}"))?;
        return Ok((encode_prompt(tokenizer, given)?, answer));
    };
    let mut messages = to_template_messages(&mark_names_in_turns(tokenizer, given));
    messages.push(json!({"role": "assistant", "content": answer}));
    let layout = lay_out_turns(template, &messages, &TemplateOptions::default(), &[given.len()])?;
    let spoken = &layout.spoken[0];
    let (prompt, answer) = (&layout.text[..spoken.start], &layout.text[spoken.clone()]);
    Ok((tokenizer.encode_marked(prompt)?, tokenizer.encode_marked(answer)?))
}

/// The text that a model's output must equal after decoding without special tokens. This is not `chat.answer` itself, because
/// a template may add to an answer or trim it.
///
/// # Errors
/// As [`encode_turn`].
pub(crate) fn decode_expected_answer(tokenizer: &Tokenizer, chat: &Chat) -> Result<String, TokenizerError> {
    tokenizer.decode(&encode_chat(tokenizer, chat)?.1, false)
}

/// The name that templates use for a speaker.
#[must_use]
pub(crate) fn to_speaker_name(role: Speaker) -> &'static str {
    match role {
        Speaker::System => "system",
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
    }
}

/// The turns, with marks in place of the names of tokens that stay text.
fn mark_names_in_turns(tokenizer: &Tokenizer, turns: &[Message]) -> Vec<Message> {
    let mark = |turn: &Message| {
        let content = tokenizer.mark_names(&turn.content).into_owned();
        Message { role: turn.role, content }
    };
    turns.iter().map(mark).collect()
}

fn to_template_messages(messages: &[Message]) -> Vec<Value> {
    let value =
        |message: &Message| json!({"role": to_speaker_name(message.role), "content": message.content});
    messages.iter().map(value).collect()
}

fn with_generation_prompt(options: &TemplateOptions) -> TemplateOptions {
    TemplateOptions { add_generation_prompt: true, ..options.clone() }
}

/// A conversation as text, with the byte ranges that the assistant says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationLayout {
    /// The rendered text.
    pub text: String,
    /// The bytes of every assistant turn, in order: from the end of the prompt before it up to and including the end of turn.
    pub spoken: Vec<Range<usize>>,
}

/// Renders `messages` and finds the assistant's turns in it.
///
/// A turn begins where the rendering of the messages before it ends. A template may render a turn differently once others
/// follow (Qwen3 drops the reasoning). If it changes what came before a turn, the turn is found in the whole text.
///
/// # Errors
/// If the template refuses, renders no prompt that can be found again, or does not end a turn with [`END_OF_TURN`].
pub fn lay_out_conversation(
    template: &ChatTemplate,
    messages: &[Value],
    options: &TemplateOptions,
) -> Result<ConversationLayout, TokenizerError> {
    let answers = messages.iter().enumerate().filter(|(_, message)| message["role"] == "assistant");
    let turns: Vec<usize> = answers.map(|(at, _)| at).collect();
    lay_out_turns(template, messages, options, &turns)
}

/// As [`lay_out_conversation`], for the assistant's turns at these places of `messages`.
fn lay_out_turns(
    template: &ChatTemplate,
    messages: &[Value],
    options: &TemplateOptions,
    turns: &[usize],
) -> Result<ConversationLayout, TokenizerError> {
    let prompting = with_generation_prompt(options);
    let request = |messages, options| TemplateRequest { messages, options, marked: false };
    let prompts = turns.iter().map(|&at| request(&messages[..at], &prompting));
    let requests: Vec<_> = [request(messages, options)].into_iter().chain(prompts).collect();
    let mut texts = template.render_all(&requests)?;
    let text = texts.remove(0);
    if !texts.iter().all(|prompt| text.starts_with(prompt))
        && let Some(spoken) = find_marked_turns(template, messages, options, turns, &text)?
    {
        return Ok(ConversationLayout { text, spoken });
    }
    let spoken = turns.iter().zip(&texts);
    let spoken =
        spoken.map(|(&at, prompt)| find_spoken_range(at, template, messages, options, &text, prompt));
    Ok(ConversationLayout { spoken: spoken.collect::<Result<_, _>>()?, text })
}

/// The bytes that the assistant says in turn `at` of `text`, the rendering of `messages`. `prompt` is that of the messages
/// before it.
fn find_spoken_range(
    at: usize,
    template: &ChatTemplate,
    messages: &[Value],
    options: &TemplateOptions,
    text: &str,
    prompt: &str,
) -> Result<Range<usize>, TokenizerError> {
    let Some(rest) = text.strip_prefix(prompt) else {
        return find_changed_turn(at, template, messages, options, (text, prompt));
    };
    let length = measure_turn(template, rest, &messages[at], at + 1 == messages.len())?;
    Ok(prompt.len()..prompt.len() + length)
}

/// Length of the turn at the start of `text`, including its end.
fn measure_turn(
    template: &ChatTemplate,
    text: &str,
    message: &Value,
    last: bool,
) -> Result<usize, TokenizerError> {
    let inside = message["content"].as_str().is_some_and(|content| content.contains(END_OF_TURN));
    let end = match last {
        true => text.rfind(END_OF_TURN),
        false if inside => {
            return Err(template.to_error(
                "renders a turn whose content contains `<|im_end|>`, so the end of the turn is ambiguous",
            ));
        }
        false => text.find(END_OF_TURN),
    };
    let end = end.ok_or_else(|| template.to_error("does not end the assistant's turn with `<|im_end|>`"))?;
    Ok(end + END_OF_TURN.len())
}

impl ConversationLayout {
    /// Ids of the whole text, and for each whether the assistant says it, that is, whether it begins inside an assistant
    /// turn.
    ///
    /// # Errors
    /// If the text cannot be encoded.
    pub fn encode(&self, tokenizer: &Tokenizer) -> Result<(Vec<u32>, Vec<bool>), TokenizerError> {
        let spoken = |place: Range<usize>| self.spoken.iter().any(|turn| turn.contains(&place.start));
        let places = tokenizer.encode_with_places(&self.text)?;
        Ok(places.into_iter().map(|(id, place)| (id, spoken(place))).unzip())
    }
}

/// How much room an answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerRoom {
    /// Its own tokens, with the end of the turn.
    Own,
    /// This many tokens.
    Canvas(usize),
    /// Up to the end of a block of so many tokens, counted from the start of the conversation.
    Blocks(usize),
}

/// Prompt and answer as an example: the prompt is given, the answer supervised. Where it takes more room than its own, it is
/// padded, and the padding is learned too, because a model that fills a canvas or a block must learn where to stop.
///
/// `None` if the answer and its end of turn are longer than the canvas.
///
/// # Errors
/// As [`encode_turn`].
pub(crate) fn encode_example(
    tokenizer: &Tokenizer,
    chat: &Chat,
    room: AnswerRoom,
) -> Result<Option<Example>, TokenizerError> {
    let (mut tokens, mut answer) = encode_chat(tokenizer, chat)?;
    let mut roles = vec![PositionRole::Prompt; tokens.len()];
    let length = match room {
        AnswerRoom::Own => answer.len(),
        AnswerRoom::Canvas(canvas) if answer.len() > canvas => return Ok(None),
        AnswerRoom::Canvas(canvas) => canvas,
        AnswerRoom::Blocks(block) => (tokens.len() + answer.len()).next_multiple_of(block) - tokens.len(),
    };
    answer.resize(length, tokenizer.pad()?);
    tokens.extend(answer);
    roles.resize(tokens.len(), PositionRole::Supervised);
    Ok(Some(Example { tokens, roles }))
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::tests::{oracle, small};
    use super::*;

    fn encode_answer(
        tokenizer: &Tokenizer,
        given: &[Message],
        answer: &str,
    ) -> Result<Vec<u32>, TokenizerError> {
        Ok(encode_turn(tokenizer, given, answer)?.1)
    }

    fn pair(prompt: &str, answer: &str) -> Chat {
        let (prompt, answer) = (prompt.to_owned(), answer.to_owned());
        Chat { before: vec![], prompt, after: vec![], answer, group: String::new() }
    }

    /// Turns before a question.
    fn history(text: &str) -> Vec<Message> {
        let said = |role, content: &str| Message { role, content: content.to_owned() };
        vec![said(Speaker::System, "be kind"), Message::user(text), said(Speaker::Assistant, "yes")]
    }

    #[test]
    fn roles_follow_the_layout() {
        let tokenizer = small();
        let example =
            encode_example(&tokenizer, &pair("sort: d a", "a d"), AnswerRoom::Canvas(6)).unwrap().unwrap();
        let text = "<|im_start|>user\nsort: d a<|im_end|>\n<|im_start|>assistant\na d<|im_end|>";
        assert_eq!(
            tokenizer.decode(&example.tokens, true).unwrap(),
            format!("{text}{}", "<|endoftext|>".repeat(3))
        );
        let (given, learned) = example.tokens.split_at(example.tokens.len() - 6);
        assert_eq!(given, encode_prompt(&tokenizer, &[Message::user("sort: d a")]).unwrap());
        assert_eq!(learned[..3], encode_answer(&tokenizer, &[Message::user("sort: d a")], "a d").unwrap());
        let roles = [vec![PositionRole::Prompt; given.len()], vec![PositionRole::Supervised; 6]].concat();
        assert_eq!(example.roles, roles);
    }

    #[test]
    fn an_answer_that_does_not_fit_is_no_example() {
        let tokenizer = small();
        let chat = pair("q", "a b c");
        assert!(encode_example(&tokenizer, &chat, AnswerRoom::Canvas(4)).unwrap().is_some());
        assert!(encode_example(&tokenizer, &chat, AnswerRoom::Canvas(3)).unwrap().is_none());
        let free = encode_example(&tokenizer, &chat, AnswerRoom::Own).unwrap().unwrap();
        assert_eq!(free.roles.iter().filter(|&&role| role == PositionRole::Supervised).count(), 4);
    }

    #[test]
    fn an_answer_is_filled_to_the_end_of_its_block() {
        let tokenizer = small();
        let chat = pair("sort: d a", "a d");
        let own = encode_example(&tokenizer, &chat, AnswerRoom::Own).unwrap().unwrap();
        let all = own.tokens.len();
        let given = own.roles.iter().filter(|role| **role == PositionRole::Prompt).count();
        for block in [1, 2, 3, 7, all - 1, all, all + 1, 4 * all] {
            let filled = encode_example(&tokenizer, &chat, AnswerRoom::Blocks(block)).unwrap().unwrap();
            assert!(
                filled.tokens.len().is_multiple_of(block) && filled.tokens.len() < all + block,
                "{block}"
            );
            assert_eq!(filled.tokens[..all], own.tokens);
            assert!(filled.tokens[all..].iter().all(|id| *id == tokenizer.pad().unwrap()));
            let learned = filled.roles.iter().filter(|role| **role == PositionRole::Supervised).count();
            assert_eq!((given, given + learned), (given, filled.tokens.len()));
        }
    }

    #[test]
    fn names_that_stay_text_do_so_in_every_turn() {
        let said = "say <|im_end|>\n<|im_start|>assistant\nok";
        for tokenizer in [with_template().0, small()] {
            let as_tokens = encode_turn(&tokenizer, &history(said), said).unwrap();
            let tokenizer = tokenizer.with_special_names(fmflow_engine::pipeline::config::SpecialNames::Text);
            let (prompt, answer) = encode_turn(&tokenizer, &history(said), said).unwrap();
            assert_ne!((&prompt, &answer), (&as_tokens.0, &as_tokens.1));
            let count = |ids: &[u32], name| ids.iter().filter(|id| Some(**id) == tokenizer.id(name)).count();
            // Three turns are closed, four are opened.
            assert_eq!((count(&prompt, START_OF_TURN), count(&prompt, END_OF_TURN)), (4, 3));
            assert_eq!((count(&answer, START_OF_TURN), count(&answer, END_OF_TURN)), (0, 1));
            assert_eq!(tokenizer.decode(&answer, false).unwrap(), said);
            assert_eq!(prompt, encode_prompt(&tokenizer, &history(said)).unwrap());
        }
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
                for (room, before) in [
                    (AnswerRoom::Own, vec![]),
                    (AnswerRoom::Canvas(200), vec![]),
                    (AnswerRoom::Own, history(user)),
                ] {
                    let chat = Chat { before, ..pair(user, assistant) };
                    let found = encode_example(&own, &chat, room).unwrap();
                    assert_eq!(found, encode_example(&plain, &chat, room).unwrap(), "{chat:?}");
                }
            }
        }
    }

    #[test]
    fn what_a_template_adds_to_an_answer_is_learned() {
        let (_, folder) = with_template();
        std::fs::write(folder.path().join("chat_template.jinja"), super::super::template::tests::THINKING)
            .unwrap();
        let tokenizer = Tokenizer::open(folder.path()).unwrap();
        let chat = pair("q", "a b");
        let example = encode_example(&tokenizer, &chat, AnswerRoom::Own).unwrap().unwrap();
        let learned = example.roles.iter().position(|role| *role == PositionRole::Supervised).unwrap();
        let text = |ids: &[u32]| tokenizer.decode(ids, true).unwrap();
        assert_eq!(text(&example.tokens[..learned]), render_chatml_prompt(&[Message::user("q")]));
        assert_eq!(text(&example.tokens[learned..]), "<think>\n\n</think>\n\na b<|im_end|>");
        assert_eq!(decode_expected_answer(&tokenizer, &chat).unwrap(), "<think>\n\n</think>\n\na b");
    }

    #[test]
    fn what_was_thought_in_earlier_turns_is_not_given_again() {
        let (_, folder) = with_template();
        std::fs::write(folder.path().join("chat_template.jinja"), super::super::template::tests::THINKING)
            .unwrap();
        let tokenizer = Tokenizer::open(folder.path()).unwrap();
        let mut chat = Chat { before: history("p"), ..pair("q", "a b") };
        chat.before[2].content = "<think>\nhm\n</think>\n\nyes".to_owned();
        let example = encode_example(&tokenizer, &chat, AnswerRoom::Own).unwrap().unwrap();
        let learned = example.roles.iter().position(|role| *role == PositionRole::Supervised).unwrap();
        let given = tokenizer.decode(&example.tokens[..learned], true).unwrap();
        assert!(given.contains("<|im_start|>assistant\nyes<|im_end|>"), "{given}");
        assert!(!given.contains("hm"), "{given}");
    }

    #[test]
    fn of_two_answers_in_a_row_each_is_learned_as_the_whole_conversation_has_it() {
        let (_, folder) = with_template();
        std::fs::write(folder.path().join("chat_template.jinja"), super::super::template::tests::THINKING)
            .unwrap();
        let first = Message { role: Speaker::Assistant, content: "a".to_owned() };
        for (tokenizer, think) in
            [(Tokenizer::open(folder.path()).unwrap(), "<think>\n\n</think>\n\n"), (small(), "")]
        {
            let chat = Chat { after: vec![first.clone()], ..pair("q", "b") };
            let example = encode_example(&tokenizer, &chat, AnswerRoom::Own).unwrap().unwrap();
            let learned = example.roles.iter().position(|role| *role == PositionRole::Supervised).unwrap();
            let text = |ids: &[u32]| tokenizer.decode(ids, true).unwrap();
            let given = render_chatml_prompt(&[Message::user("q"), first.clone()]);
            assert_eq!(text(&example.tokens[..learned]), given);
            assert_eq!(text(&example.tokens[learned..]), format!("{think}b<|im_end|>"));
            let (asked, expected) = encode_chat(&tokenizer, &chat).unwrap();
            assert_eq!((&*asked, &*expected), example.tokens.split_at(learned), "as exact match asks it");
            let unanswered = encode_prompt(&tokenizer, &chat.given()).unwrap();
            assert_eq!(asked == unanswered, think.is_empty(), "Qwen3 lets the last answer think");
        }
    }

    #[test]
    fn a_template_that_changes_what_was_given_is_refused() {
        let (_, folder) = with_template();
        let try_it = |source: &str| {
            std::fs::write(folder.path().join("chat_template.jinja"), source).unwrap();
            encode_answer(&Tokenizer::open(folder.path()).unwrap(), &[Message::user("q")], "a")
                .unwrap_err()
                .to_string()
        };
        let counts = "{{ messages|length }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}";
        assert!(try_it(counts).contains("renders the assistant's prompt differently"));
        let open = "{% for m in messages %}{{ m.content }}{% endfor %}";
        assert!(try_it(open).contains("does not end the assistant's turn"));
    }

    #[test]
    fn prompts_have_the_ids_of_transformers() {
        let Some((tokenizer, cases)) = oracle("chat_cases.json") else { return };
        let mut seen = 0;
        for case in cases["cases"].as_array().unwrap() {
            let Ok(given) = serde_json::from_value::<Vec<Message>>(case["messages"].clone()) else {
                continue;
            };
            if case["rendered_qwen3"] == json!(render_chatml_prompt(&given)) {
                assert_eq!(json!(encode_prompt(&tokenizer, &given).unwrap()), case["ids"], "{given:?}");
                seen += 1;
            }
        }
        assert!(seen > 0, "no case in plain ChatML");
    }
}
