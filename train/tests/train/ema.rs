//! Averaged models against PyTorch's own: `tests/fixtures/amp_ema/averages.pt` and `averaged.pt`.

use std::sync::Arc;

use crate::common::optim::at;
use crate::common::parts::averaged;
use burn::tensor::{Device, Tensor, TensorData};
use rekindle_burn::ModuleStateDict as _;
use rekindle_models::init::Init;
use rekindle_models::nn::{LinearConfig, ReLU, Sequential};
use rekindle_recorder::{Checkpoint, DType, Dict, StateDict, Value};
use rekindle_testing::compare::ulps;
use rekindle_testing::fixtures;
use rekindle_train::Run;
use rekindle_train::ema::{AveragedLayout, AveragedModel, Averaging, update_bn};
use rekindle_train::optim::{Optimizer, SgdOptions};
use rekindle_train::run::ResumeOptions;

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixtures::path(name)).unwrap()
}

fn part(checkpoint: &Checkpoint, key: &str) -> Value {
    checkpoint.root().as_dict().unwrap().get(key).unwrap()
}

/// The state dict of one of several moments, which lie on top of each other.
fn moment(stacked: &Value, place: usize) -> StateDict {
    let entries = StateDict::from_value(stacked).unwrap();
    entries.iter().map(|(name, all)| (name.to_owned(), at(all, place))).collect()
}

/// How each kind of the fixture averages, and how many units in the last place it may be away.
fn averaging(kind: &str) -> (Averaging, u16) {
    match kind.trim_end_matches("_buffers") {
        "swa" => (Averaging::Swa, 0),
        "ema" => (Averaging::Ema { decay: 0.99 }, 0),
        "ema_one_by_one" => (Averaging::EmaAvgFn { decay: 0.9 }, 0),
        // PyTorch rounds after each of its three operations.
        "own" => (Averaging::AvgFn(Arc::new(|average, value, _| 0.75 * average + 0.25 * value)), 2),
        other => panic!("{other}"),
    }
}

const KINDS: [&str; 7] = ["swa", "swa_buffers", "ema", "ema_buffers", "ema_one_by_one", "own", "own_buffers"];

fn assert_same(found: &Value, expected: &StateDict, units: u16, context: &str) {
    let found = StateDict::from_value(found).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{context}");
    for ((name, found), (_, expected)) in found.iter().zip(expected.iter()) {
        assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()), "{context}, {name}");
        if found.dtype() == DType::Float32 {
            let pairs = found.to_vec::<f32>().unwrap().into_iter().zip(expected.to_vec::<f32>().unwrap());
            // Nearly cancelled sums keep the rounding of what they were made of, which are below 1 here.
            let away = |(a, b): (f32, f32)| if (a - b).abs() < 6e-8 * f32::from(units) { 0 } else { ulps(a, b) };
            let largest = pairs.map(away).max().unwrap_or(0);
            assert!(largest <= units.into(), "{context}, {name}: {largest} units in the last place away");
        } else {
            assert_eq!(found.to_le_bytes().unwrap(), expected.to_le_bytes().unwrap(), "{context}, {name}");
        }
    }
}

#[test]
fn averages_and_their_state_dicts_are_pytorch_s() {
    let saved = open("amp_ema/averages.pt");
    let about = fixtures::json("amp_ema/averages.json");
    let models = part(&saved, "model");
    for kind in KINDS {
        let (averaging, units) = averaging(kind);
        let mut model = averaged();
        model.load_state_dict(&StateDict::from_value(&part(&saved, "start")).unwrap()).unwrap();
        let buffers = kind.ends_with("_buffers");
        let mut average = AveragedModel::new(&model, averaging.clone()).unwrap().use_buffers(buffers);
        for place in 0..7 {
            model.load_state_dict(&moment(&models, place)).unwrap();
            average.update_parameters(&model).unwrap();
            let expected = moment(&part(&saved, kind), place);
            assert_same(&average.state_dict(), &expected, units, &format!("{kind}, moment {place}"));
            if place == 2 {
                // What is loaded goes on as what was never saved.
                average = AveragedModel::from_state_dict(&average.state_dict(), averaging.clone()).unwrap();
                average = average.use_buffers(buffers);
            }
        }
        assert_eq!(average.n_averaged(), 7);
        let state = StateDict::from_value(&average.state_dict()).unwrap();
        for pair in about[kind]["metadata"].as_array().unwrap() {
            let path = pair[0].as_str().unwrap();
            // Burn shows no module without parameters.
            if path != "module.2" {
                assert_eq!(state.version(path), pair[1]["version"].as_i64(), "{kind}, {path}");
            }
        }
    }
}

