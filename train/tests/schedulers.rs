//! Every scheduler against PyTorch's own: `tests/fixtures/schedulers/schedulers.json`.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use common::{fixture, spell, value};
use rekindle_recorder::{Dict, Value};
use rekindle_train::lr_scheduler::{
    AnnealStrategy, ChainedScheduler, ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, CyclicLR,
    CyclicScale, ExponentialLR, Function, LRScheduler, LambdaLR, LinearLR, MultiStepLR, MultiplicativeLR, OneCycleLR,
    PerGroup, PlateauMode, PolynomialLR, ReduceLROnPlateau, SWALR, Schedule, SchedulerKind, SequentialLR, StepLR,
    ThresholdMode, transformers,
};
use rekindle_train::optim::{AdamOptions, AdamWOptions, Optimizer, SgdOptions};
use serde_json::Value as Json;

mod common;

#[derive(Module, Debug)]
struct Scalars {
    a: Param<Tensor<1>>,
    b: Param<Tensor<1>>,
}

fn scalars() -> Scalars {
    let device = Device::flex().autodiff();
    let scalar = || Param::from_tensor(Tensor::zeros([1], &device));
    Scalars { a: scalar(), b: scalar() }
}

/// The optimizer of a setting, with a group for each of two learning rates.
fn optimizer_of(setting: &Json) -> Optimizer {
    let [a, b] = [0, 1].map(|place| setting["rates"][place].as_f64().unwrap());
    let builder = match setting["optimizer"].as_str().unwrap() {
        "SGD" => Optimizer::builder(SgdOptions { lr: a, momentum: 0.9, ..Default::default() }),
        "Adam" => Optimizer::builder(AdamOptions { lr: a, ..Default::default() }),
        other => panic!("{other}"),
    };
    builder.group("a", [("lr", a)]).group("b", [("lr", b)]).build(&scalars()).unwrap()
}

fn two_groups() -> Optimizer {
    let builder = Optimizer::builder(SgdOptions { lr: 0.1, momentum: 0.9, ..Default::default() });
    builder.group("a", [("lr", 0.1)]).group("b", [("lr", 0.02)]).build(&scalars()).unwrap()
}

fn one_group() -> Optimizer {
    Optimizer::sgd(&scalars(), SgdOptions { lr: 0.1, ..Default::default() }).unwrap()
}

/// Python's `float.hex()`.
fn number(json: &Json) -> f64 {
    let text = json.as_str().unwrap();
    let Some((sign, rest)) = text.split_once("0x") else { return text.parse().unwrap() };
    let (mantissa, exponent) = rest.split_once('p').unwrap();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).unwrap();
    let exponent = exponent.parse::<i32>().unwrap() - 4 * i32::try_from(fraction.len()).unwrap();
    let magnitude = digits as f64 * 2_f64.powi(exponent);
    if sign == "-" { -magnitude } else { magnitude }
}

/// What all groups have after each step: the columns turned into rows.
fn rows(columns: &Json) -> Vec<Vec<u64>> {
    let columns = columns.as_array().unwrap();
    let rows = columns[0].as_array().unwrap().len();
    (0..rows).map(|row| columns.iter().map(|column| number(&column[row]).to_bits()).collect()).collect()
}

/// The rates, and the momenta where they move, of each group at each step.
struct Sequence {
    lrs: Vec<Vec<u64>>,
    momenta: Option<Vec<Vec<u64>>>,
}

impl Sequence {
    fn of(json: &Json) -> Self {
        let momenta = json.get("momenta").filter(|momenta| !momenta.is_null()).map(rows);
        Sequence { lrs: rows(&json["lrs"]), momenta }
    }

