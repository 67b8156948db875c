//! The settings of `tests/fixtures/schedulers/schedulers.json` as schedules of Rust.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use rekindle_testing::fixtures;
use rekindle_train::lr_scheduler::{
    AnnealStrategy, ChainedScheduler, ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, CyclicLR,
    CyclicScale, ExponentialLR, Function, LRScheduler, LambdaLR, LinearLR, MultiStepLR, MultiplicativeLR, OneCycleLR,
    PerGroup, PlateauMode, PolynomialLR, ReduceLROnPlateau, SWALR, Schedule, SequentialLR, StepLR, ThresholdMode,
    transformers::{self, Along},
};
use rekindle_train::optim::{AdamOptions, Optimizer, SgdOptions};
use serde_json::Value as Json;

/// Steps until the second of the three state dicts.
pub(crate) const HALF: usize = 20;

#[derive(Module, Debug)]
pub(crate) struct Scalars {
    a: Param<Tensor<1>>,
    b: Param<Tensor<1>>,
}

pub(crate) fn scalars() -> Scalars {
    let device = Device::flex().autodiff();
    let scalar = || Param::from_tensor(Tensor::zeros([1], &device));
    Scalars { a: scalar(), b: scalar() }
}

/// The optimizer of a setting, with a group for each of two learning rates.
pub(crate) fn optimizer_of(setting: &Json) -> Optimizer {
    optimizer_for(setting, &scalars())
}

fn optimizer_for(setting: &Json, model: &Scalars) -> Optimizer {
    let [a, b] = [0, 1].map(|place| setting["rates"][place].as_f64().unwrap());
    let builder = match setting["optimizer"].as_str().unwrap() {
        "SGD" => Optimizer::builder(SgdOptions::default().lr(a).momentum(0.9)),
        "Adam" => Optimizer::builder(AdamOptions::default().lr(a)),
        other => panic!("{other}"),
    };
    builder.group("a", [("lr", a)]).group("b", [("lr", b)]).build(model).unwrap()
}

pub(crate) fn two_groups() -> Optimizer {
    let builder = Optimizer::builder(SgdOptions::default().lr(0.1).momentum(0.9));
    builder.group("a", [("lr", 0.1)]).group("b", [("lr", 0.02)]).build(&scalars()).unwrap()
}

pub(crate) fn one_group() -> Optimizer {
    Optimizer::sgd(&scalars(), SgdOptions::default().lr(0.1)).unwrap()
}

/// A whole number that a float holds.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn real(number: i64) -> f64 {
    number as f64
}

/// What Python's `float.hex` wrote.
fn number(json: &Json) -> f64 {
    fixtures::hex(json.as_str().unwrap())
}

/// What all groups have after each step: the columns turned into rows.
fn rows(columns: &Json) -> Vec<Vec<u64>> {
    let columns = columns.as_array().unwrap();
    let rows = columns[0].as_array().unwrap().len();
    (0..rows).map(|row| columns.iter().map(|column| number(&column[row]).to_bits()).collect()).collect()
}

/// The rates, and the momenta where they move, of each group at each step.
pub(crate) struct Sequence {
    pub(crate) lrs: Vec<Vec<u64>>,
    pub(crate) momenta: Option<Vec<Vec<u64>>>,
}

impl Sequence {
    pub(crate) fn of(json: &Json) -> Self {
        let momenta = json.get("momenta").filter(|momenta| !momenta.is_null()).map(rows);
        Sequence { lrs: rows(&json["lrs"]), momenta }
    }

    pub(crate) fn assert(&self, step: usize, optimizer: &Optimizer, context: &str) {
        let lrs: Vec<u64> = optimizer.lr().unwrap().iter().map(|lr| lr.to_bits()).collect();
        assert_eq!(lrs, self.lrs[step], "{context}, learning rates of step {step}");
        if let Some(momenta) = &self.momenta {
            let momentum = |group: &rekindle_train::optim::ParamGroup| {
                group.pair("betas").map_or_else(|_| group.float("momentum").unwrap(), |betas| betas.0).to_bits()
            };
            let found: Vec<u64> = optimizer.param_groups().iter().map(momentum).collect();
            assert_eq!(found, momenta[step], "{context}, momenta of step {step}");
        }
    }
}

