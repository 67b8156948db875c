//! Optimizers over models that are not only burn-nn's layers: with layer rows of their own, with fields that share a parameter,
//! and with what is no match for the optimizer.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Gradients, Tensor};
use rekindle_burn::{LayerRows, ModuleStateDict as _, Part, Row, Transform};
use rekindle_recorder::keys::LoadOptions;
use rekindle_testing::tagged::spell;
use rekindle_train::amp::{GradScaler, GradScalerOptions};
use rekindle_train::clip::{ClipGradNorm, clip_grad_norm_, clip_grad_value_};
use rekindle_train::gradients::accumulate;
use rekindle_train::optim::{
    AdamOptions, Hyperparameters, LbfgsOptions, Optimizer, OptimizerKind, RMSpropOptions, SgdOptions,
};

fn device() -> Device {
    Device::flex().autodiff()
}

/// A tensor of a parameter whose elements are all different.
fn matrix(rows: usize, columns: usize, first: u16) -> Param<Tensor<2>> {
    let numbers = (0..rows * columns).map(|i| (f32::from(first + u16::try_from(i).unwrap()) * 0.37).sin());
    let values: Vec<f32> = numbers.collect();
    Param::from_tensor(Tensor::<1>::from_floats(&values[..], &device()).reshape([rows, columns]))
}

/// A layer whose tensors lie otherwise in PyTorch, each in its way.
#[derive(Module, Debug)]
struct Own {
    kernel: Param<Tensor<2>>,
    query: Param<Tensor<2>>,
    left: Param<Tensor<2>>,
    right: Param<Tensor<2>>,
}

impl Own {
    fn new() -> Self {
        Own { kernel: matrix(3, 5, 0), query: matrix(3, 8, 20), left: matrix(4, 2, 50), right: matrix(4, 3, 60) }
    }

    fn rows() -> LayerRows {
        let row = Row::new("Own")
            .tensor("weight", Part::new("kernel").transposed())
            .tensor("q_proj", Part::new("query").with(Transform::HalfRotated { head: 4 }))
            .joined("gates", 0, ["left", "right"].map(|part| Part::new(part).transposed()));
        LayerRows::default().with(row)
    }

    fn gradients(&self) -> Gradients {
        [&self.kernel, &self.query, &self.left, &self.right]
            .map(cubes)
            .into_iter()
            .reduce(|a, b| a + b)
            .unwrap()
            .backward()
    }
}

/// The same layer as PyTorch has it.
#[derive(Module, Debug)]
struct Torch {
    weight: Param<Tensor<2>>,
    q_proj: Param<Tensor<2>>,
    gates: Param<Tensor<2>>,
}

impl Torch {
    fn new() -> Self {
        Torch { weight: matrix(5, 3, 0), q_proj: matrix(8, 3, 0), gates: matrix(5, 4, 0) }
    }

    fn gradients(&self) -> Gradients {
        [&self.weight, &self.q_proj, &self.gates].map(cubes).into_iter().reduce(|a, b| a + b).unwrap().backward()
    }
}

/// Each element has its own gradient, which does not depend on where it lies.
fn cubes(param: &Param<Tensor<2>>) -> Tensor<1> {
    let tensor = param.val();
    (tensor.clone() * tensor.clone() * tensor).sum()
}

fn weights(model: &Own) -> Vec<(String, Vec<f32>)> {
    let state_dict = model.state_dict_with(&Own::rows()).unwrap();
    state_dict.iter().map(|(name, tensor)| (name.to_owned(), tensor.to_vec::<f32>().unwrap())).collect()
}

