//! Records of Burn 0.21: each format against what Burn itself says is in them (`tests/fixtures/burn021`), and what becomes of
//! damaged and hostile ones.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions};
use rekindle_recorder::container::{burn_record, burnpack};
use rekindle_recorder::io::FileBytes;
use rekindle_recorder::{DType, Dict, Error, ErrorKind, Limits, Result, Tensor, Value};

/// Every parameter of the model has an id that is long enough to tell it from the others.
const FORMATS: [&str; 6] = ["mpk", "mpk.gz", "json", "json.gz", "bin", "bin.gz"];

fn fixture(name: &str) -> PathBuf {
    rekindle_testing::fixtures::path("burn_record").join(name)
}

fn open(name: &str) -> Dict {
    read(&FileBytes::open(&fixture(name)).unwrap(), &OpenOptions::default()).unwrap()
}

fn read(file: &FileBytes, options: &OpenOptions) -> Result<Dict> {
    burn_record::read(file, options).map(|opened| opened.value.as_dict().unwrap().clone())
}

fn read_bytes(bytes: impl Into<Vec<u8>>) -> Result<Dict> {
    read(&FileBytes::from_vec("record", bytes.into()), &OpenOptions::default())
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

/// What Burn says of each parameter, in the order of the module's fields.
fn truth() -> Vec<(String, serde_json::Value)> {
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&bytes("model.truth.json")).unwrap();
    rows.into_iter().map(|row| (row["name"].as_str().unwrap().to_owned(), row)).collect()
}

fn names(dict: &Dict) -> Vec<String> {
    dict.entries().iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect()
}

fn tensor(dict: &Dict, name: &str) -> Tensor {
    dict.get(name).unwrap().as_tensor().unwrap().clone()
}

fn attribute(dict: &Dict, path: [&str; 2]) -> Dict {
    path.iter().fold(dict.state().unwrap().as_dict().unwrap().clone(), |dict, name| {
        dict.get(name).and_then(|value| value.as_dict().cloned()).unwrap_or(dict)
    })
}

fn elements(row: &serde_json::Value) -> Vec<f64> {
    let number = |x: &serde_json::Value| x.as_f64().or(x.as_bool().map(f64::from)).unwrap();
    row["elements"].as_array().unwrap().iter().map(number).collect()
}

#[test]
fn every_format_and_precision_gives_burns_own_numbers() {
    let truth = truth();
    let precisions = [
        ("full", FORMATS.as_slice(), DType::Float32, DType::Int32),
        ("half", FORMATS.as_slice(), DType::Float16, DType::Int16),
        ("double", &["mpk", "bin.gz"], DType::Float64, DType::Int64),
    ];
    for (precision, formats, float, int) in precisions {
        for format in formats {
            let file = format!("{precision}.{format}");
            let dict = open(&file);
            assert_eq!(dict.len(), truth.len(), "{file}");
            let ids = attribute(&dict, ["_burnpack", "param_ids"]);
            let by_name = !format.starts_with("bin");
            for (place, (name, row)) in truth.iter().enumerate() {
                let name = if by_name { name.clone() } else { place.to_string() };
                let read = tensor(&dict, &name);
                let dtype = match row["kind"].as_str().unwrap() {
                    "float" => float,
                    "int" => int,
                    _ => DType::Bool,
                };
                let shape: Vec<usize> = serde_json::from_value(row["shape"].clone()).unwrap();
                assert_eq!((read.dtype(), read.shape()), (dtype, &*shape), "{file}: {name}");
                assert_eq!(read.to_f64_vec().unwrap(), elements(row), "{file}: {name}");
                let id = ids.get(&name).unwrap();
                assert!(
                    matches!(Value::from(row["number"].as_u64().unwrap()), wanted if same(&wanted, &id)),
                    "{file}: {name}"
                );
            }
            if by_name {
                assert_eq!(names(&dict), truth.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), "{file}");
            }
        }
    }
}

/// Integers as large as ids are.
fn same(a: &Value, b: &Value) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

