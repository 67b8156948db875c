//! Layers: products, convolutions, pools, normalisations, attention, embeddings, recurrent ones, dropout, other sizes.

use rekindle_random::Generator;

use super::row::{Call, View, ops};
use crate::Result;
use crate::functional::{
    Array, Attention, Cell, Convolution, Interpolation, Number, Outside, Recurrent, Resized, Running, Windows, refused,
};
use crate::graph::item::Given;

fn one() -> Number {
    Number::Int(1)
}

fn beta_alpha(g: &Given<'_>) -> Result<(Number, Number)> {
    Ok((g.maybe_number("beta")?.unwrap_or(one()), g.maybe_number("alpha")?.unwrap_or(one())))
}

fn product_added(g: &Given<'_>, a: &str, b: &str) -> Result<Array> {
    let (beta, alpha) = beta_alpha(g)?;
    g.tensor("self")?.add_product(g.tensor(a)?, g.tensor(b)?, beta, alpha)
}

fn convolution(g: &Given<'_>) -> Result<Convolution> {
    Ok(Convolution {
        stride: g.sizes("stride", &[1])?,
        padding: g.sizes("padding", &[0])?,
        dilation: g.sizes("dilation", &[1])?,
        groups: g.size("groups", 1)?,
        output_padding: g.sizes("output_padding", &[0])?,
    })
}

fn convolved(g: &Given<'_>) -> Result<Array> {
    g.tensor("input")?.conv(g.tensor("weight")?, g.maybe_tensor("bias")?, &convolution(g)?)
}

/// With `padding` "same" or "valid".
fn convolved_by_name(g: &Given<'_>) -> Result<Array> {
    let how = Convolution {
        stride: g.sizes("stride", &[1])?,
        dilation: g.sizes("dilation", &[1])?,
        groups: g.size("groups", 1)?,
        ..Convolution::default()
    };
    let (x, weight, bias) = (g.tensor("input")?, g.tensor("weight")?, g.maybe_tensor("bias")?);
    match g.text("padding") {
        Some("same") => x.conv_same(weight, bias, &how),
        Some("valid") | None => x.conv(weight, bias, &how),
        Some(other) => Err(refused("a convolution", format!("there is no padding '{other}'"))),
    }
}

fn convolved_back(g: &Given<'_>) -> Result<Array> {
    g.tensor("input")?.conv_transpose(g.tensor("weight")?, g.maybe_tensor("bias")?, &convolution(g)?)
}

fn any_convolution(g: &Given<'_>) -> Result<Array> {
    if g.flag("transposed", false)? { convolved_back(g) } else { convolved(g) }
}

fn windows(g: &Given<'_>) -> Result<Windows> {
    Ok(Windows {
        stride: g.sizes("stride", &[])?,
        padding: g.sizes("padding", &[0])?,
        dilation: g.sizes("dilation", &[1])?,
        ceil: g.flag("ceil_mode", false)?,
        count_padding: g.flag("count_include_pad", true)?,
        divisor: g.maybe_int("divisor_override")?,
        ..Windows::new(g.sizes("kernel_size", &[])?)
    })
}

fn largest(g: &Given<'_>, spatial: usize) -> Result<Array> {
    g.tensor("self")?.max_pool(spatial, &windows(g)?)
}

fn largest_with_indices(g: &Given<'_>, spatial: usize) -> Result<(Array, Array)> {
    g.tensor("self")?.max_pool_with_indices(spatial, &windows(g)?)
}

fn largest_of_parts(g: &Given<'_>) -> Result<(Array, Array)> {
    g.tensor("self")?.adaptive_max_pool(&g.sizes("output_size", &[])?)
}

/// The running statistics that a layer is given, where it has them.
pub(super) fn running(g: &Given<'_>) -> Result<Option<Running>> {
    let both = (g.maybe_tensor("running_mean")?, g.maybe_tensor("running_var")?);
    Ok(match both {
        (Some(mean), Some(var)) => Some(Running { mean: mean.clone(), var: var.clone() }),
        _ => None,
    })
}

