//! What the code in an archive says of its classes: which are modules, which of a module's attributes are parameters and
//! buffers, and what its constants are. The code is read as text, line by line, as far as PyTorch's own printer writes it; nothing is compiled.

use std::collections::{HashMap, HashSet};

use crate::container::torchscript::constants::{self, string};
use crate::container::zip::Storages;
use crate::{Error, Global, Result, Value};

/// What is known of a class.
#[derive(Clone, Debug, Default)]
pub(super) struct Class {
    /// Whether it is a module; else an object of the model's own, a named tuple, an enumeration.
    pub(super) module: bool,
    parameters: HashSet<String>,
    /// `None` in old archives, which have no such list: every other tensor was a buffer then.
    buffers: Option<HashSet<String>>,
    /// Attributes that may hold something else than a tensor (`Optional[Tensor]`): no buffers to PyTorch.
    untensored: HashSet<String>,
    /// What every object of it has, and none of them keeps: the code spells it out.
    pub(super) constants: Vec<(String, Value)>,
}

/// What a tensor is to the module that it is an attribute of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Parameter,
    Buffer,
    /// `state_dict()` leaves it out.
    Attribute,
}

impl Class {
    pub(super) fn role(&self, name: &str) -> Role {
        if self.parameters.contains(name) {
            return Role::Parameter;
        }
        let listed = self.buffers.as_ref().is_none_or(|buffers| buffers.contains(name));
        if listed && !self.untensored.contains(name) { Role::Buffer } else { Role::Attribute }
    }
}

/// The classes of an archive, each file of code read when a class in it is first asked for.
pub(super) struct Classes<'a> {
    storages: &'a Storages,
    /// What the code calls `CONSTANTS`.
    constants: &'a [Value],
    files: HashMap<String, HashMap<String, Class>>,
}

impl<'a> Classes<'a> {
    pub(super) fn new(storages: &'a Storages, constants: &'a [Value]) -> Self {
        Classes { storages, constants, files: HashMap::new() }
    }

    /// The class of this name; `None` where the archive has no code for it.
    pub(super) fn find(&mut self, class: &Global) -> Result<Option<&Class>> {
        if !self.files.contains_key(&*class.module) {
            let record = format!("code/{}.py", class.module.replace('.', "/"));
            let text = match self.storages.archive().find(&record) {
                Some(_) => self.storages.read(&record)?,
                None => bytes::Bytes::new(),
            };
            let text = std::str::from_utf8(&text)
                .map_err(|_| Error::damaged(format!("record {record}"), "it is no text in UTF-8"))?;
            self.files.insert(class.module.to_string(), parse(text, self.constants));
        }
        Ok(self.files.get(&*class.module).and_then(|classes| classes.get(&*class.name)))
    }
}

/// The classes that a file of code defines.
fn parse(text: &str, constants: &[Value]) -> HashMap<String, Class> {
    let mut classes = HashMap::new();
    let mut open: Option<(String, Class)> = None;
    for line in text.lines() {
        let Some(attribute) = line.strip_prefix("  ") else {
            classes.extend(open.take());
            open = line.strip_prefix("class ").and_then(|rest| rest.strip_suffix(':')).map(|head| {
                let (name, base) = head.split_once('(').unwrap_or((head, ""));
                (name.to_owned(), Class { module: base == "Module)", ..Class::default() })
            });
            continue;
        };
        // Methods follow the attributes, and what is in them lies deeper.
        let Some((_, class)) = &mut open else { continue };
        if let Some(list) = attribute.strip_prefix("__parameters__ = ") {
            class.parameters = strings(list);
        } else if let Some(list) = attribute.strip_prefix("__buffers__ = ") {
            class.buffers = Some(strings(list));
        } else if let Some((name, annotation)) = annotation(attribute) {
            let value = annotation.strip_prefix("Final[").and_then(|rest| rest.split_once("] = "));
            if let Some((_, value)) = value {
                class.constants.extend(constants::parse(value, constants).map(|value| (name, value)));
            } else if annotation != "Tensor" {
                class.untensored.insert(name);
            }
        }
    }
    classes.extend(open);
    classes
}

/// `name : Type`, or `__annotations__["name"] = Type` for what is no name in Python.
fn annotation(line: &str) -> Option<(String, &str)> {
    if let Some(rest) = line.strip_prefix("__annotations__[") {
        let (name, rest) = string(rest)?;
        return Some((name, rest.strip_prefix("] = ")?));
    }
    let (name, annotation) = line.split_once(" : ")?;
    (!name.starts_with(' ')).then(|| (name.to_owned(), annotation))
}

/// The strings of `["a", "b", ]`.
fn strings(list: &str) -> HashSet<String> {
    let mut rest = list.trim_start_matches('[');
    let mut found = HashSet::new();
    while let Some((text, after)) = string(rest) {
        found.insert(text);
        rest = after.trim_start_matches([',', ' ']);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_a_module_tell_its_tensors_apart() {
        let code = "class Net(Module):\n  __parameters__ = [\"w\", \"a\\\"b\", ]\n  __buffers__ = [\"mean\", \"maybe\", \"0\", \"\\303\\251\", ]\n  \
                    w : Tensor\n  mean : Tensor\n  maybe : Optional[Tensor]\n  plain : Tensor\n  eps : Final[float] = 0.5\n  \
                    __annotations__[\"0\"] = Optional[Tensor]\n  def forward(self: __torch__.Net,\n    x : int) -> Tensor:\n    \
                    __parameters__ = []\n    return x\nclass Pair(NamedTuple):\n  x : Tensor\nclass Old(Module):\n  \
                    __parameters__ = []\n";
        let classes = parse(code, &[]);
        let net = &classes["Net"];
        assert!(net.module && !classes["Pair"].module && classes["Old"].module);
        for (name, role) in [
            ("w", Role::Parameter),
            ("a\"b", Role::Parameter),
            ("mean", Role::Buffer),
            ("\u{e9}", Role::Buffer),
            ("maybe", Role::Attribute),
            ("0", Role::Attribute),
            ("plain", Role::Attribute),
        ] {
            assert_eq!(net.role(name), role, "{name}");
        }
        assert_eq!(classes["Old"].role("anything"), Role::Buffer);
        assert!(matches!(&net.constants[..], [(name, Value::Float(eps))] if name == "eps" && *eps == 0.5));
    }

    #[test]
    fn code_that_pytorch_would_not_print_is_no_trouble() {
        for code in [
            "",
            "class",
            "class :",
            "class X(Module):\n  __parameters__ = [\"a",
            "  x : y\n",
            "class X:\n  __buffers__ = [\"\\",
            "class X:\n  __annotations__[\"\\777\"] = Tensor",
        ] {
            parse(code, &[]);
        }
    }
}
