//! The optimizers that there are: one row each, which all that asks for one goes by. A row is the file with its rule and
//! options, its name in `torch.optim`, and the keys by which its groups are recognised: those that they always have, and those
//! that they never have. What else they may have is among its options.

use rekindle_recorder::{Error, Result, Value};

use super::rule::Rule;
use crate::attributes::{Attributes, invalid};

/// Gives the rows to a macro.
macro_rules! registry {
    ($make:ident) => {
        $make! {
            sgd::Sgd, SgdOptions, "SGD", ["lr", "momentum", "dampening"], ["trust_coeff"];
            adam::Adam, AdamOptions, "Adam", ["lr", "betas", "eps", "weight_decay", "amsgrad"], ["momentum_decay"];
            adamw::AdamW, AdamWOptions, "AdamW", ["lr", "betas", "eps", "weight_decay", "amsgrad"], ["momentum_decay"];
            rmsprop::RMSprop, RMSpropOptions, "RMSprop", ["lr", "alpha", "eps", "weight_decay"], ["lambd", "lr_in_momentum"];
            adagrad::Adagrad, AdagradOptions, "Adagrad", ["lr", "lr_decay"], [];
            adadelta::Adadelta, AdadeltaOptions, "Adadelta", ["lr", "rho", "eps"], [];
            adamax::Adamax, AdamaxOptions, "Adamax", ["lr", "betas", "eps", "weight_decay", "maximize"], ["amsgrad", "momentum_decay", "decoupled_weight_decay"];
            nadam::NAdam, NAdamOptions, "NAdam", ["lr", "betas", "eps", "momentum_decay"], [];
            radam::RAdam, RAdamOptions, "RAdam", ["lr", "betas", "eps", "weight_decay", "decoupled_weight_decay"], ["amsgrad", "momentum_decay"];
            rprop::Rprop, RpropOptions, "Rprop", ["lr", "etas", "step_sizes"], [];
            asgd::Asgd, AsgdOptions, "ASGD", ["lr", "lambd", "alpha", "t0"], [];
            lbfgs::Lbfgs, LbfgsOptions, "LBFGS", ["lr", "max_iter", "history_size"], [];
            adafactor::Adafactor, AdafactorOptions, "Adafactor", ["lr", "beta2_decay", "d"], [];
            muon::Muon, MuonOptions, "Muon", ["lr", "momentum", "ns_steps"], [];
            sparse_adam::SparseAdam, SparseAdamOptions, "SparseAdam", ["lr", "betas", "eps"], ["weight_decay", "momentum_decay"];
            transformers_adamw::TransformersAdamW, TransformersAdamWOptions, "transformers.AdamW" elsewhere, ["lr", "betas", "eps", "weight_decay", "correct_bias"], [];
            lion::LionPytorch, LionOptions, "lion_pytorch.Lion" elsewhere, ["lr", "betas", "weight_decay"], ["eps", "maximize"];
            timm_lion::TimmLion, TimmLionOptions, "timm.Lion" elsewhere, ["lr", "betas", "weight_decay", "maximize"], ["eps"];
            rmsprop_tf::RMSpropTF, RMSpropTFOptions, "timm.RMSpropTF" elsewhere, ["lr", "alpha", "eps", "weight_decay", "lr_in_momentum"], [];
            lamb::Lamb, LambOptions, "timm.Lamb" elsewhere, ["lr", "betas", "eps", "grad_averaging", "max_grad_norm", "trust_clip"], [];
            lars::Lars, LarsOptions, "timm.Lars" elsewhere, ["lr", "momentum", "trust_coeff", "trust_clip"], [];
            adan::Adan, AdanOptions, "timm.Adan" elsewhere, ["lr", "betas", "eps", "no_prox"], [];
            adan_pytorch::AdanPytorch, AdanPytorchOptions, "adan_pytorch.Adan" elsewhere, ["lr", "betas", "eps", "restart_cond"], [];
            adamw_schedule_free::AdamWScheduleFree, AdamWScheduleFreeOptions, "schedulefree.AdamWScheduleFree" elsewhere, ["lr", "betas", "warmup_steps", "train_mode", "weight_sum", "scheduled_lr"], [];
        }
    };
}

pub(super) use registry;

/// Where Python has an optimizer: a name that is marked `elsewhere` says it whole.
macro_rules! python_path {
    ($name:literal) => {
        concat!("torch.optim.", $name)
    };
    ($name:literal elsewhere) => {
        $name
    };
}

pub(super) use python_path;

