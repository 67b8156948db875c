//! JSON as Python's `json` module reads and writes it: with `NaN` and infinities, integers of any size, and numbers that keep
//! their kind. A text is written in the style that another has.

use std::fmt::Write as _;

use num_bigint::BigInt;

use crate::{Dict, Error, Limits, Result, Value, walk};

/// How a text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// How many spaces a level is indented by; `None` where all is one line.
    indent: Option<usize>,
    /// Whether only ASCII is written.
    ascii: bool,
    /// Whether a line's end follows.
    ends: bool,
}

impl Style {
    /// That of `json.dumps(..., indent=2) + "\n"`, as transformers writes.
    pub(super) const TRANSFORMERS: Style = Style { indent: Some(2), ascii: true, ends: true };

    /// That of a text.
    pub(super) fn of(text: &[u8]) -> Self {
        let inside = text.trim_ascii_start().get(1..).unwrap_or_default();
        let line = inside.iter().position(|&byte| byte == b'\n').filter(|&end| inside[..end].trim_ascii().is_empty());
        let indent = line.map(|end| inside[end + 1..].iter().take_while(|&&byte| byte == b' ').count());
        Style { indent, ascii: text.is_ascii(), ends: text.ends_with(b"\n") }
    }
}

/// Whether a text may be JSON of several values.
pub(super) fn detect(text: &[u8]) -> bool {
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// Reads a text.
///
/// # Errors
/// When it is no JSON, with the line, and when it asks for more than the limits allow.
pub(super) fn read(text: &[u8], limits: &Limits) -> Result<Value> {
    let Ok(text) = std::str::from_utf8(text) else { return Err(Error::damaged("line 1", "it is no UTF-8")) };
    let mut parser = Parser { text, at: 0, left: limits.values, depth: limits.depth };
    let value = parser.value(0)?;
    parser.space();
    if parser.at < text.len() { Err(parser.unexpected("its end")) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    left: u64,
    depth: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let line = 1 + self.text.bytes().take(self.at).filter(|&byte| byte == b'\n').count();
        let found = self.rest().chars().next().map_or_else(|| "the end of the text".to_owned(), |c| format!("{c:?}"));
        Error::damaged(format!("line {line}"), format!("{wanted} is expected, and {found} is there"))
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        self.space();
        self.left = self.left.checked_sub(1).ok_or_else(|| Error::limit("JSON of so many values", 0))?;
        if depth > self.depth {
            return Err(Error::limit("the nesting of JSON", self.depth as u64));
        }
        let words = [
            ("null", Value::None),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("NaN", Value::Float(f64::NAN)),
            ("Infinity", Value::Float(f64::INFINITY)),
            ("-Infinity", Value::Float(f64::NEG_INFINITY)),
        ];
        if let Some((_, value)) = words.into_iter().find(|(word, _)| self.take(word)) {
            return Ok(value);
        }
        match self.rest().bytes().next() {
            Some(b'{') => self.dict(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Value::from),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Value> {
        self.at += 1;
        let dict = Dict::new();
        self.space();
        if self.take("}") {
            return Ok(dict.into());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            if !self.take(":") {
                return Err(self.unexpected("':'"));
            }
            dict.insert(key, self.value(depth + 1)?);
            self.space();
            if self.take("}") {
                return Ok(dict.into());
            }
            if !self.take(",") {
                return Err(self.unexpected("',' or '}'"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.take("]") {
            return Ok(Value::list(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.take("]") {
                return Ok(Value::list(items));
            }
            if !self.take(",") {
                return Err(self.unexpected("',' or ']'"));
            }
        }
    }

    /// A text between quotes. What is written with a backslash is JSON's, and read as such.
    fn string(&mut self) -> Result<String> {
        let mut escaped = false;
        let end = self.rest().bytes().enumerate().skip(1).find(|(_, byte)| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let quoted = end.and_then(|(end, _)| self.rest().get(..=end)).filter(|quoted| quoted.starts_with('"'));
        let Some((quoted, text)) = quoted.and_then(|text| Some((text.len(), serde_json::from_str(text).ok()?))) else {
            return Err(self.unexpected("a text in quotes"));
        };
        self.at += quoted;
        Ok(text)
    }

    fn number(&mut self) -> Result<Value> {
        let end = self.rest().bytes().position(|byte| !matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
        let text = self.rest().get(..end.unwrap_or(self.rest().len())).unwrap_or_default();
        let value = if text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            text.parse::<f64>().ok().map(Value::Float)
        } else {
            text.parse::<BigInt>().ok().map(Value::from)
        };
        let (value, length) = (value.ok_or_else(|| self.unexpected("a number"))?, text.len());
        self.at += length;
        Ok(value)
    }
}

/// Writes a value as a text of this style, as Python's `json.dumps` does.
///
/// # Errors
/// For what JSON has no form for: tensors, bytes, objects.
pub(super) fn text(value: &Value, style: Style) -> Result<String> {
    let mut out = String::new();
    write(value, style, 0, &mut out)?;
    if style.ends {
        out.push('\n');
    }
    Ok(out)
}

fn write(value: &Value, style: Style, depth: usize, out: &mut String) -> Result<()> {
    if depth > Limits::default().depth {
        return Err(Error::limit("the nesting of JSON", Limits::default().depth as u64));
    }
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Float(x) if x.is_nan() => out.push_str("NaN"),
        Value::Float(x) if x.is_infinite() => out.push_str(if *x > 0.0 { "Infinity" } else { "-Infinity" }),
        Value::Int(_) | Value::BigInt(_) | Value::Float(_) => out.push_str(&walk::repr(value)),
        Value::Str(string) => quoted(string, style, out),
        Value::List(_) | Value::Tuple(_) => {
            let items = value.items().unwrap_or_default();
            all(('[', ']'), items, style, depth, out, |item, out| write(&item, style, depth + 1, out))?;
        }
        Value::Dict(dict) => all(('{', '}'), dict.entries(), style, depth, out, |(key, inside), out| {
            let Some(key) = key.as_str() else {
                return Err(Error::wrong_type("JSON", "keys that are texts", key.describe()));
            };
            quoted(key, style, out);
            out.push_str(": ");
            write(&inside, style, depth + 1, out)
        })?,
        other => return Err(Error::wrong_type("JSON", "numbers, texts, lists and dicts", other.describe())),
    }
    Ok(())
}

fn all<T>(
    (open, close): (char, char),
    items: Vec<T>,
    style: Style,
    depth: usize,
    out: &mut String,
    one: impl Fn(T, &mut String) -> Result<()>,
) -> Result<()> {
    out.push(open);
    let empty = items.is_empty();
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = style.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    for (i, item) in items.into_iter().enumerate() {
        out.push_str(match style.indent {
            _ if i == 0 => "",
            Some(_) => ",",
            None => ", ",
        });
        line(out, depth + 1);
        one(item, out)?;
    }
    if !empty {
        line(out, depth);
    }
    out.push(close);
    Ok(())
}

fn quoted(text: &str, style: Style, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || style.ascii && !c.is_ascii() => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_as_it_was_whatever_its_style_and_its_numbers() {
        let texts = [
            "{\n  \"a\": NaN,\n  \"b\": [\n    1,\n    1.0,\n    1e-05,\n    -Infinity,\n    123456789012345678901234567890\n  ],\n  \"c\": {},\n  \"d\": []\n}\n",
            "{\"a\": [null, true, false], \"b\": \"\\u00fc \\ud83d\\ude00 \\\" \\\\ \\n\"}",
            "[\n \"\u{fc}\",\n 5e-324,\n 0.1\n]",
        ];
        for text in texts {
            let value = read(text.as_bytes(), &Limits::default()).unwrap();
            assert_eq!(super::text(&value, Style::of(text.as_bytes())).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_json_is_named_with_its_line() {
        for (text, said) in [
            ("{\n\"a\": }", "line 2"),
            ("[1, 2", "the end of the text"),
            ("{\"a\" 1}", "':'"),
            ("[1] x", "its end"),
            ("[\"a]", "a text in quotes"),
            ("[--1]", "a number"),
        ] {
            let error = read(text.as_bytes(), &Limits::default()).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        let deep = "[".repeat(2000);
        assert!(read(deep.as_bytes(), &Limits::default()).is_err());
    }
}
