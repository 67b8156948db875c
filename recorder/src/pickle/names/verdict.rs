//! Names: which of them plain `torch.load` takes, which would run code or reach beyond the file if Python called them, and
//! how Python 2's are spelled today. Names are only ever compared; nothing here is looked up or called.

use crate::pickle::names::dangerous::danger;
use crate::pickle::names::dtypes;
use crate::pickle::names::known::{Harmless, known};
use crate::pickle::names::listed::Use;
use crate::pickle::names::words::is_word;
use crate::value::Global;

/// What Python would make of a name in a pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Plain `torch.load` takes it: it is on the allowlist of its unpickler.
    Torch,
    /// Plain `torch.load` refuses it; it is known to be harmless data.
    Inert,
    /// Python would import it, and may call it, and nobody here knows what it does.
    Unknown,
    /// Unpickling it in Python could run code, or reach files, processes or the network.
    Dangerous,
}

/// What kind of thing a name on torch's allowlist is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// A class whose instances take a state and, for dicts, entries.
    Class,
    /// A class or function that may only be called.
    Callable,
    /// A name that stands for itself.
    Constant,
}

/// The allowlist of the unpickler of PyTorch 2.15, all but the families below: lists of words, one space between.
const TORCH: &[(&str, Allowed, &str)] = &[
    ("collections", Allowed::Class, "OrderedDict Counter"),
    ("torch.nn.parameter", Allowed::Class, "Parameter"),
    ("torch", Allowed::Class, "Tensor"),
    ("torch", Allowed::Callable, "Size device"),
    ("torch.serialization", Allowed::Callable, "_get_layout"),
    ("_codecs", Allowed::Callable, "encode"),
    ("builtins", Allowed::Callable, "bytearray set complex"),
    ("torch._tensor", Allowed::Callable, "_rebuild_from_type_v2"),
    ("torch._utils", Allowed::Callable, REBUILDING),
    ("torch", Allowed::Constant, "per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric"),
    ("torch", Allowed::Constant, "per_channel_affine_float_qparams"),
    ("torch", Allowed::Constant, "uint1 uint2 uint3 uint4 uint5 uint6 uint7"),
    ("torch", Allowed::Constant, "int1 int2 int3 int4 int5 int6 int7"),
    ("torch.storage", Allowed::Constant, "TypedStorage UntypedStorage"),
    ("torch", Allowed::Constant, "QInt8Storage QInt32Storage QUInt8Storage QUInt4x2Storage QUInt2x4Storage"),
    ("torch", Allowed::Constant, COMPLEX),
];

const REBUILDING: &str = "
    _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state
    _rebuild_qtensor _rebuild_sparse_tensor _rebuild_meta_tensor_no_storage _rebuild_wrapper_subclass
    _rebuild_device_tensor_from_numpy _rebuild_device_tensor_from_cpu_tensor
";
const COMPLEX: &str = "ComplexDoubleStorage ComplexFloatStorage";

/// The old tensor and storage classes, `<element><Tensor|Storage>`, and where they are.
const ELEMENTS: &[&str] = &["Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"];

/// What the allowlist says of a name; `None` where it does not have it.
pub(crate) fn allowed(global: &Global) -> Option<Allowed> {
    let (module, name) = torch_name(&global.module, &global.name);
    if dtypes::dtype(module, name).is_some() {
        return Some(Allowed::Constant);
    }
    if let Some(row) = TORCH.iter().find(|row| row.0 == module && is_word(row.2, name)) {
        return Some(row.1);
    }
    let element = |suffix: &str| name.strip_suffix(suffix).is_some_and(|element| ELEMENTS.contains(&element));
    match module {
        "torch" | "torch.cuda" if element("Tensor") => Some(Allowed::Class),
        "torch.sparse" | "torch.cuda.sparse" if element("Tensor") && name != "BoolTensor" => Some(Allowed::Class),
        "torch" | "torch.cuda" if element("Storage") => Some(Allowed::Constant),
        "torch.cuda" if is_word(COMPLEX, name) => Some(Allowed::Constant),
        _ => None,
    }
}

/// What Python would make of this name, however a pickle uses it.
#[must_use]
pub fn verdict(global: &Global) -> Verdict {
    verdict_of_use(global, Use::default()).0
}

