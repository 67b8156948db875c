//! Every layer that burn-nn has, made as `tests/fixtures/sections/layers.py` makes PyTorch's, with the forward that computes
//! the same. What is checked of them is up to a [`Check`].
#![allow(dead_code)] // each test uses a part

use burn::module::Module;
use burn::nn::activation::ActivationConfig;
use burn::nn::attention::{
    CrossAttention, CrossAttentionConfig, MhaInput, MultiHeadAttention, MultiHeadAttentionConfig,
};
use burn::nn::conv::{
    Conv1dConfig, Conv2d, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    ConvTranspose3dConfig, DeformConv2dConfig,
};
use burn::nn::pool::MaxPool2dConfig;
use burn::nn::transformer::{
    PositionWiseFeedForwardConfig, TransformerDecoder, TransformerDecoderConfig, TransformerDecoderInput,
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{
    BatchNorm, BatchNormConfig, BiGruConfig, BiLstm, BiLstmConfig, BiRnnConfig, EmbeddingConfig, GroupNormConfig,
    GruConfig, InstanceNormConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, LinearLayout, LstmConfig,
    PReluConfig, PaddingConfig1d, PaddingConfig2d, PaddingConfig3d, RmsNormConfig, RnnConfig, RotaryEncoding,
    RotaryEncodingConfig, SwiGluConfig,
};
use burn::tensor::{Bool, Device, Int, Tensor as BurnTensor, activation};
use rekindle_burn::{LayerRows, Part, Row, Transform, tensor_to_data};
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::{StateDict, Tensor};
use rekindle_testing::fixtures;

/// What PyTorch wrote of a layer.
#[derive(Debug)]
pub(crate) struct Case {
    checkpoint: Checkpoint,
    device: Device,
}

impl Case {
    pub(crate) fn open(name: &str, device: &Device) -> Self {
        let path = fixtures::path("layers").join(name).with_extension("pt");
        Case { checkpoint: Checkpoint::open(path).unwrap(), device: device.clone() }
    }

    pub(crate) fn state_dict(&self, path: &str) -> StateDict {
        self.checkpoint.state_dict(path).unwrap()
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.checkpoint.contains(path)
    }

    pub(crate) fn tensor(&self, path: &str) -> Tensor {
        self.checkpoint.get(path).unwrap()
    }

    pub(crate) fn burn<const D: usize>(&self, path: &str) -> BurnTensor<D> {
        BurnTensor::from_data(tensor_to_data(&self.tensor(path)).unwrap(), &self.device)
    }

    fn input<const D: usize>(&self, place: usize) -> BurnTensor<D> {
        self.burn(&format!("inputs[{place}]"))
    }
}

/// What is done with a layer.
pub(crate) trait Check {
    /// The device on which the layers are made.
    fn device(&self) -> Device;

    /// `forward` gives the layer's output for the case's inputs.
    fn layer<M: Module, const D: usize>(
        &mut self,
        name: &str,
        rows: &LayerRows,
        layer: M,
        forward: impl Fn(&M, &Case) -> BurnTensor<D>,
    );

    /// By burn-nn's rows.
    fn plain<M: Module, const D: usize>(&mut self, name: &str, layer: M, forward: impl Fn(&M, &Case) -> BurnTensor<D>) {
        self.layer(name, &LayerRows::default(), layer, forward);
    }
}

pub(crate) fn linear_and_embedding(check: &mut impl Check) {
    let device = &check.device();
    for (name, bias, lies) in [("linear", true, LinearLayout::Row), ("linear_without_bias", false, LinearLayout::Col)] {
        let layer = LinearConfig::new(5, 4).with_bias(bias).with_layout(lies).init(device);
        check.plain(name, layer, |layer, case| layer.forward(case.input::<2>(0)));
    }
    check.plain("embedding", EmbeddingConfig::new(7, 4).init(device), |layer, case| {
        let tokens = tensor_to_data(&case.tensor("inputs[0]")).unwrap();
        layer.forward(BurnTensor::<2, Int>::from_data(tokens, &case.device))
    });
}

pub(crate) fn convolutions(check: &mut impl Check) {
    let device = &check.device();
    let layer = Conv1dConfig::new(4, 6, 3)
        .with_stride(2)
        .with_padding(PaddingConfig1d::Explicit(1, 1))
        .with_groups(2)
        .init(device);
    check.plain("conv1d", layer, |layer, case| layer.forward(case.input(0)));
    let layer = Conv2dConfig::new([4, 6], [3, 2])
        .with_stride([2, 1])
        .with_padding(PaddingConfig2d::Explicit(1, 0, 1, 0))
        .with_dilation([1, 2])
        .with_groups(2)
        .init(device);
    check.plain("conv2d", layer, |layer, case| layer.forward(case.input(0)));
    let layer = Conv3dConfig::new([2, 3], [2, 3, 2])
        .with_stride([1, 2, 1])
        .with_padding(PaddingConfig3d::Explicit(1, 1, 0))
        .init(device);
    check.plain("conv3d", layer, |layer, case| layer.forward(case.input(0)));
    let layer = ConvTranspose1dConfig::new([4, 6], 3)
        .with_stride(2)
        .with_padding(1)
        .with_padding_out(1)
        .with_groups(2)
        .init(device);
    check.plain("conv_transpose1d", layer, |layer, case| layer.forward(case.input(0)));
    let layer = ConvTranspose2dConfig::new([3, 2], [3, 2]).with_stride([2, 1]).with_padding([1, 0]).init(device);
    check.plain("conv_transpose2d", layer, |layer, case| layer.forward(case.input(0)));
    let layer = ConvTranspose3dConfig::new([2, 3], [2, 3, 2]).with_stride([1, 2, 1]).init(device);
    check.plain("conv_transpose3d", layer, |layer, case| layer.forward(case.input(0)));
    let layer = DeformConv2dConfig::new([4, 3], [3, 2])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_offset_groups(2)
        .init(device);
    check.plain("deform_conv2d", layer, |layer, case| layer.forward(case.input(0), case.input(1), Some(case.input(2))));
}

pub(crate) fn norms(check: &mut impl Check) {
    let device = &check.device();
    check.plain("batch_norm1d", BatchNormConfig::new(3).init(device), |layer, case| layer.forward(case.input::<2>(0)));
    let layer = BatchNormConfig::new(3).with_epsilon(1e-3).init(device);
    check.plain("batch_norm2d", layer, |layer, case| layer.forward(case.input::<4>(0)));
    check.plain("layer_norm", LayerNormConfig::new(5).init(device), |layer, case| layer.forward(case.input::<3>(0)));
    let layer = LayerNormConfig::new(5).with_epsilon(1e-6).with_bias(false).init(device);
    check.plain("layer_norm_without_bias", layer, |layer, case| layer.forward(case.input::<3>(0)));
    let layer = GroupNormConfig::new(2, 6).init(device);
    check.plain("group_norm", layer, |layer, case| layer.forward(case.input::<4>(0)));
    let layer = InstanceNormConfig::new(3).init(device);
    check.plain("instance_norm", layer, |layer, case| layer.forward(case.input::<4>(0)));
    let layer = RmsNormConfig::new(5).with_epsilon(1e-6).init(device);
    check.plain("rms_norm", layer, |layer, case| layer.forward(case.input::<3>(0)));
    let layer = PReluConfig::new().with_num_parameters(3).init(device);
    check.plain("prelu", layer, |layer, case| layer.forward(case.input::<3>(0)));
}

/// An `nn.LSTM` with `num_layers`.
#[derive(Module, Debug)]
struct Stack {
    layers: Vec<BiLstm>,
}

pub(crate) fn recurrent(check: &mut impl Check) {
    let device = &check.device();
    for (name, bias) in [("rnn", true), ("rnn_without_bias", false)] {
        let layer = RnnConfig::new(3, 4, bias).init(device);
        check.plain(name, layer, |layer, case| layer.forward(case.input(0), None).0);
    }
    let layer = BiRnnConfig::new(3, 4, true).with_hidden_activation(ActivationConfig::Relu).init(device);
    check.plain("rnn_relu_bidirectional", layer, |layer, case| layer.forward(case.input(0), None).0);
    let layer = LstmConfig::new(3, 4, true).init(device);
    check.plain("lstm", layer, |layer, case| layer.forward(case.input(0), None).0);
    let layer = BiLstmConfig::new(3, 4, true).init(device);
    check.plain("lstm_bidirectional", layer, |layer, case| layer.forward(case.input(0), None).0);
    for (name, bias) in [("gru", true), ("gru_without_bias", false)] {
        let layer = GruConfig::new(3, 4, bias).init(device);
        check.plain(name, layer, |layer, case| layer.forward(case.input(0), None));
    }
    let layer = BiGruConfig::new(3, 4, true).init(device);
    check.plain("gru_bidirectional", layer, |layer, case| layer.forward(case.input(0), None).0);

    let layers = [3, 8].map(|inputs| BiLstmConfig::new(inputs, 4, true).init(device)).into();
    let rows = LayerRows::default().with(Row::new("Stack").transparent("layers").stacked("layers"));
    check.layer("lstm_of_two", &rows, Stack { layers }, |stack, case| {
        stack.layers.iter().fold(case.input(0), |x, layer| layer.forward(x, None).0)
    });
}

pub(crate) fn attention(check: &mut impl Check) {
    let device = &check.device();
    let config = MultiHeadAttentionConfig::new(8, 2).with_dropout(0.0);
    let forward = |layer: &MultiHeadAttention, input| layer.forward(input).context;
    check.plain("multihead_attention", config.init(device), |layer, case| {
        // The last tokens of the second sequence are padding.
        let padding = BurnTensor::<2, Bool>::from_data([[false; 4], [false, false, true, true]], &case.device);
        forward(layer, MhaInput::new(case.input(0), case.input(1), case.input(2)).mask_pad(padding))
    });
    let layer =
        config.with_query_bias(false).with_key_bias(false).with_value_bias(false).with_output_bias(false).init(device);
    check.plain("multihead_attention_without_bias", layer, |layer, case| {
        forward(layer, MhaInput::new(case.input(0), case.input(1), case.input(2)))
    });

    let forward = |layer: &CrossAttention, case: &Case| layer.forward(case.input(0), case.input(1), None);
    for (name, config) in [
        ("cross_attention", CrossAttentionConfig::new(8, 8, 2, 2, 4)),
        ("cross_attention_other_width", CrossAttentionConfig::new(8, 6, 2, 2, 4)),
        ("cross_attention_grouped", CrossAttentionConfig::new(6, 5, 4, 2, 4)),
    ] {
        check.plain(name, config.with_dropout(0.0).init(device), forward);
    }
}

/// An `nn.TransformerEncoder` with a norm behind its layers.
#[derive(Module, Debug)]
struct Normed {
    inner: TransformerEncoder,
    norm: LayerNorm,
}

pub(crate) fn transformers(check: &mut impl Check) {
    let device = &check.device();
    let config = TransformerEncoderConfig::new(8, 12, 2, 2).with_dropout(0.0);
    let relu = config.clone().with_activation(ActivationConfig::Relu);
    let forward = |layer: &TransformerEncoder, case: &Case| layer.forward(TransformerEncoderInput::new(case.input(0)));
    check.plain("transformer_encoder", relu.init(device), forward);
    check.plain("transformer_encoder_norm_first", config.with_norm_first(true).init(device), forward);
    let layer = Normed { inner: relu.with_norm_first(true).init(device), norm: LayerNormConfig::new(8).init(device) };
    let rows = LayerRows::default().with(Row::new("Normed").transparent("inner"));
    check.layer("transformer_encoder_final_norm", &rows, layer, |layer, case| {
        layer.norm.forward(forward(&layer.inner, case))
    });

    let config = TransformerDecoderConfig::new(8, 12, 2, 2).with_dropout(0.0);
    let forward = |layer: &TransformerDecoder, case: &Case| {
        layer.forward(TransformerDecoderInput::new(case.input(0), case.input(1)))
    };
    check.plain("transformer_decoder", config.init(device), forward);
    let layer = config.with_activation(ActivationConfig::Relu).with_norm_first(true).init(device);
    check.plain("transformer_decoder_norm_first", layer, forward);
    let layer = PositionWiseFeedForwardConfig::new(5, 7).with_dropout(0.0).init(device);
    check.plain("feed_forward", layer, |layer, case| layer.forward(case.input::<3>(0)));
    check.plain("swiglu", SwiGluConfig::new(5, 4).init(device), |layer, case| layer.forward(case.input::<3>(0)));
}

/// Scores of queries and keys with rotary embedding.
#[derive(Module, Debug)]
struct Scores {
    q_proj: Linear,
    k_proj: Linear,
    rotary: RotaryEncoding,
}

impl Scores {
    fn turned(&self, x: BurnTensor<3>, project: &Linear) -> BurnTensor<4> {
        let [batch, length, _] = x.dims();
        self.rotary.apply(project.forward(x).reshape([batch, length, 2, 4]).swap_dims(1, 2), 0)
    }
}

/// Two convolutions and a norm, which PyTorch has at the places 0, 3 and 4 of an `nn.Sequential`.
#[derive(Module, Debug)]
struct Convolutions {
    layers: (Conv2d, Conv2d, BatchNorm),
}

/// Layers that take a row of the user's.
pub(crate) fn of_ones_own(check: &mut impl Check) {
    let device = &check.device();
    let halves = |name: &str| Part::new(name).with(Transform::HalfRotated { head: 4 });
    let row = ["q_proj.weight", "q_proj.bias", "k_proj.weight"]
        .into_iter()
        .fold(Row::new("Scores"), |row, name| row.tensor(name, halves(name)));
    for (name, rows) in
        [("rotary_interleaved", LayerRows::default()), ("rotary_halves", LayerRows::default().with(row))]
    {
        let scores = Scores {
            q_proj: LinearConfig::new(8, 8).init(device),
            k_proj: LinearConfig::new(8, 8).with_bias(false).init(device),
            rotary: RotaryEncodingConfig::new(16, 4).init(device),
        };
        check.layer(name, &rows, scores, |scores, case| {
            let queries = scores.turned(case.input(0), &scores.q_proj);
            queries.matmul(scores.turned(case.input(0), &scores.k_proj).transpose())
        });
    }

    let layers = (
        Conv2dConfig::new([1, 2], [3, 3]).init(device),
        Conv2dConfig::new([2, 3], [2, 2]).init(device),
        BatchNormConfig::new(3).init(device),
    );
    let rows = LayerRows::default().with(Row::new("Convolutions").transparent("layers").places("layers", [0, 3, 4]));
    check.layer("sequential", &rows, Convolutions { layers }, |net, case| {
        let (first, second, norm) = &net.layers;
        let pool = MaxPool2dConfig::new([2, 2]).init();
        norm.forward(second.forward(pool.forward(activation::relu(first.forward(case.input(0))))))
    });
}

/// All of them.
pub(crate) fn all(check: &mut impl Check) {
    linear_and_embedding(check);
    convolutions(check);
    norms(check);
    recurrent(check);
    attention(check);
    transformers(check);
    of_ones_own(check);
}