#[test]
fn the_records_own_texts_are_kept() {
    for format in FORMATS {
        let metadata = attribute(&open(&format!("half.{format}")), ["__metadata__", ""]);
        let text = |name: &str| metadata.get(name).unwrap().as_str().unwrap().to_owned();
        assert_eq!(names(&metadata), ["float", "int", "format", "version", "settings"]);
        assert_eq!((&*text("int"), &*text("version"), &*text("settings")), ("i16", "0.21.0", "HalfPrecisionSettings"));
    }
}

#[test]
fn an_optimizers_record_is_read_with_its_moments_and_times() {
    for format in ["mpk", "mpk.gz", "json", "json.gz"] {
        let dict = open(&format!("adam.{format}"));
        assert_eq!(dict.len(), 6);
        let truth: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&bytes("adam.truth.json")).unwrap();
        for (id, row) in truth {
            let gradient: Vec<f64> = serde_json::from_value(row["gradient"].clone()).unwrap();
            let shape: Vec<usize> = serde_json::from_value(row["shape"].clone()).unwrap();
            let field = |field: &str| format!("{id}.V1.Rank{}.momentum.{field}", shape.len());
            assert_eq!(dict.get(&field("time")).unwrap().as_i64(), Some(1));
            // Burn has the factors 1 - 0.9 and 1 - 0.999 in single precision.
            let moments = [("moment_1", 1.0_f32 - 0.9, 1), ("moment_2", 1.0_f32 - 0.999, 2)];
            for (name, factor, power) in moments {
                let read = tensor(&dict, &field(name));
                assert_eq!(read.shape(), shape);
                for (read, g) in read.to_f64_vec().unwrap().into_iter().zip(&gradient) {
                    let moment = f64::from(factor) * g.powi(power);
                    assert!((read / moment - 1.0).abs() < 1e-6, "{id} {name}: {read} for {g}");
                }
            }
        }
    }
}

#[test]
fn a_record_of_one_number_stands_under_item() {
    let dict = open("cosine.mpk");
    assert_eq!(names(&dict), ["item"]);
    assert_eq!(dict.get("item").unwrap().as_i64(), Some(2));
}

#[test]
fn a_record_of_one_parameter_stands_under_item() {
    let item = param(&[0, 0, 128, 63], &[1], &text("F32"));
    let metadata = [&[0x83, 0xa8][..], b"metadata", &[0x80]].concat();
    let dict = read_bytes([metadata, text("item"), item, text("_b"), vec![0xc0]].concat()).unwrap();
    assert_eq!(tensor(&dict, "item").to_vec::<f32>().unwrap(), [1.0]);
    assert!(attribute(&dict, ["_burnpack", "param_ids"]).get("item").is_some());
}

#[test]
fn an_optimizers_record_in_bincode_is_an_error_that_says_what_to_do() {
    for format in ["bin", "bin.gz"] {
        let error = read_bytes(bytes(&format!("adam.{format}"))).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }));
        assert!(error.to_string().contains("save it as .mpk or .json"), "{error}");
    }
}

#[test]
fn a_format_is_told_by_its_content() {
    for format in FORMATS {
        for stem in ["full", "half", "adam"] {
            let file = FileBytes::from_vec("checkpoint.pt", bytes(&format!("{stem}.{format}")));
            assert!(burn_record::detect(&file), "{stem}.{format}");
            assert!(!burnpack::detect(&file));
        }
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"no record at all").unwrap();
    let others = [
        Vec::new(),
        b"{\"metadata\": {\"total_size\": 10}, \"weight_map\": {}}".to_vec(),
        b"\x81\xa4meta\xc0".to_vec(),
        b"\x80\x02}q\x00.".to_vec(),
        packed.finish().unwrap(),
        bytes("model.truth.json"),
    ];
    for other in others {
        assert!(!burn_record::detect(&FileBytes::from_vec("model.mpk", other.clone())), "{other:?}");
    }
}

#[test]
fn the_tensors_of_a_large_message_pack_record_stay_in_the_file() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.mpk");
    // The bytes of one tensor are 70 000, so that the file is mapped.
    let elements = vec![1.0_f32; 17_500];
    let data: Vec<u8> = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(&path, message_pack(&param(&data, &[17_500], &text("F32")))).unwrap();
    let file = FileBytes::open(&path).unwrap();
    let dict = read(&file, &OpenOptions::default()).unwrap();
    let bytes = tensor(&dict, "weight").to_le_bytes().unwrap();
    assert!(file.as_ptr_range().contains(&bytes.as_ptr()), "no copy was made");
    assert_eq!(bytes.as_ref(), &*data);
}

