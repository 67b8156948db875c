//! Names: which of them plain `torch.load` takes, which would run code or reach beyond the file if Python called them, and
//! how Python 2's are spelled today. Names are only ever compared; nothing here is looked up or called.

use crate::value::Global;

/// What Python would make of a name in a pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Plain `torch.load` takes it: it is on the allowlist of its unpickler.
    Torch,
    /// Plain `torch.load` refuses it; to all appearance a class of some library, kept as data here.
    Inert,
    /// Unpickling it in Python could run code, or reach files, processes or the network.
    Dangerous,
}

/// What kind of thing a name on torch's allowlist is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// A class whose instances take a state and, for dicts, entries.
    Class,
    /// A class or function that may only be called.
    Callable,
    /// A name that stands for itself.
    Constant,
}

/// The allowlist of the unpickler of PyTorch 2.15, all but the families below.
const TORCH: &[(&str, Allowed, &[&str])] = &[
    ("collections", Allowed::Class, &["OrderedDict", "Counter"]),
    ("torch.nn.parameter", Allowed::Class, &["Parameter"]),
    ("torch", Allowed::Class, &["Tensor"]),
    ("torch", Allowed::Callable, &["Size", "device"]),
    ("torch.serialization", Allowed::Callable, &["_get_layout"]),
    ("_codecs", Allowed::Callable, &["encode"]),
    ("builtins", Allowed::Callable, &["bytearray", "set", "complex"]),
    ("torch._tensor", Allowed::Callable, &["_rebuild_from_type_v2"]),
    (
        "torch._utils",
        Allowed::Callable,
        &[
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_qtensor",
            "_rebuild_sparse_tensor",
            "_rebuild_meta_tensor_no_storage",
            "_rebuild_wrapper_subclass",
            "_rebuild_device_tensor_from_numpy",
            "_rebuild_device_tensor_from_cpu_tensor",
        ],
    ),
    (
        "torch",
        Allowed::Constant,
        &[
            "per_tensor_affine",
            "per_tensor_symmetric",
            "per_channel_affine",
            "per_channel_symmetric",
            "per_channel_affine_float_qparams",
        ],
    ),
    ("torch", Allowed::Constant, &["uint1", "uint2", "uint3", "uint4", "uint5", "uint6", "uint7"]),
    ("torch", Allowed::Constant, &["int1", "int2", "int3", "int4", "int5", "int6", "int7"]),
    ("torch.storage", Allowed::Constant, &["TypedStorage", "UntypedStorage"]),
    ("torch", Allowed::Constant, QUANTIZED),
    ("torch", Allowed::Constant, COMPLEX),
];

const QUANTIZED: &[&str] = &["QInt8Storage", "QInt32Storage", "QUInt8Storage", "QUInt4x2Storage", "QUInt2x4Storage"];
const COMPLEX: &[&str] = &["ComplexDoubleStorage", "ComplexFloatStorage"];

/// The old tensor and storage classes, `<element><Tensor|Storage>`, and where they are.
const ELEMENTS: &[&str] = &["Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"];

/// What the allowlist says of a name; `None` where it does not have it.
pub(super) fn allowed(global: &Global) -> Option<Allowed> {
    let (module, name) = torch_name(&global.module, &global.name);
    if super::torch::dtype(module, name).is_some() {
        return Some(Allowed::Constant);
    }
    if let Some(row) = TORCH.iter().find(|row| row.0 == module && row.2.contains(&name)) {
        return Some(row.1);
    }
    let element = |suffix: &str| name.strip_suffix(suffix).is_some_and(|element| ELEMENTS.contains(&element));
    match module {
        "torch" | "torch.cuda" if element("Tensor") => Some(Allowed::Class),
        "torch.sparse" | "torch.cuda.sparse" if element("Tensor") && name != "BoolTensor" => Some(Allowed::Class),
        "torch" | "torch.cuda" if element("Storage") => Some(Allowed::Constant),
        "torch.cuda" if COMPLEX.contains(&name) => Some(Allowed::Constant),
        _ => None,
    }
}

/// What Python would make of this name.
#[must_use]
pub fn verdict(global: &Global) -> Verdict {
    if allowed(global).is_some() {
        return Verdict::Torch;
    }
    let spelled = is_dangerous(&global.module, &global.name);
    let (module, name) = python3_name(&global.module, &global.name);
    if spelled || is_dangerous(module, name) { Verdict::Dangerous } else { Verdict::Inert }
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
pub(super) fn python3_name<'a>(module: &'a str, name: &'a str) -> (&'a str, &'a str) {
    let (module, name) = torch_name(module, name);
    (MORE_MODULES.iter().find(|row| row.0 == module).map_or(module, |row| row.1), name)
}

