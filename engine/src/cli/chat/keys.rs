//! Keys, from the bytes that a terminal sends.

use std::io::{self, Read};

/// Begins and ends a text that is pasted, in terminals with bracketed paste.
const PASTE: (&str, &[u8]) = ("200~", b"\x1b[201~");

/// Most bytes of a sequence for a key; longer ones are no keys.
const SEQUENCE_BYTES: usize = 16;

/// A key, by what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A letter, or any other character that is typed.
    Letter(char),
    /// Text that is pasted at once; its lines end with `\n`.
    Pasted(String),
    /// Takes the message.
    Enter,
    /// Begins a new line of the message.
    NewLine,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Up,
    Down,
    /// Removes the word before the cursor.
    EraseWord,
    /// Removes what is before the cursor.
    EraseBefore,
    /// Removes what is behind the cursor.
    EraseBehind,
    /// Clears the screen.
    Clear,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    Close,
    /// Something else.
    Unknown,
}

/// The next key; `None` at the end of the source.
///
/// # Errors
/// If the source cannot be read.
pub(super) fn read_key(source: &mut dyn Read) -> io::Result<Option<Key>> {
    let Some(byte) = read_byte(source)? else { return Ok(None) };
    Ok(Some(match byte {
        b'\r' | b'\n' => Key::Enter,
        0x01 => Key::Home,
        0x02 => Key::Left,
        0x03 => Key::Interrupt,
        0x04 => Key::Close,
        0x05 => Key::End,
        0x06 => Key::Right,
        0x08 | 0x7f => Key::Backspace,
        b'\t' => Key::Letter('\t'),
        0x0b => Key::EraseBehind,
        0x0c => Key::Clear,
        0x0e => Key::Down,
        0x10 => Key::Up,
        0x15 => Key::EraseBefore,
        0x17 => Key::EraseWord,
        0x1b => return read_escaped(source),
        0..0x20 => Key::Unknown,
        0x20..0x7f => Key::Letter(char::from(byte)),
        _ => read_letter(byte, source)?,
    }))
}

fn read_byte(source: &mut dyn Read) -> io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        match source.read(&mut byte) {
            Ok(count) => return Ok((count > 0).then_some(byte[0])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A character of several bytes. Bytes that are none become U+FFFD.
fn read_letter(first: u8, source: &mut dyn Read) -> io::Result<Key> {
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Ok(Key::Letter(char::REPLACEMENT_CHARACTER)),
    };
    let mut bytes = vec![first];
    while bytes.len() < length {
        bytes.extend(read_byte(source)?);
        if bytes.len() == 1 {
            break;
        }
        if std::str::from_utf8(&bytes).is_err_and(|error| error.error_len().is_some()) {
            break;
        }
    }
    let letter = std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next());
    Ok(Key::Letter(letter.unwrap_or(char::REPLACEMENT_CHARACTER)))
}

/// A key that the terminal sends as a sequence behind the byte of Escape. Escape itself sends that byte alone: then the next key ends it.
fn read_escaped(source: &mut dyn Read) -> io::Result<Option<Key>> {
    let Some(mut byte) = read_byte(source)? else { return Ok(None) };
    while byte == 0x1b {
        let Some(next) = read_byte(source)? else { return Ok(None) };
        byte = next;
    }
    Ok(Some(match byte {
        b'[' | b'O' => {
            let mut sequence = String::new();
            while sequence.len() < SEQUENCE_BYTES {
                let Some(byte) = read_byte(source)? else { return Ok(None) };
                if let Some(key) = find_signal(byte) {
                    return Ok(Some(key));
                }
                sequence.push(char::from(byte));
                if (0x40..0x7f).contains(&byte) {
                    break;
                }
            }
            if sequence == PASTE.0 {
                return read_pasted(source).map(Some);
            }
            find_named(&sequence)
        }
        b'\r' | b'\n' => Key::NewLine,
        b'b' => Key::WordLeft,
        b'f' => Key::WordRight,
        0x08 | 0x7f => Key::EraseWord,
        other => find_signal(other).unwrap_or(Key::Unknown),
    }))
}

