//! A step over parameters of many elements, which all cores share, and of fields that hold one parameter.

use std::collections::VecDeque;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rekindle_burn::ModuleStateDict as _;
use rekindle_random::{Generator, uniform_};
use rekindle_recorder::{Checkpoint, Value};
use rekindle_train::optim::{Hyperparameters, Optimizer, OptimizerKind, SgdOptions};

#[derive(Module, Debug)]
struct Tied {
    wide: Param<Tensor<2>>,
    first: Param<Tensor<1>>,
    again: Param<Tensor<1>>,
    frozen: Param<Tensor<1>>,
    unused: Param<Tensor<1>>,
}

impl Tied {
    /// With so many rows.
    fn new(rows: usize) -> Self {
        let device = Device::flex().autodiff();
        let mut generator = Generator::new(1);
        let mut draw = |count| {
            let mut values = vec![0.0_f32; count];
            uniform_(&mut generator, &mut values, -1.0, 1.0).unwrap();
            Tensor::<1>::from_data(TensorData::new(values, [count]), &device)
        };
        let first = Param::from_tensor(draw(500));
        Tied {
            wide: Param::from_tensor(draw(rows * 500).reshape([rows, 500])),
            again: first.clone(),
            first,
            frozen: Param::from_tensor(draw(500)).no_grad(),
            unused: Param::from_tensor(draw(500)),
        }
    }

    /// Half the sum of squares of all but what is not used; what is tied counts twice.
    fn loss(&self) -> Tensor<1> {
        let half = |tensor: Tensor<1>| tensor.powi_scalar(2).sum() * 0.5;
        let wide = self.wide.val();
        let len = wide.shape().num_elements();
        half(wide.reshape([len])) + half(self.first.val()) + half(self.again.val()) + half(self.frozen.val())
    }

    fn values(&self) -> [Vec<f32>; 5] {
        let values = |tensor: Tensor<1>| tensor.inner().into_data().try_into_vec::<f32>().unwrap();
        let len = self.wide.shape().num_elements();
        let wide = values(self.wide.val().reshape([len]));
        [wide, values(self.first.val()), values(self.again.val()), values(self.frozen.val()), values(self.unused.val())]
    }
}

#[test]
fn many_elements_are_updated_as_few_are_and_what_is_tied_stays_tied() {
    // 2 rows are updated on this thread, 400 by all cores.
    for rows in [2, 400] {
        let mut model = Tied::new(rows);
        let mut optimizer = Optimizer::sgd(&model, SgdOptions::default().lr(0.25)).unwrap();
        for _ in 0..2 {
            let [wide, first, _, frozen, unused] = model.values();
            let gradients = model.loss().backward();
            model = optimizer.step(model, gradients).unwrap();
            // Powers of two: nothing is rounded but by the update itself.
            let scaled = |values: Vec<f32>, by: f32| values.into_iter().map(|x| x * by).collect::<Vec<_>>();
            let tied = scaled(first, 0.5);
            assert_eq!(model.values(), [scaled(wide, 0.75), tied.clone(), tied, frozen, unused]);
        }
        assert_eq!(model.wide.shape().as_slice(), [rows, 500]);
        assert!(model.first.val().is_require_grad() && !model.frozen.val().is_require_grad());
    }
}

#[test]
fn what_is_held_of_a_model_and_its_optimizer_stays_as_it_was_and_changes_no_step() {
    let kinds = ["SGD", "AdamW", "Adafactor", "RAdam"].map(|name| name.parse::<OptimizerKind>().unwrap());
    for (kind, rows) in kinds.into_iter().flat_map(|kind| [3, 401].map(|rows| (kind, rows))) {
        // How many of the newest are held, as long as they are written, and whether room is kept for what they are in.
        let stepped = |most: usize, keeps_room: bool| {
            let mut model = Tied::new(rows);
            let mut hyperparameters = Hyperparameters::of(kind).with("lr", 0.01).unwrap();
            if kind == OptimizerKind::Sgd {
                hyperparameters = hyperparameters.with("momentum", 0.9).unwrap();
            }
            let mut optimizer = Optimizer::builder(hyperparameters).build(&model).unwrap();
            optimizer.keep_room(keeps_room);
            let is_as_before = |(saved, before): ([Value; 2], [Vec<u8>; 2])| {
                let after = saved.map(|value| Checkpoint::from(value).to_bytes().unwrap());
                assert!(after == before, "{kind}, {rows} rows: what was held has changed");
            };
            let mut held = VecDeque::new();
            for _ in 0..6 {
                if most > 0 {
                    let saved = [model.state_dict().unwrap().to_value(), optimizer.state_dict(&model).unwrap()];
                    let before = saved.each_ref().map(|value| Checkpoint::from(value.clone()).to_bytes().unwrap());
                    held.push_back((saved, before));
                }
                let gradients = model.loss().backward();
                model = optimizer.step(model, gradients).unwrap();
                if held.len() == most {
                    held.pop_front().map(is_as_before);
                }
            }
            held.into_iter().for_each(is_as_before);
            let state = Checkpoint::from(optimizer.state_dict(&model).unwrap()).to_bytes().unwrap();
            (model.values(), state)
        };
        let plain = stepped(0, false);
        for (most, keeps_room) in [(6, false), (6, true), (1, true), (2, true), (0, true)] {
            assert!(stepped(most, keeps_room) == plain, "{kind}, {rows} rows, {most} held, {keeps_room}: another step");
        }
    }
}