#[test]
fn a_row_of_one_s_own_moves_the_optimizer_s_state_as_it_moves_the_weights() {
    for kind in OptimizerKind::ALL.iter().copied().filter(|kind| *kind != OptimizerKind::Lbfgs) {
        let mut own = Own::new();
        let mut torch = Torch::new();
        torch.load_state_dict(&own.state_dict_with(&Own::rows()).unwrap()).unwrap();
        let make = |model: &Own| Optimizer::builder(Hyperparameters::of(kind)).rows(Own::rows()).build(model).unwrap();
        let mut optimizer = make(&own);
        let mut expected = Optimizer::builder(Hyperparameters::of(kind)).build(&torch).unwrap();
        for _ in 0..3 {
            let gradients = own.gradients();
            own = optimizer.step(own, gradients).unwrap();
            let gradients = torch.gradients();
            torch = expected.step(torch, gradients).unwrap();
        }
        let saved = optimizer.state_dict(&own).unwrap();
        assert_eq!(spell(&saved, true), spell(&expected.state_dict(&torch).unwrap(), true), "{kind}");

        // Into fresh ones, and on from there.
        let mut fresh = Own::new();
        let state_dict = torch.state_dict().unwrap();
        fresh.load_state_dict_with_rows(&state_dict, &LoadOptions::strict(), &Own::rows()).unwrap();
        let mut resumed = make(&fresh);
        resumed.load_state_dict(&fresh, &saved).unwrap();
        assert_eq!(spell(&resumed.state_dict(&fresh).unwrap(), true), spell(&saved, true), "{kind}");
        let (one, other) = (own.gradients(), fresh.gradients());
        let own = optimizer.step(own, one).unwrap();
        let fresh = resumed.step(fresh, other).unwrap();
        assert_eq!(weights(&own), weights(&fresh), "{kind}");
        assert_eq!(
            spell(&optimizer.state_dict(&own).unwrap(), true),
            spell(&resumed.state_dict(&fresh).unwrap(), true),
            "{kind}"
        );
    }
}

#[test]
fn a_group_that_is_added_and_a_burn_record_go_by_the_same_rows() {
    let own = Own::new();
    let builder = Optimizer::builder(AdamOptions::default()).rows(Own::rows()).exclude("gates");
    let mut optimizer = builder.build(&own).unwrap();
    optimizer.add_param_group(&own, "gates", [("lr", 1e-4)]).unwrap();
    let shapes: Vec<Vec<usize>> = optimizer.parameters().map(|named| named.shape.clone()).collect();
    assert_eq!(shapes, [[5, 3], [8, 3], [5, 4]]);
    let gradients = own.gradients();
    let own = optimizer.step(own, gradients).unwrap();
    let record = optimizer.to_burn_record(&own).unwrap();
    let mut other = Optimizer::builder(AdamOptions::default()).rows(Own::rows()).build(&own).unwrap();
    other.load_burn_record(&own, record).unwrap();
    let state = |optimizer: &Optimizer| {
        let state_dict = optimizer.state_dict(&own).unwrap();
        spell(&state_dict.as_dict().unwrap().get("state").unwrap(), true)
    };
    assert_eq!(state(&other), state(&optimizer));
}

/// Two fields with one parameter's id.
#[derive(Module, Debug)]
struct Tied {
    one: Param<Tensor<1>>,
    other: Param<Tensor<1>>,
}

const START: [f32; 4] = [1.0, -2.0, 3.0, 0.5];

impl Tied {
    /// As two leaves with the same values.
    fn leaves() -> Self {
        let leaf = || Tensor::from_floats(START, &device()).require_grad();
        let id = ParamId::new();
        Tied { one: Param::initialized(id, leaf()), other: Param::initialized(id, leaf()) }
    }

    /// As one leaf in two fields.
    fn leaf() -> Self {
        let one = Param::from_tensor(Tensor::from_floats(START, &device()));
        Tied { other: one.clone(), one }
    }

    /// The gradient of one field is 3, that of the other 5.
    fn loss(&self) -> Tensor<1> {
        self.one.val().sum() * 3.0 + self.other.val().sum() * 5.0
    }

    fn values(&self) -> [Vec<f32>; 2] {
        [&self.one, &self.other].map(|param| param.val().inner().into_data().try_into_vec().unwrap())
    }
}

#[test]
fn fields_that_share_a_parameter_s_id_train_by_the_sum_of_their_gradients_and_are_one_tensor_afterwards() {
    for model in [Tied::leaves(), Tied::leaf()] {
        let mut optimizer = Optimizer::sgd(&model, SgdOptions::default().lr(0.5)).unwrap();
        let gradients = model.loss().backward();
        let model = optimizer.step(model, gradients).unwrap();
        let expected = START.map(|x| x - 4.0).to_vec();
        assert_eq!(model.values(), [expected.clone(), expected]);
        // One leaf has the gradient of both.
        let gradients = model.loss().backward();
        for param in [&model.one, &model.other] {
            let gradient = param.val().grad(&gradients).unwrap();
            assert_eq!(gradient.into_data().try_into_vec::<f32>().unwrap(), [8.0; 4]);
        }
    }
}

