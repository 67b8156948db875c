//! What rows can say and what they refuse; and how structs of every form are named in PyTorch.

use burn::module::Module;
use burn::nn::activation::ActivationConfig;
use burn::nn::attention::{CrossAttentionConfig, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::transformer::{
    PositionWiseFeedForwardConfig, TransformerEncoder, TransformerEncoderConfig, TransformerEncoderLayer,
};
use burn::nn::{
    BiGruConfig, BiLstmConfig, GateController, GruConfig, HardSigmoidConfig, Initializer, Linear, LinearConfig, Lstm,
    LstmConfig, PReluConfig, RnnConfig, RotaryEncoding, RotaryEncodingConfig, SwiGlu, SwiGluConfig,
};
use burn::tensor::Device;
use rekindle_burn::{LayerRows, ModuleStateDict, Part, Row, Transform};
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::{ErrorKind, Result, StateDict, Tensor};

fn flex() -> Device {
    Device::flex()
}

fn keys(state_dict: &StateDict) -> Vec<&str> {
    state_dict.keys().collect()
}

fn linear() -> Linear {
    LinearConfig::new(2, 3).with_bias(false).init(&flex())
}

fn encoder(norm_first: bool) -> TransformerEncoder {
    TransformerEncoderConfig::new(4, 6, 2, 1).with_norm_first(norm_first).init(&flex())
}

/// Neither saved nor loaded nor named; the message is the same.
fn refused<M: Module>(mut layer: M, rows: &LayerRows) -> String {
    let error = layer.state_dict_with(rows).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. } | ErrorKind::Invalid(_)), "{error:?}");
    let error = error.to_string();
    let others: [Result<()>; 2] = [
        layer.load_state_dict_with_rows(&StateDict::new(), &LoadOptions::lenient(), rows).map(drop),
        layer.named_parameters_with(rows).map(drop),
    ];
    for other in others {
        assert_eq!(other.unwrap_err().to_string(), error);
    }
    error
}

