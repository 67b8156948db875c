//! Pickles made by hand to exhaust the stack, the memory or the patience of whoever reads them. Each is opened, scanned, walked
//! through, printed and freed on a small stack, in bounded time.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rekindle_recorder::inspect::Inspection;
use rekindle_recorder::scan::scan;
use rekindle_recorder::verify::verify;
use rekindle_recorder::walk::repr;
use rekindle_recorder::{Checkpoint, Limits, checkpoint::OpenOptions};
use rekindle_testing::Computed;

/// How an attack must end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Value,
    Error,
    /// Either is fine.
    Any,
}

const DEEP: usize = 1_000_000;
/// What an attack may take of its thread; test builds are not optimised.
const LONGEST: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 2 });

/// `opcodes` so many times.
fn times(opcodes: &[u8], count: usize) -> Vec<u8> {
    opcodes.repeat(count)
}

/// 1000 levels, each of which holds the one below it twice.
fn laughs(level: &[u8]) -> Vec<u8> {
    [b"I1\n\x85".to_vec(), times(level, 500)].concat()
}

fn attacks() -> Vec<(&'static str, Vec<u8>, End)> {
    let pickle = |parts: &[&[u8]]| [b"\x80\x04".as_slice(), &parts.concat(), b"."].concat();
    let doubled = laughs(b"2\x86");
    let length = |opcode: u8, length: u64| pickle(&[&[opcode], &length.to_le_bytes(), b"abc"]);
    vec![
        ("a million lists, one in the other", pickle(&[&times(b"]", DEEP), &times(b"a", DEEP - 1)]), End::Error),
        ("a million tuples", pickle(&[b")", &times(b"\x85", DEEP)]), End::Error),
        ("a million dicts", pickle(&[&times(b"}K\x01", DEEP), b"N", &times(b"s", DEEP)]), End::Error),
        ("a million calls", pickle(&[&times(b"cx\ny\n", DEEP), b")R", &times(b"\x85R", DEEP - 1)]), End::Error),
        ("a million states", pickle(&[&times(b"cx\ny\n)\x81", DEEP), &times(b"b", DEEP - 1)]), End::Error),
        ("a million marks", pickle(&[&times(b"(", DEEP), b"N"]), End::Value),
        ("a tuple that spells out to 2^500 parts", pickle(&[&doubled]), End::Value),
        ("such a tuple as a key", pickle(&[b"}", &doubled, b"Ns"]), End::Any),
        ("such keys, twice", pickle(&[b"}(", &doubled, b"N", &doubled, b"Nu"]), End::Any),
        ("such a frozenset", pickle(&[b"}(I1\n\x91", &times(b"p1\n0(g1\ng1\nI2\n\x91", 500), b"Ns"]), End::Any),
        ("a key of 900 levels", pickle(&[b"})", &times(b"\x85", 900), b"Ns"]), End::Value),
        ("a key of 100000 levels", pickle(&[b"})", &times(b"\x85", 100_000), b"Ns"]), End::Error),
        ("a list that holds itself", pickle(&[b"]q\0h\0a"]), End::Value),
        ("a tuple that holds itself through a list", pickle(&[b"]\x94h\0\x85\x94a0h\x01"]), End::Value),
        ("such a tuple as a key", pickle(&[b"}]\x94h\0\x85\x94a0h\x01Ns"]), End::Any),
        ("a dict that is its own value and state", pickle(&[b"}\x94K\x01h\0sh\0b"]), End::Value),
        ("an object that is its own argument", pickle(&[b"cx\ny\n]\x94h\0\x85Ra0h\0"]), End::Any),
        (
            "a hundred thousand copies of a list",
            {
                let copy = times(b"ccollections\nOrderedDict\nh\0\x85R0", 20_000);
                pickle(&[b"](", &times(b"NN\x86", 20_000), b"e\x940", &copy, b"N"])
            },
            End::Any,
        ),
        (
            "one string a million times",
            pickle(&[b"](X\0\x10\0\0", &[b'a'; 4096], b"\x94", &times(b"h\0", DEEP), b"e"]),
            End::Value,
        ),
        (
            "a key of a megabyte over a hundred thousand values",
            { pickle(&[b"}X\0\0\x10\0", &times(b"k", 1 << 20), b"](", &times(b"N", 100_000), b"es"]) },
            End::Value,
        ),
        ("bytes of 2^63", length(0x8e, 1 << 63), End::Error),
        ("bytes of 2^40", length(0x8e, 1 << 40), End::Error),
        ("a string of 2^64", length(0x8d, u64::MAX), End::Error),
        ("a bytearray of 2^32", length(0x96, 1 << 32), End::Error),
        ("an integer of 2^31 bytes", pickle(&[b"\x8b\xff\xff\xff\x7fabc"]), End::Error),
        ("an integer of a million digits", pickle(&[b"L", &[b'9'; DEEP], b"L\n"]), End::Error),
        ("a memo entry of 2^32", pickle(&[b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff\x86"]), End::Value),
        ("a frame of 2^63", pickle(&[b"\x95\0\0\0\0\0\0\0\x80N"]), End::Error),
        (
            "a tensor of 2^62 elements over nothing",
            {
                pickle(&[b"ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nL4611686018427387904L\ntQK\0L4611686018427387904L\n\x85K\x01\x85\x89)R)R"])
            },
            End::Any,
        ),
    ]
}

fn attack(path: &Path) -> End {
    let mut limits = Limits::default();
    limits.value_bytes = 256 << 20;
    let options = OpenOptions::default().limits(limits.clone());
    let end = match Checkpoint::open_with(path, &options) {
        Ok(checkpoint) => {
            let text = format!("{checkpoint:?} {:?} {}", checkpoint.root(), repr(checkpoint.root()));
            assert!(text.len() < 100_000);
            let _ = checkpoint.tensors();
            let _ = Inspection::of(&checkpoint, true);
            let _ = checkpoint.layout();
            let again = checkpoint.clone();
            drop(checkpoint);
            drop(again);
            End::Value
        }
        Err(error) => {
            assert!(error.to_string().len() < 1000, "{error}");
            End::Error
        }
    };
    let _ = scan(path, &limits);
    let _ = verify(path, &options, true);
    end
}

#[test]
fn nothing_exhausts_the_stack_or_takes_for_ever() {
    let folder = rekindle_testing::scratch();
    let (attacks, others) = (Mutex::new(attacks().into_iter().enumerate()), Mutex::new(Vec::new()));
    let next = || attacks.lock().unwrap().next();
    let work = || {
        while let Some((number, (what, pickle, expected))) = next() {
            let path = folder.path().join(format!("attack-{number}.pkl"));
            std::fs::write(&path, pickle).unwrap();
            let start = Computed::now();
            let (end, took) = (attack(&path), start.elapsed());
            eprintln!("{:8.1} ms  {end:?}  {what}", took.as_secs_f64() * 1e3);
            others
                .lock()
                .unwrap()
                .extend((expected != End::Any && end != expected).then(|| format!("{what}: {end:?}")));
            assert!(took < LONGEST, "{what}: {took:?}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            std::thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, work).unwrap();
        }
    });
    let others = others.into_inner().unwrap();
    assert!(others.is_empty(), "{others:?}");
}