#[test]
fn converted_to_burnpack_a_record_keeps_names_ids_and_bytes() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.bpk");
    let dict = open("full.mpk");
    burnpack::write(&dict.clone().into(), &path, &SaveOptions::default()).unwrap();
    let again = burnpack::read(&FileBytes::open(&path).unwrap(), &OpenOptions::default()).unwrap().value;
    let again = again.as_dict().unwrap();
    assert_eq!(names(again), names(&dict));
    let ids = |dict: &Dict| -> BTreeMap<String, String> {
        let ids = attribute(dict, ["_burnpack", "param_ids"]).entries();
        ids.iter().map(|(name, id)| (name.as_str().unwrap().to_owned(), format!("{id:?}"))).collect()
    };
    assert_eq!(ids(again), ids(&dict));
    for name in names(&dict) {
        assert_eq!(tensor(again, &name).to_le_bytes().unwrap(), tensor(&dict, &name).to_le_bytes().unwrap(), "{name}");
    }
}

#[test]
fn records_are_not_written() {
    let error = burn_record::write(&Dict::new().into(), Path::new("out.mpk"), &SaveOptions::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }) && error.to_string().contains(".bpk"), "{error}");
}

// Damage.

#[test]
fn a_record_cut_off_anywhere_is_an_error_and_most_often_says_so() {
    for format in FORMATS {
        let whole = bytes(&format!("full.{format}"));
        let header = if format.starts_with("bin") { 129 } else { 0 };
        let mut silent = 0;
        for end in 0..whole.len() {
            match read_bytes(&whole[..end]) {
                Ok(dict) => {
                    // bincode keeps no end: cut between two parameters, or inside what is no parameter, nothing is missed.
                    assert!(format == "bin" && end > header && dict.len() < 25, "{format} at {end}");
                    silent += 1;
                }
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::Truncated { .. } | ErrorKind::NotACheckpoint { .. })
                        || end < header + 20 && matches!(error.kind(), ErrorKind::Unsupported { .. }),
                    "{format} at {end}: {error}"
                ),
            }
        }
        // Between its parameters a .bin file has few bytes.
        assert!(silent < 50, "{format}: {silent}");
    }
}

#[test]
fn a_changed_byte_never_makes_a_reader_panic() {
    for format in FORMATS {
        let whole = bytes(&format!("full.{format}"));
        // Every byte of the small files, every seventh of JSON.
        for place in (0..whole.len()).step_by(if whole.len() > 5000 { 7 } else { 1 }) {
            for bit in [0x01, 0x80] {
                let mut changed = whole.clone();
                changed[place] ^= bit;
                if let Ok(dict) = read_bytes(changed) {
                    // What is read can also be looked at.
                    dict.entries().iter().filter_map(|(_, value)| value.as_tensor()?.to_f64_vec().err()).for_each(drop);
                }
            }
        }
    }
}

#[test]
fn a_wrong_checksum_of_gzip_is_found_unless_one_asks_not_to_verify() {
    let mut changed = bytes("full.mpk.gz");
    let crc = changed.len() - 8;
    changed[crc] ^= 1;
    let file = FileBytes::from_vec("record", changed);
    let error = read(&file, &OpenOptions::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Checksum), "{error}");
    let mut trusting = OpenOptions::default();
    trusting.verify = false;
    assert_eq!(read(&file, &trusting).unwrap().len(), 24);
}

#[test]
fn bytes_behind_the_end_are_damage() {
    for format in ["mpk", "mpk.gz", "json", "json.gz"] {
        let mut longer = bytes(&format!("full.{format}"));
        longer.extend(b"more");
        let error = read_bytes(longer).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Damaged { .. }), "{format}: {error}");
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(b"\x83\xa8metadata").unwrap();
    std::io::copy(&mut std::io::repeat(0).take(8 << 20), &mut packed).unwrap();
    let file = FileBytes::from_vec("record", packed.finish().unwrap());
    let mut options = OpenOptions::default();
    options.limits.inflated_bytes = 1 << 20;
    let error = read(&file, &options).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit, .. } if *limit == 1 << 20), "{error}");
}

