//! Optimizer state dicts against PyTorch's own: `tests/fixtures/train/state_dicts.json`.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::{DType, Dict, Tensor as TorchTensor, Value};
use rekindle_testing::tagged::{spell, value};
use rekindle_testing::{fixtures, seeded};
use rekindle_train::optim::{
    AdamOptions, AdamWOptions, Hyperparameters, Optimizer, OptimizerBuilder, OptimizerKind, Select, SgdOptions,
};
use serde_json::Value as Json;

/// The section's `Net`.
#[derive(Module, Debug)]
struct Net {
    fc1: Linear,
    frozen: Linear,
    fc2: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Net {
            fc1: LinearConfig::new(3, 4).init(device),
            frozen: LinearConfig::new(4, 4).init(device).no_grad(),
            fc2: LinearConfig::new(4, 2).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        use burn::tensor::activation::relu;
        self.fc2.forward(relu(self.frozen.forward(relu(self.fc1.forward(x)))))
    }

    /// Any step: the arithmetic is tested elsewhere.
    fn step(self, optimizer: &mut Optimizer) -> Self {
        let device = Device::flex().autodiff();
        let loss =
            self.forward(Tensor::from_data([[0.5, -1.0, 2.0], [1.0, 1.0, -0.5]], &device)).powf_scalar(2.0).mean();
        optimizer.step(self, loss.backward()).unwrap()
    }
}

fn net() -> Net {
    seeded(Net::new(&Device::flex().autodiff()), 1)
}

/// The optimizer of a case, made as in Rust one would make it.
fn builder(case: &Json) -> OptimizerBuilder {
    let options = value(&case["options"]);
    let float =
        |name: &str, default: f64| options.as_dict().unwrap().get(name).map_or(default, |x| x.as_f64().unwrap());
    let amsgrad = float("amsgrad", 0.0) != 0.0;
    let betas = options.as_dict().unwrap().get("betas").and_then(|betas| betas.items());
    let betas = betas.map_or((0.9, 0.999), |betas| (betas[0].as_f64().unwrap(), betas[1].as_f64().unwrap()));
    let lr = float("lr", 1e-3);
    let hyperparameters: Hyperparameters = match case["optimizer"].as_str().unwrap() {
        "SGD" => SgdOptions::default().lr(lr).momentum(float("momentum", 0.0)).into(),
        "Adam" => AdamOptions::default().lr(lr).amsgrad(amsgrad).weight_decay(float("weight_decay", 0.0)).into(),
        "AdamW" => AdamWOptions::default()
            .lr(lr)
            .betas(betas)
            .amsgrad(amsgrad)
            .weight_decay(float("weight_decay", 0.01))
            .into(),
        other => panic!("{other}"),
    };
    let builder = Optimizer::builder(hyperparameters);
    match case["form"].as_str().unwrap() {
        "parameters" => builder,
        "named" => builder.named(),
        "groups" => builder
            .group(Select::matching(|parameter| parameter.shape.len() >= 2), [("weight_decay", 0.1)])
            .group("*", [("weight_decay", 0.0)]),
        other => panic!("{other}"),
    }
}

#[test]
fn keys_order_types_and_shapes_are_pytorch_s() {
    for case in &fixtures::cases("train/state_dicts.json") {
        if case["steps"].is_null() || case["name"] == "adamw_cosine" {
            continue;
        }
        let mut net = net();
        let mut optimizer = builder(case).build(&net).unwrap();
        for _ in 0..case["steps"].as_u64().unwrap() {
            net = net.step(&mut optimizer);
        }
        let found = optimizer.state_dict(&net).unwrap();
        assert_eq!(spell(&found, false), spell(&value(&case["state_dict"]), false), "{}", case["name"]);
    }
}