#[test]
fn layers_that_pytorch_cannot_compute_are_refused_with_the_reason() {
    let device = flex();
    let rows = LayerRows::default();
    let gru = GruConfig::new(2, 3, true).with_reset_after(false);
    assert_eq!(
        refused(gru.init(&device), &rows),
        "a Gru with reset_after = false is not supported; torch.nn.GRU resets what the hidden weights and bias of the \
         candidate have made, not what goes into them. For a state dict with Burn's names, mark `Gru` as_is in the layer rows, \
         or give it a row"
    );
    let words = |message: String, words: [&str; 2]| {
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let bidirectional = BiGruConfig::new(2, 3, true).with_reset_after(false).init(&device);
    words(refused(bidirectional.clone(), &rows), ["a BiGru with forward.reset_after = false", "torch.nn.GRU"]);
    words(refused(bidirectional, &rows.clone().as_is("Gru")), ["a BiGru with forward.reset_after", "mark `BiGru`"]);
    let coupled = LstmConfig::new(2, 3, true).with_input_forget(true).init(&device);
    words(refused(coupled, &rows), ["a Lstm with input_forget = true", "a forget gate of its own"]);
    let backwards = LstmConfig::new(2, 3, true).with_reverse(true).init(&device);
    words(refused(backwards, &rows), ["a Lstm with reverse = true", "only in a bidirectional layer"]);
    let clipped = BiLstmConfig::new(2, 3, true).with_clip(Some(1.0)).init(&device);
    words(refused(clipped, &rows), ["a BiLstm with forward.clip = Some", "does not clip"]);
    let clipped = RnnConfig::new(2, 3, true).with_clip(Some(1.0)).init(&device);
    words(refused(clipped, &rows), ["a Rnn with clip = Some", "does not clip"]);
    let rnn = RnnConfig::new(2, 3, true).with_hidden_activation(ActivationConfig::Sigmoid).init(&device);
    words(refused(rnn, &rows), ["a Rnn with hidden_activation = Sigmoid", "tanh or relu"]);
    let hard = LstmConfig::new(2, 3, true).with_gate_activation(HardSigmoidConfig::new().into()).init(&device);
    words(refused(hard, &rows), ["a Lstm with gate_activation = HardSigmoid", "sigmoid"]);
    let relu = LstmConfig::new(2, 3, true).with_cell_activation(ActivationConfig::Relu).init(&device);
    words(refused(relu, &rows), ["a Lstm with cell_activation = Relu", "tanh"]);
    let relu = BiGruConfig::new(2, 3, true).with_hidden_activation(ActivationConfig::Relu).init(&device);
    words(refused(relu, &rows), ["a BiGru with forward.hidden_activation = Relu", "tanh"]);
    let quiet = MultiHeadAttentionConfig::new(4, 2).with_quiet_softmax(true).init(&device);
    words(refused(quiet, &rows), ["a MultiHeadAttention with quiet_softmax = true", "softmax"]);
    let quiet = CrossAttentionConfig::new(4, 4, 2, 1, 2).with_quiet_softmax(true).init(&device);
    words(refused(quiet, &rows), ["a CrossAttention with quiet_softmax = true", "softmax"]);
    let quiet = TransformerEncoderConfig::new(4, 6, 2, 1).with_quiet_softmax(true).init(&device);
    words(refused(quiet, &rows), ["the MultiHeadAttention 'layers.0.mha' with quiet_softmax", "softmax"]);
    for activation in [ActivationConfig::PRelu(PReluConfig::new()), SwiGluConfig::new(6, 6).into()] {
        let hidden = PositionWiseFeedForwardConfig::new(4, 6).with_activation(activation).init(&device);
        words(refused(hidden, &rows), ["PositionWiseFeedForward with activation", "does not show the parameters"]);
    }
}

#[test]
fn a_refused_layer_keeps_burns_names_when_left_as_it_is() {
    let gru = GruConfig::new(2, 3, false).with_reset_after(false).init(&flex());
    let state_dict = gru.state_dict_with(&LayerRows::default().as_is("Gru")).unwrap();
    assert_eq!(state_dict.keys().next(), Some("update_gate.input_transform.weight"));
    assert_eq!(state_dict.len(), 6);
}

#[test]
fn attention_with_some_of_its_biases_is_an_error_that_names_the_missing_one() {
    let attention = MultiHeadAttentionConfig::new(4, 2).with_key_bias(false).init(&flex());
    let error = attention.state_dict().unwrap_err().to_string();
    assert_eq!(error, "the module has no 'key.bias', which is a part of 'in_proj_bias'");
}

#[test]
fn what_pytorchs_layer_has_and_burns_lacks_is_never_passed_over() {
    let device = flex();
    let extra = |mut state_dict: StateDict, key: &str| {
        state_dict.insert(key, Tensor::from_vec(&[1], vec![1.0_f32]).unwrap());
        state_dict
    };
    let unexpected = |error: rekindle_recorder::Error| match error.kind() {
        ErrorKind::Mismatch(report) => report.unexpected.clone(),
        _ => panic!("{error}"),
    };
    let mut lstm = LstmConfig::new(2, 3, true).init(&device);
    for key in ["weight_hr_l0", "weight_ih_l1", "weight_ih_l0_reverse"] {
        let state_dict = extra(lstm.state_dict().unwrap(), key);
        assert_eq!(unexpected(lstm.load_state_dict(&state_dict).unwrap_err()), [key]);
    }
    let mut attention = MultiHeadAttentionConfig::new(4, 2).init(&device);
    let state_dict = extra(attention.state_dict().unwrap(), "bias_k");
    assert_eq!(unexpected(attention.load_state_dict(&state_dict).unwrap_err()), ["bias_k"]);
    let mut transformer = encoder(true);
    let state_dict = extra(transformer.state_dict().unwrap(), "norm.weight");
    assert_eq!(unexpected(transformer.load_state_dict(&state_dict).unwrap_err()), ["norm.weight"]);
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    rotary_emb: RotaryEncoding,
}

#[test]
fn the_frequencies_of_rotary_embedding_are_no_part_of_the_state_dict() {
    let device = flex();
    let mut attention = Attention { q_proj: linear(), rotary_emb: RotaryEncodingConfig::new(8, 4).init(&device) };
    let mut state_dict = attention.state_dict().unwrap();
    assert_eq!(keys(&state_dict), ["q_proj.weight"]);
    // Checkpoints of before transformers 4.32 have them.
    state_dict.insert("rotary_emb.inv_freq", Tensor::from_vec(&[2], vec![1.0_f32, 0.01]).unwrap());
    let error = attention.load_state_dict(&state_dict).unwrap_err();
    let ErrorKind::Mismatch(report) = error.kind() else { panic!("{error}") };
    assert_eq!(report.unexpected, ["rotary_emb.inv_freq"]);
    let options = LoadOptions::strict().exclude("*.inv_freq");
    assert!(attention.load_state_dict_with(&state_dict, &options).unwrap().is_exact());
}

#[test]
fn halves_become_neighbours_and_neighbours_halves() {
    let device = flex();
    let row = Row::new("Attention")
        .tensor("q_proj.weight", Part::new("q_proj.weight").with(Transform::HalfRotated { head: 4 }))
        .tensor("q_proj.bias", Part::new("q_proj.bias").with(Transform::HalfRotated { head: 4 }));
    let rows = LayerRows::default().with(row);
    let attention = |outputs| Attention {
        q_proj: LinearConfig::new(1, outputs).init(&device),
        rotary_emb: RotaryEncodingConfig::new(8, 4).init(&device),
    };
    let parameters = attention(8).named_parameters_with(&rows).unwrap();
    let torch = Tensor::from_vec(&[8, 1], (0_u8..8).map(f32::from).collect()).unwrap();
    let pieces = parameters[0].split(&torch).unwrap();
    assert_eq!(pieces[0].shape().as_slice(), [1, 8]);
    assert_eq!(pieces[0].as_slice::<f32>().unwrap(), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    assert_eq!(parameters[0].join(&pieces).unwrap().to_vec::<f32>().unwrap(), torch.to_vec::<f32>().unwrap());
    assert_eq!(parameters[1].shape, [8]);

    let error = attention(6).state_dict_with(&rows).unwrap_err().to_string();
    assert!(error.contains("heads of 4, an even number"), "{error}");
}

#[test]
fn the_names_of_swiglu_can_be_others() {
    let swiglu: SwiGlu = SwiGluConfig::new(2, 3).init(&flex());
    assert_eq!(keys(&swiglu.state_dict().unwrap()), ["gate_proj.weight", "up_proj.weight"]);
    let meta = Row::new("SwiGlu").child("linear_inner", "w1").child("linear_outer", "w3");
    let state_dict = swiglu.state_dict_with(&LayerRows::default().with(meta)).unwrap();
    assert_eq!(keys(&state_dict), ["w1.weight", "w3.weight"]);
}

/// Its `Debug` shows nothing of what is in it.
#[derive(Module)]
struct Silent {
    inner: TransformerEncoder,
    lstm: Lstm,
}

impl std::fmt::Debug for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Silent")
    }
}

