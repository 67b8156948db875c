//! `SchedulerKind`: the table of all schedulers, with the keys by which a state dict is recognised.

use std::sync::Arc;

use rekindle_recorder::{Error, Result};

use super::base::base;
use super::basicsr::{CosineAnnealingRestart, MultiStepRestart};
use super::chained_scheduler::Chained;
use super::cosine_annealing_lr::CosineAnnealing;
use super::cosine_annealing_warm_restarts::WarmRestarts;
use super::cosine_annealing_warmup::Restarts;
use super::cyclic_lr::Cyclic;
use super::detectron2::{Multiplier, WarmupCosine, WarmupMultiStep};
use super::greedy::Greedy;
use super::ignite::{
    Concat, ConcatScheduler, CosineAnnealingScheduler, Cyclical, EVENTS, IgniteLRScheduler, LinearCyclicalScheduler,
    OfGroups, ParamGroupScheduler, Piecewise, PiecewiseLinear, Wrapped,
};
use super::lambda_lr::Lambda;
use super::mmengine::{
    ConstantParamScheduler, CosineAnnealingParamScheduler, CosineRestart, CosineRestartParamScheduler,
    ExponentialParamScheduler, LinearParamScheduler, MmConstant, MmCosine, MmLinear, MmMultiStep, MmPlateau,
    MultiStepParamScheduler, OneCycleParam, OneCycleParamScheduler, PolyParamScheduler, ReduceOnPlateauParamScheduler,
    StepParamScheduler, mmengine,
};
use super::multi_step_lr::MultiStep;
use super::nano_gpt::Loop;
use super::one_cycle_lr::OneCycle;
use super::reduce_lr_on_plateau::Plateau;
use super::schedule::{InWords, Schedule};
use super::scheduler::{Class, LRScheduler, Tail};
use super::sequential_lr::Sequential;
use super::swa_lr::Swa;
use super::timm::{
    Cosine, CosineLRScheduler, KEYS as TIMM, MultiStepLRScheduler, MultiStepT, PlateauLRScheduler, Poly,
    PolyLRScheduler, Step, StepLRScheduler, Tanh, TanhLRScheduler, TimmPlateau, WSDLRScheduler, Wsd, timm,
};
use super::{
    ChainedScheduler, ConstantLR, CosineAnnealingLR, CosineAnnealingRestartLR, CosineAnnealingWarmRestarts,
    CosineAnnealingWarmupRestarts, CyclicLR, ExponentialLR, GradualWarmupScheduler, GreedyLR, LRMultiplier, LambdaLR,
    LinearLR, MultiStepLR, MultiStepRestartLR, MultiplicativeLR, NanoGpt, OneCycleLR, PolynomialLR, ReduceLROnPlateau,
    SWALR, SequentialLR, StepLR, WarmupCosineLR, WarmupMultiStepLR,
};

macro_rules! kinds {
    ($( $package:literal $shared:ident { $($kind:ident $rule:expr, $tell:expr, $own:expr, $tail:expr;)* } )*) => {
        /// A scheduler of `torch.optim.lr_scheduler`, `torch.optim.swa_utils` or of one of the packages that others train
        /// with. `Display` gives its name there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum SchedulerKind {
            $($(
                #[doc = concat!("`", stringify!($kind), "` of `", $package, "`.")]
                $kind,
            )*)*
        }

        impl SchedulerKind {
            /// All there are.
            pub const ALL: &'static [SchedulerKind] = &[$($(SchedulerKind::$kind),*),*];
        }

        pub(super) static CLASSES: &[Class] = &[$($(Class {
            row: SchedulerKind::$kind as usize,
            name: stringify!($kind),
            package: $package,
            rule: $rule,
            make: <$kind as InWords>::MAKE,
            tell: &$tell,
            own: &$own,
            shared: $shared,
            tail: $tail,
        }),*),*];

        $($(
            impl From<$kind> for Schedule {
                fn from(options: $kind) -> Self {
                    Schedule { class: SchedulerKind::$kind.class(), options: Arc::new(options) }
                }
            }
        )*)*
    };
}

const LAMBDAS: Option<Tail> = Some(Tail::Functions("lr_lambdas"));
const SCALE: Option<Tail> = Some(Tail::Function("_scale_fn_custom"));
const SCHEDULERS: Option<Tail> = Some(Tail::Schedulers("_schedulers"));

/// What ignite's schedulers that go in cycles keep.
const CYCLICAL: [&str; 5] = ["event_index", "param_name", "start_value", "end_value", "cycle_size"];
const OF_CYCLES: [&str; 6] =
    ["cycle_mult", "cycle", "start_value_mult", "end_value_mult", "warmup_duration", "total_cycle_size"];

