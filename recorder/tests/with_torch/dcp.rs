//! The distributed checkpoints that are written here.

use std::ffi::OsStr;

use rekindle_recorder::checkpoint::SaveOptions;
use rekindle_recorder::container::Format;
use rekindle_recorder::{Checkpoint, DType, Dict, Tensor, Value};
use rekindle_testing::{Torch, fixtures};

/// Writes a checkpoint as a folder and as a file, and has PyTorch load and compare both.
fn assert_pytorch_loads(torch: &Torch, checkpoint: &Checkpoint, flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (run, file) = (folder.path().join("run"), folder.path().join("run.pt"));
    checkpoint.save_with(&run, &SaveOptions::default().format(Format::DCP)).unwrap();
    checkpoint.save(&file).unwrap();
    let arguments = [run.as_os_str(), file.as_os_str()].into_iter().chain(flags.iter().map(OsStr::new));
    print!("{}", torch.run("dcp.py", arguments));
}

#[test]
fn folders_of_pytorch_written_again_are_loaded_by_pytorch() {
    let Some(torch) = Torch::find() else { return };
    for name in ["single", "ranks4", "fsdp"] {
        assert_pytorch_loads(&torch, &Checkpoint::open(fixtures::path(&format!("dcp/{name}"))).unwrap(), &[]);
    }
}

#[test]
fn a_training_run_of_torch_save_becomes_a_folder_that_pytorch_loads() {
    let Some(torch) = Torch::find() else { return };
    assert_pytorch_loads(&torch, &Checkpoint::open(fixtures::path("zip/tutorial.pt")).unwrap(), &[]);
}

#[test]
fn every_element_type_and_shape_is_loaded_by_pytorch() {
    let Some(torch) = Torch::find() else { return };
    let types = Dict::new();
    for &dtype in DType::ALL.iter().filter(|dtype| !dtype.is_quantized()) {
        let bytes = vec![1_u8; dtype.bytes_for(6).unwrap()];
        types.insert(dtype.name(), Tensor::from_le_bytes(dtype, &[2, 3], bytes).unwrap());
    }
    let shapes: Dict = [&[][..], &[0], &[2, 0, 3], &[1, 1], &[257]]
        .iter()
        .map(|shape| (format!("{shape:?}"), Tensor::from_vec(shape, vec![0.5_f32; shape.iter().product()]).unwrap()))
        .collect();
    let deep = Value::list([Value::list([Value::from(Tensor::scalar(1_i64))]), Value::tuple([1.into(), 2.5.into()])]);
    let root = Dict::from_iter([("types", Value::from(types)), ("shapes", shapes.into()), ("deep", deep)]);
    // PyTorch itself fails to save the types of bare bits in such a folder.
    assert_pytorch_loads(&torch, &Checkpoint::from(root), &["--loads-only"]);
}
