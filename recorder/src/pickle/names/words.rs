//! Lists of words, one space between.

/// Whether a word is in a list.
pub(super) fn is_word(words: &str, name: &str) -> bool {
    words.split_whitespace().any(|word| word == name)
}
