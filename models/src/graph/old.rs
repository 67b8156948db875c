//! Documents of PyTorch 2.1 and 2.2 (versions 1 and 2 of the format), as later ones have them: unions without what is absent; of 2.1 the
//! signature as specs, constants among the inputs, and the network's own names in the place of the tracer's (`L__self___net_0.weight` is
//! `net.0.weight`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The document in today's layout; `None` where it is none of these versions.
pub(super) fn upgraded(mut document: Value) -> Option<Value> {
    without_absent(&mut document);
    let version = document.get("schema_version")?.as_i64()?;
    document["schema_version"] = json!({"major": version, "minor": 0});
    let values = document.pointer_mut("/graph_module/graph/tensor_values")?;
    for value in values.as_object_mut()?.values_mut() {
        *value = meta(value)?;
    }
    if document.pointer("/graph_module/signature/inputs_to_parameters").is_some() {
        with_specs(document)
    } else {
        Some(document)
    }
}

/// A document of version 1.
fn with_specs(mut document: Value) -> Option<Value> {
    let constants = document.pointer_mut("/graph_module/graph/constants").map(Value::take).unwrap_or_default();
    let constants = constants.as_object().cloned().unwrap_or_default();
    let module = document.get_mut("graph_module")?;
    let graph = module.get_mut("graph")?;
    let mut modules = BTreeMap::new();
    for node in graph.get_mut("nodes")?.as_array_mut()? {
        if let Some(stack) = node.pointer_mut("/metadata/nn_module_stack")
            && let Some(text) = stack.as_str()
        {
            *stack = Value::String(layers(text, &mut modules));
        }
    }
    let inputs = graph.get_mut("inputs")?.as_array_mut()?;
    inputs.extend(constants.keys().map(|name| json!({"as_tensor": {"name": name}})));
    let names = Names { modules };
    let mut renamed = Map::new();
    module["signature"] = names.signature(module.get("signature")?, module.get("graph")?, &constants, &mut renamed)?;
    let spec = |which: &str| module.get("call_spec")?.get(which)?.as_str().map(str::to_owned);
    let (given, gives) = (spec("in_spec")?, spec("out_spec")?);
    module["module_call_graph"] =
        json!([{"fqn": "", "signature": {"in_spec": with_keywords(&given)?, "out_spec": gives}}]);
    document["renamed"] = Value::Object(renamed);
    document["constants"] = Value::Object(constants);
    Some(document)
}

/// Unions have an entry for each of their kinds; those that are not there are `null`.
fn without_absent(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            let is_union = |key: &String| key.starts_with("as_") || key == "user_input" || key == "user_output";
            if entries.keys().any(is_union) {
                entries.retain(|_, value| !value.is_null());
            }
            entries.values_mut().for_each(without_absent);
        }
        Value::Array(items) => items.iter_mut().for_each(without_absent),
        _ => {}
    }
}

/// What is known of a tensor: lengths are numbers, or symbols by their names.
fn meta(value: &Value) -> Option<Value> {
    let mut meta = value.get("meta").unwrap_or(value).clone();
    for list in ["sizes", "strides"] {
        for size in meta.get_mut(list)?.as_array_mut()? {
            let Some(expression) = size.get_mut("as_expr").and_then(Value::as_object_mut) else { continue };
            if let Some(hint) = expression.get("hint").and_then(Value::as_i64) {
                expression.insert("hint".to_owned(), json!({"as_int": hint}));
            }
            let text = expression.get("expr_str").and_then(Value::as_str).unwrap_or_default();
            if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric()) {
                let symbol = json!(format!("Symbol('{text}')"));
                expression.insert("expr_str".to_owned(), symbol);
            }
        }
    }
    let offset = meta.get("storage_offset").and_then(Value::as_i64);
    meta["storage_offset"] = json!({"as_int": offset.unwrap_or(0)});
    Some(meta)
}

/// `KEY:(EXPRESSION,CLASS)` as `KEY,PATH,CLASS`; notes of which module each key is.
fn layers(stack: &str, modules: &mut BTreeMap<String, String>) -> String {
    let layer = |entry: &str| {
        let (key, rest) = entry.split_once(":(")?;
        let (expression, class) = rest.strip_suffix(')')?.rsplit_once(',')?;
        let path = path_of(expression)?;
        modules.insert(key.to_owned(), path.clone());
        Some(format!("{key},{path},{class}"))
    };
    stack.split(';').filter_map(layer).collect::<Vec<_>>().join(";")
}

