//! Layers of one tensor, and losses.

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use rekindle_models::functional::{Array, Interpolation};
use rekindle_models::init::Init;
use rekindle_models::nn::functional::{Reduction, log_softmax, sigmoid, softmax};
use rekindle_models::nn::*;

use super::harness::{Checked, Inputs};

type Built<M> = rekindle_models::Result<M>;

/// A layer of one tensor.
fn one<L: Into<Layer>>(checked: &mut Checked, name: &str, build: impl Fn(&mut Init<'_>) -> Built<L>) {
    let layer = |init: &mut Init<'_>| build(init).map(Into::into);
    checked.case::<Layer>(name, layer, |layer, inputs| Ok(vec![layer.forward_array(&inputs.array())?]));
}

/// One that no `Sequential` takes: it normalises several dimensions.
fn wide<L: Module + Forward>(checked: &mut Checked, name: &str, build: impl Fn(&mut Init<'_>) -> Built<L>) {
    checked.case(name, build, |layer, inputs| Ok(vec![layer.forward_array(&inputs.array())?]));
}

pub(crate) fn linear_and_convolutions(c: &mut Checked) {
    one(c, "linear", |init| LinearConfig::new(4, 5).init(init));
    one(c, "linear_no_bias", |init| LinearConfig::new(4, 5).with_bias(false).init(init));
    let bilinear =
        |layer: &Bilinear, i: &Inputs| Ok(vec![Array::from_float(layer.forward(i.float::<2>(0), i.float(1))?)]);
    c.case("bilinear", |init| BilinearConfig::new(3, 4, 2).init(init), bilinear);
    c.case("bilinear_no_bias", |init| BilinearConfig::new(3, 4, 2).with_bias(false).init(init), bilinear);
    one(c, "identity", |_| Ok(Identity));
    one(c, "flatten", |_| Ok(Flatten::default()));
    one(c, "unflatten", |_| Ok(Unflatten::new(1, [2, -1])));
    one(c, "conv1d", |init| Conv1dConfig::new(4, 6, 3).init(init));
    one(c, "conv1d_options", |init| {
        let config = Conv1dConfig::new(4, 6, 3).with_stride(2).with_padding(1).with_dilation(2);
        config.with_groups(2).with_bias(false).init(init)
    });
    one(c, "conv2d", |init| Conv2dConfig::new(4, 6, [3, 2]).with_padding([1, 0]).init(init));
    one(c, "conv2d_same", |init| {
        Conv2dConfig::new(4, 2, [4, 3]).with_padding(ConvPadding::Same).with_dilation([1, 2]).init(init)
    });
    let conv = || Conv2dConfig::new(4, 2, 3);
    one(c, "conv2d_reflect", |init| conv().with_padding([2, 1]).with_padding_mode(PaddingMode::Reflect).init(init));
    one(c, "conv2d_replicate", |init| {
        conv().with_padding(ConvPadding::Same).with_padding_mode(PaddingMode::Replicate).init(init)
    });
    one(c, "conv2d_circular", |init| {
        conv().with_padding(1).with_stride(2).with_padding_mode(PaddingMode::Circular).init(init)
    });
    one(c, "conv3d", |init| Conv3dConfig::new(4, 2, 2).with_stride([1, 2, 1]).init(init));
    one(c, "conv_transpose1d", |init| {
        let config = ConvTranspose1dConfig::new(4, 6, 3).with_stride(2).with_padding(1).with_output_padding(1);
        config.with_groups(2).init(init)
    });
    one(c, "conv_transpose2d", |init| {
        ConvTranspose2dConfig::new(4, 3, [3, 2]).with_stride(2).with_dilation(2).with_bias(false).init(init)
    });
    one(c, "conv_transpose3d", |init| ConvTranspose3dConfig::new(4, 2, 2).init(init));
    one(c, "sequential", |init| {
        Ok(Sequential::new(vec![
            Conv2dConfig::new(4, 3, 3).init(init)?.into(),
            BatchNormConfig::new(3).init(init)?.into(),
            ReLU::new().into(),
            Flatten::default().into(),
            Dropout::new(0.2, init).into(),
            Sequential::new(vec![LinearConfig::new(60, 4).init(init)?.into(), Tanh::new().into()]).into(),
        ]))
    });
}

pub(crate) fn norms(c: &mut Checked) {
    one(c, "batch_norm1d", |init| BatchNormConfig::new(4).init(init));
    one(c, "batch_norm2d_plain", |init| {
        BatchNormConfig::new(4).with_affine(false).with_momentum(Some(0.3)).with_eps(1e-3).init(init)
    });
    one(c, "batch_norm3d_untracked", |init| BatchNormConfig::new(4).with_track_running_stats(false).init(init));
    one(c, "layer_norm", |init| LayerNormConfig::new([4]).init(init));
    wide(c, "layer_norm_2d", |init| LayerNormConfig::new([3, 4]).with_eps(1e-3).init(init));
    one(c, "layer_norm_no_bias", |init| LayerNormConfig::new([4]).with_bias(false).init(init));
    one(c, "layer_norm_plain", |init| LayerNormConfig::new([4]).with_elementwise_affine(false).init(init));
    one(c, "rms_norm", |init| RMSNormConfig::new([4]).init(init));
    wide(c, "rms_norm_plain", |init| {
        RMSNormConfig::new([3, 4]).with_eps(Some(1e-2)).with_elementwise_affine(false).init(init)
    });
    one(c, "group_norm", |init| GroupNormConfig::new(2, 4).init(init));
    one(c, "group_norm_plain", |init| GroupNormConfig::new(4, 4).with_affine(false).init(init));
    one(c, "instance_norm1d", |init| InstanceNorm1dConfig::new(4).init(init));
    one(c, "instance_norm2d", |init| {
        InstanceNorm2dConfig::new(4).with_affine(true).with_track_running_stats(true).with_momentum(0.2).init(init)
    });
    one(c, "local_response_norm", |_| Ok(LocalResponseNorm::new(3).with_alpha(0.1).with_beta(0.5).with_k(2.0)));
    one(c, "local_response_norm_even", |_| Ok(LocalResponseNorm::new(2)));
    one(c, "dropout", |init| Ok(Dropout::new(0.3, init)));
    one(c, "dropout2d", |init| Ok(Dropout::channels(0.4, init)));
    one(c, "alpha_dropout", |init| Ok(Dropout::alpha(0.3, init)));
    one(c, "feature_alpha_dropout", |init| Ok(Dropout::feature_alpha(0.4, init)));
}

pub(crate) fn activations(c: &mut Checked) {
    one(c, "prelu", |init| PReLUConfig::new().init(init));
    one(c, "prelu_channels", |init| PReLUConfig::new().with_num_parameters(3).with_init_value(0.1).init(init));
    one(c, "rrelu", |init| Ok(RReLU::new(1.0 / 8.0, 1.0 / 3.0, init)));
    let mut layer = |name: &str, layer: Layer| one(c, &format!("activation_{name}"), |_| Ok(layer.clone()));
    layer("relu", ReLU::new().into());
    layer("relu6", ReLU6::new().into());
    layer("leaky_relu", LeakyReLU::new().with_negative_slope(0.2).into());
    layer("elu", ELU::new().with_alpha(0.7).into());
    layer("celu", CELU::new().with_alpha(0.7).into());
    layer("selu", SELU::new().into());
    layer("gelu", GELU::new().into());
    layer("gelu_tanh", GELU::new().with_tanh(true).into());
    layer("silu", SiLU::new().into());
    layer("mish", Mish::new().into());
    layer("sigmoid", Sigmoid::new().into());
    layer("log_sigmoid", LogSigmoid::new().into());
    layer("tanh", Tanh::new().into());
    layer("tanhshrink", Tanhshrink::new().into());
    layer("hardtanh", Hardtanh::new().with_min_val(-0.5).with_max_val(0.3).into());
    layer("hardsigmoid", Hardsigmoid::new().into());
    layer("hardswish", Hardswish::new().into());
    layer("hardshrink", Hardshrink::new().with_lambd(0.3).into());
    layer("softshrink", Softshrink::new().with_lambd(0.3).into());
    layer("softplus", Softplus::new().with_beta(2.0).with_threshold(0.5).into());
    layer("softsign", Softsign::new().into());
    layer("threshold", Threshold::new(0.1, 20.0).into());
    layer("softmax", Softmax::new(1).into());
    layer("softmin", Softmin::new(-1).into());
    layer("softmax2d", Softmax2d::new().into());
    layer("log_softmax", LogSoftmax::new(-1).into());
    layer("glu", GLU::new().into());
}

pub(crate) fn pools(c: &mut Checked) {
    one(c, "max_pool1d", |_| Ok(MaxPool1d::new(3).with_stride(2).with_padding(1)));
    one(c, "max_pool2d", |_| Ok(MaxPool2d::new([3, 2]).with_ceil_mode(true).with_dilation([2, 1])));
    one(c, "max_pool3d", |_| Ok(MaxPool3d::new(2).with_stride(1)));
    one(c, "avg_pool1d", |_| Ok(AvgPool1d::new(3).with_stride(2).with_padding(1).with_count_include_pad(false)));
    one(c, "avg_pool2d", |_| Ok(AvgPool2d::new([3, 2]).with_padding(1).with_ceil_mode(true)));
    one(c, "avg_pool2d_divisor", |_| Ok(AvgPool2d::new(2).with_divisor_override(Some(3))));
    one(c, "avg_pool3d", |_| Ok(AvgPool3d::new(2)));
    one(c, "lp_pool1d", |_| Ok(LPPool1d::new(2.0, 3).with_stride(2)));
    one(c, "lp_pool2d", |_| Ok(LPPool2d::new(2.0, [2, 3])));
    one(c, "fractional_max_pool2d", |init| Ok(FractionalMaxPool2d::new([3, 2], [3, 4], init)));
    let both = |layer: &FractionalMaxPool2d, i: &Inputs| {
        let (values, indices) = layer.forward_with_indices(i.float::<4>(0))?;
        Ok(vec![Array::from_float(values), Array::from_int(indices)])
    };
    c.case("fractional_max_pool2d_ratio", |init| FractionalMaxPool2d::with_ratio(2, &[0.6], init), both);
    one(c, "fractional_max_pool3d", |init| Ok(FractionalMaxPool3d::new(2, [2, 3, 2], init)));
    let back = |layer: &MaxUnpool1d, i: &Inputs| {
        let pool = MaxPool1d::new(3).with_stride(2).with_padding(1);
        let (values, indices) = pool.forward_with_indices(i.float::<3>(0))?;
        Ok(vec![Array::from_float(layer.forward(values, indices, None)?)])
    };
    c.case("max_unpool1d", |_| Ok(MaxUnpool1d::new(3).with_stride(2).with_padding(1)), back);
    let back = |layer: &MaxUnpool2d, i: &Inputs| {
        let x = i.float::<4>(0);
        let shape = x.dims();
        let (values, indices) = MaxPool2d::new([3, 2]).forward_with_indices(x)?;
        Ok(vec![Array::from_float(layer.forward(values, indices, Some(shape))?)])
    };
    c.case("max_unpool2d", |_| Ok(MaxUnpool2d::new([3, 2])), back);
    let back = |layer: &MaxUnpool3d, i: &Inputs| {
        let x = i.float::<5>(0);
        let shape = x.dims();
        let (values, indices) = MaxPool3d::new(2).forward_with_indices(x)?;
        Ok(vec![Array::from_float(layer.forward(values, indices, Some(shape))?)])
    };
    c.case("max_unpool3d", |_| Ok(MaxUnpool3d::new(2)), back);
    one(c, "unfold", |_| Ok(Unfold::new([3, 2]).with_dilation([1, 2]).with_padding(1).with_stride(2)));
    one(c, "fold", |_| Ok(Fold::new([5, 4], [3, 2]).with_padding([1, 0]).with_stride([2, 1])));
    one(c, "adaptive_avg_pool1d", |_| Ok(AdaptiveAvgPool1d::new(4)));
    one(c, "adaptive_avg_pool2d", |_| Ok(AdaptiveAvgPool2d::new([3, 4])));
    one(c, "adaptive_avg_pool3d", |_| Ok(AdaptiveAvgPool3d::new(2)));
    one(c, "adaptive_max_pool1d", |_| Ok(AdaptiveMaxPool1d::new(4)));
    one(c, "adaptive_max_pool2d", |_| Ok(AdaptiveMaxPool2d::new([3, 4])));
    one(c, "zero_pad", |_| Ok(Pad::new([1, 2, 0, 1], PaddingMode::Zeros)));
    one(c, "constant_pad", |_| Ok(Pad::new([1, -2], PaddingMode::Constant(3.5))));
    one(c, "reflection_pad", |_| Ok(Pad::new([2; 4], PaddingMode::Reflect)));
    one(c, "replication_pad", |_| Ok(Pad::new([1; 6], PaddingMode::Replicate)));
    one(c, "circular_pad", |_| Ok(Pad::new([2, 1], PaddingMode::Circular)));
    one(c, "upsample_nearest", |_| Ok(Upsample::by([2.0], Interpolation::Nearest)));
    one(c, "upsample_linear", |_| Ok(Upsample::to(5, Interpolation::Linear)));
    one(c, "upsample_bilinear", |_| Ok(Upsample::by([1.5], Interpolation::Linear).with_align_corners(true)));
    one(c, "upsample_bicubic", |_| Ok(Upsample::to([9, 5], Interpolation::Cubic)));
    one(c, "pixel_shuffle", |_| Ok(PixelShuffle::new(2)));
    one(c, "pixel_unshuffle", |_| Ok(PixelUnshuffle::new(2)));
    one(c, "channel_shuffle", |_| Ok(ChannelShuffle::new(2)));
}

/// A loss of these inputs, which has no parameters.
fn loss(c: &mut Checked, name: &str, of: impl Fn(&Inputs) -> Built<burn::tensor::Tensor<1>>) {
    c.case(name, |_| Ok(Identity), |_, inputs| Ok(vec![Array::from_float(of(inputs)?)]));
}

pub(crate) fn losses(c: &mut Checked) {
    macro_rules! of_two {
        ($($name:literal: $loss:expr),+ $(,)?) => { $(loss(c, $name, |i| $loss.forward(i.float::<2>(0), i.float(1)));)+ };
    }
    of_two!(
        "l1_loss": L1Loss::new(),
        "mse_loss": MSELoss::new().with_reduction(Reduction::Sum),
        "smooth_l1_loss": SmoothL1Loss::new().with_beta(0.3),
        "huber_loss": HuberLoss::new().with_delta(0.3),
        "soft_margin_loss": SoftMarginLoss::new(),
        "poisson_nll_loss": PoissonNLLLoss::new(),
        "bce_with_logits_loss": BCEWithLogitsLoss::new(),
        "kl_div_loss_batch": KLDivLoss::new().with_batch_mean(true).with_log_target(true),
        "multi_label_soft_margin_loss": MultiLabelSoftMarginLoss::new(),
    );
    c.case(
        "mse_loss_none",
        |_| Ok(Identity),
        |_, i| {
            let losses = MSELoss::new().with_reduction(Reduction::None).unreduced::<2, 2>(i.float(0), i.float(1))?;
            Ok(vec![Array::from_float(losses)])
        },
    );
    loss(c, "hinge_embedding_loss", |i| {
        HingeEmbeddingLoss::new().with_margin(0.5).forward(i.float::<2>(0), i.float(1).sign())
    });
    loss(c, "bce_loss", |i| BCELoss::new().forward(sigmoid(i.float::<2>(0))?, sigmoid(i.float(1))?));
    loss(c, "kl_div_loss", |i| KLDivLoss::new().forward(i.float::<2>(0), sigmoid(i.float(1))?));
    loss(c, "gaussian_nll_loss", |i| {
        GaussianNLLLoss::new().with_full(true).forward(i.float::<2>(0), i.float(1), i.float::<2>(2).exp())
    });
    loss(c, "cosine_embedding_loss", |i| {
        CosineEmbeddingLoss::new().with_margin(0.2).forward(i.float::<2>(0), i.float(1), i.float::<1>(2).sign())
    });
    loss(c, "margin_ranking_loss", |i| {
        MarginRankingLoss::new().with_margin(0.2).forward(i.float::<2>(0), i.float(1), i.float::<2>(2).sign())
    });
    loss(c, "triplet_margin_loss", |i| {
        TripletMarginLoss::new().with_swap(true).forward(i.float::<2>(0), i.float(1), i.float::<2>(2))
    });
    loss(c, "cross_entropy_loss", |i| {
        let loss = CrossEntropyLoss::new().with_ignore_index(1).with_label_smoothing(0.1);
        loss.forward(i.float::<3>(0), i.int::<2>(1))
    });
    loss(c, "cross_entropy_loss_soft", |i| {
        CrossEntropyLoss::new().forward_probabilities(i.float::<2>(0), softmax(i.float(1), 1)?)
    });
    loss(c, "multi_margin_loss", |i| MultiMarginLoss::new().forward(i.float::<2>(0), i.int::<1>(1)));
    loss(c, "multi_margin_loss_squared", |i| {
        let weight = Array::from_floats(&[0.5, 1.0, 2.0, 1.5, 0.25], &[5], i.dtype, i.device)?;
        let loss = MultiMarginLoss::new().with_p(2.0).with_margin(0.5).with_weight(Some(weight));
        loss.forward(i.float::<2>(0), i.int::<1>(1))
    });
    loss(c, "multi_label_margin_loss", |i| MultiLabelMarginLoss::new().forward(i.float::<2>(0), i.label_sets()));
    connectionist(c);
    c.case(
        "adaptive_log_softmax",
        |init| AdaptiveLogSoftmaxConfig::new(8, 20, [4, 10]).with_div_value(2.0).init(init),
        |layer: &AdaptiveLogSoftmaxWithLoss, i| {
            let (output, loss) = layer.forward(i.float(0), i.int(1))?;
            Ok(vec![Array::from_float(output), Array::from_float(loss)])
        },
    );
    c.case(
        "adaptive_log_softmax_bias",
        |init| AdaptiveLogSoftmaxConfig::new(8, 12, [3]).with_head_bias(true).init(init),
        |layer: &AdaptiveLogSoftmaxWithLoss, i| {
            let x = i.float::<2>(0);
            let (output, loss) = layer.forward(x.clone(), i.int(1))?;
            let all = layer.log_prob(x)?;
            Ok(vec![Array::from_float(output), Array::from_float(loss), Array::from_float(all)])
        },
    );
    c.case(
        "nll_loss",
        |_| Ok(Identity),
        |_, i| {
            let losses = NLLLoss::new().with_reduction(Reduction::None).unreduced(i.float::<2>(0), i.int::<1>(1))?;
            Ok(vec![Array::from_float(losses)])
        },
    );
}

fn connectionist(c: &mut Checked) {
    let scores = |i: &Inputs| log_softmax(i.float::<3>(0), 2);
    loss(c, "ctc_loss", |i| CTCLoss::new().forward(scores(i)?, i.int::<2>(1) + 1, &[8, 7, 8], &[3, 2, 4]));
    c.case(
        "ctc_loss_none",
        |_| Ok(Identity),
        |_, i| {
            let loss = CTCLoss::new().with_blank(4).with_reduction(Reduction::None);
            Ok(vec![Array::from_float(loss.unreduced(scores(i)?, i.int::<1>(1), &[8, 6, 5], &[4, 0, 3])?)])
        },
    );
    loss(c, "ctc_loss_infinite", |i| {
        let targets = Tensor::<2, Int>::from_ints([[1, 1, 1, 1], [1, 2, 1, 2]], &i.device.clone().inner());
        let loss = CTCLoss::new().with_zero_infinity(true).with_reduction(Reduction::Sum);
        loss.forward(scores(i)?, targets, &[4, 4], &[4, 2])
    });
}
