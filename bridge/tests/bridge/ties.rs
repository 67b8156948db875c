//! Fields that share a parameter are one tensor, whichever way they share it and however a state dict comes in.

use burn::module::{Module, Param, ParamId};
use burn::nn::{BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, Linear, LinearConfig, LinearLayout};
use burn::tensor::{DType as BurnDType, Device, FloatDType, Int, Tensor as BurnTensor};
use burn_store::ModuleSnapshot as _;
use proptest::prelude::*;
use rekindle_burn::{LayerRows, ModuleStateDict, Part, Row, TorchStore, load_with_config, save_with_config};
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::{DType, StateDict, Tensor};
use rekindle_testing::cases;

type Weight = Param<BurnTensor<2>>;

#[derive(Module, Debug)]
struct Head {
    weight: Weight,
}

#[derive(Module, Debug)]
struct Inner {
    heads: Vec<Head>,
    pair: (Linear, Option<Linear>),
}

/// A parameter in two fields, in a `Vec` and in a nested module; a layer in two places.
#[derive(Module, Debug)]
struct Net {
    words: Embedding,
    inner: Inner,
    last: Head,
    count: Param<BurnTensor<1, Int>>,
    again: Param<BurnTensor<1, Int>>,
}

const TIED: [&str; 4] = ["words.weight", "inner.heads.0.weight", "inner.heads.1.weight", "last.weight"];

fn net(device: &Device) -> Net {
    let words = EmbeddingConfig::new(4, 3).init(device);
    let head = || Head { weight: words.weight.clone() };
    let linear = LinearConfig::new(3, 2).init(device);
    let count = Param::initialized(ParamId::new(), BurnTensor::zeros([2], device));
    Net {
        inner: Inner { heads: vec![head(), head()], pair: (linear.clone(), Some(linear)) },
        last: head(),
        words,
        again: count.clone(),
        count,
    }
}

fn autodiff() -> Device {
    Device::flex().autodiff()
}

/// What PyTorch's module has, with elements that count up from `start`, each parameter's its own; tied names on one storage.
fn file(start: f32) -> StateDict {
    let counting = |shape: &[usize], start: f32| {
        let count: usize = shape.iter().product();
        let elements = std::iter::successors(Some(start), |x| Some(x + 1.0)).take(count).collect();
        Tensor::from_vec::<f32>(shape, elements).unwrap()
    };
    let words = counting(&[4, 3], start);
    let (weight, bias) = (counting(&[2, 3], start + 50.0), counting(&[2], start + 70.0));
    let count = Tensor::from_vec(&[2], vec![5_i64, 6]).unwrap();
    let names = TIED.map(|name| (name, words.alias()));
    let layers = ["inner.pair.0", "inner.pair.1"]
        .map(|layer| [(format!("{layer}.weight"), weight.alias()), (format!("{layer}.bias"), bias.alias())]);
    let counts = ["count", "again"].map(|name| (name.to_owned(), count.alias()));
    names
        .into_iter()
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .chain(layers.into_iter().flatten())
        .chain(counts)
        .collect()
}

fn elements(model: &impl Module, name: &str) -> Vec<f32> {
    model.state_dict().unwrap().get(name).unwrap().to_vec().unwrap()
}

/// The sum of the first row of each occurrence, times 1, 10, 100, 1000: as a gradient it tells which uses were counted.
fn uses(net: &Net) -> BurnTensor<1> {
    let heads = net.inner.heads.iter().chain([&net.last]).map(|head| &head.weight);
    let sums = std::iter::once(&net.words.weight).chain(heads).map(|weight| weight.val().sum());
    sums.zip([1.0, 10.0, 100.0, 1000.0]).map(|(sum, scale)| sum * scale).reduce(|a, b| a + b).unwrap()
}

/// Whether all occurrences have one gradient, which counts every use.
fn assert_one_leaf(net: &Net) {
    let grads = uses(net).backward();
    for weight in [&net.words.weight, &net.inner.heads[0].weight, &net.inner.heads[1].weight, &net.last.weight] {
        let grad = weight.grad(&grads).expect("it is a leaf with a gradient");
        assert_eq!(grad.into_data().iter::<f32>().collect::<Vec<_>>(), [1111.0; 12]);
    }
    let (one, other) = (&net.inner.pair.0, net.inner.pair.1.as_ref().unwrap());
    let grads = (one.weight.val().sum() + other.weight.val().sum() * 10.0).backward();
    for layer in [one, other] {
        let grad = layer.weight.grad(&grads).expect("it is a leaf with a gradient");
        assert_eq!(grad.into_data().iter::<f32>().collect::<Vec<_>>(), [11.0; 6]);
    }
}

