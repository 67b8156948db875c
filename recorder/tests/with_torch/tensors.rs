//! What hangs on tensors and what other calls make, read and written here, as a real PyTorch sees it.

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::convert::Conversion;
use rekindle_testing::{Torch, fixtures};
use serde_json::json;

#[test]
fn tensors_of_other_calls_are_written_as_pytorch_wrote_them() {
    let Some(torch) = Torch::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    let mut compare = |name: &str, how: &str, location: Option<&str>| {
        let original = fixtures::path("tensors").join(name);
        let copy = folder.path().join(format!("{how}-{}", name.replace('/', "-")));
        let options = SaveOptions::default().allow_objects(how == "same");
        let conversion = Conversion::default().location(location.map(str::to_owned));
        conversion.save(&Checkpoint::open(&original).unwrap(), &copy, &options).unwrap();
        lines.push(json!({"original": original, "copy": copy, "how": how}).to_string());
    };
    for name in [
        "attributes.pt",
        "quantised.pt",
        "hidden.pt",
        "module.pt",
        "devices.pt",
        "npu.pt",
        "dtensor.pt",
        "dtensor21.pt",
        "sharded.pt",
        "megatron.pt",
        "whole.pt",
        "wrappers.pt",
        "fastai.pt",
        "unknown.pt",
        "more.pt",
        "../jagged/jagged.pt",
        "../jagged/around.pt",
    ] {
        compare(name, "same", None);
    }
    for name in ["devices.pt", "old_devices.pt", "early.pt", "quantised.pt"] {
        compare(name, "cpu", None);
    }
    for name in ["devices.pt", "old_devices.pt", "npu.pt", "older.pt"] {
        compare(name, "loads", Some("cpu"));
    }
    let list = folder.path().join("pairs.jsonl");
    std::fs::write(&list, lines.join("\n")).unwrap();
    println!("{}", torch.run("tensors.py", [&list]).trim());
}

#[test]
fn storages_are_aligned_as_pytorch_aligns_them() {
    let Some(torch) = Torch::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let original = Checkpoint::open(fixtures::path("zip/state_dict.pt")).unwrap();
    for alignment in [16, 64, 512, 4096, 32768] {
        // The folder inside has the file's name, which is as long for both.
        let (ours, theirs) = (folder.path().join("a.pt"), folder.path().join("b.pt"));
        original.save_with(&ours, &SaveOptions::default().storage_alignment(alignment)).unwrap();
        let arguments = [ours.as_os_str(), theirs.as_os_str(), alignment.to_string().as_ref()].map(ToOwned::to_owned);
        println!("{}", torch.run("alignment.py", arguments).trim());
    }
}
