//! Words and ideas that are not fields, with the other names of each: the pages of `schemas/words.md`.

use crate::text::suggest;

const WORD_PAGES: &str = include_str!("../../../schemas/words.md");

/// A page on a word or an idea.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WordPage {
    /// The word and its other names, separated by `, `.
    heading: &'static str,
    /// The text, with Markdown fences around the example.
    pub text: &'static str,
}

impl WordPage {
    /// The word and its other names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.heading.split(", ")
    }

    /// The name that the page is listed under.
    pub(crate) fn name(&self) -> &'static str {
        self.names().next().expect("a split text has a first part")
    }
}

/// All pages, in the order of the file.
pub(crate) fn word_pages() -> impl Iterator<Item = WordPage> {
    WORD_PAGES.split("\n## ").skip(1).map(|section| {
        let (heading, text) = section.split_once('\n').expect("a page has a text below its heading");
        WordPage { heading, text }
    })
}

/// The page on a word, by any of its names.
pub(crate) fn find_word_page(word: &str) -> Option<WordPage> {
    let word = suggest::normalize_name(word);
    word_pages().find(|page| page.names().any(|name| suggest::normalize_name(name) == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_fits_a_screen_with_an_example_and_a_way_on() {
        let mut names: Vec<_> =
            word_pages().flat_map(|page| page.names()).map(suggest::normalize_name).collect();
        for page in word_pages() {
            let (lines, name) = (page.text.lines().count(), page.name());
            assert!(
                lines <= 22 && page.text.lines().all(|line| line.chars().count() <= 140),
                "{name}: {lines} lines"
            );
            assert_eq!(page.text.matches("```").count(), 2, "{name} has one example");
            assert!(page.text.trim_end().lines().last().unwrap().starts_with("More: "), "{name}");
        }
        assert!(names.len() > 150);
        names.sort_unstable();
        let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}
