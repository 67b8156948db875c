//! The runs of PyTorch that `tests/fixtures/sections/optim.py` recorded: their networks, how they are taken up after 5 steps and
//! go on, and how far they may end from where PyTorch's did.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, Relu};
use burn::tensor::{FloatDType, Int, Tensor};
use rekindle_burn::{ModuleStateDict as _, tensor_to_data};
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::{DType, Tensor as TorchTensor, Value};
use rekindle_testing::{fixtures, seeded};
use rekindle_train::loss::cross_entropy;
use rekindle_train::lr_scheduler::LRScheduler;
use rekindle_train::optim::{Hyperparameters, Optimizer, OptimizerKind};
use serde_json::Value as Json;

use super::optim::{at, burn, device, open, others, tensor};

// Networks -----------------------------------------------------------------------------------------------------------------

/// The networks of the runs.
#[derive(Module, Debug)]
pub(crate) enum Network {
    Mlp(Sequential),
    Bags(Bags),
}

/// `nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10))`.
#[derive(Module, Debug)]
pub(crate) struct Sequential {
    layers: Vec<Layer>,
}

#[derive(Module, Debug)]
pub(crate) enum Layer {
    Linear(Linear),
    Relu(Relu),
}

/// Two embeddings: the mean of the tokens' rows plus the tag's row.
#[derive(Module, Debug)]
pub(crate) struct Bags {
    embedding: Embedding,
    tag: Embedding,
}

/// Makes a model's parameters doubles.
struct Doubles;

impl ModuleMapper for Doubles {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let doubles = Tensor::from_inner(tensor.inner().cast(FloatDType::F64)).set_require_grad(true);
        Param::from_mapped_value(id, doubles, mapper)
    }
}

/// The rows that a loss is of.
#[derive(Clone, Copy)]
pub(crate) enum Rows {
    /// The batch that a step takes.
    Batch(usize),
    /// All batches.
    All,
}

impl Rows {
    fn of(self, batches: &Value, name: &str) -> TorchTensor {
        let stacked = tensor(batches, name);
        match self {
            Rows::Batch(step) => at(&stacked, step % stacked.shape()[0]),
            Rows::All => {
                let mut shape = stacked.shape()[1..].to_vec();
                shape[0] *= stacked.shape()[0];
                TorchTensor::from_le_bytes(stacked.dtype(), &shape, stacked.to_le_bytes().unwrap()).unwrap()
            }
        }
    }

    fn ints<const D: usize>(self, batches: &Value, name: &str) -> Tensor<D, Int> {
        Tensor::from_data(tensor_to_data(&self.of(batches, name)).unwrap(), &device())
    }
}

impl Network {
    pub(crate) fn new(name: &str, dtype: DType) -> Self {
        let network = match name {
            "mlp" => Network::Mlp(Sequential::mlp(true)),
            "mlp_without_biases" => Network::Mlp(Sequential::mlp(false)),
            "bags" => Network::Bags(Bags::new()),
            other => panic!("{other}"),
        };
        let network = seeded(network, 1);
        if dtype == DType::Float64 { network.map(&mut Doubles) } else { network }
    }

    pub(crate) fn loss(&self, batches: &Value, rows: Rows, dtype: DType) -> Tensor<1> {
        match self {
            Network::Mlp(mlp) => mlp.loss(batches, rows, dtype),
            Network::Bags(bags) => bags.loss(batches, rows),
        }
    }
}

impl Sequential {
    fn mlp(bias: bool) -> Self {
        let device = device();
        let linear = |from, to| Layer::Linear(LinearConfig::new(from, to).with_bias(bias).init(&device));
        let relu = || Layer::Relu(Relu::new());
        Sequential { layers: vec![linear(20, 32), relu(), linear(32, 16), relu(), linear(16, 10)] }
    }

    fn loss(&self, batches: &Value, rows: Rows, dtype: DType) -> Tensor<1> {
        let inputs = burn::<2>(&rows.of(batches, "inputs"), dtype);
        let logits = self.layers.iter().fold(inputs, |x, layer| match layer {
            Layer::Linear(linear) => linear.forward(x),
            Layer::Relu(relu) => relu.forward(x),
        });
        let targets = if matches!(rows, Rows::All) { "random_targets" } else { "targets" };
        cross_entropy(logits, rows.ints::<1>(batches, targets)).unwrap()
    }
}