/// A batch norm, and the running statistics that it leaves in training. Without any it normalises by the batch in evaluation, too.
pub(super) fn normalised(c: &Call<'_>) -> Result<(Array, Option<Running>)> {
    let g = &c.given;
    let (x, weight, bias) = (g.tensor("input")?, g.maybe_tensor("weight")?, g.maybe_tensor("bias")?);
    let (momentum, eps) = (g.float("momentum", 0.1)?, g.float("eps", 1e-5)?);
    match &running(g)? {
        Some(running) if !c.train => Ok((x.batch_norm(running, weight, bias, eps)?, None)),
        running => x.batch_norm_train(weight, bias, running.as_ref(), momentum, eps),
    }
}

fn batch_norm(c: &mut Call<'_>) -> Result<Array> {
    let (out, updated) = normalised(c)?;
    if let Some(Running { mean, var }) = updated {
        c.write("running_mean", mean);
        c.write("running_var", var);
    }
    Ok(out)
}

fn instance_norm(c: &mut Call<'_>) -> Result<Array> {
    let g = &c.given;
    let (x, weight, bias) = (g.tensor("input")?, g.maybe_tensor("weight")?, g.maybe_tensor("bias")?);
    let (momentum, eps) = (g.float("momentum", 0.1)?, g.float("eps", 1e-5)?);
    let Some(before) = running(g)? else { return x.instance_norm(weight, bias, eps) };
    if !c.train {
        return x.batch_norm(&before, weight, bias, eps);
    }
    let batch = x.instance_statistics()?;
    let blend = |old: &Array, new: &Array| new.mul(momentum)?.add(&old.detach().mul(1.0 - momentum)?);
    let (new_mean, new_var) = (blend(&before.mean, &batch.mean)?, blend(&before.var, &batch.var)?);
    let out = x.instance_norm(weight, bias, eps)?;
    c.write("running_mean", new_mean);
    c.write("running_var", new_var);
    Ok(out)
}

fn dropped(c: &mut Call<'_>) -> Result<Array> {
    let x = c.given.tensor("input")?;
    if c.train { x.dropout_as_laid(c.given.float("p", 0.5)?, c.order, c.generator) } else { Ok(x.clone()) }
}

/// A dropout that does nothing in evaluation.
fn in_training(c: &mut Call<'_>, drop: fn(&Array, f64, &mut Generator) -> Result<Array>) -> Result<Array> {
    let (x, p) = (c.given.tensor("input")?, c.given.float("p", 0.5)?);
    if c.train { drop(x, p, c.generator) } else { Ok(x.clone()) }
}

pub(super) fn attention(c: &mut Call<'_>) -> Result<Array> {
    let g = &c.given;
    let p = if c.train { g.float("dropout_p", 0.0)? } else { 0.0 };
    let how = Attention {
        mask: g.maybe_tensor("attn_mask")?,
        causal: g.flag("is_causal", false)?,
        scale: g.maybe_float("scale")?,
        grouped: g.flag("enable_gqa", false)?,
        keeps_all: p == 0.0,
    };
    let (query, key, value) = (g.tensor("query")?, g.tensor("key")?, g.tensor("value")?);
    let generator = &mut *c.generator;
    query.attention(key, value, &how, |weights| weights.dropout(p, generator))
}

/// The layers of `lstm.input` and its kin: their argument `hx` is one state, or several.
fn recurrent(c: &mut Call<'_>, cell: Cell) -> Result<Vec<Array>> {
    let g = &c.given;
    let layers = Recurrent {
        cell,
        biases: g.flag("has_biases", true)?,
        layers: g.size("num_layers", 1)?,
        dropout: g.float("dropout", 0.0)?,
        train: c.train,
        bidirectional: g.flag("bidirectional", false)?,
        batch_first: g.flag("batch_first", false)?,
    };
    let states = if cell == Cell::Lstm { g.tensors("hx")? } else { vec![g.tensor("hx")?.clone()] };
    let (output, last) = layers.run(g.tensor("input")?, &states, &g.tensors("params")?, c.generator)?;
    Ok(std::iter::once(output).chain(last).collect())
}

fn single_step(g: &Given<'_>, cell: Cell) -> Result<Vec<Array>> {
    let states = if cell == Cell::Lstm { g.tensors("hx")? } else { vec![g.tensor("hx")?.clone()] };
    let weights = [g.tensor("w_ih")?, g.tensor("w_hh")?];
    cell.single(g.tensor("input")?, &states, weights, [g.maybe_tensor("b_ih")?, g.maybe_tensor("b_hh")?])
}

