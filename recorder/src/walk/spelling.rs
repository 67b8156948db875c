//! How one part of a path is spelled, so that every place has a spelling of its own: a string key that would read like another
//! way is quoted, and where two keys look alike the second is `#2`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::printable::printable_name;
use crate::value::Key;
use crate::walk::contents::{attributes, attributes_in, contents, is_module_state, is_registry};
use crate::walk::label::Label;
use crate::walk::repr::{quoted, repr};
use crate::{Dict, Value};

/// What a part of a path begins with, but for the first.
const BEGINS: [char; 6] = ['.', '[', '(', '{', '@', '#'];

/// Keys with more places where another part could begin, or that begin farther in, are quoted unseen.
const BEGINNINGS: usize = 64;
const LENGTH: usize = 4096;

/// How many labels may be compared for a container, and for each of its keys: keys made to be compared without end are quoted
/// unseen, too.
const COMPARED: usize = 4096;
const COMPARED_EACH: usize = 64;

/// Spells the parts of a path in one container, in order.
pub(super) struct Speller {
    container: Value,
    /// Whether the container is the root, where a string key comes without a dot.
    first: bool,
    /// How often each spelling occurred, of those that could occur again.
    spelled: HashMap<String, usize>,
    /// How keys with an identity were spelled.
    keys: HashMap<usize, String>,
    /// What an object holds by string keys; found when it is first asked for.
    named: Option<HashMap<Arc<str>, Vec<Value>>>,
    /// How many labels may yet be compared.
    left: usize,
}

impl Speller {
    pub(super) fn new(container: &Value, first: bool) -> Self {
        let keys = container.as_dict().map_or(0, Dict::len);
        let left = COMPARED + COMPARED_EACH * keys;
        Speller {
            container: container.clone(),
            first,
            spelled: HashMap::new(),
            keys: HashMap::new(),
            named: None,
            left,
        }
    }

    /// Adds the part of the path that leads to this value.
    pub(super) fn write(&mut self, label: &Label, value: &Value, path: &mut String) {
        let start = path.len();
        match label {
            Label::KeyItself(key) if key.id().is_some_and(|id| self.keys.contains_key(&id)) => {
                let spelled = key.id().and_then(|id| self.keys.get(&id)).map_or("", String::as_str);
                return path.extend([spelled, "(key)"]);
            }
            Label::Key(Value::Str(key)) if self.is_ambiguous(key, value) => path.push_str(&quoted(key)),
            Label::Key(Value::Str(key)) => {
                path.push_str(if self.first { "" } else { "." });
                path.push_str(key);
            }
            label => label.write(path),
        }
        if self.may_repeat(label)
            && let Some(nth) = self.repeated(&path[start..])
        {
            path.push_str(&nth);
        }
        if let Label::Key(key) = label
            && let Some(id) = key.id()
        {
            self.keys.insert(id, path[start..].to_owned());
        }
    }

    /// How much of the rest of a path this part takes, spelled as [`Speller::write`] spells it.
    pub(super) fn length(&mut self, label: &Label, value: &Value, rest: &str) -> Option<usize> {
        if let Label::Key(Value::Str(key)) = label
            && !self.may_repeat(label)
        {
            let bare = if self.first { Some(rest) } else { rest.strip_prefix('.') };
            let after = bare.and_then(|bare| bare.strip_prefix(&**key));
            let bare = after.filter(|after| after.is_empty() || after.starts_with(BEGINS));
            let quoted = rest.starts_with('[').then(|| rest.strip_prefix(&*quoted(key))).flatten();
            let after = match (bare, quoted) {
                (None, None) => return None,
                _ if self.is_ambiguous(key, value) => quoted?,
                _ => bare?,
            };
            return Some(rest.len() - after.len());
        }
        let mut text = String::new();
        self.write(label, value, &mut text);
        rest.starts_with(&text).then_some(text.len())
    }

    /// Whether another part may be spelled alike: keys that are no strings may (`nan` twice, two tensors), indices and the string
    /// keys of a dict may not.
    fn may_repeat(&self, label: &Label) -> bool {
        match label {
            Label::Key(Value::Int(_) | Value::Bool(_) | Value::None | Value::Str(_)) | Label::Index(_) => {
                matches!(self.container, Value::Object(_))
            }
            _ => true,
        }
    }

    /// What tells this spelling from the same before it.
    fn repeated(&mut self, spelled: &str) -> Option<String> {
        let count = self.spelled.entry(spelled.to_owned()).or_default();
        *count += 1;
        (*count > 1).then(|| format!("#{count}"))
    }

    /// Whether a string key, spelled as it is, could be read as another way.
    fn is_ambiguous(&mut self, key: &str, value: &Value) -> bool {
        self.may_be_quoted(key, value, false)
    }

