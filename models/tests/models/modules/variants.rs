//! Beside one case of each layer: other options, inputs without a batch, batches of one and of none, masks and weights of all kinds.

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use rekindle_models::functional::{Array, Interpolation};
use rekindle_models::init::Init;
use rekindle_models::nn::functional::{Reduction, log_softmax, relu, sigmoid, softmax};
use rekindle_models::nn::*;

use super::harness::{Checked, Inputs};

type Built<M> = rekindle_models::Result<M>;
type Outputs = rekindle_models::Result<Vec<Array>>;

/// A layer of one tensor.
fn one<L: Into<Layer>>(checked: &mut Checked, name: &str, build: impl Fn(&mut Init<'_>) -> Built<L>) {
    let layer = |init: &mut Init<'_>| build(init).map(Into::into);
    checked.case::<Layer>(name, layer, |layer, inputs| Ok(vec![layer.forward_array(&inputs.array())?]));
}

/// One that no `Sequential` takes: it normalises several dimensions.
fn wide<L: Module + Forward>(checked: &mut Checked, name: &str, build: impl Fn(&mut Init<'_>) -> Built<L>) {
    checked.case(name, build, |layer, inputs| Ok(vec![layer.forward_array(&inputs.array())?]));
}

fn float<const D: usize>(tensor: Tensor<D>) -> Array {
    Array::from_float(tensor)
}

pub(crate) fn convolutions(c: &mut Checked) {
    one(c, "linear_vector", |init| LinearConfig::new(4, 3).init(init));
    one(c, "linear_empty", |init| LinearConfig::new(4, 3).init(init));
    let run = |layer: &Bilinear, i: &Inputs| Ok(vec![float(layer.forward(i.float::<3>(0), i.float(1))?)]);
    c.case("bilinear_wide", |init| BilinearConfig::new(3, 4, 2).init(init), run);
    one(c, "flatten_some", |_| Ok(Flatten { start_dim: 0, end_dim: 1 }));
    one(c, "conv1d_unbatched", |init| Conv1dConfig::new(4, 2, 3).with_padding(1).init(init));
    one(c, "conv1d_circular", |init| {
        let config = Conv1dConfig::new(4, 2, 4).with_padding(ConvPadding::Same);
        config.with_padding_mode(PaddingMode::Circular).init(init)
    });
    one(c, "conv2d_unbatched", |init| {
        Conv2dConfig::new(4, 2, 3).with_padding(1).with_padding_mode(PaddingMode::Reflect).init(init)
    });
    one(c, "conv2d_one", |init| {
        let config = Conv2dConfig::new(4, 3, [2, 3]).with_stride([1, 2]).with_padding([0, 2]);
        config.with_dilation([2, 1]).init(init)
    });
    one(c, "conv2d_empty", |init| Conv2dConfig::new(4, 2, 3).init(init));
    one(c, "conv2d_depthwise", |init| {
        Conv2dConfig::new(4, 8, 3).with_groups(4).with_padding(2).with_dilation(2).init(init)
    });
    one(c, "conv2d_valid", |init| {
        Conv2dConfig::new(4, 2, 3).with_padding(ConvPadding::Valid).with_stride(2).init(init)
    });
    one(c, "conv2d_same_reflect", |init| {
        let config = Conv2dConfig::new(4, 2, [2, 3]).with_padding(ConvPadding::Same).with_dilation([1, 2]);
        config.with_padding_mode(PaddingMode::Reflect).init(init)
    });
    one(c, "conv3d_same", |init| {
        Conv3dConfig::new(4, 2, [2, 3, 1]).with_padding(ConvPadding::Same).with_groups(2).with_bias(false).init(init)
    });
    one(c, "conv3d_circular", |init| {
        Conv3dConfig::new(4, 2, 2).with_padding(1).with_padding_mode(PaddingMode::Circular).init(init)
    });
    one(c, "conv_transpose1d_unbatched", |init| {
        ConvTranspose1dConfig::new(4, 2, 3).with_stride(3).with_output_padding(2).with_dilation(2).init(init)
    });
    one(c, "conv_transpose2d_groups", |init| {
        let config = ConvTranspose2dConfig::new(4, 6, 3).with_stride([2, 3]).with_padding([1, 2]);
        config.with_output_padding([1, 2]).with_groups(2).init(init)
    });
    one(c, "conv_transpose3d_one", |init| {
        let config = ConvTranspose3dConfig::new(4, 2, [1, 2, 3]).with_stride([1, 2, 1]).with_padding([0, 1, 1]);
        config.with_dilation([1, 1, 2]).init(init)
    });
}

pub(crate) fn norms(c: &mut Checked) {
    one(c, "batch_norm1d_length", |init| BatchNormConfig::new(4).with_momentum(None).init(init));
    one(c, "batch_norm2d_one", |init| BatchNormConfig::new(4).init(init));
    one(c, "batch_norm2d_nothing", |init| {
        BatchNormConfig::new(4).with_affine(false).with_track_running_stats(false).init(init)
    });
    one(c, "batch_norm3d", |init| BatchNormConfig::new(4).with_momentum(Some(1.0)).init(init));
    one(c, "layer_norm_vector", |init| LayerNormConfig::new([4]).with_eps(1e-2).init(init));
    one(c, "layer_norm_empty", |init| LayerNormConfig::new([4]).init(init));
    wide(c, "rms_norm_2d", |init| RMSNormConfig::new([3, 4]).with_eps(Some(1e-3)).init(init));
    one(c, "group_norm_one", |init| GroupNormConfig::new(1, 4).with_eps(1e-2).init(init));
    one(c, "group_norm_each", |init| GroupNormConfig::new(4, 4).init(init));
    one(c, "instance_norm1d_unbatched", |init| InstanceNorm1dConfig::new(4).with_affine(true).init(init));
    one(c, "instance_norm1d_tracked", |init| InstanceNorm1dConfig::new(4).with_track_running_stats(true).init(init));
    one(c, "instance_norm3d", |init| InstanceNorm3dConfig::new(4).with_affine(true).with_eps(1e-2).init(init));
    one(c, "local_response_norm_wide", |_| Ok(LocalResponseNorm::new(7).with_alpha(1.0)));
    one(c, "dropout_none", |init| Ok(Dropout::new(0.0, init)));
    one(c, "dropout_all", |init| Ok(Dropout::new(1.0, init)));
    one(c, "dropout1d", |init| Ok(Dropout::channels_1d(0.5, init)));
    one(c, "dropout3d", |init| Ok(Dropout::channels_3d(0.5, init)));
    one(c, "alpha_dropout_all", |init| Ok(Dropout::alpha(1.0, init)));
}

pub(crate) fn activations(c: &mut Checked) {
    one(c, "rrelu_bounds", |init| Ok(RReLU::new(0.3, 0.3, init)));
    one(c, "prelu_matrix", |init| PReLUConfig::new().with_num_parameters(5).init(init));
    let mut layer = |name: &str, layer: Layer| one(c, &format!("activation_{name}"), |_| Ok(layer.clone()));
    layer("glu_middle", GLU::new().with_dim(1).into());
    layer("softmax_first", Softmax::new(0).into());
    layer("softmin_first", Softmin::new(0).into());
    layer("softmax2d_unbatched", Softmax2d::new().into());
    layer("log_softmax_empty", LogSoftmax::new(1).into());
    layer("relu_empty", ReLU::new().into());
    layer("gelu_vector", GELU::new().into());
    layer("softplus_default", Softplus::new().into());
    layer("elu_default", ELU::new().into());
    layer("hardtanh_default", Hardtanh::new().into());
}

pub(crate) fn pools(c: &mut Checked) {
    one(c, "max_pool1d_unbatched", |_| Ok(MaxPool1d::new(3).with_ceil_mode(true)));
    one(c, "max_pool2d_unbatched", |_| Ok(MaxPool2d::new(2).with_padding(1)));
    one(c, "max_pool2d_empty", |_| Ok(MaxPool2d::new(2)));
    one(c, "avg_pool1d_ceil", |_| Ok(AvgPool1d::new(4).with_stride(3).with_padding(2).with_ceil_mode(true)));
    one(c, "avg_pool2d_unbatched", |_| {
        let pool = AvgPool2d::new([2, 3]).with_stride([2, 1]).with_ceil_mode(true).with_padding([1, 0]);
        Ok(pool.with_count_include_pad(false))
    });
    one(c, "avg_pool3d_divisor", |_| {
        Ok(AvgPool3d::new([2, 1, 2]).with_divisor_override(Some(5)).with_padding([1, 0, 1]))
    });
    one(c, "lp_pool1d_ceil", |_| Ok(LPPool1d::new(4.0, 2).with_ceil_mode(true)));
    one(c, "lp_pool2d_one", |_| Ok(LPPool2d::new(1.0, 2).with_stride(1)));
    one(c, "lp_pool3d", |_| Ok(LPPool3d::new(2.0, [2, 1, 2])));
    one(c, "adaptive_avg_pool1d_unbatched", |_| Ok(AdaptiveAvgPool1d::new(2)));
    one(c, "adaptive_avg_pool2d_more", |_| Ok(AdaptiveAvgPool2d::new([9, 4])));
    one(c, "adaptive_max_pool2d_unbatched", |_| Ok(AdaptiveMaxPool2d::new(2)));
    let both = |layer: &AdaptiveMaxPool3d, i: &Inputs| {
        let (values, indices) = layer.forward_with_indices(i.float::<5>(0))?;
        Ok(vec![float(values), Array::from_int(indices)])
    };
    c.case("adaptive_max_pool3d", |_| Ok(AdaptiveMaxPool3d::new([1, 2, 2])), both);
    one(c, "fractional_max_pool2d_unbatched", |init| FractionalMaxPool2d::with_ratio(2, &[0.5, 0.8], init));
    let back = |layer: &MaxUnpool2d, i: &Inputs| {
        let pool = MaxPool2d::new(3).with_stride(2).with_padding(1);
        let (values, indices) = pool.forward_with_indices(i.float::<4>(0))?;
        Ok(vec![float(layer.forward(values, indices, None)?)])
    };
    c.case("max_unpool2d_stride", |_| Ok(MaxUnpool2d::new(3).with_stride(2).with_padding(1)), back);
    one(c, "unfold_unbatched", |_| Ok(Unfold::new(2).with_stride(2)));
    one(c, "fold_unbatched", |_| Ok(Fold::new(4, 2).with_dilation(2)));
    one(c, "zero_pad1d", |_| Ok(Pad::new([2, -1], PaddingMode::Zeros)));
    one(c, "constant_pad3d", |_| Ok(Pad::new([0, 1, 1, 0, 2, -1], PaddingMode::Constant(-0.5))));
    one(c, "reflection_pad1d", |_| Ok(Pad::new([3, 1], PaddingMode::Reflect)));
    one(c, "reflection_pad3d", |_| Ok(Pad::new([1; 6], PaddingMode::Reflect)));
    one(c, "replication_pad2d", |_| Ok(Pad::new([2, 0, 1, -1], PaddingMode::Replicate)));
    one(c, "circular_pad3d", |_| Ok(Pad::new([1, 0, 0, 2, 1, 1], PaddingMode::Circular)));
    one(c, "upsample_nearest1d", |_| Ok(Upsample::to(13, Interpolation::Nearest)));
    one(c, "upsample_exact", |_| Ok(Upsample::by([1.7, 0.6], Interpolation::NearestExact)));
    one(c, "upsample_bilinear_smaller", |_| Ok(Upsample::by([0.5, 0.7], Interpolation::Linear)));
    one(c, "upsample_trilinear", |_| Ok(Upsample::by([2.0], Interpolation::Linear).with_align_corners(true)));
    one(c, "upsample_linear_corners", |_| Ok(Upsample::by([2.5], Interpolation::Linear).with_align_corners(true)));
    one(c, "upsample_bicubic_corners", |_| Ok(Upsample::to([4, 7], Interpolation::Cubic).with_align_corners(true)));
    one(c, "upsampling_nearest", |_| Ok(Upsample::to([5, 4], Interpolation::Nearest)));
    one(c, "pixel_shuffle_unbatched", |_| Ok(PixelShuffle::new(3)));
    one(c, "pixel_unshuffle_unbatched", |_| Ok(PixelUnshuffle::new(2)));
}

pub(crate) fn distances(c: &mut Checked) {
    let cosine = |layer: &CosineSimilarity, i: &Inputs| -> Outputs {
        Ok(vec![float(layer.forward::<2, 1>(i.float(0), i.float(1))?)])
    };
    c.case("cosine_similarity", |_| Ok(CosineSimilarity::new()), cosine);
    let cosine = |layer: &CosineSimilarity, i: &Inputs| -> Outputs {
        Ok(vec![float(layer.forward::<3, 2>(i.float(0), i.float(1))?)])
    };
    c.case("cosine_similarity_first", |_| Ok(CosineSimilarity::new().with_dim(0).with_eps(0.5)), cosine);
    let apart = |layer: &PairwiseDistance, i: &Inputs| -> Outputs {
        Ok(vec![float(layer.forward::<2, 1>(i.float(0), i.float(1))?)])
    };
    c.case("pairwise_distance", |_| Ok(PairwiseDistance::new()), apart);
    let apart = |layer: &PairwiseDistance, i: &Inputs| -> Outputs {
        Ok(vec![float(layer.forward::<3, 3>(i.float(0), i.float(1))?)])
    };
    let kept = || PairwiseDistance::new().with_p(1.0).with_eps(0.1).with_keepdim(true);
    c.case("pairwise_distance_kept", |_| Ok(kept()), apart);
}

pub(crate) fn embeddings(c: &mut Checked) {
    let embedding = || EmbeddingConfig::new(7, 3);
    let rows = |layer: &Embedding, i: &Inputs| Ok(vec![float(layer.forward::<2, 3>(i.int(0))?)]);
    c.case(
        "embedding_vector",
        |init| embedding().with_padding_idx(Some(6)).init(init),
        |layer, i| Ok(vec![float(layer.forward::<1, 2>(i.int(0))?)]),
    );
    c.case(
        "embedding_cube",
        |init| EmbeddingConfig::new(7, 2).init(init),
        |layer, i| Ok(vec![float(layer.forward::<3, 4>(i.int(0))?)]),
    );
    let config = embedding().with_padding_idx(Some(1)).with_max_norm(Some(0.5));
    c.case("embedding_max_norm_padding", |init| config.init(init), rows);
    let config = embedding().with_padding_idx(Some(2)).with_scale_grad_by_freq(true);
    c.case("embedding_scaled", |init| config.init(init), rows);
    let bag = || EmbeddingBagConfig::new(7, 3);
    let bags = |layer: &EmbeddingBag, i: &Inputs| Ok(vec![float(layer.forward(i.int(0), None)?)]);
    c.case(
        "embedding_bag_weighted",
        |init| bag().with_mode(BagMode::Sum).init(init),
        |layer, i| Ok(vec![float(layer.forward(i.int(0), Some(i.float(1)))?)]),
    );
    c.case(
        "embedding_bag_mean_padding",
        |init| bag().with_padding_idx(Some(2)).with_include_last_offset(true).init(init),
        |layer, i| {
            let offsets = Tensor::<1, Int>::from_ints([0, 3, 3, 8], &i.device.clone().inner());
            Ok(vec![float(layer.forward_offsets(i.int(0), offsets, None)?)])
        },
    );
    let config = bag().with_mode(BagMode::Max).with_padding_idx(Some(3));
    c.case("embedding_bag_max_padding", |init| config.init(init), bags);
    let config = bag().with_max_norm(Some(1.0)).with_norm_type(1.0);
    c.case("embedding_bag_max_norm", |init| config.init(init), bags);
    let config = bag().with_mode(BagMode::Sum).with_scale_grad_by_freq(true);
    c.case("embedding_bag_scaled", |init| config.init(init), bags);
}

fn three<const D: usize>((output, (h, c)): (Tensor<D>, (Tensor<D>, Tensor<D>))) -> Vec<Array> {
    vec![float(output), float(h), float(c)]
}

fn two<const D: usize>((output, h): (Tensor<D>, Tensor<D>)) -> Vec<Array> {
    vec![float(output), float(h)]
}

pub(crate) fn recurrent(c: &mut Checked) {
    let lstm = || LSTMConfig::new(3, 4);
    let config = lstm().with_num_layers(2).with_proj_size(2).with_bidirectional(true).with_batch_first(true);
    c.case(
        "lstm_projection_lengths",
        |init| config.init_lstm(init),
        |layer, i| Ok(three(layer.forward_lengths(i.float::<3>(0), &[2, 5, 5], None)?)),
    );
    c.case(
        "lstm_one",
        |init| lstm().with_bias(false).init_lstm(init),
        |layer, i| Ok(three(layer.forward(i.float::<3>(0), None)?)),
    );
    c.case(
        "lstm_unbatched_state",
        |init| lstm().with_bidirectional(true).init_lstm(init),
        |layer, i| Ok(three(layer.forward(i.float::<2>(0), Some((i.float(1), i.float(2))))?)),
    );
    let config = GRUConfig::new(3, 4).with_num_layers(3).with_dropout(0.4).with_bias(false);
    c.case("gru_deep", |init| config.init_gru(init), |layer, i| Ok(two(layer.forward(i.float::<3>(0), None)?)));
    let config = GRUConfig::new(3, 4).with_bidirectional(true);
    c.case("gru_unbatched", |init| config.init_gru(init), |layer, i| Ok(two(layer.forward(i.float::<2>(0), None)?)));
    let config = RNNConfig::new(3, 4).with_num_layers(2).with_bidirectional(true).with_batch_first(true);
    c.case(
        "rnn_lengths",
        |init| config.clone().with_relu(true).init_rnn(init),
        |layer, i| Ok(two(layer.forward_lengths(i.float::<3>(0), &[5, 1, 3], None)?)),
    );
    let cell = || CellConfig::new(3, 4);
    c.case(
        "lstm_cell_unbatched",
        |init| cell().with_bias(false).init_lstm(init),
        |layer, i| {
            let (h, c) = layer.forward(i.float::<1>(0), None)?;
            Ok(vec![float(h), float(c)])
        },
    );
    c.case(
        "gru_cell_unbatched",
        |init| cell().with_bias(false).init_gru(init),
        |layer, i| Ok(vec![float(layer.forward(i.float::<1>(0), Some(i.float(1)))?)]),
    );
    c.case(
        "rnn_cell_tanh",
        |init| cell().init_rnn(init),
        |layer, i| Ok(vec![float(layer.forward(i.float::<2>(0), Some(i.float(1)))?)]),
    );
}

/// True above the diagonal.
fn after(length: usize, device: &Device) -> Tensor<2, Bool> {
    let hidden: Vec<bool> = (0..length * length).map(|at| at % length > at / length).collect();
    Tensor::from_data(TensorData::new(hidden, [length, length]), &device.clone().inner())
}

fn weighted<const D: usize>(layer: &MultiheadAttention, i: &Inputs, masks: &Masks) -> Outputs {
    let (output, weights) = layer.forward_weights(i.float::<D>(0), i.float(1), i.float(2), masks)?;
    Ok(vec![float(output), float(weights)])
}

pub(crate) fn attention(c: &mut Checked) {
    let heads = || MultiheadAttentionConfig::new(8, 2);
    c.case("attention_unbatched", |init| heads().init(init), |layer, i| weighted::<2>(layer, i, &Masks::new()));
    let config = MultiheadAttentionConfig::new(8, 4).with_dropout(0.4).with_batch_first(true);
    c.case(
        "attention_heads",
        |init| config.init(init),
        |layer, i| {
            let (output, weights) =
                layer.forward_head_weights::<3, 4>(i.float(0), i.float(1), i.float(2), &Masks::new())?;
            Ok(vec![float(output), float(weights)])
        },
    );
    c.case(
        "attention_causal",
        |init| heads().with_kdim(Some(3)).with_vdim(Some(4)).init(init),
        |layer, i| {
            let masks = Masks::new().with_causal(4, &i.device.clone().inner())?;
            Ok(vec![float(layer.forward_masked(i.float::<3>(0), i.float(1), i.float(2), &masks)?)])
        },
    );
    c.case(
        "attention_each_head",
        |init| heads().with_add_bias_kv(true).with_batch_first(true).with_bias(false).init(init),
        |layer, i| {
            let (q, k, v) = (i.float::<3>(0), i.float(1), i.float(2));
            let (output, weights) = layer.forward_weights(q, k, v, &Masks::new().with_added(i.float::<3>(3)))?;
            Ok(vec![float(output), float(weights)])
        },
    );
    c.case(
        "attention_both_masks",
        |init| heads().with_add_zero_attn(true).init(init),
        |layer, i| {
            let masks = Masks::new().with_hidden(after(4, i.device)).with_key_padding(i.boolean::<2>(3));
            weighted::<3>(layer, i, &masks)
        },
    );
    c.case(
        "attention_padding_added",
        |init| heads().with_add_bias_kv(true).with_add_zero_attn(true).init(init),
        |layer, i| {
            let (q, k, v) = (i.float::<3>(0), i.float(1), i.float(2));
            let masks = Masks::new().with_key_padding_added(i.float::<2>(3));
            Ok(vec![float(layer.forward_masked(q, k, v, &masks)?)])
        },
    );
    let config = MultiheadAttentionConfig::new(4, 1).with_dropout(0.5);
    c.case("attention_one", |init| config.init(init), |layer, i| weighted::<3>(layer, i, &Masks::new()));
}

pub(crate) fn transformers(c: &mut Checked) {
    let layer = || TransformerLayerConfig::new(8, 2).with_dim_feedforward(12);
    c.case(
        "encoder_layer_padding",
        |init| layer().with_dropout(0.3).with_batch_first(true).init_encoder(init),
        |layer, i| {
            let masks = Masks::new().with_hidden(after(4, i.device)).with_key_padding(i.boolean::<2>(1));
            Ok(vec![float(layer.forward_masked(i.float::<3>(0), &masks)?)])
        },
    );
    c.case(
        "encoder_layer_unbatched",
        |init| layer().with_dropout(0.0).with_activation(Activation::Gelu).init_encoder(init),
        |layer, i| Ok(vec![float(layer.forward(i.float::<2>(0))?)]),
    );
    c.case(
        "decoder_layer_masks",
        |init| layer().with_dropout(0.1).with_activation(Activation::Gelu).with_bias(false).init_decoder(init),
        |layer, i| {
            let (x, memory, added) = (i.float::<3>(0), i.float(1), i.float::<2>(2));
            let own = Masks::new().with_hidden(after(3, i.device)).with_key_padding(i.boolean::<2>(3));
            Ok(vec![float(layer.forward_masked(x, memory, &own, &Masks::new().with_added(added))?)])
        },
    );
    let small = || TransformerLayerConfig::new(4, 2).with_dim_feedforward(6);
    c.case(
        "encoder_plain",
        |init| Ok(TransformerEncoder::new(&small().with_norm_first(true).init_encoder(init)?, 2, None)),
        |layer, i| {
            let masks = Masks::new().with_hidden(after(3, i.device));
            Ok(vec![float(layer.forward_masked(i.float::<3>(0), &masks)?)])
        },
    );
    c.case(
        "decoder",
        |init| {
            let layer = small().with_dropout(0.2).init_decoder(init)?;
            Ok(TransformerDecoder::new(&layer, 2, Some(LayerNormConfig::new([4]).init(init)?)))
        },
        |layer, i| Ok(vec![float(layer.forward(i.float::<3>(0), i.float(1))?)]),
    );
    let of = small().with_dropout(0.0).with_activation(Activation::Gelu).with_batch_first(true).with_norm_first(true);
    let config = TransformerConfig::new(of.with_bias(false)).with_num_encoder_layers(1).with_num_decoder_layers(1);
    c.case(
        "transformer_masks",
        |init| config.init(init),
        |layer, i| {
            let padding = Masks::new().with_key_padding(i.boolean::<2>(2));
            let of_tgt = Masks::new().with_hidden(after(2, i.device));
            let output = layer.forward_masked(i.float::<3>(0), i.float(1), &padding, &of_tgt, &padding)?;
            Ok(vec![float(output)])
        },
    );
}

/// A loss of these inputs, which has no parameters.
fn loss<const R: usize>(c: &mut Checked, name: &str, of: impl Fn(&Inputs) -> Built<Tensor<R>>) {
    c.case(name, |_| Ok(Identity), |_, inputs| Ok(vec![float(of(inputs)?)]));
}

fn weights(i: &Inputs, times: f64) -> Option<Array> {
    let numbers = [0.5, 1.0, 2.0, 1.5, 0.25].map(|weight| weight * times);
    Array::from_floats(&numbers, &[5], i.dtype, i.device).ok()
}

pub(crate) fn losses(c: &mut Checked) {
    let (none, sum) = (Reduction::None, Reduction::Sum);
    loss(c, "l1_loss_none", |i| L1Loss::new().with_reduction(none).unreduced::<2, 2>(i.float(0), i.float(1)));
    loss(c, "mse_loss_mean", |i| MSELoss::new().forward(i.float::<3>(0), i.float(1)));
    loss(c, "smooth_l1_loss_zero", |i| {
        SmoothL1Loss::new().with_beta(0.0).with_reduction(sum).forward(i.float::<2>(0), i.float(1))
    });
    loss(c, "huber_loss_none", |i| HuberLoss::new().with_reduction(none).unreduced::<2, 2>(i.float(0), i.float(1)));
    loss(c, "soft_margin_loss_none", |i| {
        SoftMarginLoss::new().with_reduction(none).unreduced::<2, 2>(i.float(0), i.float(1))
    });
    loss(c, "hinge_embedding_loss_sum", |i| {
        HingeEmbeddingLoss::new().with_reduction(sum).forward(i.float::<2>(0), i.float(1).sign())
    });
    loss(c, "poisson_nll_loss_full", |i| {
        let loss = PoissonNLLLoss::new().with_log_input(false).with_full(true).with_eps(1e-3).with_reduction(sum);
        loss.forward(i.float::<2>(0).abs(), i.float::<2>(1).abs() * 4.0)
    });
    loss(c, "bce_loss_weight", |i| {
        let loss = BCELoss::new().with_weight(weights(i, 1.0)).with_reduction(none);
        loss.unreduced::<2, 2>(sigmoid(i.float(0))?, sigmoid(i.float(1))?)
    });
    loss(c, "bce_with_logits_loss_weights", |i| {
        let loss = BCEWithLogitsLoss::new().with_weight(weights(i, 1.0)).with_pos_weight(weights(i, 2.0));
        loss.with_reduction(sum).forward(i.float::<2>(0), sigmoid(i.float(1))?)
    });
    loss(c, "kl_div_loss_none", |i| {
        KLDivLoss::new().with_reduction(none).unreduced::<2, 2>(i.float(0), relu(i.float(1))?)
    });
    loss(c, "gaussian_nll_loss_sum", |i| {
        let loss = GaussianNLLLoss::new().with_eps(0.5).with_reduction(sum);
        loss.forward(i.float::<2>(0), i.float(1), i.float::<2>(2).abs())
    });
    loss(c, "cosine_embedding_loss_none", |i| {
        let loss = CosineEmbeddingLoss::new().with_reduction(none);
        loss.unreduced::<2, 1, 1>(i.float(0), i.float(1), i.float::<1>(2).sign())
    });
    loss(c, "margin_ranking_loss_sum", |i| {
        MarginRankingLoss::new().with_reduction(sum).forward(i.float::<2>(0), i.float(1), i.float::<2>(2).sign())
    });
    loss(c, "triplet_margin_loss_none", |i| {
        let loss = TripletMarginLoss::new().with_margin(0.5).with_p(1.0).with_reduction(none);
        loss.unreduced::<2, 2, 1>(i.float(0), i.float(1), i.float(2))
    });
    loss(c, "triplet_margin_with_distance_loss", |i| {
        let loss = TripletMarginWithDistanceLoss::new().with_swap(true);
        loss.forward::<2, 1>(i.float(0), i.float(1), i.float(2), |a, b| PairwiseDistance::new().forward(a, b))
    });
    loss(c, "triplet_margin_with_distance_loss_own", |i| {
        let loss = TripletMarginWithDistanceLoss::new().with_margin(0.3).with_reduction(sum);
        let distance = |a, b| Ok(-CosineSimilarity::new().forward::<2, 1>(a, b)? + 1.0);
        loss.forward::<2, 1>(i.float(0), i.float(1), i.float(2), distance)
    });
    loss(c, "multi_label_soft_margin_loss_weight", |i| {
        let loss = MultiLabelSoftMarginLoss::new().with_weight(weights(i, 1.0)).with_reduction(none);
        loss.unreduced::<2, 1>(i.float(0), sigmoid(i.float(1))?)
    });
    classes(c);
}

fn classes(c: &mut Checked) {
    let (none, sum) = (Reduction::None, Reduction::Sum);
    let cross = CrossEntropyLoss::new;
    loss(c, "cross_entropy_loss_weight", |i| {
        let loss = cross().with_weight(weights(i, 1.0)).with_ignore_index(2).with_label_smoothing(0.3);
        loss.with_reduction(sum).forward(i.float::<2>(0), i.int::<1>(1))
    });
    loss(c, "cross_entropy_loss_mean_weight", |i| {
        let loss = cross().with_weight(weights(i, 1.0)).with_ignore_index(1).with_label_smoothing(0.2);
        loss.forward(i.float::<4>(0), i.int::<3>(1))
    });
    loss(c, "cross_entropy_loss_none", |i| {
        cross().with_ignore_index(0).with_reduction(none).unreduced(i.float::<3>(0), i.int::<2>(1))
    });
    loss(c, "cross_entropy_loss_soft_weight", |i| {
        let loss = cross().with_weight(weights(i, 1.0)).with_label_smoothing(0.1);
        loss.forward_probabilities(i.float::<3>(0), softmax(i.float(1), 1)?)
    });
    c.case(
        "linear_cross_entropy_loss",
        |init| LinearCrossEntropyConfig::new(4, 5).with_bias(true).init(init),
        |layer: &LinearCrossEntropyLoss, i| Ok(vec![float(layer.forward(i.float(0), i.int::<1>(1))?)]),
    );
    let config = LinearCrossEntropyConfig::new(4, 5).with_out_features([2]).with_label_smoothing(0.1);
    let config = config.with_reduction(sum).with_ignore_index(1);
    c.case(
        "linear_cross_entropy_loss_wide",
        |init| config.init(init),
        |layer: &LinearCrossEntropyLoss, i| Ok(vec![float(layer.forward(i.float(0), i.int::<2>(1))?)]),
    );
    loss(c, "nll_loss_weight", |i| {
        NLLLoss::new().with_weight(weights(i, 1.0)).with_ignore_index(3).forward(i.float::<3>(0), i.int::<2>(1))
    });
    loss(c, "multi_margin_loss_sum", |i| {
        let loss = MultiMarginLoss::new().with_p(2.0).with_margin(0.5).with_reduction(sum);
        loss.forward(i.float::<1>(0), i.int::<1>(1))
    });
    loss(c, "multi_label_margin_loss_none", |i| {
        MultiLabelMarginLoss::new().with_reduction(none).unreduced(i.float(0), i.label_sets())
    });
    loss(c, "ctc_loss_unbatched", |i| {
        let loss = CTCLoss::new().with_blank(2).with_reduction(sum);
        loss.forward(log_softmax(i.float::<2>(0), 1)?, i.int::<1>(1), &[7], &[3])
    });
    c.case(
        "adaptive_log_softmax_empty",
        |init| AdaptiveLogSoftmaxConfig::new(4, 9, [2, 5]).with_div_value(4.0).init(init),
        |layer: &AdaptiveLogSoftmaxWithLoss, i| {
            let x = i.float::<2>(0);
            let (output, loss) = layer.forward(x.clone(), i.int(1))?;
            Ok(vec![float(output), float(loss), float(layer.log_prob(x)?)])
        },
    );
}
