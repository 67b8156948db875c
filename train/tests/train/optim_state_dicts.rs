//! State dicts of every optimizer against PyTorch's own, fresh and after a step; what older releases wrote; and what is
//! refused.

use crate::common::optim::{Model, Parts, dict, entry, hyperparameters, in_form, others};
use burn::module::Param;
use burn::tensor::Tensor;
use rekindle_recorder::{Dict, Tensor as TorchTensor, Value};
use rekindle_testing::compare::differ;
use rekindle_testing::fixtures;
use rekindle_testing::tagged::{spell, value};
use rekindle_train::optim::{Hyperparameters, Optimizer, OptimizerKind};
use serde_json::Value as Json;

/// A sum whose gradient by a parameter is the parameter.
fn squares<const D: usize>(param: &Param<Tensor<D>>) -> Tensor<1> {
    (param.val() * param.val().detach()).sum()
}

/// A case of `state_dicts.json`.
struct Case {
    name: String,
    json: Json,
}

impl Case {
    fn all() -> Vec<Self> {
        let others = fixtures::named_cases("optim_others/state_dicts.json");
        let cases = fixtures::named_cases("optim/state_dicts.json").into_iter().chain(others);
        cases.map(|(name, json)| Case { name, json }).collect()
    }

    /// Those whose steps take any gradient and no closure: the others' are in `whole_state_dicts.rs`.
    fn stepped() -> Vec<Self> {
        let others = ["LBFGS", "SparseAdam"];
        Case::all().into_iter().filter(|case| !others.contains(&case.text("optimizer"))).collect()
    }

    /// Each optimizer's default construction.
    fn each() -> Vec<Self> {
        Case::all().into_iter().filter(|case| case.text("optimizer") == case.name).collect()
    }

    /// What older releases wrote.
    fn old() -> Vec<Self> {
        fixtures::named_cases("optim_old/old.json").into_iter().map(|(name, json)| Case { name, json }).collect()
    }

    fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let parameters = self.json["parameters"].as_array().unwrap();
        parameters.iter().map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Always with a kernel, which is then left out where the case has none.
    fn model(&self) -> Model {
        Model::new(self.text("optimizer"), true)
    }

    fn optimizer(&self, model: &Model) -> Optimizer {
        let builder = Optimizer::builder(hyperparameters(self.text("optimizer"), &value(&self.json["options"])));
        in_form(builder.exclude(others(self.names())), self.text("form")).build(model).unwrap()
    }

    /// One step, with the parameters as gradients.
    fn step(&self, model: Model, optimizer: &mut Optimizer) -> Model {
        let frozen = self.text("form") == "frozen";
        let loss = match &model.layer {
            Parts::Usual(parts) => {
                let rest = squares(&parts.bias) + squares(parts.kernel.as_ref().unwrap());
                if frozen { rest } else { rest + squares(&parts.weight) }
            }
            Parts::Matrices(parts) => squares(&parts.weight) + squares(&parts.bias),
        };
        optimizer.step(model, loss.backward()).unwrap()
    }
}

#[test]
fn a_fresh_optimizer_s_state_dict_is_pytorch_s_key_for_key() {
    for case in Case::stepped() {
        let model = case.model();
        let found = case.optimizer(&model).state_dict(&model).unwrap();
        assert_eq!(spell(&found, true), spell(&value(&case.json["fresh"]), true), "{}", case.name);
    }
}

#[test]
fn after_a_step_keys_types_and_shapes_are_pytorch_s() {
    for case in Case::stepped() {
        let model = case.model();
        let mut optimizer = case.optimizer(&model);
        let model = case.step(model, &mut optimizer);
        let found = optimizer.state_dict(&model).unwrap();
        assert_same(&found, &value(&case.json["stepped"]), &case.name);
    }
}

/// The same keys, types, shapes and numbers; the elements of tensors may be a few units apart, for PyTorch's square root.
fn assert_same(found: &Value, expected: &Value, what: &str) {
    assert_eq!(spell(found, false), spell(expected, false), "{what}");
    let apart = differ(found, expected, what);
    assert!(apart < 1e-6, "{what}: {apart:e}");
}

#[test]
fn what_is_loaded_comes_back_unchanged() {
    for case in Case::stepped() {
        for given in ["fresh", "stepped"] {
            let given = value(&case.json[given]);
            let model = case.model();
            let mut optimizer = case.optimizer(&model);
            optimizer.load_state_dict(&model, &given).unwrap();
            let found = optimizer.state_dict(&model).unwrap();
            assert_eq!(spell(&found, true), spell(&given, true), "{}", case.name);
            assert_eq!(OptimizerKind::infer(&found).unwrap(), optimizer.kind(), "{}", case.name);
            case.step(model, &mut optimizer);
        }
    }
}