/// What the base class of PyTorch keeps, in any release: `_step_count` since 1.1, `_last_lr` and
/// `_get_lr_called_within_step` since 1.4, `verbose` from 1.6 to 2.6, `_is_initial` since 2.8.
pub(super) const TORCH: &[&str] =
    &["base_lrs", "last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "verbose", "_is_initial"];

/// Nothing beside what a class has of its own.
const ALONE: &[&str] = &[];

/// What mmengine's base class keeps.
const MMENGINE: &[&str] = &[
    "param_name",
    "begin",
    "end",
    "by_epoch",
    "base_values",
    "last_step",
    "_global_step",
    "verbose",
    "_last_value",
    "use_betas",
];

// The keys that tell a class, and what else it ever had of its own. A state dict with a key beyond these is no state of it.
kinds! {
    "torch.optim.lr_scheduler" TORCH {
        LambdaLR base::<Lambda<false>>(), ["lr_lambdas"], [], LAMBDAS;
        MultiplicativeLR base::<Lambda<true>>(), ["lr_lambdas"], [], LAMBDAS;
        StepLR base::<StepLR>(), ["step_size", "gamma"], [], None;
        MultiStepLR base::<MultiStep>(), ["milestones", "gamma"], [], None;
        ConstantLR base::<ConstantLR>(), ["factor", "total_iters"], [], None;
        LinearLR base::<LinearLR>(), ["start_factor", "end_factor"], ["total_iters"], None;
        PolynomialLR base::<PolynomialLR>(), ["power", "total_iters"], [], None;
        CosineAnnealingLR base::<CosineAnnealing>(), ["T_max", "eta_min"], [], None;
        CosineAnnealingWarmRestarts base::<WarmRestarts>(), ["T_0", "T_mult"], ["T_i", "T_cur", "eta_min"], None;
        // `scale_fn` until 1.13, `_scale_fn_ref` in 2.0.
        CyclicLR base::<Cyclic>(), ["max_lrs", "step_ratio"], [
            "total_size", "mode", "gamma", "scale_mode", "scale_fn", "_scale_fn_ref", "_scale_fn_custom", "cycle_momentum",
            "use_beta1", "base_momentums", "max_momentums",
        ], SCALE;
        // `step_size_up` and `step_size_down` until 1.6, `anneal_func` until 2.0.
        OneCycleLR base::<OneCycle>(), ["total_steps", "cycle_momentum"], [
            "_schedule_phases", "_anneal_func_type", "anneal_func", "use_beta1", "step_size_up", "step_size_down",
        ], None;
        ReduceLROnPlateau &Plateau, ["patience", "cooldown"], [
            "factor", "default_min_lr", "min_lrs", "eps", "mode", "mode_worse", "threshold", "threshold_mode", "best",
            "cooldown_counter", "num_bad_epochs",
        ], None;
        SequentialLR &Sequential, ["_milestones", "_schedulers"], [], SCHEDULERS;
        ChainedScheduler &Chained, ["_schedulers"], [], SCHEDULERS;
        // `anneal_func` until 2.4.
        SWALR base::<Swa>(), ["anneal_epochs"], ["_anneal_strategy", "anneal_func", "swa_lrs"], None;
        ExponentialLR base::<ExponentialLR>(), ["gamma"], [], None;
    }
    "timm.scheduler" TIMM {
        CosineLRScheduler timm::<Cosine>(), ["base_values", "t_in_epochs", "t_initial", "cycle_mul", "k_decay"], [
            "lr_min", "cycle_decay", "cycle_limit",
        ], None;
        StepLRScheduler timm::<Step>(), ["base_values", "t_in_epochs", "decay_t", "decay_rate"], [], None;
        MultiStepLRScheduler timm::<MultiStepT>(), ["base_values", "t_in_epochs", "decay_t", "decay_rate"], [], None;
        PolyLRScheduler timm::<Poly>(), ["base_values", "t_in_epochs", "t_initial", "cycle_mul", "k_decay", "power"], [
            "lr_min", "cycle_decay", "cycle_limit",
        ], None;
        TanhLRScheduler timm::<Tanh>(), ["base_values", "t_in_epochs", "t_initial", "lb", "ub"], [
            "lr_min", "cycle_mul", "cycle_decay", "cycle_limit",
        ], None;
        WSDLRScheduler timm::<Wsd>(), ["base_values", "t_in_epochs", "t_initial", "stable_fn", "decay_fn"], [
            "decay_t", "lr_min", "stable_timescale", "stable_power", "decay_power", "decay_ratio",
        ], None;
    }
    "timm.scheduler" ALONE {
        // Keeps these two, and none of the others of timm's base class.
        PlateauLRScheduler &TimmPlateau, ["best", "last_epoch"], [], None;
    }
    "mmengine.optim" MMENGINE {
        StepParamScheduler mmengine::<StepParamScheduler>(), ["param_name", "step_size", "gamma"], [], None;
        MultiStepParamScheduler mmengine::<MmMultiStep>(), ["param_name", "milestones", "gamma"], [], None;
        ConstantParamScheduler mmengine::<MmConstant>(), ["param_name", "factor", "total_iters"], [], None;
        LinearParamScheduler mmengine::<MmLinear>(), ["param_name", "start_factor", "end_factor"], ["total_iters"], None;
        CosineAnnealingParamScheduler mmengine::<MmCosine>(), ["param_name", "T_max", "eta_min"], ["eta_min_ratio"], None;
        CosineRestartParamScheduler mmengine::<CosineRestart>(), ["param_name", "periods", "restart_weights"], [
            "eta_min", "eta_min_ratio", "cumulative_periods",
        ], None;
        PolyParamScheduler mmengine::<PolyParamScheduler>(), ["param_name", "power", "total_iters"], ["eta_min"], None;
        OneCycleParamScheduler mmengine::<OneCycleParam>(), ["param_name", "eta_max", "_schedule_phases"], [
            "div_factor", "final_div_factor", "total_steps", "anneal_func",
        ], None;
        ExponentialParamScheduler mmengine::<ExponentialParamScheduler>(), ["param_name", "gamma"], [], None;
        ReduceOnPlateauParamScheduler &MmPlateau, ["param_name", "rule_worse", "monitor", "patience"], [
            "factor", "min_values", "cooldown", "cooldown_counter", "best", "num_bad_epochs", "eps", "rule", "threshold",
            "threshold_rule",
        ], None;
    }
    "detectron2.solver" TORCH {
        WarmupMultiStepLR base::<WarmupMultiStep>(), ["milestones", "gamma", "warmup_factor", "warmup_iters", "warmup_method"],
            [], None;
        WarmupCosineLR base::<WarmupCosine>(), ["max_iters", "warmup_factor", "warmup_iters", "warmup_method"], [], None;
    }
    "detectron2.solver" ALONE {
        // Keeps these two, and none of the others of PyTorch's base class.
        LRMultiplier base::<Multiplier>(), ["base_lrs", "last_epoch"], [], None;
    }
    "cosine_annealing_warmup" TORCH {
        CosineAnnealingWarmupRestarts &Restarts, ["first_cycle_steps", "cycle_mult", "base_max_lr"], [
            "max_lr", "min_lr", "warmup_steps", "gamma", "cur_cycle_steps", "cycle", "step_in_cycle",
        ], None;
    }
    "warmup_scheduler" TORCH {
        GradualWarmupScheduler base::<GradualWarmupScheduler>(), ["multiplier", "total_epoch", "finished"], [
            "after_scheduler",
        ], None;
    }
    "transformers.optimization" ALONE {
        GreedyLR &Greedy, ["patience", "num_good_epochs", "reset_start"], [
            "factor", "min_lrs", "max_lrs", "verbose", "cooldown", "warmup", "cooldown_counter", "warmup_counter", "mode",
            "threshold", "threshold_mode", "best", "num_bad_epochs", "eps", "last_epoch", "smooth", "window_size",
            "reset_start_original", "_last_lr", "_init_lrs", "_streaming_avg",
        ], None;
    }
    "basicsr.models.lr_scheduler" TORCH {
        MultiStepRestartLR base::<MultiStepRestart>(), ["milestones", "gamma", "restarts", "restart_weights"], [], None;
        CosineAnnealingRestartLR base::<CosineAnnealingRestart>(), ["periods", "restart_weights", "cumulative_period"],
            ["eta_min"], None;
    }
    "ignite.handlers" EVENTS {
        // Both keep the same: `told_apart` tells which it is.
        LinearCyclicalScheduler &Cyclical::<false>, CYCLICAL, OF_CYCLES, None;
        CosineAnnealingScheduler &Cyclical::<true>, CYCLICAL, OF_CYCLES, None;
        PiecewiseLinear &Piecewise, ["event_index", "param_name", "values", "milestones"], ["_index"], None;
        ConcatScheduler &Concat, ["event_index", "param_name", "durations", "schedulers"], [
            "_current_duration", "_scheduler_index",
        ], Some(Tail::Schedulers("schedulers"));
        // `LRScheduler` there.
        IgniteLRScheduler &Wrapped, ["event_index", "param_name", "lr_scheduler"], [], Some(Tail::One("lr_scheduler"));
    }
    "ignite.handlers" ALONE {
        ParamGroupScheduler &OfGroups, ["schedulers"], [], Some(Tail::Named("schedulers"));
    }
    "nanoGPT" TORCH {
        NanoGpt &Loop, ["warmup_iters", "lr_decay_iters", "from_zero"], ["learning_rate", "min_lr", "decay_lr"], None;
    }
}

impl SchedulerKind {
    /// The name of its class.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.class().name
    }

    /// The package that has it, such as `torch.optim.lr_scheduler`.
    #[must_use]
    pub fn package(self) -> &'static str {
        self.class().package
    }

    pub(super) fn class(self) -> &'static Class {
        &CLASSES[self as usize]
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

/// Their names in a row.
pub(super) fn names(kinds: &[SchedulerKind], between: &str) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(between)
}

rekindle_recorder::display_is_name!(SchedulerKind);

impl std::str::FromStr for SchedulerKind {
    type Err = Error;

    /// Takes the name of the class, in any case.
    fn from_str(name: &str) -> Result<Self> {
        SchedulerKind::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let advice = format!("there are {}", names(SchedulerKind::ALL, ", "));
            Error::unsupported(format!("the scheduler {name}")).advise(advice)
        })
    }
}