#[test]
fn what_is_loaded_comes_back_as_pytorch_would_write_it() {
    for case in &fixtures::cases("train/state_dicts.json") {
        let given = value(&case["state_dict"]);
        let expected = case.get("becomes").map_or_else(|| given.clone(), value);
        let net = net();
        let mut optimizer = builder(case).build(&net).unwrap();
        optimizer.load_state_dict(&net, &given).unwrap();
        let found = optimizer.state_dict(&net).unwrap();
        assert_eq!(spell(&found, true), spell(&expected, true), "{}", case["name"]);
        // And what an optimizer writes it takes again.
        optimizer.load_state_dict(&net, &found).unwrap();
        assert_eq!(spell(&optimizer.state_dict(&net).unwrap(), true), spell(&expected, true), "{}", case["name"]);
    }
}

#[test]
fn an_optimizer_that_was_loaded_goes_on_from_there() {
    let cases = fixtures::cases("train/state_dicts.json");
    for name in ["adamw", "sgd_momentum", "sgd_of_1_8", "adam_of_1_8", "adamw_amsgrad"] {
        let case = fixtures::case(&cases, name);
        let net = net();
        let mut optimizer = builder(case).build(&net).unwrap();
        optimizer.load_state_dict(&net, &value(&case["state_dict"])).unwrap();
        let before = net.state_dict().unwrap();
        let net = net.step(&mut optimizer);
        let after = net.state_dict().unwrap();
        let same =
            |name| before.get(name).unwrap().to_le_bytes().unwrap() == after.get(name).unwrap().to_le_bytes().unwrap();
        assert!(!same("fc1.weight") && !same("fc2.bias"), "{name}");
        assert!(same("frozen.weight") && same("frozen.bias"), "{name}");
        if name.starts_with("adam") {
            assert_eq!(optimizer.steps(), Some(3.0), "{name}");
        }
    }
}

/// The dict of the first parameter's state.
fn first_state(optimizer: &Value) -> Dict {
    let state = optimizer.as_dict().unwrap().get("state").unwrap();
    state.as_dict().unwrap().get_key(&Value::from(0)).unwrap().as_dict().unwrap().clone()
}

#[test]
fn a_step_of_doubles_becomes_a_single_where_pytorch_makes_it_one() {
    // PyTorch casts it where the group in the file is capturable or fused, and else leaves it alone.
    let net = net();
    let mut optimizer = Optimizer::adamw(&net, AdamWOptions::default()).unwrap();
    let cases = fixtures::cases("train/state_dicts.json");
    for (flag, expected) in [("capturable", DType::Float32), ("fused", DType::Float32), ("foreach", DType::Float64)] {
        let given = value(&fixtures::case(&cases, "adamw")["state_dict"]);
        first_state(&given).insert("step", TorchTensor::from_vec(&[], vec![2.0_f64]).unwrap());
        let groups = given.as_dict().unwrap().get("param_groups").unwrap().items().unwrap();
        groups[0].as_dict().unwrap().insert(flag, true);
        optimizer.load_state_dict(&net, &given).unwrap();
        let step = first_state(&optimizer.state_dict(&net).unwrap()).get("step").unwrap();
        assert_eq!(step.as_tensor().unwrap().dtype(), expected, "{flag}");
    }
}

#[test]
fn moments_lie_in_burn_as_the_weights_do() {
    // A linear layer's weight is [out, in] in PyTorch and [in, out] in Burn: with a moment of one large element the step
    // must change just that weight.
    let net = net();
    let mut optimizer = Optimizer::sgd(&net, SgdOptions::default().lr(1.0).momentum(0.5)).unwrap();
    let mut buffer = vec![0.0_f32; 12];
    buffer[7] = 1000.0;
    let state = Dict::new();
    let entry = Dict::new();
    entry.insert("momentum_buffer", TorchTensor::from_vec(&[4, 3], buffer).unwrap());
    state.insert(0, entry);
    let given = optimizer.state_dict(&net).unwrap();
    given.as_dict().unwrap().insert("state", state);
    optimizer.load_state_dict(&net, &given).unwrap();
    let before: Vec<f32> = net.state_dict().unwrap().get("fc1.weight").unwrap().to_vec().unwrap();
    let net = net.step(&mut optimizer);
    let after: Vec<f32> = net.state_dict().unwrap().get("fc1.weight").unwrap().to_vec().unwrap();
    for (place, (a, b)) in before.iter().zip(after).enumerate() {
        assert_eq!((a - b).abs() > 100.0, place == 7, "{place}: {a} and {b}");
    }
}

