//! Whether documents can be told apart by their openings, which decide what is held out.

use super::error::{BuildError, options_error};
use crate::data::corpus::Document;

/// The openings of the documents of a dataset.
#[derive(Debug, Default)]
pub(super) struct Openings {
    first: Option<String>,
    documents: u64,
    chats: bool,
    /// Whether there is an opening other than the first.
    differ: bool,
}

impl Openings {
    pub(super) fn add(&mut self, document: &Document) {
        self.documents += 1;
        if self.differ {
            return;
        }
        self.chats = matches!(document, Document::Chat(_));
        let opening = document.opening();
        self.differ = self.first.get_or_insert_with(|| opening.to_owned()) != opening;
    }

    /// The error about a split that is empty. If all openings are equal, no share can divide the documents.
    pub(super) fn explain(&self, problem: &str, fix: &'static str) -> BuildError {
        if self.differ || self.documents < 2 {
            return options_error(problem, fix);
        }
        let (what, fix) = match self.chats {
            true => (
                "conversations begin with the same question, and those stay together",
                "if another field tells them apart, name it with `input=` in `chat`; or take the held-out part from other data",
            ),
            false => ("documents are equal, and copies stay together", "remove the copies, or add documents"),
        };
        options_error(format!("{problem}: all {} {what}", self.documents), fix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corpus::Conversation;

    #[test]
    fn equal_openings_are_named_as_the_cause() {
        let said = |openings: &[&str], chats: bool| {
            let mut found = Openings::default();
            for opening in openings {
                found.add(&match chats {
                    true => Document::Chat(Conversation::pair((*opening).into(), "a".into(), String::new())),
                    false => Document::Text((*opening).into()),
                });
            }
            found.explain("nothing", "more").to_string()
        };
        assert!(said(&["q", "q", "q"], true).starts_with(
            "nothing: all 3 conversations begin with the same question, and those stay together; if another field"
        ));
        assert!(said(&["t", "t"], false).starts_with("nothing: all 2 documents are equal"));
        for different in [&["q", "r"][..], &["q"], &[]] {
            assert_eq!(said(different, true), "nothing; more");
        }
    }
}