/// The path of a module: `net.1.fc` of `getattr(L['self'].net, '1').fc`.
fn path_of(expression: &str) -> Option<String> {
    let join = |path: String, name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let (path, rest) = match expression.strip_prefix("getattr(") {
        Some(inner) => {
            let end = closing(inner)?;
            let (object, name) = inner[..end].rsplit_once(", '")?;
            (join(path_of(object)?, name.strip_suffix('\'')?), &inner[end + 1..])
        }
        None => (String::new(), expression.strip_prefix("L['self']")?),
    };
    Some(rest.split('.').filter(|name| !name.is_empty()).fold(path, join))
}

/// Where the bracket closes that opened before the text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
        None
    })
}

/// The nesting of positional arguments, with no keyword arguments beside them.
fn with_keywords(spec: &str) -> Option<String> {
    let spec: Value = serde_json::from_str(spec).ok()?;
    let given = spec.get(1)?;
    let leaf = |kind: &str, context: &str| json!({"type": kind, "context": context, "children_spec": []});
    let mut both = leaf("builtins.tuple", "null");
    both["children_spec"] = json!([given, leaf("builtins.dict", "[]")]);
    serde_json::to_string(&json!([1, both])).ok()
}

/// The network's names.
struct Names {
    modules: BTreeMap<String, String>,
}

impl Names {
    /// A weight's name: that of its module, as the nodes tell it, and its own.
    fn own(&self, name: &str) -> String {
        let (module, rest) = name.split_once('.').unwrap_or((name, ""));
        match self.modules.get(module) {
            Some(path) if path.is_empty() => rest.to_owned(),
            Some(path) if !rest.is_empty() => format!("{path}.{rest}"),
            _ => name.strip_prefix("L__self___").unwrap_or(name).to_owned(),
        }
    }

    fn signature(
        &self,
        old: &Value,
        graph: &Value,
        constants: &Map<String, Value>,
        renamed: &mut Map<String, Value>,
    ) -> Option<Value> {
        let table = |key: &str| old.get(key).and_then(Value::as_object);
        let (parameters, buffers) = (table("inputs_to_parameters")?, table("inputs_to_buffers")?);
        let mut named = |name: &Value| {
            let name = name.as_str().unwrap_or_default();
            let own = self.own(name);
            renamed.insert(name.to_owned(), json!(own));
            own
        };
        let name_of = |argument: &Value| argument.pointer("/as_tensor/name").and_then(Value::as_str).map(str::to_owned);
        let mut inputs = Vec::new();
        for input in graph.get("inputs")?.as_array()? {
            let name = name_of(input).unwrap_or_default();
            let arg = json!({"name": name});
            inputs.push(if let Some(parameter) = parameters.get(&name) {
                json!({"parameter": {"arg": arg, "parameter_name": named(parameter)}})
            } else if let Some(buffer) = buffers.get(&name) {
                json!({"buffer": {"arg": arg, "buffer_name": named(buffer), "persistent": true}})
            } else if constants.contains_key(&name) {
                json!({"tensor_constant": {"arg": arg, "tensor_constant_name": name}})
            } else {
                json!({"user_input": {"arg": input}})
            });
        }
        let written = table("buffers_to_mutate")?;
        let mut outputs = Vec::new();
        for output in graph.get("outputs")?.as_array()? {
            let name = name_of(output).unwrap_or_default();
            outputs.push(match written.get(&name) {
                Some(buffer) => json!({"buffer_mutation": {"arg": {"name": name}, "buffer_name": named(buffer)}}),
                None => json!({"user_output": {"arg": output}}),
            });
        }
        Some(json!({"input_specs": inputs, "output_specs": outputs}))
    }
}

/// The bytes that a text in base 64 stands for; `None` where it is none.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0u32);
    for letter in text.trim_end_matches('=').bytes() {
        let value = LETTERS.iter().position(|&known| known == letter)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_by_the_expressions_of_the_tracer() {
        let cases = [
            ("L['self']", ""),
            ("L['self'].conv", "conv"),
            ("getattr(L['self'].net, '1')", "net.1"),
            ("getattr(getattr(L['self'].net, '1').blocks, '0').fc", "net.1.blocks.0.fc"),
        ];
        for (expression, path) in cases {
            assert_eq!(path_of(expression).as_deref(), Some(path), "{expression}");
        }
        assert_eq!(path_of("getattr(L['self'].net"), None);
    }

    #[test]
    fn base_64_is_read() {
        assert_eq!(decoded("UEsDBA==").as_deref(), Some(&b"PK\x03\x04"[..]));
        assert_eq!(decoded("aGVsbG8").as_deref(), Some(&b"hello"[..]));
        assert_eq!(decoded("a b"), None);
    }
}