impl Bags {
    fn new() -> Self {
        let device = device();
        Bags { embedding: EmbeddingConfig::new(40, 10).init(&device), tag: EmbeddingConfig::new(7, 10).init(&device) }
    }

    fn loss(&self, batches: &Value, rows: Rows) -> Tensor<1> {
        let tokens = rows.ints::<2>(batches, "tokens");
        let [count, _] = tokens.dims();
        let tags = rows.ints::<1>(batches, "tags").reshape([count, 1]);
        let logits = self.embedding.forward(tokens.clone()).mean_dim(1) + self.tag.forward(tags);
        let classes = tokens.slice([0..count, 0..1]).reshape([count]).remainder_scalar(10);
        cross_entropy(logits.reshape([count, 10]), classes).unwrap()
    }
}

/// How far a loss may be from PyTorch's, and a parameter in the 2-norm. But for LBFGS's, two runs of PyTorch itself from the same
/// checkpoint, one with the rows of each batch in reverse, differ by up to 3.1e-7 in a loss, 2.6e-7 in a parameter and 4.3e-7 in a
/// state tensor; Muon, which works in bfloat16, computed in doubles by 3.3e-6 in a parameter.
pub(crate) const LOSS: f64 = 1e-6;
pub(crate) const WEIGHTS: f64 = 1e-5;

// Runs ---------------------------------------------------------------------------------------------------------------------

/// A run of PyTorch: `runs.json` and the checkpoints after 5 and 55 steps.
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) json: Json,
    /// Beside `optim`, with a slash, where it is none of PyTorch's optimizers.
    folder: &'static str,
}

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) losses: Vec<f64>,
    /// The learning rates of all groups that each step was made with.
    pub(crate) lrs: Vec<Vec<f64>>,
    /// As PyTorch's section lays it out.
    pub(crate) checkpoint: Checkpoint,
}

impl Run {
    pub(crate) fn all() -> Vec<Self> {
        fixtures::named_cases("optim/runs.json")
            .into_iter()
            .map(|(name, json)| Run { name, json, folder: "" })
            .collect()
    }

    /// Those of other packages' optimizers.
    pub(crate) fn others() -> Vec<Self> {
        let cases = fixtures::named_cases("optim_others/runs.json");
        cases.into_iter().map(|(name, json)| Run { name, json, folder: "../optim_others/" }).collect()
    }

    /// The names of its optimizers.
    pub(crate) fn optimizers(&self) -> Vec<&str> {
        let optimizers = self.json["optimizers"].as_array().unwrap();
        optimizers.iter().map(|optimizer| optimizer["optimizer"].as_str().unwrap()).collect()
    }