#[test]
fn groups_of_a_file_are_found_by_their_shapes_or_names() {
    let cases = fixtures::cases("train/state_dicts.json");
    let net = net();
    let grouped = value(&fixtures::case(&cases, "adamw_groups")["state_dict"]);
    // fc1.weight is [4, 3] and frozen.weight [4, 4]: matrices and vectors divide in one way only. What was never stepped has
    // no shape, and could be either.
    let mut optimizer = Optimizer::adamw(&net, AdamWOptions::default()).unwrap();
    let error = optimizer.load_state_dict(&net, &grouped).unwrap_err().to_string();
    assert!(error.contains("more than one way") && error.contains("`OptimizerBuilder::group`"), "{error}");

    let whole = Dict::from_iter(grouped.as_dict().unwrap().entries());
    let state = Dict::from_iter(whole.get("state").unwrap().as_dict().unwrap().entries());
    let like = |shape: &[usize]| {
        let zeros = || TorchTensor::from_vec(shape, vec![0.0_f32; shape.iter().product()]).unwrap();
        let entry = Dict::new();
        entry.insert("step", TorchTensor::scalar(2.0_f32));
        entry.insert("exp_avg", zeros());
        entry.insert("exp_avg_sq", zeros());
        entry
    };
    state.insert(1, like(&[4, 4]));
    state.insert(4, like(&[4]));
    whole.insert("state", state);
    let whole = Value::from(whole);
    optimizer.load_state_dict(&net, &whole).unwrap();
    let names: Vec<&str> = optimizer.parameters().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["fc1.weight", "frozen.weight", "fc2.weight", "fc1.bias", "frozen.bias", "fc2.bias"]);
    assert_eq!(optimizer.param_groups()[0].params(), 0..3);
    assert_eq!(spell(&optimizer.state_dict(&net).unwrap(), true), spell(&whole, true));

    // Names say it whatever the shapes, and whatever a wrapper put before them.
    for (place, names) in
        [["fc1.bias", "module.frozen.weight", "fc2.weight"], ["fc1.weight", "frozen.bias", "fc2.bias"]]
            .into_iter()
            .enumerate()
    {
        let groups = grouped.as_dict().unwrap().get("param_groups").unwrap().items().unwrap();
        groups[place].as_dict().unwrap().insert("param_names", Value::list(names.map(Value::from)));
    }
    grouped.as_dict().unwrap().insert("state", Dict::new());
    optimizer.load_state_dict(&net, &grouped).unwrap();
    let names: Vec<&str> = optimizer.parameters().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["fc1.bias", "frozen.weight", "fc2.weight", "fc1.weight", "frozen.bias", "fc2.bias"]);
}