/// Every occurrence by itself, as `to_device` and others of Burn leave them.
fn torn(mut net: Net) -> Net {
    let apart = |weight: &Weight| Param::initialized(weight.id, weight.val().detach().require_grad());
    for head in net.inner.heads.iter_mut().chain([&mut net.last]) {
        head.weight = apart(&head.weight);
    }
    net
}

#[test]
fn every_way_in_leaves_one_tensor_for_each_parameter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.pt");
    rekindle_recorder::Checkpoint::from(file(1.0)).save(&path).unwrap();
    for torn in [|net| net, torn] {
        let mut plain = torn(net(&autodiff()));
        assert!(plain.load_state_dict(&file(1.0)).unwrap().is_exact());
        let mut stored = torn(net(&autodiff()));
        stored.load_from(&mut TorchStore::from_file(&path)).unwrap();
        let mut made = torn(net(&autodiff()));
        uses(&made); // no parameter is waiting for its first value
        made.load_state_dict(&file(1.0)).unwrap();
        for net in [plain, stored, made] {
            assert_one_leaf(&net);
            assert_eq!(TIED.map(|name| elements(&net, name)), std::array::from_fn(|_| elements(&net, TIED[0])));
            assert_eq!(net.again.val().into_data().iter::<i64>().collect::<Vec<_>>(), [5, 6]);
        }
    }
    let configured = folder.path().join("configured.pt");
    save_with_config(&configured, "net", &(), &net(&autodiff())).unwrap();
    assert_one_leaf(&load_with_config(&configured, |_, ()| Ok(net(&autodiff()))).unwrap());
}

#[test]
fn a_tied_parameter_is_named_once_and_saved_under_every_name() {
    let mut net = net(&autodiff());
    for _ in 0..2 {
        let named = net.named_parameters().unwrap();
        let names: Vec<&str> = named.iter().map(|named| named.name.as_str()).collect();
        assert_eq!(names, ["words.weight", "inner.pair.0.weight", "inner.pair.0.bias"]);
        let state_dict = net.state_dict().unwrap();
        let tied = state_dict.tied();
        assert_eq!(tied.len(), 4, "{tied:?}");
        assert!(tied.iter().any(|names| names.len() == 4 && TIED.iter().all(|name| names.contains(name))));
        net.load_state_dict(&file(2.0)).unwrap();
    }
}

#[test]
fn one_name_of_a_tied_parameter_is_enough_and_two_must_agree() {
    for keep in TIED {
        let mut model = net(&autodiff());
        let mut one = file(3.0);
        one.retain(|name, _| name == keep || !TIED.contains(&name));
        assert!(model.load_state_dict(&one).unwrap().is_exact(), "{keep}");
        assert_one_leaf(&model);
        assert_eq!(elements(&model, TIED[3])[..2], [3.0, 4.0]);
    }
    // Copies are as good as one storage.
    let mut copied = file(3.0);
    copied.insert(
        "last.weight",
        Tensor::from_vec(&[4, 3], copied.get("words.weight").unwrap().to_vec::<f32>().unwrap()).unwrap(),
    );
    let mut model = net(&autodiff());
    model.load_state_dict(&copied).unwrap();
    assert_one_leaf(&model);

    copied.insert("last.weight", Tensor::from_vec(&[4, 3], vec![0.5_f32; 12]).unwrap());
    let error = model.load_state_dict(&copied).unwrap_err().to_string();
    assert_eq!(
        error,
        "'last.weight' and 'words.weight' are one parameter of the module, and differ in the state dict; exclude one of them, \
         or initialise the second by itself: a clone of a Burn module has the same parameters"
    );
    assert_eq!(elements(&model, "words.weight")[0], 3.0);
    let options = LoadOptions::strict().exclude("words.weight").exclude("inner.heads.*");
    model.load_state_dict_with(&copied, &options).unwrap();
    assert_eq!(elements(&model, "words.weight"), [0.5; 12]);
    assert_one_leaf(&model);
}

