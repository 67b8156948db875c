//! A step of each optimizer of `torch.optim` over 50 million parameters in 160 tensors on the CPU, beside PyTorch's fused step, or the
//! `foreach` one where there is none. A step uses the gradients up; PyTorch's `zero_grad()` is counted with its step.

use std::cell::Cell;
use std::time::Instant;

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Gradients, Tensor};
use rekindle::train::optim::{Hyperparameters, Optimizer, OptimizerKind};

use super::{Line, Result, Row, Turn, nothing};
use crate::setting::Setting;

/// PyTorch's fastest path of each.
const TABLE: [[&str; 2]; 15] = [
    ["SGD", "fused"],
    ["Adam", "fused"],
    ["AdamW", "fused"],
    ["Adagrad", "fused"],
    ["RMSprop", "foreach"],
    ["Adadelta", "foreach"],
    ["Adamax", "foreach"],
    ["NAdam", "foreach"],
    ["RAdam", "foreach"],
    ["Rprop", "foreach"],
    ["ASGD", "foreach"],
    ["Adafactor", "foreach"],
    ["Muon", "single"],
    ["LBFGS", "single"],
    ["SparseAdam", "single"],
];
/// Options that differ from the defaults; `benches/torch/optimizer.py` has them, too.
const OPTIONS: [(&str, &str, f64); 2] = [("SGD", "momentum", 0.9), ("LBFGS", "max_iter", 4.0)];
/// A table of embeddings, of which a step touches some rows.
const COLUMNS: usize = 64;
const TOUCHED: usize = 4096;

/// Square matrices and vectors in turn, as a transformer has them.
#[derive(Module, Debug)]
struct Parameters {
    matrices: Vec<Param<Tensor<2>>>,
    vectors: Vec<Param<Tensor<1>>>,
}

/// What the loss multiplies the parameters with.
struct Slopes {
    matrix: Tensor<2>,
    vector: Tensor<1>,
    /// Whether it is a square of them: gradients change with the parameters.
    square: bool,
}

impl Parameters {
    /// A loss that gives every parameter a gradient with elements of its own, as a layer does.
    fn loss(&self, slopes: &Slopes) -> Tensor<1> {
        let matrices = self.matrices.iter().map(|matrix| {
            let product = matrix.val() * slopes.matrix.clone();
            if slopes.square { (product * matrix.val()).sum() } else { product.sum() }
        });
        let vectors = self.vectors.iter().map(|vector| {
            let product = vector.val() * slopes.vector.clone();
            if slopes.square { (product * vector.val()).sum() } else { product.sum() }
        });
        matrices.chain(vectors).reduce(|a, b| a + b).unwrap_or_else(|| Tensor::zeros([1], &Device::flex()))
    }
}

pub(super) const OPTIMIZER: Row = Row {
    name: "optimizer",
    what: "a step of each of the fifteen optimizers, 50 million parameters",
    prepare: nothing,
    lines: |_| {
        let line = |[name, path]: [&str; 2]| {
            Line::new(format!("optimizer step, 50 M: {name}"), name)
                .torch(&format!("PyTorch, {path}"), format!("{name} {path}"), 1.0)
                .rounds(match name {
                    "Muon" => 3,
                    "LBFGS" => 5,
                    _ => 12,
                })
        };
        TABLE.map(line).into()
    },
    turns,
};

fn turns(variant: &str, setting: &Setting) -> Result<Turn> {
    let kind: OptimizerKind = variant.parse()?;
    let (pairs, size) = setting.sized((80, 790), (4, 64));
    let device = Device::flex().autodiff();
    let spread = Distribution::Uniform(-0.5, 0.5);
    let sparse = kind == OptimizerKind::SparseAdam;
    let shape = if sparse { [pairs * size * size / COLUMNS, COLUMNS] } else { [size, size] };
    let (matrices, vectors) = match kind {
        OptimizerKind::SparseAdam => (1, 0),
        // It takes matrices only.
        OptimizerKind::Muon => (pairs, 0),
        _ => (pairs, pairs),
    };
    let mut model = Some(Parameters {
        matrices: (0..matrices).map(|_| Param::from_tensor(Tensor::random(shape, spread, &device))).collect(),
        vectors: (0..vectors).map(|_| Param::from_tensor(Tensor::random([size], spread, &device))).collect(),
    });
    let slopes = Slopes {
        matrix: Tensor::random(shape, spread, &device),
        vector: Tensor::random([size], spread, &device),
        square: kind == OptimizerKind::Lbfgs,
    };
    let options = OPTIONS.iter().filter(|(name, ..)| *name == variant);
    let hyperparameters = options.into_iter().try_fold(Hyperparameters::of(kind), |options, (_, name, value)| {
        #[allow(clippy::cast_possible_truncation)] // a small whole number
        if *name == "max_iter" { options.with(name, *value as i64) } else { options.with(name, *value) }
    })?;
    let mut optimizer = Optimizer::builder(hyperparameters).build(model.as_ref().ok_or("no model")?)?;
    let mut step = move || -> Result<f64> {
        let now = model.take().ok_or("a step failed before")?;
        if kind == OptimizerKind::Lbfgs {
            // The closure is the user's, and not counted.
            let outside = Cell::new(0.0);
            let begin = Instant::now();
            let (stepped, _) = optimizer.step_closure(now, |model| {
                let begin = Instant::now();
                let loss = model.loss(&slopes);
                let gradients: Gradients = loss.backward();
                outside.set(outside.get() + begin.elapsed().as_secs_f64());
                (loss, gradients)
            })?;
            model = Some(stepped);
            return Ok(begin.elapsed().as_secs_f64() - outside.get());
        }
        let gradients = now.loss(&slopes).backward();
        let begin = Instant::now();
        if sparse {
            optimizer.touch("matrices.0", (0..TOUCHED).map(|row| row * (shape[0] / TOUCHED).max(1) % shape[0]))?;
        }
        model = Some(optimizer.step(now, gradients)?);
        Ok(begin.elapsed().as_secs_f64())
    };
    // The first step makes the state.
    step()?;
    Ok(Box::new(step))
}