#[test]
fn what_older_releases_wrote_is_read_as_pytorch_reads_it() {
    for case in Case::old() {
        let model = case.model();
        let mut optimizer = case.optimizer(&model);
        optimizer.load_state_dict(&model, &value(&case.json["saved"])).unwrap();
        let found = optimizer.state_dict(&model).unwrap();
        assert_eq!(spell(&found, true), spell(&value(&case.json["becomes"]), true), "{}", case.name);
        let model = case.step(model, &mut optimizer);
        assert_same(&optimizer.state_dict(&model).unwrap(), &value(&case.json["stepped"]), &case.name);
    }
}

#[test]
fn an_older_release_s_optimizer_is_known_by_its_keys_where_they_tell() {
    for case in Case::old() {
        let found = OptimizerKind::infer(&value(&case.json["saved"]));
        match case.name.as_str() {
            // AdamW's groups were the same.
            "Adam_of_1_12" => {
                let error = found.unwrap_err().to_string();
                assert!(
                    error.contains("Adam's or AdamW's")
                        && error.contains("`ResumeOptions::optimizer(OptimizerKind::AdamW)`"),
                    "{error}"
                );
            }
            "Adam_of_0_3" | "RAdam_of_1_10" => {
                let error = found.unwrap_err().to_string();
                assert!(
                    error.contains("RAdam's or Adam's")
                        && error.contains("`ResumeOptions::optimizer(OptimizerKind::RAdam)`"),
                    "{error}"
                );
            }
            _ => assert_eq!(found.unwrap().name(), case.text("optimizer"), "{}", case.name),
        }
    }
}

#[test]
fn options_are_refused_as_pytorch_s_constructors_refuse_them() {
    let pair = |a: f64, b: f64| Value::tuple([a.into(), b.into()]);
    for (optimizer, option, value, message) in [
        ("RMSprop", "alpha", Value::from(-0.1), "alpha must be at least 0, and is -0.1"),
        ("RMSprop", "momentum", (-0.5).into(), "momentum must be at least 0, and is -0.5"),
        ("Adagrad", "lr_decay", (-1.0).into(), "lr_decay must be at least 0, and is -1"),
        (
            "Adagrad",
            "initial_accumulator_value",
            (-1.0).into(),
            "initial_accumulator_value must be at least 0, and is -1",
        ),
        ("Adadelta", "rho", 1.5.into(), "rho must be at least 0 and at most 1, and is 1.5"),
        ("Adamax", "betas", pair(1.0, 0.9), "betas must be at least 0 and less than 1, and is 1"),
        ("NAdam", "momentum_decay", (-1.0).into(), "momentum_decay must be at least 0, and is -1"),
        ("RAdam", "eps", (-1e-8).into(), "eps must be at least 0, and is -0.00000001"),
        ("Rprop", "etas", pair(0.5, 1.0), "etas must be between 0 and 1 and above 1, and are 0.5 and 1"),
        ("ASGD", "lambd", f64::NAN.into(), "lambd must be at least 0, and is NaN"),
    ] {
        let case = Case::each().into_iter().find(|case| case.name == optimizer).unwrap();
        let model = case.model();
        let options = Dict::from_iter([(option, value)]).into();
        let error = Optimizer::builder(hyperparameters(optimizer, &options)).build(&model).unwrap_err();
        assert_eq!(error.to_string(), message, "{optimizer}");
    }
    let error = Hyperparameters::of(OptimizerKind::Rprop).with("betas", 0.9).unwrap_err().to_string();
    assert!(error.starts_with("Rprop has no option 'betas'; there are lr, etas, step_sizes, foreach,"), "{error}");
}

/// Loads a state dict that was spoilt; gives the one error, after which nothing may have changed.
fn refused(case: &Case, spoil: impl FnOnce(&Dict, &[Value])) -> String {
    let model = case.model();
    let mut optimizer = case.optimizer(&model);
    let before = spell(&optimizer.state_dict(&model).unwrap(), true);
    let given = value(&case.json["stepped"]);
    spoil(entry(&given, "state").as_dict().unwrap(), &entry(&given, "param_groups").items().unwrap());
    let error = optimizer.load_state_dict(&model, &given).unwrap_err().to_string();
    assert_eq!(spell(&optimizer.state_dict(&model).unwrap(), true), before, "{}: {error}", case.name);
    error
}