/// The functions that the section's settings name.
fn function(json: &Json) -> Function {
    Function::new(match json["function"].as_str().unwrap() {
        "0.95 ** e" => |e| 0.95_f64.powf(real(e)),
        "1 / (1 + 0.1 * e)" => |e| 1.0 / (1.0 + 0.1 * real(e)),
        "min(1, (e + 1) / 10)" => |e| ((real(e) + 1.0) / 10.0).min(1.0),
        "0.97" => |_| 0.97,
        "0.9 if e % 10 == 0 else 1" => |e| if e % 10 == 0 { 0.9 } else { 1.0 },
        "1 / (5 ** (x * 0.1))" => |x| 1.0 / 5_f64.powf(real(x) * 0.1),
        other => panic!("{other}"),
    })
}

/// A setting's options by name.
struct Given(Json);

impl Given {
    fn of(setting: &Json) -> Self {
        let pairs = &setting["options"];
        Given(pairs.clone())
    }

    fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    fn float(&self, name: &str, default: f64) -> f64 {
        self.get(name).map_or(default, |json| json.as_f64().unwrap())
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.get(name).map_or(default, |json| json.as_i64().unwrap())
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |json| json.as_bool().unwrap())
    }

    fn ints(&self, name: &str) -> Vec<i64> {
        self.get(name).unwrap().as_array().unwrap().iter().map(|json| json.as_i64().unwrap()).collect()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(|json| json.as_str().unwrap())
    }

    fn per_group(&self, name: &str) -> Option<PerGroup> {
        self.get(name).map(|json| match json {
            Json::Array(each) => each.iter().map(|json| json.as_f64().unwrap()).collect::<Vec<_>>().into(),
            same => same.as_f64().unwrap().into(),
        })
    }

    fn strategy(&self) -> AnnealStrategy {
        match self.text("anneal_strategy") {
            Some("linear") => AnnealStrategy::Linear,
            None => AnnealStrategy::Cos,
            Some(other) => panic!("{other}"),
        }
    }
}

fn lambda(given: &Given) -> Result<Function, Vec<Function>> {
    match given.get("lr_lambda").unwrap() {
        Json::Array(each) => Err(each.iter().map(function).collect()),
        same => Ok(function(same)),
    }
}

/// The schedule of a setting.
pub(crate) fn schedule(setting: &Json) -> Schedule {
    let given = Given::of(setting);
    if let Some(name) = setting.get("transformers") {
        return transformers_schedule(name.as_str().unwrap(), &given, setting).into();
    }
    match setting["scheduler"].as_str().unwrap() {
        "LambdaLR" => lambda(&given).map_or_else(LambdaLR::each, LambdaLR::from).into(),
        "MultiplicativeLR" => lambda(&given).map_or_else(MultiplicativeLR::each, MultiplicativeLR::from).into(),
        "StepLR" => StepLR::new(given.int("step_size", 0)).gamma(given.float("gamma", 0.1)).into(),
        "MultiStepLR" => MultiStepLR::new(given.ints("milestones")).gamma(given.float("gamma", 0.1)).into(),
        "ConstantLR" => {
            let default = ConstantLR::default();
            let factor = given.float("factor", default.factor);
            default.factor(factor).total_iters(given.int("total_iters", default.total_iters)).into()
        }
        "LinearLR" => {
            let default = LinearLR::default();
            let (start, end) = (default.start_factor, default.end_factor);
            default
                .start_factor(given.float("start_factor", start))
                .end_factor(given.float("end_factor", end))
                .total_iters(given.int("total_iters", default.total_iters))
                .into()
        }
        "ExponentialLR" => ExponentialLR::new(given.float("gamma", 0.0)).into(),
        "PolynomialLR" => {
            let default = PolynomialLR::default();
            let total_iters = given.int("total_iters", default.total_iters);
            default.total_iters(total_iters).power(given.float("power", default.power)).into()
        }
        "CosineAnnealingLR" => {
            CosineAnnealingLR::new(given.int("T_max", 0)).eta_min(given.float("eta_min", 0.0)).into()
        }
        "CosineAnnealingWarmRestarts" => {
            let default = CosineAnnealingWarmRestarts::new(given.int("T_0", 0));
            default.t_mult(given.int("T_mult", 1)).eta_min(given.float("eta_min", 0.0)).into()
        }
        "CyclicLR" => cyclic(&given).into(),
        "OneCycleLR" => one_cycle(&given).into(),
        "ReduceLROnPlateau" => plateau(&given).into(),
        "SequentialLR" => SequentialLR::new(children(setting), given.ints("milestones")).into(),
        "ChainedScheduler" => ChainedScheduler::new(children(setting)).into(),
        "SWALR" => {
            let default = SWALR::new(given.per_group("swa_lr").unwrap());
            let anneal_epochs = given.int("anneal_epochs", default.anneal_epochs);
            default.anneal_epochs(anneal_epochs).anneal_strategy(given.strategy()).into()
        }
        other => panic!("{other}"),
    }
}