#[test]
fn only_the_trained_parameters_may_have_been_given_to_the_optimizer() {
    let net = net();
    let trained = Optimizer::builder(AdamWOptions::default()).exclude("frozen.*");
    let mut optimizer = trained.build(&net).unwrap();
    let net = net.step(&mut optimizer);
    let saved = optimizer.state_dict(&net).unwrap();
    let mut whole = Optimizer::adamw(&net, AdamWOptions::default()).unwrap();
    whole.load_state_dict(&net, &saved).unwrap();
    let names: Vec<&str> = whole.parameters().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);
    assert_eq!(spell(&whole.state_dict(&net).unwrap(), true), spell(&saved, true));
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_changes_nothing() {
    let cases = fixtures::cases("train/state_dicts.json");
    let net = net();
    let mut optimizer = Optimizer::adamw(&net, AdamWOptions::default()).unwrap();
    optimizer.load_state_dict(&net, &value(&fixtures::case(&cases, "adamw_cosine")["state_dict"])).unwrap();
    let before = spell(&optimizer.state_dict(&net).unwrap(), true);
    let mut refused = |change: &dyn Fn(&Dict, &Dict)| {
        let given = value(&fixtures::case(&cases, "adamw")["state_dict"]);
        let dict = given.as_dict().unwrap();
        let group = dict.get("param_groups").unwrap().items().unwrap()[0].clone();
        change(dict.get("state").unwrap().as_dict().unwrap(), group.as_dict().unwrap());
        let error = optimizer.load_state_dict(&net, &given).unwrap_err().to_string();
        assert_eq!(spell(&optimizer.state_dict(&net).unwrap(), true), before, "{error}");
        error
    };
    let at = |state: &Dict, id: i64| state.get_key(&id.into()).unwrap().as_dict().unwrap().clone();
    let error = refused(&|state, _| {
        at(state, 4).insert("exp_avg_sq", TorchTensor::from_vec(&[4, 2], vec![0.0_f32; 8]).unwrap());
    });
    let expected = "state[4].exp_avg_sq has shape [4, 2], and the parameter 'fc2.weight' it would go to has [2, 4];";
    assert!(error.starts_with(expected), "{error}");
    let error = refused(&|state, _| drop(at(state, 1).remove("exp_avg")));
    assert_eq!(error, "there is no 'state[1].exp_avg'; AdamW cannot go on without it");
    let error = refused(&|state, _| drop(at(state, 1).insert("step", "three")));
    assert_eq!(error, "state[1].step is a str, where a number or a tensor of one element is expected");
    let error = refused(&|_, group| drop(group.insert("lr", "fast")));
    assert_eq!(error, "param_groups[0].lr is a str, where a number is expected");
    let error = refused(&|_, group| drop(group.insert("betas", Value::tuple([0.9.into(), 1.0.into()]))));
    assert_eq!(error, "betas must be at least 0 and less than 1, and is 1");
    let error = refused(&|_, group| drop(group.insert("params", Value::list((0..9).map(Value::from)))));
    assert!(error.starts_with("the optimizer's state is of 9 parameters, and the model has 6;"), "{error}");
    let error = refused(&|_, group| drop(group.insert("params", Value::list([0, 0, 1, 2, 3, 4].map(Value::from)))));
    assert_eq!(error, "parameter 0 is in group 0 and again in group 0");

    let sgd = value(&fixtures::case(&cases, "sgd")["state_dict"]);
    let error = optimizer.load_state_dict(&net, &sgd).unwrap_err().to_string();
    assert_eq!(error, "the state dict is SGD's, and the optimizer is AdamW");
}

#[test]
fn an_optimizer_is_known_by_its_keys() {
    let cases = fixtures::cases("train/state_dicts.json");
    for case in &cases {
        let found = OptimizerKind::infer(&value(&case["state_dict"]));
        let expected = case["optimizer"].as_str().unwrap();
        if case["name"].as_str().unwrap().starts_with("adam") && case.get("becomes").is_some() {
            assert!(
                found
                    .unwrap_err()
                    .to_string()
                    .contains("optimizer(OptimizerKind::Adam)` or `ResumeOptions::optimizer(OptimizerKind::AdamW)`")
            );
        } else {
            assert_eq!(found.unwrap().name(), expected, "{}", case["name"]);
        }
    }
    let group = |names: &[&str]| names.iter().map(|name| (*name, 1)).collect::<Dict>();
    let state_dict = |group: Dict| Value::from(Dict::from_iter([("param_groups", Value::list([group.into()]))]));
    let error = OptimizerKind::infer(&state_dict(group(&["weight"]))).unwrap_err().to_string();
    let expected = "this is not the state dict of an optimizer: no optimizer of torch.optim has groups of weight";
    assert_eq!(error, expected);
    let error = "Lion".parse::<OptimizerKind>().unwrap_err().to_string();
    assert!(error.starts_with("the optimizer Lion is not supported; there are SGD, Adam, AdamW,"), "{error}");
}

