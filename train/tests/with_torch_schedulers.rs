//! A real PyTorch goes on from the state of schedulers, scalers and averages that Rust saved. `REKINDLE_TORCH` names a Python
//! that has torch; without it each test says that it was skipped.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use burn::nn::{LinearConfig, Relu};
use burn::tensor::{Device, Tensor};
use common::{f32s, filled, fixture, fixture_path, value};
use rekindle_burn::ModuleStateDict as _;
use rekindle_models::nn::{BatchNormConfig, Layer, Sequential};
use rekindle_recorder::{Checkpoint, Dict, StateDict, Tensor as TorchTensor, Value};
use rekindle_train::amp::{GradScaler, GradScalerOptions};
use rekindle_train::clip::{ClipGradNorm, clip_grad_norm_};
use rekindle_train::ema::{AveragedModel, Averaging};
use rekindle_train::lr_scheduler::LRScheduler;
use rekindle_train::optim::{Optimizer, SgdOptions};
use settings::{HALF, Running};

mod common;
#[path = "common/settings.rs"]
mod settings;

/// The Python to use, or a loud word that there is none.
fn torch() -> Option<PathBuf> {
    let python = std::env::var_os("REKINDLE_TORCH").map(PathBuf::from);
    if python.is_none() {
        eprintln!("skipped: set REKINDLE_TORCH to a Python that has torch");
    }
    python
}

/// Saves a dict and has PyTorch go on from what is in it. The file is one that plain `torch.load` reads.
fn go_on(python: &PathBuf, what: &str, saved: Dict) {
    let count = saved.len();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.pt");
    Checkpoint::from(saved).save(&path).unwrap();
    let script = fixture_path("../with_torch/training_state.py");
    let output = Command::new(python)
        .arg(script)
        .arg(what)
        .arg(&path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("OMP_NUM_THREADS", "1")
        .output()
        .expect("the Python of REKINDLE_TORCH starts");
    assert!(output.status.success(), "{what}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), count.to_string());
}

#[test]
fn pytorch_goes_on_with_every_scheduler_to_the_last_bit() {
    let Some(python) = torch() else { return };
    let saved = Dict::new();
    for (name, setting) in fixture("schedulers/schedulers.json").as_object().unwrap() {
        let mut running = Running::new(setting);
        (1..=HALF).for_each(|step| running.step(step));
        let first = running.first.as_ref().map_or(Value::None, LRScheduler::state_dict);
        let parts = [
            ("optimizer", running.optimizer.state_dict(&running.model).unwrap()),
            ("scheduler", running.scheduler.state_dict()),
            ("first", first),
        ];
        saved.insert(name.as_str(), Dict::from_iter(parts));
    }
    go_on(&python, "schedulers", saved);
}

#[derive(burn::module::Module, Debug)]
struct Six {
    p: burn::module::Param<Tensor<1>>,
}

#[test]
fn pytorch_goes_on_with_every_scaler() {
    let Some(python) = torch() else { return };
    let device = Device::flex().autodiff();
    let runs = fixture("amp_ema/scaler.json");
    let gradients = f32s(&runs["gradients"]["data"]);
    let saved = Dict::new();
    for (name, run) in runs.as_object().unwrap().iter().filter(|(name, _)| *name != "gradients") {
        let given = value(&run["options"]);
        let float = |name: &str, default: f64| {
            given.as_dict().unwrap().get(name).map_or(default, |value| value.as_f64().unwrap())
        };
        let default = GradScalerOptions::default();
        let mut scaler = GradScaler::new(GradScalerOptions {
            init_scale: float("init_scale", default.init_scale),
            growth_factor: float("growth_factor", default.growth_factor),
            backoff_factor: float("backoff_factor", default.backoff_factor),
            growth_interval: given
                .as_dict()
                .unwrap()
                .get("growth_interval")
                .map_or(2000, |steps| steps.as_i64().unwrap()),
            enabled: float("enabled", 1.0) != 0.0,
        })
        .unwrap();
        let mut model = Six { p: burn::module::Param::from_tensor(Tensor::from_floats(&filled(6, 0)[..], &device)) };
        let mut optimizer = Optimizer::sgd(&model, SgdOptions { lr: 0.1, ..Default::default() }).unwrap();
        for (step, given) in gradients.chunks(6).take(8).enumerate() {
            let loss = (model.p.val() * Tensor::<1>::from_floats(given, &device)).sum();
            let mut grads = scaler.scale(loss).backward();
            scaler.unscale_(&optimizer, &model, &mut grads).unwrap();
            if let Some(max_norm) = run["max_norm"].as_f64() {
                clip_grad_norm_(&model, optimizer.parameters(), &mut grads, ClipGradNorm::new(max_norm)).unwrap();
            }
            (model, _) = scaler.step(&mut optimizer, model, grads).unwrap();
            match value(&run["set"]).as_dict().unwrap().get_key(&Value::from(step)) {
                Some(scale) => scaler.update_to(scale.as_f64().unwrap()).unwrap(),
                None => scaler.update().unwrap(),
            }
        }
        let param = model.state_dict().unwrap().get_value("p").cloned().unwrap();
        saved.insert(name.as_str(), Dict::from_iter([("scaler", scaler.state_dict()), ("param", param)]));
    }
    go_on(&python, "scaler", saved);
}

#[test]
fn pytorch_goes_on_with_every_average() {
    let Some(python) = torch() else { return };
    let device = Device::flex().autodiff();
    let mut model = Sequential::new(vec![
        Layer::Linear(LinearConfig::new(4, 6).init(&device)),
        Layer::BatchNorm(BatchNormConfig::new(6).init(&device)),
        Layer::Relu(Relu::new()),
        Layer::Linear(LinearConfig::new(6, 3).init(&device)),
    ]);
    let averages = Checkpoint::open(fixture_path("amp_ema/averages.pt")).unwrap();
    let averages = averages.root().as_dict().unwrap().clone();
    let models = StateDict::from_value(&averages.get("model").unwrap()).unwrap();
    let own: Arc<dyn Fn(f64, f64, i64) -> f64 + Send + Sync> =
        Arc::new(|average, value, _| 0.75 * average + 0.25 * value);
    let kinds = [
        ("swa", Averaging::Swa),
        ("ema", Averaging::Ema { decay: 0.99 }),
        ("ema_one_by_one", Averaging::EmaAvgFn { decay: 0.9 }),
        ("own", Averaging::AvgFn(own)),
    ];
    let saved = Dict::new();
    for (kind, averaging) in kinds {
        for (name, buffers) in [(kind.to_owned(), false), (format!("{kind}_buffers"), true)] {
            if averages.get(&name).is_none() {
                continue;
            }
            let mut average = AveragedModel::new(&model, averaging.clone()).unwrap().use_buffers(buffers);
            for moment in 0..3 {
                let slice = |(name, all): (&str, &TorchTensor)| {
                    let bytes = all.to_le_bytes().unwrap();
                    let size = bytes.len() / all.shape()[0];
                    let part = bytes.slice(moment * size..(moment + 1) * size);
                    (name.to_owned(), TorchTensor::from_le_bytes(all.dtype(), &all.shape()[1..], part).unwrap())
                };
                model.load_state_dict(&models.iter().map(slice).collect()).unwrap();
                average.update_parameters(&model).unwrap();
            }
            saved.insert(name, average.state_dict());
        }
    }
    go_on(&python, "average", saved);
}