#[test]
fn a_clone_that_has_gone_its_own_way_is_no_tie() {
    // A network and its copy of an earlier time: Burn's clones have the same ids.
    #[derive(Module, Debug)]
    struct Agent {
        policy: Linear,
        target: Linear,
    }
    let policy: Linear = LinearConfig::new(3, 2).init(&autodiff());
    let mut agent = Agent { target: policy.clone(), policy };
    agent.policy.weight = agent.policy.weight.map(|weight| (weight + 1.0).detach().require_grad());
    let before = agent.state_dict().unwrap();
    agent.load_state_dict(&before).unwrap();
    let after = agent.state_dict().unwrap();
    for (name, tensor) in before.iter() {
        assert_eq!(tensor.to_le_bytes().unwrap(), after.get(name).unwrap().to_le_bytes().unwrap(), "{name}");
    }
    // What one of them lacks is not in the other.
    let mut part = before.clone();
    part.remove("target.weight");
    assert!(agent.load_state_dict(&part).unwrap_err().to_string().contains("target.weight"));
    part.insert("policy.weight", Tensor::from_vec(&[2, 3], vec![9.0_f32; 6]).unwrap());
    agent.load_state_dict_with(&part, &LoadOptions::lenient()).unwrap();
    assert_eq!(elements(&agent, "target.weight"), before.get("target.weight").unwrap().to_vec::<f32>().unwrap());

    // An optimizer could not tell a frozen copy from the network.
    agent.target = agent.policy.clone().no_grad();
    let error = agent.named_parameters().unwrap_err().to_string();
    assert!(error.starts_with("'target.weight' and 'policy.weight' have Burn parameters of one id"), "{error}");
    agent.load_state_dict(&before).unwrap();
    assert!(agent.policy.weight.val().is_require_grad() && !agent.target.weight.val().is_require_grad());
}

