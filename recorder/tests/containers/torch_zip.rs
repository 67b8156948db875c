//! Zip archives as `torch.save` writes them, and Hugging Face's folders of such, in the suite that every container runs.

use std::path::Path;

use bytes::Bytes;
use rekindle_recorder::checkpoint::{SaveOptions, SaveReport};
use rekindle_recorder::container::hf::{self, ShardFormat, ShardOptions};
use rekindle_recorder::container::{self, Format};
use rekindle_recorder::pickle::{self, Dialect, PickleOptions};
use rekindle_recorder::tensor::{TensorParts, contiguous_stride};
use rekindle_recorder::{DType, Dict, Result, Source, Storage, Tensor, Value};

use rekindle_testing::conformance::{self, Keeps};

/// A pickle keeps everything.
const ALL: Keeps = Keeps { order: true, ties: true, views: true, parameters: true, values: true };

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

/// An archive of the tensors `big` and `tail` whose zeros are a hole in the file.
fn write_sparse_archive(path: &Path, bytes: u64) {
    let shape = [usize::try_from(bytes).unwrap()];
    let storage = Storage::from_source(DType::UInt8, "cpu", Zeros(bytes));
    let parts = TensorParts::strided(DType::UInt8, shape.to_vec(), storage, 0, contiguous_stride(&shape));
    let tail = Tensor::from_vec(&[1], vec![7_i32]).unwrap();
    let root = Value::from([("big", Tensor::new(parts).unwrap()), ("tail", tail)].into_iter().collect::<Dict>());
    let options = PickleOptions { dialect: Dialect::Zip, allow_objects: false };
    let pickled = pickle::write(&root, &options).unwrap();
    let records: [(&str, &[u8], u64); 5] = [
        ("archive/data.pkl", &pickled.bytes, 0),
        ("archive/byteorder", b"little", 0),
        ("archive/data/0", b"", bytes),
        ("archive/data/1", &[7, 0, 0, 0], 0),
        ("archive/version", b"3\n", 0),
    ];
    rekindle_testing::sparse::write_zip(path, &records).unwrap();
}

struct Zip;

impl conformance::Format for Zip {
    fn name(&self) -> &'static str {
        "zip"
    }

    fn file_name(&self) -> &'static str {
        "model.pt"
    }

    fn save(&self, root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
        container::save(root, Format::ZIP, path, options)
    }

    fn keeps(&self) -> Keeps {
        ALL
    }

    fn holds(&self, _dtype: DType) -> bool {
        true
    }

    fn write_sparse(&self, path: &Path, bytes: u64) -> bool {
        write_sparse_archive(path, bytes);
        true
    }
}

struct HfBin;

impl conformance::Format for HfBin {
    fn name(&self) -> &'static str {
        "hf, pytorch_model.bin"
    }

    fn file_name(&self) -> &'static str {
        "model"
    }

    fn save(&self, root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
        hf::write_shards(root, path, options, &ShardOptions::default().format(ShardFormat::Bin).max_shard_size(4000))
    }

    fn keeps(&self) -> Keeps {
        ALL
    }

    fn holds(&self, _dtype: DType) -> bool {
        true
    }

    fn write_sparse(&self, path: &Path, bytes: u64) -> bool {
        std::fs::create_dir(path).unwrap();
        write_sparse_archive(&path.join("pytorch_model.bin"), bytes);
        true
    }
}

#[test]
fn zip_conforms() {
    conformance::run(&Zip, "torch_zip::zip_conforms");
}

#[test]
fn a_folder_of_bin_files_conforms() {
    conformance::run(&HfBin, "torch_zip::a_folder_of_bin_files_conforms");
}
