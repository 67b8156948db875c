//! `printable`: text out of a file as a terminal may see it. Whatever moves the cursor, changes colours, reverses the direction of
//! writing or cannot be seen is written as an escape, as Python's `repr` writes it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters that are no control characters and cannot be seen, or change how others are seen: Unicode's categories Cf, Zl and Zp.
const UNSEEN: [(u32, u32); 22] = [
    (0xad, 0xad),
    (0x600, 0x605),
    (0x61c, 0x61c),
    (0x6dd, 0x6dd),
    (0x70f, 0x70f),
    (0x890, 0x891),
    (0x8e2, 0x8e2),
    (0x180e, 0x180e),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x206f),
    (0xfdd0, 0xfdef),
    (0xfeff, 0xfeff),
    (0xfff0, 0xfffb),
    (0x1_10bd, 0x1_10bd),
    (0x1_10cd, 0x1_10cd),
    (0x1_3430, 0x1_343f),
    (0x1_bca0, 0x1_bca3),
    (0x1_d173, 0x1_d17a),
    (0xe_0000, 0xe_0fff),
    (0xf_0000, 0xf_ffff),
    (0x10_0000, 0x10_ffff),
];

/// Whether a character shows itself and nothing else.
pub(crate) fn is_printable(c: char) -> bool {
    let code = u32::from(c);
    !c.is_control() && (code < 0xad || !UNSEEN.iter().any(|&(first, last)| (first..=last).contains(&code)))
}

/// Writes a character as Python escapes it: `\n`, `\x1b`, `\u202e`, `\U000e0001`.
pub(crate) fn escape(c: char, out: &mut String) {
    let code = u32::from(c);
    // Writing to a string cannot fail.
    let _ = match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        _ if code <= 0xff => write!(out, "\\x{code:02x}"),
        _ if code <= 0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// A text in which every character shows itself: control characters (line breaks and tabs, too), marks that reverse the direction
/// of writing, and characters that cannot be seen are escaped as in Python. Everything of a file's goes through it on its way to a
/// terminal; [`Error`](crate::Error) does so by itself.
///
/// ```
/// # use rekindle_recorder::printable;
/// assert_eq!(printable("red\u{1b}[31m"), r"red\x1b[31m");
/// assert_eq!(printable("a\nb\u{202e}c\u{9b}d"), r"a\nb\u202ec\x9bd");
/// assert_eq!(printable("Gewichte_β"), "Gewichte_β");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_printable(c) {
            out.push(c);
        } else {
            escape(c, &mut out);
        }
    }
    Cow::Owned(out)
}

/// The same, line by line: for texts whose line breaks are not the file's.
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| c == '\n' || is_printable(c)) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    Cow::Owned(lines.join("\n"))
}

/// A name as [`printable`] writes it, and another for every other name: a backslash that reads like the beginning of an escape is
/// doubled. A path that is spelled so is found again.
///
/// ```
/// # use rekindle_recorder::printable_name;
/// assert_eq!(printable_name("a\u{1b}b"), r"a\x1bb");
/// assert_eq!(printable_name(r"a\x1bb"), r"a\\x1bb");
/// ```
#[must_use]
pub fn printable_name(name: &str) -> Cow<'_, str> {
    if !name.contains('\\') {
        return printable(name);
    }
    let mut doubled = String::with_capacity(name.len() + 8);
    let mut letters = name.chars().peekable();
    while let Some(c) = letters.next() {
        doubled.push(c);
        let escapes = letters.peek().is_none_or(|next| BEGINS.contains(next) || !is_printable(*next));
        if c == '\\' && escapes {
            doubled.push('\\');
        }
    }
    Cow::Owned(printable(&doubled).into_owned())
}

/// What may follow the backslash of an escape.
const BEGINS: [char; 7] = ['n', 'r', 't', 'x', 'u', 'U', '\\'];

/// The name that [`printable_name`] wrote so; `None` where there is no escape in it.
pub(crate) fn from_printable(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        name.push_str(before);
        let mut letters = escape.chars();
        let first = letters.next()?;
        let length = match first {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if length == 0 {
            match first {
                'n' => name.push('\n'),
                'r' => name.push('\r'),
                't' => name.push('\t'),
                '\\' => name.push('\\'),
                plain => name.extend(['\\', plain]),
            }
            rest = letters.as_str();
            continue;
        }
        let digits = letters.as_str().get(..length)?;
        name.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = letters.as_str().get(length..)?;
    }
    name.push_str(rest);
    (name != text).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_hides_or_reverses_is_left() {
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        let shown = printable(&all);
        for c in [
            '\0',
            '\n',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{200b}',
            '\u{202e}',
            '\u{2066}',
            '\u{2028}',
            '\u{e0041}',
        ] {
            assert!(!shown.contains(c), "{c:?}");
        }
        assert!(shown.contains('é') && shown.contains('漢') && shown.contains('\u{301}') && shown.contains('🔥'));
        assert_eq!(printable(&shown), shown, "once is enough");
    }

    #[test]
    fn a_name_is_found_again_from_what_was_printed() {
        for name in [
            "a\u{1b}b",
            r"a\x1bb",
            "line\nbreak",
            r"line\nbreak",
            r"C:\dir",
            "end\\",
            "\\\u{1b}",
            "\u{e0001}\u{202e}",
            r"\\",
            "ü\u{9b}",
        ] {
            let printed = printable_name(name);
            assert_eq!(from_printable(&printed).as_deref().unwrap_or(&printed), name, "{printed}");
        }
        assert_eq!(from_printable("plain"), None);
    }
}