fn is_dangerous(module: &str, name: &str) -> bool {
    if module == "builtins" {
        let exception = ["Error", "Exception", "Warning", "Exit", "Interrupt", "Iteration"];
        return !INERT_BUILTINS.contains(&name) && !exception.iter().any(|end| name.ends_with(end));
    }
    if module == "copyreg" {
        return !matches!(name, "_reconstructor" | "__newobj__" | "__newobj_ex__");
    }
    let within =
        |whole: &str, part: &str| whole.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    // A dotted name leads through attributes, and a module's attributes are other modules.
    let components = || module.split('.').skip(1).chain(name.split('.')).map(|part| part.trim_start_matches('_'));
    DANGEROUS_MODULES.iter().any(|part| within(module, part))
        || DANGEROUS_NAMES.iter().any(|row| within(module, row.0) && row.1.iter().any(|part| within(name, part)))
        || components().any(|part| REACHABLE_MODULES.contains(&part) || DANGEROUS_FUNCTIONS.contains(&part))
        || name.split('.').any(|part| part.len() > 4 && part.starts_with("__") && part.ends_with("__"))
        || name.is_empty()
        || !is_dotted_name(module)
        || !is_dotted_name(name)
        || module == "pathlib" && name.contains('.')
}

/// Whether it is of the form `a.b.c`. What is not was made to deceive.
fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "_<>-".contains(c)))
}

/// Built-in names that only make a value of their arguments. All others count as dangerous.
const INERT_BUILTINS: &[&str] = &[
    "Ellipsis",
    "NotImplemented",
    "None",
    "True",
    "False",
    "abs",
    "all",
    "any",
    "ascii",
    "bin",
    "bool",
    "bytearray",
    "bytes",
    "chr",
    "classmethod",
    "complex",
    "dict",
    "divmod",
    "enumerate",
    "float",
    "format",
    "frozenset",
    "hash",
    "hex",
    "id",
    "int",
    "isinstance",
    "issubclass",
    "iter",
    "len",
    "list",
    "max",
    "memoryview",
    "min",
    "next",
    "object",
    "oct",
    "ord",
    "pow",
    "print",
    "property",
    "range",
    "repr",
    "reversed",
    "round",
    "set",
    "slice",
    "sorted",
    "staticmethod",
    "str",
    "sum",
    "super",
    "tuple",
    "type",
    "zip",
    "buffer",
    "cmp",
    "coerce",
];

