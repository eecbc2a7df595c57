//! Encodes plain text with a tokenizer of Qwen's form sooner than the general engine, to the same ids.
//!
//! Three things make the difference: the pieces are found by a compiled matcher ([`super::pattern`]); the library normalizes only what
//! normalization can change; and every thread remembers the ids of short pieces, which repeat. A piece that it does not remember is
//! encoded by the model of the library.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use fmflow_engine::error::catch_library_panic;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::{Model as _, NormalizedString, Normalizer as _, SplitDelimiterBehavior};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::limits::MAX_PIECE_BYTES;
use super::pattern::{PieceEnds, QWEN_PATTERN};

/// The general engine encodes a text with a longer piece, because it says what is wrong with pieces that are too long. NFC makes a
/// text at most so many times shorter.
const LONG_PIECE_BYTES: usize = MAX_PIECE_BYTES / 4;

/// How many times longer NFC makes a text at most, in UTF-8 (Unicode Standard Annex 15, table 7).
const NFC_EXPANSION: usize = 3;

/// A tokenizer whose pattern, normalizer and letters are those of Qwen.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlainEncoder {
    /// Tells the pieces that a thread remembers from those of another tokenizer.
    id: u64,
    normalizes: bool,
}

impl PlainEncoder {
    /// `None` if the tokenizer has another form.
    pub(super) fn recognize(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let tokenizers::ModelWrapper::BPE(model) = tokenizer.get_model() else { return None };
        let is_empty = |affix: &Option<String>| affix.as_ref().is_none_or(String::is_empty);
        // Otherwise a byte could become several ids, which `most_tokens` rules out.
        let plain = !model.byte_fallback
            && is_empty(&model.continuing_subword_prefix)
            && is_empty(&model.end_of_word_suffix);
        let normalizes = match tokenizer.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::NFC(_)) => true,
            Some(_) => return None,
        };
        let known = plain && tokenizer.get_pre_tokenizer().is_some_and(is_of_qwen);
        known.then(|| Self { id: NEXT.fetch_add(1, Ordering::Relaxed), normalizes })
    }

    /// Ids that a text can have at most.
    pub(super) fn most_tokens(self, text: &str) -> usize {
        let factor = if self.normalizes && !text.is_ascii() { NFC_EXPANSION } else { 1 };
        text.len().saturating_mul(factor)
    }

    /// Ids of `text`; `None` if the general engine has to look at it.
    ///
    /// # Errors
    /// What the library says.
    pub(super) fn encode(
        self,
        tokenizer: &tokenizers::Tokenizer,
        text: &str,
    ) -> Result<Option<Vec<u32>>, String> {
        let text = if self.normalizes { normalize(tokenizer, text)? } else { Cow::Borrowed(text) };
        let mut ids = Vec::with_capacity(text.len() / 3);
        REMEMBERED.with_borrow_mut(|remembered| {
            let pieces = remembered.of_tokenizer(self.id);
            let mut start = 0;
            for end in PieceEnds::new(&text) {
                if end - start > LONG_PIECE_BYTES {
                    return Ok(None);
                }
                pieces.encode(tokenizer, text.as_bytes(), start..end, &mut ids)?;
                start = end;
            }
            Ok(Some(ids))
        })
    }
}

/// Whether the steps before the vocabulary are Qwen's: its pattern, then the letters of bytes.
fn is_of_qwen(steps: &PreTokenizerWrapper) -> bool {
    let PreTokenizerWrapper::Sequence(steps) = steps else { return false };
    let [PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(letters)] = steps.as_ref() else {
        return false;
    };
    split.pattern == SplitPattern::Regex(QWEN_PATTERN.to_owned())
        && split.behavior == SplitDelimiterBehavior::Isolated
        && !split.invert
        && !letters.add_prefix_space
        && !letters.use_regex
}