#[test]
fn values_memory_and_nesting_are_bounded() {
    let deep = |open: &[u8], n: usize| {
        let mut item = Vec::new();
        (0..n).for_each(|_| item.extend(open));
        item
    };
    let mut few = Limits::default();
    few.values = 100;
    let mut small = Limits::default();
    small.value_bytes = 1000;
    let json = |item: &str| format!("{{\"metadata\":{{\"float\":\"f32\"}},\"item\":{item}}}").into_bytes();
    let cases = [
        (message_pack(&[&[0xdc, 0, 200], &*vec![0xc0; 200]].concat()), &few),
        (message_pack(&text(&"x".repeat(2000))), &small),
        (message_pack(&deep(&[0x91], 100_000)), &Limits::default()),
        (message_pack(&deep(b"\x81\xa1a", 100_000)), &Limits::default()),
        (json(&format!("[{}null]", "null,".repeat(200))), &few),
        // One long name, and many short ones below it that each begin with it.
        (message_pack(&[&[0x81][..], &text(&"x".repeat(700)), &[0x93, 1, 2, 3]].concat()), &small),
    ];
    for (i, (bytes, limits)) in cases.into_iter().enumerate() {
        let mut options = OpenOptions::default();
        options.limits = limits.clone();
        let error = read(&FileBytes::from_vec("record", bytes), &options).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{i}: {error}");
    }
    // serde_json has a limit of its own.
    assert!(read_bytes(json(&"[".repeat(100_000))).is_err());
}

#[test]
fn lengths_that_lie_cost_nothing() {
    let huge = [
        message_pack(&[0xdd, 0xff, 0xff, 0xff, 0xff]),
        message_pack(&[0xdf, 0xff, 0xff, 0xff, 0xff]),
        message_pack(&[0xc6, 0xff, 0xff, 0xff, 0xff]),
        message_pack(&[0xdb, 0xff, 0xff, 0xff, 0xff]),
    ];
    for bytes in huge {
        let error = read_bytes(bytes).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Truncated { .. }), "{error}");
    }
}

#[test]
fn a_tensor_that_contradicts_itself_is_named() {
    let cases = [
        (param(&[0; 12], &[4], &text("F32")), "'weight'", "12 bytes are no [4] of F32"),
        (param(&[0; 16], &[u64::MAX, 2], &text("F32")), "weight", "16 bytes are no"),
        (param(&[0; 16], &[4], &text("F31")), "weight", "'F31' is none of Burn's"),
        (param(&[0; 2], &[2], &[&[0x81][..], &text("Bool"), &text("U9")].concat()), "weight", "none of Burn's"),
        (param(&[0; 8], &[4], &[&[0x81][..], &text("QFloat"), &[0x80]].concat()), "'weight'", "quantised (QFloat)"),
        ([&[0x82][..], &text("value"), &[0x90], &text("shape"), &[0x90]].concat(), "'weight'", "Burn 0.13 or earlier"),
        ([&[0x82][..], &text("a"), &[1], &text("a"), &[2]].concat(), "'weight.a'", "twice"),
    ];
    for (weight, name, reason) in cases {
        let error = read_bytes(message_pack(&weight)).unwrap_err().to_string();
        assert!(error.contains(name.trim_matches('\'')) && error.contains(reason), "{error}");
    }
    let mut broken = message_pack(&param(&[0; 16], &[4], &text("F32")));
    // The text `F32`; behind it come the six bytes of `_b` and its nil.
    let dtype = broken.len() - 12;
    broken[dtype] = 0xc1;
    assert!(read_bytes(broken).unwrap_err().to_string().contains("'item.weight.param.dtype'"));
}

// Records of earlier releases, made by hand.

#[test]
fn booleans_are_read_however_a_release_spells_them() {
    for dtype in [
        text("Bool"),
        [&[0x81][..], &text("Bool"), &text("Native")].concat(),
        [&[0x81][..], &text("Bool"), &text("U8")].concat(),
    ] {
        let dict = read_bytes(message_pack(&param(&[1, 0, 1], &[3], &dtype))).unwrap();
        assert_eq!(tensor(&dict, "weight").to_vec::<bool>().unwrap(), [true, false, true]);
    }
}