/// What Python would make of this name in such a use, and why.
#[must_use]
pub fn verdict_of_use(global: &Global, used: Use) -> (Verdict, &'static str) {
    if allowed(global).is_some() {
        return (Verdict::Torch, "plain torch.load takes it");
    }
    if used.names_alone {
        return (
            Verdict::Inert,
            "gives an attribute of a class by a name that stands in the file; that name has its own verdict",
        );
    }
    if used.loads_literals && global.is("torch.storage", "_load_from_bytes") {
        return (Verdict::Inert, "loads a storage from bytes that stand in the file, which were looked through, too");
    }
    let (module, name) = python3_name(&global.module, &global.name);
    if let Some(why) = danger(module, name) {
        return (Verdict::Dangerous, why);
    }
    let known = known(module, name);
    // As it stood it may be another's name.
    let stood = || danger(&global.module, &global.name).filter(|_| (&*global.module, &*global.name) != (module, name));
    if let Some(why) = stood().filter(|_| known.is_none()) {
        return (Verdict::Dangerous, why);
    }
    match known {
        Some((Harmless::AsData, _)) if used.called => {
            (Verdict::Unknown, "known as data, and here Python would call it: nobody here knows what that does")
        }
        Some((_, why)) => (Verdict::Inert, why),
        None => (Verdict::Unknown, "Python would import it and may call it, and nobody here knows what it does"),
    }
}

/// Python 2's modules by today's names. As long as PyTorch's own table where both have a row.
const MODULES: &[(&str, &str)] = &[
    ("__builtin__", "builtins"),
    ("copy_reg", "copyreg"),
    ("Queue", "queue"),
    ("repr", "reprlib"),
    ("_abcoll", "collections.abc"),
    ("UserDict", "collections"),
    ("UserList", "collections"),
    ("UserString", "collections"),
    ("whichdb", "dbm"),
    ("StringIO", "io"),
    ("cStringIO", "io"),
];

/// Python 2's modules that PyTorch's unpickler does not map.
const MORE_MODULES: &[(&str, &str)] = &[
    ("cPickle", "pickle"),
    ("commands", "subprocess"),
    ("httplib", "http.client"),
    ("urllib2", "urllib.request"),
    ("urlparse", "urllib.parse"),
    ("thread", "_thread"),
    ("SocketServer", "socketserver"),
    ("ConfigParser", "configparser"),
    ("xmlrpclib", "xmlrpc.client"),
    ("exceptions", "builtins"),
];

/// Python 2's names by today's.
const NAMES: &[(&str, &str, &str, &str)] = &[
    ("__builtin__", "xrange", "builtins", "range"),
    ("__builtin__", "reduce", "functools", "reduce"),
    ("__builtin__", "intern", "sys", "intern"),
    ("__builtin__", "unichr", "builtins", "chr"),
    ("__builtin__", "unicode", "builtins", "str"),
    ("__builtin__", "long", "builtins", "int"),
    ("__builtin__", "basestring", "builtins", "str"),
    ("itertools", "izip", "builtins", "zip"),
    ("itertools", "imap", "builtins", "map"),
    ("itertools", "ifilter", "builtins", "filter"),
    ("itertools", "ifilterfalse", "itertools", "filterfalse"),
    ("itertools", "izip_longest", "itertools", "zip_longest"),
    ("UserDict", "IterableUserDict", "collections", "UserDict"),
    ("exceptions", "StandardError", "builtins", "Exception"),
];

/// A name as PyTorch's unpickler looks it up.
fn torch_name<'a>(module: &'a str, name: &'a str) -> (&'a str, &'a str) {
    match NAMES.iter().find(|row| row.0 == module && row.1 == name) {
        Some(row) => (row.2, row.3),
        None => (MODULES.iter().find(|row| row.0 == module).map_or(module, |row| row.1), name),
    }
}

/// A name as Python 3 looks it up when it reads a pickle of protocols 0 to 2.
pub(crate) fn python3_name<'a>(module: &'a str, name: &'a str) -> (&'a str, &'a str) {
    let (module, name) = torch_name(module, name);
    (MORE_MODULES.iter().find(|row| row.0 == module).map_or(module, |row| row.1), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowlist_of_pytorch_has_144_names() {
        let families = 4 * ELEMENTS.len() + 2 * (ELEMENTS.len() - 1) + COMPLEX.split(' ').count();
        let listed: usize = TORCH.iter().map(|row| row.2.split_whitespace().count()).sum();
        assert_eq!(families + listed + crate::DType::ALL.len(), 144);
    }
}
