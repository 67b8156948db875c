//! A real PyTorch goes on from a `Run` of a model with rows of its own: transposed, half-rotated, split. Lightning and timm go on
//! from their own runs as the command wrote them. `REKINDLE_TORCH` names a Python that has torch, and the frameworks; without them
//! the tests say that they were skipped.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use rekindle::bridge::{LayerRows, Part, Row, Transform};
use rekindle::prelude::*;
use rekindle::train::optim::AdamWOptions;
use rekindle::{Dict, Tensor as TorchTensor};

/// What `run_rows.py` has as `q.weight`, `k.weight`, `v.weight`, `out.weight` and `out.bias`.
#[derive(Module, Debug)]
struct Own {
    query: Param<Tensor<2>>,
    key: Param<Tensor<2>>,
    left: Param<Tensor<2>>,
    right: Param<Tensor<2>>,
    out: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Own {
    fn new(device: &Device) -> Self {
        let zeros = |shape: [usize; 2]| Param::from_tensor(Tensor::zeros(shape, device));
        Own {
            query: zeros([4, 8]),
            key: zeros([4, 8]),
            left: zeros([4, 2]),
            right: zeros([4, 4]),
            out: zeros([6, 3]),
            bias: Param::from_tensor(Tensor::zeros([3], device)),
        }
    }

    fn rows() -> Arc<LayerRows> {
        let row = Row::new("Own")
            .tensor("q.weight", Part::new("query").with(Transform::HalfRotated { head: 4 }))
            .tensor("k.weight", Part::new("key").with(Transform::HalfRotated { head: 4 }))
            .joined("v.weight", 0, ["left", "right"].map(|part| Part::new(part).transposed()))
            .tensor("out.weight", Part::new("out").transposed())
            .tensor("out.bias", Part::new("bias"));
        Arc::new(LayerRows::default().with(row))
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let times = |matrix: &Param<Tensor<2>>| x.clone().matmul(matrix.val());
        let gate = (times(&self.query) * times(&self.key)).sum_dim(1).tanh() + 1.0;
        let v = Tensor::cat(vec![times(&self.left), times(&self.right)], 1);
        (v * gate).matmul(self.out.val()) + self.bias.val().unsqueeze()
    }
}

/// Numbers from -0.5 to 0.5.
#[allow(clippy::cast_precision_loss)] // at most 101
fn filled(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i + 1) * (seed * 2 + 37) % 101) as f32 / 101.0 - 0.5).collect()
}

