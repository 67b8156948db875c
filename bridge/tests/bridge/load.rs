//! Loading state dicts that do not fit as they are: ties, larger and smaller layers, other element types, frozen parameters,
//! and Burn's own stores.

use burn::module::{Module, Param, ParamId};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{DType as BurnDType, Device, Tensor as BurnTensor};
use burn_store::{KeyRemapper, ModuleSnapshot, ModuleStore, PathFilter};
use rekindle_burn::{LayerRows, ModuleStateDict, TorchStore};
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::tensor::{TensorClass, TensorParts};
use rekindle_recorder::{Checkpoint, DType, Dict, StateDict, Tensor};
use rekindle_testing::seeded;

/// A language model's ends: PyTorch ties `head.weight` to `words.weight`.
#[derive(Module, Debug)]
struct Tied {
    words: Embedding,
    middle: Linear,
}

#[derive(Module, Debug)]
struct Untied {
    words: Embedding,
    middle: Linear,
    head: Head,
}

#[derive(Module, Debug)]
struct Head {
    weight: Param<BurnTensor<2>>,
}

fn flex() -> Device {
    Device::flex()
}

fn tied(seed: i64) -> Tied {
    tied_on(&flex(), seed)
}

fn tied_on(device: &Device, seed: i64) -> Tied {
    let tied = Tied { words: EmbeddingConfig::new(4, 3).init(device), middle: LinearConfig::new(3, 3).init(device) };
    seeded(tied, seed)
}

fn untied(seed: i64) -> Untied {
    let Tied { words, middle } = tied(seed);
    Untied { words, middle, head: Head { weight: Param::from_tensor(BurnTensor::zeros([4, 3], &flex())) } }
}

fn counting(shape: &[usize], start: f32) -> Tensor {
    let count: usize = shape.iter().product();
    let elements = std::iter::successors(Some(start), |x| Some(x + 1.0)).take(count).collect();
    Tensor::from_vec::<f32>(shape, elements).unwrap()
}

fn again(tensor: &Tensor) -> Tensor {
    Tensor::new(tensor.parts().clone()).unwrap()
}

fn language_model() -> StateDict {
    let words = counting(&[4, 3], 0.0);
    StateDict::from_iter([
        ("words.weight", words.clone()),
        ("middle.weight", counting(&[3, 3], 100.0)),
        ("middle.bias", counting(&[3], 200.0)),
        ("head.weight", again(&words)),
    ])
}

fn floats(state_dict: &StateDict, key: &str) -> Vec<f32> {
    state_dict.get(key).unwrap().to_vec().unwrap()
}

#[test]
fn two_names_on_one_storage_load_into_one_parameter() {
    let mut model = tied(1);
    let report = model.load_state_dict(&language_model()).unwrap();
    assert_eq!(report.loaded, ["words.weight", "middle.weight", "middle.bias"]);
    let ties: Vec<_> = report.tied.iter().map(|tie| (tie.key.as_str(), tie.with.as_str())).collect();
    assert_eq!(ties, [("head.weight", "words.weight")]);
    assert!(report.is_exact());
    assert_eq!(
        report.to_string(),
        "the state dict matches the model: 3 keys loaded\ntied: head.weight is words.weight"
    );
}

#[test]
fn two_names_on_one_storage_load_into_two_parameters() {
    let mut model = untied(1);
    assert!(model.load_state_dict(&language_model()).unwrap().is_exact());
    assert_eq!(floats(&model.state_dict().unwrap(), "head.weight")[..4], [0.0, 1.0, 2.0, 3.0]);
}

#[test]
fn a_copy_under_an_unknown_name_is_no_tie_unless_it_is_declared() {
    let mut copied = language_model();
    copied.insert("head.weight", counting(&[4, 3], 0.0));
    let mut model = tied(1);
    let error = model.load_state_dict(&copied).unwrap_err();
    assert!(error.to_string().contains("unexpected"), "{error}");

    let rows = LayerRows::default().tied("head.weight", "words.weight");
    let load = |model: &mut Tied, state_dict: &StateDict| {
        model.load_state_dict_with_rows(state_dict, &LoadOptions::strict(), &rows)
    };
    assert_eq!(load(&mut model, &copied).unwrap().tied.len(), 1);
    // One of the two names is enough.
    copied.remove("words.weight");
    assert!(load(&mut model, &copied).unwrap().is_exact());
    let mut differing = language_model();
    differing.insert("head.weight", counting(&[4, 3], 1.0));
    assert_eq!(
        load(&mut model, &differing).unwrap_err().to_string(),
        "'head.weight' and 'words.weight' are tied in the module, and differ in the state dict; exclude one of them"
    );
}

