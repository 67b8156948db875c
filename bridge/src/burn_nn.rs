//! The rows of burn-nn's layers: what each is called and how it lies in PyTorch, with the table that users read.
//! A row with several lines for one PyTorch tensor belongs to a layer that is written in several ways.

use crate::layer_rows::{LayerRows, Part, Role, Row, Shapes, Transform};
use rekindle_recorder::{DType, Tensor};

/// The rows of the layers of burn-nn, and what they compute otherwise than PyTorch's unless they are configured so (a state dict tells
/// nothing of it, in PyTorch neither):
///
/// | Burn | PyTorch | to compute the same |
/// |---|---|---|
/// | `Linear`, `Conv1d` to `Conv3d`, `ConvTranspose1d` to `ConvTranspose3d`, `Embedding` | the same name | |
/// | `DeformConv2d` | torchvision's | |
/// | `BatchNorm` | `BatchNorm1d` to `BatchNorm3d` | `running_var` moves by the biased variance in Burn; batches are not counted |
/// | `LayerNorm`, `GroupNorm` | the same name | |
/// | `InstanceNorm` | `InstanceNorm1d` to `InstanceNorm3d` | PyTorch's default is `affine=False`; Burn keeps no running statistics |
/// | `RmsNorm` | `RMSNorm` | Burn's epsilon is 1e-5, PyTorch's that of the element type (1.2e-7 for `float32`) |
/// | `PRelu` | `PReLU` | |
/// | `Rnn`, `BiRnn`, `Lstm`, `BiLstm`, `Gru`, `BiGru` | `RNN`, `LSTM`, `GRU` of one layer; of several: [`Row::stacked`] | Burn's `batch_first` is `true`, PyTorch's `False`. Refused: `reset_after = false`, `input_forget`, `reverse`, `clip`, and activations that PyTorch's layers do not have |
/// | `MultiHeadAttention` | `MultiheadAttention` | dropout is 0.1 in Burn, 0 in PyTorch; a masked score is -10,000 in Burn, minus infinity in PyTorch. Refused: `quiet_softmax` |
/// | `CrossAttention` | `MultiheadAttention`, with `kdim` and `vdim` where the context has another width; with fewer heads of keys or another width of heads, `q_proj`, `k_proj`, `v_proj`, `o_proj` as in Hugging Face's Llama | as above |
/// | `TransformerEncoder`, `TransformerDecoder` and their layers, with the norms in either order | the same name, without the final `norm`, which Burn lacks | the activation is `Gelu` in Burn, `relu` in PyTorch |
/// | `PositionWiseFeedForward` | `linear1` and `linear2`, as in PyTorch's transformer layers | Refused: an activation with parameters, which Burn does not show |
/// | `SwiGlu` | `gate_proj` and `up_proj`, as in Hugging Face's Llama; for Meta's `w1` and `w3` give it a row | |
/// | `RotaryEncoding` | no tensors; `inv_freq` and `freqs` of old checkpoints are unexpected keys, to be excluded | see [`Transform::HalfRotated`] |
///
/// "Refused" means that no PyTorch layer computes such a one, so that loading and saving are errors that say why.
impl Default for LayerRows {
    fn default() -> Self {
        all().fold(LayerRows::empty(), LayerRows::with)
    }
}

fn all() -> impl Iterator<Item = Row> {
    let plain = PLAIN.iter().flat_map(|line| line.modules.iter().map(move |module| line.row(module)));
    let recurrent = RECURRENT.iter().flat_map(Recurrent::rows);
    let others = [
        batch_norm(),
        with_statistics("torch.nn.BatchNorm"),
        with_statistics("torch.nn.InstanceNorm"),
        multi_head_attention(),
        cross_attention(),
        encoder_layer(["norm1", "norm2"]).when("norm_first", "true", encoder_layer(["norm2", "norm1"])),
        decoder_layer(["norm1", "norm2", "norm3"]).when(
            "norm_first",
            "true",
            decoder_layer(["norm2", "norm3", "norm1"]),
        ),
        feed_forward(),
        Row::new("SwiGlu").child("linear_inner", "gate_proj").child("linear_outer", "up_proj"),
        Row::new("Sequential").transparent("layers"),
    ];
    plain.chain(recurrent).chain(others)
}

/// Layers that differ from PyTorch's in names and transposition only.
struct Plain {
    modules: &'static [&'static str],
    version: i64,
    /// PyTorch's name, Burn's name, how they lie to each other.
    tensors: &'static [(&'static str, &'static str, Transform)],
}

