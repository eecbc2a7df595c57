//! Values that cross between the interpreters: literals in prefix notation. Their text is checked here before it is passed on, because
//! a program can write anything into its pipe.
//!
//! `N` None, `T` `F` booleans, `I<hex>;` integers, `D<hex float>;`, `C<real>,<imaginary>;`, `S<hex of UTF-8>;`, `B<hex>;` bytes,
//! `L<n>;` lists, `U<n>;` tuples, `E<n>;` sets, `Z<n>;` frozen sets, `M<n>;` dictionaries, `O0` `O1` opaque values by their truth.

/// Deepest nesting of lists and the like.
pub const MAX_DEPTH: usize = 32;

/// Longest text of a value, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Longest text of a whole problem, in bytes: the tests of EvalPlus have long inputs.
pub const MAX_PROBLEM_BYTES: usize = 1 << 26;

/// A text that is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiteralError {
    /// The text ends within the value.
    #[error("it ends too early")]
    CutOff,
    /// No value begins like this.
    #[error("byte {0} begins no value")]
    UnknownKind(usize),
    /// The text between the kind and its `;` is not of that kind.
    #[error("byte {0} does not belong to the value")]
    UnfitByte(usize),
    /// Too many levels.
    #[error("it is deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Something follows the value.
    #[error("something follows it")]
    TooLong,
}

/// Checks that a text is exactly one value.
///
/// # Errors
/// If it is not; the error says where.
pub fn check_literal(text: &[u8]) -> Result<(), LiteralError> {
    let mut reader = Reader { text, at: 0 };
    reader.value(0)?;
    if reader.at == text.len() { Ok(()) } else { Err(LiteralError::TooLong) }
}

/// The text of a string as a value.
#[must_use]
pub fn encode_text(text: &str) -> String {
    format!("S{};", to_hex(text.as_bytes()))
}

/// The text of a list of values.
#[must_use]
pub fn encode_list(items: &[String]) -> String {
    format!("L{};{}", items.len(), items.concat())
}

/// The text of a whole number as a value.
#[must_use]
pub fn encode_integer(number: i128) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("I{sign}{:x};", number.unsigned_abs())
}

/// The text of a whole number as a value, from its decimal digits, of which there may be any number.
///
/// # Panics
/// If there is anything but digits behind an optional `-`.
#[must_use]
pub fn encode_digits(decimal: &str) -> String {
    let (sign, digits) = decimal.strip_prefix('-').map_or(("", decimal), |digits| ("-", digits));
    // The number in parts of 32 bits, the lowest first.
    let mut parts: Vec<u32> = Vec::new();
    for chunk in digits.as_bytes().chunks(9) {
        let chunk = std::str::from_utf8(chunk).expect("digits are ASCII");
        let base = 10_u64.pow(u32::try_from(chunk.len()).expect("at most nine digits"));
        let mut carry: u64 = chunk.parse().expect("only digits");
        for part in &mut parts {
            let sum = u64::from(*part) * base + carry;
            *part = u32::try_from(sum & 0xffff_ffff).expect("32 bits");
            carry = sum >> 32;
        }
        if carry > 0 {
            parts.push(u32::try_from(carry).expect("below ten to the ninth"));
        }
    }
    let Some((highest, rest)) = parts.split_last() else { return "I0;".to_owned() };
    let rest: String = rest.iter().rev().map(|part| format!("{part:08x}")).collect();
    format!("I{sign}{highest:x}{rest};")
}

/// The text of a number as a value: all of its bits, in the notation of `float.hex()`.
#[must_use]
pub fn encode_float(number: f64) -> String {
    let bits = number.to_bits();
    let (exponent, fraction) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    let sign = if number.is_sign_negative() { "-" } else { "" };
    match exponent {
        0x7ff if fraction == 0 => format!("D{sign}inf;"),
        0x7ff => "Dnan;".to_owned(),
        0 => format!("D{sign}0x0.{fraction:013x}p-1022;"),
        _ => format!("D{sign}0x1.{fraction:013x}p{:+};", exponent as i64 - 1023),
    }
}

