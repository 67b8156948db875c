//! `repr`: values as Python prints them.

use std::fmt::Write as _;

use crate::Value;
use crate::printable::{escape, is_printable};

/// A value as Python's `repr` prints it: exact for what can be a dict's key and for scalars, a description for others.
/// Cut short with `...` after some thousands of characters.
#[must_use]
pub fn repr(value: &Value) -> String {
    let mut text = String::new();
    write_repr(value, &mut text, 0);
    text
}

/// A string key in brackets, whole: `['conv1.weight']`.
pub(super) fn quoted(key: &str) -> String {
    let mut text = String::with_capacity(key.len() + 4);
    text.push('[');
    write_str(key, quote_for(key), &mut text);
    text.push(']');
    text
}

/// How long a `repr` may become, and how deep it looks: tuples that share parts can spell out to any length.
const REPR_LENGTH: usize = 4096;
const REPR_DEPTH: usize = 50;

fn write_repr(value: &Value, out: &mut String, depth: usize) {
    if out.len() > REPR_LENGTH || depth > REPR_DEPTH {
        return out.push_str("...");
    }
    let all = |items: &[Value], out: &mut String| {
        for (i, item) in items.iter().enumerate() {
            if out.len() > REPR_LENGTH {
                return out.push_str("...");
            }
            out.push_str(if i == 0 { "" } else { ", " });
            write_repr(item, out, depth + 1);
        }
    };
    match value {
        Value::Float(x) => out.push_str(&repr_float(*x)),
        Value::Complex(re, im) => {
            let (re, im) = (repr_float(*re), repr_float(*im));
            let (re, im) = (re.trim_end_matches(".0"), im.trim_end_matches(".0"));
            let sign = if im.starts_with('-') { "" } else { "+" };
            match re {
                "0" => drop(write!(out, "{im}j")),
                _ => drop(write!(out, "({re}{sign}{im}j)")),
            }
        }
        Value::Str(text) => repr_str(text, out),
        Value::SurrogateStr(bytes) => repr_surrogates(bytes, out),
        Value::Bytes(bytes) => repr_bytes(bytes, out),
        Value::ByteArray(bytes) => {
            out.push_str("bytearray(");
            repr_bytes(&bytes.read(), out);
            out.push(')');
        }
        Value::Tuple(items) => {
            out.push('(');
            all(items, out);
            out.push_str(if items.len() == 1 { ",)" } else { ")" });
        }
        Value::FrozenSet(items) if items.is_empty() => out.push_str("frozenset()"),
        Value::FrozenSet(items) => {
            out.push_str("frozenset({");
            all(items, out);
            out.push_str("})");
        }
        Value::Set(items) if items.read().is_empty() => out.push_str("set()"),
        Value::Set(items) => {
            out.push('{');
            all(&items.read().clone(), out);
            out.push('}');
        }
        Value::List(items) if items.read().is_empty() => out.push_str("[]"),
        Value::Dict(dict) if dict.is_empty() => out.push_str("{}"),
        Value::Device(device) => match device.index {
            Some(index) => drop(write!(out, "device(type={}, index={index})", repr(&(&*device.kind).into()))),
            None => drop(write!(out, "device(type={})", repr(&(&*device.kind).into()))),
        },
        Value::None => out.push_str("None"),
        // What is only described has names of the file's own in it.
        other => describe(&format!("{other:?}"), out),
    }
}

/// A description, in which nothing reads like the end of a part of a path: of a tensor the shape's bracket alone.
fn describe(text: &str, out: &mut String) {
    let mut brackets = usize::from(text.starts_with('<'));
    for c in text.chars() {
        match c {
            ']' if brackets > 0 => out.push_str("\\x5d"),
            ']' => {
                brackets += 1;
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => escape(c, out),
        }
    }
}

/// A float as Python prints it: the fewest digits that lead back to it, with an exponent below 1e-4 and from 1e16.
fn repr_float(x: f64) -> String {
    let size = x.abs();
    if x.is_nan() {
        "nan".to_owned()
    } else if size == 0.0 || (1e-4..1e16).contains(&size) || x.is_infinite() {
        format!("{x:?}")
    } else {
        let text = format!("{x:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        format!("{digits}e{sign}{exponent:0>2}")
    }
}

fn repr_str(text: &str, out: &mut String) {
    let quote = quote_for(text);
    match text.char_indices().nth(REPR_LENGTH) {
        None => write_str(text, quote, out),
        Some((cut, _)) => {
            write_str(&text[..cut], quote, out);
            out.pop();
            out.push_str("...");
            out.push(quote);
        }
    }
}

/// The quote that Python would choose.
fn quote_for(text: &str) -> char {
    if text.contains('\'') && !text.contains('"') { '"' } else { '\'' }
}

fn write_str(text: &str, quote: char, out: &mut String) {
    out.push(quote);
    write_chars(text, quote, out);
    out.push(quote);
}

fn write_chars(text: &str, quote: char, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            c if c == quote => drop(write!(out, "\\{c}")),
            c if is_printable(c) && !is_wide_space(c) => out.push(c),
            c => escape(c, out),
        }
    }
}

/// Spaces of other widths, which Python's `repr` escapes.
fn is_wide_space(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

/// A `str` with lone surrogates, each as Python escapes it.
fn repr_surrogates(bytes: &[u8], out: &mut String) {
    let mut rest = bytes;
    out.push('\'');
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let (text, after) = rest.split_at(valid);
        write_chars(&String::from_utf8_lossy(text), '\'', out);
        rest = match after {
            [0xed, second @ 0xa0..=0xbf, third, after @ ..] => {
                let code = 0xd000 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f);
                let _ = write!(out, "\\u{code:04x}");
                after
            }
            [byte, after @ ..] => {
                let _ = write!(out, "\\x{byte:02x}");
                after
            }
            [] => after,
        };
    }
    out.push('\'');
}

fn repr_bytes(bytes: &[u8], out: &mut String) {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { b'"' } else { b'\'' };
    out.push('b');
    out.push(char::from(quote));
    for &byte in bytes.iter().take(REPR_LENGTH) {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            byte if byte == quote => drop(write!(out, "\\{}", char::from(byte))),
            b' '..=b'~' => out.push(char::from(byte)),
            byte => drop(write!(out, "\\x{byte:02x}")),
        }
    }
    out.push_str(if bytes.len() > REPR_LENGTH { "..." } else { "" });
    out.push(char::from(quote));
}