const PLAIN: &[Plain] = &[
    Plain {
        modules: &["Linear"],
        version: 1,
        tensors: &[("weight", "weight", Transform::Transpose), ("bias", "bias", Transform::AsIs)],
    },
    Plain {
        modules: &[
            "Conv1d",
            "Conv2d",
            "Conv3d",
            "ConvTranspose1d",
            "ConvTranspose2d",
            "ConvTranspose3d",
            "DeformConv2d",
        ],
        version: 1,
        tensors: &[("weight", "weight", Transform::AsIs), ("bias", "bias", Transform::AsIs)],
    },
    Plain {
        modules: &["LayerNorm", "GroupNorm", "RmsNorm"],
        version: 1,
        tensors: &[("weight", "gamma", Transform::AsIs), ("bias", "beta", Transform::AsIs)],
    },
    Plain {
        modules: &["InstanceNorm"],
        version: 2,
        tensors: &[("weight", "gamma", Transform::AsIs), ("bias", "beta", Transform::AsIs)],
    },
    Plain { modules: &["PRelu"], version: 1, tensors: &[("weight", "alpha", Transform::AsIs)] },
    Plain { modules: &["Embedding"], version: 1, tensors: &[("weight", "weight", Transform::AsIs)] },
];

impl Plain {
    fn row(&self, module: &str) -> Row {
        self.tensors.iter().fold(Row::new(module).version(self.version), |row, &(torch, burn, transform)| {
            row.tensor(torch, Part::new(burn).with(transform))
        })
    }
}

/// burn-nn's `BatchNorm` (`gamma`, `beta`, no count of batches), and one that is spelled as PyTorch's. State dicts of
/// before PyTorch 0.4.1 have no count either.
fn batch_norm() -> Row {
    Row::new("BatchNorm")
        .version(2)
        .tensor("weight", Part::new("gamma"))
        .tensor("weight", Part::new("weight"))
        .tensor("bias", Part::new("beta"))
        .tensor("bias", Part::new("bias"))
        .tensor("running_mean", Part::new("running_mean"))
        .role(Role::Buffer)
        .tensor("running_var", Part::new("running_var"))
        .role(Role::Buffer)
        .tensor("num_batches_tracked", Part::new("num_batches_tracked").with(Transform::Scalar))
        .role(Role::Buffer)
        .dtype(DType::Int64)
        .optional()
        .constant("num_batches_tracked", Tensor::scalar(0_i64))
}

/// rekindle-models' norms that may keep statistics: spelled as PyTorch's, but for the count, which has no dimensions there.
fn with_statistics(module: &str) -> Row {
    let as_is = |row: Row, name: &str| row.tensor(name, Part::new(name));
    let parameters = ["weight", "bias"].into_iter().fold(Row::new(module).version(2), as_is);
    let running = |row: Row, name: &str| as_is(row, name).role(Role::Buffer);
    ["running_mean", "running_var"]
        .into_iter()
        .fold(parameters, running)
        .tensor("num_batches_tracked", Part::new("num_batches_tracked").with(Transform::Scalar))
        .role(Role::Buffer)
        .dtype(DType::Int64)
        .optional()
}

/// Recurrent layers: Burn keeps each gate apart, PyTorch joins them.
struct Recurrent {
    /// The layer in one direction, and the one in both.
    modules: [&'static str; 2],
    /// Burn's gates in PyTorch's order, which is what the documentation of torch.nn's layer says of `weight_ih_l[k]`.
    gates: &'static [&'static str],
    /// The plain field, its values in PyTorch's layer, and what another one would be.
    demands: &'static [(&'static str, &'static [&'static str], &'static str)],
}

const FORWARDS: (&str, &[&str], &str) =
    ("reverse", &["false"], "PyTorch reads a sequence backwards only in a bidirectional layer, beside forwards");
const UNCLIPPED: (&str, &[&str], &str) = ("clip", &["None"], "PyTorch's layer does not clip its state");
const SIGMOID: (&str, &[&str], &str) = ("gate_activation", &["Sigmoid"], "the gates of PyTorch's layer are sigmoid");
const TANH: (&str, &[&str], &str) = ("hidden_activation", &["Tanh"], "PyTorch's layer has tanh there");

const RECURRENT: &[Recurrent] = &[
    Recurrent {
        modules: ["Rnn", "BiRnn"],
        gates: &["gate"],
        demands: &[
            ("hidden_activation", &["Tanh", "Relu"], "torch.nn.RNN has tanh or relu there"),
            FORWARDS,
            UNCLIPPED,
        ],
    },
    Recurrent {
        modules: ["Lstm", "BiLstm"],
        gates: &["input_gate", "forget_gate", "cell_gate", "output_gate"],
        demands: &[
            ("input_forget", &["false"], "torch.nn.LSTM has a forget gate of its own"),
            ("cell_activation", &["Tanh"], "PyTorch's layer has tanh there"),
            SIGMOID,
            TANH,
            FORWARDS,
            UNCLIPPED,
        ],
    },
    Recurrent {
        modules: ["Gru", "BiGru"],
        gates: &["reset_gate", "update_gate", "new_gate"],
        demands: &[
            (
                "reset_after",
                &["true"],
                "torch.nn.GRU resets what the hidden weights and bias of the candidate have made, not what goes into them",
            ),
            SIGMOID,
            TANH,
            UNCLIPPED,
        ],
    },
];

