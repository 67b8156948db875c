//! `SchedulerKind`: the table of all schedulers, by which a state dict is recognised.

use std::sync::Arc;

use rekindle_recorder::{Error, Result, Value};

use super::base::base;
use super::chained_scheduler::{Chained, ChainedScheduler};
use super::constant_lr::ConstantLR;
use super::cosine_annealing_lr::{CosineAnnealing, CosineAnnealingLR};
use super::cosine_annealing_warm_restarts::{CosineAnnealingWarmRestarts, WarmRestarts};
use super::cyclic_lr::{Cyclic, CyclicLR};
use super::exponential_lr::ExponentialLR;
use super::lambda_lr::{Lambda, LambdaLR, MultiplicativeLR};
use super::linear_lr::LinearLR;
use super::multi_step_lr::{MultiStep, MultiStepLR};
use super::one_cycle_lr::{OneCycle, OneCycleLR};
use super::options::PLACE;
use super::polynomial_lr::PolynomialLR;
use super::reduce_lr_on_plateau::{Plateau, ReduceLROnPlateau};
use super::schedule::Schedule;
use super::scheduler::{Class, LRScheduler, Tail};
use super::sequential_lr::{Sequential, SequentialLR};
use super::step_lr::StepLR;
use super::swa_lr::{SWALR, Swa};
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
        }

        static CLASSES: &[Class] = &[$(Class {
            row: SchedulerKind::$kind as usize,
            name: stringify!($kind),
            rule: $rule,
            keys: &$keys,
            tail: $tail,
        }),*];

        $(
            impl From<$kind> for Schedule {
                fn from(options: $kind) -> Self {
                    Schedule { class: SchedulerKind::$kind.class(), options: Arc::new(options) }
                }
            }
        )*
    };
}

const LAMBDAS: Option<Tail> = Some(Tail::Functions("lr_lambdas"));
const SCALE: Option<Tail> = Some(Tail::Function("_scale_fn_custom"));
const SCHEDULERS: Option<Tail> = Some(Tail::Schedulers("_schedulers"));

// In this order: the first that fits is it, and those with the same keys.
kinds! {
    LambdaLR base::<Lambda<false>>(), ["lr_lambdas"], LAMBDAS;
    MultiplicativeLR base::<Lambda<true>>(), ["lr_lambdas"], LAMBDAS;
    StepLR base::<StepLR>(), ["step_size", "gamma"], None;
    MultiStepLR base::<MultiStep>(), ["milestones", "gamma"], None;
    ConstantLR base::<ConstantLR>(), ["factor", "total_iters"], None;
    LinearLR base::<LinearLR>(), ["start_factor", "end_factor"], None;
    PolynomialLR base::<PolynomialLR>(), ["power", "total_iters"], None;
    CosineAnnealingLR base::<CosineAnnealing>(), ["T_max", "eta_min"], None;
    CosineAnnealingWarmRestarts base::<WarmRestarts>(), ["T_0", "T_mult"], None;
    CyclicLR base::<Cyclic>(), ["max_lrs", "step_ratio"], SCALE;
    OneCycleLR base::<OneCycle>(), ["total_steps", "cycle_momentum"], None;
    ReduceLROnPlateau &Plateau, ["patience", "cooldown"], None;
    SequentialLR &Sequential, ["_milestones", "_schedulers"], SCHEDULERS;
    ChainedScheduler &Chained, ["_schedulers"], SCHEDULERS;
    SWALR base::<Swa>(), ["anneal_epochs"], None;
    ExponentialLR base::<ExponentialLR>(), ["gamma"], None;
}

impl SchedulerKind {
    /// The name in PyTorch.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.class().name
    }

    pub(super) fn class(self) -> &'static Class {
        &CLASSES[self as usize]
    }

    /// Which scheduler wrote this state dict, told by its keys.
    ///
    /// # Errors
    /// When the keys are those of no scheduler, or of `LambdaLR` and `MultiplicativeLR`, whose keys are the same.
    pub fn infer(state_dict: &Value) -> Result<Self> {
        match *candidates(&Attributes::from_value(PLACE, state_dict)?)? {
            [kind] => Ok(kind),
            ref several => Err(invalid(format!(
                "the state dict is that of a {}, whose functions no file holds; go on with the schedule that it was made with \
                 (`LRScheduler::resume`, or `schedule` of the resume options)",
                names(several, " or ")
            ))),
        }
    }
}

impl Schedule {
    /// Which scheduler it makes.
    #[must_use]
    pub fn kind(&self) -> SchedulerKind {
        SchedulerKind::ALL[self.class.row]
    }
}

impl LRScheduler {
    /// Which scheduler it is.
    #[must_use]
    pub fn kind(&self) -> SchedulerKind {
        SchedulerKind::ALL[self.class.row]
    }
}

/// The schedulers whose state has these keys: one, or several that have the same.
pub(super) fn candidates(attributes: &Attributes) -> Result<Vec<SchedulerKind>> {
    let fits = |class: &&Class| class.keys.iter().all(|key| attributes.contains(key));
    match CLASSES.iter().find(fits) {
        Some(first) => Ok(SchedulerKind::ALL.iter().copied().filter(|kind| kind.class().keys == first.keys).collect()),
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
            let advice = format!("there are {}", names(SchedulerKind::ALL, ", "));
            Error::unsupported(format!("the scheduler {name}")).advise(advice)
        })
    }
}
