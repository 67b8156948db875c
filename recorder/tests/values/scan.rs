//! `scan`: every name in every pickle of a file, wherever it hides.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use rekindle_recorder::container::zip::ArchiveWriter;
use rekindle_recorder::pickle::Verdict;
use rekindle_recorder::scan::{ScanReport, scan};
use rekindle_recorder::{Checkpoint, ErrorKind, Limits};

/// `os.system('x')`, in protocols 0 and 2.
const EVIL: &[u8] = b"cos\nsystem\n(S'x'\ntR.";
const EVIL2: &[u8] = b"\x80\x02cos\nsystem\nX\x01\0\0\0x\x85R.";
const GOOD: &[u8] = b"\x80\x02}X\x01\0\0\0aK\x01s.";

fn scanned(bytes: &[u8]) -> ScanReport {
    let folder = rekindle_testing::scratch();
    // The name says nothing true.
    let path = folder.path().join("cat.jpeg");
    std::fs::write(&path, bytes).unwrap();
    scan(&path, &Limits::default()).unwrap()
}

/// The only dangerous name, and where it is.
fn place_of_evil(report: &ScanReport) -> &[String] {
    let [evil] = &report.entries.iter().filter(|entry| entry.verdict == Verdict::Dangerous).collect::<Vec<_>>()[..]
    else {
        panic!("{report:?}")
    };
    assert_eq!(evil.name.to_string(), "os.system");
    assert!(report.is_dangerous() && !report.is_safe());
    &evil.places
}

fn archive(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = ArchiveWriter::new(&mut out, "archive");
    for (name, payload) in records {
        writer.record(name, payload).unwrap();
    }
    writer.finish().unwrap();
    out
}

/// A record as other zip programs write it, compressed, and the directory for it.
fn deflated(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(payload).unwrap();
    let packed = encoder.finish().unwrap();
    let common = [
        [20, 0, 0, 0, 8, 0, 0, 0, 0, 0].as_slice(),
        &crc32fast::hash(payload).to_le_bytes(),
        &u32::try_from(packed.len()).unwrap().to_le_bytes(),
        &u32::try_from(payload.len()).unwrap().to_le_bytes(),
        &u16::try_from(name.len()).unwrap().to_le_bytes(),
        &[0, 0],
    ]
    .concat();
    let local = [b"PK\x03\x04".as_slice(), &common, name.as_bytes(), &*packed].concat();
    let central = [b"PK\x01\x02\x14\0".as_slice(), &common, &[0; 14], name.as_bytes()].concat();
    let sizes = [central.len(), local.len()].map(|size| u32::try_from(size).unwrap().to_le_bytes()).concat();
    [&*local, &central, b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &sizes, &[0, 0]].concat()
}

