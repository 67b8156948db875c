//! Bytes in 64 letters (RFC 4648).

/// The letters, and those that stand for the last two in URLs.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
pub(crate) const URL: [(u8, u8); 2] = [(b'-', b'+'), (b'_', b'/')];

/// The bytes that the letters stand for, which have no padding behind them; those of URLs are read, too.
pub(crate) fn decoded(letters: &[u8]) -> Option<Vec<u8>> {
    let value = |letter: &u8| {
        let plain = URL.iter().find(|(url, _)| url == letter).map_or(*letter, |(_, plain)| *plain);
        LETTERS.iter().position(|known| *known == plain).and_then(|place| u32::try_from(place).ok())
    };
    let mut bytes = Vec::with_capacity(letters.len() / 4 * 3 + 3);
    for four in letters.chunks(4) {
        let bits = four.iter().try_fold(0, |bits, letter| Some(bits << 6 | value(letter)?))?;
        let shifted = bits << (6 * (4 - four.len()));
        bytes.extend_from_slice(&shifted.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

/// The letters for these bytes.
pub(crate) fn encoded(bytes: &[u8], padded: bool) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            if place <= three.len() {
                text.push(char::from(LETTERS[bits >> (18 - 6 * place) & 63]));
            } else if padded {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encoded(bytes.as_bytes(), true), text);
        }
        assert_eq!(encoded(b"PyTorch", true), "UHlUb3JjaA==");
        assert_eq!(decoded(b"UHlUb3JjaA").unwrap(), b"PyTorch");
    }
}
