//! Clipping of gradients, and their sums, against PyTorch's own: `tests/fixtures/amp_ema/clip.json`.

use burn::module::{Module, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use rekindle_burn::ModuleStateDict as _;
use rekindle_testing::compare::ulps;
use rekindle_testing::fixtures;
use rekindle_testing::tagged::{f32s, tensor, value};
use rekindle_train::clip::{ClipGradNorm, clip_grad_norm_, clip_grad_value_};
use rekindle_train::gradients::accumulate;
use rekindle_train::optim::{Optimizer, SgdOptions};
use serde_json::Value as Json;

#[derive(Module, Debug)]
struct Four {
    a: Param<Tensor<2>>,
    b: Param<Tensor<1>>,
    c: Param<Tensor<1>>,
    d: Param<Tensor<3>>,
}

fn four(device: &Device) -> Four {
    Four {
        a: Param::from_tensor(Tensor::zeros([3, 4], device)),
        b: Param::from_tensor(Tensor::zeros([5], device)),
        c: Param::from_tensor(Tensor::zeros([1], device)),
        d: Param::from_tensor(Tensor::zeros([2, 1, 3], device)),
    }
}

/// Gradients of the four parameters, as the fixture has them: those that are null are not there.
fn gradients(model: &Four, all: &Json, device: &Device) -> Gradients {
    let device = device.clone().inner();
    // A pass of something else, which leaves no gradient of the model.
    let mut grads = Tensor::<1>::ones([1], &device.clone().autodiff()).require_grad().sum().backward();
    macro_rules! put {
        ($($field:ident $place:literal $shape:expr),*) => { $(
            if !all[$place].is_null() {
                let data = TensorData::new(f32s(&all[$place]["data"]), $shape);
                model.$field.base().grad_replace(&mut grads, Tensor::from_data(data, &device));
            }
        )* };
    }
    put!(a 0 [3, 4], b 1 [5], c 2 [1], d 3 [2, 1, 3]);
    grads
}

fn flat<const D: usize>(param: &Param<Tensor<D>>, grads: &Gradients) -> Option<Vec<f32>> {
    param.base().grad(grads).map(|grad| grad.into_data().try_to_vec().unwrap())
}

fn all(model: &Four, grads: &Gradients) -> [Option<Vec<f32>>; 4] {
    [flat(&model.a, grads), flat(&model.b, grads), flat(&model.c, grads), flat(&model.d, grads)]
}

/// The largest distance in units in the last place; a NaN must be met by one.
fn apart(found: &[f32], expected: &[f32]) -> u32 {
    assert_eq!(found.len(), expected.len());
    let pair = |(a, b): (&f32, &f32)| match (a.is_nan(), b.is_nan()) {
        (true, true) => 0,
        (false, false) => ulps(*a, *b),
        _ => u32::MAX,
    };
    found.iter().zip(expected).map(pair).max().unwrap_or(0)
}

#[test]
fn gradients_are_clipped_as_pytorch_clips_them() {
    let device = Device::flex().autodiff();
    let mut largest = 0;
    for (name, case) in fixtures::json("amp_ema/clip.json").as_object().unwrap() {
        let model = four(&device);
        let parameters = model.named_parameters().unwrap();
        let mut grads = gradients(&model, &case["gradients"], &device);
        let before = all(&model, &grads);
        let options = value(&case["options"]);
        let option = |name: &str| options.as_dict().unwrap().get(name);
        let float = |name: &str| option(name).and_then(|value| value.as_f64());
        let mut noise = 0;
        if let Some(clip_value) = float("clip_value") {
            clip_grad_value_(&model, &parameters, &mut grads, clip_value).unwrap();
        } else {
            let result = clip_grad_norm_(
                &model,
                &parameters,
                &mut grads,
                ClipGradNorm::new(float("max_norm").unwrap())
                    .norm_type(float("norm_type").unwrap_or(2.0))
                    .error_if_nonfinite(float("error_if_nonfinite") == Some(1.0)),
            );
            if !case["error"].is_null() {
                assert!(result.unwrap_err().to_string().contains("cannot be clipped"), "{name}");
                let after = all(&model, &grads);
                assert!(before.iter().flatten().zip(after.iter().flatten()).all(|(a, b)| apart(a, b) == 0));
                continue;
            }
            let expected = tensor(&case["total_norm"]).to_vec::<f32>().unwrap();
            #[allow(clippy::cast_possible_truncation, reason = "it is a float32 already")]
            let norm = apart(&[result.unwrap() as f32], &expected);
            // What is found here is the exact norm, rounded. PyTorch adds up in float32: this is how many units in the last
            // place its own norms of these gradients are from the exact ones.
            noise = match float("norm_type").unwrap_or(2.0) {
                2.0 | f64::INFINITY => 0,
                1.0 => 1,
                3.0 => 2,
                0.5 => 3,
                other => panic!("{other}"),
            };
            assert!(norm <= noise, "{name}: the norm is {norm} units in the last place away");
            largest = largest.max(norm);
        }
        for (found, expected) in all(&model, &grads).iter().zip(case["clipped"].as_array().unwrap()) {
            assert_eq!(found.is_none(), expected.is_null(), "{name}");
            if let Some(found) = found {
                let elements = apart(found, &f32s(&expected["data"]));
                // A unit of the norm is up to two of the factor, which is rounded once more where it is multiplied.
                let noise = if noise == 0 { 0 } else { 2 * noise + 1 };
                assert!(elements <= noise, "{name}: an element is {elements} units in the last place away");
                largest = largest.max(elements);
            }
        }
    }
    println!("at most {largest} units in the last place from PyTorch");
}

#[test]
fn one_group_is_clipped_by_itself() {
    let device = Device::flex().autodiff();
    let model = four(&device);
    let optimizer = Optimizer::builder(SgdOptions::default())
        .group("a", [("lr", 0.1)])
        .group("*", [("lr", 0.2)])
        .build(&model)
        .unwrap();
    let mut grads = gradients(&model, &fixtures::json("amp_ema/clip.json")["two_norm"]["gradients"], &device);
    let before = all(&model, &grads);
    let group = optimizer.param_groups()[1].params();
    let group: Vec<_> = optimizer.parameters().skip(group.start).take(group.len()).collect();
    let norm = clip_grad_norm_(&model, group.iter().copied(), &mut grads, ClipGradNorm::new(0.5)).unwrap();
    let exact: f64 = before.iter().skip(1).flatten().flatten().map(|x| f64::from(*x) * f64::from(*x)).sum();
    assert!((norm - exact.sqrt()).abs() < 1e-6 * norm);
    let after = all(&model, &grads);
    assert_eq!(before[0], after[0]);
    let again = clip_grad_norm_(&model, group, &mut grads, ClipGradNorm::new(0.5)).unwrap();
    assert!((again - 0.5).abs() < 1e-6, "{again}");
}

#[test]
fn a_value_that_is_no_bound_is_refused() {
    let device = Device::flex().autodiff();
    let model = four(&device);
    let parameters = model.named_parameters().unwrap();
    let mut grads = gradients(&model, &fixtures::json("amp_ema/clip.json")["two_norm"]["gradients"], &device);
    for value in [-1.0, f64::NAN] {
        assert!(clip_grad_value_(&model, &parameters, &mut grads, value).is_err());
    }
}

#[test]
fn gradients_of_several_passes_add_up_and_are_those_of_one_pass_over_all() {
    let device = Device::flex().autodiff();
    let model = four(&device);
    let loss = |factor: f64| (model.a.val() * factor).sum() + (model.b.val() * 2.0).sum();
    let only_a = |factor: f64| (model.a.val() * factor).sum();
    let grads = accumulate(&model, only_a(0.5).backward(), loss(0.25).backward());
    let grads = accumulate(&model, grads, only_a(2.0).backward());
    let [a, b, c, d] = all(&model, &grads);
    assert_eq!(a.unwrap(), [2.75; 12]);
    assert_eq!(b.unwrap(), [2.0; 5]);
    assert_eq!((c, d), (None, None));

    let mut optimizer = Optimizer::sgd(&model, SgdOptions::default().lr(1.0)).unwrap();
    let model = optimizer.step(model.clone(), grads).unwrap();
    assert_eq!(model.a.val().into_data().try_to_vec::<f32>().unwrap(), [-2.75; 12]);
}