fn fixtures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(fixtures(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn what_reading_a_checkpoint_names_is_what_a_scan_lists() {
    let root = rekindle_testing::fixtures::path("");
    let (mut checked, mut names) = (0, 0);
    for folder in ["zip", "legacy", "numpy", "hf", "safetensors", "burnpack", "burn_record"] {
        for path in fixtures(&root.join(folder)) {
            let Ok(checkpoint) = Checkpoint::open(&path) else { continue };
            let report = scan(&path, &Limits::default()).unwrap();
            let missing: Vec<_> =
                checkpoint.globals().iter().filter(|name| !report.entries.iter().any(|e| e.name == **name)).collect();
            assert!(missing.is_empty(), "{}: {missing:?}", path.display());
            assert!(report.problems.is_empty(), "{}: {:?}", path.display(), report.problems);
            names += report.entries.len();
            checked += 1;
        }
    }
    assert!(checked > 80 && names > 200, "{checked} files, {names} names");
}

#[test]
fn what_pytorch_saves_is_safe() {
    let fixtures = rekindle_testing::fixtures::path("");
    for (path, inert) in [
        ("zip/state_dict.pt", false),
        ("legacy/tutorial.pt", false),
        ("legacy/early.tar", true),
        ("zip/exotic.pt", true),
        ("frameworks/timm/end.pt", true),
        ("folders/hf-bin/checkpoint/training_args.bin", true),
        ("dcp/files/.metadata", true),
    ] {
        let report = scan(fixtures.join(path), &Limits::default()).unwrap();
        assert!(report.is_safe(), "{path}: {report:?}");
        assert_eq!(report.entries.iter().any(|entry| entry.verdict == Verdict::Inert), inert, "{path}");
    }
}

#[test]
fn a_pickle_is_found_whatever_it_is_wrapped_in() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(EVIL).unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(EVIL2).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(EVIL.len() as u64);
    tar.append_data(&mut header, "some/member", EVIL).unwrap();
    let array = |dtype: &str, data: &[u8]| {
        let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': (1,), }}\n");
        [b"\x93NUMPY\x01\0".as_slice(), &u16::try_from(header.len()).unwrap().to_le_bytes(), header.as_bytes(), data]
            .concat()
    };
    let deep = archive(&[("c", &archive(&[("b", &archive(&[("a.txt", EVIL2)]))]))]);
    for (what, bytes, place) in [
        ("a pickle", EVIL.to_vec(), "the pickle"),
        ("a pickle behind a pickle", [GOOD, b"N.", EVIL2].concat(), "(byte 15)"),
        ("a stream of torch.save", archive(&[("data.pkl", EVIL2), ("version", b"3\n")]), "data.pkl"),
        ("a record of any name", archive(&[("data.pkl", GOOD), ("data/0", EVIL2)]), "data/0"),
        ("a record of any name, protocol 0", archive(&[("data.pkl", GOOD), ("notes", EVIL)]), "notes"),
        ("a compressed record", deflated("model/data.pkl", EVIL2), "data.pkl"),
        ("archives in archives", deep, "c/b/a.txt"),
        ("gzip", gzip.finish().unwrap(), "the pickle"),
        ("zlib", zlib.finish().unwrap(), "the pickle"),
        ("a tar archive", tar.into_inner().unwrap(), "some/member"),
        ("an array of objects", array("|O", EVIL2), "the array"),
        ("a record of an npz file", archive(&[("x.npy", &array("|O", EVIL))]), "x.npy"),
        ("a file that is a zip archive, too", [EVIL, &*archive(&[("version", b"3\n")])].concat(), "the pickle"),
        ("an archive behind a pickle", [GOOD, &*archive(&[("data.pkl", EVIL2)])].concat(), "data.pkl"),
        (
            "archives one after the other",
            [archive(&[("a", b"x")]), archive(&[("data.pkl", EVIL)])].concat(),
            "data.pkl",
        ),
    ] {
        let report = scanned(&bytes);
        assert_eq!(place_of_evil(&report), [place], "{what}");
    }
}

#[test]
fn damage_hides_nothing() {
    let whole = archive(&[("data.pkl", EVIL2), ("version", b"3\n")]);
    let directory = whole.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let payload = whole.windows(EVIL2.len()).position(|window| window == EVIL2).unwrap();
    let changed = |changes: &[(usize, u8)]| {
        let mut bytes = whole.clone();
        changes.iter().for_each(|&(at, byte)| bytes[at] ^= byte);
        bytes
    };
    for (what, bytes) in [
        ("a wrong checksum", changed(&[(payload + 17, 1)])),
        ("an encryption flag in the directory", changed(&[(directory + 8, 1)])),
        ("an encryption flag in both headers", changed(&[(directory + 8, 1), (6, 1)])),
        ("another name in the directory", changed(&[(directory + 46, 1)])),
        ("another compression in the directory", changed(&[(directory + 10, 8)])),
        ("no directory", whole[..directory].to_vec()),
        ("half a directory", whole[..directory + 60].to_vec()),
        ("a pickle without an end", EVIL[..EVIL.len() - 2].to_vec()),
        ("a pickle that breaks before", [b"\x80\x02R0".as_slice(), &EVIL2[2..]].concat()),
    ] {
        let report = scanned(&bytes);
        assert!(!place_of_evil(&report).is_empty(), "{what}");
        assert!(!report.problems.is_empty(), "{what}");
    }
}

#[test]
fn a_folder_is_all_its_files() {
    let folder = rekindle_testing::scratch();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    // As torch.distributed.checkpoint lays it out: the items are whole archives, one after the other.
    write(".metadata", GOOD);
    let items = [archive(&[("data.pkl", GOOD)]), archive(&[("data.pkl", EVIL2)]), archive(&[("data.pkl", GOOD)])];
    write("__0_0.distcp", &items.concat());
    write("README.md", b"can you read this\nor that\nas text.");
    write("config.json", b"{\"a\": 1}");
    let report = scan(folder.path(), &Limits::default()).unwrap();
    assert_eq!(place_of_evil(&report), ["__0_0.distcp/data.pkl"]);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(report.pickles, 4);

    write("pytorch_model-00001-of-00002.bin", &archive(&[("data.pkl", EVIL2)]));
    write("weights.7z", b"7z\xbc\xaf\x27\x1c\0\x04");
    std::fs::create_dir(folder.path().join("inner")).unwrap();
    write("inner/random_states_0.pkl", &EVIL2[..12]);
    let report = scan(folder.path(), &Limits::default()).unwrap();
    let places = ["__0_0.distcp/data.pkl", "pytorch_model-00001-of-00002.bin/data.pkl"];
    assert_eq!(place_of_evil(&report), places);
    let problems: Vec<&str> = report.problems.iter().map(|problem| &*problem.place).collect();
    assert_eq!(problems, ["inner/random_states_0.pkl", "weights.7z"]);
}

#[test]
fn bytes_that_only_look_like_pickles_are_none() {
    let storage: Vec<u8> = (0..4096_u16).flat_map(|i| (f32::from(i) / 7.0).to_le_bytes()).collect();
    let words = b"class Net(Module):\n  def forward(self, x):\n    return x.\n";
    let nearly = [b"\x80\x02".as_slice(), &[0xee; 100]].concat();
    let report = scanned(&archive(&[
        ("data.pkl", GOOD),
        ("data/0", &storage),
        ("data/1", &nearly),
        ("data/2", b"cos\nsyst"),
        ("code/net.py", words),
    ]));
    assert!(report.is_safe() && report.entries.is_empty(), "{report:?}");
    assert_eq!(report.pickles, 1);
}

#[test]
fn what_is_no_checkpoint_is_an_error_that_says_what_it_is() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.pt");
    for (bytes, words) in [
        (&b"7z\xbc\xaf\x27\x1c\0\x04"[..], "7-Zip"),
        (b"hello, world", "text file"),
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = scan(&path, &Limits::default()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotACheckpoint { .. }), "{error}");
        assert!(error.to_string().contains(words) && error.file() == Some(&path), "{error}");
    }
    let missing = scan(folder.path().join("none.pt"), &Limits::default()).unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::Io { .. }));
}

