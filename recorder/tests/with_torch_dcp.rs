//! A real PyTorch opens the distributed checkpoints that Rust wrote. `REKINDLE_TORCH` names a Python that has torch; without
//! it each test says that it was skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use rekindle_recorder::checkpoint::SaveOptions;
use rekindle_recorder::container::Container;
use rekindle_recorder::{Checkpoint, DType, Dict, Tensor, Value};

/// The Python to use, or a loud word that there is none.
fn torch() -> Option<PathBuf> {
    let python = std::env::var_os("REKINDLE_TORCH").map(PathBuf::from);
    if python.is_none() {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
    }
    python
}

/// A file or folder that PyTorch wrote.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

/// Writes a checkpoint as a folder and as a file, and has PyTorch load and compare both.
fn assert_pytorch_loads(python: &Path, checkpoint: &Checkpoint, flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (run, file) = (folder.path().join("run"), folder.path().join("run.pt"));
    checkpoint.save_with(&run, &SaveOptions::default().container(Container::Dcp)).unwrap();
    checkpoint.save(&file).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/with_torch/dcp.py");
    let output = Command::new(python)
        .arg(script)
        .args([&run, &file])
        .args(flags)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the Python of REKINDLE_TORCH starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn folders_of_pytorch_written_again_are_loaded_by_pytorch() {
    let Some(python) = torch() else { return };
    for name in ["single", "ranks4", "fsdp"] {
        assert_pytorch_loads(&python, &Checkpoint::open(fixture(&format!("dcp/{name}"))).unwrap(), &[]);
    }
}

#[test]
fn a_training_run_of_torch_save_becomes_a_folder_that_pytorch_loads() {
    let Some(python) = torch() else { return };
    assert_pytorch_loads(&python, &Checkpoint::open(fixture("zip/tutorial.pt")).unwrap(), &[]);
}

#[test]
fn every_element_type_and_shape_is_loaded_by_pytorch() {
    let Some(python) = torch() else { return };
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
    assert_pytorch_loads(&python, &Checkpoint::from(root), &["--loads-only"]);
}
