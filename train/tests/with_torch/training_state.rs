//! Schedulers, scalers and averages that were saved here.

use std::ffi::OsStr;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::{Checkpoint, Dict, StateDict, Tensor as TorchTensor, Value};
use rekindle_testing::tagged::{f32s, value};
use rekindle_testing::{Torch, filled, fixtures};
use rekindle_train::amp::GradScaler;
use rekindle_train::clip::{ClipGradNorm, clip_grad_norm_};
use rekindle_train::ema::{AveragedModel, Averaging};
use rekindle_train::lr_scheduler::LRScheduler;

use crate::common::parts::{averaged, scaler_options, sgd, six};
use crate::common::settings::{HALF, Running};

/// Saves a dict and has PyTorch go on from what is in it. The file is one that plain `torch.load` reads.
fn go_on(torch: &Torch, what: &str, saved: Dict) {
    let count = saved.len();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.pt");
    Checkpoint::from(saved).save(&path).unwrap();
    let printed = torch.run("training_state.py", [OsStr::new(what), path.as_os_str()]);
    assert_eq!(printed.trim(), count.to_string());
}

#[test]
fn pytorch_goes_on_with_every_scheduler_to_the_last_bit() {
    let Some(torch) = Torch::find() else { return };
    let saved = Dict::new();
    for (name, setting) in fixtures::json("schedulers/schedulers.json").as_object().unwrap() {
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
    go_on(&torch, "schedulers", saved);
}

#[test]
fn pytorch_goes_on_with_every_scaler() {
    let Some(torch) = Torch::find() else { return };
    let device = Device::flex().autodiff();
    let runs = fixtures::json("amp_ema/scaler.json");
    let gradients = f32s(&runs["gradients"]["data"]);
    let saved = Dict::new();
    for (name, run) in runs.as_object().unwrap().iter().filter(|(name, _)| *name != "gradients") {
        let mut scaler = GradScaler::new(scaler_options(&run["options"])).unwrap();
        let mut model = six(filled(6, 0));
        let mut optimizer = sgd(&model);
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
    go_on(&torch, "scaler", saved);
}

#[test]
fn pytorch_goes_on_with_every_average() {
    let Some(torch) = Torch::find() else { return };
    let mut model = averaged();
    let averages = Checkpoint::open(fixtures::path("amp_ema/averages.pt")).unwrap();
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
    go_on(&torch, "average", saved);
}