    /// The same; `again`, where it is asked of a key because of another, rather once too often.
    fn may_be_quoted(&mut self, key: &str, value: &Value, again: bool) -> bool {
        // What is behind the key may go on as what is behind another.
        let open = || has_contents(value);
        if key.is_empty() || self.is_shown_as_another(key) {
            return true;
        }
        if self.first && key.starts_with(BEGINS) && self.meets_at_root(key, open(), again) {
            return true;
        }
        for (n, (at, begin)) in key.match_indices(BEGINS).enumerate() {
            if n >= BEGINNINGS || at > LENGTH {
                return true;
            }
            for sibling in self.siblings(&key[..at]) {
                if begin == "#" && matches!(self.container, Value::Object(_)) || self.meets(sibling, &key[at..], open())
                {
                    return true;
                }
            }
        }
        false
    }

    /// Whether a terminal, which escapes control characters, would show it as another key is written.
    fn is_shown_as_another(&mut self, key: &str) -> bool {
        // Most keys are of nothing that is ever escaped.
        if key.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\') {
            return false;
        }
        match printable_name(key) {
            Cow::Owned(shown) if shown != key => !self.siblings(&shown).is_empty(),
            _ => false,
        }
    }

    /// What is in the container under a string key.
    fn siblings(&mut self, key: &str) -> Vec<Value> {
        match &self.container {
            Value::Dict(dict) => dict.get(key).into_iter().collect(),
            container => {
                let named = self.named.get_or_insert_with(|| {
                    let mut named: HashMap<Arc<str>, Vec<Value>> = HashMap::new();
                    for (label, value, _) in contents(container) {
                        if let Label::Key(Value::Str(key)) = label {
                            named.entry(key).or_default().push(value);
                        }
                    }
                    named
                });
                named.get(key).cloned().unwrap_or_default()
            }
        }
    }

    /// The same of a key at the root that begins as no string key does.
    fn meets_at_root(&mut self, key: &str, open: bool, again: bool) -> bool {
        let all = labels(&self.container, key);
        let Some(left) = self.left.checked_sub(all.len()) else { return true };
        self.left = left;
        for (label, inside) in all {
            let texts = match &label {
                Label::Key(Value::Str(other)) if **other == *key => continue,
                Label::Key(Value::Str(other)) if other.starts_with(BEGINS) => {
                    // Quoted only where that key meets another in turn.
                    let may_be_quoted = again || self.may_be_quoted(other, &inside, true);
                    let forms = [other.to_string(), quoted(other)];
                    forms.into_iter().take(1 + usize::from(may_be_quoted)).collect()
                }
                Label::Key(Value::Str(other)) if self.is_ambiguous(other, &inside) => vec![quoted(other)],
                Label::Key(Value::Str(_)) => continue,
                label => forms(label),
            };
            for text in texts {
                let met = match key.strip_prefix(&*text) {
                    Some("") => true,
                    Some(after) => after.starts_with(BEGINS) && self.meets(inside.clone(), after, open),
                    None => open && text.strip_prefix(key).is_some_and(|more| more.starts_with(BEGINS)),
                };
                if met {
                    return true;
                }
            }
        }
        false
    }

    /// Whether some way from a value on is spelled so, or (with `open`) begins so.
    fn meets(&mut self, value: Value, rest: &str, open: bool) -> bool {
        let mut seen = HashSet::new();
        let mut waiting = vec![(value, rest)];
        while let Some((value, rest)) = waiting.pop() {
            if value.id().is_some_and(|id| !seen.insert((id, rest.len()))) {
                continue;
            }
            let inside = labels(&value, rest);
            let Some(left) = self.left.checked_sub(inside.len()) else { return true };
            self.left = left;
            for (label, inside) in inside {
                for text in forms(&label) {
                    let met = match rest.strip_prefix(&*text) {
                        Some(after) => after.is_empty(),
                        None => open && text.strip_prefix(rest).is_some_and(|more| more.starts_with(BEGINS)),
                    };
                    if met {
                        return true;
                    }
                    let after = rest.strip_prefix(&*text).filter(|after| after.starts_with(BEGINS));
                    waiting.extend(after.map(|after| (inside.clone(), after)));
                }
            }
        }
        false
    }
}

/// Adds the part of a path that leads to an entry of a dict; nothing for a registry of a module, whose entries are the module's.
pub(crate) fn write_entry(dict: &Dict, index: usize, path: &mut String) {
    let mut speller = Speller::new(&dict.clone().into(), path.is_empty());
    for (i, (key, value)) in dict.entries().into_iter().enumerate().take(index + 1) {
        let is_registry = || key.as_str().is_some_and(is_registry) && is_module_state(dict);
        if i == index && !is_registry() {
            speller.write(&Label::Key(key), &value, path);
        } else if !matches!(key, Value::Str(_)) {
            speller.write(&Label::Key(key), &value, &mut String::new());
        }
    }
}