/// Ctrl-C and Ctrl-D, which are parts of no sequence.
fn find_signal(byte: u8) -> Option<Key> {
    match byte {
        0x03 => Some(Key::Interrupt),
        0x04 => Some(Key::Close),
        _ => None,
    }
}

fn find_named(sequence: &str) -> Key {
    match sequence {
        "A" => Key::Up,
        "B" => Key::Down,
        "C" => Key::Right,
        "D" => Key::Left,
        "H" | "1~" | "7~" => Key::Home,
        "F" | "4~" | "8~" => Key::End,
        "3~" => Key::Delete,
        "1;5D" | "1;3D" => Key::WordLeft,
        "1;5C" | "1;3C" => Key::WordRight,
        _ => Key::Unknown,
    }
}

/// What is pasted, to its end: none of it is a key. Of more than a message may have, one byte too many is kept, so that it is refused.
fn read_pasted(source: &mut dyn Read) -> io::Result<Key> {
    let (mut bytes, most) = (Vec::new(), super::input::MESSAGE_BYTES + PASTE.1.len() + 1);
    let mut end: Vec<u8> = Vec::new();
    while end != PASTE.1 {
        let Some(byte) = read_byte(source)? else { break };
        end.push(byte);
        if end.len() > PASTE.1.len() {
            end.remove(0);
        }
        if bytes.len() < most {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8_lossy(bytes.strip_suffix(PASTE.1).unwrap_or(&bytes)).into_owned();
    Ok(Key::Pasted(text.replace("\r\n", "\n").replace('\r', "\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(mut bytes: &[u8]) -> Vec<Key> {
        std::iter::from_fn(|| read_key(&mut bytes).unwrap()).collect()
    }

    #[test]
    fn keys_are_known_by_their_bytes() {
        assert_eq!(read_all("aä🦀".as_bytes()), ['a', 'ä', '🦀'].map(Key::Letter));
        assert_eq!(
            read_all(b"\x1b[A\x1bOB\x1b[1;5D\x1b[3~\x1b\r\r\x03\x04\x17"),
            [
                Key::Up,
                Key::Down,
                Key::WordLeft,
                Key::Delete,
                Key::NewLine,
                Key::Enter,
                Key::Interrupt,
                Key::Close,
                Key::EraseWord
            ]
        );
        assert_eq!(read_all(b"\x1b[99;99;99;99;99;99;99Z\x1bx")[0], Key::Unknown);
        assert_eq!(read_all(b"\xffa"), [Key::Letter('\u{fffd}'), Key::Letter('a')]);
        assert_eq!(read_all(b"\xc3"), [Key::Letter('\u{fffd}')]);
        assert!(read_all(b"\x1b").is_empty(), "a sequence that was cut");
    }

    #[test]
    fn what_is_pasted_comes_at_once_and_is_no_key() {
        let pasted = read_all(b"\x1b[200~two\r\nlines\r\x03\x1b[201~x");
        assert_eq!(pasted, [Key::Pasted("two\nlines\n\u{3}".into()), Key::Letter('x')]);
        assert_eq!(read_all(b"\x1b[200~cut"), [Key::Pasted("cut".into())]);
        // Too much for a message stays so, and no rest of it is typed.
        let most = super::super::input::MESSAGE_BYTES;
        let long = [b"\x1b[200~", vec![b'x'; most + 99].as_slice(), b"\x03\x1b[201~y"].concat();
        let found = read_all(&long);
        assert!(matches!(&found[..], [Key::Pasted(text), Key::Letter('y')] if text.len() > most));
    }

    #[test]
    fn escape_swallows_no_signal() {
        assert_eq!(read_all(b"\x1b\x03\x1b[\x04\x1b\x1b[A"), [Key::Interrupt, Key::Close, Key::Up]);
    }
}