/// Normalizes a text to NFC. What lies between two letters that never change or join another is normalized alone.
fn normalize<'a>(tokenizer: &tokenizers::Tokenizer, text: &'a str) -> Result<Cow<'a, str>, String> {
    if text.is_ascii() {
        return Ok(Cow::Borrowed(text));
    }
    let normalizer = tokenizer.get_normalizer().expect("a tokenizer that normalizes");
    let (mut out, mut copied, mut starter) = (String::new(), 0, 0);
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        if is_inert(letter) {
            starter = at;
            continue;
        }
        // The letters from here may join the one before them.
        let next = letters.find(|(_, letter)| is_inert(*letter));
        let end = next.map_or(text.len(), |(at, _)| at);
        let changed = catch_library_panic(|| {
            let mut part = NormalizedString::from(&text[starter..end]);
            normalizer.normalize(&mut part).map(|()| part.get().to_owned()).map_err(|e| e.to_string())
        })??;
        out.push_str(&text[copied..starter]);
        out.push_str(&changed);
        (copied, starter) = (end, end);
    }
    if copied == 0 && out.is_empty() {
        return Ok(Cow::Borrowed(text));
    }
    out.push_str(&text[copied..]);
    Ok(Cow::Owned(out))
}

/// Whether NFC keeps a letter and never joins it to one before it. More letters are inert; these are the frequent ones of many scripts.
fn is_inert(letter: char) -> bool {
    matches!(letter,
        '\0'..='\u{2ff}' | '\u{400}'..='\u{482}' | '\u{48a}'..='\u{52f}' | '\u{388}'..='\u{3ff}'
        | '\u{2010}'..='\u{205e}' | '\u{2190}'..='\u{2328}' | '\u{2500}'..='\u{27ff}'
        | '\u{3001}'..='\u{3029}' | '\u{3030}'..='\u{3098}' | '\u{30a0}'..='\u{30ff}'
        | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{ff01}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}')
}

/// Bits of the number of remembered pieces: 4 MiB for each thread.
const PIECES_BITS: u32 = 16;

/// The longest piece that is remembered, in bytes: with its length it fits in 16.
const MAX_REMEMBERED_BYTES: usize = 15;

/// Ids that a remembered piece has at most.
const MAX_REMEMBERED_IDS: usize = 8;

/// A piece and its ids, of one cache line.
#[derive(Clone, Copy, Debug, Default)]
struct RememberedPiece {
    /// The bytes, and in the last one their number; 0 for none.
    key: u128,
    ids: [u32; MAX_REMEMBERED_IDS],
    count: u8,
}

/// Remembers pieces by their place in a table: the last one there wins, so that no text can make it grow or slow.
#[derive(Debug)]
struct RememberedPieces {
    tokenizer: u64,
    table: Vec<RememberedPiece>,
}

thread_local! {
    static REMEMBERED: RefCell<RememberedPieces> = const { RefCell::new(RememberedPieces { tokenizer: 0, table: Vec::new() }) };
}

impl RememberedPieces {
    /// The pieces of a tokenizer; those of another are forgotten.
    fn of_tokenizer(&mut self, id: u64) -> &mut Self {
        if self.table.is_empty() || self.tokenizer != id {
            self.table.clear();
            self.table.resize(1 << PIECES_BITS, RememberedPiece::default());
            self.tokenizer = id;
        }
        self
    }

    /// Adds the ids of the piece at `range` of `text`.
    #[inline]
    fn encode(
        &mut self,
        tokenizer: &tokenizers::Tokenizer,
        text: &[u8],
        range: std::ops::Range<usize>,
        ids: &mut Vec<u32>,
    ) -> Result<(), String> {
        let Some(key) = make_key(text, &range) else { return encode_piece(tokenizer, &text[range], ids) };
        let place = &mut self.table[find_place(key)];
        if place.key != key {
            let before = ids.len();
            encode_piece(tokenizer, &text[range], ids)?;
            let found = &ids[before..];
            if found.len() <= MAX_REMEMBERED_IDS {
                (place.key, place.count) = (key, found.len() as u8);
                place.ids[..found.len()].copy_from_slice(found);
            }
            return Ok(());
        }
        ids.extend_from_slice(&place.ids[..place.count.into()]);
        Ok(())
    }
}