/// The sizes that `output_size` says, or the input's times `scale_factors`.
fn resized(g: &Given<'_>, how: Interpolation) -> Result<Array> {
    let x = g.tensor(if g.slot("input").is_some() { "input" } else { "self" })?;
    let pixels = x.shape().get(2..).unwrap_or_default();
    let factors = g.maybe_numbers("scale_factors")?.filter(|factors| !factors.is_empty());
    let to: Vec<Resized> = match factors {
        Some(factors) => {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            // numbers of pixels
            let size = |(&length, factor): (&usize, &Number)| Resized {
                size: (length as f64 * factor.float()) as usize,
                scale: Some(factor.float()),
            };
            pixels.iter().zip(&factors).map(size).collect()
        }
        None => {
            let scales = ["scales_d", "scales_h", "scales_w", "scales"];
            let given: Vec<f64> = scales.iter().filter_map(|name| g.maybe_float(name).ok().flatten()).collect();
            let sizes = g.sizes("output_size", &[])?;
            let scale = |at: usize| if given.len() == sizes.len() { Some(given[at]) } else { None };
            sizes.iter().enumerate().map(|(at, &size)| Resized { size, scale: scale(at) }).collect()
        }
    };
    x.interpolate(&to, how, g.flag("align_corners", false)?)
}

fn embedding_bag(g: &Given<'_>) -> Result<Vec<Array>> {
    let (weight, indices, offsets) = (g.tensor("weight")?, g.tensor("indices")?, g.tensor("offsets")?);
    let mode = g.int("mode", 0)?;
    let length = weight.shape().first().copied().map_or(0, crate::functional::signed);
    let padding = g.maybe_int("padding_idx")?.map(|padding| if padding < 0 { padding + length } else { padding });
    let rows = weight.embedding(indices, padding)?;
    let count = indices.numel();
    let mut starts: Vec<usize> = offsets.ints()?.into_iter().map(|start| usize::try_from(start).unwrap_or(0)).collect();
    if g.flag("include_last_offset", false)? {
        starts.pop();
    }
    let ends = starts.iter().skip(1).copied().chain([count]);
    let mut counts: Option<Array> = None;
    let mut scale = g.maybe_tensor("per_sample_weights")?.map(|weights| weights.unsqueeze(-1)).transpose()?;
    if let Some(padding) = padding {
        let kept = indices.ne(padding)?.cast(weight.dtype())?.unsqueeze(-1)?;
        counts = Some(kept.clone());
        scale = Some(scale.map_or(Ok(kept.clone()), |scale| scale.mul(&kept))?);
    }
    let rows = scale.map_or(Ok(rows.clone()), |scale| rows.mul(&scale))?;
    let signed = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
    let bag = |(&start, end): (&usize, usize)| -> Result<Array> {
        let part = |x: &Array| x.slice(0, Some(signed(start)), Some(signed(end)), 1);
        let rows = part(&rows)?;
        if rows.numel() == 0 {
            return Ok(Array::full(&[weight.shape()[1]], Number::Int(0), weight.dtype(), &weight.device()));
        }
        match mode {
            0 => rows.sum(&[0], false),
            1 => match &counts {
                Some(counts) => rows.sum(&[0], false)?.div(&part(counts)?.sum(&[], false)?.clamp(Some(one()), None)?),
                None => rows.mean(&[0], false),
            },
            _ => Ok(rows.extreme_of(0, false, true)?.0),
        }
    };
    let bags = starts.iter().zip(ends).map(bag).collect::<Result<Vec<_>>>()?;
    let empty = Array::from_ints(&[], &[0], &weight.device())?;
    Ok(vec![Array::stack(&bags, 0)?, empty.clone(), empty.clone(), empty])
}

