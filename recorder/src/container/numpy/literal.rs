//! A small part of Python's literals, as the headers of `.npy` files have them: strings, integers, `True`, `False`, `None`,
//! tuples, lists and dicts. Nothing is evaluated.

/// How deep literals may nest: nested records go a few levels down.
const MAX_DEPTH: usize = 32;

/// A Python literal.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    None,
    Bool(bool),
    Int(i64),
    Str(String),
    Tuple(Vec<Literal>),
    List(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
}

/// Reads one literal with spaces around it; `None` where the text is anything else.
pub(super) fn parse(text: &str) -> Option<Literal> {
    let mut parser = Parser { rest: text };
    let literal = parser.literal(0)?;
    parser.skip_space();
    parser.rest.is_empty().then_some(literal)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn literal(&mut self, depth: usize) -> Option<Literal> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_space();
        let first = self.rest.chars().next()?;
        match first {
            '(' => {
                let (items, trailing_comma) = self.items(')', depth, Parser::literal)?;
                // Without a comma, parentheses only group.
                match <[Literal; 1]>::try_from(items) {
                    Ok([item]) if !trailing_comma => Some(item),
                    Ok(one) => Some(Literal::Tuple(one.into())),
                    Err(items) => Some(Literal::Tuple(items)),
                }
            }
            '[' => Some(Literal::List(self.items(']', depth, Parser::literal)?.0)),
            '{' => Some(Literal::Dict(self.items('}', depth, Parser::entry)?.0)),
            '\'' | '"' => self.string(first),
            // The prefixes of Python 2's header writers.
            'u' | 'b' if self.rest[1..].starts_with(['\'', '"']) => {
                self.rest = &self.rest[1..];
                self.literal(depth)
            }
            '-' | '0'..='9' => self.integer(),
            _ => self.word(),
        }
    }

    fn entry(&mut self, depth: usize) -> Option<(Literal, Literal)> {
        let key = self.literal(depth)?;
        self.expect(':')?;
        Some((key, self.literal(depth)?))
    }

    /// What stands between two brackets, and whether a comma follows the last item.
    fn items<T>(
        &mut self,
        close: char,
        depth: usize,
        item: fn(&mut Parser<'a>, usize) -> Option<T>,
    ) -> Option<(Vec<T>, bool)> {
        // The opening bracket was seen.
        self.rest = self.rest.get(1..)?;
        let mut items = Vec::new();
        let mut comma = true;
        loop {
            if self.expect(close).is_some() {
                return Some((items, comma));
            }
            if !comma {
                return None;
            }
            items.push(item(self, depth + 1)?);
            comma = self.expect(',').is_some();
        }
    }

    fn string(&mut self, quote: char) -> Option<Literal> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        loop {
            match chars.next()? {
                (at, char) if char == quote => {
                    self.rest = self.rest.get(at + 1..)?;
                    return Some(Literal::Str(text));
                }
                (_, '\n') => return None,
                (_, '\\') => text.push(match chars.next()?.1 {
                    char @ ('\\' | '\'' | '"') => char,
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'x' => code_point(&mut chars, 2)?,
                    'u' => code_point(&mut chars, 4)?,
                    'U' => code_point(&mut chars, 8)?,
                    _ => return None,
                }),
                (_, char) => text.push(char),
            }
        }
    }

    fn integer(&mut self) -> Option<Literal> {
        let digits = self.rest.strip_prefix('-').unwrap_or(self.rest);
        let digits = digits.len() - digits.trim_start_matches(|char: char| char.is_ascii_digit()).len();
        let end = digits + usize::from(self.rest.starts_with('-'));
        let number = self.rest.get(..end)?.parse().ok()?;
        let rest = self.rest.get(end..)?;
        // Python 2 wrote long integers with an L.
        self.rest = rest.strip_prefix('L').unwrap_or(rest);
        Some(Literal::Int(number))
    }

    fn word(&mut self) -> Option<Literal> {
        const WORDS: [(&str, Literal); 3] =
            [("True", Literal::Bool(true)), ("False", Literal::Bool(false)), ("None", Literal::None)];
        let (rest, literal) =
            WORDS.iter().find_map(|(word, literal)| Some((self.rest.strip_prefix(word)?, literal.clone())))?;
        self.rest = rest;
        (!rest.starts_with(|char: char| char.is_alphanumeric() || char == '_')).then_some(literal)
    }

    fn expect(&mut self, char: char) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(char)?;
        Some(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n', '\x0c']);
    }
}

fn code_point(chars: &mut impl Iterator<Item = (usize, char)>, digits: usize) -> Option<char> {
    let code = (0..digits).try_fold(0, |code, _| Some(code << 4 | chars.next()?.1.to_digit(16)?))?;
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_as_python_reads_them() {
        let text = "{'descr': [('x', '<f4', (2,)), (\"y\", u'|u1')], 'fortran_order': False, 'shape': (3L, -4), 'a': (1), } \n";
        let str = |text: &str| Literal::Str(text.to_owned());
        let expected = Literal::Dict(vec![
            (
                str("descr"),
                Literal::List(vec![
                    Literal::Tuple(vec![str("x"), str("<f4"), Literal::Tuple(vec![Literal::Int(2)])]),
                    Literal::Tuple(vec![str("y"), str("|u1")]),
                ]),
            ),
            (str("fortran_order"), Literal::Bool(false)),
            (str("shape"), Literal::Tuple(vec![Literal::Int(3), Literal::Int(-4)])),
            (str("a"), Literal::Int(1)),
        ]);
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("()"), Some(Literal::Tuple(Vec::new())));
        assert_eq!(parse(r"'\x41\u00fc\'\\'"), Some(str("Aü'\\")));
    }

    #[test]
    fn anything_else_is_refused() {
        let deep = "(".repeat(100_000);
        for text in
            ["", "x", "Truely", "1 2", "(1 2)", "(1,,2)", "[1", "'a", "'a\n'", "{1}", "{1: }", "1+1", "f()", "-", &deep]
        {
            assert_eq!(parse(text), None, "{text:.20}");
        }
    }
}
