//! The losses against PyTorch's own: `tests/fixtures/train/losses.json`.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rekindle_recorder::DType;
use rekindle_testing::fixtures;
use rekindle_testing::tagged::tensor;
use rekindle_train::loss::{CrossEntropy, bce_with_logits, mse, nll};
use serde_json::Value as Json;

fn floats<const D: usize>(json: &Json, device: &Device) -> Tensor<D> {
    let torch = tensor(json);
    Tensor::from_data(TensorData::new(torch.to_vec::<f32>().unwrap(), torch.shape().to_vec()), device)
}

fn classes<const D: usize>(json: &Json, device: &Device) -> Tensor<D, Int> {
    let torch = tensor(json);
    Tensor::from_data(TensorData::new(torch.to_vec::<i64>().unwrap(), torch.shape().to_vec()), device)
}

fn loss_and_gradient<const D: usize, const T: usize>(case: &Json) -> (f32, Vec<f32>) {
    let device = Device::flex().autodiff();
    let inputs = floats::<D>(&case["inputs"], &device).require_grad();
    let targets = &case["targets"];
    let loss = match case["loss"].as_str().unwrap() {
        "cross_entropy" => {
            let options = &case["options"];
            let default = CrossEntropy::default();
            let loss = default
                .ignore_index(options["ignore_index"].as_i64().unwrap_or(default.ignore_index))
                .label_smoothing(options["label_smoothing"].as_f64().unwrap_or(default.label_smoothing));
            loss.forward(inputs.clone(), classes::<T>(targets, &device))
        }
        "nll_loss" => nll(inputs.clone(), classes::<T>(targets, &device)),
        "mse_loss" => mse(inputs.clone(), floats(targets, &device)),
        "binary_cross_entropy_with_logits" => bce_with_logits(inputs.clone(), floats(targets, &device)),
        other => panic!("{other}"),
    };
    let loss = loss.unwrap();
    let gradient = inputs.grad(&loss.backward()).unwrap();
    (loss.into_scalar(), gradient.to_data().try_to_vec().unwrap())
}

#[test]
fn values_and_gradients_are_pytorch_s() {
    for case in &fixtures::cases("train/losses.json") {
        let inputs = tensor(&case["inputs"]);
        assert_eq!(inputs.dtype(), DType::Float32);
        let (value, gradient) = match inputs.shape().len() {
            2 => loss_and_gradient::<2, 1>(case),
            3 => loss_and_gradient::<3, 2>(case),
            other => panic!("{other}"),
        };
        let expected = case["value"].as_f64().unwrap();
        let difference = (f64::from(value) - expected).abs();
        // Two units in the last place; PyTorch's own single precision is up to 1.5e-7 away from its double here.
        assert!(difference <= 2.4e-7 * expected.abs().max(1.0), "{}: {value} and {expected}", case["name"]);
        let expected: Vec<f32> = tensor(&case["gradient"]).to_vec().unwrap();
        for (a, b) in gradient.iter().zip(expected) {
            assert!((a - b).abs() <= 1e-7 * b.abs().max(1.0), "{}: {a} and {b}", case["name"]);
        }
    }
}

#[test]
fn targets_of_another_shape_are_refused() {
    let device = Device::flex();
    let logits = Tensor::<2>::zeros([3, 4], &device);
    let refused = rekindle_train::loss::cross_entropy(logits, Tensor::<1, Int>::zeros([4], &device)).unwrap_err();
    assert!(refused.to_string().contains("targets must have the shape of logits without dimension 1"), "{refused}");
}

#[test]
fn losses_of_doubles_are_doubles() {
    let device = (&Device::flex(), burn::tensor::DType::F64);
    let logits = Tensor::<2>::from_data([[2.0, 0.0], [0.0, 0.0]], device);
    let targets = Tensor::<1, Int>::from_data([0, 1], &Device::flex());
    let found: f64 = rekindle_train::loss::cross_entropy(logits, targets).unwrap().into_scalar();
    // (log(1 + exp(-2)) + log(2)) / 2
    assert!((found - 0.410_037_595_801_458_9).abs() < 1e-15, "{found}");
}
