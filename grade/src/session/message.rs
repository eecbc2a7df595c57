//! Messages on a channel: `KIND NUMBER LENGTH`, a line end, and a literal of that length.

use crate::literal::{LiteralError, MAX_BYTES, check_literal};

/// Longest first line of a message, in bytes.
const MAX_HEADER: usize = 64;

/// A message, with a body that is a checked literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub kind: String,
    pub number: u64,
    pub body: Vec<u8>,
}

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("it is no message")]
    Header,
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("{0}")]
    Body(#[from] LiteralError),
}

impl Message {
    pub(super) fn new(kind: &str, number: u64, body: &[u8]) -> Self {
        Self { kind: kind.to_owned(), number, body: body.to_owned() }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} {}\n", self.kind, self.number, self.body.len()).into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Takes the first message out of what was read, if it is complete.
    pub(super) fn take_from(read: &mut Vec<u8>) -> Result<Option<Self>, MessageError> {
        let Some(end) = read.iter().take(MAX_HEADER).position(|byte| *byte == b'\n') else {
            return if read.len() < MAX_HEADER { Ok(None) } else { Err(MessageError::Header) };
        };
        let (kind, number, length) = parse_header(&read[..end]).ok_or(MessageError::Header)?;
        if length > MAX_BYTES {
            return Err(MessageError::TooLong);
        }
        if read.len() < end + 1 + length {
            return Ok(None);
        }
        let rest = read.split_off(end + 1 + length);
        let body = std::mem::replace(read, rest).split_off(end + 1);
        if !kind.starts_with("no-") {
            check_literal(&body)?;
        }
        Ok(Some(Self { kind, number, body }))
    }

    /// The body as text, for messages that this program wrote itself before it became an interpreter.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn parse_header(line: &[u8]) -> Option<(String, u64, usize)> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (kind, number, length) = (words.next()?, words.next()?, words.next()?);
    let plain = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if !plain || words.next().is_some() {
        return None;
    }
    Some((kind.to_owned(), number.parse().ok()?, length.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_taken_one_by_one() {
        let mut read = [Message::new("call", 1, b"N"), Message::new("answer", 2, b"I1;")]
            .iter()
            .flat_map(Message::to_bytes)
            .collect::<Vec<_>>();
        let last = read.pop();
        assert_eq!(Message::take_from(&mut read), Ok(Some(Message::new("call", 1, b"N"))));
        assert_eq!(Message::take_from(&mut read), Ok(None));
        read.extend(last);
        assert_eq!(Message::take_from(&mut read), Ok(Some(Message::new("answer", 2, b"I1;"))));
        assert!(read.is_empty());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let found = |text: &str| Message::take_from(&mut text.as_bytes().to_vec()).unwrap_err();
        for header in ["a b 1\nN", "answer 1\nN", "answer 1 1 1\nN", " 1 1\nN", "A 1 1\nN", "\n"] {
            assert_eq!(found(header), MessageError::Header, "{header:?}");
        }
        assert_eq!(found(&"x".repeat(100)), MessageError::Header);
        assert_eq!(found("answer 1 1048577\n"), MessageError::TooLong);
        assert_eq!(found("answer 1 1\nx"), MessageError::Body(LiteralError::UnknownKind(0)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(mut read in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::take_from(&mut read);
        }
    }
}