/// Modules all of whose names count as dangerous, with everything below them.
const DANGEROUS_MODULES: &[&str] = &[
    // The system, processes, other languages.
    "os",
    "posix",
    "nt",
    "sys",
    "subprocess",
    "_posixsubprocess",
    "commands",
    "popen2",
    "pty",
    "tty",
    "fcntl",
    "resource",
    "signal",
    "syslog",
    "multiprocessing",
    "_multiprocessing",
    "concurrent",
    "threading",
    "_thread",
    "thread",
    "dummy_thread",
    "ctypes",
    "_ctypes",
    "cffi",
    "_cffi_backend",
    "winreg",
    "_winreg",
    "_winapi",
    "msvcrt",
    "gc",
    "atexit",
    "faulthandler",
    "psutil",
    "sh",
    "plumbum",
    "invoke",
    "pexpect",
    "ptyprocess",
    "fabric",
    "paramiko",
    "docker",
    "posixpath",
    "ntpath",
    "genericpath",
    "nturl2path",
    "_aix_support",
    "_osx_support",
    "sysconfig",
    // Code.
    "importlib",
    "imp",
    "_imp",
    "_frozen_importlib",
    "_frozen_importlib_external",
    "runpy",
    "pkgutil",
    "zipimport",
    "zipapp",
    "modulefinder",
    "code",
    "codeop",
    "compileall",
    "py_compile",
    "inspect",
    "bdb",
    "pdb",
    "cProfile",
    "profile",
    "_lsprof",
    "trace",
    "timeit",
    "doctest",
    "unittest",
    "pydoc",
    "idlelib",
    "lib2to3",
    "distutils",
    "setuptools",
    "pkg_resources",
    "pip",
    "ensurepip",
    "venv",
    "virtualenv",
    "site",
    "test",
    "new",
    "_pyrepl",
    "_testcapi",
    "rlcompleter",
    "readline",
    "curses",
    "tkinter",
    "Tkinter",
    "turtle",
    "IPython",
    "ipykernel",
    "nose",
    "pytest",
    "_pytest",
    "pyximport",
    "Cython",
    "numba",
    "numexpr",
    "sympy",
    "jinja2",
    "mako",
    "hydra",
    "_xxsubinterpreters",
    "_interpreters",
    "this",
    "antigravity",
    // Pickles within pickles.
    "pickle",
    "_pickle",
    "cPickle",
    "pickletools",
    "dill",
    "cloudpickle",
    "joblib",
    "jsonpickle",
    "marshal",
    "shelve",
    "yaml",
    "ruamel",
    "fickling",
    // Files.
    "shutil",
    "tempfile",
    "glob",
    "fileinput",
    "filecmp",
    "linecache",
    "tarfile",
    "zipfile",
    "gzip",
    "bz2",
    "lzma",
    "dbm",
    "sqlite3",
    "_sqlite3",
    "mmap",
    "_io",
    "_pyio",
    "fsspec",
    "smart_open",
    "boto3",
    "botocore",
    "h5py._hl.files",
    // The network.
    "socket",
    "_socket",
    "socketserver",
    "ssl",
    "_ssl",
    "select",
    "selectors",
    "asyncio",
    "_asyncio",
    "asyncore",
    "asynchat",
    "http",
    "httplib",
    "urllib",
    "urllib2",
    "urllib3",
    "requests",
    "aiohttp",
    "httpx",
    "ftplib",
    "smtplib",
    "smtpd",
    "poplib",
    "imaplib",
    "nntplib",
    "telnetlib",
    "xmlrpc",
    "xmlrpclib",
    "wsgiref",
    "cgi",
    "cgitb",
    "webbrowser",
    "netrc",
    "SimpleHTTPServer",
    "BaseHTTPServer",
    "CGIHTTPServer",
    "DocXMLRPCServer",
    "SimpleXMLRPCServer",
    "logging.config",
    "logging.handlers",
    // Torch, where it compiles, loads or runs.
    "torch.hub",
    "torch.jit",
    "torch.serialization",
    "torch._dynamo",
    "torch._inductor",
    "torch._export",
    "torch.export",
    "torch.fx",
    "torch.package",
    "torch.ops",
    "torch._ops",
    "torch.classes",
    "torch._classes",
    "torch.multiprocessing",
    "torch.compiler",
    "torch.distributed.rpc",
    "torch.distributed.elastic",
    "torch.distributed.run",
    "torch.distributed.launch",
    "torch.distributed.checkpoint.filesystem.FileSystem",
    "torch.testing",
    "torch.utils.collect_env",
    "torch.utils.bottleneck",
    "torch.utils.cpp_extension",
    "torch.utils.model_zoo",
    "torch.utils._config_module",
    "torch.utils.mobile_optimizer",
    "torch.utils.data.datapipes.utils",
    "torch.utils.file_baton",
    "torch.utils.show_pickle",
    "torch.utils.tensorboard",
    "torch.utils.benchmark",
    "torch._appdirs",
    "torch._sources",
    "torch.onnx",
    "torch.monitor",
    "torch.profiler",
    // NumPy, likewise.
    "numpy.f2py",
    "numpy.testing",
    "numpy.distutils",
    "numpy.ctypeslib",
    "numpy.lib.npyio",
    "numpy.lib._npyio_impl",
    "numpy.lib.format",
    "numpy.lib._datasource",
    "numpy.compat",
    "tensorflow.io",
    "tensorflow.python.lib.io",
];

/// Names that are dangerous in modules that otherwise are not.
const DANGEROUS_NAMES: &[(&str, &[&str])] = &[
    ("functools", &["partial", "partialmethod", "reduce", "singledispatch", "wraps", "update_wrapper"]),
    ("operator", &["attrgetter", "methodcaller", "itemgetter", "call", "setitem", "delitem"]),
    ("_operator", &["attrgetter", "methodcaller", "itemgetter", "call", "setitem", "delitem"]),
    ("_functools", &["partial", "reduce"]),
    (
        "types",
        &[
            "CodeType",
            "FunctionType",
            "LambdaType",
            "MethodType",
            "ModuleType",
            "GeneratorType",
            "CellType",
            "new_class",
            "prepare_class",
            "DynamicClassAttribute",
        ],
    ),
    ("io", &["open", "open_code", "FileIO", "TextIOWrapper", "BufferedReader", "BufferedWriter", "BufferedRandom"]),
    ("codecs", &["open", "EncodedFile", "lookup", "register"]),
    ("logging", &["FileHandler", "basicConfig", "captureWarnings"]),
    ("argparse", &["FileType"]),
    ("platform", &["popen", "_syscmd_ver", "_syscmd_uname", "_syscmd_file", "architecture", "libc_ver"]),
    (
        "uuid",
        &[
            "_get_command_stdout",
            "_popen",
            "getnode",
            "_ifconfig_getter",
            "_ip_getter",
            "_arp_getter",
            "_netstat_getter",
        ],
    ),
    ("getpass", &["getpass", "getuser"]),
    ("itertools", &["starmap"]),
    ("weakref", &["finalize"]),
    ("contextlib", &["ExitStack", "redirect_stdout", "chdir"]),
    ("torch", &["load", "save", "from_file", "compile", "set_warn_always", "import_ir_module"]),
    (
        "torch._C",
        &[
            "PyTorchFileReader",
            "PyTorchFileWriter",
            "import_ir_module",
            "_import_ir_module_from_package",
            "_jit_compile",
        ],
    ),
    ("torch.storage", &["_load_from_bytes", "UntypedStorage.from_file", "TypedStorage.from_file"]),
    (
        "numpy",
        &[
            "load",
            "save",
            "savez",
            "savez_compressed",
            "savetxt",
            "loadtxt",
            "genfromtxt",
            "fromfile",
            "fromregex",
            "memmap",
            "DataSource",
            "vectorize",
            "frompyfunc",
            "apply_along_axis",
            "fromfunction",
        ],
    ),
    (
        "pandas",
        &["eval", "read_pickle", "read_csv", "read_json", "read_html", "read_excel", "read_sql", "read_hdf", "io"],
    ),
];