/// A short piece as a number; `None` for a long one.
#[inline]
fn make_key(text: &[u8], range: &std::ops::Range<usize>) -> Option<u128> {
    let length = range.len();
    if length > MAX_REMEMBERED_BYTES {
        return None;
    }
    let bytes = match text[range.start..].first_chunk::<16>() {
        Some(bytes) => u128::from_le_bytes(*bytes) & ((1 << (8 * length)) - 1),
        None => {
            let mut bytes = [0; 16];
            bytes[..length].copy_from_slice(&text[range.clone()]);
            u128::from_le_bytes(bytes)
        }
    };
    Some(bytes | (length as u128) << 120)
}

/// Where a piece is in the table: the middle of a product of its halves.
#[inline]
fn find_place(key: u128) -> usize {
    let (low, high) = (key as u64, (key >> 64) as u64);
    let product =
        u128::from(low ^ 0x9e37_79b9_7f4a_7c15) * u128::from(high.rotate_left(29) ^ 0xbf58_476d_1ce4_e5b9);
    let mixed = (product as u64) ^ (product >> 64) as u64;
    (mixed >> (u64::BITS - PIECES_BITS)) as usize
}

/// Adds the ids of a piece as the library's model finds them.
fn encode_piece(tokenizer: &tokenizers::Tokenizer, piece: &[u8], ids: &mut Vec<u32>) -> Result<(), String> {
    let letters: String = piece.iter().map(|&byte| find_byte_letter(byte)).collect();
    let found = catch_library_panic(|| tokenizer.get_model().tokenize(&letters).map_err(|e| e.to_string()))??;
    ids.extend(found.iter().map(|token| token.id));
    Ok(())
}

/// The printable letter that stands for a byte (Radford et al., 2019): its own, or one from U+0100 on.
pub(super) fn find_byte_letter(byte: u8) -> char {
    let code = match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
        0..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte - 0x7f),
        0xad => 0x143,
    };
    char::from_u32(code).expect("below U+0200 every code is a letter")
}

/// The bytes of the token with this name, as the decoder of bytes reads it: one with other letters is the name of an added token.
pub(super) fn read_name(name: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = name.chars().map(|letter| LETTER_BYTES.get(&letter).copied()).collect();
    bytes.unwrap_or_else(|| name.as_bytes().to_vec())
}

