//! Bytes in a named character encoding become text, or a fault: a silent repair would change what a model learns.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use fmflow_engine::text::escape::escape_line;

/// The text of `bytes`. Names of encodings are those of the WHATWG Encoding Standard; without one it is UTF-8. A byte order mark is no
/// part of the text.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn decode_text(bytes: Vec<u8>, label: Option<&str>) -> Result<String, String> {
    let encoding = match label {
        None => UTF_8,
        Some(label) => Encoding::for_label(label.as_bytes())
            .ok_or_else(|| format!("its encoding is called `{}`, which is not known", shorten(label)))?,
    };
    let (encoding, marked) = match Encoding::for_bom(&bytes) {
        Some((found, length)) if found == encoding || is_utf_16(found) && is_utf_16(encoding) => {
            (found, length)
        }
        // In another encoding these three bytes are letters that no text begins with.
        Some((found, _)) if found == UTF_8 => {
            let name = encoding.name();
            return Err(format!(
                "it begins with the byte order mark of UTF-8, but its encoding is called `{name}`"
            ));
        }
        _ => (encoding, 0),
    };
    let text = match encoding == UTF_8 && marked == 0 {
        true => String::from_utf8(bytes).map_err(|cause| cause.utf8_error().valid_up_to()),
        false => decode_all(encoding, &bytes[marked..]),
    };
    let text = text.map_err(|place| format!("it is not {} at byte {place}", encoding.name()))?;
    match text.find('\0') {
        _ if text.is_empty() => Err("it is empty".to_owned()),
        Some(place) => Err(format!("it holds a NUL character, after {place} bytes of text")),
        None => Ok(text),
    }
}

/// The text of bytes without a mark; the error is about the place of the first byte at fault.
fn decode_all(encoding: &'static Encoding, bytes: &[u8]) -> Result<String, usize> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::new();
    let room = decoder.max_utf8_buffer_length_without_replacement(bytes.len());
    text.reserve(room.expect("the length of a content is bounded"));
    let (result, read) = decoder.decode_to_string_without_replacement(bytes, &mut text, true);
    match result {
        encoding_rs::DecoderResult::InputEmpty => Ok(text),
        _ => Err(read),
    }
}

fn is_utf_16(encoding: &'static Encoding) -> bool {
    [UTF_16LE, UTF_16BE].contains(&encoding)
}

fn shorten(label: &str) -> String {
    escape_line(label).chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], label: &str) -> Result<String, String> {
        decode_text(bytes.to_vec(), Some(label))
    }

    #[test]
    fn text_in_many_encodings_is_the_same_text() {
        // Bytes by Python: "Привет, мир".encode(...), "日本語".encode(...)
        let russian = "Привет, мир";
        let cyrillic = b"\xcf\xf0\xe8\xe2\xe5\xf2, \xec\xe8\xf0";
        assert_eq!(decode(cyrillic, "windows-1251").as_deref(), Ok(russian));
        assert_eq!(decode(b"\xf0\xd2\xc9\xd7\xc5\xd4, \xcd\xc9\xd2", "KOI8-R").as_deref(), Ok(russian));
        assert_eq!(decode(b"\x93\xfa\x96{\x8c\xea", "SHIFT_JIS").as_deref(), Ok("日本語"));
        assert_eq!(decode(b"\xc8\xd5\xb1\xbe\xd5Z", "GB18030").as_deref(), Ok("日本語"));
        assert_eq!(decode(b"caf\xe9", "ISO-8859-1").as_deref(), Ok("café"));
        for wide in ["UTF-16", "UTF-16LE", "UTF-16BE"] {
            assert_eq!(decode(b"\xff\xfeh\0i\0", wide).as_deref(), Ok("hi"), "{wide}");
            assert_eq!(decode(b"\xfe\xff\0h\0i", wide).as_deref(), Ok("hi"), "{wide}");
        }
        assert_eq!(decode(b"\0h\0i", "UTF-16BE").as_deref(), Ok("hi"));
        assert_eq!(decode(b"\xef\xbb\xbfhi", "UTF-8").as_deref(), Ok("hi"), "a mark is no text");
        assert_eq!(decode_text("né".into(), None).as_deref(), Ok("né"));
    }

    #[test]
    fn what_is_no_text_says_why() {
        let refused = |bytes: &[u8], label| decode(bytes, label).unwrap_err();
        assert_eq!(refused(b"ab\xff", "UTF-8"), "it is not UTF-8 at byte 2");
        assert!(refused(b"\xef\xbb\xbfab\xff", "utf8").starts_with("it is not UTF-8 at byte"));
        assert!(refused(b"ab\x81", "SHIFT_JIS").starts_with("it is not Shift_JIS at byte"));
        assert_eq!(
            refused(b"x", "klingon\x1b"),
            "its encoding is called `klingon\\u{1b}`, which is not known"
        );
        assert_eq!(refused(b"x", ""), "its encoding is called ``, which is not known");
        assert_eq!(refused(b"", "UTF-8"), "it is empty");
        assert_eq!(refused(b"\xef\xbb\xbf", "UTF-8"), "it is empty");
        assert_eq!(refused(b"ab\0c", "UTF-8"), "it holds a NUL character, after 2 bytes of text");
        assert_eq!(
            refused(b"\xef\xbb\xbfab", "windows-1251"),
            "it begins with the byte order mark of UTF-8, but its encoding is called `windows-1251`"
        );
        assert!(decode(b"\x1b$Bhi", "iso-2022-kr").is_err(), "an encoding that browsers refuse");
    }
}
