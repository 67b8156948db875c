//! burnpack, both ways, against Burn's own reader and writer (the crate burn-pack) and a file that Burn 0.21 wrote.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use burn_pack::{Bytes, DType as BurnDType, Reader, Scalar, Writer};
use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions, SaveReport};
use rekindle_recorder::container::{self, burnpack};
use rekindle_recorder::io::FileBytes;
use rekindle_recorder::tensor::{TensorData, TensorParts};
use rekindle_recorder::{DType, Dict, Error, ErrorKind, Limits, Result, Tensor, Value};

use rekindle_testing::conformance::{self, Format, Keeps};
use rekindle_testing::fixtures;

struct Burnpack;

impl Format for Burnpack {
    fn name(&self) -> &'static str {
        "burnpack"
    }

    fn file_name(&self) -> &'static str {
        "model.bpk"
    }

    fn save(&self, root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
        burnpack::write(root, path, options)
    }

    fn keeps(&self) -> Keeps {
        // The order is that of the bytes; of tensors without any nothing tells it.
        Keeps { order: false, ties: false, views: false, parameters: false, values: false }
    }

    fn holds(&self, dtype: DType) -> bool {
        use DType::{
            BFloat16, Bool, Float16, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64,
        };
        [Float64, Float32, Float16, BFloat16, Int64, Int32, Int16, Int8, UInt64, UInt32, UInt16, UInt8, Bool]
            .contains(&dtype)
    }

    fn write_sparse(&self, path: &Path, bytes: u64) -> bool {
        let number = |n: u64| [&[0x1b][..], &n.to_be_bytes()].concat();
        let numbers = |numbers: &[u64]| -> Vec<u8> {
            let items: Vec<u8> = numbers.iter().flat_map(|&n| number(n)).collect();
            [&[0x80 | u8::try_from(numbers.len()).unwrap()][..], &items].concat()
        };
        let big = descriptor("big", &text("U8"), &numbers(&[bytes]), &numbers(&[0, bytes]));
        let tail = descriptor("tail", &text("I32"), &numbers(&[1]), &numbers(&[bytes, bytes + 4]));
        let cbor = [&[0xa1][..], &text("tensors"), &[0xa2], &big, &tail].concat();
        let mut file = File::create(path).unwrap();
        file.write_all(b"NRUB\x01\x00").unwrap();
        file.write_all(&u32::try_from(cbor.len()).unwrap().to_le_bytes()).unwrap();
        file.write_all(&cbor).unwrap();
        let data = (10 + cbor.len() as u64).next_multiple_of(256);
        file.seek(SeekFrom::Start(data + bytes)).unwrap();
        file.write_all(&7_i32.to_le_bytes()).unwrap();
        true
    }
}

#[test]
fn it_keeps_the_promises_of_every_container() {
    conformance::run(&Burnpack, "burnpack::it_keeps_the_promises_of_every_container");
}

fn read_with(bytes: &[u8], options: &OpenOptions) -> Result<Dict> {
    burnpack::read(&FileBytes::from_vec("model.bpk", bytes.to_vec()), options)
        .map(|opened| opened.value.as_dict().unwrap().clone())
}

fn read(bytes: &[u8]) -> Result<Dict> {
    read_with(bytes, &OpenOptions::default())
}

fn write(dict: &Dict) -> Result<(Vec<u8>, SaveReport)> {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.bpk");
    let report = burnpack::write(&dict.clone().into(), &path, &SaveOptions::default())?;
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(report.bytes, bytes.len() as u64);
    Ok((bytes, report))
}

fn tensor(dict: &Dict, name: &str) -> Tensor {
    dict.get(name).unwrap().as_tensor().unwrap().clone()
}

fn names(dict: &Dict) -> Vec<String> {
    dict.entries().iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect()
}

fn burn_tensor(name: &str, dtype: BurnDType, shape: &[usize], id: Option<u64>, bytes: Vec<u8>) -> burn_pack::Tensor {
    burn_pack::Tensor::new(name.to_owned(), dtype, shape.to_vec(), id, Bytes::from_bytes_vec(bytes))
}