    fn assert(&self, step: usize, optimizer: &Optimizer, context: &str) {
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
        "0.95 ** e" => |e| 0.95_f64.powf(e as f64),
        "1 / (1 + 0.1 * e)" => |e| 1.0 / (1.0 + 0.1 * e as f64),
        "min(1, (e + 1) / 10)" => |e| ((e as f64 + 1.0) / 10.0).min(1.0),
        "0.97" => |_| 0.97,
        "0.9 if e % 10 == 0 else 1" => |e| if e % 10 == 0 { 0.9 } else { 1.0 },
        "1 / (5 ** (x * 0.1))" => |x| 1.0 / 5_f64.powf(x as f64 * 0.1),
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
fn schedule(setting: &Json) -> Schedule {
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
            ConstantLR { factor, total_iters: given.int("total_iters", default.total_iters) }.into()
        }
        "LinearLR" => {
            let default = LinearLR::default();
            LinearLR {
                start_factor: given.float("start_factor", default.start_factor),
                end_factor: given.float("end_factor", default.end_factor),
                total_iters: given.int("total_iters", default.total_iters),
            }
            .into()
        }
        "ExponentialLR" => ExponentialLR::new(given.float("gamma", 0.0)).into(),
        "PolynomialLR" => {
            let default = PolynomialLR::default();
            let total_iters = given.int("total_iters", default.total_iters);
            PolynomialLR { total_iters, power: given.float("power", default.power) }.into()
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
            SWALR { anneal_epochs, anneal_strategy: given.strategy(), ..default }.into()
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
    CyclicLR {
        step_size_up: given.int("step_size_up", default.step_size_up),
        step_size_down: given.get("step_size_down").map(|json| json.as_i64().unwrap()),
        scale,
        gamma: given.float("gamma", default.gamma),
        cycle_momentum: given.flag("cycle_momentum", true),
        base_momentum: given.per_group("base_momentum").unwrap_or(default.base_momentum),
        max_momentum: given.per_group("max_momentum").unwrap_or(default.max_momentum),
        ..CyclicLR::new(default.base_lr, default.max_lr)
    }
}

fn one_cycle(given: &Given) -> OneCycleLR {
    let total = given.int("total_steps", given.int("epochs", 0) * given.int("steps_per_epoch", 0));
    let default = OneCycleLR::new(given.per_group("max_lr").unwrap(), total);
    OneCycleLR {
        pct_start: given.float("pct_start", default.pct_start),
        anneal_strategy: given.strategy(),
        cycle_momentum: given.flag("cycle_momentum", true),
        base_momentum: given.per_group("base_momentum").unwrap_or_else(|| default.base_momentum.clone()),
        max_momentum: given.per_group("max_momentum").unwrap_or_else(|| default.max_momentum.clone()),
        div_factor: given.float("div_factor", default.div_factor),
        final_div_factor: given.float("final_div_factor", default.final_div_factor),
        three_phase: given.flag("three_phase", false),
        ..default
    }
}

fn plateau(given: &Given) -> ReduceLROnPlateau {
    let default = ReduceLROnPlateau::default();
    ReduceLROnPlateau {
        mode: if given.text("mode") == Some("max") { PlateauMode::Max } else { PlateauMode::Min },
        factor: given.float("factor", default.factor),
        patience: given.int("patience", default.patience),
        threshold: given.float("threshold", default.threshold),
        threshold_mode: if given.text("threshold_mode") == Some("abs") {
            ThresholdMode::Abs
        } else {
            ThresholdMode::Rel
        },
        cooldown: given.int("cooldown", default.cooldown),
        min_lr: given.per_group("min_lr"),
        eps: given.float("eps", default.eps),
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
            let cycles = given.int("num_cycles", 1);
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
            transformers::wsd_schedule(warmup, stable, decay, given.float("min_lr_ratio", 0.0), 0.5)
        }
        other => panic!("{other}"),
    }
}

/// Whether a state dict lacks the functions that its scheduler needs.
fn has_functions(setting: &Json) -> bool {
    ["LambdaLR", "MultiplicativeLR"].contains(&setting["scheduler"].as_str().unwrap())
        || setting["options"].get("scale_fn").is_some()
}

/// A setting's schedulers at work.
struct Running<'a> {
    setting: &'a Json,
    optimizer: Optimizer,
    first: Option<LRScheduler>,
    scheduler: LRScheduler,
}

impl<'a> Running<'a> {
    fn new(setting: &'a Json) -> Self {
        let mut optimizer = optimizer_of(setting);
        let first = setting.get("first").map(|first| LRScheduler::new(schedule(first), &mut optimizer).unwrap());
        let scheduler = LRScheduler::new(schedule(setting), &mut optimizer).unwrap();
        Running { setting, optimizer, first, scheduler }
    }

    fn step(&mut self, step: usize) {
        let switch = self.setting.get("switch").map_or(0, common::size);
        if let Some(metrics) = self.setting.get("metrics") {
            self.scheduler.step_with_metric(number(&metrics[step - 1]), &mut self.optimizer).unwrap();
        } else if let Some(first) = self.first.as_mut().filter(|_| step <= switch) {
            first.step(&mut self.optimizer).unwrap();
        } else {
            self.scheduler.step(&mut self.optimizer).unwrap();
        }
    }
}

