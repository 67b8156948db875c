//! Expressions of symbols in shapes: PyTorch keeps them as sympy's `srepr`, such as `Mul(Integer(2), Symbol('s44', positive=True))`. They
//! are shown as a person writes them (`2*s44`), and computed where all their symbols are known.

use std::collections::HashMap;

/// An expression of the symbols in shapes. It is shown as a person writes it: `2*s44`, `(s77 - 1)//2`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expression {
    /// A whole number.
    Int(i64),
    /// A symbol by its name.
    Symbol(String),
    /// A function by sympy's name, and what it is given.
    Of(String, Vec<Expression>),
    /// What is neither, as it was written.
    Text(String),
}

/// How deep expressions may be.
const DEPTH: usize = 64;

impl Expression {
    /// Reads an expression; `None` where it is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let expression = term(&mut rest, 0)?;
        rest.is_empty().then_some(expression)
    }

    /// Its value, where all symbols are known and it is a whole number.
    pub(super) fn value(&self, known: &HashMap<&str, i64>) -> Option<i64> {
        let (name, given) = match self {
            Expression::Int(number) => return Some(*number),
            Expression::Symbol(name) => return known.get(name.as_str()).copied(),
            Expression::Text(_) => return None,
            Expression::Of(name, given) => (name.as_str(), given),
        };
        let values = given.iter().map(|one| one.value(known)).collect::<Option<Vec<i64>>>()?;
        match (name, values.as_slice()) {
            ("Add", values) => values.iter().try_fold(0i64, |sum, &value| sum.checked_add(value)),
            ("Mul", values) => values.iter().try_fold(1i64, |product, &value| product.checked_mul(value)),
            ("Max", values) => values.iter().copied().max(),
            ("Min", values) => values.iter().copied().min(),
            ("FloorDiv" | "CleanDiv", &[a, b]) => floor_div(a, b),
            ("CeilDiv", &[a, b]) => floor_div(a.checked_neg()?, b)?.checked_neg(),
            ("Mod" | "PythonMod", &[a, b]) => a.checked_sub(floor_div(a, b)?.checked_mul(b)?),
            ("Pow" | "PowByNatural", &[a, b]) => a.checked_pow(u32::try_from(b).ok()?),
            ("Identity" | "ToFloat" | "TruncToInt" | "FloorToInt" | "CeilToInt", &[a]) => Some(a),
            _ => None,
        }
    }

    /// How tightly it holds together: a sum less than a product, that less than a power or a name.
    fn strength(&self) -> u8 {
        match self {
            Expression::Int(number) if *number < 0 => 0,
            Expression::Of(name, given) => match (name.as_str(), given.len()) {
                ("Add", _) => 0,
                ("Mul" | "FloorDiv" | "CleanDiv" | "IntTrueDiv" | "FloatTrueDiv" | "Mod" | "PythonMod", _) => 1,
                ("Pow" | "PowByNatural" | "FloatPow", 2) => 2,
                _ => 3,
            },
            _ => 3,
        }
    }

    /// Between brackets, where it does not hold together so tightly.
    fn within(&self, strength: u8) -> String {
        if self.strength() < strength { format!("({self})") } else { self.to_string() }
    }

    /// What it is subtracted as in a sum: `x` of `-1*x`.
    fn negated(&self) -> Option<Expression> {
        match self {
            Expression::Int(number) if *number < 0 => number.checked_neg().map(Expression::Int),
            Expression::Of(name, given) if name == "Mul" => match given.as_slice() {
                [Expression::Int(-1), one] => Some(one.clone()),
                [Expression::Int(number), rest @ ..] if *number < 0 => {
                    let first = Expression::Int(number.checked_neg()?);
                    let all = std::iter::once(first).chain(rest.iter().cloned()).collect();
                    Some(Expression::Of(name.clone(), all))
                }
                _ => None,
            },
            _ => None,
        }
    }
}

fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    let inexact = quotient.checked_mul(b)? != a;
    Some(if inexact && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, given) = match self {
            Expression::Int(number) => return write!(f, "{number}"),
            Expression::Symbol(name) | Expression::Text(name) => return f.write_str(name),
            Expression::Of(name, given) => (name.as_str(), given.as_slice()),
        };
        let joined = |by: &str, strength: u8| given.iter().map(|one| one.within(strength)).collect::<Vec<_>>().join(by);
        match (name, given) {
            ("Add", [first, rest @ ..]) => {
                // A number comes last, as a person writes it.
                let (first, rest) = match (first, rest) {
                    (Expression::Int(_), [second, others @ ..]) => {
                        (second, others.iter().chain([first]).collect::<Vec<_>>())
                    }
                    _ => (first, rest.iter().collect()),
                };
                write!(f, "{first}")?;
                rest.into_iter().try_for_each(|one| match one.negated() {
                    Some(one) => write!(f, " - {}", one.within(1)),
                    None => write!(f, " + {one}"),
                })
            }
            ("Mul", [_, _, ..]) => match self.negated() {
                Some(one) => write!(f, "-{}", one.within(1)),
                None => f.write_str(&joined("*", 2)),
            },
            ("FloorDiv" | "CleanDiv", [a, b]) => write!(f, "{}//{}", a.within(1), b.within(2)),
            ("IntTrueDiv" | "FloatTrueDiv", [a, b]) => write!(f, "{}/{}", a.within(1), b.within(2)),
            ("Mod" | "PythonMod", [a, b]) => write!(f, "{} % {}", a.within(1), b.within(2)),
            ("Pow" | "PowByNatural" | "FloatPow", [_, _]) => f.write_str(&joined("**", 3)),
            ("Identity" | "ToFloat", [one]) => write!(f, "{one}"),
            ("Max" | "Min", _) => write!(f, "{}({})", name.to_lowercase(), joined(", ", 0)),
            _ => write!(f, "{name}({})", joined(", ", 0)),
        }
    }
}

