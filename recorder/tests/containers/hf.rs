//! Hugging Face's folders against those that `huggingface_hub` wrote.

use std::collections::BTreeMap;
use std::path::Path;

use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions, SaveReport};
use rekindle_recorder::container::hf::{self, ShardFormat, ShardOptions};
use rekindle_recorder::container::{self, Format};
use rekindle_recorder::{DType, Dict, Result, StateDict, Tensor, Value};

use rekindle_testing::conformance::{self, Keeps};
use rekindle_testing::fixtures::{self, json};

use crate::support::{assert_error, assert_tensor, open, state_dict};

const INDEX: &str = "model.safetensors.index.json";

/// Names and sizes of the files in a folder.
fn files(folder: &Path) -> BTreeMap<String, u64> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())).collect()
}

/// A copy of a fixture that may be changed.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = rekindle_testing::scratch();
    for file in files(&fixtures::path(&format!("hf/{name}"))).keys() {
        std::fs::copy(fixtures::path(&format!("hf/{name}/{file}")), folder.path().join(file)).unwrap();
    }
    folder
}

fn change_index(folder: &Path, from: &str, to: &str) {
    let path = folder.join(INDEX);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn folders_of_huggingface_hub_are_read() {
    let truth = json("hf/truth.json");
    for name in ["single", "sharded", "bin", "bin-sharded"] {
        let truth = &truth[name];
        let folder = fixtures::path(&format!("hf/{name}"));
        let opened = container::open(&folder, &OpenOptions::default()).unwrap();
        assert_eq!(opened.format, Format::HF);
        assert_eq!(opened.bytes, files(&folder).values().sum::<u64>());
        let state_dict = StateDict::from_value(&opened.value).unwrap();
        let tensors = truth["tensors"].as_array().unwrap();
        assert_eq!(state_dict.len(), tensors.len());
        for truth in tensors {
            let name = truth["name"].as_str().unwrap();
            assert_tensor(state_dict.get(name).unwrap(), truth, name);
        }
        let storage = |name| state_dict.get(name).unwrap().storage().unwrap();
        assert!(storage("lm_head.weight").same(storage("wte.weight")), "{name}: weights are tied again");
    }
}

#[test]
fn the_index_itself_can_be_named() {
    let from_folder = state_dict(&fixtures::path("hf/sharded"));
    let from_index = state_dict(&fixtures::path(&format!("hf/sharded/{INDEX}")));
    assert_eq!(from_index.keys().collect::<Vec<_>>(), from_folder.keys().collect::<Vec<_>>());
}

#[test]
fn a_variant_is_read_with_a_note_where_there_is_no_plain_model() {
    for (fixture, from, to) in [
        ("single", "model.safetensors", "model.fp16.safetensors"),
        ("sharded", INDEX, "model.safetensors.index.fp16.json"),
        ("bin", "pytorch_model.bin", "pytorch_model.non_ema.bin"),
        ("single", "model.safetensors", "diffusion_pytorch_model.fp16.safetensors"),
    ] {
        let folder = copy(fixture);
        std::fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
        let opened = container::open(folder.path(), &OpenOptions::default()).unwrap();
        assert_eq!(opened.format, Format::HF, "{to}");
        assert!(opened.notes.iter().any(|note| note.contains("variant") && note.contains(to)), "{:?}", opened.notes);
        let whole = state_dict(&fixtures::path(&format!("hf/{fixture}")));
        let found = StateDict::from_value(&opened.value).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>(), "{to}");
    }
    // The plain one goes first, and of two that are none it has to be said which.
    let folder = copy("single");
    let model = folder.path().join("model.safetensors");
    std::fs::copy(&model, folder.path().join("model.fp16.safetensors")).unwrap();
    assert!(container::open(folder.path(), &OpenOptions::default()).unwrap().notes.is_empty());
    std::fs::rename(&model, folder.path().join("model.bf16.safetensors")).unwrap();
    let error = container::open(folder.path(), &OpenOptions::default()).unwrap_err().to_string();
    assert!(error.contains("'bf16', 'fp16'") && error.contains("name one of the files"), "{error}");
}

