//! The plain fields of a module's layers (`norm_first: true`): Burn's visitors pass over them, so they are read from the
//! module's `Debug`, which every module has. Layers are known by the ids of their parameters, which stand there, too.

use std::collections::HashMap;
use std::fmt::Debug;

/// What `Debug` shows of the structs of some names.
#[derive(Debug, Default)]
pub(super) struct Fields {
    layers: Vec<HashMap<String, String>>,
    /// By the struct's name and the id of one of its parameters: the index in `layers`, or `None` where layers with the
    /// same parameters differ.
    indices: HashMap<(String, String), Option<usize>>,
}

impl Fields {
    /// Reads the structs whose name `wanted` wants.
    pub(super) fn read(module: &impl Debug, wanted: impl Fn(&str) -> bool) -> Self {
        let text = format!("{module:?}");
        let mut reader = Reader { text: &text, wanted, open: Vec::new(), fields: Fields::default() };
        reader.read();
        reader.fields
    }

    /// The fields of the struct of this name that has this parameter, where `Debug` shows it. `forward.clip` is the field
    /// of a struct in a field.
    pub(super) fn of(&self, module: &str, parameter: &str) -> Option<&HashMap<String, String>> {
        let index = self.indices.get(&(module.to_owned(), parameter.to_owned()))?;
        self.layers.get((*index)?)
    }
}

/// How `Param`'s `Debug` begins.
const PARAM: &str = "Param: ";

/// Something between brackets of any kind.
struct Open<'a> {
    name: &'a str,
    /// Where its present field begins.
    field: usize,
    fields: HashMap<String, &'a str>,
    /// The fields of the struct that closed last, which the present field may be.
    inner: HashMap<String, &'a str>,
    parameters: Vec<&'a str>,
}

struct Reader<'a, W> {
    text: &'a str,
    wanted: W,
    open: Vec<Open<'a>>,
    fields: Fields,
}

impl<'a, W: Fn(&str) -> bool> Reader<'a, W> {
    fn read(&mut self) {
        let mut at = 0;
        while let Some(rest) = self.text.get(at..).filter(|rest| !rest.is_empty()) {
            at += match rest.chars().next() {
                Some('{' | '(' | '[') => {
                    let name = identifier_before(self.text.get(..at).unwrap_or_default());
                    let (fields, inner) = (HashMap::new(), HashMap::new());
                    self.open.push(Open { name, field: at + 1, fields, inner, parameters: Vec::new() });
                    1
                }
                Some('}' | ')' | ']') => {
                    self.end_field(at);
                    if let Some(closed) = self.open.pop() {
                        self.close(closed);
                    }
                    1
                }
                Some(',') => {
                    self.end_field(at);
                    1
                }
                Some(quote @ ('"' | '\'')) => quoted(rest, quote),
                Some(_) if rest.starts_with(PARAM) => {
                    let id = rest.get(PARAM.len()..).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
                    self.open.iter_mut().for_each(|open| open.parameters.push(id));
                    PARAM.len() + id.len()
                }
                other => other.map_or(1, char::len_utf8),
            };
        }
    }

    fn end_field(&mut self, at: usize) {
        let Some(open) = self.open.last_mut() else { return };
        let inner = Some(std::mem::take(&mut open.inner)).filter(|_| (self.wanted)(open.name)).unwrap_or_default();
        if let Some((name, value)) = self.text.get(open.field..at).and_then(|field| field.split_once(": ")) {
            open.fields.extend(inner.into_iter().map(|(field, value)| (format!("{}.{field}", name.trim()), value)));
            open.fields.insert(name.trim().to_owned(), value.trim());
        }
        open.field = at + 1;
    }

    fn close(&mut self, closed: Open<'a>) {
        if (self.wanted)(closed.name) {
            let Fields { layers, indices } = &mut self.fields;
            let fields = closed.fields.iter().map(|(name, &value)| (name.clone(), value.to_owned()));
            let new = layers.len();
            layers.push(fields.collect());
            for parameter in closed.parameters {
                let known = indices.entry((closed.name.to_owned(), parameter.to_owned())).or_insert(Some(new));
                if known.is_some_and(|known| layers.get(known) != layers.get(new)) {
                    *known = None;
                }
            }
        }
        if let Some(outer) = self.open.last_mut() {
            outer.inner = closed.fields;
        }
    }
}