#[test]
fn a_model_that_is_not_the_optimizer_s_is_refused() {
    let (net, other) = (net(), net());
    let mut optimizer = Optimizer::adamw(&net, AdamWOptions::default()).unwrap();
    let device = Device::flex().autodiff();
    let loss = other.forward(Tensor::ones([1, 3], &device)).sum();
    let error = optimizer.step(other, loss.backward()).unwrap_err().to_string();
    assert!(error.starts_with("the optimizer's parameter 'fc1.weight' is not in this model;"), "{error}");
}

#[test]
fn groups_must_hold_every_parameter_once() {
    let net = net();
    let build = |patterns: &[&str]| {
        let start = Optimizer::builder(SgdOptions::default());
        patterns.iter().fold(start, |builder, pattern| builder.group(*pattern, [("lr", 0.1); 1])).build(&net)
    };
    assert!(build(&["*.weight", "*"]).is_ok());
    let error = build(&["*.weight"]).unwrap_err().to_string();
    assert!(error.starts_with("3 parameters are in no group, 'fc1.bias' the first of them;"), "{error}");
    let error = build(&["*", "*.bias"]).unwrap_err().to_string();
    assert!(error.starts_with("group 1 has no parameters"), "{error}");
    assert!(build(&["{"]).is_err());
    let refused = Optimizer::sgd(&net, SgdOptions::default().nesterov(true)).unwrap_err().to_string();
    assert_eq!(refused, "Nesterov momentum requires a momentum and zero dampening");
    let refused = Optimizer::sgd(&net, SgdOptions::default().lr(-1.0)).unwrap_err().to_string();
    assert_eq!(refused, "lr must be at least 0, and is -1");
}

#[test]
fn a_group_can_be_added_later() {
    let net = net();
    let mut optimizer = Optimizer::builder(AdamWOptions::default()).exclude("fc2.*").named().build(&net).unwrap();
    let net = net.step(&mut optimizer);
    optimizer.add_param_group(&net, "fc2.*", [("lr", 0.5), ("weight_decay", 0.0)]).unwrap();
    let error = optimizer.add_param_group(&net, "*", [("lr", 0.5)]).unwrap_err().to_string();
    assert!(error.starts_with("group 2 has no parameters: none is left that fits"), "{error}");
    assert_eq!(optimizer.lr().unwrap(), [1e-3, 0.5]);
    assert_eq!(optimizer.param_groups()[1].params(), 4..6);

    // It is trained from then on, with steps counted from there, and saved and loaded with the others.
    let before: Vec<f32> = net.state_dict().unwrap().get("fc2.bias").unwrap().to_vec().unwrap();
    let net = net.step(&mut optimizer);
    let after: Vec<f32> = net.state_dict().unwrap().get("fc2.bias").unwrap().to_vec().unwrap();
    assert!(before.iter().zip(after).all(|(a, b)| ((a - b).abs() - 0.5).abs() < 1e-3));
    let saved = optimizer.state_dict(&net).unwrap();
    let step = |id: i64| saved.as_dict()?.get("state")?.as_dict()?.get_key(&id.into())?.as_dict()?.get("step");
    let step = |id| step(id).unwrap().as_tensor().unwrap().to_f64_vec().unwrap();
    assert_eq!((step(0), step(4)), (vec![2.0], vec![1.0]));
    let mut whole = Optimizer::adamw(&net, AdamWOptions::default()).unwrap();
    whole.load_state_dict(&net, &saved).unwrap();
    assert_eq!(spell(&whole.state_dict(&net).unwrap(), true), spell(&saved, true));
}
