//! Batches of none, inputs without a batch, options that are left open, layers whose inputs are told later.

use burn::tensor::Tensor;
use rekindle_models::functional::{Array, Interpolation};
use rekindle_models::init::Init;
use rekindle_models::nn::functional::{Reduction, softmax};
use rekindle_models::nn::*;

use super::harness::{Checked, Inputs};

type Built<M> = rekindle_models::Result<M>;

/// A layer of one tensor.
fn one<L: Into<Layer>>(checked: &mut Checked, name: &str, build: impl Fn(&mut Init<'_>) -> Built<L>) {
    let layer = |init: &mut Init<'_>| build(init).map(Into::into);
    checked.case::<Layer>(name, layer, |layer, inputs| Ok(vec![layer.forward_array(&inputs.array())?]));
}

fn float<const D: usize>(tensor: Tensor<D>) -> Array {
    Array::from_float(tensor)
}

/// Zeros on the device of the layer, as the layer's first input.
fn first<const D: usize>(shape: [usize; D], init: &Init<'_>) -> Tensor<D> {
    Tensor::zeros(shape, init.device())
}

pub(crate) fn convolutions(c: &mut Checked) {
    one(c, "linear_no_inputs", |init| LinearConfig::new(0, 3).init(init));
    one(c, "conv1d_empty", |init| {
        Conv1dConfig::new(4, 2, 3).with_padding(1).with_padding_mode(PaddingMode::Circular).init(init)
    });
    one(c, "conv3d_empty", |init| Conv3dConfig::new(4, 2, 2).with_groups(2).init(init));
    one(c, "conv_transpose2d_empty", |init| ConvTranspose2dConfig::new(4, 2, 2).with_stride(2).init(init));
    one(c, "conv_transpose3d_unbatched", |init| ConvTranspose3dConfig::new(2, 2, 2).init(init));
}

pub(crate) fn norms(c: &mut Checked) {
    one(c, "batch_norm2d_empty", |init| BatchNormConfig::new(4).init(init));
    one(c, "batch_norm2d_no_bias", |init| BatchNormConfig::new(4).with_bias(false).init(init));
    one(c, "group_norm_no_bias", |init| GroupNormConfig::new(2, 4).with_bias(false).init(init));
    one(c, "instance_norm1d_no_bias", |init| {
        InstanceNorm1dConfig::new(4).with_affine(true).with_bias(false).init(init)
    });
    one(c, "batch_norm1d_no_length", |init| BatchNormConfig::new(4).with_affine(false).init(init));
    c.case(
        "sync_batch_norm",
        |init| BatchNormConfig::new(4).init(init),
        |layer: &SyncBatchNorm, i| Ok(vec![float(layer.forward(i.float::<4>(0))?)]),
    );
    one(c, "instance_norm1d_no_momentum", |init| {
        InstanceNorm1dConfig::new(4).with_momentum(None).with_track_running_stats(true).init(init)
    });
    one(c, "instance_norm2d_unbatched", |init| {
        InstanceNorm2dConfig::new(4).with_affine(true).with_track_running_stats(true).init(init)
    });
    one(c, "instance_norm3d_unbatched", |init| InstanceNorm3dConfig::new(4).init(init));
    one(c, "instance_norm2d_empty", |init| InstanceNorm2dConfig::new(4).init(init));
    one(c, "group_norm_empty", |init| GroupNormConfig::new(2, 4).init(init));
    one(c, "dropout1d_unbatched", |init| Ok(Dropout::channels_1d(0.5, init)));
    one(c, "dropout3d_unbatched", |init| Ok(Dropout::channels_3d(0.5, init)));
    one(c, "activation_softmax_old", |_| Ok(Softmax::new(None)));
    one(c, "activation_softmin_old", |_| Ok(Softmin::new(None)));
    one(c, "activation_log_softmax_old", |_| Ok(LogSoftmax::new(None)));
}

pub(crate) fn pools(c: &mut Checked) {
    let both = |layer: &MaxPool3d, i: &Inputs| {
        let (values, indices) = layer.forward_with_indices(i.float::<4>(0))?;
        Ok(vec![float(values), Array::from_int(indices)])
    };
    c.case("max_pool3d_unbatched", |_| Ok(MaxPool3d::new(2)), both);
    one(c, "avg_pool2d_empty", |_| Ok(AvgPool2d::new(2)));
    one(c, "adaptive_avg_pool2d_kept", |_| Ok(AdaptiveAvgPool2d::new([None, Some(3)])));
    one(c, "adaptive_avg_pool3d_kept", |_| Ok(AdaptiveAvgPool3d::new([Some(2), None, None])));
    one(c, "adaptive_max_pool2d_kept", |_| Ok(AdaptiveMaxPool2d::new([Some(2), None])));
    let both = |layer: &AdaptiveMaxPool3d, i: &Inputs| {
        let (values, indices) = layer.forward_with_indices(i.float::<5>(0))?;
        Ok(vec![float(values), Array::from_int(indices)])
    };
    c.case("adaptive_max_pool3d_kept", |_| Ok(AdaptiveMaxPool3d::new([None, Some(1), None])), both);
    one(c, "fractional_max_pool3d_unbatched", |init| Ok(FractionalMaxPool3d::new(2, 2, init)));
    let back = |layer: &MaxUnpool1d, i: &Inputs| {
        let (values, indices) = MaxPool1d::new(2).forward_with_indices(i.float::<2>(0))?;
        Ok(vec![float(layer.forward(values, indices, None)?)])
    };
    c.case("max_unpool1d_unbatched", |_| Ok(MaxUnpool1d::new(2)), back);
    let back = |layer: &MaxUnpool2d, i: &Inputs| {
        let (values, indices) = MaxPool2d::new(2).forward_with_indices(i.float::<4>(0))?;
        Ok(vec![float(layer.forward(values, indices, None)?)])
    };
    c.case("max_unpool2d_empty", |_| Ok(MaxUnpool2d::new(2)), back);
    let both = |layer: &MaxPool2d, i: &Inputs| {
        let (values, indices) = layer.forward_with_indices(i.float::<4>(0))?;
        Ok(vec![float(values), Array::from_int(indices)])
    };
    c.case("max_pool2d_beyond", |_| Ok(MaxPool2d::new([3, 2]).with_stride(3).with_ceil_mode(true)), both);
    one(c, "max_pool1d_beyond", |_| Ok(MaxPool1d::new(2).with_stride(4).with_dilation(3).with_ceil_mode(true)));
    one(c, "avg_pool2d_beyond", |_| Ok(AvgPool2d::new(3).with_stride(2).with_ceil_mode(true)));
    one(c, "max_pool3d_beyond", |_| Ok(MaxPool3d::new([3, 1, 1]).with_stride(2).with_ceil_mode(true)));
    one(c, "upsample_nearest_same", |_| Ok(Upsample::by([1.3, 2.3], Interpolation::Nearest)));
    one(c, "upsample_nearest1d_same", |_| Ok(Upsample::by([1.3], Interpolation::Nearest)));
    one(c, "upsample_area", |_| Ok(Upsample::to([3, 7], Interpolation::Area)));
    one(c, "upsample_recomputed", |_| Ok(Upsample::by([1.7], Interpolation::Linear).with_recompute_scale_factor(true)));
}

pub(crate) fn lazy(c: &mut Checked) {
    one(c, "lazy_linear", |init| LazyLinear::new(3).for_input(&first([2, 4], init))?.init(init));
    one(c, "lazy_conv2d", |init| {
        let layer = LazyConv2d::new(6, 2).with(|conv| conv.with_groups(2).with_bias(false));
        layer.for_input(&first([4, 3, 3], init))?.init(init)
    });
    one(c, "lazy_conv_transpose1d", |init| {
        let layer = LazyConvTranspose1d::new(4, 2).with(|conv| conv.with_groups(2));
        layer.for_input(&first([4, 3], init))?.init(init)
    });
    one(c, "lazy_batch_norm3d", |init| {
        LazyBatchNorm3d::new().with(|norm| norm.with_eps(1e-3)).for_input(&first([2, 4, 1, 2, 2], init))?.init(init)
    });
    one(c, "lazy_instance_norm2d", |init| LazyInstanceNorm2d::new().for_input(&first([1, 4, 2, 2], init))?.init(init));
}

pub(crate) fn sequences(c: &mut Checked) {
    c.case(
        "embedding_empty",
        |init| EmbeddingConfig::new(7, 3).with_scale_grad_by_freq(true).init(init),
        |layer, i| Ok(vec![float(layer.forward::<1, 2>(i.int(0))?)]),
    );
    let bags = |layer: &EmbeddingBag, i: &Inputs, offsets: &[i64]| {
        let offsets = Array::from_ints(offsets, &[offsets.len()], &i.device.clone().inner())?.into_int()?;
        Ok(vec![float(layer.forward_offsets(i.int(0), offsets, None)?)])
    };
    let bag = || EmbeddingBagConfig::new(7, 3);
    c.case("embedding_bag_no_bags", |init| bag().init(init), |layer, i| bags(layer, i, &[]));
    c.case(
        "embedding_bag_empty_bags",
        |init| bag().with_mode(BagMode::Max).init(init),
        |layer, i| bags(layer, i, &[0, 0]),
    );
    c.case(
        "lstm_empty",
        |init| LSTMConfig::new(3, 4).with_bidirectional(true).init_lstm(init),
        |layer, i| {
            let (output, (h, c)) = layer.forward(i.float::<3>(0), None)?;
            Ok(vec![float(output), float(h), float(c)])
        },
    );
    let config = GRUConfig::new(3, 4).with_num_layers(2).with_dropout(0.5).with_batch_first(true);
    c.case(
        "gru_empty",
        |init| config.init_gru(init),
        |layer, i| {
            let (output, h) = layer.forward(i.float::<3>(0), None)?;
            Ok(vec![float(output), float(h)])
        },
    );
    c.case(
        "rnn_cell_empty",
        |init| CellConfig::new(3, 4).init_rnn(init),
        |layer, i| Ok(vec![float(layer.forward(i.float::<2>(0), None)?)]),
    );
    let attention = |layer: &MultiheadAttention, i: &Inputs| {
        let (output, weights) = layer.forward_weights(i.float::<3>(0), i.float(1), i.float(2), &Masks::new())?;
        Ok(vec![float(output), float(weights)])
    };
    for name in ["attention_empty", "attention_no_keys"] {
        c.case(name, |init| MultiheadAttentionConfig::new(8, 2).init(init), attention);
    }
    let small = || TransformerLayerConfig::new(4, 2).with_dim_feedforward(6).with_dropout(0.0);
    c.case(
        "encoder_layer_silu",
        |init| small().with_activation(Activation::Of(Array::silu)).init_encoder(init),
        |layer, i| Ok(vec![float(layer.forward(i.float::<3>(0))?)]),
    );
    c.case(
        "encoder_layer_empty",
        |init| TransformerLayerConfig::new(8, 2).with_dim_feedforward(6).with_batch_first(true).init_encoder(init),
        |layer, i| Ok(vec![float(layer.forward(i.float::<3>(0))?)]),
    );
}

/// A loss of these inputs, which has no parameters.
fn loss<const R: usize>(c: &mut Checked, name: &str, of: impl Fn(&Inputs) -> Built<Tensor<R>>) {
    c.case(name, |_| Ok(Identity), |_, inputs| Ok(vec![float(of(inputs)?)]));
}

pub(crate) fn losses(c: &mut Checked) {
    let sum = Reduction::Sum;
    loss(c, "mse_loss_empty", |i| MSELoss::new().with_reduction(sum).forward(i.float::<2>(0), i.float(1)));
    loss(c, "cross_entropy_loss_empty", |i| {
        let loss = CrossEntropyLoss::new().with_reduction(sum).with_label_smoothing(0.1);
        loss.forward(i.float::<2>(0), i.int::<1>(1))
    });
    loss(c, "cross_entropy_loss_soft_none", |i| {
        let loss = CrossEntropyLoss::new().with_reduction(Reduction::None);
        loss.unreduced_probabilities::<3, 2>(i.float(0), softmax(i.float(1), 1)?)
    });
    loss(c, "gaussian_nll_loss_each", |i| {
        GaussianNLLLoss::new().forward(i.float::<2>(0), i.float(1), i.float::<1>(2).abs())
    });
}