#[test]
fn a_module_that_does_not_show_its_fields_must_be_told_about() {
    let lstm = LstmConfig::new(2, 3, true).init(&flex());
    let silent = |norm_first| Silent { inner: encoder(norm_first), lstm: lstm.clone() };
    let rows = LayerRows::default()
        .field("Lstm", "input_forget", "false")
        .field("Lstm", "reverse", "false")
        .field("Lstm", "clip", "None")
        .field("Lstm", "gate_activation", "Sigmoid")
        .field("Lstm", "cell_activation", "Tanh")
        .field("Lstm", "hidden_activation", "Tanh")
        .field("MultiHeadAttention", "quiet_softmax", "false")
        .field("PositionWiseFeedForward", "activation", "Gelu");
    assert_eq!(
        refused(silent(true), &rows),
        "the module's `Debug` does not show the TransformerEncoderLayer 'inner.layers.0', whose field 'norm_first' decides \
         how it lies in PyTorch; derive `Debug`, or say the value with `LayerRows::field`, or mark `TransformerEncoderLayer` \
         as_is if it is not burn-nn's"
    );
    for norm_first in [true, false] {
        let told = rows.clone().field("TransformerEncoderLayer", "norm_first", norm_first.to_string());
        let silent = silent(norm_first);
        let parameters = silent.named_parameters_with(&told).unwrap();
        let norm = parameters.iter().find(|parameter| parameter.name == "inner.layers.0.norm1.weight").unwrap();
        let layer: &TransformerEncoderLayer = &silent.inner.layers[0];
        let burn = if norm_first { &layer.norm_2 } else { &layer.norm_1 };
        assert_eq!(norm.pieces[0].id, burn.gamma.id, "PyTorch's norm1 is the attention's");
    }
}

