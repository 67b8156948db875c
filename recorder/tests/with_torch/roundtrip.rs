//! The fixtures in every format that they can be converted to, and random object graphs both ways.

use std::path::{Path, PathBuf};

use rekindle_recorder::Result;
use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::container::hf::{self, ShardFormat, ShardOptions};
use rekindle_recorder::convert::Conversion;
use rekindle_testing::graph::{Kinds, describe, difference, entropy, grow};
use rekindle_testing::{Torch, fixtures};
use serde_json::{Value as Json, json};

fn write_lines(path: &Path, lines: &[Json]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(path, text).unwrap();
}

/// A file of the fixtures: its name, how Python loads it, whether plain `torch.load` opens it, and whether it opens a copy.
type Fixture = (&'static str, &'static str, bool, bool);

/// Files that hold whole objects. `python2.pt` and the like hold names of Python 2, `hub.zip` is one that PyTorch unpacks
/// first (its member is `legacy/tutorial.pt`), and `untyped.pt` is one that PyTorch 2.15 cannot load.
const OBJECTS: [Fixture; 29] = [
    ("zip/tutorial.pt", "zip", true, true),
    ("zip/state_dict.pt", "zip", true, true),
    ("zip/no_crc.pt", "zip", true, true),
    ("zip/tied.pt", "zip", true, true),
    ("zip/dtypes.pt", "zip", true, true),
    ("zip/old113.pt", "zip", true, true),
    ("zip/exotic.pt", "zip", false, false),
    ("zip/values.pt", "zip", false, false),
    ("zip/shared.pt", "zip", false, false),
    ("zip/module.pt", "zip", false, false),
    ("legacy/tutorial.pt", "legacy", true, true),
    ("legacy/tied.pt", "legacy", true, true),
    ("legacy/dtypes.pt", "legacy", true, true),
    ("legacy/old113.pt", "legacy", true, true),
    ("legacy/shared.pt", "legacy", false, false),
    ("legacy/module.pt", "legacy", false, false),
    ("legacy/protocol4.pt", "legacy", false, true),
    ("legacy/python2.pt", "legacy", false, false),
    ("legacy/module_python2.pt", "legacy", false, false),
    ("legacy/early.tar", "legacy", false, false),
    ("legacy/hub.zip", "legacy", true, true),
    ("legacy/plain0.pkl", "pickle", false, false),
    ("legacy/plain1.pkl", "pickle", false, false),
    ("legacy/plain2.pkl", "pickle", false, false),
    ("legacy/plain3.pkl", "pickle", false, false),
    ("legacy/plain4.pkl", "pickle", false, false),
    ("legacy/plain5.pkl", "pickle", false, false),
    ("digits/final.pt", "zip", true, true),
    ("models/lenet.pt", "zip", true, true),
];

/// What is written only because it was asked for, and cannot be loaded.
const NOT_LOADED: [(&str, Format); 1] = [("zip/exotic.pt", Format::LEGACY)];

/// What cannot be converted, with a word of the reason.
const REFUSED: [(&str, Format, &str); 12] = [
    ("zip/dtypes.pt", Format::LEGACY, "complex32"),
    ("zip/dtypes.pt", Format::SAFETENSORS, "quantised"),
    ("zip/dtypes.pt", Format::HF, "quantised"),
    ("zip/dtypes.pt", Format::NUMPY, "quantised"),
    ("zip/exotic.pt", Format::SAFETENSORS, "sparse"),
    ("zip/exotic.pt", Format::HF, "sparse"),
    ("zip/exotic.pt", Format::NUMPY, "sparse"),
    ("legacy/dtypes.pt", Format::SAFETENSORS, "quantised"),
    ("legacy/dtypes.pt", Format::HF, "quantised"),
    ("legacy/dtypes.pt", Format::NUMPY, "quantised"),
    ("safetensors/dtypes.safetensors", Format::LEGACY, "uint64"),
    ("safetensors/dtypes.safetensors", Format::NUMPY, "bfloat16"),
];

/// Pairs of files for Python to compare.
struct Pairs {
    folder: tempfile::TempDir,
    lines: Vec<Json>,
    refused: Vec<(String, Format, String)>,
}

impl Pairs {
    fn add(&mut self, fixture: Fixture, container: Format, extension: &str) {
        let (name, read_as, ..) = fixture;
        let copy = self.copy(name, extension);
        // Other formats hold tensors alone.
        let equal = matches!(container, Format::ZIP | Format::LEGACY) && matches!(read_as, "zip" | "legacy" | "pickle");
        let options = SaveOptions::default().format(container).allow_objects(!fixture.3);
        let options = if container == Format::HF { options.max_shard_size(600) } else { options };
        let input = Checkpoint::open(fixtures::path(name)).unwrap();
        let saved = Conversion::default().save(&input, &copy, &options).map(drop);
        self.compare(fixture, &copy, container, equal, saved);
    }

    fn copy(&self, name: &str, extension: &str) -> PathBuf {
        self.folder.path().join(format!("{}-{}{extension}", self.lines.len(), name.replace('/', "-")))
    }

    fn compare(&mut self, fixture: Fixture, copy: &Path, container: Format, equal: bool, saved: Result<()>) {
        let (name, read_as, plain_original, plain) = fixture;
        if let Err(error) = saved {
            assert!(!copy.exists(), "{name}: it was refused, and a file is there");
            self.refused.push((name.to_owned(), container, error.to_string()));
            return;
        }
        if NOT_LOADED.contains(&(name, container)) {
            return;
        }
        let original = if name == "legacy/hub.zip" { "legacy/tutorial.pt" } else { name };
        self.lines.push(json!({
            "original": fixtures::path(original), "read_as": read_as, "plain_original": plain_original,
            "copy": copy, "kind": container.name(), "plain": plain, "equal": equal,
            "parts": matches!(name, "legacy/python2.pt" | "legacy/early.tar"),
        }));
    }
}