fn children(setting: &Json) -> Vec<Schedule> {
    setting["children"].as_array().unwrap().iter().map(schedule).collect()
}

fn cyclic(given: &Given) -> CyclicLR {
    let default = CyclicLR::new(given.per_group("base_lr").unwrap(), given.per_group("max_lr").unwrap());
    let scale = match (given.get("scale_fn"), given.text("scale_mode"), given.text("mode")) {
        (Some(custom), Some("cycle"), None) => CyclicScale::Cycle(function(custom)),
        (None, None, None | Some("triangular")) => CyclicScale::Triangular,
        (None, None, Some("triangular2")) => CyclicScale::Triangular2,
        (None, None, Some("exp_range")) => CyclicScale::ExpRange,
        other => panic!("{other:?}"),
    };
    let base_momentum = given.per_group("base_momentum").unwrap_or_else(|| default.base_momentum.clone());
    let max_momentum = given.per_group("max_momentum").unwrap_or_else(|| default.max_momentum.clone());
    let (up, gamma) = (default.step_size_up, default.gamma);
    let options = default
        .step_size_up(given.int("step_size_up", up))
        .scale(scale)
        .gamma(given.float("gamma", gamma))
        .cycle_momentum(given.flag("cycle_momentum", true))
        .base_momentum(base_momentum)
        .max_momentum(max_momentum);
    match given.get("step_size_down") {
        Some(json) => options.step_size_down(json.as_i64().unwrap()),
        None => options,
    }
}

fn one_cycle(given: &Given) -> OneCycleLR {
    let total = given.int("total_steps", given.int("epochs", 0) * given.int("steps_per_epoch", 0));
    let default = OneCycleLR::new(given.per_group("max_lr").unwrap(), total);
    let base_momentum = given.per_group("base_momentum").unwrap_or_else(|| default.base_momentum.clone());
    let max_momentum = given.per_group("max_momentum").unwrap_or_else(|| default.max_momentum.clone());
    let (pct_start, div_factor, final_div_factor) = (default.pct_start, default.div_factor, default.final_div_factor);
    default
        .pct_start(given.float("pct_start", pct_start))
        .anneal_strategy(given.strategy())
        .cycle_momentum(given.flag("cycle_momentum", true))
        .base_momentum(base_momentum)
        .max_momentum(max_momentum)
        .div_factor(given.float("div_factor", div_factor))
        .final_div_factor(given.float("final_div_factor", final_div_factor))
        .three_phase(given.flag("three_phase", false))
}

fn plateau(given: &Given) -> ReduceLROnPlateau {
    let default = ReduceLROnPlateau::default();
    let options = ReduceLROnPlateau::default()
        .mode(if given.text("mode") == Some("max") { PlateauMode::Max } else { PlateauMode::Min })
        .factor(given.float("factor", default.factor))
        .patience(given.int("patience", default.patience))
        .threshold(given.float("threshold", default.threshold))
        .threshold_mode(if given.text("threshold_mode") == Some("abs") {
            ThresholdMode::Abs
        } else {
            ThresholdMode::Rel
        })
        .cooldown(given.int("cooldown", default.cooldown))
        .eps(given.float("eps", default.eps));
    match given.per_group("min_lr") {
        Some(min_lr) => options.min_lr(min_lr),
        None => options,
    }
}

