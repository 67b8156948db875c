//! `SchedulerKind`: the table of all schedulers, by which a state dict is recognised.

use rekindle_recorder::{Error, ErrorKind, Result, Value};

use super::chained_scheduler::Chained;
use super::constant_lr::Constant;
use super::cosine_annealing_lr::CosineAnnealing;
use super::cosine_annealing_warm_restarts::WarmRestarts;
use super::cyclic_lr::Cyclic;
use super::exponential_lr::Exponential;
use super::lambda_lr::{Lambda, Multiplicative};
use super::linear_lr::Linear;
use super::multi_step_lr::MultiStep;
use super::one_cycle_lr::OneCycle;
use super::polynomial_lr::Polynomial;
use super::reduce_lr_on_plateau::Plateau;
use super::rule::{Base, Rule};
use super::sequential_lr::Sequential;
use super::step_lr::Step;
use super::swa_lr::Swa;
use crate::attributes::{Attributes, invalid};

macro_rules! kinds {
    ($($kind:ident $rule:expr, $keys:expr, $tail:expr;)*) => {
        /// A scheduler of `torch.optim.lr_scheduler` or `torch.optim.swa_utils`. `Display` gives its name there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum SchedulerKind {
            $(
                #[doc = concat!("`", stringify!($kind), "`.")]
                $kind,
            )*
        }

        impl SchedulerKind {
            /// All there are.
            pub const ALL: &'static [SchedulerKind] = &[$(SchedulerKind::$kind),*];

            /// The name in PyTorch.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(SchedulerKind::$kind => stringify!($kind),)* }
            }

            /// What it does.
            pub(super) fn rule(self) -> &'static dyn Rule {
                match self { $(SchedulerKind::$kind => &$rule,)* }
            }

            /// Keys that tell its state dict from those of the kinds after it.
            fn keys(self) -> &'static [&'static str] {
                match self { $(SchedulerKind::$kind => &$keys,)* }
            }

            /// The key that PyTorch's `state_dict()` puts last, for what it takes out of the attributes first.
            pub(super) fn tail(self) -> Option<Tail> {
                match self { $(SchedulerKind::$kind => $tail,)* }
            }
        }
    };
}

/// What a state dict holds last, and under which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// The states of a function for each group: `None`, or the attributes of a callable object.
    Functions(&'static str),
    /// That of one function.
    Function(&'static str),
    /// The state dicts of the schedulers it is made of.
    Schedulers(&'static str),
}

impl Tail {
    pub(super) fn key(self) -> &'static str {
        match self {
            Tail::Functions(key) | Tail::Function(key) | Tail::Schedulers(key) => key,
        }
    }
}

const LAMBDAS: Option<Tail> = Some(Tail::Functions("lr_lambdas"));
const SCALE: Option<Tail> = Some(Tail::Function("_scale_fn_custom"));
const SCHEDULERS: Option<Tail> = Some(Tail::Schedulers("_schedulers"));

// In this order: the first that fits is it, and those with the same keys.
kinds! {
    LambdaLR Base(Lambda), ["lr_lambdas"], LAMBDAS;
    MultiplicativeLR Base(Multiplicative), ["lr_lambdas"], LAMBDAS;
    StepLR Base(Step), ["step_size", "gamma"], None;
    MultiStepLR Base(MultiStep), ["milestones", "gamma"], None;
    ConstantLR Base(Constant), ["factor", "total_iters"], None;
    LinearLR Base(Linear), ["start_factor", "end_factor"], None;
    PolynomialLR Base(Polynomial), ["power", "total_iters"], None;
    CosineAnnealingLR Base(CosineAnnealing), ["T_max", "eta_min"], None;
    CosineAnnealingWarmRestarts WarmRestarts, ["T_0", "T_mult"], None;
    CyclicLR Base(Cyclic), ["max_lrs", "step_ratio"], SCALE;
    OneCycleLR Base(OneCycle), ["total_steps", "cycle_momentum"], None;
    ReduceLROnPlateau Plateau, ["patience", "cooldown"], None;
    SequentialLR Sequential, ["_milestones", "_schedulers"], SCHEDULERS;
    ChainedScheduler Chained, ["_schedulers"], SCHEDULERS;
    SWALR Base(Swa), ["anneal_epochs"], None;
    ExponentialLR Base(Exponential), ["gamma"], None;
}

impl SchedulerKind {
    /// Which scheduler wrote this state dict, told by its keys.
    ///
    /// # Errors
    /// When the keys are those of no scheduler, or of `LambdaLR` and `MultiplicativeLR`, whose keys are the same.
    pub fn infer(state_dict: &Value) -> Result<Self> {
        match *candidates(&Attributes::from_value("scheduler.", state_dict)?)? {
            [kind] => Ok(kind),
            ref several => Err(invalid(format!(
                "the state dict is that of a {}, whose functions no file holds; go on with the schedule that it was made with \
                 (`LRScheduler::resume`, or `schedule` of the resume options)",
                names(several, " or ")
            ))),
        }
    }
}

/// The schedulers whose state has these keys: one, or several that have the same.
pub(super) fn candidates(attributes: &Attributes) -> Result<Vec<SchedulerKind>> {
    let fits = |kind: &&SchedulerKind| kind.keys().iter().all(|key| attributes.contains(key));
    match SchedulerKind::ALL.iter().find(fits) {
        Some(first) => Ok(SchedulerKind::ALL.iter().copied().filter(|kind| kind.keys() == first.keys()).collect()),
        None => {
            let keys = attributes.names().collect::<Vec<_>>().join(", ");
            Err(invalid(format!("no scheduler of torch.optim.lr_scheduler has a state of {keys}")))
        }
    }
}

/// Their names in a row.
pub(super) fn names(kinds: &[SchedulerKind], between: &str) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(between)
}

impl std::fmt::Display for SchedulerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for SchedulerKind {
    type Err = Error;

    /// Takes the name in PyTorch, in any case.
    fn from_str(name: &str) -> Result<Self> {
        SchedulerKind::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let advice = format!("; there are {}", names(SchedulerKind::ALL, ", "));
            ErrorKind::Unsupported { what: format!("the scheduler {name}"), advice }.into()
        })
    }
}
