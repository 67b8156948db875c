//! `Rule`: what sets one optimizer of `torch.optim` apart, and the table of all that are here. The rest (groups, state dicts,
//! the walk over a model) is the same for all.

use rekindle_burn::NamedParameter;
use rekindle_recorder::{DType, Dict, Error, Result, Value};

use super::adadelta::Adadelta;
use super::adafactor::Adafactor;
use super::adagrad::Adagrad;
use super::adam::Adam;
use super::adamax::Adamax;
use super::adamw::AdamW;
use super::asgd::Asgd;
use super::elementwise::Update;
use super::group::ParamGroup;
use super::lbfgs::Lbfgs;
use super::muon::Muon;
use super::nadam::NAdam;
use super::radam::RAdam;
use super::rmsprop::RMSprop;
use super::rprop::Rprop;
use super::sgd::Sgd;
use super::sparse_adam::SparseAdam;
use super::state::ParamState;
use crate::attributes::{Attributes, invalid};

/// One optimizer of `torch.optim`. It keeps nothing itself: its numbers are in the group, its state is the parameter's.
pub(crate) trait Rule: Send + Sync + std::fmt::Debug {
    /// Which one it is.
    fn kind(&self) -> OptimizerKind;

    /// Adds what a group written by an older release lacks, in the order of PyTorch's `__setstate__`.
    fn complete(&self, group: &mut Attributes) {
        complete(group);
    }

    /// Refuses the numbers that PyTorch's constructor refuses.
    fn check(&self, group: &Attributes) -> Result<()>;

    /// The names of state tensors of no dimensions.
    fn scalars(&self) -> &'static [&'static str] {
        &["step"]
    }

    /// The names of state tensors of the parameter's shape.
    fn moments(&self) -> &'static [&'static str];

    /// The entries that the state of a parameter that was stepped must have: all, unless the group's options leave some out.
    fn needs(&self, _: &Attributes) -> Result<Vec<&'static str>> {
        Ok([self.scalars(), self.moments()].concat())
    }

    /// Makes what a parameter's state holds before the first step, by the optimizer's defaults: nothing, but for Adagrad.
    fn begin(&self, _defaults: &Attributes, _state: &mut ParamState) -> Result<()> {
        Ok(())
    }

    /// Brings a parameter's state to where one step needs it (makes it, counts the step), and gives the update to run.
    fn prepare(&self, group: &ParamGroup, state: &mut ParamState) -> Result<Box<dyn Update>>;

    /// What its update sees of a parameter.
    fn view(&self) -> View {
        View::Elements
    }

    /// Refuses a parameter that it cannot train.
    fn admit(&self, _: &NamedParameter) -> Result<()> {
        Ok(())
    }

    /// The names of numbers in the state that are no tensors.
    fn counters(&self) -> &'static [&'static str] {
        &[]
    }

    /// The shape of one of its [`moments`](Rule::moments) for a parameter of this shape; `None` if such a parameter has none.
    fn state_shape(&self, _name: &str, shape: &[usize]) -> Option<Vec<usize>> {
        Some(shape.to_vec())
    }

    /// The shape of the parameter that this is the state of, where that can be told.
    fn parameter_shape(&self, state: &Dict) -> Option<Vec<usize>> {
        let mut moments = self.moments().iter().filter_map(|name| state.get(name));
        moments.find_map(|value| Some(value.as_tensor()?.shape().to_vec()))
    }
}

/// Adds the keys that the groups of most optimizers gained over the releases.
pub(super) fn complete(group: &mut Attributes) {
    group.set_default("foreach", Value::None);
    for name in ["maximize", "differentiable", "capturable"] {
        group.set_default(name, false);
    }
}

/// What an update sees of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Each of its elements by itself: Burn's pieces can be updated where they lie.
    Elements,
    /// All of it, its elements in PyTorch's order, and its state too.
    Whole,
    /// All parameters together, and what the model makes of them: a closure evaluates it.
    Closure,
}