#[test]
fn a_run_s_average_goes_on_with_buffers_as_it_did_until_then() {
    let saved = open("amp_ema/averages.pt");
    let models = part(&saved, "model");
    for kind in ["swa", "swa_buffers", "ema_one_by_one", "ema_buffers"] {
        let (averaging, units) = averaging(kind);
        let mut model = averaged();
        model.load_state_dict(&moment(&models, 2)).unwrap();
        let optimizer = Optimizer::sgd(&model, SgdOptions::default()).unwrap().state_dict(&model).unwrap();
        let root = Dict::new();
        root.insert("model_state_dict", model.state_dict().unwrap());
        root.insert("ema_state_dict", moment(&part(&saved, kind), 2));
        root.insert("optimizer_state_dict", optimizer);
        root.insert("step", 3);
        let options = ResumeOptions::default().average(averaging);
        let run = Run::resume_with(Checkpoint::from(root), averaged(), options).unwrap();
        let mut average = run.average().unwrap().clone();
        for place in 3..7 {
            model.load_state_dict(&moment(&models, place)).unwrap();
            average.update_parameters(&model).unwrap();
            let expected = moment(&part(&saved, kind), place);
            assert_same(&average.state_dict(), &expected, units, &format!("{kind}, moment {place}"));
        }
    }
}

#[test]
fn a_mean_by_lerp_is_the_mean() {
    let models = part(&open("amp_ema/averages.pt"), "model");
    let mut model = averaged();
    let mut averages = [Averaging::Swa, Averaging::SwaMultiAvgFn].map(|how| AveragedModel::new(&model, how).unwrap());
    for place in 0..7 {
        model.load_state_dict(&moment(&models, place)).unwrap();
        averages.iter_mut().for_each(|average| average.update_parameters(&model).unwrap());
    }
    let [mean, lerp] = averages;
    assert_same(&lerp.state_dict(), &StateDict::from_value(&mean.state_dict()).unwrap(), 4, "lerp");
}

