//! Names that would run code in Python, or reach files, processes or the network: whole modules, single names in modules
//! that otherwise are harmless, and functions that are dangerous wherever they are. Lists of words, one space between, each with
//! the reason.

use crate::pickle::names::known::known;
use crate::pickle::names::words::is_word;

/// Why to unpickle this name in Python would be dangerous; `None` where it would not. The name is Python 3's, or as it stood.
pub(crate) fn danger(module: &str, name: &str) -> Option<&'static str> {
    if known(module, name).is_some() {
        return None;
    }
    if module == "builtins" {
        return Some(match name {
            "getattr" => "gives any attribute of what it is handed, and so any function",
            "eval" | "exec" | "execfile" | "compile" | "__import__" => "runs or imports code",
            _ => "is no built-in function that merely makes a value",
        });
    }
    if module == "copyreg" {
        return Some("changes how Python pickles");
    }
    if module == "torch.jit._pickle" {
        return Some("is for the unpickler of TorchScript alone");
    }
    let holds = |words: &str, name: &str| words.split_whitespace().any(|word| is_within(name, word));
    // A dotted name leads through attributes, and a module's attributes are other modules.
    let attributes = || name.split('.').map(|part| part.trim_start_matches('_'));
    let reached = || module.split('.').skip(1).chain(attributes());
    let dunder = |part: &str| part.len() > 4 && part.starts_with("__") && part.ends_with("__");
    if let Some((_, why)) = DANGEROUS_MODULES.iter().find(|(words, _)| holds(words, module)) {
        return Some(why);
    }
    let table = [
        (
            DANGEROUS_NAMES.iter().any(|row| is_within(module, row.0) && holds(row.1, name)),
            "calls what it is given, or reaches files or modules",
        ),
        (reached().any(|part| is_word(REACHABLE_MODULES, part)), "reaches a module that runs code, through another"),
        (
            attributes().any(|part| is_word(DANGEROUS_FUNCTIONS, part)),
            "is called as functions are that run code or reach files",
        ),
        (name.split('.').any(dunder), "leads into how Python works inside"),
        (!is_dotted_name(module) || !is_dotted_name(name), "is no name that a program has"),
        (module == "pathlib" && name.contains('.'), "reaches files"),
    ];
    table.into_iter().find_map(|(applies, why)| applies.then_some(why))
}

/// Whether a dotted name is `outer` or leads on from it.
fn is_within(name: &str, outer: &str) -> bool {
    name.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether it is of the form `a.b.c`. What is not was made to deceive.
fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "_<>-".contains(c)))
}

/// Modules all of whose names count as dangerous, with everything below them.
const DANGEROUS_MODULES: &[(&str, &str)] = &[
    (
        "
     os posix nt sys subprocess _posixsubprocess commands popen2 pty tty fcntl resource signal syslog
     multiprocessing _multiprocessing concurrent threading _thread thread dummy_thread ctypes _ctypes cffi
     _cffi_backend winreg _winreg _winapi msvcrt gc atexit faulthandler psutil sh plumbum invoke pexpect
     ptyprocess fabric paramiko docker posixpath ntpath genericpath nturl2path _aix_support _osx_support
     sysconfig
    ",
        "reaches the system, processes or threads",
    ),
    (
        "
     importlib imp _imp _frozen_importlib _frozen_importlib_external runpy pkgutil zipimport zipapp
     modulefinder code codeop compileall py_compile inspect bdb pdb cProfile profile _lsprof trace timeit
     doctest unittest pydoc idlelib lib2to3 distutils setuptools pkg_resources pip ensurepip venv virtualenv
     site test new _pyrepl _testcapi rlcompleter readline curses tkinter Tkinter turtle IPython ipykernel nose
     pytest _pytest pyximport Cython numba numexpr sympy jinja2 mako hydra _xxsubinterpreters _interpreters
     this antigravity
    ",
        "compiles, imports or runs code",
    ),
    (
        "
     pickle _pickle cPickle pickletools dill cloudpickle joblib jsonpickle marshal shelve yaml ruamel fickling
    ",
        "unpickles what it is given",
    ),
    (
        "
     shutil tempfile glob fileinput filecmp linecache tarfile zipfile gzip bz2 lzma dbm sqlite3 _sqlite3 mmap
     _io _pyio fsspec smart_open boto3 botocore h5py._hl.files
    ",
        "reaches files",
    ),
    (
        "
     socket _socket socketserver ssl _ssl select selectors asyncio _asyncio asyncore asynchat http httplib
     urllib urllib2 urllib3 requests aiohttp httpx ftplib smtplib smtpd poplib imaplib nntplib telnetlib
     xmlrpc xmlrpclib wsgiref cgi cgitb webbrowser netrc SimpleHTTPServer BaseHTTPServer CGIHTTPServer
     DocXMLRPCServer SimpleXMLRPCServer logging.config logging.handlers
    ",
        "reaches the network",
    ),
    (
        "
     torch.hub torch.jit torch.serialization torch._dynamo torch._inductor torch._export torch.export torch.fx
     torch.package torch.ops torch._ops torch.classes torch._classes torch.multiprocessing torch.compiler
     torch.distributed.rpc torch.distributed.elastic torch.distributed.run torch.distributed.launch
     torch.testing torch.utils.collect_env
     torch.utils.bottleneck torch.utils.cpp_extension torch.utils.model_zoo torch.utils._config_module
     torch.utils.mobile_optimizer torch.utils.data.datapipes.utils torch.utils.file_baton
     torch.utils.show_pickle torch.utils.tensorboard torch.utils.benchmark torch._appdirs torch._sources
     torch.onnx torch.monitor torch.profiler
    ",
        "is PyTorch where it compiles, loads or runs",
    ),
    (
        "
     numpy.f2py numpy.testing numpy.distutils numpy.ctypeslib numpy.lib.npyio numpy.lib._npyio_impl
     numpy.lib.format numpy.lib._datasource numpy.compat tensorflow.io tensorflow.python.lib.io
    ",
        "is a library where it compiles, loads or reaches files",
    ),
];

