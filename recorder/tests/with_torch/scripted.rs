//! The programs whose weights were replaced here, and the whole modules that were written here.

use std::path::{Path, PathBuf};

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::tensor::TensorParts;
use rekindle_recorder::{StateDict, Tensor};
use rekindle_testing::{Torch, fixtures};

fn fixture(name: &str) -> PathBuf {
    fixtures::path("scripted").join(name)
}

/// Every number a little another one: the lowest bit of every byte turned round, so that names that share memory still agree.
fn other(tensor: &Tensor) -> Tensor {
    let bytes: Vec<u8> = tensor.to_le_bytes().unwrap().iter().map(|byte| byte ^ 1).collect();
    let plain = Tensor::from_le_bytes(tensor.dtype(), tensor.shape(), bytes).unwrap();
    let quantizer = tensor.parts().quantizer.clone();
    Tensor::new(TensorParts { quantizer, ..plain.parts().clone() }).unwrap()
}

#[test]
fn pytorch_computes_with_the_weights_that_were_put_into_an_archive() {
    let Some(torch) = Torch::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = Vec::new();
    for file in [
        "script.pt",
        "script113.pt",
        "mobile.ptl",
        "mobile113.ptl",
        "traced.pt",
        "quantised.pt",
        "quantised113.pt",
        "program.pt2",
        "views.pt2",
        "program28.pt2",
        "program_old.pt2",
    ] {
        let weights = Checkpoint::open(fixture(file)).unwrap().state_dict("").unwrap();
        let new: StateDict = weights.iter().map(|(name, tensor)| (name.to_owned(), other(tensor))).collect();
        let new = Checkpoint::from(new.to_value());
        let (replaced, state_dict) = (folder.path().join(file), folder.path().join(format!("{file}.new.pt")));
        new.save_with(&replaced, &SaveOptions::default().template(fixture(file))).unwrap();
        new.save_with(&state_dict, &SaveOptions::default().format(Format::ZIP)).unwrap();
        arguments.extend([fixture(file), replaced, state_dict]);
    }
    let printed = torch.run("scripted.py", arguments);
    assert_eq!(printed.trim(), "11 archives compute with their new weights");
}

#[test]
fn a_whole_module_read_and_written_unchanged_is_equal_in_pytorch() {
    let Some(torch) = Torch::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.pt");
    let options = SaveOptions::default().allow_objects(true);
    Checkpoint::open(fixture("whole.pt")).unwrap().save_with(&copy, &options).unwrap();
    torch.run("compare.py", [&fixture("whole.pt"), &copy, Path::new("--unsafe")]);
}