/// The name of the struct or variant whose bracket comes next.
fn identifier_before(text: &str) -> &str {
    let text = text.strip_suffix(' ').unwrap_or(text);
    let start = text.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    // What stands before the name is one character wide in `Debug`: a space, a bracket or a colon.
    text.get(start..).unwrap_or_default()
}

/// The length of a string or character with its quotes; 1 for an apostrophe that opens none.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            // The longest character in `Debug` is '\u{10ffff}'.
            _ if quote == '\'' && at > 10 => return 1,
            _ => {}
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[allow(dead_code)] // read by `Debug`
    struct Layer {
        weight: Shown,
        clip: Option<f64>,
        name: &'static str,
        mark: char,
        first: bool,
    }

    /// As a Burn parameter shows itself.
    struct Shown(&'static str);

    impl Debug for Shown {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "Param: {} - ParamMapper {{ load: false, save: false }}", self.0)
        }
    }

    #[derive(Debug)]
    #[allow(dead_code)] // read by `Debug`
    struct Net {
        layers: Vec<(Layer, Option<Layer>)>,
        text: String,
    }

    #[derive(Debug)]
    #[allow(dead_code)] // read by `Debug`
    struct Pair {
        forward: Layer,
        reverse: Layer,
        width: usize,
    }

    fn layer(id: &'static str, clip: Option<f64>, first: bool) -> Layer {
        Layer { weight: Shown(id), clip, name: "a \"}, first: x", mark: '{', first }
    }

    fn field<'a>(fields: &'a Fields, module: &str, id: &str, name: &str) -> Option<&'a str> {
        fields.of(module, id)?.get(name).map(String::as_str)
    }

    #[test]
    fn each_layer_has_its_own_fields() {
        let layers =
            vec![(layer("A", None, true), Some(layer("B", Some(1.5), false))), (layer("C", None, false), None)];
        let net = Net { layers, text: "Layer { first: }, it's".to_owned() };
        let fields = Fields::read(&net, |name| name == "Layer");
        for (id, clip, first) in [("A", "None", "true"), ("B", "Some(1.5)", "false"), ("C", "None", "false")] {
            assert_eq!(field(&fields, "Layer", id, "clip"), Some(clip), "{id}");
            assert_eq!(field(&fields, "Layer", id, "first"), Some(first), "{id}");
            assert_eq!(field(&fields, "Layer", id, "mark"), Some("'{'"), "{id}");
        }
        assert_eq!(field(&fields, "Layer", "D", "clip"), None);
        assert_eq!(field(&fields, "Net", "A", "text"), None);
    }

    #[test]
    fn a_layer_has_the_fields_of_those_in_it() {
        let pair = Pair { forward: layer("A", None, true), reverse: layer("B", Some(2.0), false), width: 3 };
        let fields = Fields::read(&pair, |name| ["Layer", "Pair"].contains(&name));
        for id in ["A", "B"] {
            assert_eq!(field(&fields, "Pair", id, "forward.first"), Some("true"));
            assert_eq!(field(&fields, "Pair", id, "reverse.clip"), Some("Some(2.0)"));
            assert_eq!(field(&fields, "Pair", id, "width"), Some("3"));
            assert_eq!(field(&fields, "Pair", id, "width.first"), None);
        }
    }

    #[test]
    fn layers_with_the_same_parameters_that_differ_have_no_fields() {
        let net = vec![layer("A", None, true), layer("A", None, false), layer("B", None, true), layer("B", None, true)];
        let fields = Fields::read(&net, |name| name == "Layer");
        assert_eq!(field(&fields, "Layer", "A", "first"), None);
        assert_eq!(field(&fields, "Layer", "B", "first"), Some("true"));
    }

    #[test]
    fn a_debug_that_is_not_derived_is_read_without_harm() {
        for text in ["}}}", "Layer { first: true", "Layer {", "'", "\"", "Param: ", "Layer(Param: X)", "é{ü: 'ß"] {
            struct Text(&'static str);
            impl Debug for Text {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str(self.0)
                }
            }
            assert_eq!(field(&Fields::read(&Text(text), |_| true), "Layer", "X", "first"), None, "{text}");
        }
    }
}