#[test]
fn every_fixture_in_every_format_is_equal_in_pytorch() {
    let Some(torch) = Torch::find() else { return };
    let mut pairs = Pairs { folder: tempfile::tempdir().unwrap(), lines: Vec::new(), refused: Vec::new() };
    let everything = [
        (Format::ZIP, ".pt"),
        (Format::LEGACY, ".pt"),
        (Format::SAFETENSORS, ".safetensors"),
        (Format::HF, ""),
        (Format::NUMPY, ".npz"),
    ];
    let tensors_alone =
        ["safetensors/dtypes.safetensors", "safetensors/plain.safetensors", "safetensors/tied.safetensors"]
            .map(|name| (name, "safetensors", true, true))
            .into_iter()
            .chain(["hf/single", "hf/sharded", "hf/bin", "hf/bin-sharded"].map(|name| (name, "hf", true, true)))
            .chain(["numpy/stored.npz", "numpy/compressed.npz"].map(|name| (name, "numpy", true, true)));
    for fixture in OBJECTS.into_iter().chain(tensors_alone) {
        for (container, extension) in everything {
            pairs.add(fixture, container, extension);
        }
    }
    // Single arrays: to arrays, and to a tensor that is all there is.
    for name in arrays() {
        for (container, extension) in [(Format::NUMPY, ".npy"), (Format::ZIP, ".pt")] {
            pairs.add((name, "numpy", true, true), container, extension);
        }
    }
    // Shards by torch.save.
    for (name, read_as) in [("zip/tied.pt", "zip"), ("zip/state_dict.pt", "zip"), ("hf/sharded", "hf")] {
        let copy = pairs.copy(name, "-bin");
        let input = Checkpoint::open(fixtures::path(name)).unwrap();
        let shards = ShardOptions::default().format(ShardFormat::Bin).max_shard_size(600);
        let saved = hf::write_shards(input.root(), &copy, &SaveOptions::default(), &shards).map(drop);
        pairs.compare((name, read_as, true, true), &copy, Format::HF, false, saved);
    }
    let list = pairs.folder.path().join("pairs.jsonl");
    write_lines(&list, &pairs.lines);
    println!("{}", torch.run("roundtrip.py", [&list]).trim());
    for (name, container, message) in &pairs.refused {
        println!("{name} -> {container}: {message}");
    }
    let refused: Vec<(&str, Format)> = pairs.refused.iter().map(|(name, container, _)| (&**name, *container)).collect();
    assert_eq!(refused, REFUSED.map(|(name, container, _)| (name, container)));
    for ((.., message), (.., word)) in pairs.refused.iter().zip(REFUSED) {
        assert!(message.contains(word), "{message}");
    }
}

/// The arrays of numbers among the fixtures.
fn arrays() -> Vec<&'static str> {
    let truth = fixtures::json("numpy/truth.json");
    let files = truth.as_object().unwrap().iter();
    let numbers = files.filter(|(name, about)| name.ends_with(".npy") && about.get("unsupported").is_none());
    numbers.map(|(name, _)| &*format!("numpy/{name}").leak()).collect()
}

#[test]
fn random_graphs_written_here_are_equal_in_pytorch() {
    let Some(torch) = Torch::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    for seed in 0..240 {
        let objects = seed % 2 == 1;
        let container = [Format::ZIP, Format::LEGACY, Format::ZIP, Format::PICKLE][(seed / 2 % 4) as usize];
        let kinds = Kinds {
            tensors: container != Format::PICKLE,
            // PyTorch cannot load the stream with element types that have no storage class.
            untyped: container == Format::ZIP,
            objects,
        };
        let value = grow(&entropy(seed), kinds);
        let path = folder.path().join(seed.to_string());
        let options = SaveOptions::default().format(container).allow_objects(objects);
        Checkpoint::from(value.clone()).save_with(&path, &options).unwrap();
        let description = describe(&value);
        lines.push(json!({"file": path, "kind": container.name(), "plain": !objects, "description": description}));
        value.clear();
    }
    let list = folder.path().join("graphs.jsonl");
    write_lines(&list, &lines);
    println!("{}", torch.run("describe.py", [&list]).trim());
}

#[test]
fn random_graphs_that_pytorch_wrote_are_equal_here() {
    let Some(torch) = Torch::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    torch.run("generate.py", [folder.path(), Path::new("100")]);
    let list = std::fs::read_to_string(folder.path().join("graphs.jsonl")).unwrap();
    let mut differing = Vec::new();
    for line in list.lines() {
        let entry: Json = serde_json::from_str(line).unwrap();
        let file = entry["file"].as_str().unwrap();
        let found = match Checkpoint::open(folder.path().join(file)) {
            Ok(checkpoint) => difference(&entry["description"], &describe(checkpoint.root()), file),
            Err(error) => Some(error.to_string()),
        };
        differing.extend(found);
    }
    let count = list.lines().count();
    assert!(
        differing.is_empty(),
        "{} of {count} differ\n{}",
        differing.len(),
        differing[..differing.len().min(10)].join("\n")
    );
    assert_eq!(count, 300);
    println!("{count} graphs compared");
}