/// Burn's type of a boolean that is stored so.
fn boolean(store: &str) -> BurnDType {
    serde_json::from_value(serde_json::json!({ "Bool": store })).unwrap()
}

/// One tensor of each type that PyTorch has, too, and what Burn's optimizers keep beside tensors.
fn every_kind() -> Writer {
    let types = [
        (BurnDType::F64, 8),
        (BurnDType::F32, 4),
        (BurnDType::Flex32, 4),
        (BurnDType::F16, 2),
        (BurnDType::BF16, 2),
        (BurnDType::I64, 8),
        (BurnDType::I32, 4),
        (BurnDType::I16, 2),
        (BurnDType::I8, 1),
        (BurnDType::U64, 8),
        (BurnDType::U32, 4),
        (BurnDType::U16, 2),
        (BurnDType::U8, 1),
        (boolean("Native"), 1),
        (boolean("U8"), 1),
    ];
    let mut tensors: Vec<_> = types
        .iter()
        .rev()
        .enumerate()
        .map(|(i, (dtype, size))| {
            let bytes = (0..6 * size).map(|byte| u8::try_from((byte + i) % 2).unwrap()).collect();
            let id = (i % 2 == 0).then_some(u64::MAX - i as u64);
            burn_tensor(&format!("layer{i}.{dtype:?}"), *dtype, &[2, 3], id, bytes)
        })
        .collect();
    tensors.push(burn_tensor("wide", boolean("U32"), &[2], None, vec![1, 0, 0, 0, 0, 0, 0, 0]));
    tensors.push(burn_tensor("empty", BurnDType::F32, &[0, 4], Some(0), Vec::new()));
    tensors.push(burn_tensor("one", BurnDType::F32, &[], None, vec![0, 0, 128, 63]));
    Writer::new(tensors)
        .with_metadata("format", "burnpack")
        .with_metadata("producer", "burn")
        .with_metadata("a long text", &"\u{e4}\u{1f525}".repeat(3000))
        .with_scalar("id.momentum.time", Scalar::from(3_usize))
        .with_scalar("id.__rank", Scalar::from(u64::MAX))
        .with_scalar("signed", Scalar::from(7_i64))
        .with_scalar("negative", Scalar::from(i64::MIN))
        .with_scalar("half", Scalar::from(0.5_f64))
        .with_scalar("tenth", Scalar::from(0.1_f64))
        .with_scalar("yes", Scalar::from(true))
        .with_scalar("no", Scalar::from(false))
}

#[test]
fn what_burn_writes_is_read_and_written_again_byte_for_byte() {
    let bytes = every_kind().into_bytes().unwrap();
    let dict = read(&bytes).unwrap();
    assert_eq!(tensor(&dict, "one").to_vec::<f32>().unwrap(), [1.0]);
    assert_eq!(tensor(&dict, "wide").to_vec::<bool>().unwrap(), [true, false]);
    assert_eq!(tensor(&dict, "empty").shape(), [0, 4]);
    assert_eq!(tensor(&dict, "layer14.F64").dtype(), DType::Float64);
    assert_eq!(tensor(&dict, "layer12.Flex32").dtype(), DType::Float32);
    // The order is that of the bytes, not of the names; scalars follow.
    assert_eq!(names(&dict)[..2], ["layer0.Bool(U8)", "layer1.Bool(Native)"]);
    assert_eq!(dict.get("id.momentum.time").unwrap().as_i64(), Some(3));
    assert_eq!(dict.get("negative").unwrap().as_i64(), Some(i64::MIN));
    assert_eq!(format!("{:?}", dict.get("id.__rank").unwrap()), u64::MAX.to_string());
    assert_eq!(dict.get("tenth").unwrap().as_f64(), Some(0.1));
    assert!(matches!(dict.get("yes"), Some(Value::Bool(true))));
    let (again, report) = write(&dict).unwrap();
    assert!(again == *bytes, "the same file");
    assert_eq!(report.notes, Vec::<String>::new());
}