fn assert_same_state(found: &Value, expected: &Json, context: &str) {
    assert_eq!(spell(found, true), spell(&value(expected), true), "{context}");
}

/// The optimizer's groups as its state dict has them, without `params`.
fn groups(optimizer: &Optimizer) -> Value {
    let groups = optimizer.param_groups().iter().map(|group| {
        let entries = group.names().map(|name| (name, group.get(name).unwrap().clone()));
        Value::from(entries.collect::<Dict>())
    });
    Value::list(groups)
}

const HALF: usize = 20;

#[test]
fn learning_rates_momenta_groups_and_state_dicts_are_pytorch_s_to_the_last_bit() {
    let settings = fixture("schedulers/schedulers.json");
    assert!(settings.as_object().unwrap().len() >= 67);
    for (name, setting) in settings.as_object().unwrap() {
        let expected = Sequence::of(setting);
        let mut running = Running::new(setting);
        for step in 0..expected.lrs.len() {
            if step > 0 {
                running.step(step);
            }
            expected.assert(step, &running.optimizer, name);
            let place = [0, HALF, expected.lrs.len() - 1].iter().position(|place| *place == step);
            if let Some(place) = place {
                let context = format!("{name} after {step} steps");
                assert_same_state(&running.scheduler.state_dict(), &setting["states"][place], &context);
                assert_same_state(&groups(&running.optimizer), &setting["groups"][place], &context);
            }
        }
    }
}

#[test]
fn a_schedule_resumed_from_any_state_dict_goes_on_as_if_it_had_not_stopped() {
    let settings = fixture("schedulers/schedulers.json");
    for (name, setting) in settings.as_object().unwrap() {
        assert!(setting["resumed"].is_null(), "PyTorch itself goes on differently in {name}");
        let expected = Sequence::of(setting);
        for (place, from) in [(0, 0), (1, HALF)] {
            let mut running = Running::new(setting);
            // The optimizer as its own state dict has it, before or after the scheduler.
            let first = running.first.take();
            if let Some(mut first) = first {
                (1..=from).for_each(|_| first.step(&mut running.optimizer).unwrap());
                running.first = Some(first);
            }
            let load = |optimizer: &mut Optimizer| {
                let saved = value(&setting["groups"][place]);
                for (group, saved) in optimizer.param_groups_mut().iter_mut().zip(saved.items().unwrap()) {
                    for (key, value) in saved.as_dict().unwrap().entries() {
                        group.set(key.as_str().unwrap(), value);
                    }
                }
            };
            let state = value(&setting["states"][place]);
            let resume = |optimizer: &Optimizer| match has_functions(setting) {
                true => LRScheduler::resume(schedule(setting), &state, optimizer).unwrap(),
                false => LRScheduler::from_state_dict(&state, optimizer).unwrap(),
            };
            // Whichever is loaded first, the scheduler changes no learning rate.
            if place == 0 {
                load(&mut running.optimizer);
                running.scheduler = resume(&running.optimizer);
            } else {
                running.scheduler = resume(&optimizer_of(setting));
                load(&mut running.optimizer);
            }
            expected.assert(from, &running.optimizer, &format!("{name}, loaded"));
            assert_eq!(running.scheduler.kind().name(), setting["scheduler"].as_str().unwrap());
            for step in from + 1..expected.lrs.len() {
                running.step(step);
                expected.assert(step, &running.optimizer, &format!("{name}, resumed at {from}"));
            }
            assert_same_state(&running.scheduler.state_dict(), &setting["states"][2], &format!("{name} at the end"));
        }
    }
}

#[test]
fn a_schedule_made_anew_with_last_epoch_goes_on_from_there() {
    let settings = fixture("schedulers/schedulers.json");
    let mut made = 0;
    for (name, setting) in settings.as_object().unwrap() {
        if setting["anew"].is_null() {
            continue;
        }
        let mut optimizer = optimizer_of(setting);
        let saved = value(&setting["groups"][1]);
        for (group, saved) in optimizer.param_groups_mut().iter_mut().zip(saved.items().unwrap()) {
            saved
                .as_dict()
                .unwrap()
                .entries()
                .into_iter()
                .for_each(|(key, value)| group.set(key.as_str().unwrap(), value));
        }
        let last_epoch = i64::try_from(HALF).unwrap();
        let mut scheduler = LRScheduler::with_last_epoch(schedule(setting), &mut optimizer, last_epoch).unwrap();
        let expected = Sequence::of(&setting["anew"]);
        for step in 0..expected.lrs.len() {
            if step > 0 {
                scheduler.step(&mut optimizer).unwrap();
            }
            expected.assert(step, &optimizer, name);
        }
        made += 1;
    }
    assert!(made > 40, "{made}");
}