/// The byte that each printable letter stands for, as [`find_byte_letter`] has it.
static LETTER_BYTES: LazyLock<HashMap<char, u8>> =
    LazyLock::new(|| (0..=u8::MAX).map(|byte| (find_byte_letter(byte), byte)).collect());

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use serde_json::json;
    use tokenizers::normalizers::unicode::{NFC, NFD};

    use super::super::Tokenizer;
    use super::super::pattern::tests::texts;
    use super::super::tests::{oracle, small, train_on};
    use super::*;

    fn through(normalizer: &impl tokenizers::Normalizer, text: &str) -> String {
        let mut found = NormalizedString::from(text);
        normalizer.normalize(&mut found).unwrap();
        found.get().to_owned()
    }

    /// If no decomposition has an inert letter after its first, no composition joins an inert letter to one before it.
    #[test]
    fn inert_letters_stay_and_end_what_is_normalized_together() {
        let mut later = BTreeSet::new();
        for letter in '\0'..=char::MAX {
            later.extend(through(&NFD, &letter.to_string()).chars().skip(1));
        }
        assert!(later.contains(&'\u{301}') && later.contains(&'\u{1161}') && later.contains(&'\u{3099}'));
        for letter in ('\0'..=char::MAX).filter(|letter| is_inert(*letter)) {
            assert!(!later.contains(&letter), "{letter:?} joins a letter before it");
            assert_eq!(through(&NFC, &letter.to_string()), letter.to_string());
            // A mark before it stays before it: a letter of another class is never moved.
            let marked = format!("a\u{301}{letter}\u{301}");
            assert!(through(&NFC, &marked).starts_with('á'), "{letter:?}");
        }
    }

    #[test]
    fn letters_of_bytes_are_those_of_the_library() {
        let all: String = (0..=255).map(find_byte_letter).collect();
        let own: BTreeSet<char> = all.chars().collect();
        let library = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert_eq!(own, library.into_iter().collect());
        // In the order of bytes: those that are not printable take the next letter each.
        let next: Vec<char> = all.chars().filter(|letter| *letter as u32 > 255).collect();
        assert!(next.is_sorted() && next.len() == 68, "{next:?}");
    }

    fn is_alike(tokenizer: &Tokenizer, text: &str) -> Result<(), TestCaseError> {
        let plain = tokenizer.plain.expect("it has Qwen's form");
        let found = plain.encode(&tokenizer.inner, text).unwrap().expect("no piece is long");
        let general = tokenizer.encode_in_general(text).unwrap();
        prop_assert!(found.len() <= plain.most_tokens(text), "{:?}", text);
        prop_assert_eq!(found, general, "{:?}", text);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn ids_are_those_of_the_general_engine(text in texts()) {
            // A copy for each case would take most of the time.
            static SMALL: LazyLock<Tokenizer> = LazyLock::new(small);
            static KNOWN: LazyLock<Option<Tokenizer>> = LazyLock::new(|| oracle("encode_cases.json").map(|found| found.0));
            is_alike(&SMALL, &text)?;
            if let Some(known) = &*KNOWN {
                is_alike(known, &text)?;
            }
        }
    }

    #[test]
    fn real_texts_and_long_pieces_have_the_ids_of_the_general_engine() {
        let tokenizer = small();
        for text in
            [include_str!("plain.rs"), include_str!("../template.rs"), "", " ", &"ab".repeat(3000), "\r\n"]
        {
            is_alike(&tokenizer, text).unwrap();
        }
        let long = "a".repeat(LONG_PIECE_BYTES + 1);
        let plain = tokenizer.plain.unwrap();
        assert_eq!(plain.encode(&tokenizer.inner, &long).unwrap(), None);
        assert_eq!(tokenizer.encode_plain(&long).unwrap(), tokenizer.encode_in_general(&long).unwrap());
    }

    #[test]
    fn pieces_of_two_tokenizers_are_not_mixed_up() {
        let other = Tokenizer::from_bytes("o", train_on(&["zz zz zz zz"], 320).unwrap().tokenizer).unwrap();
        for _ in 0..3 {
            is_alike(&small(), "zz a b zz").unwrap();
            is_alike(&other, "zz a b zz").unwrap();
        }
        assert_ne!(small().encode_plain("zz").unwrap(), other.encode_plain("zz").unwrap());
    }

    #[test]
    fn a_tokenizer_of_another_form_is_left_to_the_general_engine() {
        let change = |pointer: &str, value: serde_json::Value| {
            let mut json: serde_json::Value = serde_json::from_slice(small().json()).unwrap();
            *json.pointer_mut(pointer).unwrap() = value;
            Tokenizer::from_bytes("x", json.to_string().into_bytes()).unwrap()
        };
        let pattern = "/pre_tokenizer/pretokenizers/0/pattern/Regex";
        assert!(change(pattern, json!(QWEN_PATTERN)).plain.is_some());
        assert!(change("/normalizer", json!(null)).plain.is_some_and(|plain| !plain.normalizes));
        for (pointer, value) in [
            (pattern, json!(QWEN_PATTERN.replace(r"\p{N}|", r"\p{N}+|"))),
            ("/pre_tokenizer/pretokenizers/0/behavior", json!("Removed")),
            ("/pre_tokenizer/pretokenizers/1/add_prefix_space", json!(true)),
            ("/normalizer", json!({"type": "NFKC"})),
            ("/model/byte_fallback", json!(true)),
        ] {
            let other = change(pointer, value);
            assert!(other.plain.is_none(), "{pointer}");
            assert_eq!(
                other.encode_plain("a b12\n c").unwrap(),
                other.encode_in_general("a b12\n c").unwrap()
            );
        }
    }
}
