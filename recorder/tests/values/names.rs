//! What a pickle names, whole or broken, and what Python would make of a name.

use rekindle_recorder::pickle::{self, Names, Verdict, verdict};
use rekindle_recorder::value::Global;
use rekindle_recorder::{ErrorKind, Limits};

fn read(pickle: &[u8]) -> Names {
    pickle::names(pickle, "test", &Limits::default())
}

fn spelled(pickle: &[u8]) -> Vec<String> {
    read(pickle).globals.iter().map(ToString::to_string).collect()
}

#[test]
fn every_way_to_spell_a_name_is_followed() {
    let ways: [&[u8]; 8] = [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        // Escapes of protocol 0.
        b"S'\\x6f\\163'\nV\\u0073ystem\n\x93.",
        // Through the memo, with the two out of order and other strings in between.
        b"\x80\x04\x8c\x06system\x940\x8c\x02os\x940h\x01h\x00\x93\x8c\x01x0.",
        b"S'system'\np70000\n0X\x02\x00\x00\x00osq\x050h\x05g70000\n\x93.",
        // DUP and POP, and marks.
        b"\x80\x04\x8c\x02os\x8c\x06system(20\x8c\x04junk1\x93.",
        // By an instance of an old class.
        b"(cos\nsystem\nS'true'\no.",
    ];
    for way in ways {
        assert_eq!(spelled(way), ["os.system"], "{}", way.escape_ascii());
    }
}

#[test]
fn a_name_after_a_break_is_listed() {
    for way in [
        // Nothing on the stack, no mark, no such entry of the memo, an impossible argument.
        &b"0cos\nsystem\n."[..],
        b"tcos\nsystem\n.",
        b"h\x07cos\nsystem\n.",
        b"\x80\xffcos\nsystem\n.",
        b"Ino number\ncos\nsystem\n.",
        b"\x82\x01cos\nsystem\n.",
        b"cos\nsystem\n",
        b"cos\nsystem\n\xff",
    ] {
        assert_eq!(spelled(way), ["os.system"], "{}", way.escape_ascii());
    }
    assert!(read(b"0.").problem.unwrap().to_string().contains("nothing on the stack"));
    assert!(matches!(read(b"cos\nsystem\n").problem.unwrap().kind(), ErrorKind::Truncated { .. }));
}

#[test]
fn a_name_that_is_made_by_a_call_is_a_deception() {
    // _codecs.encode('bf', 'rot13') is 'os'.
    let made = b"c_codecs\nencode\n(S'bf'\nS'rot13'\ntRS'system'\n\x93.";
    assert!(read(made).deception.unwrap().to_string().contains("made while it is loaded"));
    let long = [b"c".as_slice(), &[b'a'; 2000], b"\nb\n."].concat();
    assert!(read(&long).deception.is_some());
    // Python refuses numbers and bytes as names.
    let refused = read(b"I1\nS'system'\n\x93.");
    assert!(refused.deception.is_none() && refused.problem.is_some());
}

#[test]
fn opcodes_that_leave_their_frame_are_a_deception() {
    let straddling = b"\x80\x04\x95\x03\0\0\0\0\0\0\0\x8c\x02os0N.";
    assert!(read(straddling).deception.unwrap().to_string().contains("frame"));
    let nested = b"\x80\x04\x95\x0c\0\0\0\0\0\0\0\x95\x02\0\0\0\0\0\0\0N.N.";
    assert!(read(nested).deception.is_some());
    let honest = b"\x80\x04\x95\x02\0\0\0\0\0\0\0N.";
    assert!(read(honest).deception.is_none() && read(honest).problem.is_none());
}

#[test]
fn the_cost_is_bounded_by_the_limits() {
    let mut limits = Limits::default();
    limits.value_bytes = 1 << 16;
    for pickle in [vec![b'N'; 1 << 20], vec![b'('; 1 << 20], b"Nq\0".repeat(1 << 18)] {
        let names = pickle::names(&pickle, "test", &limits);
        assert!(matches!(names.problem.unwrap().kind(), ErrorKind::Limit { .. }));
    }
}