#[test]
fn the_model_of_mistral_is_found_under_its_name() {
    let folder = copy("single");
    std::fs::rename(folder.path().join("model.safetensors"), folder.path().join("consolidated.safetensors")).unwrap();
    assert_eq!(container::open(folder.path(), &OpenOptions::default()).unwrap().format, Format::HF);
}

#[test]
fn shards_without_an_index_say_that_it_is_missing_and_are_read_where_the_reader_is_lenient() {
    let folder = copy("sharded");
    std::fs::remove_file(folder.path().join(INDEX)).unwrap();
    let error = container::open(folder.path(), &OpenOptions::default()).unwrap_err().to_string();
    assert!(error.contains("the index of the shards") && error.contains("is missing"), "{error}");
    let lenient = OpenOptions::default().lenient(true);
    let names = |path: &Path| {
        let opened = container::open(path, &lenient).unwrap();
        let mut names: Vec<String> = StateDict::from_value(&opened.value).unwrap().keys().map(str::to_owned).collect();
        names.sort();
        (names, opened.notes)
    };
    let (found, notes) = names(folder.path());
    assert_eq!(notes.len(), 1, "{notes:?}");
    let kept: Vec<String> = names(&fixtures::path("hf/sharded")).0;
    assert!(found.iter().all(|name| kept.contains(name)) && found.len() + 1 >= kept.len(), "{found:?} of {kept:?}");
    let first = files(folder.path()).into_keys().find(|name| name.contains("-00001-of-")).unwrap();
    std::fs::remove_file(folder.path().join(first)).unwrap();
    assert!(names(folder.path()).1[0].contains("a shard is missing"));
}

#[test]
fn folders_are_written_with_the_names_and_sizes_of_huggingface_hub() {
    let truth = json("hf/truth.json");
    for (name, format) in [("single", ShardFormat::Safetensors), ("sharded", ShardFormat::Safetensors)] {
        let truth = &truth[name];
        // In the order of the state dict that huggingface_hub was given.
        let read = state_dict(&fixtures::path(&format!("hf/{name}")));
        let mut ordered = StateDict::new();
        for tensor in truth["tensors"].as_array().unwrap() {
            let name = tensor["name"].as_str().unwrap();
            ordered.insert(name, read.get(name).unwrap().clone());
        }
        let Value::Dict(root) = ordered.to_value() else { panic!("a dict") };
        root.write().state = open(&fixtures::path(&format!("hf/{name}"))).unwrap().as_dict().unwrap().state();
        let folder = rekindle_testing::scratch();
        let path = folder.path().join("model");
        let size =
            truth["max_shard_size"].as_str().map_or(hf::DEFAULT_SHARD_SIZE, |size| hf::parse_size(size).unwrap());
        let options = ShardOptions::default().max_shard_size(size).format(format);
        let report = hf::write_shards(&root.into(), &path, &SaveOptions::default(), &options).unwrap();
        // Names that are dropped are said, and nothing else.
        let tied = ordered.tied().len();
        assert_eq!(report.notes.len(), usize::from(tied > 0), "{:?}", report.notes);
        assert!(report.notes.iter().all(|note| note.contains("the other names are dropped")), "{:?}", report.notes);
        let written = files(&path);
        assert_eq!(report.bytes, written.values().sum::<u64>());
        let mut expected: BTreeMap<String, u64> = serde_json::from_value(truth["files"].clone()).unwrap();
        // Ours ends with a line break, as transformers' own does.
        expected.entry(INDEX.to_owned()).and_modify(|size| *size += 1);
        assert_eq!(written, expected, "{name}");
        let index = |folder: &Path| -> Option<serde_json::Value> {
            std::fs::read(folder.join(INDEX)).ok().map(|text| serde_json::from_slice(&text).unwrap())
        };
        assert_eq!(index(&path), index(&fixtures::path(&format!("hf/{name}"))), "{name}");
        for tensor in truth["tensors"].as_array().unwrap() {
            let name = tensor["name"].as_str().unwrap();
            assert_tensor(state_dict(&path).get(name).unwrap(), tensor, name);
        }
    }
}

#[test]
fn a_shard_that_is_missing_is_named() {
    let folder = copy("sharded");
    std::fs::remove_file(folder.path().join("model-00002-of-00003.safetensors")).unwrap();
    let words = ["shard model-00002-of-00003.safetensors", "is missing", "download it again"];
    assert_error(open(folder.path()), &folder.path().join(INDEX), &words);
}

