//! State dicts of Adafactor, Muon, `SparseAdam` and LBFGS against PyTorch's own (`tests/fixtures/optim/state_dicts.json`), and
//! what is refused.

use crate::common::optim::{Matrices, Model, Parts, Usual, WHOLE, device, in_form};
use burn::module::Param;
use burn::nn::{EmbeddingConfig, LinearConfig};
use burn::tensor::{Int, Tensor, TensorData};
use rekindle_recorder::{Dict, Tensor as TorchTensor, Value};
use rekindle_testing::compare::differ;
use rekindle_testing::tagged::{spell, value};
use rekindle_testing::{fixtures, seeded};
use rekindle_train::optim::{
    AdafactorOptions, AdjustLr, Hyperparameters, LbfgsOptions, LineSearch, MuonOptions, Optimizer, OptimizerBuilder,
    OptimizerKind, Select, SgdOptions, SparseAdamOptions,
};
use serde_json::Value as Json;

/// The cases of these optimizers: name and case.
fn cases() -> Vec<(String, Json)> {
    let all = fixtures::named_cases("optim/state_dicts.json").into_iter();
    all.filter(|(_, case)| WHOLE.contains(&case["optimizer"].as_str().unwrap())).collect()
}

fn case(name: &str) -> Json {
    cases().into_iter().find(|(found, _)| found == name).unwrap().1
}

fn model(case: &Json) -> Model {
    let optimizer = case["optimizer"].as_str().unwrap();
    Model::new(optimizer, optimizer == "Adafactor")
}

/// Half the sum of squares; its gradient by each parameter is the parameter, or for `SparseAdam` the first row of it.
fn loss(model: &Model, first_row: bool) -> Tensor<1> {
    fn half<const D: usize>(param: &Param<Tensor<D>>, first_row: bool) -> Tensor<1> {
        let tensor = param.val();
        let tensor = if first_row { tensor.narrow(0, 0, 1) } else { tensor };
        (tensor.clone() * tensor).sum() * 0.5
    }
    match &model.layer {
        Parts::Usual(Usual { weight, bias, kernel }) => {
            let sum = half(weight, first_row) + half(bias, first_row);
            kernel.iter().fold(sum, |sum, kernel| sum + half(kernel, first_row))
        }
        Parts::Matrices(Matrices { weight, bias }) => half(weight, first_row) + half(bias, first_row),
    }
}

fn step(model: Model, optimizer: &mut Optimizer) -> Model {
    let first_row = optimizer.kind() == OptimizerKind::SparseAdam;
    let closure = |model: &Model| {
        let loss = loss(model, first_row);
        let grads = loss.backward();
        (loss, grads)
    };
    optimizer.step_closure(model, closure).unwrap().0
}

/// The optimizer of a case, made as in Rust one would make it.
fn builder(case: &Json) -> OptimizerBuilder {
    let options: Hyperparameters = match case["optimizer"].as_str().unwrap() {
        "LBFGS" => {
            let options = value(&case["options"]);
            let number = |name, default| options.as_dict().unwrap().get(name).map_or(default, |x| x.as_i64().unwrap());
            let line_search_fn = options.as_dict().unwrap().get("line_search_fn").map(|_| LineSearch::StrongWolfe);
            let max_iter = u32::try_from(number("max_iter", 20)).unwrap();
            let history_size = u32::try_from(number("history_size", 100)).unwrap();
            LbfgsOptions::default().max_iter(max_iter).history_size(history_size).line_search_fn(line_search_fn).into()
        }
        other => Hyperparameters::of(other.parse().unwrap()),
    };
    in_form(Optimizer::builder(options), case["form"].as_str().unwrap())
}

#[test]
fn a_fresh_optimizer_s_state_dict_is_pytorch_s_key_for_key() {
    for (name, case) in cases() {
        let model = model(&case);
        let found = builder(&case).build(&model).unwrap().state_dict(&model).unwrap();
        assert_eq!(spell(&found, true), spell(&value(&case["fresh"]), true), "{name}");
    }
}

