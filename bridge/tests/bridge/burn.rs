//! State dicts of Burn modules: names, order and shapes as PyTorch's, loading whole or not at all.

use burn::module::{Flag, Module, Param, ParamId};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose1dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, EmbeddingConfig, GroupNormConfig, InstanceNormConfig,
    LayerNormConfig, Linear, LinearConfig, LinearLayout, PReluConfig, RmsNormConfig,
};
use burn::tensor::{Bool, Device, Int, Tensor as BurnTensor, TensorData};
use rekindle_burn::{LayerRows, ModuleStateDict, Part, Role, Row, Transform};
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::{DType, ErrorKind, StateDict, Tensor};

fn flex() -> Device {
    Device::flex()
}

#[derive(Module, Debug)]
enum Norm {
    Batch(BatchNorm),
    None(Nothing),
}

#[derive(Module, Debug)]
struct Nothing {}

#[derive(Module, Debug)]
struct Net {
    scale: Param<BurnTensor<1>>,
    conv: Conv2d,
    norms: Vec<Norm>,
    drop: Dropout,
    absent: Option<Linear>,
    pair: (Linear, Linear),
    last: Param<BurnTensor<2>>,
}

fn net(device: &Device) -> Net {
    let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
    Net {
        scale: Param::from_data([2.0_f32], device),
        conv: Conv2dConfig::new([1, 2], [3, 3]).with_bias(false).init(device),
        norms: vec![Norm::Batch(BatchNormConfig::new(2).init(device)), Norm::None(Nothing {})],
        drop: DropoutConfig::new(0.5).init(),
        absent: None,
        pair: (linear(3, 4), linear(4, 2)),
        last: Param::from_data([[1.0_f32, 2.0], [3.0, 4.0]], device),
    }
}

fn keys(state_dict: &StateDict) -> Vec<&str> {
    state_dict.keys().collect()
}

fn metadata(state_dict: &StateDict) -> Vec<(String, i64)> {
    let metadata = state_dict.metadata().expect("a state dict has _metadata");
    let entries = metadata.as_dict().expect("_metadata is a dict").entries();
    let version = |path: &str| state_dict.version(path).expect("every module has a version");
    entries
        .iter()
        .map(|(path, _)| path.as_str().expect("paths are strings").to_owned())
        .map(|path| {
            let version = version(&path);
            (path, version)
        })
        .collect()
}

fn floats(state_dict: &StateDict, key: &str) -> Vec<f32> {
    state_dict.get(key).expect("the key is there").to_vec().expect("it is float32")
}

/// The same keys and shapes, with elements that count up from `start`.
fn counting(like: &StateDict, start: f32) -> StateDict {
    let mut next = start;
    let mut out = like.clone();
    for (key, tensor) in like.iter() {
        if tensor.dtype() == DType::Float32 {
            let elements = (0..tensor.numel()).map(|_| {
                next += 1.0;
                next
            });
            out.insert(key, Tensor::from_vec(tensor.shape(), elements.collect::<Vec<_>>()).unwrap());
        }
    }
    out
}

#[test]
fn keys_stand_as_pytorch_has_them_parameters_then_buffers_then_children() {
    let state_dict = net(&flex()).state_dict().unwrap();
    assert_eq!(
        keys(&state_dict),
        [
            "scale",
            "last",
            "conv.weight",
            "norms.0.weight",
            "norms.0.bias",
            "norms.0.running_mean",
            "norms.0.running_var",
            "norms.0.num_batches_tracked",
            "pair.0.weight",
            "pair.0.bias",
            "pair.1.weight",
            "pair.1.bias",
        ]
    );
    assert_eq!(state_dict.get("pair.0.weight").unwrap().shape(), [4, 3]);
    assert_eq!(state_dict.get("conv.weight").unwrap().shape(), [2, 1, 3, 3]);
    let count = state_dict.get("norms.0.num_batches_tracked").unwrap();
    assert_eq!((count.dtype(), count.shape(), count.item().unwrap()), (DType::Int64, &[][..], 0.0));
    let versions = metadata(&state_dict);
    let versions: Vec<(&str, i64)> = versions.iter().map(|(path, version)| (path.as_str(), *version)).collect();
    assert_eq!(
        versions,
        [
            ("", 1),
            ("conv", 1),
            ("norms", 1),
            ("norms.0", 2),
            ("norms.1", 1),
            ("drop", 1),
            ("pair", 1),
            ("pair.0", 1),
            ("pair.1", 1)
        ]
    );
    for (key, tensor) in state_dict.iter() {
        assert!(!tensor.requires_grad() && tensor.is_contiguous() && tensor.device() == "cpu", "{key}");
    }
}

