//! `repr`: values as Python prints them.

use std::fmt::Write as _;

use crate::Value;

/// A value as Python's `repr` prints it: exact for what can be a dict's key and for scalars, a description for others.
/// Cut short with `...` after some thousands of characters.
#[must_use]
pub fn repr(value: &Value) -> String {
    let mut text = String::new();
    write_repr(value, &mut text, 0);
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
        Value::SurrogateStr(bytes) => repr_str(&String::from_utf8_lossy(bytes), out),
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
            Some(index) => drop(write!(out, "device(type='{}', index={index})", device.kind)),
            None => drop(write!(out, "device(type='{}')", device.kind)),
        },
        Value::None => out.push_str("None"),
        other => drop(write!(out, "{other:?}")),
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
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars().take(REPR_LENGTH) {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => drop(write!(out, "\\{c}")),
            c if c.is_control() => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push_str(if text.len() > REPR_LENGTH && text.chars().nth(REPR_LENGTH).is_some() { "..." } else { "" });
    out.push(quote);
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