/// An optimizer of `torch.optim`. `Display` gives its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OptimizerKind {
    /// `torch.optim.SGD`.
    Sgd,
    /// `torch.optim.Adam`.
    Adam,
    /// `torch.optim.AdamW`.
    AdamW,
    /// `torch.optim.RMSprop`.
    RMSprop,
    /// `torch.optim.Adagrad`.
    Adagrad,
    /// `torch.optim.Adadelta`.
    Adadelta,
    /// `torch.optim.Adamax`.
    Adamax,
    /// `torch.optim.NAdam`.
    NAdam,
    /// `torch.optim.RAdam`.
    RAdam,
    /// `torch.optim.Rprop`.
    Rprop,
    /// `torch.optim.ASGD`.
    Asgd,
    /// `torch.optim.LBFGS`.
    Lbfgs,
    /// `torch.optim.Adafactor`.
    Adafactor,
    /// `torch.optim.Muon`.
    Muon,
    /// `torch.optim.SparseAdam`.
    SparseAdam,
}

impl OptimizerKind {
    /// All there are.
    pub const ALL: &'static [OptimizerKind] = &[
        OptimizerKind::Sgd,
        OptimizerKind::Adam,
        OptimizerKind::AdamW,
        OptimizerKind::RMSprop,
        OptimizerKind::Adagrad,
        OptimizerKind::Adadelta,
        OptimizerKind::Adamax,
        OptimizerKind::NAdam,
        OptimizerKind::RAdam,
        OptimizerKind::Rprop,
        OptimizerKind::Asgd,
        OptimizerKind::Lbfgs,
        OptimizerKind::Adafactor,
        OptimizerKind::Muon,
        OptimizerKind::SparseAdam,
    ];

    pub(crate) fn rule(self) -> &'static dyn Rule {
        match self {
            OptimizerKind::Sgd => &Sgd,
            OptimizerKind::Adam => &Adam,
            OptimizerKind::AdamW => &AdamW,
            OptimizerKind::RMSprop => &RMSprop,
            OptimizerKind::Adagrad => &Adagrad,
            OptimizerKind::Adadelta => &Adadelta,
            OptimizerKind::Adamax => &Adamax,
            OptimizerKind::NAdam => &NAdam,
            OptimizerKind::RAdam => &RAdam,
            OptimizerKind::Rprop => &Rprop,
            OptimizerKind::Asgd => &Asgd,
            OptimizerKind::Lbfgs => &Lbfgs,
            OptimizerKind::Adafactor => &Adafactor,
            OptimizerKind::Muon => &Muon,
            OptimizerKind::SparseAdam => &SparseAdam,
        }
    }

    /// The name in `torch.optim`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OptimizerKind::Sgd => "SGD",
            OptimizerKind::Adam => "Adam",
            OptimizerKind::AdamW => "AdamW",
            OptimizerKind::RMSprop => "RMSprop",
            OptimizerKind::Adagrad => "Adagrad",
            OptimizerKind::Adadelta => "Adadelta",
            OptimizerKind::Adamax => "Adamax",
            OptimizerKind::NAdam => "NAdam",
            OptimizerKind::RAdam => "RAdam",
            OptimizerKind::Rprop => "Rprop",
            OptimizerKind::Asgd => "ASGD",
            OptimizerKind::Lbfgs => "LBFGS",
            OptimizerKind::Adafactor => "Adafactor",
            OptimizerKind::Muon => "Muon",
            OptimizerKind::SparseAdam => "SparseAdam",
        }
    }

    /// Which optimizer wrote this state dict, told by the keys of its groups and, where these leave it open, of its state.
    ///
    /// # Errors
    /// When the keys are those of an optimizer that is not here, of none, or of several: up to PyTorch 2.6 Adam and AdamW
    /// wrote the same.
    pub fn infer(state_dict: &Value) -> Result<Self> {
        let (names, group) = signature(state_dict)?;
        if names == ADAMS && group.contains("decoupled_weight_decay") {
            return Ok(if group.flag("decoupled_weight_decay")? { OptimizerKind::AdamW } else { OptimizerKind::Adam });
        }
        match &names[..] {
            [name] => name.parse(),
            _ => Err(invalid(format!(
                "the optimizer's state is {}'s, which wrote the same keys in older releases of PyTorch; say which it is with \
                 --optimizer {}",
                names.join("'s or "),
                names.join(" or --optimizer ")
            ))),
        }
    }
}