#[test]
fn after_a_step_keys_order_types_and_shapes_are_pytorch_s() {
    for (name, case) in cases() {
        let model = model(&case);
        let mut optimizer = builder(&case).build(&model).unwrap();
        let model = step(model, &mut optimizer);
        let found = optimizer.state_dict(&model).unwrap();
        let expected = value(&case["stepped"]);
        if !name.starts_with("LBFGS") {
            let apart = differ(&found, &expected, &name);
            assert!(apart < 1e-6, "{name}: {apart:e}");
            continue;
        }
        // The step reaches the minimum, at 0: only rounding is left of the numbers, and the last of them is no tensor.
        let spell = |value: &Value| {
            let text = spell(value, false);
            let (before, after) = text.split_once("\"prev_loss\": ").unwrap();
            (before.to_owned(), after.split_once('}').unwrap().1.to_owned())
        };
        let (found, expected) = (spell(&found), spell(&expected));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn what_is_loaded_comes_back_unchanged_and_goes_on() {
    for (name, case) in cases() {
        for given in ["fresh", "stepped"] {
            let given = value(&case[given]);
            let model = model(&case);
            let mut optimizer = builder(&case).build(&model).unwrap();
            optimizer.load_state_dict(&model, &given).unwrap();
            let found = optimizer.state_dict(&model).unwrap();
            assert_eq!(spell(&found, true), spell(&given, true), "{name}");
            assert_eq!(OptimizerKind::infer(&found).unwrap(), optimizer.kind(), "{name}");
            step(model, &mut optimizer);
        }
    }
}

/// What is said when a state dict that was spoilt is loaded; nothing may have changed.
fn refused(name: &str, spoil: impl FnOnce(&Dict, &Dict)) -> String {
    let case = case(name);
    let model = model(&case);
    let mut optimizer = builder(&case).build(&model).unwrap();
    let model = step(model, &mut optimizer);
    let before = spell(&optimizer.state_dict(&model).unwrap(), true);
    let given = value(&case["stepped"]);
    let state = given.as_dict().unwrap().get("state").unwrap();
    let group = given.as_dict().unwrap().get("param_groups").unwrap().items().unwrap().remove(0);
    spoil(state.as_dict().unwrap(), group.as_dict().unwrap());
    let error = optimizer.load_state_dict(&model, &given).unwrap_err().to_string();
    assert_eq!(spell(&optimizer.state_dict(&model).unwrap(), true), before, "{error}");
    error
}

fn of(state: &Dict, id: i64) -> Dict {
    state.get_key(&id.into()).unwrap().as_dict().unwrap().clone()
}

fn zeros(shape: &[usize]) -> TorchTensor {
    TorchTensor::from_vec(shape, vec![0.0_f32; shape.iter().product()]).unwrap()
}

#[test]
fn state_that_does_not_fit_is_refused_by_name_and_nothing_changes() {
    let error = refused("Adafactor", |state, _| drop(of(state, 0).insert("row_var", zeros(&[2, 3]))));
    let expected = "state[0].row_var has shape [2, 3], and the parameter 'layer.weight' it would go to has [2, 3] and needs [2, 1];";
    assert!(error.starts_with(expected), "{error}");
    let error = refused("Adafactor", |state, _| drop(of(state, 2).remove("col_var")));
    assert_eq!(error, "there is no 'state[2].col_var'; Adafactor cannot go on without it");
    let error = refused("Adafactor", |_, group| drop(group.insert("eps", Value::tuple([Value::None, (-1.0).into()]))));
    assert_eq!(error, "eps must be at least 0, and is -1");

    let error = refused("Muon", |state, _| drop(of(state, 1).insert("momentum_buffer", zeros(&[2, 3]))));
    let expected =
        "state[1].momentum_buffer has shape [2, 3], and the parameter 'layer.bias' it would go to has [3, 2];";
    assert!(error.starts_with(expected), "{error}");
    let error = refused("Muon", |_, group| drop(group.insert("adjust_lr_fn", "rms")));
    assert_eq!(error, "there is no adjust_lr_fn 'rms'; there are original, match_rms_adamw, spectral_unclamped");

    let error = refused("SparseAdam", |state, _| drop(of(state, 0).insert("step", "three")));
    assert_eq!(error, "state[0].step is a str, where a number or a tensor of one element is expected");
    let error = refused("SparseAdam", |state, _| drop(of(state, 0).remove("exp_avg_sq")));
    assert_eq!(error, "there is no 'state[0].exp_avg_sq'; SparseAdam cannot go on without it");

    let error = refused("LBFGS", |state, _| drop(of(state, 0).insert("d", zeros(&[8]))));
    assert!(error.starts_with("state[0].d has shape [8], and the parameters have 9 elements together;"), "{error}");
    let error = refused("LBFGS", |state, _| drop(of(state, 0).insert("old_stps", Value::list([zeros(&[9]).into()]))));
    assert_eq!(error, "LBFGS's old_dirs, old_stps and ro must be of one length, and are of 2, 1 and 2");
    let error = refused("LBFGS", |state, _| drop(of(state, 0).remove("H_diag")));
    assert_eq!(error, "there is no 'state[0].H_diag'; LBFGS cannot go on without it");
    let error = refused("LBFGS", |_, group| drop(group.insert("history_size", 1)));
    assert_eq!(error, "LBFGS has a history of 2 steps, and its history_size is 1; set it to at least 2");
    let error = refused("LBFGS", |_, group| drop(group.insert("line_search_fn", "armijo")));
    assert_eq!(error, "there is no line_search_fn 'armijo'; there is strong_wolfe");

    for (name, other) in
        [("Adafactor", "Muon"), ("Muon", "SparseAdam"), ("SparseAdam", "LBFGS"), ("LBFGS", "Adafactor")]
    {
        let model = model(&case(name));
        let mut optimizer = builder(&case(name)).build(&model).unwrap();
        let error = optimizer.load_state_dict(&model, &value(&case(other)["stepped"])).unwrap_err().to_string();
        assert_eq!(error, format!("the state dict is {other}'s, and the optimizer is {name}"));
    }
}

#[test]
fn parameters_that_an_optimizer_cannot_train_are_refused() {
    let linear = seeded(LinearConfig::new(3, 2).init(&device()), 1);
    let error = Optimizer::builder(MuonOptions::default()).build(&linear).unwrap_err().to_string();
    assert!(error.starts_with("Muon trains matrices, and 'bias' has the shape [2];"), "{error}");
    let muon = MuonOptions::default().adjust_lr_fn(Some(AdjustLr::MatchRmsAdamW));
    assert!(Optimizer::builder(muon).exclude("bias").build(&linear).is_ok());

    let lbfgs = Optimizer::builder(LbfgsOptions::default());
    let error = lbfgs.group("weight", [("lr", 0.1)]).group("*", [("lr", 0.2)]).build(&linear).unwrap_err().to_string();
    assert_eq!(error, "LBFGS has one group of parameters, and 2 were given");
    for (options, message) in [
        (Hyperparameters::from(AdafactorOptions::default().d(0.5)), "d must be at least 1, and is 0.5"),
        (MuonOptions::default().ns_steps(100).into(), "ns_steps must be less than 100, and is 100"),
        (SparseAdamOptions::default().eps(0.0).into(), "eps must be more than 0, and is 0"),
        (LbfgsOptions::default().history_size(0).into(), "history_size must be at least 1, and is 0"),
        (
            LbfgsOptions::default().history_size(u32::MAX).into(),
            "an LBFGS with a history_size of 4294967295 is not supported; set it to 16777216 at most",
        ),
    ] {
        let built = Optimizer::builder(options).exclude("bias").build(&linear);
        assert_eq!(built.unwrap_err().to_string(), message);
    }
}

#[test]
fn lbfgs_steps_with_a_closure_only_and_the_others_with_either() {
    let model = seeded(LinearConfig::new(3, 2).init(&device()), 1);
    let loss = |model: &burn::nn::Linear| model.forward(Tensor::<2>::ones([1, 3], &device())).powf_scalar(2.0).sum();
    let mut lbfgs = Optimizer::builder(LbfgsOptions::default()).build(&model).unwrap();
    let error = lbfgs.step(model.clone(), loss(&model).backward()).unwrap_err().to_string();
    assert_eq!(error, "LBFGS evaluates the model several times in a step: call step_closure in place of step");
    let closure = |model: &burn::nn::Linear| {
        let loss = loss(model);
        let grads = loss.backward();
        (loss, grads)
    };
    let first = loss(&model).into_scalar::<f64>();
    let (after, before) = lbfgs.step_closure(model.clone(), closure).unwrap();
    assert_eq!(before, first);
    // A quadratic function, whose minimum is 0.
    assert!(loss(&after).into_scalar::<f64>() < 1e-10);

    let mut sgd = Optimizer::sgd(&model, SgdOptions::default().lr(0.05)).unwrap();
    let (after, before) = sgd.step_closure(model, closure).unwrap();
    assert_eq!(before, first);
    assert!(loss(&after).into_scalar::<f64>() < first);
}

#[test]
fn only_the_rows_that_are_touched_change() {
    let embedding = seeded(EmbeddingConfig::new(4, 2).init(&device()), 1);
    let step = |rows: Option<Vec<usize>>| {
        let mut optimizer = Optimizer::builder(SparseAdamOptions::default()).build(&embedding).unwrap();
        // A first step gives rows 1 and 2 moments; the second's gradient is of row 2.
        let mut model = embedding.clone();
        for tokens in [vec![1, 2], vec![2]] {
            let count = tokens.len();
            let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [1, count]), &device());
            let grads = model.forward(tokens).sum().backward();
            if let (1, Some(rows)) = (count, &rows) {
                optimizer.touch("weight", rows.clone()).unwrap();
            }
            model = optimizer.step(model, grads).unwrap();
        }
        let values = model.weight.val().into_data().try_into_vec::<f32>().unwrap();
        values.chunks(2).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    let (start, found, said) =
        (embedding.weight.val().into_data().try_into_vec::<f32>().unwrap(), step(None), step(Some(vec![2, 1, 2])));
    assert_eq!((&found[0][..], &found[3][..]), (&start[0..2], &start[6..8]));
    assert_eq!(found[2], said[2]);
    // Row 1 was touched, with a gradient of zeros: its moments move it on, as in PyTorch.
    assert_ne!(found[1], said[1]);

    let mut optimizer = Optimizer::builder(SparseAdamOptions::default()).build(&embedding).unwrap();
    let error = |found: rekindle_recorder::Result<()>| found.unwrap_err().to_string();
    assert_eq!(error(optimizer.touch("weight", [4])), "'weight' has 4 rows, and no row 4");
    assert_eq!(error(optimizer.touch("bias", [0])), "the optimizer has no parameter 'bias'");
    let mut sgd = Optimizer::sgd(&embedding, SgdOptions::default()).unwrap();
    let refused = error(sgd.touch("weight", [0]));
    assert_eq!(refused, "SGD updates every row; only SparseAdam asks which are touched");
}

#[test]
fn groups_of_a_file_are_found_by_the_shapes_of_adafactor_s_factors() {
    let case = case("Adafactor_groups");
    let model = model(&case);
    let given = value(&case["stepped"]);
    let mut optimizer = Optimizer::builder(AdafactorOptions::default()).build(&model).unwrap();
    optimizer.load_state_dict(&model, &given).unwrap();
    let sizes: Vec<usize> = optimizer.param_groups().iter().map(|group| group.params().len()).collect();
    assert_eq!(sizes, [1, 2]);
    assert_eq!(spell(&optimizer.state_dict(&model).unwrap(), true), spell(&given, true));
    let mut others = Optimizer::builder(AdafactorOptions::default()).exclude(Select::from("layer.weight"));
    others = others.group("*", [("lr", 0.1)]);
    assert!(others.build(&model).unwrap().load_state_dict(&model, &given).is_err());
}