#[test]
fn a_module_that_burn_0_21_saved_is_read_in_its_order_and_written_again_byte_for_byte() {
    let bytes = std::fs::read(fixtures::path("burnpack/model021.bpk")).unwrap();
    let truth = std::fs::read(fixtures::path("burn_record/model.truth.json")).unwrap();
    let truth: Vec<serde_json::Value> = serde_json::from_slice(&truth).unwrap();
    let dict = read(&bytes).unwrap();
    assert_eq!(names(&dict).len(), truth.len());
    let state = dict.state().unwrap();
    let own = state.as_dict().unwrap().get("_burnpack").unwrap();
    let ids = own.as_dict().unwrap().get("param_ids").unwrap();
    for row in &truth {
        let name = row["name"].as_str().unwrap();
        let number = |x: &serde_json::Value| x.as_f64().or(x.as_bool().map(f64::from)).unwrap();
        let elements: Vec<f64> = row["elements"].as_array().unwrap().iter().map(number).collect();
        assert_eq!(tensor(&dict, name).to_f64_vec().unwrap(), elements, "{name}");
        assert_eq!(format!("{:?}", ids.as_dict().unwrap().get(name).unwrap()), row["number"].to_string(), "{name}");
    }
    // As the module declares them; the header is sorted by name, and would begin with `conv.bias`.
    assert_eq!(names(&dict)[..2], ["conv.weight", "conv.bias"]);
    assert!(write(&dict).unwrap().0 == bytes, "the same file");
}

fn truth022() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixtures::path("burnpack/truth022.json")).unwrap()).unwrap()
}

fn numbers(row: &serde_json::Value) -> Vec<f64> {
    serde_json::from_value(row.clone()).unwrap()
}

#[test]
fn records_of_burn_0_22_are_written_again_byte_for_byte() {
    for name in ["model022", "adam022", "cosine022"] {
        let bytes = std::fs::read(fixtures::path(&format!("burnpack/{name}.bpk"))).unwrap();
        let (again, report) = write(&read(&bytes).unwrap()).unwrap();
        assert!(again == bytes, "{name}: the same file");
        assert!(report.notes.is_empty(), "{name}: {:?}", report.notes);
    }
}

#[test]
fn a_module_record_of_burn_0_22_holds_burns_own_numbers() {
    let dict = read(&std::fs::read(fixtures::path("burnpack/model022.bpk")).unwrap()).unwrap();
    let truth = truth022();
    let rows = truth["model"].as_array().unwrap();
    assert_eq!(names(&dict), rows.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>());
    for row in rows {
        let name = row["name"].as_str().unwrap();
        assert_eq!(tensor(&dict, name).to_f64_vec().unwrap(), numbers(&row["elements"]), "{name}");
    }
}

#[test]
fn optimizer_and_scheduler_records_of_burn_0_22_are_values_too() {
    let dict = read(&std::fs::read(fixtures::path("burnpack/adam022.bpk")).unwrap()).unwrap();
    let truth = truth022();
    let (id, gradient) = (&truth["adam"]["weight"], numbers(&truth["adam"]["gradient"]));
    assert_eq!(dict.get(&format!("{id}.__rank")).unwrap().as_i64(), Some(2));
    assert_eq!(dict.get(&format!("{id}.momentum.time")).unwrap().as_i64(), Some(1));
    let moment = tensor(&dict, &format!("{id}.momentum.moment_1"));
    assert_eq!(moment.shape(), [2, 3]);
    for (moment, gradient) in moment.to_f64_vec().unwrap().into_iter().zip(gradient) {
        // Burn has the factor 1 - 0.9 in single precision.
        assert!((moment / (f64::from(1.0_f32 - 0.9) * gradient) - 1.0).abs() < 1e-6, "{moment}");
    }
    let dict = read(&std::fs::read(fixtures::path("burnpack/cosine022.bpk")).unwrap()).unwrap();
    let scalars: Vec<(String, String)> =
        dict.entries().iter().map(|(name, value)| (name.as_str().unwrap().to_owned(), format!("{value:?}"))).collect();
    assert!(scalars.iter().any(|(name, value)| name == "0.current_iter" && value == "2"), "{scalars:?}");
}

