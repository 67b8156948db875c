//! Bytes in texts: base64, hexadecimal digits, and a letter a byte.

use crate::base64::{self, URL};

/// So many bytes that are spelled by a text; `None` where it spells none, or another number of them.
pub(super) fn decode(text: &str, length: usize) -> Option<Vec<u8>> {
    // Its length tells which it is.
    if text.len() < length {
        None
    } else if text.len() == 2 * length {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        text.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?)).collect()
    } else if text.is_ascii() && text.trim_end().trim_end_matches('=').len() == (4 * length).div_ceil(3) {
        let mut bytes = base64::decoded(text.trim_end().trim_end_matches('=').as_bytes())?;
        bytes.truncate(length);
        Some(bytes)
    } else if text.chars().count() == length {
        text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect()
    } else {
        None
    }
}

/// Bytes in the spelling of another text of as many.
pub(super) fn encode_like(bytes: &[u8], old: &str) -> Option<String> {
    if old.len() == 2 * bytes.len() && old.is_ascii() {
        let capital = old.bytes().any(|digit| digit.is_ascii_uppercase());
        let digit = |digit: u8| {
            let letter = char::from_digit(digit.into(), 16)?;
            Some(if capital { letter.to_ascii_uppercase() } else { letter })
        };
        bytes.iter().flat_map(|byte| [digit(byte / 16), digit(byte % 16)]).collect()
    } else if old.is_ascii() && old.len() > bytes.len() {
        let mut text = base64::encoded(bytes, old.ends_with('=') || old.trim_end().ends_with('='));
        if old.contains(['-', '_']) {
            let swapped =
                text.bytes().map(|letter| URL.iter().find(|(_, plain)| *plain == letter).map_or(letter, |x| x.0));
            text = swapped.map(char::from).collect();
        }
        text.push_str(&old[old.trim_end().len()..]);
        Some(text)
    } else {
        Some(bytes.iter().map(|byte| char::from(*byte)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_each_spelling_of_them() {
        for length in [5056, 5055, 5054] {
            let bytes: Vec<u8> = (0..length).map(|i| u8::try_from(i * 7 % 256).unwrap()).collect();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let latin: String = bytes.iter().map(|&byte| char::from(byte)).collect();
            for text in [hex.to_uppercase(), hex, latin, base64::encoded(&bytes, true), base64::encoded(&bytes, false)]
            {
                assert_eq!(decode(&text, length).unwrap(), bytes);
                assert_eq!(encode_like(&bytes, &text).unwrap(), text);
            }
        }
        assert_eq!(decode("no state", 5056), None);
    }
}