fn keys(state: &Value) -> Vec<String> {
    state.as_dict().unwrap().entries().iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect()
}

fn saved(name: &str) -> Value {
    value(&fixture("schedulers/schedulers.json")[name]["states"][1])
}

#[test]
fn an_older_release_s_state_is_taken_and_its_unknown_keys_are_kept() {
    let state = saved("cosine");
    let dict = state.as_dict().unwrap();
    dict.remove("_is_initial");
    dict.insert("verbose", false);
    dict.insert("mine", Value::list([1.into(), "two".into()]));
    let mut optimizer = two_groups();
    let mut scheduler = LRScheduler::from_state_dict(&state, &optimizer).unwrap();
    scheduler.step(&mut optimizer).unwrap();
    let expected = [
        "T_max",
        "eta_min",
        "base_lrs",
        "last_epoch",
        "_step_count",
        "_get_lr_called_within_step",
        "_last_lr",
        "verbose",
        "mine",
        "_is_initial",
    ];
    assert_eq!(keys(&scheduler.state_dict()), expected);
}

#[test]
fn a_state_of_another_kind_or_another_number_of_groups_is_refused() {
    let optimizer = two_groups();
    let error = |result: rekindle_recorder::Result<LRScheduler>| result.unwrap_err().to_string();

    for name in
        ["cosine", "warm_restarts", "lambda", "multiplicative", "one_cycle", "sequential", "chained", "plateau", "swa"]
    {
        let setting = &fixture("schedulers/schedulers.json")[name];
        let found = error(LRScheduler::resume(schedule(setting), &saved(name), &one_group()));
        assert_eq!(found, "the scheduler is for an optimizer of 2 groups, and this one has 1", "{name}");
    }
    let found = error(LRScheduler::from_state_dict(&saved("cyclic_triangular"), &one_group()));
    assert_eq!(found, "the scheduler is for an optimizer of 2 groups, and this one has 1");

    let found = error(LRScheduler::resume(CosineAnnealingLR::new(10), &saved("step"), &optimizer));
    assert_eq!(found, "the state dict is StepLR's, and the scheduler is CosineAnnealingLR");
    let found = error(LRScheduler::resume(StepLR::new(10), &saved("lambda"), &optimizer));
    assert_eq!(found, "the state dict is LambdaLR or MultiplicativeLR's, and the scheduler is StepLR");
    let warmup = || Schedule::from(ConstantLR::default());
    let sequence = SequentialLR::new([warmup(), warmup()], [3]);
    let found = error(LRScheduler::resume(sequence, &saved("sequential_of_three"), &optimizer));
    assert_eq!(found, "the state dict is that of 3 schedulers, and here are 2");

    let never = saved("cosine_periods");
    never.as_dict().unwrap().insert("T_max", 0);
    assert_eq!(error(LRScheduler::from_state_dict(&never, &optimizer)), "CosineAnnealingLR's T_max must not be 0");
    let torn = saved("sequential");
    torn.as_dict().unwrap().insert("_milestones", Value::list([1.into(), 2.into()]));
    let found = error(LRScheduler::from_state_dict(&torn, &optimizer));
    assert_eq!(found, "SequentialLR has 2 schedulers and 2 milestones; one less is needed than schedulers");
}

#[test]
fn functions_that_no_file_holds_are_asked_for() {
    let optimizer = two_groups();
    let error = |state: &Value| LRScheduler::from_state_dict(state, &optimizer).unwrap_err().to_string();
    let lambda = error(&saved("lambda"));
    assert!(
        lambda.starts_with("the state dict is that of a LambdaLR or MultiplicativeLR, whose functions no file holds"),
        "{lambda}"
    );

    let by_iterations = saved("cyclic_function");
    by_iterations.as_dict().unwrap().insert("scale_mode", "iterations");
    let found = error(&by_iterations);
    assert!(found.starts_with("CyclicLR's mode 'triangular' needs a function, which no file holds"), "{found}");
    let object = saved("cyclic_function");
    object.as_dict().unwrap().insert("_scale_fn_custom", Dict::new());
    assert!(error(&object).starts_with("scheduler._scale_fn_custom is an object's"));

    // What a file says of a callable object stays in it.
    let object = saved("lambda");
    let attributes = Value::from(Dict::from_iter([("warmup", 5)]));
    object.as_dict().unwrap().insert("lr_lambdas", Value::list([attributes.clone(), Value::None]));
    let kept = LRScheduler::resume(LambdaLR::new(|_| 1.0), &object, &optimizer).unwrap().state_dict();
    let kept = kept.as_dict().unwrap().get("lr_lambdas").unwrap();
    assert_eq!(spell(&kept, true), spell(&Value::list([attributes, Value::None]), true));
}