#[test]
fn a_parameter_that_two_layers_hold_in_different_forms_is_one_tensor() {
    // The second is a matrix that PyTorch has transposed, so that its elements must be the first's turned.
    #[derive(Module, Debug)]
    struct Ends {
        words: Embedding,
        out: Turned,
    }
    #[derive(Module, Debug)]
    struct Turned {
        weight: Weight,
    }
    let rows = LayerRows::default().with(Row::new("Turned").tensor("weight", Part::new("weight").transposed()));
    let words: Embedding = EmbeddingConfig::new(2, 3).init(&autodiff());
    let mut ends = Ends { out: Turned { weight: words.weight.clone() }, words };
    let straight = Tensor::from_vec(&[2, 3], vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let turned = Tensor::from_vec(&[3, 2], vec![1.0_f32, 4.0, 2.0, 5.0, 3.0, 6.0]).unwrap();
    let mut state_dict = StateDict::from_iter([("words.weight", straight), ("out.weight", turned)]);
    let strict = LoadOptions::strict();
    ends.load_state_dict_with_rows(&state_dict, &strict, &rows).unwrap();
    let grads = (ends.words.weight.val().sum() + ends.out.weight.val().sum()).backward();
    let grad = ends.out.weight.grad(&grads).unwrap();
    assert_eq!(grad.into_data().iter::<f32>().collect::<Vec<_>>(), [2.0; 6]);
    assert_eq!(ends.named_parameters_with(&rows).unwrap().len(), 1);
    let saved = ends.state_dict_with(&rows).unwrap();
    assert_eq!(saved.get("out.weight").unwrap().to_vec::<f32>().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);

    state_dict.insert("out.weight", Tensor::from_vec(&[3, 2], vec![0.0_f32; 6]).unwrap());
    let error = ends.load_state_dict_with_rows(&state_dict, &strict, &rows).unwrap_err().to_string();
    assert!(error.contains("are one parameter of the module, and differ"), "{error}");

    // A linear layer in column layout has a mapper, which stays its own.
    let linear: Linear = LinearConfig::new(3, 3).with_bias(false).with_layout(LinearLayout::Col).init(&autodiff());
    let mut pair = (linear.clone(), linear);
    pair.load_state_dict(&pair.state_dict().unwrap()).unwrap();
    let grads = (pair.0.weight.val().sum() + pair.1.weight.val().sum()).backward();
    assert_eq!(pair.1.weight.grad(&grads).unwrap().into_data().iter::<f32>().collect::<Vec<_>>(), [2.0; 9]);
}

#[test]
fn a_part_of_a_joined_tensor_that_is_shared_is_no_parameter_of_its_own() {
    use burn::nn::attention::MultiHeadAttentionConfig;
    let mut attention = MultiHeadAttentionConfig::new(4, 2).init(&autodiff());
    attention.key = attention.query.clone();
    let error = attention.named_parameters().unwrap_err().to_string();
    assert!(error.starts_with("'in_proj_weight' and 'in_proj_weight' have Burn parameters of one id"), "{error}");
    // It can be saved, and loaded as long as both parts agree.
    let state_dict = attention.state_dict().unwrap();
    attention.load_state_dict(&state_dict).unwrap();
    let grads = (attention.query.weight.val().sum() + attention.key.weight.val().sum()).backward();
    assert_eq!(attention.key.weight.grad(&grads).unwrap().into_data().iter::<f32>().collect::<Vec<_>>(), [2.0; 16]);
}

#[test]
fn tied_layers_beside_running_states_stay_tied() {
    #[derive(Module, Debug)]
    struct Normed {
        one: Linear,
        norm: BatchNorm,
        two: Linear,
    }
    for device in [Device::flex(), autodiff()] {
        let one: Linear = LinearConfig::new(2, 2).init(&device);
        let mut net = Normed { two: one.clone(), one, norm: BatchNormConfig::new(2).init(&device) };
        let mut state_dict = net.state_dict().unwrap();
        state_dict.insert("norm.running_mean", Tensor::from_vec(&[2], vec![1.0_f32, 2.0]).unwrap());
        net.load_state_dict(&state_dict).unwrap();
        let after = net.state_dict().unwrap();
        assert_eq!(after.get("norm.running_mean").unwrap().to_vec::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(net.named_parameters().unwrap().len(), 4);
        let net = net.train();
        if device.is_autodiff() {
            let grads = (net.one.weight.val().sum() + net.two.weight.val().sum()).backward();
            assert_eq!(net.two.weight.grad(&grads).unwrap().into_data().iter::<f32>().collect::<Vec<_>>(), [2.0; 4]);
        }
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn whatever_is_loaded_ties_stay_ties(
        names in prop::collection::vec(any::<bool>(), 4),
        dtype in prop::sample::select(vec![(FloatDType::F32, DType::Float32), (FloatDType::F64, DType::Float64)]),
        frozen in any::<bool>(),
        torn_before in any::<bool>(),
        others in any::<bool>(),
        start in -100_i16..100,
    ) {
        let mut model = net(&autodiff());
        if torn_before {
            model = torn(model);
        }
        if dtype.0 == FloatDType::F64 {
            // As a module in double precision has them.
            let cast = |weight: Weight| weight.map(|tensor| tensor.cast(BurnDType::F64).detach().require_grad());
            let words = cast(model.words.weight);
            model.inner.heads.iter_mut().for_each(|head| head.weight = words.clone());
            model.last.weight = words.clone();
            model.words.weight = words;
        }
        if frozen {
            model = model.no_grad();
        }
        let mut state_dict = file(start.into());
        state_dict.retain(|name, _| match TIED.iter().position(|tied| *tied == name) {
            Some(place) => names[place],
            None => others,
        });
        let before = elements_as_f64(&model, TIED[0]);
        model.load_state_dict_with(&state_dict, &LoadOptions::lenient()).unwrap();
        let loaded = names.contains(&true);
        let after = TIED.map(|name| elements_as_f64(&model, name));
        for elements in &after {
            prop_assert_eq!(elements[0], if loaded { f64::from(start) } else { before[0] });
            prop_assert_eq!(elements, &after[0]);
        }
        let state_dict = model.state_dict().unwrap();
        prop_assert_eq!(state_dict.get(TIED[3]).unwrap().dtype(), dtype.1);
        prop_assert_eq!(model.named_parameters().unwrap().len(), 3);
        prop_assert_eq!(model.last.weight.val().is_require_grad(), !frozen);
        // What was not loaded is as it was.
        if !frozen && loaded && (others || !torn_before) {
            assert_one_leaf(&model);
        }
    }
}

fn elements_as_f64(model: &Net, name: &str) -> Vec<f64> {
    model.state_dict().unwrap().get(name).unwrap().to_f64_vec().unwrap()
}
