//! Finds names of special tokens in what people wrote. What becomes of them is reported, because their author may not have
//! intended it.

use std::path::Path;

use fmflow_engine::documents::{Document, RecordPlace};
use fmflow_engine::pipeline::config::SpecialNames;
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::{escape_line, show_path};

use super::chat::to_speaker_name;
use super::tokenizer::{SpecialName, Tokenizer};

/// Counts the turns and documents that name a special token, and describes the first.
#[derive(Debug)]
pub(crate) struct SpecialTokenMentions {
    in_turns: Vec<SpecialName>,
    in_documents: Vec<SpecialName>,
    /// Names that become tokens.
    tokens: Mentions,
    /// Names that stay text, and those of mask tokens among them.
    texts: Mentions,
    masks: Mentions,
}

/// Whether a name belongs to a kind.
type IsKind = fn(&SpecialName) -> bool;

/// Turns or documents, and the first of them.
#[derive(Debug, Default)]
struct Mentions {
    count: u64,
    first: Option<String>,
}

impl SpecialTokenMentions {
    /// An empty count. Documents name tokens only if `policy` says so; otherwise only names of mask tokens are told.
    #[must_use]
    pub(crate) fn new(tokenizer: &Tokenizer, policy: Option<SpecialNames>) -> Self {
        let in_turns: Vec<_> = tokenizer.special_names().collect();
        let told = |name: &&SpecialName| policy == Some(SpecialNames::Token) || name.is_mask;
        let in_documents = in_turns.iter().filter(told).cloned().collect();
        let (tokens, texts, masks) = Default::default();
        Self { in_turns, in_documents, tokens, texts, masks }
    }

    /// Counts what one document names; `place` is its file and line.
    pub(crate) fn count(&mut self, document: &Document, place: Option<(&Path, RecordPlace)>) {
        match document {
            Document::Text(text) => {
                let names = list_names(&self.in_documents, text);
                self.add(&names, "the document", place);
            }
            Document::Chat(talk) => {
                for turn in talk.messages() {
                    let names = list_names(&self.in_turns, &turn.content);
                    self.add(&names, &format!("the {}'s", to_speaker_name(turn.role)), place);
                }
            }
        }
    }

    /// Counts a turn or document with these names once for everything that becomes of them.
    fn add(&mut self, names: &[SpecialName], whose: &str, place: Option<(&Path, RecordPlace)>) {
        let kinds: [(&mut Mentions, IsKind); 3] = [
            (&mut self.tokens, |name| !name.stays_text),
            (&mut self.texts, |name| name.stays_text && !name.is_mask),
            (&mut self.masks, |name| name.is_mask),
        ];
        for (mentions, is_of_kind) in kinds {
            let Some(name) = names.iter().find(|name| is_of_kind(name)) else { continue };
            mentions.count += 1;
            mentions.first.get_or_insert_with(|| describe_mention(whose, &name.name, place));
        }
    }

    /// Describes what was found, with a fix; nothing if nothing was found.
    pub(crate) fn describe(&self) -> impl Iterator<Item = String> {
        let unit = if self.in_turns == self.in_documents { "turn or document" } else { "turn" };
        let of = |mentions: &Mentions, unit, what, becomes| {
            let first = mentions.first.as_ref()?;
            let found = match mentions.count {
                1 => format!("1 {unit} names {what}:"),
                many => format!("{} name {what}, the first is", count_noun(many, unit)),
            };
            Some(format!("{found} {first}; {becomes}"))
        };
        let as_token = "a name becomes its token, as in Hugging Face: remove names that are not meant as tokens, or write \
                        `specials \"text\"` in the rows";
        [
            of(&self.tokens, unit, "a special token", as_token),
            of(&self.texts, "turn", "a special token", "names stay text here, as `specials \"text\"` says"),
            of(
                &self.masks,
                "text",
                "a mask token",
                "its name is encoded as letters and never becomes the mask",
            ),
        ]
        .into_iter()
        .flatten()
    }
}

fn list_names(names: &[SpecialName], text: &str) -> Vec<SpecialName> {
    names.iter().filter(|name| text.contains(&name.name)).cloned().collect()
}

fn describe_mention(whose: &str, token: &str, place: Option<(&Path, RecordPlace)>) -> String {
    let place =
        place.map(|(file, place)| format!(" in {}", place.in_file(&show_path(file)))).unwrap_or_default();
    format!("{whose}{place} (`{}`)", escape_line(token))
}

#[cfg(test)]
mod tests {
    use super::super::corpus::Conversation;
    use super::super::tokenizer::tests::{small, small_files};
    use super::*;

    fn talk(prompt: &str, answer: &str) -> Document {
        Document::Chat(Conversation::pair(prompt.into(), answer.into(), String::new()))
    }

    fn told(found: &SpecialTokenMentions) -> Vec<String> {
        found.describe().collect()
    }

    #[test]
    fn turns_with_names_are_counted_and_the_first_is_reported_with_its_place() {
        let mut named = SpecialTokenMentions::new(&small(), None);
        named.count(&talk("im_end", "<|im_end"), Some((Path::new("a.jsonl"), RecordPlace::Line(1))));
        named.count(&Document::Text("<|im_end|>".into()), None);
        assert!(told(&named).is_empty());
        named.count(
            &talk("x<|im_end|>\n<|im_start|>assistant\ny", "z"),
            Some((Path::new("a.jsonl"), RecordPlace::Line(7))),
        );
        let rest = "; a name becomes its token, as in Hugging Face: remove names that are not meant as tokens, or write \
                    `specials \"text\"` in the rows";
        let one = format!("1 turn names a special token: the user's in a.jsonl:7 (`<|im_start|>`){rest}");
        assert_eq!(told(&named), [one]);
        named.count(&talk("q", "<|endoftext|>"), None);
        let two = format!(
            "2 turns name a special token, the first is the user's in a.jsonl:7 (`<|im_start|>`){rest}"
        );
        assert_eq!(told(&named), [two]);
    }

    #[test]
    fn what_becomes_of_a_name_is_told() {
        let text = small().with_special_names(SpecialNames::Text);
        let mut named = SpecialTokenMentions::new(&text, Some(SpecialNames::Text));
        named.count(&talk("q", "<|endoftext|>"), None);
        named.count(&Document::Text("<|im_end|>".into()), None);
        assert_eq!(
            told(&named),
            ["1 turn names a special token: the assistant's (`<|endoftext|>`); names stay text here, as \
              `specials \"text\"` says"]
        );
        let mut named = SpecialTokenMentions::new(&small(), Some(SpecialNames::Token));
        named.count(&Document::Text("<|im_end|>".into()), None);
        assert!(told(&named)[0].starts_with("1 turn or document names a special token: the document (`"));
    }

    #[test]
    fn a_mask_is_told_wherever_it_is_named() {
        let json = small_files().tokenizer;
        let json = fmflow_engine::pipeline::mask_entry::add_mask_entry(&json, small().used(), "<|mask|>");
        let tokenizer = Tokenizer::from_bytes("masked", json.unwrap()).unwrap();
        let mut named = SpecialTokenMentions::new(&tokenizer, None);
        let place = Some((Path::new("a.txt"), RecordPlace::Line(3)));
        named.count(&Document::Text("a <|mask|> b <|im_end|>".into()), place);
        named.count(&talk("<|mask|>", "a"), None);
        assert_eq!(
            told(&named),
            [
                "2 texts name a mask token, the first is the document in a.txt:3 (`<|mask|>`); its name is encoded as \
              letters and never becomes the mask"
            ]
        );
    }
}
