//! A checkpoint of 10 GiB is inspected by what its pickle says: of its tensors no byte is read, though each has a checksum.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::inspect::Inspection;
use rekindle_recorder::pickle::{self, Dialect, PickleOptions};
use rekindle_recorder::tensor::{TensorParts, contiguous_stride};
use rekindle_recorder::{DType, Dict, Result, Source, Storage, Tensor, Value};

const GIB: u64 = 1 << 30;
/// Weights of a model; each has two moments and a step in the optimizer's state.
const WEIGHTS: usize = 400;
const ROWS: usize = 2200;

/// Zeros that nobody reads.
struct Zeros(u64);

impl Source for Zeros {
    fn len(&self) -> u64 {
        self.0
    }

    fn read(&self) -> Result<Bytes> {
        panic!("only the pickle is written")
    }
}

fn tensor(shape: &[usize]) -> Value {
    let bytes = 4 * shape.iter().product::<usize>() as u64;
    let storage = Storage::from_source(DType::Float32, "cpu", Zeros(bytes));
    let parts = TensorParts::strided(DType::Float32, shape.to_vec(), storage, 0, contiguous_stride(shape));
    Tensor::new(parts).unwrap().into()
}

/// A run with Adam after some steps.
fn run() -> Value {
    let (model, state) = (Dict::ordered(), Dict::new());
    for i in 0..WEIGHTS {
        model.insert(format!("layers.{i}.weight"), tensor(&[ROWS, 1024]));
        let moments =
            [("step", tensor(&[])), ("exp_avg", tensor(&[ROWS, 1024])), ("exp_avg_sq", tensor(&[ROWS, 1024]))];
        state.insert(i, moments.into_iter().collect::<Dict>());
    }
    let optimizer = Dict::new();
    optimizer.insert("state", state);
    optimizer.insert("param_groups", Value::list([Dict::from_iter([("lr", Value::Float(0.1))]).into()]));
    let root = Dict::new();
    root.insert("epoch", 3);
    root.insert("model_state_dict", model);
    root.insert("optimizer_state_dict", optimizer);
    root.into()
}

/// Writes the run with zeros that are holes. Gives the bytes of its pickle.
fn write(path: &Path) -> u64 {
    let pickled = pickle::write(&run(), &PickleOptions { dialect: Dialect::Zip, allow_objects: false }).unwrap();
    let names: Vec<String> = (0..pickled.storages.len()).map(|key| format!("run/data/{key}")).collect();
    let mut records: Vec<(&str, &[u8], u64)> =
        vec![("run/data.pkl", &pickled.bytes, 0), ("run/byteorder", b"little", 0)];
    records.extend(names.iter().zip(&pickled.storages).map(|(name, storage)| (&**name, &b""[..], storage.len())));
    records.push(("run/version", b"3\n", 0));
    rekindle_testing::sparse::write_zip(path, &records).unwrap();
    pickled.bytes.len() as u64
}

/// How many bytes of a mapped file this process has touched; `None` where the system does not tell.
fn touched(path: &Path) -> Option<u64> {
    let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let name = path.to_str().unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(name));
    lines.next().expect("the file is mapped");
    let resident = lines.find_map(|line| line.strip_prefix("Rss:"))?;
    resident.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[test]
fn inspecting_ten_gibibytes_reads_only_the_pickle_and_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("run.pt");
    let pickle = write(&path);
    let size = path.metadata().unwrap().len();
    assert!(size > 10 * GIB, "{size}");
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let checkpoint = Checkpoint::open(&path).unwrap();
        let inspection = Inspection::of(&checkpoint, false).unwrap();
        fastest = fastest.min(start.elapsed());
        assert_eq!((inspection.tensors.len(), inspection.layout, inspection.bytes), (4 * WEIGHTS, "tutorial", size));
        assert_eq!(inspection.values.len(), 2);
        if let Some(touched) = touched(&path) {
            println!("{touched} bytes touched; the pickle has {pickle}");
            // Beside the pickle the directory, of some 100 bytes a record; the system maps up to 64 KiB around each page.
            assert!(touched < pickle + 1_000_000, "{touched} bytes were read");
        }
        // Only now, the first weight alone is read and verified.
        let weight = checkpoint.get::<Tensor>("model_state_dict.layers.0.weight").unwrap();
        let bytes = weight.storage().unwrap().bytes().unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
        if let Some(touched) = touched(&path) {
            assert!(touched > bytes.len() as u64 && touched < 2 * bytes.len() as u64, "{touched} bytes were read");
        }
    }
    println!("{size} bytes with {} tensors: opened and inspected in {fastest:?}", 4 * WEIGHTS);
}
