//! Regions of `torch.autocast`: their operations carry no casts; whoever runs them casts, by the lists of PyTorch's CPU
//! (`aten/src/ATen/autocast_mode.h`).

use burn::tensor::DType;

use super::item::Arg;

/// What autocast casts to where a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Region {
    /// What whoever runs the program is in.
    #[default]
    Around,
    /// This type; `None` where autocast is disabled.
    Own(Option<DType>),
}

impl Region {
    /// The type, within one around the program.
    pub(super) fn within(self, around: Option<DType>) -> Option<DType> {
        match self {
            Region::Around => around,
            Region::Own(dtype) => dtype,
        }
    }
}

/// What becomes of an operation's floating-point arguments within a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// They stay as they are, or meet in the widest type, as the operation does it by itself.
    Keep,
    /// The region's type.
    Lower,
    /// `float32`.
    Full,
    /// It is computed in `float32` and comes out in the type of its input: normalisation, whose weights are `float32`.
    Within,
    /// It consists of others, which are cast one by one.
    Parts,
}

const LOWER: &str = "
    addbmm addmm baddbmm bmm conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d
    linalg_vecdot linear matmul mkldnn_rnn_layer mm prelu scaled_dot_product_attention
";

const FULL: &str = "
    adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d binary_cross_entropy binary_cross_entropy_with_logits cdist
    cholesky_inverse cholesky_solve cosine_embedding_loss cross_entropy_loss ctc_loss fractional_max_pool2d
    fractional_max_pool3d grid_sampler grid_sampler_2d grid_sampler_3d hinge_embedding_loss huber_loss inverse
    kl_div l1_loss linalg_cholesky linalg_inv linalg_matrix_rank linalg_solve linalg_svd margin_ranking_loss
    max_pool3d mse_loss multi_margin_loss multilabel_margin_loss nanquantile nll_loss nll_loss2d nll_loss_nd
    pinverse poisson_nll_loss prod quantile reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
    replication_pad3d smooth_l1_loss soft_margin_loss trace triangular_solve triplet_margin_loss
";

/// What `functional` casts within, as PyTorch does within these.
const PARTS: &str = "
    chain_matmul einsum gru gru_cell inner linalg_matrix_power linalg_multi_dot lstm lstm_cell matrix_power pad
    rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell tensordot
";

/// Whether a name is in a list of names, with space between.
pub(super) fn is_word(words: &str, name: &str) -> bool {
    words.split_whitespace().any(|word| word == name)
}

/// What becomes of the arguments of an operation within a region.
pub(super) fn policy(name: &str, args: &[(&'static str, Arg)]) -> Policy {
    let base = name.strip_prefix("aten.").and_then(|rest| rest.split('.').next()).unwrap_or_default();
    let fills = |(name, arg): &(&str, Arg)| *name == "mode" && matches!(arg, Arg::Text(mode) if mode != "constant");
    match base {
        base if is_word(LOWER, base) => Policy::Lower,
        base if is_word(FULL, base) || base.starts_with("fft_") => Policy::Full,
        "pad" if !args.iter().any(fills) => Policy::Keep,
        base if is_word(PARTS, base) => Policy::Parts,
        "batch_norm" | "group_norm" | "instance_norm" | "layer_norm" | "rms_norm" => Policy::Within,
        _ => Policy::Keep,
    }
}