/// PyTorch's name before `_l0`, Burn's parameter within a gate, how they lie to each other. Both have both biases.
const GATE: [(&str, &str, Transform); 4] = [
    ("weight_ih", "input_transform.weight", Transform::Transpose),
    ("weight_hh", "hidden_transform.weight", Transform::Transpose),
    ("bias_ih", "input_transform.bias", Transform::AsIs),
    ("bias_hh", "hidden_transform.bias", Transform::AsIs),
];

impl Recurrent {
    fn rows(&self) -> [Row; 2] {
        let [one, both] = self.modules;
        let pair = self.direction(Row::new(both), "forward.", "");
        [self.direction(Row::new(one), "", ""), self.direction(pair, "reverse.", "_reverse")]
    }

    fn direction(&self, row: Row, prefix: &str, suffix: &str) -> Row {
        let row = self.demands.iter().fold(row, |row, (field, values, why)| {
            row.require(format!("{prefix}{field}"), values.iter().copied(), *why)
        });
        GATE.iter().fold(row, |row, (torch, burn, transform)| {
            let parts = self.gates.iter().map(|gate| Part::new(format!("{prefix}{gate}.{burn}")).with(*transform));
            row.joined(format!("{torch}_l0{suffix}"), 0, parts)
        })
    }
}

/// The weights of three linear layers as one matrix, and their biases as one vector.
fn in_proj(row: Row) -> Row {
    row.joined(
        "in_proj_weight",
        0,
        ["query.weight", "key.weight", "value.weight"].map(|part| Part::new(part).transposed()),
    )
    .joined("in_proj_bias", 0, IN_PROJ_BIAS.map(Part::new))
}

const IN_PROJ_BIAS: [&str; 3] = ["query.bias", "key.bias", "value.bias"];

/// What is the same for every attention.
fn attention(row: Row) -> Row {
    row.child("output", "out_proj").transparent("dropout").require(
        "quiet_softmax",
        ["false"],
        "PyTorch's attention has no softmax with a 1 in its denominator",
    )
}

fn multi_head_attention() -> Row {
    attention(in_proj(Row::new("MultiHeadAttention")))
}

/// torch.nn has attention to another sequence as long as there are as many heads of keys as of queries; the width of the
/// context decides about names.
fn cross_attention() -> Row {
    let of_other_width = |row: Row| {
        [("q_proj_weight", "query.weight"), ("k_proj_weight", "key.weight"), ("v_proj_weight", "value.weight")]
            .into_iter()
            .fold(row, |row, (torch, burn)| row.tensor(torch, Part::new(burn).transposed()))
            .joined("in_proj_bias", 0, IN_PROJ_BIAS.map(Part::new))
    };
    let grouped = [("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("output", "o_proj")]
        .into_iter()
        .fold(Row::new("CrossAttention"), |row, (burn, torch)| row.child(burn, torch));
    attention(in_proj(Row::new("CrossAttention"))).when_shapes(is_grouped, grouped.transparent("dropout")).when_shapes(
        |shapes| shapes.of("key.weight") != shapes.of("query.weight"),
        attention(of_other_width(Row::new("CrossAttention"))),
    )
}

/// Whether the queries are wider or narrower than the model, or the keys and values than the queries.
fn is_grouped(shapes: &Shapes) -> bool {
    match [shapes.of("query.weight"), shapes.of("key.weight")] {
        [&[width, queries], &[_, keys]] => queries != width || keys != queries,
        _ => false,
    }
}

/// `norms` are PyTorch's names of `norm_1` and `norm_2`. Burn norms before the attention with `norm_2` where it norms first,
/// and after the attention with `norm_1` where it norms afterwards; PyTorch's `norm1` is the attention's in both.
fn encoder_layer(norms: [&str; 2]) -> Row {
    let row = Row::new("TransformerEncoderLayer")
        .child("mha", "self_attn")
        .transparent("pwff")
        .transparent("dropout")
        .order(["self_attn", "linear1", "dropout", "linear2", "norm1", "norm2"]);
    ["norm_1", "norm_2"].into_iter().zip(norms).fold(row, |row, (burn, torch)| row.child(burn, torch))
}

/// `norms` are PyTorch's names of `norm_1`, `norm_2` and `norm_3`. Where Burn norms first, `norm_3` is the self-attention's,
/// `norm_1` that of the attention to the memory, and `norm_2` the feed-forward part's.
fn decoder_layer(norms: [&str; 3]) -> Row {
    let row = Row::new("TransformerDecoderLayer")
        .child("cross_attn", "multihead_attn")
        .transparent("pwff")
        .transparent("dropout")
        .order(["self_attn", "multihead_attn", "linear1", "dropout", "linear2", "norm1", "norm2", "norm3"]);
    ["norm_1", "norm_2", "norm_3"].into_iter().zip(norms).fold(row, |row, (burn, torch)| row.child(burn, torch))
}

fn feed_forward() -> Row {
    Row::new("PositionWiseFeedForward")
        .child("linear_inner", "linear1")
        .child("linear_outer", "linear2")
        .order(["linear1", "dropout", "linear2"])
        .refuse("activation", ["SwiGlu", "PRelu"], "Burn does not show the parameters in this field")
}