#[test]
fn what_would_cost_too_much_is_a_problem_and_no_wait() {
    // 160 MiB of NONE in a record of 160 KiB, and the same in gzip.
    let mut bomb = b"\x80\x02".to_vec();
    bomb.resize(160 << 20, b'N');
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&bomb).unwrap();
    let matryoshka = (0..20).fold(GOOD.to_vec(), |inner, _| archive(&[("inner.pt", &inner)]));
    for bytes in [deflated("data.pkl", &bomb), gzip.finish().unwrap(), matryoshka] {
        let report = scanned(&bytes);
        assert!(!report.is_safe() && !report.is_dangerous());
        assert!(
            report.problems.iter().any(|problem| matches!(problem.error.kind(), ErrorKind::Limit { .. })),
            "{report:?}"
        );
    }
}

#[test]
fn what_nobody_here_knows_is_not_known_to_be_safe() {
    let fixtures = rekindle_testing::fixtures::path("");
    let module = scan(fixtures.join("zip/module.pt"), &Limits::default()).unwrap();
    let unknown: Vec<String> = module
        .entries
        .iter()
        .filter(|entry| entry.verdict == Verdict::Unknown)
        .map(|entry| entry.name.to_string())
        .collect();
    assert_eq!(unknown, ["sections.zip.ConvNet"]);
    for pickle in [
        &b"\x80\x02cdotenv.cli\nrun_command\n]X\x01\0\0\0xa}\x86R."[..],
        b"\x80\x02cscipy.sparse._csr\nsetstate\n)R.",
        b"cmylib\nrun\n(S'x'\ntR.",
    ] {
        let report = scanned(pickle);
        assert!(report.is_unknown() && !report.is_safe() && !report.is_dangerous(), "{report:?}");
        assert!(report.entries[0].reason.contains("nobody here knows"));
    }
}

/// `torch.storage._load_from_bytes(bytes)`, in protocol 4.
fn loading(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    [b"\x80\x04ctorch.storage\n_load_from_bytes\nB", &length[..], bytes, b"\x85R."].concat()
}