macro_rules! kinds {
    ($($file:ident::$kind:ident, $options:ident, $name:literal $($elsewhere:ident)?, $has:expr, $lacks:expr;)*) => {
        /// An optimizer of `torch.optim`, whose name there `Display` gives, or of another package, which it names, too.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum OptimizerKind {
            $(
                #[doc = concat!("`", python_path!($name $($elsewhere)?), "`.")]
                $kind,
            )*
        }

        impl OptimizerKind {
            /// All there are.
            pub const ALL: &'static [OptimizerKind] = &[$(OptimizerKind::$kind),*];

            /// The name in `torch.optim`, or that of another package and the name there.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(OptimizerKind::$kind => $name,)* }
            }

            /// What it does.
            pub(crate) fn rule(self) -> &'static Rule {
                match self { $(OptimizerKind::$kind => &super::$file::RULE,)* }
            }

            /// A group with PyTorch's defaults.
            fn defaults(self) -> Attributes {
                match self { $(OptimizerKind::$kind => super::$file::$options::default().group(),)* }
            }

            /// The keys that its groups always have, and those that they never have.
            pub(super) fn signature(self) -> (&'static [&'static str], &'static [&'static str]) {
                match self { $(OptimizerKind::$kind => (&$has, &$lacks),)* }
            }
        }

        $(
            impl From<super::$file::$options> for Hyperparameters {
                fn from(options: super::$file::$options) -> Self {
                    Hyperparameters { kind: OptimizerKind::$kind, defaults: options.group() }
                }
            }
        )*
    };
}

registry!(kinds);

impl OptimizerKind {
    /// Whether its groups have such an entry in some version.
    pub(super) fn has_option(self, key: &str) -> bool {
        self.defaults().contains(key) || self.rule().group_state.contains(&key)
    }
}

/// Their names in a row.
pub(super) fn names(kinds: &[OptimizerKind], between: &str) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(between)
}

rekindle_recorder::display_is_name!(OptimizerKind);

impl std::str::FromStr for OptimizerKind {
    type Err = Error;

    /// Takes the [name](OptimizerKind::name), in any case.
    fn from_str(name: &str) -> Result<Self> {
        // A sentence that names `OptimizerKind::LionPytorch` is taken at its word, too.
        let is_named = |kind: &OptimizerKind| {
            kind.name().eq_ignore_ascii_case(name) || format!("{kind:?}").eq_ignore_ascii_case(name)
        };
        OptimizerKind::ALL.iter().copied().find(is_named).ok_or_else(|| {
            let advice = format!("there are {}", names(OptimizerKind::ALL, ", "));
            Error::unsupported(format!("the optimizer {name}")).advise(advice)
        })
    }
}

/// Which optimizer, and the hyper-parameters that a group has unless it says otherwise: made from the options of one, such
/// as [`AdamWOptions`](super::AdamWOptions), or [of a kind](Hyperparameters::of).
#[derive(Clone, Debug)]
pub struct Hyperparameters {
    pub(super) kind: OptimizerKind,
    pub(crate) defaults: Attributes,
}

impl Hyperparameters {
    /// An optimizer with all its defaults.
    #[must_use]
    pub fn of(kind: OptimizerKind) -> Self {
        Hyperparameters { kind, defaults: kind.defaults() }
    }

    /// Which optimizer.
    #[must_use]
    pub fn kind(&self) -> OptimizerKind {
        self.kind
    }

    /// What the optimizer does.
    pub(crate) fn rule(&self) -> &'static Rule {
        self.kind.rule()
    }

    /// With another value for one of the options, by its name in PyTorch: for names that come from elsewhere, and for the
    /// options that change nothing here but are written back, such as `foreach`, `fused` and `capturable`.
    ///
    /// ```
    /// use rekindle_train::optim::{Hyperparameters, OptimizerKind};
    ///
    /// let adam = Hyperparameters::of(OptimizerKind::Adam).with("lr", 3e-4)?.with("fused", true)?;
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the optimizer has no such option. Whether the value fits is seen when the optimizer is made.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Result<Self> {
        if !self.defaults.contains(name) {
            let names = self.defaults.names().collect::<Vec<_>>().join(", ");
            return Err(invalid(format!("{} has no option '{name}'; there are {names}", self.kind)));
        }
        self.defaults.set(name, value);
        // timm's constructor takes it from the learning rate.
        if name == "lr"
            && self.defaults.contains("max_lr_snapshot")
            && let Ok(lr) = self.defaults.float("lr")
        {
            self.defaults.set("max_lr_snapshot", lr);
        }
        Ok(self)
    }

    /// A new group: what is given for it first, then the defaults, as PyTorch orders them.
    pub(crate) fn group(&self, given: &[(String, Value)], names: Option<Vec<Value>>, place: usize) -> Attributes {
        let mut group = Attributes::new(format!("param_groups[{place}]."));
        given.iter().for_each(|(name, value)| group.set(name, value.clone()));
        if let Some(names) = names {
            group.set("param_names", names);
        }
        for name in self.defaults.names() {
            if let Some(value) = self.defaults.get(name) {
                group.set_default(name, value.clone());
            }
        }
        group
    }
}