#[test]
fn a_step_that_cannot_be_made_changes_nothing() {
    let mut optimizer = two_groups();
    let unchanged = |scheduler: &mut LRScheduler, optimizer: &mut Optimizer, metric: Option<f64>, expected: &str| {
        let before = (spell(&scheduler.state_dict(), true), spell(&groups(optimizer), true));
        let result = match metric {
            Some(metric) => scheduler.step_with_metric(metric, optimizer),
            None => scheduler.step(optimizer),
        };
        assert_eq!(result.unwrap_err().to_string(), expected);
        assert_eq!((spell(&scheduler.state_dict(), true), spell(&groups(optimizer), true)), before);
    };

    let mut one_cycle = LRScheduler::new(OneCycleLR::new(0.1, 3), &mut optimizer).unwrap();
    (0..3).for_each(|_| one_cycle.step(&mut optimizer).unwrap());
    unchanged(
        &mut one_cycle,
        &mut optimizer,
        None,
        "OneCycleLR has come to its end: step 4 was asked for, and it was made for 3 steps; make a new scheduler, or train no \
         further",
    );

    // The first of two steps before the second fails.
    let chain: [Schedule; 2] = [ExponentialLR::new(0.5).into(), OneCycleLR::new(0.1, 1).into()];
    let mut chained = LRScheduler::new(ChainedScheduler::new(chain), &mut optimizer).unwrap();
    chained.step(&mut optimizer).unwrap();
    let expected = "OneCycleLR has come to its end: step 2 was asked for, and it was made for 1 steps; make a new scheduler, or \
                    train no further";
    unchanged(&mut chained, &mut optimizer, None, expected);

    let mut step = LRScheduler::new(StepLR::new(3), &mut optimizer).unwrap();
    unchanged(&mut step, &mut optimizer, Some(0.5), "StepLR takes no metric; step it without one");
    let mut plateau = LRScheduler::new(ReduceLROnPlateau::default(), &mut optimizer).unwrap();
    let expected = "ReduceLROnPlateau goes by a metric; step it with `step_with_metric`";
    unchanged(&mut plateau, &mut optimizer, None, expected);
    let expected = "the scheduler is for an optimizer of 2 groups, and this one has 1";
    unchanged(&mut step, &mut one_group(), None, expected);
}

#[test]
fn options_out_of_range_are_refused_and_the_optimizer_stays_as_it_was() {
    let mut optimizer = two_groups();
    let before = spell(&groups(&optimizer), true);
    let schedules: [(Schedule, &str); 12] = [
        (StepLR::new(0).into(), "StepLR's step_size must not be 0"),
        (ConstantLR { factor: 1.5, total_iters: 5 }.into(), "ConstantLR's factor must be from 0 to 1, and is 1.5"),
        (
            LinearLR { start_factor: 0.0, ..Default::default() }.into(),
            "LinearLR's start_factor must be above 0 and at most 1, and is 0",
        ),
        (CosineAnnealingWarmRestarts::new(0).into(), "CosineAnnealingWarmRestarts's T_0 must be at least 1, and is 0"),
        (OneCycleLR::new(0.1, 0).into(), "OneCycleLR's total_steps must be at least 1, and is 0"),
        (
            OneCycleLR::new([0.1, 0.2, 0.3], 10).into(),
            "the optimizer has 2 groups, and max_lr has 3 values; give one, or one for each group",
        ),
        (SWALR { anneal_epochs: -1, ..SWALR::new(0.1) }.into(), "SWALR's anneal_epochs must be at least 0, and is -1"),
        (
            ReduceLROnPlateau { factor: 1.0, ..Default::default() }.into(),
            "ReduceLROnPlateau's factor must be below 1, and is 1",
        ),
        (
            ChainedScheduler::new([ReduceLROnPlateau::default().into()]).into(),
            "ChainedScheduler cannot have a ReduceLROnPlateau, which goes by a metric",
        ),
        (ChainedScheduler::new([]).into(), "ChainedScheduler needs at least one scheduler"),
        (
            SequentialLR::new([StepLR::new(1).into()], [4]).into(),
            "SequentialLR has 1 schedulers and 1 milestones; one less is needed than schedulers",
        ),
        (
            LambdaLR::each([Function::new(|_| 1.0)]).into(),
            "the optimizer has 2 groups, and lr_lambda has 1 values; give one, or one for each group",
        ),
    ];
    for (schedule, expected) in schedules {
        assert_eq!(LRScheduler::new(schedule, &mut optimizer).unwrap_err().to_string(), expected);
        assert_eq!(spell(&groups(&optimizer), true), before);
    }
    let error = LRScheduler::with_last_epoch(StepLR::new(3), &mut optimizer, 5).unwrap_err().to_string();
    assert!(error.starts_with("there is no 'param_groups[0].initial_lr'"), "{error}");
    let adamw = Optimizer::adamw(&scalars(), AdamWOptions::default());
    assert!(LRScheduler::new(OneCycleLR::new(0.1, 10), &mut adamw.unwrap()).is_ok());
}