#[test]
fn update_bn_gives_the_statistics_that_pytorch_gives() {
    let saved = open("amp_ema/averaged.pt");
    let loader = part(&saved, "loader").as_tensor().unwrap().to_vec::<f32>().unwrap();
    let device = Device::flex().autodiff();
    let batches = || {
        let batch = |batch: &[f32]| Tensor::<2>::from_data(TensorData::new(batch.to_vec(), [8, 4]), &device);
        loader.chunks(32).map(batch).collect::<Vec<_>>()
    };
    let forward = |model: &Sequential, batch: &Tensor<2>| drop(model.forward::<2, 2>(batch.clone()).unwrap());
    for (kind, averaging) in [("swa", Averaging::Swa), ("ema", Averaging::Ema { decay: 0.99 })] {
        let state = part(&saved, &format!("{kind}_model_state_dict"));
        let mut average = AveragedModel::from_state_dict(&state, averaging).unwrap();
        let model = averaged();
        let before = model.state_dict().unwrap();
        average.update_bn(&model, batches(), forward).unwrap();
        let after = model.state_dict().unwrap();
        assert!(before.iter().zip(after.iter()).all(|(a, b)| a.1.to_le_bytes().unwrap() == b.1.to_le_bytes().unwrap()));

        let found = StateDict::from_value(&average.state_dict()).unwrap();
        let expected =
            StateDict::from_value(&part(&saved, &format!("{kind}_model_state_dict_after_update_bn"))).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        let mut largest = 0.0_f64;
        for ((name, found), (_, expected)) in found.iter().zip(expected.iter()) {
            let (found, expected) = (found.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
            let norm = |all: &[f64]| all.iter().map(|x| x * x).sum::<f64>().sqrt();
            let difference: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
            let apart = norm(&difference) / norm(&expected).max(1e-30);
            largest = largest.max(apart);
            // float32 has 6e-8; PyTorch's own statistics are sums of that, and ours are divided by the momentum as well.
            assert!(apart < 5e-7, "{kind}, {name}: {apart:e}");
        }
        println!("{kind}: {largest:e} from PyTorch");
    }
}

#[test]
fn update_bn_without_batches_resets_and_on_a_model_that_does_not_train_is_an_error() {
    let forward = |model: &Sequential, batch: &Tensor<2>| drop(model.forward::<2, 2>(batch.clone()).unwrap());
    let mut model = averaged();
    model.load_state_dict(&moment(&part(&open("amp_ema/averages.pt"), "model"), 3)).unwrap();
    let state = update_bn(model.clone(), [], forward).unwrap().state_dict().unwrap();
    assert_eq!(state.get("1.running_mean").unwrap().to_vec::<f32>().unwrap(), [0.0; 6]);
    assert_eq!(state.get("1.running_var").unwrap().to_vec::<f32>().unwrap(), [1.0; 6]);
    assert_eq!(state.get("1.num_batches_tracked").unwrap().to_vec::<i64>().unwrap(), [0]);

    let batch = Tensor::<2>::ones([8, 4], &Device::flex());
    let evaluated = burn::module::Module::valid(&model);
    let error = update_bn(evaluated, [batch], forward).unwrap_err().to_string();
    assert!(error.starts_with("the batch norm '1' does not take its statistics from batches"), "{error}");
}

#[test]
fn timm_s_and_mmengine_s_layouts_are_read_and_written() {
    let saved = open("amp_ema/averages.pt");
    let models = part(&saved, "model");
    let mut model = averaged();
    model.load_state_dict(&moment(&models, 0)).unwrap();
    let own = model.state_dict().unwrap();

    // timm's `state_dict_ema`: the model's own keys; batches are counted along, everything else is averaged at once.
    let ema = Averaging::Ema { decay: 0.5 };
    let mut timm = AveragedModel::from_state_dict(&own.to_value(), ema.clone()).unwrap();
    model.load_state_dict(&moment(&models, 1)).unwrap();
    timm.update_parameters(&model).unwrap();
    let next = model.state_dict().unwrap();
    let state = StateDict::from_value(&timm.state_dict()).unwrap();
    assert_eq!(state.keys().collect::<Vec<_>>(), own.keys().collect::<Vec<_>>());
    assert_eq!(state.get("1.num_batches_tracked").unwrap().to_vec::<i64>().unwrap(), [6]);
    for name in ["0.weight", "1.running_var"] {
        let [before, after, found] = [&own, &next, &state].map(|dict| dict.get(name).unwrap().to_vec::<f32>().unwrap());
        for ((before, after), found) in before.into_iter().zip(after).zip(found) {
            assert!((f32::midpoint(before, after) - found).abs() < 1e-7, "{name}");
        }
    }

    // mmengine's `EMAHook`: `steps`, and the average in the place of the model's weights.
    let mut average = AveragedModel::new(&model, ema.clone()).unwrap().with_layout(AveragedLayout::MmEngine);
    average.update_parameters(&model).unwrap();
    model.load_state_dict(&moment(&models, 4)).unwrap();
    average.update_parameters(&model).unwrap();
    let trained = model.state_dict().unwrap();
    let (state_dict, ema_state_dict) = average.to_mmengine(&trained).unwrap();
    let written = StateDict::from_value(&ema_state_dict).unwrap();
    assert_eq!(written.keys().next(), Some("steps"));
    let bytes = |dict: &StateDict, name: &str| dict.get(name).unwrap().to_le_bytes().unwrap();
    assert_eq!(bytes(&state_dict, "3.weight"), bytes(average.module(), "3.weight"));
    assert_eq!(bytes(&written, "module.3.weight"), bytes(&trained, "3.weight"));

    let (again, weights) = AveragedModel::from_mmengine(&state_dict, &ema_state_dict, ema.clone()).unwrap();
    assert_eq!(again.n_averaged(), 2);
    for name in trained.keys() {
        assert_eq!(bytes(&weights, name), bytes(&trained, name), "{name}");
        assert_eq!(bytes(again.module(), name), bytes(average.module(), name), "{name}");
    }
    let pytorch = average.with_layout(AveragedLayout::PyTorch).state_dict();
    assert!(AveragedModel::from_mmengine(&state_dict, &pytorch, ema).is_err());
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let model = averaged();
    for decay in [-0.1, 1.1, f64::NAN] {
        assert!(AveragedModel::new(&model, Averaging::Ema { decay }).is_err());
        assert!(AveragedModel::new(&model, Averaging::EmaAvgFn { decay }).is_err());
    }
    let mut average = AveragedModel::new(&model, Averaging::Swa).unwrap();
    let device = Device::flex().autodiff();
    let init = &mut Init::lazy(&device);
    let other = Sequential::new(vec![LinearConfig::new(4, 5).init(init).unwrap().into()]);
    let wider = Sequential::new(vec![LinearConfig::new(4, 6).init(init).unwrap().into(), ReLU::new().into()]);
    for other in [other, wider] {
        assert!(average.update_parameters(&other).is_err());
    }
    assert_eq!(average.n_averaged(), 0);
    let no_count = Value::from(Dict::from_iter([("n_averaged", Value::from("three"))]));
    assert!(AveragedModel::from_state_dict(&no_count, Averaging::Swa).is_err());
    assert!(AveragedModel::from_state_dict(&Value::None, Averaging::Swa).is_err());
}
