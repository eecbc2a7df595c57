//! Tokens that are allowed are compared with all texts; schemas with texts that satisfy them or not.

mod schemas;

use std::sync::Arc;

use proptest::prelude::*;

use crate::{Constraint, ConstraintError, ConstraintSource, TokenConstraint};

fn regex(pattern: &str) -> Result<Constraint, ConstraintError> {
    Constraint::new(ConstraintSource::Regex(pattern.to_owned()))
}

/// A constraint whose tokens are words, behind which `ends` tokens end a text.
fn join(constraint: &Constraint, words: &[String], ends: usize) -> TokenConstraint {
    join_remembering(constraint, words, ends, usize::MAX)
}

/// [`join`] with a bound on what is remembered of the words.
fn join_remembering(constraint: &Constraint, words: &[String], ends: usize, most: usize) -> TokenConstraint {
    let spelled = words.iter().map(|word| Some(word.as_bytes().to_vec()));
    let vocabulary: Vec<Option<Vec<u8>>> = spelled.chain(std::iter::repeat_n(None, ends)).collect();
    let ends: Vec<u32> = (words.len()..vocabulary.len()).map(|id| id as u32).collect();
    TokenConstraint::join(constraint.automaton().clone(), &vocabulary, &ends, (usize::MAX, most)).unwrap()
}

/// Expressions over three letters.
fn patterns() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["a", "b", "c", ".", "[ab]", "[^a]", "é", "$", "^", ""]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| parts.concat()),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            inner.clone().prop_map(|part| format!("(?:{part})*")),
            inner.clone().prop_map(|part| format!("(?:{part}){{1,2}}?")),
            inner.prop_map(|part| format!("(?:{part})?")),
        ]
    })
}

/// All texts of `length` tokens below `count` that hold the known tokens.
fn list_texts(known: &[Option<u32>], count: u32) -> Vec<Vec<u32>> {
    let mut texts = vec![Vec::new()];
    for place in known {
        let choices: Vec<u32> = place.map_or((0..count).collect(), |token| vec![token]);
        let longer = |text: &Vec<u32>| {
            let text = text.clone();
            choices.clone().into_iter().map(move |token| [text.as_slice(), &[token]].concat())
        };
        texts = texts.iter().flat_map(longer).collect();
    }
    texts
}

/// Whether a text is accepted by the rules, read token by token.
fn is_accepted(text: &[u32], words: &[String], whole: &regex::Regex, ends: bool) -> bool {
    let is_end = |token: &u32| *token as usize >= words.len();
    let stop = text.iter().position(is_end).unwrap_or(text.len());
    let quiet = text[stop..].iter().all(is_end) && (ends || stop == text.len());
    let said: String = text[..stop].iter().map(|token| words[*token as usize].as_str()).collect();
    quiet && whole.is_match(&said)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// At every open place exactly those tokens are allowed with which some text is accepted, whatever is known elsewhere.
    #[test]
    fn what_is_allowed_is_what_some_text_has(
        pattern in patterns(),
        words in prop::collection::btree_set("[abcé]{1,3}", 1..4),
        ends in 0_usize..3,
        stops in any::<bool>(),
        known in prop::collection::vec(prop::option::weighted(0.3, 0_u32..6), 0..5),
        most in prop::sample::select(vec![0, 4, usize::MAX]),
    ) {
        let words: Vec<String> = words.into_iter().collect();
        let count = (words.len() + ends) as u32;
        let known: Vec<Option<u32>> = known.into_iter().map(|token| token.map(|token| token % count)).collect();
        let whole = regex::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap();
        let texts: Vec<Vec<u32>> = list_texts(&known, count)
            .into_iter()
            .filter(|text| is_accepted(text, &words, &whole, stops))
            .collect();
        let constraint = match regex(&pattern) {
            Ok(constraint) => join_remembering(&constraint, &words, ends, most),
            Err(error) => {
                prop_assert_eq!(error, ConstraintError::Nothing);
                prop_assert!(texts.is_empty());
                return Ok(());
            }
        };
        let all = constraint.reach(&known, known.len(), stops);
        prop_assert_eq!(all.is_some(), !texts.is_empty());
        let open: Vec<usize> = (0..known.len()).filter(|at| known[*at].is_none() && all.is_some()).collect();
        let sets = all.as_ref().map(|reach| constraint.allowed(reach, &open)).unwrap_or_default();
        for (at, set) in open.iter().copied().zip(sets) {
            // As far as this place alone, too.
            let near = constraint.reach(&known, at, stops).unwrap();
            for set in [set, constraint.allowed(&near, &[at]).remove(0)] {
                for token in 0..count + 1 {
                    let expected = texts.iter().any(|text| text[at] == token);
                    prop_assert_eq!(constraint.has(&set, token), expected, "token {} at {}", token, at);
                }
                let mut logits = vec![0.0; count as usize + 1];
                constraint.keep(&set, &mut logits);
                let kept = (0..).zip(&logits).filter(|(_, logit)| **logit == 0.0);
                prop_assert!(kept.map(|(token, _)| token).eq((0..count).filter(|token| constraint.has(&set, *token))));
            }
        }
    }

    /// An automaton accepts what the expression matches as a whole.
    #[test]
    fn an_automaton_is_its_expression(pattern in patterns(), text in "[abcé]{0,6}") {
        let whole = regex::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap();
        match regex(&pattern) {
            Ok(constraint) => prop_assert_eq!(constraint.automaton().accepts(text.as_bytes()), whole.is_match(&text)),
            Err(_) => prop_assert!(!whole.is_match(&text)),
        }
    }
}

