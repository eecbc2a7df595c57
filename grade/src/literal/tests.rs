//! Values on the wire, and bytes that are none.

use proptest::prelude::*;

use super::*;

#[test]
fn every_kind_of_value_passes() {
    let all = "L15;NTFI-ff;D0x1.8p+1;Dnan;C0x0.0p+0,-inf;S;Sc3a4;B00ff;U0;E1;I1;Z0;M1;S61;L0;O1";
    assert_eq!(check_literal(all.as_bytes()), Ok(()));
}

#[test]
fn what_is_no_value_is_refused_with_its_place() {
    let found = |text: &str| check_literal(text.as_bytes()).unwrap_err();
    assert_eq!(found(""), LiteralError::CutOff);
    assert_eq!(found("I1"), LiteralError::CutOff);
    assert_eq!(found("L2;N"), LiteralError::CutOff);
    assert_eq!(found("L4294967295;N"), LiteralError::CutOff);
    assert_eq!(found("L1;x"), LiteralError::UnknownKind(3));
    assert_eq!(found("I;"), LiteralError::UnfitByte(1));
    assert_eq!(found("I1g;"), LiteralError::UnfitByte(2));
    assert_eq!(found("S6;"), LiteralError::UnfitByte(2));
    assert_eq!(found("L-1;"), LiteralError::UnfitByte(1));
    assert_eq!(found("O2"), LiteralError::UnfitByte(1));
    assert_eq!(found("NN"), LiteralError::TooLong);
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| "L1;".repeat(depth) + "N";
    assert_eq!(check_literal(nested(MAX_DEPTH).as_bytes()), Ok(()));
    assert_eq!(check_literal(nested(MAX_DEPTH + 1).as_bytes()), Err(LiteralError::TooDeep));
}

#[test]
fn reports_of_interpreters_are_lists_of_words() {
    let report = b"U3;S78;Sc3a4;I-1;";
    assert_eq!(read_words(report), Some(vec!["x".into(), "\u{e4}".into(), "-1".into()]));
    assert_eq!(read_words(b"D0x1p0;"), None);
    assert_eq!(read_words(b"S6;"), None);
}

proptest! {
    #[test]
    fn no_bytes_make_the_check_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = check_literal(&text);
        let _ = read_words(&text);
    }

    #[test]
    fn a_text_survives(text in ".*") {
        prop_assert_eq!(read_words(encode_list(&[encode_text(&text)]).as_bytes()), Some(vec![text]));
    }
}
