//! Which parameters an optimizer has and which of them it trains: frozen ones, groups that leave parameters out, an order of one's
//! own, and optimizers that are made after a file's groups.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::Value;
use rekindle_testing::fixtures;
use rekindle_testing::tagged::{spell, value};
use rekindle_train::optim::{AdafactorOptions, AdamOptions, MuonOptions, Optimizer};

use crate::common::optim::{Model, device, entry, hyperparameters, others};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    second: Linear,
}

impl Net {
    fn new() -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(&device());
        Net { first: linear(4, 3), second: linear(3, 2) }
    }

    fn step(self, optimizer: &mut Optimizer) -> Self {
        let x = Tensor::<2>::ones([5, 4], &device());
        let loss = self.second.forward(self.first.forward(x).tanh()).powf_scalar(2.0).mean();
        optimizer.step(self, loss.backward()).unwrap()
    }

    fn bits(&self, name: &str) -> Vec<u32> {
        let weights = self.state_dict().unwrap().get(name).unwrap().to_vec::<f32>().unwrap();
        weights.into_iter().map(f32::to_bits).collect()
    }
}

fn names(optimizer: &Optimizer) -> Vec<&str> {
    optimizer.parameters().map(|named| named.name.as_str()).collect()
}

fn states(saved: &Value) -> usize {
    entry(saved, "state").as_dict().unwrap().entries().len()
}

#[test]
fn members_of_a_stepped_group_without_state_are_listed() {
    let case = &fixtures::named_cases("optim/state_dicts.json")["AdamW_one_without_gradient"];
    let model = Model::new("AdamW", false);
    let made = || Optimizer::builder(hyperparameters("AdamW", &value(&case["options"]))).build(&model).unwrap();
    let mut optimizer = made();
    assert_eq!(optimizer.without_state(), [Vec::<&str>::new()]);
    optimizer.load_state_dict(&model, &value(&case["fresh"])).unwrap();
    assert_eq!(optimizer.without_state(), [Vec::<&str>::new()]);
    optimizer.load_state_dict(&model, &value(&case["stepped"])).unwrap();
    assert_eq!(optimizer.without_state(), [["layer.weight"]]);
}

#[test]
fn what_is_frozen_stays_as_it_is_gets_no_state_and_stays_frozen_when_a_state_dict_is_loaded() {
    let net = Net::new();
    let before = net.bits("first.weight");
    let mut optimizer = Optimizer::adam(&net, AdamOptions::default()).unwrap();
    assert_eq!(optimizer.freeze("first.*").unwrap(), 2);
    let net = net.step(&mut optimizer);
    assert_eq!(net.bits("first.weight"), before);
    assert_eq!(optimizer.without_state(), [["first.weight", "first.bias"]]);
    let saved = optimizer.state_dict(&net).unwrap();
    assert_eq!(states(&saved), 2);

    optimizer.load_state_dict(&net, &saved).unwrap();
    assert_eq!(optimizer.frozen().collect::<Vec<_>>(), ["first.weight", "first.bias"]);
    let net = net.step(&mut optimizer);
    assert_eq!(net.bits("first.weight"), before);
    assert_eq!(optimizer.unfreeze("first.weight").unwrap(), 1);
    let net = net.step(&mut optimizer);
    assert_ne!(net.bits("first.weight"), before);
    assert_eq!(states(&optimizer.state_dict(&net).unwrap()), 3);
    assert!(optimizer.freeze("third.*").unwrap_err().to_string().contains("third.*"));
}

#[test]
fn parameters_outside_all_groups_are_left_out_when_told() {
    let net = Net::new();
    let builder = || Optimizer::builder(AdamOptions::default()).group("second.*", [("lr", 0.1)]);
    let error = builder().build(&net).unwrap_err().to_string();
    assert!(error.contains("2 parameters are in no group, 'first.weight' the first of them"), "{error}");
    let optimizer = builder().rest_frozen(true).build(&net).unwrap();
    assert_eq!(names(&optimizer), ["second.weight", "second.bias"]);
}

#[test]
fn a_group_has_its_parameters_in_the_order_that_is_said() {
    let net = Net::new();
    let order = ["second.bias", "first.weight", "second.weight", "first.bias"];
    let builder = || Optimizer::builder(AdamOptions::default());
    let mut optimizer = builder().order(order).build(&net).unwrap();
    assert_eq!(names(&optimizer), order);
    let net = net.step(&mut optimizer);
    let saved = optimizer.state_dict(&net).unwrap();
    let mut again = builder().order(order).build(&net).unwrap();
    again.load_state_dict(&net, &saved).unwrap();
    assert_eq!(spell(&again.state_dict(&net).unwrap(), true), spell(&saved, true));
    let error = builder().order(order[1..].to_vec()).build(&net).unwrap_err().to_string();
    assert_eq!(error, "the order of parameters leaves 'second.bias' out, which is in a group");
}

#[test]
fn muon_is_made_from_a_file_whose_groups_have_no_biases() {
    let net = Net::new();
    let mut made = Optimizer::builder(MuonOptions::default().lr(0.02)).exclude("*.bias").build(&net).unwrap();
    let net = net.step(&mut made);
    let saved = made.state_dict(&net).unwrap();
    let error = Optimizer::builder(MuonOptions::default()).build(&net).unwrap_err().to_string();
    assert!(error.contains("Muon trains matrices"), "{error}");
    let optimizer = Optimizer::builder(MuonOptions::default()).build_from(&net, &saved).unwrap();
    assert_eq!(names(&optimizer), ["first.weight", "second.weight"]);
    assert_eq!(spell(&optimizer.state_dict(&net).unwrap(), true), spell(&saved, true));

    // The groups of a file may have fewer still: the shapes tell which.
    let mut one = Optimizer::builder(MuonOptions::default()).exclude(others(vec!["second.weight".to_owned()]));
    one = one.named();
    let mut one = one.build(&net).unwrap();
    let net = net.step(&mut one);
    let optimizer =
        Optimizer::builder(MuonOptions::default()).build_from(&net, &one.state_dict(&net).unwrap()).unwrap();
    assert_eq!(names(&optimizer), ["second.weight"]);
}

#[test]
fn adafactor_s_d_is_checked_as_an_option_and_not_in_a_group_as_in_pytorch() {
    let net = Net::new();
    let error = Optimizer::adafactor(&net, AdafactorOptions::default().d(0.5)).unwrap_err().to_string();
    assert_eq!(error, "d must be at least 1, and is 0.5");
    let builder =
        Optimizer::builder(AdafactorOptions::default()).group("first.*", [("d", 0.5)]).group("*", [("d", 1.5)]);
    let mut optimizer = builder.build(&net).unwrap();
    let net = net.step(&mut optimizer);
    let saved = optimizer.state_dict(&net).unwrap();
    optimizer.load_state_dict(&net, &saved).unwrap();
    assert_eq!(optimizer.param_groups()[0].float("d").unwrap(), 0.5);
}