#[test]
fn schedulers_within_schedulers_go_on_from_their_state_dict() {
    let nested = || {
        let chain: [Schedule; 2] = [ConstantLR::default().into(), LambdaLR::new(|e| 0.9_f64.powf(e as f64)).into()];
        let parts: [Schedule; 2] = [ChainedScheduler::new(chain).into(), StepLR::new(2).into()];
        SequentialLR::new(parts, [4])
    };
    let (mut whole, mut halved) = (two_groups(), two_groups());
    let mut scheduler = LRScheduler::new(nested(), &mut whole).unwrap();
    let mut again = LRScheduler::new(nested(), &mut halved).unwrap();
    for step in 0..10 {
        if step % 3 == 0 {
            again = LRScheduler::resume(nested(), &again.state_dict(), &halved).unwrap();
        }
        scheduler.step(&mut whole).unwrap();
        again.step(&mut halved).unwrap();
        assert_eq!(whole.lr().unwrap(), halved.lr().unwrap());
        assert_eq!(spell(&scheduler.state_dict(), true), spell(&again.state_dict(), true));
    }
    // PyTorch raises NotImplementedError there.
    let parts: [Schedule; 2] = [StepLR::new(2).into(), ChainedScheduler::new([StepLR::new(2).into()]).into()];
    let mut scheduler = LRScheduler::new(SequentialLR::new(parts, [1]), &mut whole).unwrap();
    assert!(scheduler.step(&mut whole).unwrap_err().to_string().contains("cannot go over to a ChainedScheduler"));
}

#[test]
fn a_plateau_takes_a_group_that_is_added_unless_each_has_a_lowest_rate() {
    let mut one = one_group();
    let options = ReduceLROnPlateau { patience: 0, ..Default::default() };
    let mut scheduler = LRScheduler::new(options.clone(), &mut one).unwrap();
    let mut two = two_groups();
    for _ in 0..2 {
        scheduler.step_with_metric(1.0, &mut two).unwrap();
    }
    assert_eq!(two.lr().unwrap(), [0.1 * 0.1, 0.02 * 0.1]);
    let each = ReduceLROnPlateau { min_lr: Some([1e-3].into()), ..options };
    let mut scheduler = LRScheduler::new(each, &mut one).unwrap();
    assert!(scheduler.step_with_metric(1.0, &mut two).is_err());
}

#[test]
fn a_scheduler_is_known_by_its_keys() {
    for (name, setting) in fixture("schedulers/schedulers.json").as_object().unwrap() {
        let kind = setting["scheduler"].as_str().unwrap();
        assert_eq!(kind.parse::<SchedulerKind>().unwrap().to_string(), kind);
        match SchedulerKind::infer(&value(&setting["states"][0])) {
            Ok(found) => assert_eq!(found.name(), kind, "{name}"),
            Err(error) => assert!(["LambdaLR", "MultiplicativeLR"].contains(&kind), "{name}: {error}"),
        }
    }
    let weights = Value::from(Dict::from_iter([("weight", 1)]));
    let error = SchedulerKind::infer(&weights).unwrap_err().to_string();
    assert_eq!(error, "no scheduler of torch.optim.lr_scheduler has a state of weight");
    assert!("NoSuchLR".parse::<SchedulerKind>().is_err());
}