#[test]
fn a_tied_module_saves_one_storage_under_both_names() {
    let declared = tied(1).state_dict_with(&LayerRows::default().tied("head.weight", "words.weight")).unwrap();
    assert_eq!(declared.tied(), [["words.weight", "head.weight"]]);

    let mut model = untied(1);
    model.head.weight = Param::initialized(model.words.weight.id, model.words.weight.val());
    let shared = model.state_dict().unwrap();
    assert_eq!(shared.tied(), [["words.weight", "head.weight"]]);

    let folder = rekindle_testing::scratch();
    let path = folder.path().join("tied.pt");
    Checkpoint::from(shared).save(&path).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().state_dict("").unwrap().tied(), [["words.weight", "head.weight"]]);
}

#[test]
fn a_warm_start_passes_over_what_has_another_shape_only_when_asked_to() {
    let mut other = language_model();
    other.insert("middle.weight", counting(&[5, 3], 0.0));
    other.remove("middle.bias");
    let mut model = tied(1);
    let before = floats(&model.state_dict().unwrap(), "middle.weight");
    model.load_state_dict_with(&other, &LoadOptions::lenient()).unwrap_err();
    let report = model.load_state_dict_with(&other, &LoadOptions::lenient().skip_mismatched()).unwrap();
    assert_eq!(
        report.to_string(),
        "the state dict does not match the model: 1 key missing, 1 passed over\n\
         missing (the model has them, the state dict does not):\n  middle.bias\n\
         tied: head.weight is words.weight\n\
         passed over: middle.weight is [3, 3] in the model and [5, 3] in the state dict"
    );
    let after = model.state_dict().unwrap();
    assert_eq!(floats(&after, "middle.weight"), before);
    assert_eq!(floats(&after, "words.weight")[11], 11.0);
}

#[test]
fn rows_that_both_have_are_loaded_where_part_of_a_layer_is_asked_for() {
    for rows in [2_usize, 6] {
        let mut other = language_model();
        other.remove("head.weight");
        other.insert("words.weight", counting(&[rows, 3], 50.0));
        let mut model = tied(1);
        let before = floats(&model.state_dict().unwrap(), "words.weight");
        model.load_state_dict_with(&other, &LoadOptions::strict().partial("head.*")).unwrap_err();
        let report = model.load_state_dict_with(&other, &LoadOptions::strict().partial("words.*")).unwrap();
        assert_eq!(report.partial[0].found, [rows, 3]);
        let after = floats(&model.state_dict().unwrap(), "words.weight");
        let common = rows.min(4) * 3;
        assert_eq!(after[..common], floats(&other, "words.weight")[..common]);
        assert_eq!(after[common..], before[common..]);
    }
    // A head is transposed in Burn: its rows are PyTorch's all the same.
    let mut model = tied(1);
    let mut other = language_model();
    other.insert("middle.weight", counting(&[2, 3], 7.0));
    other.insert("middle.bias", counting(&[2], 1.0));
    model.load_state_dict_with(&other, &LoadOptions::strict().partial("middle.*")).unwrap();
    assert_eq!(floats(&model.state_dict().unwrap(), "middle.weight")[..6], [7.0, 8.0, 9.0, 10.0, 11.0, 12.0]);
}

#[test]
fn the_model_keeps_its_element_types_or_adopts_the_files() {
    let single = language_model();
    let half: StateDict = single
        .iter()
        .map(|(name, tensor)| {
            let elements = tensor.to_vec::<f32>().unwrap().into_iter().map(half::bf16::from_f32).collect();
            (name, Tensor::from_vec::<half::bf16>(tensor.shape(), elements).unwrap())
        })
        .collect();
    let mut model = tied(1);
    let report = model.load_state_dict_with(&half, &LoadOptions::lenient()).unwrap();
    assert_eq!(report.cast.len(), 3);
    assert_eq!((report.cast[0].from, report.cast[0].to), (DType::BFloat16, DType::Float32));
    assert_eq!(model.middle.weight.val().dtype(), BurnDType::F32);

    let report = model.load_state_dict_with(&half, &LoadOptions::lenient().adopt_dtype()).unwrap();
    assert!(report.cast.is_empty());
    assert_eq!(model.middle.weight.val().dtype(), BurnDType::BF16);
    assert_eq!(model.state_dict().unwrap().get("middle.bias").unwrap().dtype(), DType::BFloat16);
}

#[test]
fn what_is_frozen_comes_from_the_file_when_asked_for() {
    let parameter = |tensor: Tensor, requires_grad: bool| {
        let class = TensorClass::Parameter { state: None };
        Tensor::new(TensorParts { requires_grad, class, ..tensor.parts().clone() }).unwrap()
    };
    let mut vars = language_model();
    vars.remove("head.weight");
    let options = LoadOptions::strict().requires_grad_from_file();
    let mut model = tied_on(&flex().autodiff(), 1);
    let error = model.load_state_dict_with(&vars, &options).unwrap_err().to_string();
    assert!(error.contains("keep_vars=True"), "{error}");

    for (key, requires_grad) in [("words.weight", false), ("middle.weight", true), ("middle.bias", false)] {
        let tensor = vars.get(key).unwrap().clone();
        vars.insert(key, parameter(tensor, requires_grad));
    }
    model.load_state_dict_with(&vars, &options).unwrap();
    let trained = model.named_parameters().unwrap().into_iter().map(|named| (named.name, named.requires_grad));
    let trained: Vec<(String, bool)> = trained.collect();
    let expected = [("words.weight", false), ("middle.weight", true), ("middle.bias", false)];
    assert_eq!(trained, expected.map(|(name, requires_grad)| (name.to_owned(), requires_grad)));
}

