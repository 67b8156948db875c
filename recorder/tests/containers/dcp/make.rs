//! Checkpoints as PyTorch writes them, made piece by piece: any chunks in any files, and metadata that say anything.

use std::collections::BTreeMap;
use std::path::Path;

use rekindle_recorder::container::zip::ArchiveWriter;
use rekindle_recorder::pickle::{self, Dialect, PickleOptions};
use rekindle_recorder::value::{Construction, Global, Key, ObjectData};
use rekindle_recorder::{DType, Dict, Tensor, Value};

/// An instance of a class of PyTorch's distributed checkpoints.
pub(crate) fn instance(module: &str, class: &str, state: Option<Value>) -> Value {
    let mut object = ObjectData::call(Global::new(&format!("torch.distributed.checkpoint.{module}"), class), vec![]);
    object.construction = Construction::New;
    object.states.extend(state);
    object.into()
}

pub(crate) fn dict<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Dict(fields.into_iter().collect())
}

pub(crate) fn size(lengths: &[usize]) -> Value {
    Value::Size(lengths.iter().map(|&length| i64::try_from(length).unwrap()).collect())
}

/// What `torch.save` writes for a value.
pub(crate) fn saved(value: &Value) -> Vec<u8> {
    let options = PickleOptions { dialect: Dialect::Zip, allow_objects: false };
    let pickled = pickle::write(value, &options).unwrap();
    let mut bytes = Vec::new();
    let mut archive = ArchiveWriter::new(&mut bytes, "archive");
    archive.record("data.pkl", &pickled.bytes).unwrap();
    for (key, storage) in pickled.storages.iter().enumerate() {
        archive.record(&format!("data/{key}"), &storage.bytes().unwrap()).unwrap();
    }
    archive.record("version", b"3\n").unwrap();
    archive.finish().unwrap();
    bytes
}

/// A checkpoint that is being made.
#[derive(Default)]
pub(crate) struct Maker {
    /// The data files.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) entries: Dict,
    pub(crate) paths: Dict,
    pub(crate) places: Dict,
}

impl Maker {
    /// Appends an item to a file, and says in `storage_data` where it is.
    pub(crate) fn item(&mut self, name: &str, offsets: Option<&[usize]>, file: &str, bytes: &[u8]) {
        let end = self.files.get(file).map_or(0, Vec::len);
        self.place(name, offsets, file, end, bytes.len());
        self.files.entry(file.to_owned()).or_default().extend(bytes);
    }

    /// Says in `storage_data` where an item is.
    pub(crate) fn place(&mut self, name: &str, offsets: Option<&[usize]>, file: &str, offset: usize, length: usize) {
        let index = dict([("fqn", name.into()), ("index", Value::None)]);
        if let (Some(offsets), Value::Dict(index)) = (offsets, &index) {
            index.insert("offset", size(offsets));
        }
        let fields = [("relative_path", file.into()), ("offset", offset.into()), ("length", length.into())];
        let info = instance("filesystem", "_StorageInfo", Some(dict(fields)));
        self.places.write().entries.insert(Key(instance("metadata", "MetadataIndex", Some(index))), info);
    }

    /// Says in `state_dict_metadata` that there is a tensor of these chunks, each by its offsets and sizes.
    pub(crate) fn entry(&self, name: &str, dtype: DType, shape: &[usize], chunks: &[(Vec<usize>, Vec<usize>)]) {
        let chunks = chunks.iter().map(|(offsets, sizes)| {
            let fields = [("offsets", size(offsets)), ("sizes", size(sizes))];
            instance("metadata", "ChunkStorageMetadata", Some(dict(fields)))
        });
        let layout = ObjectData::call(Global::new("torch.serialization", "_get_layout"), vec!["torch.strided".into()]);
        let format = Global::new("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING");
        let format = ObjectData::call(format, vec![Value::Int(0)]);
        // Five properties, as before the strides came.
        let state = [dtype.into(), layout.into(), Value::Bool(false), format.into(), Value::Bool(false)];
        let properties = instance("metadata", "TensorProperties", Some(Value::tuple(state)));
        let fields = [("properties", properties), ("size", size(shape)), ("chunks", Value::list(chunks))];
        self.entries.insert(name, instance("metadata", "TensorStorageMetadata", Some(dict(fields))));
    }

    /// A tensor in these chunks, one after the other in files of these names.
    pub(crate) fn tensor(&mut self, name: &str, tensor: &Tensor, chunks: &[(Vec<usize>, Vec<usize>)], files: &[&str]) {
        self.entry(name, tensor.dtype(), tensor.shape(), chunks);
        for ((offsets, sizes), file) in chunks.iter().zip(files.iter().cycle()) {
            self.item(name, Some(offsets), file, &saved(&part(tensor, offsets, sizes).into()));
        }
    }

    /// Any other value.
    pub(crate) fn value(&mut self, name: &str, value: &Value) {
        self.entries.insert(name, instance("metadata", "BytesStorageMetadata", None));
        self.item(name, None, "__0_0.distcp", &saved(value));
    }

    pub(crate) fn path(&self, name: &str, path: Vec<Value>) {
        self.paths.insert(name, Value::tuple(path));
    }

    pub(crate) fn metadata(&self) -> Value {
        let planner_data = if self.paths.is_empty() { Value::None } else { self.paths.clone().into() };
        let fields = [
            ("state_dict_metadata", self.entries.clone().into()),
            ("planner_data", planner_data),
            ("storage_data", self.places.clone().into()),
        ];
        instance("metadata", "Metadata", Some(dict(fields)))
    }

    pub(crate) fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        for (name, bytes) in &self.files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        write_metadata(folder, &self.metadata());
    }
}

pub(crate) fn write_metadata(folder: &Path, metadata: &Value) {
    let options = PickleOptions { dialect: Dialect::Plain, allow_objects: true };
    std::fs::write(folder.join(".metadata"), pickle::write(metadata, &options).unwrap().bytes).unwrap();
}

/// A copy of a part of a row-major tensor.
fn part(tensor: &Tensor, offsets: &[usize], sizes: &[usize]) -> Tensor {
    let all = tensor.to_le_bytes().unwrap();
    let (size, shape) = (tensor.dtype().size(), tensor.shape());
    let mut places = vec![0];
    for (d, &length) in shape.iter().enumerate() {
        places = places
            .iter()
            .flat_map(|place| (offsets[d]..offsets[d] + sizes[d]).map(move |i| place * length + i))
            .collect();
    }
    let bytes: Vec<u8> = places.iter().flat_map(|place| all[place * size..][..size].to_vec()).collect();
    Tensor::from_le_bytes(tensor.dtype(), sizes, bytes).unwrap()
}
