//! `NAME(...)`: a call in Python's manner, in words, such as `CosineAnnealingLR(T_max=50)` or `AdamW(lr=3e-4, betas=(0.9, 0.95))`.

use rekindle_recorder::{Result, Value};

use crate::attributes::invalid;

/// A call: whose it is, and its arguments by name or by place.
pub(crate) struct Call<'a> {
    pub(crate) name: &'a str,
    pub(crate) given: Vec<(Option<String>, Value)>,
}

impl<'a> Call<'a> {
    /// Reads `NAME` or `NAME(...)`: arguments are numbers, words, lists, tuples, and other calls, which stay their texts.
    ///
    /// # Errors
    /// When brackets or quotes are left open, an argument is empty, or one by place follows one by name.
    pub(crate) fn read(text: &'a str) -> Result<Call<'a>> {
        let text = text.trim();
        let (name, inside) = match text.split_once('(') {
            None => (text, ""),
            Some((name, rest)) => {
                let inside = rest.trim_end().strip_suffix(')');
                (
                    name.trim_end(),
                    inside.ok_or_else(|| invalid(format!("'{text}' has no closing parenthesis at its end")))?,
                )
            }
        };
        let mut given: Vec<(Option<String>, Value)> = Vec::new();
        for part in parts(inside)? {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) if is_word(key.trim()) => (Some(key.trim().to_owned()), value),
                _ => (None, part),
            };
            if key.is_none() && given.last().is_some_and(|(before, _)| before.is_some()) {
                return Err(invalid(format!(
                    "in {name}(...) '{}' follows a named argument; name it, too",
                    part.trim()
                )));
            }
            given.push((key, value_of(value.trim())?));
        }
        Ok(Call { name, given })
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// What stands between the commas that are in no brackets and no quotes.
fn parts(text: &str) -> Result<Vec<&str>> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    for (place, c) in text.char_indices() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('(' | '[', None) => depth += 1,
            (')' | ']', None) => {
                depth = depth.checked_sub(1).ok_or_else(|| invalid(format!("'{text}' closes a bracket too many")))?;
            }
            (',', None) if depth == 0 => {
                parts.push(&text[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    if depth > 0 || quote.is_some() {
        return Err(invalid(format!("'{text}' leaves a bracket or a quote open")));
    }
    let last = &text[start..];
    if !last.trim().is_empty() {
        parts.push(last);
    }
    Ok(parts)
}

/// A value as Python spells it: a number, a word, a list or a tuple. A call stays its text.
///
/// # Errors
/// When there is nothing, or brackets or quotes are left open.
pub(crate) fn value_of(text: &str) -> Result<Value> {
    let inside = |open: char, close: char| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    let items = |inside: &str| parts(inside)?.into_iter().map(|part| value_of(part.trim())).collect::<Result<Vec<_>>>();
    if let Some(inside) = inside('[', ']') {
        return items(inside).map(Value::list);
    }
    if let Some(inside) = inside('(', ')') {
        return items(inside).map(Value::tuple);
    }
    if let Some(inside) = ['\'', '"'].into_iter().find_map(|quote| inside(quote, quote)) {
        return Ok(inside.into());
    }
    let plain = text.replace('_', "");
    Ok(match text {
        "" => return Err(invalid("an argument is empty")),
        "None" | "none" => Value::None,
        "True" | "true" => true.into(),
        "False" | "false" => false.into(),
        _ => match (plain.parse::<i64>(), plain.parse::<f64>()) {
            (Ok(whole), _) => whole.into(),
            (_, Ok(number)) if number.is_finite() => number.into(),
            _ => text.into(),
        },
    })
}

/// A value as Python prints it, as far as calls can say it.
pub(crate) fn shown(value: &Value) -> String {
    let list = |items: &[Value]| items.iter().map(shown).collect::<Vec<_>>().join(", ");
    match value {
        Value::None => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Str(text) => format!("'{text}'"),
        Value::List(_) => format!("[{}]", list(&value.items().unwrap_or_default())),
        Value::Tuple(_) => format!("({})", list(&value.items().unwrap_or_default())),
        Value::Tensor(tensor) => match tensor.to_f64_vec().as_deref() {
            Ok([number]) => format!("tensor({number})"),
            _ => value.describe(),
        },
        Value::Dict(dict) => {
            let entries = dict.entries();
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| format!("{}: {}", shown(key), shown(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        // A `Counter` is made of its dict.
        Value::Object(object) => match object.read().arguments() {
            [made_of] => shown(made_of),
            _ => value.describe(),
        },
        other => other.describe(),
    }
}

/// Whether a value can stand where another stood: of the same kind, or where there was `None`.
pub(crate) fn suits(now: &Value, before: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Int(_) | Value::Float(_) => true,
        Value::Tensor(tensor) => tensor.to_f64_vec().is_ok_and(|numbers| numbers.len() == 1),
        _ => false,
    };
    match (before, now) {
        (Value::None, _) | (Value::Bool(_), Value::Bool(_)) | (Value::Str(_), Value::Str(_) | Value::None) => true,
        (Value::List(_) | Value::Tuple(_), Value::List(_) | Value::Tuple(_)) => {
            let (before, now) = (before.items().unwrap_or_default(), now.items().unwrap_or_default());
            before.len() == now.len() && now.iter().zip(&before).all(|(now, before)| suits(now, before))
        }
        (before, now) => number(before) && number(now),
    }
}