#[test]
fn what_is_written_burns_own_reader_opens() {
    let dict = Dict::ordered();
    dict.insert("fc.weight", Tensor::from_vec(&[2, 3], vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap());
    dict.insert("fc.bias", Tensor::from_vec(&[3], vec![half::bf16::ONE; 3]).unwrap());
    dict.insert("steps", Tensor::scalar(7_i64));
    dict.insert("mask", Tensor::from_vec(&[2], vec![true, false]).unwrap());
    dict.insert("epoch", 3);
    dict.insert("lr", 0.1);
    let (bytes, report) = write(&dict).unwrap();
    assert!(report.notes.is_empty());
    let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes)).unwrap();
    assert_eq!(reader.tensor_names(), ["fc.bias", "fc.weight", "mask", "steps"]);
    assert_eq!(reader.scalars()["epoch"], Scalar::UInt(3));
    assert_eq!(reader.scalars()["lr"], Scalar::Float(0.1));
    for name in ["fc.weight", "fc.bias", "steps", "mask"] {
        assert_eq!(reader.tensor_data(name).unwrap(), tensor(&dict, name).to_le_bytes().unwrap(), "{name}");
    }
    let shapes: Vec<_> = reader.into_tensors().unwrap().iter().map(|t| (t.shape.to_vec(), t.dtype)).collect();
    assert_eq!(shapes[1], (vec![2, 3], BurnDType::F32));
    assert_eq!(shapes[3], (vec![], BurnDType::I64));
}

#[test]
fn every_tensor_begins_at_a_multiple_of_256_bytes() {
    let dict = Dict::ordered();
    for i in 0..5_u8 {
        dict.insert(format!("t{i}"), Tensor::from_vec(&[3], vec![0xa0 + i; 3]).unwrap());
    }
    let (bytes, _) = write(&dict).unwrap();
    for i in 0..5_u8 {
        let place = bytes.windows(3).position(|window| window == [0xa0 + i; 3]).unwrap();
        assert_eq!(place % 256, 0);
    }
}