#[test]
fn types_in_bincode_are_numbered_as_the_release_that_wrote_them_did() {
    // The place of each type in the `DType` of burn-tensor 0.14 to 0.20 and burn-std 0.21.
    let cases: [(&str, &[u8], DType, usize); 12] = [
        ("0.14.0", &[1], DType::Float32, 4),
        ("0.14.0", &[2], DType::Float16, 2),
        ("0.15.0", &[10], DType::UInt8, 1),
        ("0.15.0", &[11], DType::Bool, 1),
        ("0.16.0", &[10], DType::UInt16, 2),
        ("0.16.0", &[12], DType::Bool, 1),
        ("0.17.0", &[2], DType::Float32, 4),
        ("0.18.0", &[3], DType::Float16, 2),
        ("0.20.1", &[13], DType::Bool, 1),
        ("0.21.0", &[13, 0], DType::Bool, 1),
        ("0.21.0", &[13, 1], DType::Bool, 1),
        ("0.21.0", &[5], DType::Int64, 8),
    ];
    for (version, variant, dtype, size) in cases {
        let data = vec![1; 3 * size];
        let dict = read_bytes(bincode(version, &data, &[3], variant)).unwrap();
        assert_eq!(tensor(&dict, "0").dtype(), dtype, "{version} {variant:?}");
        assert_eq!(tensor(&dict, "0").shape(), [3]);
    }
    let error = read_bytes(bincode("0.13.2", &[0; 4], &[1], &[1])).unwrap_err();
    assert!(error.to_string().contains("Burn 0.13 or earlier"), "{error}");
    let error = read_bytes(bincode("0.21.0", &[0; 4], &[4], &[14])).unwrap_err();
    assert!(error.to_string().contains("QFloat"), "{error}");
}

#[test]
fn a_parameter_in_bincode_that_is_damaged_is_named() {
    let mut damaged = bytes("full.bin");
    // The rank of the second parameter's shape; its id is `uhirj8bajps6s`.
    let id = damaged.windows(13).position(|window| window == b"uhirj8bajps6s").unwrap();
    damaged[id + 13 + 1 + 12] = 7;
    let error = read_bytes(damaged).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("parameter 1 (id uhirj8bajps6s)"), "{error}");
}

fn text(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap();
    [&[0xda][..], &len.to_be_bytes(), text.as_bytes()].concat()
}

/// A parameter in `MessagePack`.
fn param(data: &[u8], shape: &[u64], dtype: &[u8]) -> Vec<u8> {
    let mut bytes =
        [&[0x82][..], &text("id"), &text("lv6hquppl0ge4"), &text("param"), &[0x83], &text("bytes")].concat();
    bytes.push(0xc6);
    bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes.extend(text("shape"));
    bytes.push(0x90 | u8::try_from(shape.len()).unwrap());
    for n in shape {
        bytes.push(0xcf);
        bytes.extend(n.to_be_bytes());
    }
    [bytes, text("dtype"), dtype.to_vec()].concat()
}

/// A record whose item is a struct with the one field `weight`.
fn message_pack(weight: &[u8]) -> Vec<u8> {
    let metadata = [&[0x83, 0xa8][..], b"metadata", &[0x81], &text("float"), &text("f32")].concat();
    [metadata, text("item"), vec![0x81], text("weight"), weight.to_vec(), text("_b"), vec![0xc0]].concat()
}

/// A record in bincode with one parameter.
fn bincode(version: &str, data: &[u8], shape: &[u8], dtype: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let format = "burn_core::record::file::BinFileRecorder<burn_core::record::settings::FullPrecisionSettings>";
    for text in ["f32", "i32", format, version, "FullPrecisionSettings", "lv6hquppl0ge4"] {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.as_bytes());
    }
    bytes.push(u8::try_from(data.len()).unwrap());
    bytes.extend(data);
    bytes.push(u8::try_from(shape.len()).unwrap());
    bytes.extend(shape);
    bytes.extend(dtype);
    bytes
}

/// `Error` is what every reader here returns; it must be cheap to return.
const _: () = assert!(size_of::<Error>() == size_of::<usize>());