#[test]
fn both_orders_of_norms_can_stand_in_one_module() {
    let both = [encoder(true), encoder(false)];
    let parameters = both.named_parameters().unwrap();
    for (place, encoder) in both.iter().enumerate() {
        let name = format!("{place}.layers.0.norm1.weight");
        let norm = parameters.iter().find(|parameter| parameter.name == name).unwrap();
        let layer = &encoder.layers[0];
        let burn = if layer.norm_first { &layer.norm_2 } else { &layer.norm_1 };
        assert_eq!(norm.pieces[0].id, burn.gamma.id);
    }
}

mod own {
    use super::{Linear, Module};

    /// A layer of the user's that is called as burn-nn's.
    #[derive(Module, Debug)]
    pub(crate) struct CrossAttention {
        pub(crate) to_q: Linear,
        pub(crate) to_k: Linear,
    }
}

#[test]
fn a_struct_that_only_has_a_layers_name_keeps_its_own() {
    let attention = own::CrossAttention { to_q: linear(), to_k: linear() };
    assert_eq!(keys(&attention.state_dict().unwrap()), ["to_q.weight", "to_k.weight"]);
    assert_eq!(
        keys(&attention.state_dict_with(&LayerRows::default().as_is("CrossAttention")).unwrap()),
        ["to_q.weight", "to_k.weight"]
    );
}

/// Burn derives `Module` for structs with named fields only, so a tuple stands for what would be a tuple struct.
type Pair = (Linear, Linear);

#[derive(Module, Debug)]
struct Nothing {}

#[derive(Module, Debug)]
enum Stage {
    Linear(Linear),
    Pair(Pair),
    Activation(Nothing),
}

#[derive(Module, Debug)]
struct Forms {
    pair: Pair,
    there: Option<Linear>,
    absent: Option<Linear>,
    list: Vec<Linear>,
    array: [Linear; 2],
    tuple: (Linear, Pair),
    choice: Stage,
    stages: Vec<Stage>,
    deep: Option<Vec<Option<Pair>>>,
}

fn forms() -> Forms {
    let pair = || (linear(), linear());
    Forms {
        pair: pair(),
        there: Some(linear()),
        absent: None,
        list: vec![linear(), linear()],
        array: [linear(), linear()],
        tuple: (linear(), pair()),
        choice: Stage::Pair(pair()),
        stages: vec![Stage::Linear(linear()), Stage::Activation(Nothing {}), Stage::Linear(linear())],
        deep: Some(vec![None, Some(pair())]),
    }
}