/// A letter may begin in one token and go on in the next.
#[test]
fn parts_of_letters_are_allowed_where_they_make_a_letter() {
    let constraint = regex("é+").unwrap();
    let bytes = |bytes: &[u8]| Some(bytes.to_vec());
    let vocabulary = [bytes(b"\xc3"), bytes(b"\xa9"), bytes(b"\xa9\xc3"), bytes(b"\xaa"), bytes(b"e"), None];
    let tokens = TokenConstraint::new(constraint.automaton().clone(), &vocabulary, &[5]).unwrap();
    let allowed = |text: &[Option<u32>], at| {
        let set = tokens.allowed(&tokens.reach(text, at, false).unwrap(), &[at]).remove(0);
        (0..6).filter(|token| tokens.has(&set, *token)).collect::<Vec<u32>>()
    };
    assert_eq!(allowed(&[None; 3], 0), [0]);
    assert_eq!(allowed(&[None; 3], 1), [2]);
    assert_eq!(allowed(&[None; 3], 2), [1]);
    assert!(
        tokens.reach(&[None; 1], 0, false).is_none() && tokens.reach(&[Some(4), None], 1, true).is_none()
    );
}

#[test]
fn what_is_too_large_or_no_expression_is_refused() {
    assert!(matches!(regex("[a-z]{0,100}{0,100}"), Err(ConstraintError::TooLarge)));
    assert!(matches!(regex("(?:a{0,1000}){0,1000}"), Err(ConstraintError::TooLarge)));
    assert!(matches!(regex(".*a.{20}"), Err(ConstraintError::TooLarge)));
    // Reading these took seconds.
    assert!(matches!(regex("(?:[ -~]*a[ -~]*b){1700}"), Err(ConstraintError::TooLarge)));
    assert!(matches!(regex(&r"(?i)\pL".repeat(21_000)), Err(ConstraintError::TooLong { most: 4096, .. })));
    assert!(matches!(regex("[a&&b]"), Err(ConstraintError::Nothing)));
    let message = |pattern: &str| regex(pattern).unwrap_err().to_string();
    assert_eq!(message("a(b"), "the regular expression cannot be read: unclosed group, at letter 2");
    assert!(message(r"a\b").contains(r"(?-u:\b)"), "{}", message(r"a\b"));
    assert!(message(r"(a)\1").contains("backreferences are not supported"));
    assert!(message("(?=a)").contains("look-around"));
}

/// The states that words lead to are numbers like the words: what does not fit is refused, on however many threads it is found out.
#[test]
fn states_that_words_lead_to_take_room() {
    let constraint = regex("[ab]{0,40}").unwrap();
    let vocabulary: Vec<Option<Vec<u8>>> = (1..=5).map(|length| Some(vec![b'a'; length])).collect();
    // From state i of 41 the words lead to those behind it, at most five.
    let targets: usize = (0..=40_usize).map(|state| (40 - state).min(5)).sum();
    let join = |most| TokenConstraint::join(constraint.automaton().clone(), &vocabulary, &[], most);
    for _ in 0..20 {
        assert!(matches!(join((targets - 1, usize::MAX)), Err(ConstraintError::TooLarge)));
    }
    let [all, none] = [usize::MAX, 0].map(|most| join((targets, most)).unwrap());
    assert!(all.bytes() > none.bytes() && none.bytes() > targets * size_of::<u32>());
    let text = [None; 9];
    let sets = |tokens: &TokenConstraint| tokens.allowed(&tokens.reach(&text, 9, false).unwrap(), &[0, 4, 8]);
    assert_eq!(sets(&all), sets(&none));
}

#[test]
fn borders_of_words_and_lines_are_kept() {
    for pattern in [r"(?-u:\b)a+(?-u:\b) b", r"(?m:^a$)\n?b?", r"a(?-u:\b)b|c", r"(?R)(?m:a$)\r?\n(?m:^)b"] {
        let whole = regex::bytes::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap();
        let constraint = regex(pattern).unwrap();
        for text in ["a b", "aa b", "a", "a\nb", "ab", "c", "a\r\nb", "a\n", ""] {
            let expected = whole.is_match(text.as_bytes());
            assert_eq!(constraint.automaton().accepts(text.as_bytes()), expected, "{pattern} {text:?}");
        }
    }
}

#[test]
fn constraints_are_shared_and_compared_as_they_were_written() {
    let one = regex("a+").unwrap();
    assert_eq!(one, regex("a+").unwrap());
    assert_ne!(one, regex("aa*").unwrap());
    assert!(Arc::ptr_eq(one.automaton(), one.clone().automaton()));
    assert_eq!(format!("{one:?}"), r#"Regex("a+")"#);
}