#[test]
fn index_and_shards_must_agree() {
    let index = |folder: &tempfile::TempDir| folder.path().join(INDEX);
    // What the index does not name is read with a note; what it names is missed.
    let folder = copy("sharded");
    change_index(folder.path(), "\"blocks.0.bias\"", "\"blocks.9.bias\"");
    change_index(folder.path(), "\"total_size\": 1440", "\"total_size\": 1441");
    let words = ["'blocks.9.bias'", "model-00002-of-00003.safetensors holds no such tensor"];
    assert_error(open(folder.path()), &index(&folder), &words);

    let folder = copy("sharded");
    change_index(
        folder.path(),
        "\"weight_map\": {",
        "\"weight_map\": {\"ghost\": \"model-00001-of-00003.safetensors\",",
    );
    // Where the index counts no bytes for it, it is a weight that is tied to another.
    change_index(folder.path(), "\"total_size\": 1440", "\"total_size\": 1448");
    let words = ["'ghost'", "model-00001-of-00003.safetensors holds no such tensor"];
    assert_error(open(folder.path()), &index(&folder), &words);

    let folder = copy("sharded");
    let wrong = "\"wte.weight\": \"model-00003-of-00003.safetensors\"";
    change_index(folder.path(), "\"wte.weight\": \"model-00001-of-00003.safetensors\"", wrong);
    assert_error(open(folder.path()), folder.path(), &["wte.weight", "model-00003-of-00003.safetensors"]);

    for outside in ["../model-00001-of-00003.safetensors", "/model-00001-of-00003.safetensors", "a\\\\b"] {
        let folder = copy("sharded");
        change_index(folder.path(), "model-00001-of-00003.safetensors", outside);
        assert_error(open(folder.path()), &index(&folder), &["weight_map", "no name of a file in this folder"]);
    }

    let folder = copy("sharded");
    change_index(folder.path(), "model-00001-of-00003.safetensors", INDEX);
    assert_error(open(folder.path()), &index(&folder), &["it is an index itself"]);

    let folder = copy("sharded");
    std::fs::write(index(&folder), "{\"weight_map\": {\"a\": 1}}").unwrap();
    assert_error(open(folder.path()), &index(&folder), &["no index of shards", "expected a string"]);
}

#[test]
fn damage_in_a_shard_names_the_shard() {
    let folder = copy("sharded");
    let shard = folder.path().join("model-00003-of-00003.safetensors");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    assert_error(open(folder.path()), &shard, &["is cut off"]);
}

#[test]
fn numbers_and_texts_of_the_index_are_kept() {
    let folder = copy("sharded");
    change_index(
        folder.path(),
        "\"total_size\": 1440",
        "\"total_size\": 1440, \"total_parameters\": 360, \"author\": \"me\"",
    );
    let root = open(folder.path()).unwrap();
    let again = rekindle_testing::scratch();
    let path = again.path().join("model");
    let options = ShardOptions::default().max_shard_size(600);
    hf::write_shards(&root, &path, &SaveOptions::default(), &options).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(path.join(INDEX)).unwrap()).unwrap();
    let metadata = &index["metadata"];
    assert_eq!((&metadata["total_size"], &metadata["total_parameters"]), (&1440.into(), &360.into()));
    assert_eq!((&metadata["author"], &metadata["lm_head.weight"]), (&"me".into(), &"wte.weight".into()));
}