/// The texts in a list or tuple of strings, and whole numbers as texts: what the interpreters report about themselves.
pub(crate) fn read_words(text: &[u8]) -> Option<Vec<String>> {
    check_literal(text).ok()?;
    let mut reader = Reader { text, at: 0 };
    let mut words = Vec::new();
    while reader.at < text.len() {
        let kind = reader.byte().ok()?;
        match kind {
            b'L' | b'U' => drop(reader.until_end().ok()?),
            b'S' => words.push(from_hex(reader.until_end().ok()?)?),
            b'I' => {
                let digits = std::str::from_utf8(reader.until_end().ok()?).ok()?;
                words.push(i64::from_str_radix(digits, 16).ok()?.to_string());
            }
            b'N' => {}
            _ => return None,
        }
    }
    Some(words)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text that hex digits stand for; what is not UTF-8 (lone surrogates) is shown as such.
fn from_hex(digits: &[u8]) -> Option<String> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    Some(String::from_utf8_lossy(&bytes?).into_owned())
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<(), LiteralError> {
        let start = self.at;
        match self.byte()? {
            b'N' | b'T' | b'F' => Ok(()),
            b'O' => match self.byte()? {
                b'0' | b'1' => Ok(()),
                _ => Err(LiteralError::UnfitByte(start + 1)),
            },
            b'I' => self.until(|byte| byte.is_ascii_hexdigit() || byte == b'-'),
            b'D' => self.until(is_of_float),
            b'C' => self.until(|byte| is_of_float(byte) || byte == b','),
            b'S' | b'B' => self.hex_pairs(),
            b'L' | b'U' | b'E' | b'Z' => self.items(depth, 1),
            b'M' => self.items(depth, 2),
            _ => Err(LiteralError::UnknownKind(start)),
        }
    }

    fn byte(&mut self) -> Result<u8, LiteralError> {
        let byte = self.text.get(self.at).ok_or(LiteralError::CutOff)?;
        self.at += 1;
        Ok(*byte)
    }

    /// The bytes before the next `;`, which is skipped.
    fn until_end(&mut self) -> Result<&'a [u8], LiteralError> {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| *byte == b';').ok_or(LiteralError::CutOff)?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    fn until(&mut self, fits: impl Fn(u8) -> bool) -> Result<(), LiteralError> {
        let start = self.at;
        let text = self.until_end()?;
        let odd = text.iter().position(|byte| !fits(*byte));
        match odd.or(text.is_empty().then_some(0)) {
            Some(odd) => Err(LiteralError::UnfitByte(start + odd)),
            None => Ok(()),
        }
    }

    fn hex_pairs(&mut self) -> Result<(), LiteralError> {
        let start = self.at;
        let text = self.until_end()?;
        let odd = text.iter().position(|byte| !byte.is_ascii_hexdigit());
        let odd = odd.or((text.len() % 2 == 1).then_some(text.len()));
        odd.map_or(Ok(()), |odd| Err(LiteralError::UnfitByte(start + odd)))
    }

    fn items(&mut self, depth: usize, each: usize) -> Result<(), LiteralError> {
        if depth >= MAX_DEPTH {
            return Err(LiteralError::TooDeep);
        }
        let start = self.at;
        let count = std::str::from_utf8(self.until_end()?).ok().and_then(|text| text.parse::<u32>().ok());
        // Every item takes a byte at least, so a count that the text cannot hold ends at its end.
        for _ in 0..count.ok_or(LiteralError::UnfitByte(start))? {
            for _ in 0..each {
                self.value(depth + 1)?;
            }
        }
        Ok(())
    }
}

/// Bytes of `float.hex()`, `nan` and `inf`.
fn is_of_float(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || b"xpni+-.".contains(&byte)
}

#[cfg(test)]
mod tests;