    /// What is between `optimizer` and `_state_dict` in the checkpoint's keys.
    pub(crate) fn letters(&self) -> &'static [&'static str] {
        if self.optimizers().len() == 1 { &[""] } else { &["A", "B"] }
    }

    /// How far losses may be from PyTorch's. LBFGS, whose directions are made of differences of almost equal gradients, carries each rounding on:
    /// ten times as far as PyTorch is from itself.
    pub(crate) fn loss_limit(&self) -> f64 {
        self.limit("loss", LOSS)
    }

    /// How far the optimizers' state may be from PyTorch's; that of LBFGS as its losses.
    pub(crate) fn state_limit(&self) -> f64 {
        self.limit("state", 1e-5)
    }

    fn limit(&self, what: &str, of_others: f64) -> f64 {
        let noise = if self.optimizers()[0] == "LBFGS" { fixtures::ten_times_noise(&self.json, what) } else { 0.0 };
        noise.max(of_others)
    }

    /// As PyTorch's section left it at the end.
    pub(crate) fn end(&self) -> Checkpoint {
        open(&format!("{}runs/{}_end.pt", self.folder, self.name))
    }

    /// As PyTorch's section left it after 5 steps.
    pub(crate) fn start(&self) -> Checkpoint {
        open(&format!("{}runs/{}.pt", self.folder, self.name))
    }

    /// Goes on from PyTorch's checkpoint after 5 steps, for so many.
    pub(crate) fn go_on(&self, steps: usize) -> Outcome {
        let batches = open("batches.pt").root().clone();
        let checkpoint = self.start();
        let start: usize = checkpoint.get("step").unwrap();
        let dtype = self.json["dtype"].as_str().unwrap().parse().unwrap();
        let mut network = Network::new(self.json["network"].as_str().unwrap(), dtype);
        network.load_state_dict(&checkpoint.state_dict("model_state_dict").unwrap()).unwrap();
        let mut optimizers = self.resume(&checkpoint, &network);
        let evaluates = optimizers.iter().any(|(optimizer, _)| optimizer.is_evaluating());
        for (optimizer, _) in &mut optimizers {
            network = optimizer.train(network).unwrap();
        }

        let (mut losses, mut lrs) = (Vec::new(), Vec::new());
        for place in start..start + steps {
            lrs.push(optimizers.iter().flat_map(|(optimizer, _)| optimizer.lr().unwrap()).collect());
            let loss;
            let loss_of = |network: &Network, rows| network.loss(&batches, rows, dtype);
            (network, loss) = step(network, &mut optimizers, loss_of, place);
            losses.push(loss);
            for (optimizer, scheduler) in &mut optimizers {
                scheduler.step(optimizer).unwrap();
            }
        }

        if evaluates {
            network = optimizers[0].0.eval(network).unwrap();
        }
        let (step, batches_of_an_epoch) = (start + steps, 11);
        checkpoint.set("step", step as u64).unwrap();
        checkpoint.set("epoch", (step / batches_of_an_epoch) as u64).unwrap();
        checkpoint.set("loss", losses[losses.len() - 1]).unwrap();
        checkpoint.set("model_state_dict", network.state_dict().unwrap().to_value()).unwrap();
        for (letter, (optimizer, scheduler)) in self.letters().iter().zip(&optimizers) {
            checkpoint.set(&format!("optimizer{letter}_state_dict"), optimizer.state_dict(&network).unwrap()).unwrap();
            checkpoint.set(&format!("scheduler{letter}_state_dict"), scheduler.state_dict()).unwrap();
        }
        Outcome { losses, lrs, checkpoint }
    }

    fn resume(&self, checkpoint: &Checkpoint, network: &Network) -> Vec<(Optimizer, LRScheduler)> {
        let optimizers =
            self.letters().iter().zip(self.json["optimizers"].as_array().unwrap()).map(|(letter, json)| {
                let groups = json["groups"].as_array().unwrap();
                let members = groups.iter().flat_map(|group| group["params"].as_array().unwrap());
                let others = others(members.map(|name| name.as_str().unwrap().to_owned()).collect());
                // All else is in the file.
                let saved = checkpoint.value(&format!("optimizer{letter}_state_dict")).unwrap();
                let options = Hyperparameters::of(OptimizerKind::infer(&saved).unwrap());
                let mut optimizer = Optimizer::builder(options).exclude(others).build(network).unwrap();
                optimizer.load_state_dict(network, &saved).unwrap();
                let saved = checkpoint.value(&format!("scheduler{letter}_state_dict")).unwrap();
                let scheduler = LRScheduler::from_state_dict(&saved, &optimizer).unwrap();
                (optimizer, scheduler)
            });
        optimizers.collect()
    }
}

/// A step of all optimizers; gives the loss before it.
fn step(
    mut network: Network,
    optimizers: &mut [(Optimizer, LRScheduler)],
    loss_of: impl Fn(&Network, Rows) -> Tensor<1>,
    step: usize,
) -> (Network, f64) {
    if let [(optimizer, _)] = optimizers
        && optimizer.kind() == OptimizerKind::Lbfgs
    {
        let closure = |network: &Network| {
            let loss = loss_of(network, Rows::All);
            let grads = loss.backward();
            (loss, grads)
        };
        return optimizer.step_closure(network, closure).unwrap();
    }
    let loss = loss_of(&network, Rows::Batch(step));
    let before = loss.clone().into_scalar::<f64>();
    let mut gradients = loss.backward();
    for (optimizer, _) in optimizers {
        network = optimizer.step(network, &mut gradients).unwrap();
    }
    (network, before)
}
