//! A compiled matcher of Qwen's pattern: the pieces of a text, as the general engine finds them, some fifty times as fast.
//!
//! The pattern has no alternative that looks back and one that looks ahead by a letter, so the first letters of a piece decide which
//! alternative matches it. Classes of letters are those of the engine, from the same tables.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// Qwen's pattern: contractions, words with one leading symbol, single digits, symbols, line ends, whitespace.
pub(super) const QWEN_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What the pattern tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum CharClass {
    Symbol,
    Letter,
    Number,
    Space,
}

/// The class of every code point.
static CLASSES: LazyLock<Vec<CharClass>> = LazyLock::new(|| {
    let mut classes = vec![CharClass::Symbol; char::MAX as usize + 1];
    for (pattern, class) in
        [(r"\p{L}", CharClass::Letter), (r"\p{N}", CharClass::Number), (r"\s", CharClass::Space)]
    {
        let parsed = regex_syntax::parse(pattern).expect("it is a class");
        let HirKind::Class(Class::Unicode(ranges)) = parsed.kind() else {
            unreachable!("it is a class of code points")
        };
        for range in ranges.iter() {
            classes[range.start() as usize..=range.end() as usize].fill(class);
        }
    }
    classes
});

/// Iterator over the ends of the pieces of a text, in bytes. Together the pieces are the text.
pub(super) struct PieceEnds<'a> {
    text: &'a str,
    at: usize,
    classes: &'static [CharClass],
}

impl<'a> PieceEnds<'a> {
    /// The pieces of a text.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, classes: &CLASSES }
    }

    /// The class of the letter at a byte, and the byte after it; `None` at the end of the text.
    #[inline]
    fn look(&self, at: usize) -> Option<(CharClass, usize)> {
        let first = *self.text.as_bytes().get(at)?;
        if first < 0x80 {
            return Some((self.classes[first as usize], at + 1));
        }
        let letter = self.text[at..].chars().next().expect("it is not the end");
        Some((self.classes[letter as usize], at + letter.len_utf8()))
    }

    /// Where a run of letters of one class ends.
    #[inline]
    fn skip(&self, mut at: usize, class: CharClass) -> usize {
        while let Some((found, next)) = self.look(at)
            && found == class
        {
            at = next;
        }
        at
    }

    fn is_line_end(&self, at: usize) -> bool {
        matches!(self.text.as_bytes().get(at), Some(b'\r' | b'\n'))
    }

    /// The end of the piece that begins at `at`, by the first alternative that matches.
    fn find_end(&self, at: usize) -> usize {
        if let Some(end) = find_contraction(&self.text.as_bytes()[at..]) {
            return at + end;
        }
        let (class, next) = self.look(at).expect("a piece begins before the end");
        match class {
            CharClass::Letter => return self.skip(next, CharClass::Letter),
            CharClass::Number => return next,
            CharClass::Symbol | CharClass::Space => {}
        }
        let follows = self.look(next).map(|(class, _)| class);
        if follows == Some(CharClass::Letter) && !self.is_line_end(at) {
            return self.skip(next, CharClass::Letter);
        }
        let space = self.text.as_bytes()[at] == b' ';
        if class == CharClass::Symbol || space && follows == Some(CharClass::Symbol) {
            let mut end = self.skip(next, CharClass::Symbol);
            while self.is_line_end(end) {
                end += 1;
            }
            return end;
        }
        self.find_end_of_space(at, next)
    }

    /// The end of a piece of whitespace: after its last line end; else before its last letter, if something follows that is no space.
    fn find_end_of_space(&self, at: usize, next: usize) -> usize {
        let end = self.skip(next, CharClass::Space);
        let run = &self.text[at..end];
        if let Some(line_end) = run.rfind(['\r', '\n']) {
            return at + line_end + 1;
        }
        let last = run.chars().next_back().map_or(0, char::len_utf8);
        if end == self.text.len() || run.len() == last { end } else { end - last }
    }
}

impl Iterator for PieceEnds<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.at == self.text.len() {
            return None;
        }
        self.at = self.find_end(self.at);
        Some(self.at)
    }
}

/// Bytes of a contraction at the beginning of `text`. Regardless of case, "s" is also the long s, U+017F.
fn find_contraction(text: &[u8]) -> Option<usize> {
    let [b'\'', first, rest @ ..] = text else { return None };
    let second = rest.first().map(u8::to_ascii_lowercase);
    match (first.to_ascii_lowercase(), second) {
        (b's' | b't' | b'm' | b'd', _) => Some(2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(3),
        (0xc5, Some(0xbf)) => Some(3),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use tokenizers::tokenizer::pattern::Pattern as _;
    use tokenizers::utils::SysRegex;

    use super::*;

    fn ends(text: &str) -> Vec<usize> {
        PieceEnds::new(text).collect()
    }

    fn reference(text: &str) -> Vec<usize> {
        static ENGINE: LazyLock<SysRegex> = LazyLock::new(|| SysRegex::new(QWEN_PATTERN).unwrap());
        let found = (&*ENGINE).find_matches(text).unwrap();
        found.into_iter().map(|((_, end), _)| end).filter(|end| *end > 0).collect()
    }

    /// Texts that are dense in what the alternatives turn on.
    pub(in crate::data::tokenizer) fn texts() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            8 => "[a-zA-Z'’ \n\r\t0-9.,]{1,4}".prop_map(|s: String| s),
            2 => proptest::sample::select(vec![
                "'s", "'S", "'ſ", "'re", "'RE", "'vE", "'ll", "'lL", "'d", "'M", "'t", "'r", "'v", "'l", "'", "''", "'ſt", "'K",
                " ", "  ", "   ", "\u{a0}", "\u{3000}", "\u{2028}", "\u{85}", "\u{1680}", "\u{200b}", "\u{feff}", "\n\n", "\r\n",
                "\t\n ", " \n  \r ", "½", "Ⅷ", "²", "٣", "一二", "é", "e\u{301}", "\u{301}", "가", "ᄀ", "ᅡ", "ᆨ", "각", "日本語", "😀", "👩‍👧",
                "ﬁ", "Å", "ñ", "Ω", "𝒳", "ǅ", "ʰ", "ª", "_", "--", "<|im_end|>", "ท", "ี่", "हि", "ا", "\u{0}", "\u{7f}", "\u{e000}", "\u{10ffff}",
                "\u{0344}", "\u{212b}", "\u{2126}", "\u{fb1d}", "\u{1d15e}", "\u{0b47}\u{0b3e}", "\u{30ab}\u{3099}", "\u{ac00}\u{11a8}",
            ]).prop_map(str::to_owned),
            1 => any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn pieces_are_those_of_the_engine(text in texts()) {
            prop_assert_eq!(ends(&text), reference(&text), "{:?}", text);
        }
    }

    #[test]
    fn every_letter_has_the_class_of_the_engine() {
        for letter in '\0'..=char::MAX {
            let text = format!("a{letter}b {letter}1'{letter} x");
            assert_eq!(ends(&text), reference(&text), "{letter:?}");
        }
    }

    #[test]
    fn long_runs_take_linear_time() {
        let long = " ".repeat(1 << 16)
            + "\n"
            + &"a".repeat(1 << 16)
            + &"\n \t".repeat(1 << 16)
            + "'"
            + &"!".repeat(1 << 16);
        assert_eq!(ends(&long), reference(&long));
    }
}