/// Modules that others import, so that they can be reached as attributes of those.
const REACHABLE_MODULES: &[&str] = &[
    "os",
    "sys",
    "subprocess",
    "builtins",
    "builtin",
    "importlib",
    "shutil",
    "socket",
    "ctypes",
    "posix",
    "nt",
    "pickle",
    "tempfile",
    "multiprocessing",
    "pty",
    "runpy",
    "urllib",
];

/// Functions that are dangerous wherever they are.
const DANGEROUS_FUNCTIONS: &[&str] = &[
    "eval",
    "exec",
    "execfile",
    "execv",
    "execve",
    "execWrapper",
    "system",
    "popen",
    "popen2",
    "popen3",
    "popen4",
    "Popen",
    "spawn",
    "spawnl",
    "spawnv",
    "spawnve",
    "spawnv_passfds",
    "fork",
    "import_module",
    "import_file",
    "load_module",
    "loads",
    "check_output",
    "check_call",
    "getoutput",
    "getstatusoutput",
    "runstring",
    "runcode",
    "runcommand",
    "runsource",
    "run_module",
    "run_path",
    "run_code",
    "runctx",
    "urlopen",
    "urlretrieve",
    "pipe_pager",
    "pipepager",
    "read_cmd_output",
    "getattr",
    "setattr",
    "evaluate_guards_expression",
    "run_and_read_all",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "read_pickle",
    "unpickle",
    "from_file",
    "fromfile",
    "tofile",
    "load_library",
    "load_from_checkpoint",
    "make_function",
    "create_code",
    "getlincoef",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(module: &str, name: &str) -> Verdict {
        verdict(&Global::new(module, name))
    }

    #[test]
    fn the_allowlist_of_pytorch_has_144_names() {
        let families = 4 * ELEMENTS.len() + 2 * (ELEMENTS.len() - 1) + COMPLEX.len();
        let listed: usize = TORCH.iter().map(|row| row.2.len()).sum();
        assert_eq!(families + listed + crate::DType::ALL.len(), 144);
    }

    #[test]
    fn names_get_the_verdict_that_python_would_earn_them() {
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch.cuda", "HalfStorage"),
            ("torch", "QUInt4x2Storage"),
            ("torch.sparse", "FloatTensor"),
            ("__builtin__", "set"),
            ("torch", "float8_e4m3fn"),
            ("torch.serialization", "_get_layout"),
        ] {
            assert_eq!(of(module, name), Verdict::Torch, "{module}.{name}");
        }
        for (module, name) in [
            ("argparse", "Namespace"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "dtype"),
            ("pathlib", "PosixPath"),
            ("datetime", "datetime"),
            ("collections", "defaultdict"),
            ("builtins", "frozenset"),
            ("builtins", "KeyError"),
            ("copy_reg", "_reconstructor"),
            ("torch.nn.modules.linear", "Linear"),
            ("torch.sparse", "BoolTensor"),
            ("torch._utils", "_rebuild_nested_tensor"),
            ("omegaconf.dictconfig", "DictConfig"),
            ("transformers.training_args", "TrainingArguments"),
            ("__main__", "Config"),
        ] {
            assert_eq!(of(module, name), Verdict::Inert, "{module}.{name}");
        }
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("__builtin__", "eval"),
            ("builtins", "getattr"),
            ("builtins", "eval.__call__"),
            ("pathlib", "os.system"),
            ("cPickle", "loads"),
            ("torch.storage", "_load_from_bytes"),
            ("torch", "load"),
            ("torch.fx.graph_module", "reduce_graph_module"),
            ("functools", "partial"),
            ("numpy.testing._private.utils", "runstring"),
            ("numpy", "__builtins__"),
            ("random", "_os.system"),
            ("echo pwned", "x"),
            ("commands", "getoutput"),
        ] {
            assert_eq!(of(module, name), Verdict::Dangerous, "{module}.{name}");
        }
    }
}
