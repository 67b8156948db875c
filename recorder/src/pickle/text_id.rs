//! Persistent ids as protocol 0 writes them: Python's `str()` of the tuple, in one line of text.

use crate::{Global, Value};

/// How deep tuples may nest: an id of a storage holds one of a part.
const DEPTH: usize = 3;

/// The tuple that a text such as `('storage', <class 'torch.FloatStorage'>, '0', 'cpu', 12)` stands for; `None` where it is
/// another text.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        if self.takes("(") {
            return self.tuple(depth);
        }
        if self.takes("<class ") {
            let name = self.quoted()?;
            let (module, name) = name.rsplit_once('.')?;
            return self.takes(">").then(|| Global::new(module, name).into());
        }
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(|text| Value::Str(text.into()));
        }
        let end = self.rest.find([',', ')']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "None" => Some(Value::None),
            number => number.parse().ok().map(Value::Int),
        }
    }

    fn tuple(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        while depth < DEPTH && !self.takes(")") {
            items.push(self.value(depth + 1)?);
            if !self.takes(", ") && !self.takes(",") && !self.rest.starts_with(')') {
                return None;
            }
        }
        (depth < DEPTH).then(|| Value::tuple(items))
    }

    /// A string without escapes, as the keys and device tags of storages are.
    fn quoted(&mut self) -> Option<&'a str> {
        let quote = self.rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let (text, rest) = self.rest.get(1..)?.split_once(quote)?;
        self.rest = rest;
        (!text.contains('\\')).then_some(text)
    }

    fn takes(&mut self, start: &str) -> bool {
        let rest = self.rest.strip_prefix(start);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::repr;

    #[test]
    fn the_text_of_a_storage_s_id_is_read_and_no_other() {
        let id = parse("('storage', <class 'torch.FloatStorage'>, '0', 'cuda:0', 12)").unwrap();
        assert_eq!(repr(&id), "('storage', <class torch.FloatStorage>, '0', 'cuda:0', 12)");
        let part = parse("('storage', <class 'torch.storage.UntypedStorage'>, '7', None, 12, ('8', 3, 4))").unwrap();
        assert_eq!(part.items().unwrap().len(), 6);
        assert_eq!(parse("(1,)").unwrap().items().unwrap().len(), 1);
        for text in [
            "",
            "storage",
            "('storage'",
            "('a' 'b')",
            "(1, 2) ",
            "<class 'nothing'>",
            "('\\'',)",
            "((((((1,),),),),),)",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
