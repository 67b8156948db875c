//! Strings as the older opcodes spell them: Python 2's escapes, raw-unicode-escape, and text with lone surrogates.

use std::sync::Arc;

use crate::Value;

/// UTF-8 where lone surrogates may stand as three bytes each (Python's `surrogatepass`). `None` where it is neither.
pub(super) fn utf8(bytes: &[u8]) -> Option<Value> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(Value::Str(text.into())),
        Err(_) if is_surrogate_utf8(bytes) => Some(Value::SurrogateStr(bytes.into())),
        Err(_) => None,
    }
}

/// Python 2's `str`: text where it is UTF-8, else bytes.
pub(super) fn python2(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::Str(text.into()),
        Err(_) => Value::Bytes(bytes.into()),
    }
}

/// Whether the bytes are UTF-8 but for encoded surrogates.
fn is_surrogate_utf8(mut bytes: &[u8]) -> bool {
    while let Err(error) = std::str::from_utf8(bytes) {
        let (_, rest) = bytes.split_at(error.valid_up_to());
        match rest {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] => bytes = after,
            _ => return false,
        }
    }
    true
}

/// The inside of a quoted string of protocol 0, quotes and Python's escapes taken off.
pub(super) fn unquote(line: &[u8]) -> Option<Vec<u8>> {
    let ([b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"']) = line.trim_ascii_end() else { return None };
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let [code, after @ ..] = rest else { return None };
        rest = after;
        match code {
            b'\n' => {}
            b'\\' | b'\'' | b'"' => out.push(*code),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'x' => {
                let (value, after) = number(rest, 16, 2, 2)?;
                out.push(u8::try_from(value).ok()?);
                rest = after;
            }
            b'0'..=b'7' => {
                let mut value = u32::from(code - b'0');
                for _ in 0..2 {
                    if let [digit @ b'0'..=b'7', after @ ..] = rest {
                        value = value * 8 + u32::from(digit - b'0');
                        rest = after;
                    }
                }
                // As in Python, what does not fit a byte is cut to it.
                out.push((value & 0xff) as u8);
            }
            other => out.extend([b'\\', *other]),
        }
    }
    Some(out)
}

/// Python's raw-unicode-escape: Latin-1, where `\uXXXX` and `\UXXXXXXXX` name other characters.
pub(super) fn raw_unicode_escape(line: &[u8]) -> Option<Value> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let [first, after @ ..] = rest {
        let code;
        (code, rest) = match after {
            // Two backslashes stay two, and the second begins no escape.
            [b'\\', after @ ..] if *first == b'\\' => {
                out.push(b'\\');
                (u32::from(b'\\'), after)
            }
            [b'u', digits @ ..] if *first == b'\\' => number(digits, 16, 4, 4)?,
            [b'U', digits @ ..] if *first == b'\\' => number(digits, 16, 8, 8)?,
            _ => (u32::from(*first), after),
        };
        match char::from_u32(code) {
            Some(character) => out.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => out.extend(surrogate(code)?),
        }
    }
    match String::from_utf8(out) {
        Ok(text) => Some(Value::Str(text.into())),
        Err(error) => Some(Value::SurrogateStr(Arc::from(error.into_bytes()))),
    }
}

/// The three bytes of a surrogate code point.
fn surrogate(code: u32) -> Option<[u8; 3]> {
    #[allow(clippy::cast_possible_truncation)] // six bits
    let low = |shift: u32| (0x80 | (code >> shift & 0x3f)) as u8;
    (0xd800..0xe000).contains(&code).then(|| [0xed, low(6), low(0)])
}

/// A number of `least` to `most` digits, and what follows it.
fn number(digits: &[u8], radix: u32, least: usize, most: usize) -> Option<(u32, &[u8])> {
    let length = digits.iter().take(most).take_while(|&&digit| char::from(digit).is_digit(radix)).count();
    let text = std::str::from_utf8(digits.get(..length)?).ok()?;
    if length < least {
        return None;
    }
    Some((u32::from_str_radix(text, radix).ok()?, &digits[length..]))
}

/// The characters of a text as bytes, where all are within Latin-1.
pub(super) fn to_latin1(text: &str) -> Option<Vec<u8>> {
    if text.is_ascii() {
        return Some(text.as_bytes().to_vec());
    }
    text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}