/// The path that these keys lead, from the root on: keys of dicts and objects, and places in lists.
pub(crate) fn spelled(root: &Value, keys: &[Value]) -> String {
    let (mut path, mut value) = (String::new(), Some(root.clone()));
    for key in keys {
        value = match value.and_then(|value| write_part(&value, key, &mut path)) {
            Some(inside) => Some(inside),
            None => {
                // Nothing is there yet.
                Label::Key(key.clone()).write(&mut path);
                None
            }
        };
    }
    path
}

/// Adds the part of a path that leads to what is under a key; gives that.
fn write_part(container: &Value, key: &Value, path: &mut String) -> Option<Value> {
    let mut speller = Speller::new(container, path.is_empty());
    match container {
        Value::Dict(dict) => {
            let index = dict.read().entries.get_index_of(&Key(key.clone()))?;
            let entries = dict.entries();
            // Keys that print alike are told apart by their order.
            let before = if matches!(key, Value::Str(_)) { 0 } else { index };
            for (other, inside) in entries.iter().take(before).filter(|(other, _)| !matches!(other, Value::Str(_))) {
                speller.write(&Label::Key(other.clone()), inside, &mut String::new());
            }
            let (key, inside) = entries.into_iter().nth(index)?;
            speller.write(&Label::Key(key), &inside, path);
            Some(inside)
        }
        Value::Object(_) => {
            let wanted = repr(key);
            for (label, inside, _) in contents(container) {
                if matches!(&label, Label::Key(other) if repr(other) == wanted) {
                    speller.write(&label, &inside, path);
                    return Some(inside);
                }
                speller.write(&label, &inside, &mut String::new());
            }
            None
        }
        other => {
            let index = usize::try_from(key.as_i64()?).ok()?;
            let inside = other.items()?.get(index)?.clone();
            speller.write(&Label::Index(index), &inside, path);
            Some(inside)
        }
    }
}

/// The parts of paths that lead to what is in a container under keys or places, in order; `first`, where it is the root.
pub(crate) fn parts(container: &Value, first: bool) -> Vec<String> {
    let mut speller = Speller::new(container, first);
    let mut part = |label: &Label, inside: &Value| {
        let mut text = String::new();
        speller.write(label, inside, &mut text);
        text
    };
    match container {
        Value::Dict(dict) => dict.entries().into_iter().map(|(key, inside)| part(&Label::Key(key), &inside)).collect(),
        Value::Object(_) => {
            let all = contents(container).into_iter().map(|(label, inside, _)| (part(&label, &inside), label));
            all.filter(|(_, label)| matches!(label, Label::Key(_))).map(|(text, _)| text).collect()
        }
        other => {
            let items = other.items().unwrap_or_default();
            items.iter().enumerate().map(|(index, inside)| part(&Label::Index(index), inside)).collect()
        }
    }
}

/// Whether a path goes on behind a value.
fn has_contents(value: &Value) -> bool {
    match value {
        Value::Dict(dict) => !dict.is_empty(),
        Value::List(list) => !list.read().is_empty(),
        Value::Tuple(items) => !items.is_empty(),
        value => !contents(value).is_empty(),
    }
}

/// The labels in a container that a path may go on with.
fn labels(value: &Value, rest: &str) -> Vec<(Label, Value)> {
    match value {
        Value::Dict(dict) => {
            let entries = dict.entries().into_iter();
            let keys: Vec<_> = entries.clone().map(|(key, _)| key).filter(|key| key.id().is_some()).collect();
            let mut all: Vec<_> = entries.map(|(key, value)| (Label::Key(key), value)).collect();
            all.extend(keys.into_iter().map(|key| (Label::KeyItself(key.clone()), key)));
            let mut beside = Vec::new();
            dict.state().iter().filter_map(attributes).flatten().for_each(|dict| attributes_in(&dict, &mut beside));
            all.extend(beside.into_iter().map(|(label, value, _)| (label, value)));
            all
        }
        Value::Set(_) | Value::FrozenSet(_) => {
            let index = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')?.0.parse().ok());
            let item = |index: usize| match value {
                Value::Set(items) => items.read().get(index).cloned(),
                Value::FrozenSet(items) => items.get(index).cloned(),
                _ => None,
            };
            index.and_then(|index| Some((Label::Member(index), item(index)?))).into_iter().collect()
        }
        Value::List(_) | Value::Tuple(_) => {
            let index = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')?.0.parse().ok());
            let item = index.and_then(|index: usize| Some((index, value.items()?.get(index)?.clone())));
            item.map(|(index, item)| (Label::Index(index), item)).into_iter().collect()
        }
        value => contents(value).into_iter().map(|(label, value, _)| (label, value)).collect(),
    }
}

/// A label bare and, where it is a string, quoted.
fn forms(label: &Label) -> Vec<String> {
    match label {
        Label::Key(Value::Str(key)) => vec![format!(".{key}"), quoted(key)],
        label => {
            let mut text = String::new();
            label.write(&mut text);
            vec![text]
        }
    }
}