#[test]
fn every_optimizer_takes_two_leaves_of_one_parameter_for_one() {
    for kind in OptimizerKind::ALL.iter().copied().filter(|kind| *kind != OptimizerKind::Muon) {
        let [leaves, leaf] = [Tied::leaves(), Tied::leaf()].map(|mut model| {
            let mut optimizer = Optimizer::builder(Hyperparameters::of(kind)).build(&model).unwrap();
            for _ in 0..3 {
                let closure = |model: &Tied| {
                    let squares = |param: &Param<Tensor<1>>| param.val().powi_scalar(2).sum();
                    let loss = squares(&model.one) + squares(&model.other) * 0.5;
                    let gradients = loss.backward();
                    (loss, gradients)
                };
                (model, _) = optimizer.step_closure(model, closure).unwrap();
            }
            model.values()
        });
        assert_eq!(leaves, leaf, "{kind}");
        assert_eq!(leaves[0], leaves[1], "{kind}");
        assert_ne!(leaves[0], START, "{kind}");
    }
}

#[test]
fn norms_and_scales_count_a_shared_parameter_once_with_the_sum_of_its_gradients() {
    for model in [Tied::leaves(), Tied::leaf()] {
        let optimizer = Optimizer::sgd(&model, SgdOptions::default().lr(1.0)).unwrap();
        let step = |gradients| {
            let mut optimizer = Optimizer::sgd(&model, SgdOptions::default().lr(1.0)).unwrap();
            let [after, again] = optimizer.step(model.clone(), gradients).unwrap().values();
            assert_eq!(after, again);
            START[0] - after[0]
        };
        let mut gradients = model.loss().backward();
        let norm = clip_grad_norm_(&model, optimizer.parameters(), &mut gradients, ClipGradNorm::new(4.0)).unwrap();
        assert_eq!(norm, 16.0);
        // The factor is 4 / (16 + 1e-6).
        assert!((step(gradients) - 2.0).abs() < 1e-6);

        let mut gradients = model.loss().backward();
        clip_grad_value_(&model, optimizer.parameters(), &mut gradients, 7.0).unwrap();
        assert_eq!(step(gradients), 7.0);

        let sum = accumulate(&model, model.loss().backward(), model.loss().backward());
        assert_eq!(step(sum), 16.0);

        let mut scaler = GradScaler::new(GradScalerOptions::default().init_scale(4.0)).unwrap();
        let mut gradients = scaler.scale(model.loss()).backward();
        scaler.unscale_(&optimizer, &model, &mut gradients).unwrap();
        assert_eq!(step(gradients), 8.0);
    }
}

#[test]
fn fields_that_cannot_be_one_parameter_are_refused() {
    let wide = Tensor::<1>::from_floats([1.0; 5], &device()).require_grad();
    let mut model = Tied::leaves();
    let mut optimizer = Optimizer::sgd(&model, SgdOptions::default()).unwrap();
    model.other = Param::initialized(model.one.id, wide);
    let gradients = model.loss().backward();
    let (model, done) = optimizer.try_step(model, gradients);
    let error = done.unwrap_err().to_string();
    assert!(error.contains("share a parameter's id") && error.contains("[4]") && error.contains("[5]"), "{error}");
    assert_eq!(model.values()[0], START);
}

#[derive(Module, Debug)]
struct One {
    weight: Param<Tensor<2>>,
}

impl One {
    fn loss(&self) -> Tensor<1> {
        cubes(&self.weight)
    }
}

fn elements(model: &One) -> Vec<f32> {
    model.weight.val().inner().into_data().convert::<f32>().try_into_vec().unwrap()
}

/// What a step says that fails after a good one, with the model as it was and the optimizer too; and that it then goes on.
fn failing(
    mut optimizer: Optimizer,
    model: One,
    spoil: impl FnOnce(&mut Optimizer, One) -> One,
    mend: impl FnOnce(&mut Optimizer, One) -> One,
) -> String {
    let gradients = model.loss().backward();
    let model = optimizer.step(model, gradients).unwrap();
    let model = spoil(&mut optimizer, model);
    let (weights, state) = (elements(&model), spell(&optimizer.state_dict(&model).unwrap(), true));
    let gradients = model.loss().backward();
    let (model, done) = optimizer.try_step(model, gradients);
    let error = done.unwrap_err().to_string();
    assert_eq!(elements(&model), weights, "{error}");
    assert_eq!(spell(&optimizer.state_dict(&model).unwrap(), true), state, "{error}");
    let model = mend(&mut optimizer, model);
    let gradients = model.loss().backward();
    let model = optimizer.step(model, gradients).unwrap();
    assert_ne!(elements(&model), weights, "{error}");
    error
}