/// The names of the optimizers that may have written this state dict, and its first group.
pub(crate) fn signature(state_dict: &Value) -> Result<(Vec<&'static str>, Attributes)> {
    let dict = state_dict.as_dict().ok_or_else(|| not_an_optimizer("it is no dict"))?;
    let groups = dict.get("param_groups").and_then(|groups| groups.items());
    let groups = groups.ok_or_else(|| not_an_optimizer("it has no list 'param_groups'"))?;
    let first = groups.first().ok_or_else(|| not_an_optimizer("'param_groups' is empty"))?;
    let group = Attributes::from_value("param_groups[0].", first)?;
    let fits = |(_, has, lacks): &&Signature| {
        has.iter().all(|name| group.contains(name)) && !lacks.iter().any(|name| group.contains(name))
    };
    let Some((names, ..)) = SIGNATURES.iter().find(fits) else {
        let keys = group.names().collect::<Vec<_>>().join(", ");
        return Err(not_an_optimizer(&format!("no optimizer of torch.optim has groups of {keys}")));
    };
    let mut names = names.to_vec();
    if names.len() > 1 {
        // Adamax keeps a norm where the others keep an average of squares.
        let states = dict.get("state").and_then(|state| Some(state.as_dict()?.entries())).unwrap_or_default();
        let has = |key| states.iter().any(|(_, state)| state.as_dict().is_some_and(|state| state.get(key).is_some()));
        let (norm, squares) = (has("exp_inf"), has("exp_avg_sq"));
        names.retain(|name| if *name == "Adamax" { !squares } else { !norm });
    }
    Ok((names, group))
}

impl std::fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for OptimizerKind {
    type Err = Error;

    /// Takes the name in `torch.optim`, in any case.
    fn from_str(name: &str) -> Result<Self> {
        OptimizerKind::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let names = OptimizerKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
            let advice = format!("there are {names}");
            Error::unsupported(format!("the optimizer {name}")).advise(advice)
        })
    }
}

fn not_an_optimizer(reason: &str) -> Error {
    invalid(format!("this is not the state dict of an optimizer: {reason}"))
}

/// Adam's keys are AdamW's too.
const ADAMS: [&str; 2] = ["Adam", "AdamW"];

/// The names of optimizers, keys that their groups always have, and keys that they never have.
type Signature = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);

/// In this order: the first that fits is it.
const SIGNATURES: &[Signature] = &[
    (&["SGD"], &["lr", "momentum", "dampening"], &[]),
    (&["NAdam"], &["lr", "betas", "eps", "momentum_decay"], &[]),
    (&ADAMS, &["lr", "betas", "eps", "weight_decay", "amsgrad"], &[]),
    (&["RMSprop"], &["lr", "alpha", "eps", "weight_decay"], &["lambd"]),
    (&["Adagrad"], &["lr", "lr_decay"], &[]),
    (&["Adadelta"], &["lr", "rho", "eps"], &[]),
    (&["Rprop"], &["lr", "etas", "step_sizes"], &[]),
    (&["ASGD"], &["lr", "lambd", "alpha", "t0"], &[]),
    (&["LBFGS"], &["lr", "max_iter", "history_size"], &[]),
    (&["Adafactor"], &["lr", "beta2_decay", "d"], &[]),
    (&["Muon"], &["lr", "momentum", "ns_steps"], &[]),
    (&["SparseAdam"], &["lr", "betas", "eps"], &["weight_decay"]),
    // RAdam says so since 2.1, before it had `maximize`. Adam has `amsgrad` since 0.4.
    (&["RAdam"], &["lr", "betas", "eps", "weight_decay", "decoupled_weight_decay"], &[]),
    (&["Adamax"], &["lr", "betas", "eps", "weight_decay", "maximize"], &[]),
    (&["Adamax", "RAdam", "Adam"], &["lr", "betas", "eps", "weight_decay"], &[]),
];

/// The type of `step`: `torch.get_default_dtype()`, which is `float32` unless a program changes it.
pub(crate) const STEP_DTYPE: DType = DType::Float32;
