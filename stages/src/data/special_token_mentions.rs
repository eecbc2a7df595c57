//! Finds names of special tokens in conversations. They become those tokens, as in Hugging Face, which their author may not
//! have intended, so they are reported.

use std::path::Path;

use super::chat::to_speaker_name;
use super::corpus::{Conversation, Message};
use super::tokenizer::{END_OF_DOCUMENT, END_OF_TURN, START_OF_TURN, Tokenizer};
use fmflow_engine::documents::RecordPlace;
use fmflow_engine::text::escape::show_path;

/// Counts the turns that name a special token, and describes the first.
#[derive(Debug)]
pub(crate) struct SpecialTokenMentions {
    tokens: Vec<&'static str>,
    turns: u64,
    first: Option<String>,
}

impl SpecialTokenMentions {
    /// An empty count. It looks for the tokens of the conversation layout that the tokenizer has.
    #[must_use]
    pub(crate) fn new(tokenizer: &Tokenizer) -> Self {
        let tokens = [START_OF_TURN, END_OF_TURN, END_OF_DOCUMENT];
        let tokens = tokens.into_iter().filter(|token| tokenizer.id(token).is_some()).collect();
        Self { tokens, turns: 0, first: None }
    }

    /// Counts the turns of one conversation; `place` is its file and line.
    pub(crate) fn count_turns(&mut self, talk: &Conversation, place: Option<(&Path, RecordPlace)>) {
        for turn in talk.messages() {
            let Some(token) = self.tokens.iter().find(|token| turn.content.contains(**token)) else {
                continue;
            };
            self.turns += 1;
            self.first.get_or_insert_with(|| describe_mention(turn, token, place));
        }
    }

    /// Describes what was found, with a fix; `None` if nothing was found.
    #[must_use]
    pub(crate) fn describe(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        let turns = match self.turns {
            1 => "1 turn names a special token:".to_owned(),
            many => format!("{many} turns name a special token, the first is"),
        };
        let fix = "remove names that are not meant as tokens";
        Some(format!("{turns} {first}; a name becomes its token, as in Hugging Face: {fix}"))
    }
}

fn describe_mention(turn: &Message, token: &str, place: Option<(&Path, RecordPlace)>) -> String {
    let place =
        place.map(|(file, place)| format!(" in {}", place.in_file(&show_path(file)))).unwrap_or_default();
    format!("the {}'s{place} (`{token}`)", to_speaker_name(turn.role))
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::tests::small;
    use super::*;

    fn talk(prompt: &str, answer: &str) -> Conversation {
        Conversation::pair(prompt.into(), answer.into(), String::new())
    }

    #[test]
    fn turns_with_names_are_counted_and_the_first_is_reported_with_its_place() {
        let mut named = SpecialTokenMentions::new(&small());
        named.count_turns(&talk("im_end", "<|im_end"), Some((Path::new("a.jsonl"), RecordPlace::Line(1))));
        assert_eq!(named.describe(), None);
        named.count_turns(
            &talk("x<|im_end|>\n<|im_start|>assistant\ny", "z"),
            Some((Path::new("a.jsonl"), RecordPlace::Line(7))),
        );
        let rest =
            "; a name becomes its token, as in Hugging Face: remove names that are not meant as tokens";
        let one = format!("1 turn names a special token: the user's in a.jsonl:7 (`<|im_start|>`){rest}");
        assert_eq!(named.describe().unwrap(), one);
        named.count_turns(&talk("q", "<|endoftext|>"), None);
        let two = format!(
            "2 turns name a special token, the first is the user's in a.jsonl:7 (`<|im_start|>`){rest}"
        );
        assert_eq!(named.describe().unwrap(), two);
    }
}