#[test]
fn structs_of_every_form_have_the_keys_that_pytorch_users_expect() {
    let state_dict = forms().state_dict().unwrap();
    let modules: Vec<&str> = state_dict.keys().map(|key| key.strip_suffix(".weight").unwrap()).collect();
    let wanted = "pair.0 pair.1 there list.0 list.1 array.0 array.1 tuple.0 tuple.1.0 tuple.1.1 choice.0 \
                  choice.1 stages.0 stages.2 deep.1.0 deep.1.1";
    assert_eq!(modules, wanted.split_whitespace().collect::<Vec<_>>());

    let mut other = forms();
    assert!(other.load_state_dict(&state_dict).unwrap().is_exact());
    for (key, tensor) in other.state_dict().unwrap().iter() {
        assert_eq!(tensor.to_le_bytes().unwrap(), state_dict.get(key).unwrap().to_le_bytes().unwrap(), "{key}");
    }
}

#[test]
fn places_have_other_numbers_only_where_a_row_says_so() {
    let forms = forms();
    let rows = |row: Row| LayerRows::default().with(row);
    let state_dict = forms
        .state_dict_with(&rows(
            Row::new("Forms").places("list", [0, 3]).places("array", ["first", "last"]).places("tuple", [1, 2]),
        ))
        .unwrap();
    let places = |name: &str| -> Vec<&str> {
        state_dict.keys().filter_map(|key| key.strip_prefix(name)?.strip_suffix(".weight")).collect()
    };
    assert_eq!(places("list."), ["0", "3"]);
    assert_eq!(places("array."), ["first", "last"]);
    assert_eq!(places("tuple."), ["1", "2.0", "2.1"]);
    assert_eq!(places("stages."), ["0", "2"], "what has no parameters keeps its place");

    let error = forms.state_dict_with(&rows(Row::new("Forms").places("list", [0]))).unwrap_err();
    assert_eq!(error.to_string(), "the row names 1 places of 'list', which has more");
    let error = forms.state_dict_with(&rows(Row::new("Forms").places("list", [7, 7]))).unwrap_err();
    assert!(error.to_string().contains("'list.7.weight'"), "{error}");

    // The keys of a checkpoint with gaps are not renumbered: without a row they do not fit.
    let mut plain = self::forms();
    let error = plain.load_state_dict(&state_dict).unwrap_err();
    let ErrorKind::Mismatch(report) = error.kind() else { panic!("{error}") };
    assert!(report.missing.contains(&"list.1.weight".to_owned()), "{report}");
    assert!(report.unexpected.contains(&"list.3.weight".to_owned()), "{report}");
}

#[test]
fn children_stand_in_the_order_of_the_row() {
    let row = Row::new("Forms").order(["choice", "there"]);
    let state_dict = forms().state_dict_with(&LayerRows::default().with(row)).unwrap();
    assert_eq!(keys(&state_dict)[..4], ["choice.0.weight", "choice.1.weight", "there.weight", "pair.0.weight"]);
}

/// An LSTM cell of the user's with burn-nn's gates.
#[derive(Module, Debug)]
struct Cell {
    gates: [GateController; 2],
    attention: MultiHeadAttention,
}

#[test]
fn a_row_of_ones_own_joins_across_an_array_and_leaves_the_layers_in_it_their_rows() {
    let device = flex();
    let gate = || GateController::new(2, 3, true, Initializer::Ones, &device);
    let cell = Cell { gates: [gate(), gate()], attention: MultiHeadAttentionConfig::new(4, 2).init(&device) };
    let gates = |name: &str| [0, 1].map(|gate| Part::new(format!("gates.{gate}.{name}")));
    let row = Row::new("Cell")
        .joined("weight_ih", 0, gates("input_transform.weight").map(Part::transposed))
        .joined("weight_hh", 0, gates("hidden_transform.weight").map(Part::transposed))
        .joined("bias_ih", 0, gates("input_transform.bias"))
        .joined("bias_hh", 0, gates("hidden_transform.bias"));
    let state_dict = cell.state_dict_with(&LayerRows::default().with(row)).unwrap();
    assert_eq!(state_dict.get("weight_ih").unwrap().shape(), [6, 2]);
    assert_eq!(
        keys(&state_dict)[4..],
        ["attention.in_proj_weight", "attention.in_proj_bias", "attention.out_proj.weight", "attention.out_proj.bias"]
    );
}