fn transformers_schedule(name: &str, given: &Given, setting: &Json) -> LambdaLR {
    let int = |name| given.int(name, 0);
    let (warmup, training) = (int("num_warmup_steps"), int("num_training_steps"));
    match name {
        "get_constant_schedule" => transformers::constant_schedule(),
        "get_constant_schedule_with_warmup" => transformers::constant_schedule_with_warmup(warmup),
        "get_linear_schedule_with_warmup" => transformers::linear_schedule_with_warmup(warmup, training),
        "get_cosine_schedule_with_warmup" => {
            transformers::cosine_schedule_with_warmup(warmup, training, given.float("num_cycles", 0.5))
        }
        "get_cosine_with_min_lr_schedule_with_warmup" => {
            let rate = given.float("min_lr_rate", 0.0);
            transformers::cosine_with_min_lr_schedule_with_warmup(
                warmup,
                training,
                given.float("num_cycles", 0.5),
                rate,
            )
        }
        "get_cosine_with_hard_restarts_schedule_with_warmup" => {
            let cycles = given.float("num_cycles", 1.0);
            transformers::cosine_with_hard_restarts_schedule_with_warmup(warmup, training, cycles)
        }
        "get_polynomial_decay_schedule_with_warmup" => {
            let (lr_end, power) = (given.float("lr_end", 1e-7), given.float("power", 1.0));
            let lr_init = setting["rates"][0].as_f64().unwrap();
            transformers::polynomial_decay_schedule_with_warmup(lr_init, warmup, training, lr_end, power)
        }
        "get_inverse_sqrt_schedule" => {
            let timescale = given.get("timescale").map(|json| json.as_i64().unwrap());
            transformers::inverse_sqrt_schedule(warmup, timescale)
        }
        "get_wsd_schedule" => {
            let (stable, decay) = (int("num_stable_steps"), int("num_decay_steps"));
            let (min, up, down) = (given.float("min_lr_ratio", 0.0), Along::Linear, Along::Cosine);
            transformers::wsd_schedule(warmup, stable, decay, up, down, min, 0.5)
        }
        other => panic!("{other}"),
    }
}

/// Whether a state dict lacks the functions that its scheduler needs.
pub(crate) fn has_functions(setting: &Json) -> bool {
    ["LambdaLR", "MultiplicativeLR"].contains(&setting["scheduler"].as_str().unwrap())
        || setting["options"].get("scale_fn").is_some()
        || setting["children"].as_array().is_some_and(|children| children.iter().any(has_functions))
}

/// A setting's schedulers at work.
pub(crate) struct Running<'a> {
    setting: &'a Json,
    pub(crate) model: Scalars,
    pub(crate) optimizer: Optimizer,
    pub(crate) first: Option<LRScheduler>,
    pub(crate) scheduler: LRScheduler,
}

impl<'a> Running<'a> {
    pub(crate) fn new(setting: &'a Json) -> Self {
        let model = scalars();
        let mut optimizer = optimizer_for(setting, &model);
        let first = setting.get("first").map(|first| LRScheduler::new(schedule(first), &mut optimizer).unwrap());
        let scheduler = LRScheduler::new(schedule(setting), &mut optimizer).unwrap();
        Running { setting, model, optimizer, first, scheduler }
    }

    pub(crate) fn step(&mut self, step: usize) {
        let switch = self.setting.get("switch").map_or(0, fixtures::size);
        if let Some(metrics) = self.setting.get("metrics") {
            self.scheduler.step_with_metric(number(&metrics[step - 1]), &mut self.optimizer).unwrap();
        } else if let Some(epochs) = self.setting.get("epochs") {
            self.scheduler.step_to(number(&epochs[step - 1]), &mut self.optimizer).unwrap();
        } else if let Some(first) = self.first.as_mut().filter(|_| step <= switch) {
            first.step(&mut self.optimizer).unwrap();
        } else {
            self.scheduler.step(&mut self.optimizer).unwrap();
        }
    }
}