#[test]
fn bytes_in_a_pickle_are_scanned_too() {
    let fixture = |name: &str| std::fs::read(rekindle_testing::fixtures::path(name)).unwrap();
    let good = fixture("legacy/tutorial.pt");
    // What `pickle.dump` makes of tensors is as safe as the bytes of their storages are.
    for protocol in 0..6 {
        let report = scanned(&fixture(&format!("legacy/plain{protocol}.pkl")));
        assert!(report.is_safe(), "{protocol}: {report:?}");
    }
    assert!(scanned(&loading(&good)).is_safe());
    let twice = loading(&loading(EVIL2));
    for (what, bytes) in [
        ("loaded", loading(EVIL2)),
        ("loaded, behind a stream", loading(&[&*good, EVIL2].concat())),
        ("loaded by what is loaded", twice),
        ("loaded, in an archive", loading(&archive(&[("data.pkl", EVIL2)]))),
        ("kept", [b"\x80\x03C", &[u8::try_from(EVIL2.len()).unwrap()][..], EVIL2, b"."].concat()),
        (
            "written as text",
            [
                b"\x80\x02c_codecs\nencode\nX",
                &[u8::try_from(EVIL.len()).unwrap(), 0, 0, 0][..],
                EVIL,
                b"X\x06\0\0\0latin1\x86R.",
            ]
            .concat(),
        ),
    ] {
        let report = scanned(&bytes);
        assert!(report.is_dangerous(), "{what}");
        let places = place_of_evil(&report);
        assert!(places.iter().any(|place| place.contains("(bytes at ")), "{what}: {report:?}");
    }
    // What is no file at all cannot be looked through.
    let report = scanned(&loading(b"\xff\xff\xff\xff"));
    assert!(!report.is_safe() && report.problems.len() == 1, "{report:?}");
    // Bytes that are not there, or that the pickle itself may change, are not known.
    for bytes in [
        &b"\x80\x04ctorch.storage\n_load_from_bytes\n."[..],
        b"\x80\x04ctorch.storage\n_load_from_bytes\ncmine\nf\n)R\x85R.",
        b"\x80\x05ctorch.storage\n_load_from_bytes\n\x96\x02\0\0\0\0\0\0\0N.\x85R.",
        b"\x80\x02ctorch.storage\n_load_from_bytes\nc_codecs\nencode\nX\x02\0\0\0N.X\x05\0\0\0rot13\x86R\x85R.",
    ] {
        assert!(scanned(bytes).is_dangerous(), "{}", bytes.escape_ascii());
    }
    // Bytes that only look like a file say nothing.
    let text = scanned(b"\x80\x03C\x08PK\x03\x04junkC\x07I am I..0.");
    assert!(text.is_safe(), "{text:?}");
}

#[test]
fn classes_of_libraries_that_are_data_are_known_where_they_are_not_called() {
    use rekindle_recorder::pickle::{Verdict, verdict};
    use rekindle_recorder::value::Global;
    let of = |module: &str, name: &str| verdict(&Global::new(module, name));
    for (module, name) in [
        ("transformers.models.bert.configuration_bert", "BertConfig"),
        ("transformers.models.qwen2_vl.configuration_qwen2_vl", "Qwen2VLVisionConfig"),
        ("mmengine.config.config", "ConfigDict"),
        ("addict.addict", "Dict"),
        ("easydict", "EasyDict"),
        ("yacs.config", "CfgNode"),
        ("torchvision.models.resnet", "ResNet"),
        ("ultralytics.nn.tasks", "DetectionModel"),
        ("torchao.dtypes.affine_quantized_tensor", "AffineQuantizedTensor"),
        ("torchao.quantization.quant_primitives", "ZeroPointDomain"),
        ("megatron.core.transformer.enums", "AttnBackend"),
        ("megatron.core.transformer.enums", "AttnBackend.flash"),
        ("fastai.torch_core", "TensorImage"),
        ("torch_npu.utils.storage", "_rebuild_npu_tensor"),
        ("torch.torch_version", "TorchVersion"),
        ("torch.distributed._tensor.api", "DTensor"),
        ("_io", "BytesIO"),
        ("numpy.ma", "MaskedArray"),
    ] {
        let expected = if name.ends_with(".flash") { Verdict::Unknown } else { Verdict::Inert };
        assert_eq!(of(module, name), expected, "{module}.{name}");
    }
    for (module, name) in [
        ("transformers.models.bert.configuration_bert", "logging"),
        ("transformers.models.bert.configuration_bert", "os.Config"),
        ("transformers.models.bert.modeling_bert", "BertConfig"),
        ("transformers.models.bert.x.configuration_bert", "BertConfig"),
        ("mmengine.config.lazy", "LazyObject"),
        ("_io", "FileIO"),
        ("mmengine.config.config", "Config.fromfile"),
        ("torchvision.models.feature_extraction", "DualGraphModule"),
        ("torchvision.models.resnet", "load_state_dict_from_url"),
        ("numpy.core", "_ufunc_reconstruct"),
        ("ultralytics.nn.tasks", "torch_safe_load"),
    ] {
        assert!(of(module, name) >= Verdict::Unknown, "{module}.{name}");
    }
    // One that is data alone, called.
    assert!(!scanned(b"\x80\x02ctorchvision.models.resnet\nResNet\n)R.").is_safe());
    assert!(scanned(b"\x80\x02ctorchvision.models.resnet\nResNet\n)\x81}b.").is_safe());
    // fastai's functions call the class that they are given.
    assert!(!scanned(b"\x80\x02cfastai.torch_core\n_fa_rebuild_tensor\ncmine\nf\nK\x01\x86R.").is_safe());
}