#[test]
fn pytorch_goes_on_from_a_run_of_a_model_with_rows_of_its_own() {
    let Some(python) = std::env::var_os("REKINDLE_TORCH") else {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let [start, saved] = ["start.pt", "run.pt"].map(|name| folder.path().join(name));
    let tensor = |shape: &[usize], seed| TorchTensor::from_vec(shape, filled(shape.iter().product(), seed)).unwrap();
    let weights = StateDict::from_iter([
        ("q.weight", tensor(&[8, 4], 0)),
        ("k.weight", tensor(&[8, 4], 1)),
        ("v.weight", tensor(&[6, 4], 2)),
        ("out.weight", tensor(&[3, 6], 3)),
        ("out.bias", tensor(&[3], 4)),
    ]);
    let (inputs, targets) = (tensor(&[6, 5, 4], 5), tensor(&[6, 5, 3], 6));
    let root = Dict::from_iter([
        ("model", weights.to_value()),
        ("inputs", inputs.clone().into()),
        ("targets", targets.clone().into()),
    ]);
    Checkpoint::from(root).save(&start).unwrap();

    let (device, rows, ema) = (device("cpu").unwrap().autodiff(), Own::rows(), Averaging::Ema { decay: 0.5 });
    let mut model = Own::new(&device);
    model.load_state_dict_with_rows(&weights, &LoadOptions::strict(), &rows).unwrap();
    let optimizer = Optimizer::builder(AdamWOptions::default()).rows(Arc::clone(&rows)).build(&model).unwrap();
    let average = AveragedModel::new_with_rows(&model, ema.clone(), Arc::clone(&rows)).unwrap();
    let mut run = Run::start(model, optimizer).with_rows(Arc::clone(&rows)).with_average(average);
    for i in 0..4 {
        // Half-way it is saved and read again.
        if i == 2 {
            run.save(&saved).unwrap();
            let options = ResumeOptions::default().rows(Arc::clone(&rows)).average(ema.clone());
            run = Run::resume_with(Checkpoint::open(&saved).unwrap(), Own::new(&device), options).unwrap();
        }
        let batch = |tensor: &TorchTensor, width: usize| {
            let all = tensor.to_vec::<f32>().unwrap();
            let rows = all[i * 5 * width..(i + 1) * 5 * width].to_vec();
            Tensor::<2>::from_data(TensorData::new(rows, [5, width]), &device)
        };
        let loss = mse(run.model().forward(batch(&inputs, 4)), batch(&targets, 3)).unwrap();
        run.step(loss).unwrap();
    }
    run.save(&saved).unwrap();

    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/with_torch/run_rows.py"))
        .args([&start, &saved])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the Python of REKINDLE_TORCH starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("steps, apart before and after PyTorch went on: {printed}");
    let numbers: Vec<f64> = printed.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert!(matches!(numbers[..], [4.0, before, after] if before < 2e-6 && after < 2e-6), "{printed}");
}

/// What a script of `tests/with_torch` prints; `None` where the framework that it asks is not there.
fn asked(python: &Path, script: &str, arguments: &[&Path]) -> Option<String> {
    let output = Command::new(python)
        .arg(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/with_torch")).join(script))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("the Python of REKINDLE_TORCH starts");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        eprintln!("skipped: {said}");
        return None;
    }
    assert!(output.status.success(), "{arguments:?}: {said}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A framework goes on from what the command wrote as it does from its own checkpoint after the same steps.
fn goes_on_as_from_its_own(name: &str, told: &[&str]) {
    let Some(python) = std::env::var_os("REKINDLE_TORCH") else {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
        return;
    };
    let fixture = rekindle_testing::fixtures::path("frameworks").join(name);
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("written.pt");
    let status = Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .args(["resume", "--model", "mlp", "--config", "sizes=20,32,16,10", "--allow-objects"])
        .args(told)
        .arg("--batches")
        .args([&fixture.join("batches.safetensors"), Path::new("--save"), &written, &fixture.join("start.pt")])
        .status()
        .unwrap();
    assert!(status.success());
    let arguments = [Path::new(name), &fixture.join("end.pt"), &written];
    let Some(printed) = asked(Path::new(&python), "frameworks.py", &arguments) else { return };
    println!("{name}: steps, apart: {printed}");
    let last = printed.lines().last().unwrap_or_default();
    let numbers: Vec<f64> = last.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert!(matches!(numbers[..], [steps, apart] if steps > 5.0 && apart < 1e-6), "{printed}");
}

#[test]
fn lightning_goes_on_from_a_run_that_was_written_at_the_end_of_an_epoch() {
    goes_on_as_from_its_own("lightning", &[]);
}

#[test]
fn lightning_goes_on_from_a_run_that_was_written_amid_an_epoch() {
    goes_on_as_from_its_own("lightning_amid", &[]);
}

#[test]
fn lightning_goes_on_from_a_run_of_two_optimizers_and_from_one_whose_epochs_end_amid_a_step() {
    goes_on_as_from_its_own("lightning_two", &[]);
    goes_on_as_from_its_own("lightning_average", &["--accumulate", "2", "--ema", "0.9"]);
}

#[test]
fn timm_goes_on_from_a_run_with_its_schedule_made_again() {
    let cosine = "CosineLRScheduler(t_initial=8, lr_min=1e-5, warmup_t=2, warmup_lr_init=1e-4)";
    goes_on_as_from_its_own("timm", &["--scheduler", cosine]);
}

/// The place in the data that Lightning keeps of torchdata's loader, with workers and without, amid an epoch: the weights of its own run.
#[test]
fn a_run_of_lightnings_goes_on_amid_an_epoch_of_torchdatas_loader() {
    let Some(python) = std::env::var_os("REKINDLE_TORCH") else {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
        return;
    };
    for workers in ["0", "2"] {
        let folder = tempfile::tempdir().unwrap();
        let arguments = [folder.path(), Path::new(workers)];
        if asked(Path::new(&python), "lightning_loader.py", &arguments).is_none() {
            return;
        }
        let [amid, end, data, out] =
            ["amid.ckpt", "end.ckpt", "data.safetensors", "out.ckpt"].map(|name| folder.path().join(name));
        let output = Command::new(env!("CARGO_BIN_EXE_rekindle"))
            .args([Path::new("resume"), &amid, Path::new("--data"), &data, Path::new("--save"), &out])
            .args(["--model", "mlp", "--config", "sizes=6,8,3", "--batch-size", "7", "--steps", "9"])
            .args(["--scheduler", "none", "--allow-objects"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("combined_loader[0]"), "{said}");
        let weights = |path: &Path| Checkpoint::open(path).unwrap().state_dict("state_dict").unwrap();
        let (ours, theirs) = (weights(&out), weights(&end));
        for ((name, ours), (_, theirs)) in ours.iter().zip(theirs.iter()) {
            let (ours, theirs) = (ours.to_f64_vec().unwrap(), theirs.to_f64_vec().unwrap());
            let apart = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-6, "{workers} workers, {name}: {apart}");
        }
    }
}
