//! The ids that Burn gives parameters: eight bytes in base 32 (RFC 4648's "base32hex" in lower case, without padding), six in
//! old records, or a UUID in still older ones.

use crate::Value;

/// The lengths an id's text can have: of eight bytes, of six, of a UUID.
pub(super) const LENGTHS: [u8; 3] = [13, 10, 36];

/// The id as Burn keeps it, a number. A UUID stays a text: Burn keeps a hash of it.
pub(super) fn value(text: &str) -> Value {
    number(text.as_bytes()).map_or_else(|| text.into(), Value::from)
}

/// Whether it is an id's text.
pub(super) fn is_id(text: &[u8]) -> bool {
    number(text).is_some() || is_uuid(text)
}

/// The bytes of the text are the number's, little-endian; six bytes stand for the lower six.
fn number(text: &[u8]) -> Option<u64> {
    let bytes = match text.len() {
        13 => 8,
        10 => 6,
        _ => return None,
    };
    let mut bits: u128 = 0;
    for &digit in text {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'v' => digit - b'a' + 10,
            _ => return None,
        };
        bits = bits << 5 | u128::from(digit);
    }
    // The text has a bit or two more than the bytes; they are zero.
    let spare = text.len() * 5 - bytes * 8;
    if bits & ((1 << spare) - 1) != 0 {
        return None;
    }
    let number = u64::try_from(bits >> spare).ok()?;
    Some(number.swap_bytes() >> (64 - bytes * 8))
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_burn_writes_them() {
        // `ParamId::from(n).to_string()` of Burn 0.21.
        for (text, number) in
            [("lv6hquppl0ge4", 16_294_208_416_658_607_535_u64), ("1noia64ih81qi", 12_178_730_177_414_951_181)]
        {
            assert_eq!(super::number(text.as_bytes()), Some(number));
        }
        // Six bytes, 1 to 6, as Burn wrote ids once.
        assert_eq!(super::number(b"041061050o"), Some(0x0605_0403_0201));
    }

    #[test]
    fn what_is_no_id_is_told_from_one() {
        assert!(is_id(b"30b82c23-788d-4d63-a743-ada258d5f13c"));
        for text in
            [&b"lv6hquppl0ge5"[..], b"lv6hquppl0gew", b"LV6HQUPPL0GE4", b"", b"30b82c23-788d-4d63-a743-ada258d5f13"]
        {
            assert!(!is_id(text), "{text:?}");
        }
    }
}