/// One expression from the beginning of a text, which is what is left then.
fn term(rest: &mut &str, depth: usize) -> Option<Expression> {
    if depth > DEPTH {
        return None;
    }
    *rest = rest.trim_start();
    let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '+'))).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    *rest = after;
    let Some(inner) = rest.strip_prefix('(') else {
        return match name.parse() {
            Ok(number) => Some(Expression::Int(number)),
            Err(_) if name.is_empty() => None,
            Err(_) => Some(Expression::Text(name.to_owned())),
        };
    };
    *rest = inner;
    let mut given = Vec::new();
    let mut quoted: Option<String> = None;
    loop {
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(')') {
            *rest = after;
            break;
        }
        if let Some(text) = rest.strip_prefix('\'') {
            let (text, after) = text.split_once('\'')?;
            quoted.get_or_insert_with(|| text.to_owned());
            *rest = after;
        } else if let Some(after) = property(rest) {
            *rest = after;
        } else {
            given.push(term(rest, depth + 1)?);
        }
        *rest = rest.trim_start();
        *rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(match (name, quoted, given.as_slice()) {
        ("Symbol" | "Dummy", Some(symbol), _) => Expression::Symbol(symbol),
        ("Float", Some(number), _) => Expression::Text(number),
        ("Integer", None, &[Expression::Int(number)]) => Expression::Int(number),
        ("Rational", None, [a, b]) => Expression::Text(format!("{a}/{b}")),
        _ => Expression::Of(name.to_owned(), given),
    })
}

/// What comes behind a property such as `positive=True`.
fn property(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let value = text[end..].strip_prefix('=').filter(|_| end > 0)?;
    let end = value.find([',', ')']).unwrap_or(value.len());
    Some(&value[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Expression::read(text).map_or_else(|| "nothing".to_owned(), |expression| expression.to_string())
    }

    #[test]
    fn expressions_read_as_a_person_writes_them() {
        let s = "Symbol('s77', positive=True, integer=True)";
        let t = "Symbol('s2', positive=True, integer=True)";
        let cases = [
            (s.to_owned(), "s77"),
            (format!("Add({s}, Integer(1))"), "s77 + 1"),
            (format!("Add(Integer(-3), {s})"), "s77 - 3"),
            (format!("Mul(Integer(2), {s})"), "2*s77"),
            (format!("Mul(Integer(4), Add({s}, {t}))"), "4*(s77 + s2)"),
            (format!("Add({t}, Mul(Integer(-1), {s}))"), "s2 - s77"),
            (format!("FloorDiv(Add({s}, Integer(-1)), Integer(2))"), "(s77 - 1)//2"),
            (format!("Add(FloorDiv({s}, Integer(2)), Integer(1))"), "s77//2 + 1"),
            (format!("Max(Integer(4), Pow({s}, Integer(2)))"), "max(4, s77**2)"),
            (format!("Mod({s}, Integer(8))"), "s77 % 8"),
            (format!("Strange({s}, Float('0.5', precision=53))"), "Strange(s77, 0.5)"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(&text), expected, "{text}");
        }
        for text in ["", "Add(", "Add(Symbol('s", "Mul(Integer(2))) "] {
            assert_eq!(shown(text), "nothing", "{text}");
        }
    }

    #[test]
    fn expressions_of_known_symbols_have_values() {
        let s = "Symbol('s77', positive=True, integer=True)";
        let value = |text: &str| Expression::read(text).unwrap().value(&HashMap::from([("s77", 7)]));
        assert_eq!(value(&format!("Add(Mul(Integer(2), {s}), Integer(-1))")), Some(13));
        assert_eq!(value(&format!("FloorDiv(Mul(Integer(-1), {s}), Integer(2))")), Some(-4));
        assert_eq!(value(&format!("CeilDiv({s}, Integer(2))")), Some(4));
        assert_eq!(value(&format!("Mod({s}, Integer(4))")), Some(3));
        assert_eq!(value("Symbol('s2')"), None);
        assert_eq!(value(&format!("IntTrueDiv({s}, Integer(2))")), None);
        assert_eq!(value("FloorDiv(Integer(1), Integer(0))"), None);
    }

    #[test]
    fn an_endless_expression_ends() {
        assert_eq!(shown(&"Add(".repeat(100_000)), "nothing");
    }
}
