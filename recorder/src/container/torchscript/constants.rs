//! The constants of a module's class, `Final` in the code: numbers, strings, devices, tuples of them, as PyTorch's printer spells
//! them. Nothing is evaluated.

use crate::Value;
use crate::value::Device;

/// How deep tuples may nest.
const DEPTH: usize = 32;

/// Reads one constant; `None` where the text is anything else. `table` has those that the printer cannot spell
/// (`CONSTANTS.c0`).
pub(super) fn parse(text: &str, table: &[Value]) -> Option<Value> {
    let (value, rest) = constant(text, table, 0)?;
    rest.is_empty().then_some(value)
}

/// A constant at the beginning, and what follows it.
fn constant<'a>(text: &'a str, table: &[Value], depth: usize) -> Option<(Value, &'a str)> {
    if depth > DEPTH {
        return None;
    }
    if let Some(rest) = text.strip_prefix('(') {
        return items(rest, table, depth).map(|(items, rest)| (Value::tuple(items), rest));
    }
    if let Some(rest) = text.strip_prefix("torch.device(") {
        let (name, rest) = string(rest)?;
        return Some((Device::parse(&name)?.into(), rest.strip_prefix(')')?));
    }
    if text.starts_with(['"', '\'']) {
        return string(text).map(|(text, rest)| (text.into(), rest));
    }
    let (word, rest) = text.split_at(text.find([',', ')']).unwrap_or(text.len()));
    let value = match word {
        "None" => Value::None,
        "True" => true.into(),
        "False" => false.into(),
        _ => match word.strip_prefix("CONSTANTS.c") {
            Some(index) => table.get(index.parse::<usize>().ok()?)?.clone(),
            None => number(word)?,
        },
    };
    Some((value, rest))
}

/// What stands in a tuple, and what follows it. (Lists are printed as tuples.)
fn items<'a>(mut rest: &'a str, table: &[Value], depth: usize) -> Option<(Vec<Value>, &'a str)> {
    let mut items = Vec::new();
    loop {
        if let Some(rest) = rest.strip_prefix(')') {
            return Some((items, rest));
        }
        let (item, after) = constant(rest, table, depth + 1)?;
        items.push(item);
        // A comma follows the only item of a tuple.
        rest = match after.strip_prefix(',') {
            Some(after) => after.trim_start_matches(' '),
            None => after.starts_with(')').then_some(after)?,
        };
    }
}

/// A whole number has neither a point nor an exponent; `inf` and `nan` are floats.
fn number(word: &str) -> Option<Value> {
    word.parse::<i64>().map(Value::Int).ok().or_else(|| word.parse().map(Value::Float).ok())
}

/// A quoted string at the beginning, and what follows it. Bytes that are not printed are escaped in octal.
pub(super) fn string(text: &str) -> Option<(String, &str)> {
    let quote = text.bytes().next().filter(|quote| matches!(quote, b'"' | b'\''))?;
    let mut bytes = Vec::new();
    let mut at = 1;
    loop {
        let byte = *text.as_bytes().get(at)?;
        at += 1;
        match byte {
            b'\\' => {
                let digits =
                    text.as_bytes().get(at..)?.iter().take(3).take_while(|digit| (b'0'..b'8').contains(*digit));
                let digits = digits.count();
                if digits == 0 {
                    bytes.push(unescape(*text.as_bytes().get(at)?));
                    at += 1;
                } else {
                    bytes.push(u8::from_str_radix(text.get(at..at + digits)?, 8).ok()?);
                    at += digits;
                }
            }
            byte if byte == quote => return Some((String::from_utf8(bytes).ok()?, text.get(at..)?)),
            byte => bytes.push(byte),
        }
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::repr;

    #[test]
    fn constants_are_read_as_they_are_printed() {
        let table = [Value::None, "na\u{ef}ve".into()];
        for (text, expected) in [
            ("3", "3"),
            ("-3", "-3"),
            ("1.0000000000000001e-05", "1e-05"),
            ("0.", "0.0"),
            ("inf", "inf"),
            ("-inf", "-inf"),
            ("nan", "nan"),
            ("None", "None"),
            ("True", "True"),
            (r#""zeros""#, "'zeros'"),
            (r#""a\"b""#, "'a\"b'"),
            ("CONSTANTS.c1", "'na\u{ef}ve'"),
            ("(4,)", "(4,)"),
            ("()", "()"),
            (r#"(1, "x", 2.5, None, (True, -1))"#, "(1, 'x', 2.5, None, (True, -1))"),
            (r#"torch.device("cuda:1")"#, "device(type='cuda', index=1)"),
        ] {
            let value = parse(text, &table).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(repr(&value), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_left_in_the_code() {
        let deep = "(".repeat(100_000);
        for text in ["", "x", "(1", "(1 2)", "1, 2", "[1]", "f(1)", "\"a", "CONSTANTS.c9", "torch.device(1)", &deep] {
            assert!(parse(text, &[]).is_none(), "{text:.20}");
        }
    }
}
