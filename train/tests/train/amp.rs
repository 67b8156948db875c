//! `GradScaler` against PyTorch's own: `tests/fixtures/amp_ema/scaler.json`.

use burn::tensor::{DType, Device, Tensor};
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::{Dict, Value};
use rekindle_testing::compare::ulps;
use rekindle_testing::tagged::{f32s, spell, value};
use rekindle_testing::{filled, fixtures};
use rekindle_train::amp::{GradScaler, GradScalerOptions};
use rekindle_train::clip::{ClipGradNorm, clip_grad_norm_};

use crate::common::parts::{scaler_options, sgd, six};

fn same(found: &[f32], expected: &[f32], units: u32, context: &str) {
    for (a, b) in found.iter().zip(expected) {
        assert!(a.is_nan() && b.is_nan() || ulps(*a, *b) <= units, "{context}: {found:?}, PyTorch {expected:?}");
    }
}

fn elements(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

#[test]
fn scales_skipped_steps_and_parameters_are_pytorch_s() {
    let runs = fixtures::json("amp_ema/scaler.json");
    let device = Device::flex().autodiff();
    let gradients = f32s(&runs["gradients"]["data"]);
    for (name, run) in runs.as_object().unwrap().iter().filter(|(name, _)| *name != "gradients") {
        let (unscaled, params) = (f32s(&run["unscaled"]["data"]), f32s(&run["params"]["data"]));
        let max_norm = run["max_norm"].as_f64();
        let set = value(&run["set"]);
        let mut scaler = GradScaler::new(scaler_options(&run["options"])).unwrap();
        assert_eq!(spell(&scaler.state_dict(), true), spell(&value(&run["fresh"]), true), "{name}");
        let mut model = six(filled(6, 0));
        let mut optimizer = sgd(&model);
        for (step, given) in gradients.chunks(6).enumerate() {
            if step == 8 {
                // One that was saved goes on as one that was not.
                let half = value(&run["half"]);
                assert_eq!(spell(&scaler.state_dict(), true), spell(&half, true), "{name}");
                scaler = GradScaler::from_state_dict(&half).unwrap();
            }
            let context = format!("{name}, step {step}");
            let rows = step * 6..step * 6 + 6;
            let loss = (model.p.val() * Tensor::<1>::from_floats(given, &device)).sum();
            let mut grads = scaler.scale(loss).backward();
            scaler.unscale_(&optimizer, &model, &mut grads).unwrap();
            same(&elements(model.p.val().grad(&grads).unwrap()), &unscaled[rows.clone()], 0, &context);
            if let Some(max_norm) = max_norm {
                let parameters = model.named_parameters().unwrap();
                clip_grad_norm_(&model, &parameters, &mut grads, ClipGradNorm::new(max_norm)).unwrap();
            }
            let stepped;
            (model, stepped) = scaler.step(&mut optimizer, model, grads).unwrap();
            assert_eq!(!stepped, run["skipped"][step].as_bool().unwrap(), "{context}");
            match set.as_dict().unwrap().get_key(&Value::from(step)).and_then(|scale| scale.as_f64()) {
                Some(scale) => scaler.update_to(scale).unwrap(),
                None => scaler.update().unwrap(),
            }
            assert_eq!(scaler.get_scale(), run["scales"][step].as_f64().unwrap_or(1.0), "{context}");
            // Clipping divides by a norm, which PyTorch adds up in float32: a unit or two in the last place of a gradient,
            // which is a tenth of that in the parameter, and over 16 steps less than 4.
            let units = if max_norm.is_some() { 4 } else { 0 };
            same(&elements(model.p.val()), &params[rows], units, &context);
        }
        assert_eq!(spell(&scaler.state_dict(), true), spell(&value(&run["end"]), true), "{name}");
    }
}

#[test]
fn what_is_called_out_of_order_is_refused() {
    let model = six(vec![1.0; 6]);
    let mut optimizer = sgd(&model);
    let mut scaler = GradScaler::default();
    assert!(scaler.update().unwrap_err().to_string().contains("`update` was called before anything was scaled"));
    let mut grads = scaler.scale(model.p.val().sum()).backward();
    assert!(scaler.update().unwrap_err().to_string().contains("no step was made"));
    scaler.unscale_(&optimizer, &model, &mut grads).unwrap();
    let twice = scaler.unscale_(&optimizer, &model, &mut grads).unwrap_err().to_string();
    assert!(twice.contains("were unscaled already"), "{twice}");
    let (model, stepped) = scaler.step(&mut optimizer, model, grads).unwrap();
    assert!(stepped);
    let grads = scaler.scale(model.p.val().sum()).backward();
    assert!(scaler.step(&mut optimizer, model, grads).unwrap_err().to_string().contains("`step` was called already"));
    scaler.update().unwrap();

    for wrong in [GradScalerOptions::default().growth_factor(1.0), GradScalerOptions::default().backoff_factor(1.0)] {
        assert!(GradScaler::new(wrong).is_err());
        assert!(GradScaler::new(wrong.enabled(false)).is_ok());
    }
}

#[test]
fn a_state_that_is_none_is_refused_and_changes_nothing() {
    let mut scaler = GradScaler::default();
    let before = spell(&scaler.state_dict(), true);
    let empty = Value::from(Dict::new());
    let error = scaler.load_state_dict(&empty).unwrap_err().to_string();
    assert!(error.contains("it was saved by one that was disabled"), "{error}");
    let torn = scaler.state_dict();
    torn.as_dict().unwrap().remove("growth_interval");
    assert!(scaler.load_state_dict(&torn).is_err());
    assert!(scaler.load_state_dict(&Value::None).is_err());
    assert_eq!(spell(&scaler.state_dict(), true), before);

    let mut disabled = GradScaler::from_state_dict(&empty).unwrap();
    assert!(!disabled.is_enabled());
    disabled.load_state_dict(&scaler.state_dict()).unwrap();
    assert_eq!(spell(&disabled.state_dict(), true), spell(&empty, true));
    assert_eq!(disabled.get_scale(), 1.0);
}

#[test]
fn half_precision_that_overflows_skips_the_step_and_goes_on_with_a_smaller_scale() {
    let mut model = six(vec![0.5; 6]);
    let mut optimizer = sgd(&model);
    let mut scaler = GradScaler::new(GradScalerOptions::default().init_scale(131_072.0)).unwrap();
    let mut stepped = Vec::new();
    for _ in 0..3 {
        // 131072 is beyond float16, whose largest number is 65504; the gradient comes back through the cast.
        let loss = (model.p.val().cast(DType::F16) * 0.5).sum().cast(DType::F32);
        let grads = scaler.scale(loss).backward();
        let made;
        (model, made) = scaler.step(&mut optimizer, model, grads).unwrap();
        scaler.update().unwrap();
        stepped.push(made);
    }
    assert_eq!(stepped, [false, false, true]);
    assert_eq!(scaler.get_scale(), 32_768.0);
    assert_eq!(elements(model.p.val()), [0.45; 6]);
}
