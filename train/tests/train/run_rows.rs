//! A model with rows of its own in a `Run` (transposed, half-rotated, split): weights, moments and average are saved in
//! PyTorch's order, and read from it.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use rekindle_burn::{LayerRows, ModuleStateDict as _, Part, Row, Transform};
use rekindle_recorder::{Checkpoint, StateDict, Tensor as TorchTensor};
use rekindle_testing::filled;
use rekindle_train::Run;
use rekindle_train::ema::{AveragedModel, Averaging};
use rekindle_train::loss::mse;
use rekindle_train::optim::{AdamWOptions, Optimizer};
use rekindle_train::run::ResumeOptions;

const EMA: Averaging = Averaging::Ema { decay: 0.5 };

fn device() -> Device {
    Device::flex().autodiff()
}

/// A network that can be written in two ways.
trait Network: Module {
    fn forward(&self, x: Tensor<2>) -> Tensor<2>;
}

/// As burn-nn's layers have it.
#[derive(Module, Debug)]
struct Plain {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

/// The same, with tensors that lie otherwise: see [`rows`].
#[derive(Module, Debug)]
struct Own {
    query: Param<Tensor<2>>,
    key: Param<Tensor<2>>,
    left: Param<Tensor<2>>,
    right: Param<Tensor<2>>,
    out: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
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

fn gate(q: Tensor<2>, k: Tensor<2>) -> Tensor<2> {
    // The order of the outputs of q and k makes no difference, as in attention.
    (q * k).sum_dim(1).tanh() + 1.0
}

impl Network for Plain {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let gate = gate(self.q.forward(x.clone()), self.k.forward(x.clone()));
        self.out.forward(self.v.forward(x) * gate)
    }
}

impl Network for Own {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let times = |matrix: &Param<Tensor<2>>| x.clone().matmul(matrix.val());
        let gate = gate(times(&self.query), times(&self.key));
        let v = Tensor::cat(vec![times(&self.left), times(&self.right)], 1);
        (v * gate).matmul(self.out.val()) + self.bias.val().unsqueeze()
    }
}

fn plain() -> Plain {
    let linear = |outputs, bias| LinearConfig::new(4, outputs).with_bias(bias).init(&device());
    Plain {
        q: linear(8, false),
        k: linear(8, false),
        v: linear(6, false),
        out: LinearConfig::new(6, 3).init(&device()),
    }
}

fn own() -> Own {
    let zeros = |shape: [usize; 2]| Param::from_tensor(Tensor::zeros(shape, &device()));
    Own {
        query: zeros([4, 8]),
        key: zeros([4, 8]),
        left: zeros([4, 2]),
        right: zeros([4, 4]),
        out: zeros([6, 3]),
        bias: Param::from_tensor(Tensor::zeros([3], &device())),
    }
}

fn weights() -> StateDict {
    let shapes: [(&str, &[usize]); 5] = [
        ("q.weight", &[8, 4]),
        ("k.weight", &[8, 4]),
        ("v.weight", &[6, 4]),
        ("out.weight", &[3, 6]),
        ("out.bias", &[3]),
    ];
    let tensor = |(i, (name, shape)): (u32, (&'static str, &[usize]))| {
        (name, TorchTensor::from_vec(shape, filled(shape.iter().product(), i)).unwrap())
    };
    (0..).zip(shapes).map(tensor).collect()
}

fn step<N: Network>(run: &mut Run<N>, i: u32) {
    let tensor =
        |width: usize, seed| Tensor::<2>::from_data(TensorData::new(filled(5 * width, seed), [5, width]), &device());
    let loss = mse(run.model().forward(tensor(4, 10 + i)), tensor(3, 20 + i)).unwrap();
    run.step(loss).unwrap();
}

fn start<N: Network>(mut model: N, rows: &Arc<LayerRows>) -> Run<N> {
    let load = rekindle_recorder::LoadOptions::strict();
    model.load_state_dict_with_rows(&weights(), &load, rows).unwrap();
    let optimizer = Optimizer::builder(AdamWOptions::default()).rows(Arc::clone(rows)).build(&model).unwrap();
    let average = AveragedModel::new_with_rows(&model, EMA, Arc::clone(rows)).unwrap();
    Run::start(model, optimizer).with_rows(Arc::clone(rows)).with_average(average)
}

/// All tensors in their order, to a few units in the last place: sums are made in another order.
fn assert_same(found: &Checkpoint, expected: &Checkpoint) {
    let (found, expected) = (found.tensors().unwrap(), expected.tensors().unwrap());
    assert!(expected.len() > 20);
    assert_eq!(found.len(), expected.len());
    for ((name, found), (other, expected)) in found.iter().zip(&expected) {
        assert_eq!((name, found.shape()), (other, expected.shape()));
        for (a, b) in found.to_f64_vec().unwrap().iter().zip(expected.to_f64_vec().unwrap()) {
            assert!((a - b).abs() < 1e-5, "{name}: {a} and {b}");
        }
    }
}

#[test]
fn weights_moments_and_average_have_pytorch_s_order_and_go_on_from_it() {
    let (mut theirs, mut ours) = (start(plain(), &Arc::default()), start(own(), &rows()));
    for i in 0..3 {
        step(&mut theirs, i);
        step(&mut ours, i);
    }
    assert_same(&ours.checkpoint().unwrap(), &theirs.checkpoint().unwrap());

    let options = ResumeOptions::default().rows(rows()).average(EMA);
    let mut resumed = Run::resume_with(theirs.checkpoint().unwrap(), own(), options).unwrap();
    for i in 3..5 {
        step(&mut theirs, i);
        step(&mut resumed, i);
    }
    assert_same(&resumed.checkpoint().unwrap(), &theirs.checkpoint().unwrap());
}

#[test]
fn an_average_is_put_into_a_model_with_rows_of_its_own() {
    let mut run = start(own(), &rows());
    step(&mut run, 0);
    let average = run.average().unwrap();
    let mut averaged = run.model().clone();
    average.load_into(&mut averaged).unwrap();
    let found = averaged.state_dict_with(&rows()).unwrap();
    for (name, tensor) in average.module().iter() {
        assert_eq!(found.get(name).unwrap().to_f64_vec().unwrap(), tensor.to_f64_vec().unwrap(), "{name}");
    }
}