#[test]
fn a_step_that_fails_gives_the_model_back_and_changes_nothing() {
    let model = || One { weight: matrix(3, 2, 1) };
    let set = |name: &'static str, value: rekindle_recorder::Value| {
        move |optimizer: &mut Optimizer, model: One| {
            optimizer.param_groups_mut()[0].set(name, value);
            model
        }
    };
    for kind in OptimizerKind::ALL.iter().copied().filter(|kind| *kind != OptimizerKind::Lbfgs) {
        let model = model();
        let optimizer = Optimizer::builder(Hyperparameters::of(kind)).build(&model).unwrap();
        let error = failing(optimizer, model, set("lr", "fast".into()), set("lr", 0.1.into()));
        assert_eq!(error, "param_groups[0].lr is a str, where a number is expected", "{kind}");
    }
    let adam = Optimizer::adam(&model(), AdamOptions::default()).map(drop);
    assert!(adam.is_ok());

    let one = model();
    let optimizer = Optimizer::adam(&one, AdamOptions::default()).unwrap();
    let error = failing(optimizer, one, set("amsgrad", true.into()), set("amsgrad", false.into()));
    assert!(error.contains("there is no 'state[..].max_exp_avg_sq'"), "{error}");

    let one = model();
    let optimizer = Optimizer::rmsprop(&one, RMSpropOptions::default()).unwrap();
    let error = failing(optimizer, one, set("centered", true.into()), set("centered", false.into()));
    assert!(error.contains("there is no 'state[..].grad_avg'"), "{error}");

    // Another shape and another type under the same id.
    let reshaped = |shape: [usize; 2]| {
        move |_: &mut Optimizer, model: One| One {
            weight: model.weight.map(|weight| Tensor::from_inner(weight.inner().reshape(shape)).require_grad()),
        }
    };
    let one = model();
    let optimizer = Optimizer::adam(&one, AdamOptions::default()).unwrap();
    let error = failing(optimizer, one, reshaped([2, 3]), reshaped([3, 2]));
    assert!(error.contains("'weight' was made for [3, 2]") && error.contains("[2, 3]"), "{error}");
    let cast = |dtype: DType| {
        move |_: &mut Optimizer, model: One| One {
            weight: model.weight.map(|weight| Tensor::from_inner(weight.inner().cast(dtype)).require_grad()),
        }
    };
    let one = model();
    let optimizer = Optimizer::adam(&one, AdamOptions::default()).unwrap();
    let error = failing(optimizer, one, cast(DType::F64), cast(DType::F32));
    assert!(error.contains("of float32, and the model has [3, 2] of F64"), "{error}");
}

#[test]
fn a_closure_s_loss_that_is_no_number_is_an_error() {
    let model = One { weight: matrix(3, 2, 1) };
    let mut optimizer = Optimizer::lbfgs(&model, LbfgsOptions::default()).unwrap();
    let closure = |model: &One| {
        let gradients = model.loss().backward();
        (Tensor::<1>::zeros([2], &device()), gradients)
    };
    assert!(optimizer.step_closure(model, closure).is_err());
}

#[test]
fn a_parameter_without_elements_is_no_trouble() {
    for kind in OptimizerKind::ALL.iter().copied() {
        for shape in [[4, 0], [0, 4], [0, 0]] {
            let model = One { weight: Param::from_tensor(Tensor::zeros(shape, &device())) };
            let mut optimizer = Optimizer::builder(Hyperparameters::of(kind)).build(&model).unwrap();
            let closure = |model: &One| {
                let loss = model.weight.val().sum() + 1.0;
                let gradients = loss.backward();
                (loss, gradients)
            };
            let (model, _) = optimizer.step_closure(model, closure).unwrap();
            assert_eq!(model.weight.shape().as_slice(), shape, "{kind}");
            let state_dict = optimizer.state_dict(&model).unwrap();
            optimizer.load_state_dict(&model, &state_dict).unwrap();
        }
    }
}