#[test]
fn what_is_loaded_is_what_comes_back() {
    for device in [flex(), flex().autodiff()] {
        let mut net = net(&device);
        let wanted = counting(&net.state_dict().unwrap(), 0.0);
        let report = net.load_state_dict(&wanted).unwrap();
        assert_eq!(report.loaded.len(), wanted.len() - 1, "all but the count of batches, which burn-nn lacks");
        let got = net.state_dict().unwrap();
        assert_eq!(keys(&got), keys(&wanted));
        for (key, tensor) in wanted.iter() {
            assert_eq!(got.get(key).unwrap().to_le_bytes().unwrap(), tensor.to_le_bytes().unwrap(), "{key}");
        }
    }
}

#[test]
fn a_linear_layer_computes_with_the_transposed_matrix_in_both_layouts() {
    let device = flex();
    let mut wanted = StateDict::new();
    wanted.insert("weight", Tensor::from_vec(&[2, 3], vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap());
    wanted.insert("bias", Tensor::from_vec(&[2], vec![10.0_f32, 20.0]).unwrap());
    for layout in [LinearLayout::Row, LinearLayout::Col] {
        for initialised in [false, true] {
            let mut linear = LinearConfig::new(3, 2).with_layout(layout).init(&device);
            if initialised {
                linear.weight.val();
            }
            linear.load_state_dict(&wanted).unwrap();
            let output = linear.forward(BurnTensor::<2>::from_floats([[1.0, 0.0, -1.0]], &device));
            assert_eq!(output.into_data().as_slice::<f32>().unwrap(), [8.0, 18.0], "{layout:?}");
            assert_eq!(floats(&linear.state_dict().unwrap(), "weight"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);

            // Burn's own records still hold what they held: the mappers of the column layout are kept.
            let record = linear.clone().into_record();
            let again = LinearConfig::new(3, 2).with_layout(layout).init(&device).load_record(record);
            assert_eq!(floats(&again.state_dict().unwrap(), "weight"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        }
    }
}

#[test]
fn each_layer_of_burn_nn_has_pytorchs_names_and_versions() {
    let device = flex();
    let check = |state_dict: StateDict, names: &[&str], version| {
        assert_eq!(keys(&state_dict), names);
        assert_eq!(metadata(&state_dict), [(String::new(), version)]);
    };
    check(LayerNormConfig::new(3).init(&device).state_dict().unwrap(), &["weight", "bias"], 1);
    check(GroupNormConfig::new(1, 3).init(&device).state_dict().unwrap(), &["weight", "bias"], 1);
    check(RmsNormConfig::new(3).init(&device).state_dict().unwrap(), &["weight"], 1);
    check(InstanceNormConfig::new(3).init(&device).state_dict().unwrap(), &["weight", "bias"], 2);
    check(PReluConfig::new().init(&device).state_dict().unwrap(), &["weight"], 1);
    check(EmbeddingConfig::new(5, 3).init(&device).state_dict().unwrap(), &["weight"], 1);
    let transposed = ConvTranspose1dConfig::new([2, 4], 3).init(&device).state_dict().unwrap();
    assert_eq!(transposed.get("weight").unwrap().shape(), [2, 4, 3]);
    check(transposed, &["weight", "bias"], 1);
}

#[test]
fn a_state_dict_is_a_snapshot() {
    let device = flex().autodiff();
    let mut linear = LinearConfig::new(2, 2).init(&device);
    let first = counting(&linear.state_dict().unwrap(), 0.0);
    linear.load_state_dict(&first).unwrap();
    let snapshot = linear.state_dict().unwrap();
    // An update in place over the same buffers.
    linear.weight = linear.weight.map(|weight| weight.inner().mul_scalar(0.0).autodiff().require_grad());
    assert_eq!(floats(&linear.state_dict().unwrap(), "weight"), [0.0; 4]);
    assert_eq!(floats(&snapshot, "weight"), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn a_strict_load_names_every_key_and_changes_nothing() {
    let mut net = net(&flex());
    let before = net.state_dict().unwrap();
    let mut wrong = counting(&before, 0.0);
    wrong.remove("conv.weight");
    wrong.remove("pair.0.bias");
    wrong.insert("pair.2.weight", Tensor::scalar(1.0_f32));
    wrong.insert("scale", Tensor::from_vec(&[3], vec![0.0_f32; 3]).unwrap());

    let error = net.load_state_dict(&wrong).unwrap_err();
    let ErrorKind::Mismatch(report) = error.kind() else { panic!("{error}") };
    assert_eq!(report.missing, ["conv.weight", "pair.0.bias"]);
    assert_eq!(report.unexpected, ["pair.2.weight"]);
    let mismatched = &report.mismatched[0];
    assert_eq!(
        (mismatched.key.as_str(), &mismatched.expected[..], &mismatched.found[..]),
        ("scale", &[1][..], &[3][..])
    );
    let after = net.state_dict().unwrap();
    for (key, tensor) in before.iter() {
        assert_eq!(after.get(key).unwrap().to_le_bytes().unwrap(), tensor.to_le_bytes().unwrap(), "{key}");
    }

    // Leniency is for keys alone.
    let error = net.load_state_dict_with(&wrong, &LoadOptions::lenient()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Mismatch(_)), "{error}");
    wrong.remove("scale");
    let report = net.load_state_dict_with(&wrong, &LoadOptions::lenient()).unwrap();
    assert_eq!(report.missing, ["scale", "conv.weight", "pair.0.bias"]);
    let after = net.state_dict().unwrap();
    assert_eq!(floats(&after, "pair.0.weight"), floats(&wrong, "pair.0.weight"));
    for key in &report.missing {
        assert_eq!(floats(&after, key), floats(&before, key), "{key}");
    }
}

#[test]
fn the_count_of_batches_may_be_missing_or_too_much() {
    let mut norm = BatchNormConfig::new(2).init(&flex());
    let mut state_dict = counting(&norm.state_dict().unwrap(), 0.0);
    state_dict.insert("num_batches_tracked", Tensor::scalar(12_i64));
    assert!(norm.load_state_dict(&state_dict).unwrap().is_exact());
    state_dict.remove("num_batches_tracked");
    assert!(norm.load_state_dict(&state_dict).unwrap().is_exact());
}

#[test]
fn a_running_state_is_written_with_its_last_update_and_loaded_over_it() {
    let device = flex().autodiff();
    let mut norm = BatchNormConfig::new(1).with_momentum(1.0).init(&device);
    let train = |norm: &BatchNorm| norm.forward(BurnTensor::<2>::from_floats([[1.0], [3.0]], &device));

    let clone = norm.clone();
    train(&norm);
    assert_eq!(floats(&norm.state_dict().unwrap(), "running_mean"), [2.0], "the update was still pending in Burn");

    let mut wanted = norm.state_dict().unwrap();
    wanted.insert("running_mean", Tensor::from_vec(&[1], vec![7.0_f32]).unwrap());
    train(&norm);
    norm.load_state_dict(&wanted).unwrap();
    assert_eq!(floats(&norm.state_dict().unwrap(), "running_mean"), [7.0], "no pending update comes over it");
    assert_eq!(floats(&norm.valid().state_dict().unwrap(), "running_mean"), [7.0]);
    assert_eq!(floats(&clone.state_dict().unwrap(), "running_mean"), [2.0], "a clone made before keeps its own");

    let output = norm.valid().forward(BurnTensor::<2>::from_floats([[7.0]], &flex()));
    assert_eq!(output.into_data().as_slice::<f32>().unwrap(), [0.0], "evaluation uses what was loaded");
    train(&norm);
    assert_eq!(floats(&norm.state_dict().unwrap(), "running_mean"), [2.0], "training goes on from it");
}

#[test]
fn loading_keeps_ids_devices_flags_and_what_is_trained() {
    for device in [flex(), flex().autodiff()] {
        let mut net = net(&device);
        net.pair.0 = net.pair.0.no_grad();
        net.drop.training = net.drop.training.with_value(false);
        let before: Vec<_> = net.named_parameters().unwrap();
        let state_dict = counting(&net.state_dict().unwrap(), 0.0);
        net.load_state_dict(&state_dict).unwrap();
        assert_eq!(net.named_parameters().unwrap(), before);
        assert!(before.iter().all(|parameter| parameter.requires_grad != parameter.name.starts_with("pair.0")));
        assert!(!net.drop.training.is_enabled());
        let Norm::Batch(norm) = &net.norms[0] else { panic!("the first is a batch norm") };
        assert!(norm.training.is_enabled());
        for tensor in [net.pair.1.bias.as_ref().unwrap().val(), norm.running_mean.value(), net.scale.val()] {
            assert_eq!(tensor.is_autodiff(), device.is_autodiff());
        }
        assert_eq!(net.scale.is_require_grad(), device.is_autodiff());
        assert!(!net.pair.0.weight.is_require_grad());
        assert!(net.clone().train().scale.is_require_grad() && !net.train().pair.0.weight.is_require_grad());
    }
}

#[test]
fn a_module_in_its_valid_form_still_says_what_is_trained() {
    let net = net(&flex().autodiff()).valid();
    assert!(net.named_parameters().unwrap().iter().all(|parameter| parameter.requires_grad));
}

#[test]
fn named_parameters_are_pytorchs_without_buffers() {
    let net = net(&flex());
    let parameters = net.named_parameters().unwrap();
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let wanted = [
        "scale",
        "last",
        "conv.weight",
        "norms.0.weight",
        "norms.0.bias",
        "pair.0.weight",
        "pair.0.bias",
        "pair.1.weight",
        "pair.1.bias",
    ];
    assert_eq!(names, wanted);
    let weight = &parameters[5];
    assert_eq!((&weight.shape[..], &weight.pieces[0].shape[..]), (&[4, 3][..], &[3, 4][..]));
    assert_eq!(weight.pieces[0].id, net.pair.0.weight.id);
    assert_eq!(weight.dtype, DType::Float32);

    // Moments move as the weights do.
    let moment = Tensor::from_vec(&[4, 3], (0_u8..12).map(f32::from).collect()).unwrap();
    let pieces = weight.split(&moment).unwrap();
    assert_eq!(pieces[0].as_slice::<f32>().unwrap(), [0.0, 3.0, 6.0, 9.0, 1.0, 4.0, 7.0, 10.0, 2.0, 5.0, 8.0, 11.0]);
    assert_eq!(weight.join(&pieces).unwrap().to_le_bytes().unwrap(), moment.to_le_bytes().unwrap());
    assert!(
        weight
            .split(&Tensor::scalar(1.0_f32))
            .unwrap_err()
            .to_string()
            .starts_with("pair.0.weight: its shape is [4, 3]")
    );
    assert!(weight.join(&[]).is_err() && weight.join(&[TensorData::zeros::<f32, _>([4, 3])]).is_err());
}

/// Gates apart, as burn-nn's recurrent layers have them.
#[derive(Module, Debug)]
struct Gates {
    first: Linear,
    second: Linear,
    columns: Vec<Param<BurnTensor<2>>>,
    output: Linear,
}

fn gates_row() -> Row {
    Row::new("Gates")
        .joined("weight_ih", 0, ["first.weight", "second.weight"].map(|part| Part::new(part).transposed()))
        .joined("bias_ih", 0, ["first.bias", "second.bias"].map(Part::new))
        .joined("beside", 1, [Part::new("columns.0"), Part::new("columns.1").transposed()])
        .child("output", "out_proj")
}

#[test]
fn a_row_joins_several_burn_parameters_into_one_tensor_and_splits_it_again() {
    let device = flex();
    let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(&device);
    let mut gates = Gates {
        first: linear(2, 1),
        second: linear(2, 3),
        columns: vec![
            Param::from_data([[1.0_f32], [2.0]], &device),
            Param::from_data([[3.0_f32, 4.0], [5.0, 6.0]], &device),
        ],
        output: linear(3, 1),
    };
    let rows = LayerRows::default().with(gates_row());
    let state_dict = gates.state_dict_with(&rows).unwrap();
    assert_eq!(keys(&state_dict), ["weight_ih", "bias_ih", "beside", "out_proj.weight", "out_proj.bias"]);
    assert_eq!(metadata(&state_dict).iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["", "out_proj"]);
    assert_eq!(state_dict.get("beside").unwrap().shape(), [2, 3]);
    assert_eq!(floats(&state_dict, "beside"), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);

    let wanted = counting(&state_dict, 0.0);
    gates.load_state_dict_with_rows(&wanted, &LoadOptions::strict(), &rows).unwrap();
    let read = |tensor: BurnTensor<2>| tensor.into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(wanted.get("weight_ih").unwrap().shape(), [4, 2]);
    assert_eq!(read(gates.first.weight.val()), [1.0, 2.0]);
    assert_eq!(read(gates.second.weight.val()), [3.0, 5.0, 7.0, 4.0, 6.0, 8.0]);
    assert_eq!(read(gates.columns[0].val()), [13.0, 16.0]);
    assert_eq!(read(gates.columns[1].val()), [14.0, 17.0, 15.0, 18.0]);
    let again = gates.state_dict_with(&rows).unwrap();
    for (key, tensor) in wanted.iter() {
        assert_eq!(again.get(key).unwrap().to_le_bytes().unwrap(), tensor.to_le_bytes().unwrap(), "{key}");
    }

    let parameters = gates.named_parameters_with(&rows).unwrap();
    let beside = &parameters[2];
    assert_eq!(
        beside.pieces.iter().map(|piece| piece.transform).collect::<Vec<_>>(),
        [Transform::AsIs, Transform::Transpose]
    );
    // A gradient that is itself a strided view.
    let view = wanted.get("weight_ih").unwrap();
    assert_eq!(
        parameters[0].join(&parameters[0].split(view).unwrap()).unwrap().to_le_bytes().unwrap(),
        view.to_le_bytes().unwrap()
    );

    let short = Row::new("Gates").joined("weight_ih", 0, ["first.weight", "third.weight"].map(Part::new));
    let error = gates.state_dict_with(&LayerRows::default().with(short)).unwrap_err();
    assert_eq!(error.to_string(), "the module has no 'third.weight', which is a part of 'weight_ih'");
}

mod own {
    use super::{BurnTensor, Module, Param};

    /// A user's layer that is called like burn-nn's, and lies as PyTorch's `Conv1D` of GPT-2 does.
    #[derive(Module, Debug)]
    pub(crate) struct Linear {
        pub(crate) weight: Param<BurnTensor<2>>,
        pub(crate) gain: Param<BurnTensor<1>>,
    }
}

#[test]
fn a_struct_that_is_only_called_like_a_layer_can_be_left_as_it_is() {
    let device = flex();
    let linear = own::Linear {
        weight: Param::from_data([[1.0_f32, 2.0, 3.0]], &device),
        gain: Param::from_data([1.0_f32], &device),
    };
    assert_eq!(linear.state_dict().unwrap().get("weight").unwrap().shape(), [3, 1]);
    let rows = LayerRows::default().as_is("Linear");
    let state_dict = linear.state_dict_with(&rows).unwrap();
    assert_eq!(state_dict.get("weight").unwrap().shape(), [1, 3]);
    assert_eq!(keys(&state_dict), ["weight", "gain"]);
    assert_eq!(linear.named_parameters_with(&rows).unwrap()[0].shape, [1, 3]);
}

#[derive(Module, Debug)]
struct Sequential {
    layers: Vec<Norm>,
}

#[derive(Module, Debug)]
struct Wrapped {
    inner: Sequential,
}

#[test]
fn a_transparent_field_is_not_in_the_key() {
    let device = flex();
    let norm = || Norm::Batch(BatchNormConfig::new(1).init(&device));
    let sequential = Sequential { layers: vec![Norm::None(Nothing {}), norm()] };
    assert_eq!(keys(&sequential.state_dict().unwrap())[0], "1.weight");
    assert_eq!(
        metadata(&sequential.state_dict().unwrap()).iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        ["", "0", "1"]
    );
    let wrapped = Wrapped { inner: sequential };
    assert_eq!(keys(&wrapped.state_dict().unwrap())[0], "inner.1.weight");
    let rows = LayerRows::default().with(Row::new("Wrapped").transparent("inner"));
    assert_eq!(keys(&wrapped.state_dict_with(&rows).unwrap())[0], "1.weight");
}

#[derive(Module, Debug)]
struct Kinds {
    count: Param<BurnTensor<1, Int>>,
    mask: Param<BurnTensor<1, Bool>>,
    wide: Param<BurnTensor<1>>,
    frozen: Param<BurnTensor<1>>,
    constant: BurnTensor<1>,
    flag: Param<Flag>,
}

#[test]
fn element_types_stay_the_modules_and_each_conversion_is_reported() {
    let device = flex();
    let wide = BurnTensor::<1>::from_data([0.1_f64], (&device, burn::tensor::DType::F64));
    let mut kinds = Kinds {
        count: Param::initialized(ParamId::new(), BurnTensor::from_data([3_i64], (&device, burn::tensor::DType::I64))),
        mask: Param::initialized(ParamId::new(), BurnTensor::from_data([true, false], &device)),
        wide: Param::from_tensor(wide),
        frozen: Param::from_data([1.0_f32], &device).set_require_grad(false),
        constant: BurnTensor::from_data([9.0_f32], &device),
        flag: Param::from_bool(true),
    };
    let row = Row::new("Kinds")
        .tensor("count", Part::new("count").with(Transform::Scalar))
        .tensor("frozen", Part::new("frozen"))
        .role(Role::Buffer);
    let rows = LayerRows::default().with(row);
    let state_dict = kinds.state_dict_with(&rows).unwrap();
    assert_eq!(keys(&state_dict), ["wide", "count", "frozen", "mask"]);
    let dtypes: Vec<DType> = state_dict.iter().map(|(_, tensor)| tensor.dtype()).collect();
    assert_eq!(dtypes, [DType::Float64, DType::Int64, DType::Float32, DType::Bool]);
    assert_eq!(kinds.named_parameters_with(&rows).unwrap().len(), 1);

    let mut other = state_dict.clone();
    other.insert("wide", Tensor::from_vec(&[1], vec![half::f16::from_f32(1.5)]).unwrap());
    other.insert("count", Tensor::from_vec(&[1], vec![5_i32]).unwrap());
    let report = kinds.load_state_dict_with_rows(&other, &LoadOptions::strict(), &rows).unwrap();
    let cast: Vec<_> = report.cast.iter().map(|cast| (cast.key.as_str(), cast.from, cast.to)).collect();
    assert_eq!(cast, [("wide", DType::Float16, DType::Float64), ("count", DType::Int32, DType::Int64)]);
    let after = kinds.state_dict_with(&rows).unwrap();
    assert_eq!(after.get("wide").unwrap().to_vec::<f64>().unwrap(), [1.5]);
    assert_eq!(after.get("count").unwrap().to_vec::<i64>().unwrap(), [5]);
    assert_eq!(after.get("mask").unwrap().to_vec::<bool>().unwrap(), [true, false]);

    other.insert("wide", Tensor::from_le_bytes(DType::Complex64, &[1], vec![0_u8; 8]).unwrap());
    let error = kinds.load_state_dict_with_rows(&other, &LoadOptions::strict(), &rows).unwrap_err();
    assert_eq!(error.to_string(), "wide: its complex64 elements cannot be taken as float64");
    assert_eq!(kinds.state_dict_with(&rows).unwrap().get("wide").unwrap().to_vec::<f64>().unwrap(), [1.5]);
}