#[test]
fn an_older_model_is_replaced_and_other_files_stay() {
    let folder = copy("sharded");
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    std::fs::write(folder.path().join("model.safetensors.backup"), "mine").unwrap();
    let root = Value::from(Dict::from_iter([("weight", Tensor::from_vec(&[2], vec![1.0_f32, 2.0]).unwrap())]));
    let save = |path: &Path, overwrite| hf::write(&root, path, &SaveOptions::default().overwrite(overwrite));
    assert!(save(folder.path(), false).unwrap_err().to_string().contains("exists already"));
    assert_eq!(state_dict(folder.path()).len(), 10);
    save(folder.path(), true).unwrap();
    let names: Vec<String> = files(folder.path()).into_keys().collect();
    assert_eq!(names, ["config.json", "model.safetensors", "model.safetensors.backup"]);
    assert_eq!(state_dict(folder.path()).keys().collect::<Vec<_>>(), ["weight"]);

    // And back to shards.
    let options = ShardOptions::default().max_shard_size(600);
    let shards = open(&fixtures::path("hf/sharded")).unwrap();
    hf::write_shards(&shards, folder.path(), &SaveOptions::default(), &options).unwrap();
    assert_eq!(state_dict(folder.path()).len(), 10);
    assert!(!folder.path().join("model.safetensors").exists());

    let bin = ShardOptions::default().format(ShardFormat::Bin);
    let refused = hf::write_shards(&root, folder.path(), &SaveOptions::default(), &bin);
    assert!(refused.unwrap_err().to_string().contains("which readers prefer"));
    let file = folder.path().join("config.json");
    assert!(save(&file, true).unwrap_err().to_string().contains("this is a file"));
}

#[test]
fn a_folder_without_a_model_is_no_checkpoint() {
    let folder = rekindle_testing::scratch();
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    assert_error(open(folder.path()), folder.path(), &["model.safetensors"]);
    for name in ["a.safetensors.index.json", "b.safetensors.index.json"] {
        std::fs::write(folder.path().join(name), "{\"weight_map\": {}}").unwrap();
    }
    assert_error(open(folder.path()), folder.path(), &["several indexes"]);
}

/// One file, or shards of at most so many bytes.
struct Folder {
    name: &'static str,
    options: ShardOptions,
}

impl conformance::Format for Folder {
    fn name(&self) -> &'static str {
        self.name
    }

    fn file_name(&self) -> &'static str {
        "model"
    }

    fn save(&self, root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
        hf::write_shards(root, path, options, &self.options)
    }

    fn keeps(&self) -> Keeps {
        Keeps { order: true, ties: true, views: false, parameters: false, values: false }
    }

    fn holds(&self, dtype: DType) -> bool {
        !dtype.is_complex() && !dtype.name().starts_with("bits") || dtype == DType::Complex64
    }

    fn write_sparse(&self, path: &Path, bytes: u64) -> bool {
        let shard = |name: &str, header: String, zeros: u64, data: &[u8]| {
            let path = path.join(name);
            std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_len(file.metadata().unwrap().len() + zeros).unwrap();
        };
        std::fs::create_dir(path).unwrap();
        let big = format!("{{\"big\":{{\"dtype\":\"U8\",\"shape\":[{bytes}],\"data_offsets\":[0,{bytes}]}}}}");
        shard("model-00001-of-00002.safetensors", big, bytes, &[]);
        let tail = "{\"tail\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4]}}".to_owned();
        shard("model-00002-of-00002.safetensors", tail, 0, &7_i32.to_le_bytes());
        let map = "\"big\": \"model-00001-of-00002.safetensors\", \"tail\": \"model-00002-of-00002.safetensors\"";
        std::fs::write(path.join(INDEX), format!("{{\"weight_map\": {{{map}}}}}")).unwrap();
        true
    }
}

#[test]
fn a_folder_with_one_file_conforms() {
    conformance::run(
        &Folder { name: "hf, one file", options: ShardOptions::default() },
        "hf::a_folder_with_one_file_conforms",
    );
}

#[test]
fn a_folder_of_shards_conforms() {
    conformance::run(
        &Folder { name: "hf, shards", options: ShardOptions::default().max_shard_size(60) },
        "hf::a_folder_of_shards_conforms",
    );
}

#[test]
fn sizes_are_read_as_huggingface_hub_reads_them() {
    for (text, bytes) in json("hf/truth.json")["sizes"].as_object().unwrap() {
        assert_eq!(hf::parse_size(text).unwrap(), bytes.as_u64().unwrap(), "{text}");
    }
    for (text, bytes) in [("1GiB", 1 << 30), ("0.5 mib", 1 << 19), ("4096", 4096), ("7B", 7)] {
        assert_eq!(hf::parse_size(text).unwrap(), bytes);
    }
    for text in ["", "GB", "-1GB", "nanGB", "infTB", "5 XB", "1e300", "five"] {
        assert!(hf::parse_size(text).unwrap_err().to_string().contains("is no size"), "{text}");
    }
}