/// Names that are dangerous in modules that otherwise are not.
const DANGEROUS_NAMES: &[(&str, &str)] = &[
    ("functools", "partial partialmethod reduce singledispatch wraps update_wrapper"),
    ("operator", "attrgetter methodcaller itemgetter call setitem delitem"),
    ("_operator", "attrgetter methodcaller itemgetter call setitem delitem"),
    ("_functools", "partial reduce"),
    (
        "types",
        "CodeType FunctionType LambdaType MethodType ModuleType GeneratorType CellType new_class prepare_class DynamicClassAttribute",
    ),
    ("io", "open open_code FileIO TextIOWrapper BufferedReader BufferedWriter BufferedRandom"),
    ("codecs", "open EncodedFile lookup register"),
    ("logging", "FileHandler basicConfig captureWarnings"),
    ("argparse", "FileType"),
    ("platform", "popen _syscmd_ver _syscmd_uname _syscmd_file architecture libc_ver"),
    ("uuid", "_get_command_stdout _popen getnode _ifconfig_getter _ip_getter _arp_getter _netstat_getter"),
    ("getpass", "getpass getuser"),
    ("itertools", "starmap"),
    ("weakref", "finalize"),
    ("contextlib", "ExitStack redirect_stdout chdir"),
    ("torch", "load save from_file compile set_warn_always import_ir_module"),
    // No pickler names a module; as a value it is a way to change it.
    (
        "torch",
        "
     _C _VF _appdirs _awaits _classes _compile _custom_op _custom_ops _decomp _dispatch _dynamo _environment
     _export _functorch _guards _higher_order_ops _inductor _jit_internal _lazy _library _linalg_utils _lobpcg
     _logging _lowrank _meta_registrations _native _numpy _ops _prims _prims_common _python_dispatcher _refs
     _sources _strobelight _subclasses _tensor _tensor_str _utils _utils_internal _vendor _vmap_internals
     _weights_only_unpickler accelerator amp ao autograd backends compiler contrib cpu cuda distributed
     distributions export fft func functional futures fx hub jit library linalg masked monitor mps mtia
     multiprocessing nativert nested nn onnx ops optim overrides package profiler quantization quasirandom
     random return_types serialization signal sparse special storage testing torch_version types utils version
     xpu
        ",
    ),
    ("torch._C", "PyTorchFileReader PyTorchFileWriter import_ir_module _import_ir_module_from_package _jit_compile"),
    ("torch.storage", "_load_from_bytes UntypedStorage.from_file TypedStorage.from_file"),
    (
        "numpy",
        "load save savez savez_compressed savetxt loadtxt genfromtxt fromfile fromregex memmap DataSource vectorize frompyfunc apply_along_axis fromfunction",
    ),
    // It imports a module and gives an attribute of it.
    ("numpy.core", "_ufunc_reconstruct"),
    ("numpy._core", "_ufunc_reconstruct"),
    ("pandas", "eval read_pickle read_csv read_json read_html read_excel read_sql read_hdf io"),
];

/// Modules that others import, so that they can be reached as attributes of those.
const REACHABLE_MODULES: &str = "
    os sys subprocess builtins builtin importlib shutil socket ctypes posix nt pickle tempfile multiprocessing
    pty runpy urllib
";

/// Functions that are dangerous wherever they are.
const DANGEROUS_FUNCTIONS: &str = "
    eval exec execfile execv execve execWrapper system popen popen2 popen3 popen4 Popen spawn spawnl spawnv
    spawnve spawnv_passfds fork import_module import_file load_module loads check_output check_call getoutput
    getstatusoutput runstring runcode runcommand runsource run_module run_path run_code runctx urlopen
    urlretrieve pipe_pager pipepager read_cmd_output getattr setattr evaluate_guards_expression run_and_read_all
    create_subprocess_exec create_subprocess_shell read_pickle unpickle from_file fromfile tofile load_library
    load_from_checkpoint make_function create_code getlincoef
";