#[test]
fn what_follows_the_storages_of_a_stream_is_scanned() {
    let stream = std::fs::read(rekindle_testing::fixtures::path("legacy/tutorial.pt")).unwrap();
    for (what, behind) in [
        ("a pickle", EVIL.to_vec()),
        ("a pickle of protocol 2", EVIL2.to_vec()),
        ("an archive", archive(&[("data.pkl", EVIL2)])),
        ("another stream, and a pickle", [&*stream, EVIL2].concat()),
    ] {
        let report = scanned(&[&*stream, &*behind].concat());
        assert!(!place_of_evil(&report).is_empty(), "{what}");
    }
    let whole = scanned(&stream);
    assert!(whole.is_safe(), "{whole:?}");
    // A stream that is cut off hides where it ends.
    let cut = scanned(&stream[..stream.len() - 1]);
    assert!(!cut.is_safe() && !cut.problems.is_empty());
}

#[test]
fn every_pickle_of_a_stream_is_scanned_whatever_is_wrong_with_those_before() {
    let stream = std::fs::read(rekindle_testing::fixtures::path("legacy/tutorial.pt")).unwrap();
    // The first two are the magic number and the version.
    let magic = stream.windows(2).position(|two| two == b"\x80\x02").unwrap() + 15;
    let version = magic + stream[magic..].iter().position(|&byte| byte == b'.').unwrap() + 1;
    let rest = &stream[version..];
    for (what, bytes) in [
        ("the version", [&stream[..magic], EVIL2, rest].concat()),
        ("the machine, behind a broken version", [&stream[..magic], b"\x80\x02R0.", EVIL2, rest].concat()),
    ] {
        assert!(!place_of_evil(&scanned(&bytes)).is_empty(), "{what}");
    }
}

#[test]
fn items_of_distributed_checkpoints_are_found_where_the_metadata_say() {
    let folder = rekindle_testing::scratch();
    let from = rekindle_testing::fixtures::path("dcp/ranks2");
    let mut name = String::new();
    for entry in std::fs::read_dir(&from).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        std::fs::copy(from.join(&file), folder.path().join(&file)).unwrap();
        if file.ends_with(".distcp") && name < file {
            name = file;
        }
    }
    let path = folder.path().join(&name);
    let before = scan(folder.path(), &Limits::default()).unwrap();
    assert!(before.is_safe() && before.entries.iter().any(|entry| entry.places[0].contains("byte")), "{before:?}");
    let mut bytes = std::fs::read(&path).unwrap();
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(b"PK\x03\x04") && bytes[at + 30..].starts_with(b"archive/data.pkl"))
        .collect();
    let [.., damaged, last] = starts[..] else { panic!("{starts:?}") };
    // One item is gone, so that the next is none of several archives in a row; its pickle is another.
    bytes[damaged..last].fill(0);
    let pickle = last + bytes[last..].windows(2).position(|two| two == b"\x80\x02").unwrap();
    bytes[pickle..pickle + EVIL2.len()].copy_from_slice(EVIL2);
    std::fs::write(&path, bytes).unwrap();
    for scanned in [folder.path(), &path] {
        let report = scan(scanned, &Limits::default()).unwrap();
        assert!(report.is_dangerous(), "{report:?}");
        assert!(place_of_evil(&report)[0].contains(&format!("(byte {last})")), "{report:?}");
    }
}

/// What no scanner here unpacks is not passed over, wherever it lies.
#[test]
fn compressed_records_that_are_not_looked_into_are_said() {
    for (name, head) in
        [("in.bz2", &b"BZh91AY&SY rest"[..]), ("in.xz", b"\xfd7zXZ\0 rest"), ("in.7z", b"7z\xbc\xaf\x27\x1c rest")]
    {
        let report = scanned(&archive(&[("data.pkl", GOOD), (name, head)]));
        let [problem] = &report.problems[..] else { panic!("{name}: {report:?}") };
        assert!(problem.place == name && problem.error.to_string().contains("unpack it"), "{problem:?}");
        // The elements of a tensor may begin so.
        let report = scanned(&archive(&[("data.pkl", GOOD), ("data/0", head)]));
        assert!(report.problems.is_empty(), "{report:?}");
    }
}