#[test]
fn the_models_weights_are_found_by_convention_where_there_is_one_candidate() {
    for key in ["model_state_dict", "state_dict", "model", "net"] {
        let root = Dict::from_iter([("epoch", 3.into()), (key, language_model().to_value())]);
        assert_eq!(Checkpoint::from(root).model_state_dict().unwrap().len(), 4, "{key}");
    }
    let two = [("modelA_state_dict", language_model()), ("modelB_state_dict", language_model())];
    let error = Checkpoint::from(Dict::from_iter(two)).model_state_dict().unwrap_err().to_string();
    assert!(error.contains("'modelB_state_dict'"), "{error}");
}

#[test]
fn burn_stores_read_and_write_pytorch_files() {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.pt");
    let model = untied(1);
    model.save_into(&mut TorchStore::from_file(&path).with_top_level_key("model_state_dict")).unwrap();
    let error = model.save_into(&mut TorchStore::from_file(&path)).unwrap_err().to_string();
    assert!(error.contains("exists"), "{error}");

    let mut store = TorchStore::from_file(&path);
    let keys = ["head.weight", "middle.bias", "middle.weight", "words.weight"];
    assert_eq!(store.keys().unwrap(), keys);
    let tensor = store.get_tensor("middle.weight").unwrap().unwrap();
    assert_eq!(burn_store::bridge::to_data(tensor).unwrap().shape().as_slice(), [3, 3]);

    let mut other = untied(2);
    let result = other.load_from(&mut store).unwrap();
    assert_eq!(result.applied.len(), 4);
    assert_eq!(
        floats(&other.state_dict().unwrap(), "words.weight"),
        floats(&model.state_dict().unwrap(), "words.weight")
    );

    // Burn's filter and remapping; what the filter leaves out is skipped, not missing.
    let mut renamed = tied(3);
    let mut store = TorchStore::from_file(&path)
        .remap(
            KeyRemapper::new()
                .add_pattern("^head", "words")
                .unwrap()
                .add_pattern("^words.weight$", "words.weight")
                .unwrap(),
        )
        .filter(PathFilter::new().with_regex("^middle"));
    let error = renamed.load_from(&mut store).unwrap_err().to_string();
    assert!(error.contains("would both become 'words.weight'"), "{error}");
    let mut store = TorchStore::from_file(&path).filter(PathFilter::new().with_regex("^middle"));
    let result = renamed.load_from(&mut store).unwrap();
    assert_eq!((result.applied.len(), result.skipped), (2, vec!["words.weight".to_owned()]));

    // Strict where nothing else is said, and the module is as it was.
    let before = floats(&renamed.state_dict().unwrap(), "middle.weight");
    let mut store = TorchStore::from_file(&path).filter(PathFilter::new().with_regex("^(middle.weight|head)"));
    renamed.load_from(&mut store).unwrap_err();
    assert_eq!(floats(&renamed.state_dict().unwrap(), "middle.weight"), before);
}

#[test]
fn a_panic_on_the_way_is_an_error_and_the_module_is_as_it_was() {
    let mut model = untied(1);
    let before = floats(&model.state_dict().unwrap(), "words.weight");
    // A parameter with a mapper shows how it lies only once it is made.
    let broken = Param::<BurnTensor<2>>::uninitialized(
        ParamId::new(),
        |_, _| panic!("the initialiser is broken"),
        flex(),
        true,
        [4, 3].into(),
    );
    model.head.weight = broken.load_mapper(|tensor| tensor);
    let error = model.load_state_dict(&language_model()).unwrap_err().to_string();
    assert_eq!(error, "the module could not be loaded, its code panicked: the initialiser is broken");
    assert_eq!(
        floats(&Tied { words: model.words, middle: model.middle }.state_dict().unwrap(), "words.weight"),
        before
    );
}

#[test]
fn burn_stores_read_and_write_safetensors_and_burnpack_by_the_same_rows() {
    let folder = rekindle_testing::scratch();
    for name in ["model.safetensors", "model.bpk", "model.npz"] {
        let path = folder.path().join(name);
        let model = tied(1);
        model.save_into(&mut TorchStore::from_file(&path)).unwrap();
        let state_dict = Checkpoint::open(&path).unwrap().model_state_dict().unwrap();
        assert_eq!(state_dict.get("middle.weight").unwrap().shape(), [3, 3], "{name}");
        let mut other = tied(2);
        let result = other.load_from(&mut TorchStore::from_file(&path)).unwrap();
        assert_eq!(result.applied.len(), 3, "{name}");
        let bias = |model: &Tied| floats(&model.state_dict().unwrap(), "middle.bias");
        assert_eq!(bias(&other), bias(&model), "{name}");
    }
}