ops! {
    "aten.linear.default" (input, weight, bias) |c| c.given.tensor("input")?.linear(c.given.tensor("weight")?, c.given.maybe_tensor("bias")?)?;
    "aten.matmul.default" (self, other) |c| c.given.tensor("self")?.matmul(c.given.tensor("other")?)?;
    "aten.mm.default" (self, mat2) |c| c.given.tensor("self")?.matmul(c.given.tensor("mat2")?)?;
    "aten.bmm.default" (self, mat2) |c| c.given.tensor("self")?.matmul(c.given.tensor("mat2")?)?;
    "aten.mv.default" (self, vec) |c| c.given.tensor("self")?.matmul(c.given.tensor("vec")?)?;
    "aten.vdot.default" (self, other) |c| c.given.tensor("self")?.matmul(c.given.tensor("other")?)?;
    "aten.inner.default" (self, other) |c| {
        let (a, b) = (c.given.tensor("self")?, c.given.tensor("other")?);
        if a.rank() == 0 || b.rank() == 0 { a.mul(b)? } else { products_of_rows(a, b)? }
    };
    "aten.pairwise_distance.default" (x1, x2, p, eps, keepdim) |c| {
        let difference = c.given.tensor("x1")?.sub(c.given.tensor("x2")?)?.add(c.given.float("eps", 1e-6)?)?;
        difference.vector_norm(c.given.float("p", 2.0)?, &[-1], c.given.flag("keepdim", false)?)?
    };
    "aten.dot.default" (self, tensor) |c| c.given.tensor("self")?.matmul(c.given.tensor("tensor")?)?;
    "aten.addmm.default" (self, mat1, mat2, beta, alpha) |c| product_added(&c.given, "mat1", "mat2")?;
    "aten.baddbmm.default" (self, batch1, batch2, beta, alpha) |c| product_added(&c.given, "batch1", "batch2")?;
    "aten.addmv.default" (self, mat, vec, beta, alpha) |c| product_added(&c.given, "mat", "vec")?;
    "aten.addr.default" (self, vec1, vec2, beta, alpha) |c| {
        let (beta, alpha) = beta_alpha(&c.given)?;
        let (column, row) = (c.given.tensor("vec1")?.unsqueeze(1)?, c.given.tensor("vec2")?.unsqueeze(0)?);
        c.given.tensor("self")?.add_product(&column, &row, beta, alpha)?
    };
    "aten.outer.default" (self, vec2) |c| c.given.tensor("self")?.unsqueeze(1)?.mul(c.given.tensor("vec2")?)?;
    "aten.einsum.default" (equation, tensors, path) |c| Array::einsum(c.given.text("equation").unwrap_or_default(), &c.given.tensors("tensors")?)?;
    "aten.bilinear.default" (input1, input2, weight, bias) |c| {
        let out = Array::einsum("...i,oij,...j->...o", &[c.given.tensor("input1")?.clone(), c.given.tensor("weight")?.clone(), c.given.tensor("input2")?.clone()])?;
        match c.given.maybe_tensor("bias")? { Some(bias) => out.add(bias)?, None => out }
    };
    "aten.conv1d.default" (input, weight, bias, stride, padding, dilation, groups) |c| convolved(&c.given)?;
    "aten.conv2d.default" (input, weight, bias, stride, padding, dilation, groups) |c| convolved(&c.given)?;
    "aten.conv3d.default" (input, weight, bias, stride, padding, dilation, groups) |c| convolved(&c.given)?;
    "aten.conv1d.padding" (input, weight, bias, stride, padding, dilation, groups) |c| convolved_by_name(&c.given)?;
    "aten.conv2d.padding" (input, weight, bias, stride, padding, dilation, groups) |c| convolved_by_name(&c.given)?;
    "aten.conv3d.padding" (input, weight, bias, stride, padding, dilation, groups) |c| convolved_by_name(&c.given)?;
    "aten.conv_transpose1d.default" (input, weight, bias, stride, padding, output_padding, groups, dilation) |c| convolved_back(&c.given)?;
    "aten.conv_transpose2d.input" (input, weight, bias, stride, padding, output_padding, groups, dilation) |c| convolved_back(&c.given)?;
    "aten.conv_transpose3d.input" (input, weight, bias, stride, padding, output_padding, groups, dilation) |c| convolved_back(&c.given)?;
    "aten.convolution.default" (input, weight, bias, stride, padding, dilation, transposed, output_padding, groups) |c| any_convolution(&c.given)?;
    "aten.max_pool1d.default" (self, kernel_size, stride, padding, dilation, ceil_mode) |c| largest(&c.given, 1)?;
    "aten.max_pool2d.default" (self, kernel_size, stride, padding, dilation, ceil_mode) |c| largest(&c.given, 2)?;
    "aten.max_pool3d.default" (self, kernel_size, stride, padding, dilation, ceil_mode) |c| largest(&c.given, 3)?;
    "aten.max_pool1d_with_indices.default" (self, kernel_size, stride, padding, dilation, ceil_mode) |c| largest_with_indices(&c.given, 1)?;
    "aten.max_pool2d_with_indices.default" (self, kernel_size, stride, padding, dilation, ceil_mode) |c| largest_with_indices(&c.given, 2)?;
    "aten.max_pool3d_with_indices.default" (self, kernel_size, stride, padding, dilation, ceil_mode) |c| largest_with_indices(&c.given, 3)?;
    "aten.avg_pool1d.default" (self, kernel_size, stride, padding, ceil_mode, count_include_pad) |c| c.given.tensor("self")?.avg_pool(1, &windows(&c.given)?)?;
    "aten.avg_pool2d.default" (self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override) |c| c.given.tensor("self")?.avg_pool(2, &windows(&c.given)?)?;
    "aten.avg_pool3d.default" (self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override) |c| c.given.tensor("self")?.avg_pool(3, &windows(&c.given)?)?;
    "aten.adaptive_avg_pool1d.default" (self, output_size) |c| c.given.tensor("self")?.adaptive_avg_pool(&c.given.sizes("output_size", &[])?)?;
    "aten.adaptive_avg_pool2d.default" (self, output_size) |c| c.given.tensor("self")?.adaptive_avg_pool(&c.given.sizes("output_size", &[])?)?;
    "aten.adaptive_avg_pool3d.default" (self, output_size) |c| c.given.tensor("self")?.adaptive_avg_pool(&c.given.sizes("output_size", &[])?)?;
    "aten._adaptive_avg_pool2d.default" (self, output_size) |c| c.given.tensor("self")?.adaptive_avg_pool(&c.given.sizes("output_size", &[])?)?;
    "aten._adaptive_avg_pool3d.default" (self, output_size) |c| c.given.tensor("self")?.adaptive_avg_pool(&c.given.sizes("output_size", &[])?)?;
    "aten.adaptive_max_pool1d.default" (self, output_size) |c| largest_of_parts(&c.given)?;
    "aten.adaptive_max_pool2d.default" (self, output_size) |c| largest_of_parts(&c.given)?;
    "aten.adaptive_max_pool3d.default" (self, output_size) |c| largest_of_parts(&c.given)?;
    "aten.batch_norm.default" (input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled) |c| batch_norm(c)?;
    "aten.instance_norm.default" (input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled) |c| instance_norm(c)?;
    "aten.layer_norm.default" (input, normalized_shape, weight, bias, eps, cudnn_enable) |c| c.given.tensor("input")?.layer_norm(c.given.ints("normalized_shape")?.len(), c.given.maybe_tensor("weight")?, c.given.maybe_tensor("bias")?, c.given.float("eps", 1e-5)?)?;
    "aten.rms_norm.default" (input, normalized_shape, weight, eps) |c| c.given.tensor("input")?.rms_norm(c.given.ints("normalized_shape")?.len(), c.given.maybe_tensor("weight")?, c.given.maybe_float("eps")?)?;
    "aten.group_norm.default" (input, num_groups, weight, bias, eps, cudnn_enabled) |c| c.given.tensor("input")?.group_norm(c.given.size("num_groups", 1)?, c.given.maybe_tensor("weight")?, c.given.maybe_tensor("bias")?, c.given.float("eps", 1e-5)?)?;
    "aten._weight_norm.default" (v, g, dim) |c| c.given.tensor("v")?.weight_norm(c.given.tensor("g")?, c.given.int("dim", 0)?)?;
    "aten.embedding.default" (weight, indices, padding_idx, scale_grad_by_freq, sparse) |c| {
        if c.given.flag("scale_grad_by_freq", false)? {
            return Err(refused("embedding", "scale_grad_by_freq is not supported"));
        }
        let padding = c.given.maybe_int("padding_idx")?.filter(|padding| *padding >= 0);
        c.given.tensor("weight")?.embedding(c.given.tensor("indices")?, padding)?
    };
    "aten.embedding_renorm.default" (self, indices, max_norm, norm_type) |c| c.given.tensor("self")?.embedding_renorm(c.given.tensor("indices")?, c.given.float("max_norm", 1.0)?, c.given.float("norm_type", 2.0)?)?;
    "aten.embedding_bag.padding_idx" (weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset, padding_idx) |c| embedding_bag(&c.given)?;
    "aten.embedding_bag.default" (weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset) |c| embedding_bag(&c.given)?;
    "aten.scaled_dot_product_attention.default" (query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa) |c| attention(c)?;
    "aten.cosine_similarity.default" (x1, x2, dim, eps) |c| c.given.tensor("x1")?.cosine_similarity(c.given.tensor("x2")?, c.given.int("dim", 1)?, c.given.float("eps", 1e-8)?)?;
    "aten.cdist.default" (x1, x2, p, compute_mode) |c| c.given.tensor("x1")?.cdist(c.given.tensor("x2")?, c.given.float("p", 2.0)?)?;
    "aten.dropout.default" (input, p, train) [View::InEvaluation] |c| dropped(c)?;
    "aten.feature_dropout.default" (input, p, train) [View::InEvaluation] |c| in_training(c, Array::feature_dropout)?;
    "aten.alpha_dropout.default" (input, p, train) [View::InEvaluation] |c| in_training(c, |x, p, generator| x.alpha_dropout(p, false, generator))?;
    "aten.feature_alpha_dropout.default" (input, p, train) [View::InEvaluation] |c| in_training(c, |x, p, generator| x.alpha_dropout(p, true, generator))?;
    "aten.lstm.input" (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) |c| recurrent(c, Cell::Lstm)?;
    "aten.gru.input" (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) |c| recurrent(c, Cell::Gru)?;
    "aten.rnn_tanh.input" (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) |c| recurrent(c, Cell::Tanh)?;
    "aten.rnn_relu.input" (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) |c| recurrent(c, Cell::Relu)?;
    "aten.lstm_cell.default" (input, hx, w_ih, w_hh, b_ih, b_hh) |c| single_step(&c.given, Cell::Lstm)?;
    "aten.gru_cell.default" (input, hx, w_ih, w_hh, b_ih, b_hh) |c| single_step(&c.given, Cell::Gru)?;
    "aten.rnn_tanh_cell.default" (input, hx, w_ih, w_hh, b_ih, b_hh) |c| single_step(&c.given, Cell::Tanh)?;
    "aten.rnn_relu_cell.default" (input, hx, w_ih, w_hh, b_ih, b_hh) |c| single_step(&c.given, Cell::Relu)?;
    "aten.upsample_nearest1d.vec" (input, output_size, scale_factors) |c| resized(&c.given, Interpolation::Nearest)?;
    "aten.upsample_nearest2d.vec" (input, output_size, scale_factors) |c| resized(&c.given, Interpolation::Nearest)?;
    "aten.upsample_nearest3d.vec" (input, output_size, scale_factors) |c| resized(&c.given, Interpolation::Nearest)?;
    "aten._upsample_nearest_exact1d.vec" (input, output_size, scale_factors) |c| resized(&c.given, Interpolation::NearestExact)?;
    "aten._upsample_nearest_exact2d.vec" (input, output_size, scale_factors) |c| resized(&c.given, Interpolation::NearestExact)?;
    "aten._upsample_nearest_exact3d.vec" (input, output_size, scale_factors) |c| resized(&c.given, Interpolation::NearestExact)?;
    "aten._upsample_bilinear2d_aa.vec" (input, output_size, align_corners, scale_factors) |c| resized(&c.given, Interpolation::LinearSmoothed)?;
    "aten._upsample_bicubic2d_aa.vec" (input, output_size, align_corners, scale_factors) |c| resized(&c.given, Interpolation::CubicSmoothed)?;
    "aten.upsample_nearest1d.default" (self, output_size, scales) |c| resized(&c.given, Interpolation::Nearest)?;
    "aten.upsample_nearest3d.default" (self, output_size, scales_d, scales_h, scales_w) |c| resized(&c.given, Interpolation::Nearest)?;
    "aten.upsample_linear1d.default" (self, output_size, align_corners, scales) |c| resized(&c.given, Interpolation::Linear)?;
    "aten.upsample_trilinear3d.default" (self, output_size, align_corners, scales_d, scales_h, scales_w) |c| resized(&c.given, Interpolation::Linear)?;
    "aten._upsample_nearest_exact1d.default" (self, output_size, scales) |c| resized(&c.given, Interpolation::NearestExact)?;
    "aten._upsample_nearest_exact2d.default" (self, output_size, scales_h, scales_w) |c| resized(&c.given, Interpolation::NearestExact)?;
    "aten._upsample_nearest_exact3d.default" (self, output_size, scales_d, scales_h, scales_w) |c| resized(&c.given, Interpolation::NearestExact)?;
    "aten._upsample_bilinear2d_aa.default" (self, output_size, align_corners, scales_h, scales_w) |c| resized(&c.given, Interpolation::LinearSmoothed)?;
    "aten._upsample_bicubic2d_aa.default" (self, output_size, align_corners, scales_h, scales_w) |c| resized(&c.given, Interpolation::CubicSmoothed)?;
    "aten.upsample_linear1d.vec" (input, output_size, align_corners, scale_factors) |c| resized(&c.given, Interpolation::Linear)?;
    "aten.upsample_bilinear2d.vec" (input, output_size, align_corners, scale_factors) |c| resized(&c.given, Interpolation::Linear)?;
    "aten.upsample_trilinear3d.vec" (input, output_size, align_corners, scale_factors) |c| resized(&c.given, Interpolation::Linear)?;
    "aten.upsample_bicubic2d.vec" (input, output_size, align_corners, scale_factors) |c| resized(&c.given, Interpolation::Cubic)?;
    "aten.upsample_nearest2d.default" (self, output_size, scales_h, scales_w) |c| resized(&c.given, Interpolation::Nearest)?;
    "aten.upsample_bilinear2d.default" (self, output_size, align_corners, scales_h, scales_w) |c| resized(&c.given, Interpolation::Linear)?;
    "aten.upsample_bicubic2d.default" (self, output_size, align_corners, scales_h, scales_w) |c| resized(&c.given, Interpolation::Cubic)?;
    "aten.grid_sampler.default" (input, grid, interpolation_mode, padding_mode, align_corners) |c| sampled(&c.given)?;
    "aten.grid_sampler_2d.default" (input, grid, interpolation_mode, padding_mode, align_corners) |c| sampled(&c.given)?;
    "aten.grid_sampler_3d.default" (input, grid, interpolation_mode, padding_mode, align_corners) |c| sampled(&c.given)?;
    "aten.affine_grid_generator.default" (theta, size, align_corners) |c| Array::affine_grid(c.given.tensor("theta")?, &c.given.sizes("size", &[])?, c.given.flag("align_corners", false)?)?;
}

/// An image by a grid.
fn sampled(g: &Given<'_>) -> Result<Array> {
    let how = match g.int("interpolation_mode", 0)? {
        0 => Interpolation::Linear,
        1 => Interpolation::Nearest,
        _ => Interpolation::Cubic,
    };
    let outside = match g.int("padding_mode", 0)? {
        0 => Outside::Zeros,
        1 => Outside::Border,
        _ => Outside::Reflection,
    };
    g.tensor("input")?.grid_sample(g.tensor("grid")?, how, outside, g.flag("align_corners", false)?)
}

/// The products of all rows of one with all rows of the other (`torch.inner`).
fn products_of_rows(a: &Array, b: &Array) -> Result<Array> {
    let width = a.shape().last().copied().unwrap_or(1);
    if b.shape().last() != Some(&width) {
        return Err(refused("inner", format!("{:?} and {:?} do not go together", a.shape(), b.shape())));
    }
    let rows = |x: &Array| x.reshaped(&[x.numel() / width.max(1), width]);
    let mut shape = a.shape()[..a.rank() - 1].to_vec();
    shape.extend(&b.shape()[..b.rank() - 1]);
    rows(a)?.matmul(&rows(b)?.transpose(0, 1)?)?.reshaped(&shape)
}
