//! A nanoGPT with tied weights goes on as it does in PyTorch: one parameter, the gradients of both its uses, both its names
//! in the file.

use crate::tied_gpt::{Apart, Gpt, Headless, Network, Turned, fixture, resumed, tokens, truth};
use burn::module::Module;
use burn::tensor::Device;
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::StateDict;
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::run::RunState;
use rekindle_train::Run;
use rekindle_train::clip::{ClipGradNorm, clip_grad_norm_};
use rekindle_train::ema::{AveragedModel, Averaging};
use rekindle_train::optim::{AdamWOptions, Optimizer};

const TIED: [&str; 2] = ["transformer.wte.weight", "lm_head.weight"];

fn loaded<N: Network>() -> N {
    let mut model = N::new(&Device::flex().autodiff());
    model.load_state_dict(&RunState::read(&Checkpoint::open(fixture("ckpt.pt")).unwrap()).unwrap().model).unwrap();
    model
}

fn names<M: Module>(model: &M) -> Vec<String> {
    model.named_parameters().unwrap().into_iter().map(|named| named.name).collect()
}

/// How far two tensors of a name are apart, in the 2-norm, relative to the second.
fn apart(one: &StateDict, other: &StateDict, name: &str) -> f64 {
    let [one, other] = [one, other].map(|state_dict| state_dict.get(name).unwrap().to_f64_vec().unwrap());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut one.iter().zip(&other).map(|(a, b)| a - b)) / norm(&mut other.iter().copied())
}

#[test]
fn a_tied_parameter_has_the_gradients_of_all_its_uses_as_in_pytorch() {
    fn check<N: Network>() {
        let (model, truth) = (loaded::<N>(), truth());
        assert_eq!(serde_json::json!(names(&model)), truth["names"]);
        let optimizer = Optimizer::adamw(&model, AdamWOptions::default()).unwrap();
        assert_eq!(optimizer.parameters().count(), 10);
        let mut grads = model.loss(&tokens()[0]).backward();
        let options = ClipGradNorm::new(f64::INFINITY);
        let norm = clip_grad_norm_(&model, optimizer.parameters(), &mut grads, options).unwrap();
        let expected = truth["norm"].as_f64().unwrap();
        assert!((norm / expected - 1.0).abs() < 1e-6, "{norm} for {expected}");
    }
    check::<Gpt>();
    check::<Headless>();
}

#[test]
fn a_tied_run_goes_on_as_in_pytorch_and_saves_both_names_on_one_storage() {
    fn check<N: Network>() {
        let (run, losses) = resumed::<N>();
        let expected: Vec<f64> = serde_json::from_value(truth()["losses"].clone()).unwrap();
        for (loss, expected) in losses.iter().zip(&expected) {
            assert!((loss / expected - 1.0).abs() < 1e-6, "{losses:?} for {expected:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        run.save(folder.path().join("ckpt.pt")).unwrap();
        let saved = Checkpoint::open(folder.path().join("ckpt.pt")).unwrap();
        let model = saved.state_dict("model").unwrap();
        let after = Checkpoint::open(fixture("after.pt")).unwrap().state_dict("").unwrap();
        assert_eq!(model.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        assert_eq!(model.tied(), [TIED]);
        for name in after.keys() {
            assert!(apart(&model, &after, name) < 1e-5, "{name}: {}", apart(&model, &after, name));
        }
        assert_eq!(saved.value("optimizer.state").unwrap().as_dict().unwrap().len(), 10);
    }
    check::<Gpt>();
    check::<Headless>();
    // What is one tensor in the file is one in the network, too, whatever it was made of.
    check::<Apart>();
}

#[test]
fn weights_that_are_one_in_the_file_and_lie_otherwise_in_the_network_are_refused_before_the_first_step() {
    let model = Turned::new(&Device::flex().autodiff());
    let error = Run::resume(Checkpoint::open(fixture("ckpt.pt")).unwrap(), model).unwrap_err().to_string();
    assert!(
        error.contains("'transformer.wte.weight' and 'lm_head.weight' are one tensor in the checkpoint"),
        "{error}"
    );
}

#[test]
fn the_average_of_a_tied_model_averages_it_under_both_names() {
    let (run, _) = resumed::<Gpt>();
    let mut average = AveragedModel::new(&loaded::<Gpt>(), Averaging::Ema { decay: 0.5 }).unwrap();
    // The first values are copied.
    average.update_parameters(&loaded::<Gpt>()).unwrap();
    average.update_parameters(run.model()).unwrap();
    let elements = |name: &str| average.module().get(name).unwrap().to_f64_vec().unwrap();
    assert_eq!(elements(TIED[0]), elements(TIED[1]));
    let own = run.model().state_dict().unwrap();
    assert!(apart(average.module(), &own, TIED[1]) > 1e-3);
}