#[test]
fn views_and_tied_weights_are_written_as_copies_and_the_report_says_so() {
    let whole = Tensor::from_vec(&[2, 3], vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let storage = whole.storage().unwrap().clone();
    let transposed = Tensor::new(TensorParts::strided(DType::Float32, vec![3, 2], storage, 0, vec![1, 3])).unwrap();
    let dict = Dict::ordered();
    dict.insert("encoder.weight", whole);
    dict.insert("decoder.weight", transposed);
    dict.write().state = Some(Dict::from_iter([("_metadata", Dict::new())]).into());
    let (bytes, report) = write(&dict).unwrap();
    let notes = report.notes.join("\n");
    for words in [
        "'encoder.weight', 'decoder.weight': overlapped in memory; in burnpack each has its own copy",
        "'decoder.weight': were strided views and are written in row-major order",
        "attributes of the state dict, left out: '_metadata' (burnpack)",
    ] {
        assert!(notes.contains(words), "{notes}");
    }
    let again = read(&bytes).unwrap();
    assert_eq!(tensor(&again, "decoder.weight").to_vec::<f32>().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
}

#[test]
fn what_burnpack_cannot_hold_is_refused_by_name() {
    let weight = Tensor::from_vec(&[1], vec![1.0_f32]).unwrap();
    let sparse = Tensor::new(TensorParts { data: TensorData::Meta { stride: vec![1] }, ..weight.parts().clone() });
    let complex = Tensor::from_le_bytes(DType::Complex64, &[1], vec![0_u8; 8]).unwrap();
    let cases: [(&str, Value, &str); 5] = [
        ("note", "text".into(), "'note' (a str)"),
        ("model", Dict::from_iter([("fc.weight", weight.clone())]).into(), "`Conversion::key(\"model\")`"),
        ("c", complex.into(), "'c', a tensor of complex64"),
        ("m", sparse.unwrap().into(), "'m'"),
        ("list", Value::list([]), "'list' (a list)"),
    ];
    for (name, value, words) in cases {
        let dict = Dict::from_iter([("weight", Value::from(weight.clone())), (name, value)]);
        let error = write(&dict).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let folder = rekindle_testing::scratch();
    let error = burnpack::write(&weight.into(), &folder.path().join("x"), &SaveOptions::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WrongType { .. }), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn burn_store_0_19_wrote_without_padding_and_is_read() {
    let data: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let aligned = Writer::new(vec![burn_tensor("w", BurnDType::F32, &[2], None, data.clone())])
        .with_metadata("version", "0.19.1")
        .into_bytes()
        .unwrap();
    let end = 10 + usize::from(u16::from_le_bytes([aligned[6], aligned[7]]));
    let packed = [&aligned[..end], &data].concat();
    assert_eq!(tensor(&read(&packed).unwrap(), "w").to_vec::<f32>().unwrap(), [1.0, 2.0]);
}

#[test]
fn the_tensors_of_a_large_file_stay_in_it() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.bpk");
    let tensors = vec![burn_tensor("w", BurnDType::F32, &[25_000], None, vec![1; 100_000])];
    Writer::new(tensors).write_to_file(&path).unwrap();
    let file = FileBytes::open(&path).unwrap();
    let opened = burnpack::read(&file, &OpenOptions::default()).unwrap();
    let bytes = tensor(opened.value.as_dict().unwrap(), "w").to_le_bytes().unwrap();
    assert!(file.as_ptr_range().contains(&bytes.as_ptr()), "no copy was made");
}

// Damage.

#[test]
fn a_file_cut_off_anywhere_says_so() {
    let bytes = every_kind().into_bytes().unwrap();
    for end in 0..bytes.len() {
        let error = read(&bytes[..end]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Truncated { .. }), "{end}: {error}");
    }
}

#[test]
fn a_changed_byte_of_the_header_never_makes_the_reader_panic() {
    let bytes = std::fs::read(fixtures::path("burnpack/model021.bpk")).unwrap();
    let end = 10 + usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
    for place in 4..end {
        for mask in [0x01, 0x20, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[place] ^= mask;
            if let Ok(dict) = read(&changed) {
                dict.entries().iter().filter_map(|(_, value)| value.as_tensor()?.to_f64_vec().err()).for_each(drop);
            }
        }
    }
}

/// A file with this CBOR and no data.
fn file(cbor: &[u8]) -> Vec<u8> {
    let len = u32::try_from(cbor.len()).unwrap();
    [&b"NRUB\x01\x00"[..], &len.to_le_bytes(), cbor, &[0; 1024]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[0x78, u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat()
}

/// An entry of the table of tensors.
fn descriptor(name: &str, dtype: &[u8], shape: &[u8], offsets: &[u8]) -> Vec<u8> {
    let parts =
        [&text(name)[..], &[0xa3], &text("dtype"), dtype, &text("shape"), shape, &text("data_offsets"), offsets];
    parts.concat()
}

/// CBOR of one tensor `w`.
fn header(dtype: &[u8], shape: &[u8], offsets: &[u8]) -> Vec<u8> {
    [&[0xa1][..], &text("tensors"), &[0xa1], &descriptor("w", dtype, shape, offsets)].concat()
}

fn failure(cbor: &[u8]) -> Error {
    read(&file(cbor)).unwrap_err()
}

#[test]
fn a_tensor_that_contradicts_itself_is_named() {
    let f32 = text("F32");
    let huge = [0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let from_huge_to_4 = [&[0x82][..], &huge, &[4]].concat();
    let to_huge = [&[0x82, 0][..], &huge].concat();
    let huge_twice = [&[0x82][..], &huge, &huge].concat();
    let quantised = [&[0xa1][..], &text("QFloat"), &[0xa0]].concat();
    let cases = [
        (header(&f32, &[0x81, 2], &[0x82, 0, 4]), "4 bytes are no [2] of F32"),
        (header(&f32, &[0x81, 1], &[0x82, 4, 0]), "said to be 4..0"),
        (header(&f32, &[0x81, 1], &from_huge_to_4), "said to be"),
        (header(&f32, &[0x81, 1], &to_huge), "said to be"),
        (header(&f32, &huge_twice, &[0x82, 0, 4]), "4 bytes are no"),
        (header(&quantised, &[0x81, 2], &[0x82, 0, 4]), "quantised (QFloat)"),
        (header(&text("F31"), &[0x81, 1], &[0x82, 0, 4]), "Burn's type F31"),
    ];
    for (cbor, words) in cases {
        let error = failure(&cbor).to_string();
        assert!((error.starts_with("w: ") || error.contains("'w'")) && error.contains(words), "{error}");
    }
}

#[test]
fn a_header_that_is_no_header_is_damage_and_says_where() {
    let mut twice = header(&text("F32"), &[0x81, 1], &[0x82, 0, 4]);
    twice[10] = 0xa2;
    let entry = twice[11..].to_vec();
    twice.extend(entry);
    let both_tables = [&[0xa2][..], &text("tensors"), &[0xa0], &text("tensors"), &[0xa0]].concat();
    let mut nested = [&[0xa2][..], &text("tensors"), &[0xa0], &text("later")].concat();
    nested.extend([0x81; 1000]);
    let cases: [(&[u8], &str); 9] = [
        (b"", "goes on beyond"),
        (&[0x80], "is no map"),
        (&[0xa0], "no table of tensors"),
        (&[0x1c], "no CBOR"),
        (&[0xa1, 0x01], "a text is expected"),
        (&both_tables, "twice"),
        (&twice, "'w' stands there twice"),
        (&nested, "too deep"),
        (&header(&text("F32"), &[0x81, 1], &[0x83, 0, 4, 4]), "the metadata, 'w', byte"),
    ];
    for (cbor, words) in cases {
        let error = failure(cbor);
        assert!(matches!(error.kind(), ErrorKind::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn lengths_that_lie_cost_nothing() {
    for major in [0x40, 0x60, 0x80, 0xa0_u8] {
        for lie in [0x1a, 0x1b_u8] {
            let mut cbor = [&[0xa1][..], &text("tensors"), &[major | lie]].concat();
            cbor.extend([0x7f; 8]);
            assert!(matches!(failure(&cbor).kind(), ErrorKind::Damaged { .. }));
            let mut skipped = [&[0xa1][..], &text("else"), &[major | lie]].concat();
            skipped.extend([0x7f; 8]);
            assert!(matches!(failure(&skipped).kind(), ErrorKind::Damaged { .. }));
        }
    }
}

#[test]
fn values_and_memory_are_bounded() {
    let bytes = every_kind().into_bytes().unwrap();
    let limits: [fn(&mut Limits); 3] =
        [|limits| limits.values = 20, |limits| limits.value_bytes = 1000, |limits| limits.pickle_bytes = 100];
    for set in limits {
        let mut options = OpenOptions::default();
        set(&mut options.limits);
        let error = read_with(&bytes, &options).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
    }
}

#[test]
fn a_later_version_of_the_format_is_not_guessed_at() {
    let mut bytes = every_kind().into_bytes().unwrap().to_vec();
    bytes[4] = 2;
    let error = read(&bytes).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unsupported { .. }) && error.to_string().contains("version 2"),
        "{error}"
    );
}

#[test]
fn bytes_behind_the_last_tensor_are_damage_and_a_transfer_as_text_says_so() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.bpk");
    // So that a line feed is among the bytes, and often.
    let weight =
        Tensor::from_vec(&[64], (0..64_u8).map(|i| if i % 4 == 0 { 10 } else { i }).collect::<Vec<u8>>()).unwrap();
    burnpack::write(&Dict::from_iter([("w", weight)]).into(), &path, &SaveOptions::default()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        container::open(&path, &OpenOptions::default())
    };
    let padded = [&whole[..], &[0; 40]].concat();
    assert!(read(&padded).is_ok());
    let longer = read(&[&whole[..], b"more"].concat()).unwrap_err();
    assert!(longer.to_string().contains("the file goes on to byte"), "{longer}");
    let text: Vec<u8> =
        whole.iter().flat_map(|&byte| if byte == b'\n' { vec![b'\r', b'\n'] } else { vec![byte] }).collect();
    let error = read(&text).unwrap_err().to_string();
    assert!(error.contains("transferred as text"), "{error}");
}