fn of(module: &str, name: &str) -> Verdict {
    verdict(&Global::new(module, name))
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
        ("__torch__.torch.nn.modules.linear", "Linear"),
        ("torch.jit._pickle", "restore_type_tag"),
    ] {
        assert_eq!(of(module, name), Verdict::Inert, "{module}.{name}");
    }
    for (module, name) in [
        ("__main__", "Config"),
        ("dotenv.cli", "run_command"),
        ("scipy.special._basic", "setstate"),
        ("scipy.sparse._csr", "csr_matrix"),
        ("torch.nn.modules.linear", "F"),
        ("torch.nn.modules.module", "register_module_forward_hook"),
        ("torch.nn.functional", "handle_torch_function"),
        ("numpy", "apply_over_axes"),
        ("transformers.training_args", "TrainingArguments.push_to_hub"),
        ("argparse", "ArgumentParser"),
        ("http", "client"),
    ] {
        let found = of(module, name);
        assert!(matches!(found, Verdict::Unknown | Verdict::Dangerous), "{module}.{name}: {found:?}");
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
        ("torch.jit._pickle", "build_intlist.__globals__"),
        ("torch.jit", "load"),
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

#[test]
fn a_class_that_is_known_as_data_is_not_known_where_it_is_called() {
    // By NEWOBJ, and by REDUCE.
    let made = read(b"\x80\x02ctransformers.training_args\nTrainingArguments\n)\x81}b.");
    let called = read(b"\x80\x02ctransformers.training_args\nTrainingArguments\n)R.");
    let of = |names: &Names| pickle::verdict_of_use(&names.globals[0], names.uses[0]).0;
    assert_eq!((of(&made), of(&called)), (Verdict::Inert, Verdict::Unknown));
    // And where a function calls what it is given.
    let through = [
        &b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctransformers.training_args\nTrainingArguments\nctorch\nTensor\n)NtR."[..],
        b"\x80\x02ccopy_reg\n_reconstructor\nctorch\nTensor\nctransformers.training_args\nTrainingArguments\nN\x87R.",
        b"\x80\x02c__builtin__\niter\nctransformers.training_args\nTrainingArguments\nN\x86R.",
    ];
    for pickle in through {
        let names = read(pickle);
        let place = names.globals.iter().position(|name| &*name.name == "TrainingArguments").unwrap();
        let (verdict, _) = pickle::verdict_of_use(&names.globals[place], names.uses[place]);
        assert_eq!(verdict, Verdict::Unknown, "{}", pickle.escape_ascii());
    }
    // As a class that is handed on it is not called.
    let kept = read(b"\x80\x02ctransformers.training_args\nTrainingArguments\n\x85.");
    assert_eq!(of(&kept), Verdict::Inert);
    // Members of enumerations are looked up.
    let member = read(b"\x80\x02ctransformers.trainer_utils\nSaveStrategy\nX\x02\0\0\0no\x85R.");
    assert_eq!(of(&member), Verdict::Inert);
}

#[test]
fn an_attribute_by_a_text_in_the_file_is_a_name_and_any_other_is_a_danger() {
    let verdicts = |pickle: &[u8]| {
        let names = read(pickle);
        let of = |(name, used): (&Global, &pickle::Use)| (name.to_string(), pickle::verdict_of_use(name, *used).0);
        names.globals.iter().zip(&names.uses).map(of).collect::<Vec<_>>()
    };
    let named = |name: &str, verdict| (name.to_owned(), verdict);
    let getattr = "__builtin__.getattr";
    // getattr(http.HTTPStatus, 'OK'), as Python 3.11 pickles a member of an enumeration.
    let member = b"\x80\x02c__builtin__\ngetattr\nq\0chttp\nHTTPStatus\nq\x01X\x02\0\0\0OKq\x02\x86q\x03Rq\x04.";
    assert_eq!(
        verdicts(member),
        [
            named(getattr, Verdict::Inert),
            named("http.HTTPStatus", Verdict::Inert),
            named("http.HTTPStatus.OK", Verdict::Inert)
        ]
    );
    // In protocol 0, and a second one through the memo.
    let twice = b"c__builtin__\ngetattr\np0\n(chttp\nHTTPStatus\np1\nS'OK'\ntR0g0\n(g1\nS'GONE'\ntR.";
    assert_eq!(verdicts(twice)[0].1, Verdict::Inert);
    // The attribute has a verdict of its own.
    let method = b"\x80\x02c__builtin__\ngetattr\ncnumpy\nndarray\nX\x06\0\0\0tofile\x86R.";
    assert_eq!(verdicts(method)[2], named("numpy.ndarray.tofile", Verdict::Dangerous));
    let other = b"\x80\x02c__builtin__\ngetattr\nc__main__\nNet\nX\x03\0\0\0run\x86R.";
    assert_eq!(verdicts(other)[2], named("__main__.Net.run", Verdict::Unknown));
    for dangerous in [
        // Of what a call gives.
        &b"\x80\x02c__builtin__\ngetattr\ncdatetime\ndate\n)RX\x02\0\0\0OK\x86R."[..],
        // By a name that a call gives.
        b"\x80\x02c__builtin__\ngetattr\nchttp\nHTTPStatus\nc__builtin__\nstr\n)R\x86R.",
        // Handed on, alone or once it was used.
        b"\x80\x02c__builtin__\ngetattr\n.",
        b"\x80\x02c__builtin__\ngetattr\nq\0chttp\nHTTPStatus\nX\x02\0\0\0OK\x86Rh\0\x86.",
    ] {
        assert_eq!(verdicts(dangerous)[0], named(getattr, Verdict::Dangerous), "{}", dangerous.escape_ascii());
    }
}