#[test]
fn another_optimizer_s_state_dict_is_refused_and_nothing_changes() {
    for case in Case::each() {
        let model = case.model();
        let mut optimizer = case.optimizer(&model);
        let before = spell(&optimizer.state_dict(&model).unwrap(), true);
        for other in Case::each() {
            let adams = ["Adam", "AdamW"];
            if other.name == case.name || adams.contains(&&*other.name) && adams.contains(&&*case.name) {
                continue;
            }
            let error = optimizer.load_state_dict(&model, &value(&other.json["stepped"])).unwrap_err().to_string();
            let expected = format!("'s, and the optimizer is {}", case.name);
            assert!(error.starts_with("the state dict is ") && error.contains(&other.name), "{error}");
            assert!(error.ends_with(&expected), "{error}");
            assert_eq!(spell(&optimizer.state_dict(&model).unwrap(), true), before, "{error}");
        }
    }
}

#[test]
fn another_number_of_groups_or_parameters_is_refused_and_nothing_changes() {
    for case in Case::all().into_iter().filter(|case| case.text("form") == "groups") {
        // Without names PyTorch goes by the number of groups, and of parameters in each.
        let fewer = refused(&case, |_, groups| {
            groups[0].as_dict().unwrap().insert("params", Value::list([0, 1].map(Value::from)));
            groups[1].as_dict().unwrap().insert("params", Value::list([]));
        });
        assert_eq!(fewer, "group 0 has 1 parameters, and in the state dict 2", "{}", case.name);
        let model = case.model();
        let mut optimizer = case.optimizer(&model);
        let before = spell(&optimizer.state_dict(&model).unwrap(), true);
        let whole =
            value(&Case::each().into_iter().find(|each| each.name == case.text("optimizer")).unwrap().json["stepped"]);
        let error = optimizer.load_state_dict(&model, &whole).unwrap_err().to_string();
        assert_eq!(error, "the optimizer has 2 groups, and the state dict has 1", "{}", case.name);
        assert_eq!(spell(&optimizer.state_dict(&model).unwrap(), true), before, "{}", case.name);
    }
    for case in Case::each() {
        let more = refused(&case, |_, groups| {
            groups[0].as_dict().unwrap().insert("params", Value::list((0..9).map(Value::from)));
        });
        assert!(more.starts_with("the optimizer's state is of 9 parameters, and the model has "), "{more}");
    }
}

#[test]
fn state_that_does_not_fit_a_parameter_is_refused_and_nothing_changes() {
    for case in Case::each() {
        let stepped = value(&case.json["stepped"]);
        let Some(state) = entry(&stepped, "state").as_dict().unwrap().get_key(&0.into()) else { continue };
        let entries = dict(&state);
        let of_its_shape =
            |(_, value): &&(String, Value)| value.as_tensor().is_some_and(|tensor| tensor.shape() == [2, 3]);
        let Some((moment, _)) = entries.iter().find(of_its_shape) else { continue };

        let error = refused(&case, |state, _| {
            let other = TorchTensor::from_vec(&[3, 2], vec![0.0_f32; 6]).unwrap();
            state.get_key(&0.into()).unwrap().as_dict().unwrap().insert(moment.as_str(), other);
        });
        let expected =
            format!("state[0].{moment} has shape [3, 2], and the parameter 'layer.weight' it would go to has [2, 3];");
        assert!(error.starts_with(&expected), "{}: {error}", case.name);

        let error = refused(&case, |state, _| drop(state.insert(7, Dict::new())));
        assert!(error.starts_with("state[7] is of a parameter that is in no group;"), "{}: {error}", case.name);

        if case.name == "SGD" || case.name == "Muon" || entries.len() == 1 {
            continue; // the first two begin a buffer that is missing, and without any state no step was made
        }
        let error = refused(&case, |state, _| {
            drop(state.get_key(&0.into()).unwrap().as_dict().unwrap().remove(moment));
        });
        assert_eq!(error, format!("there is no 'state[0].{moment}'; {} cannot go on without it", case.name));
        if !entries.iter().any(|(name, _)| name == "step") {
            continue; // it counts in its groups, or does not
        }
        let error = refused(&case, |state, _| {
            drop(state.get_key(&0.into()).unwrap().as_dict().unwrap().insert("step", "three"));
        });
        assert!(error.starts_with("state[0].step is a str, where a"), "{}: {error}", case.name);
    }
}
