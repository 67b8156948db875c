//! The operations that `run_decompositions()` leaves in the place of the others: functional, with all their outputs.

use super::row::{Call, Out, ops};
use crate::Result;
use crate::functional::{Array, BOOL, Cell, Number, Recurrent, Running, refused};
use crate::graph::item::Item;

/// Of half-precision numbers the softmax is computed in float32 where it is asked for.
fn softmax(c: &Call<'_>, log: bool) -> Result<Array> {
    let x = c.given.tensor("self")?;
    let x = if c.given.flag("half_to_float", false)? { x.cast(burn::tensor::DType::F32)? } else { x.clone() };
    let dim = c.given.int("dim", -1)?;
    if log { x.log_softmax(dim) } else { x.softmax(dim) }
}

/// Normalised by the batch: the output, the batch's mean and deviation, and the running statistics where they come out.
fn by_batch(c: &mut Call<'_>, functional: bool) -> Result<Out> {
    let (out, updated) = super::layers::normalised(c)?;
    // What the backward pass would read is not there.
    let mut all = vec![Item::Array(out), Item::None, Item::None];
    match updated {
        // In evaluation they come out as they went in.
        updated if functional => {
            let running = updated.or(super::layers::running(&c.given)?);
            all.extend(running.into_iter().flat_map(|Running { mean, var }| [Item::Array(mean), Item::Array(var)]));
        }
        Some(Running { mean, var }) => {
            c.write("running_mean", mean);
            c.write("running_var", var);
        }
        None => {}
    }
    Ok(Out::Items(all))
}

fn by_running(c: &Call<'_>) -> Result<Out> {
    let g = &c.given;
    let x = g.tensor("input")?;
    let running = Running { mean: g.tensor("running_mean")?.clone(), var: g.tensor("running_var")?.clone() };
    let out = x.batch_norm(&running, g.maybe_tensor("weight")?, g.maybe_tensor("bias")?, g.float("eps", 1e-5)?)?;
    let none = Array::full(&[0], Number::Int(0), x.dtype(), &x.device());
    Ok(vec![out, none.clone(), none].into())
}

/// What attention became in PyTorch up to 2.4: the output, and so many others that only its backward pass reads.
fn attended(c: &mut Call<'_>, others: usize) -> Result<Out> {
    let out = super::layers::attention(c)?;
    Ok(Out::Items(std::iter::once(Item::Array(out)).chain(std::iter::repeat_n(Item::None, others)).collect()))
}

/// A layer of an LSTM in one direction, as PyTorch up to 2.2 exported it: the output, the states, and what only its backward pass reads.
fn layer_of_lstm(c: &mut Call<'_>) -> Result<Out> {
    /// How oneDNN numbers an LSTM.
    const LSTM: i64 = 2;
    let g = &c.given;
    let biases = g.flag("has_biases", true)?;
    if g.int("mode", LSTM)? != LSTM || g.size("num_layers", 1)? != 1 || g.flag("bidirectional", false)? {
        return Err(refused("mkldnn_rnn_layer", "it is supported for a layer of an LSTM in one direction"));
    }
    let layer = Recurrent {
        cell: Cell::Lstm,
        biases,
        layers: 1,
        dropout: 0.0,
        train: false,
        bidirectional: false,
        batch_first: false,
    };
    let names = ["weight0", "weight1", "weight2", "weight3"];
    let weights = names[..if biases { 4 } else { 2 }].iter().map(|name| g.tensor(name).cloned());
    let weights = weights.collect::<Result<Vec<_>>>()?;
    let reverse = g.flag("reverse", false)?;
    let along = |x: &Array| if reverse { x.flip(&[0]) } else { Ok(x.clone()) };
    let states = [g.tensor("hx_")?.clone(), g.tensor("cx_")?.clone()];
    let (output, last) = layer.run(&along(g.tensor("input")?)?, &states, &weights, c.generator)?;
    let all = std::iter::once(along(&output)?).chain(last).map(Item::Array).chain([Item::None]);
    Ok(Out::Items(all.collect()))
}

ops! {
    "aten.mkldnn_rnn_layer.default" (input, weight0, weight1, weight2, weight3, hx_, cx_, reverse, batch_sizes, mode, hidden_size, num_layers, has_biases, bidirectional, batch_first, train) |c| layer_of_lstm(c)?;
    "aten._scaled_dot_product_flash_attention.default" (query, key, value, dropout_p, is_causal, return_debug_mask, scale) |c| attended(c, 8)?;
    "aten._scaled_dot_product_flash_attention_for_cpu.default" (query, key, value, dropout_p, is_causal, attn_mask, scale) |c| attended(c, 1)?;
    "aten._softmax.default" (self, dim, half_to_float) |c| softmax(c, false)?;
    "aten._safe_softmax.default" (self, dim, dtype) |c| {
        let x = super::arithmetic::typed(&c.given)?;
        let dim = c.given.int("dim", -1)?;
        // A row that is -inf throughout gives zeros.
        let empty = x.detach().eq(f64::NEG_INFINITY)?.all(&[dim], true)?;
        x.fill_where(&empty, Number::Float(0.0))?.softmax(dim)?.fill_where(&empty, Number::Float(0.0))?
    };
    "aten._log_softmax.default" (self, dim, half_to_float) |c| softmax(c, true)?;
    "aten.native_layer_norm.default" (input, normalized_shape, weight, bias, eps) |c| {
        let (x, dims) = (c.given.tensor("input")?, c.given.ints("normalized_shape")?.len());
        let eps = c.given.float("eps", 1e-5)?;
        let out = x.layer_norm(dims, c.given.maybe_tensor("weight")?, c.given.maybe_tensor("bias")?, eps)?;
        Out::Items(vec![Item::Array(out), Item::None, Item::None])
    };
    "aten.native_group_norm.default" (input, weight, bias, N, C, HxW, group, eps) |c| {
        let out = c.given.tensor("input")?.group_norm(c.given.size("group", 1)?, c.given.maybe_tensor("weight")?, c.given.maybe_tensor("bias")?, c.given.float("eps", 1e-5)?)?;
        Out::Items(vec![Item::Array(out), Item::None, Item::None])
    };
    "aten._native_batch_norm_legit_no_training.default" (input, weight, bias, running_mean, running_var, momentum, eps) |c| by_running(c)?;
    "aten._native_batch_norm_legit_functional.default" (input, weight, bias, running_mean, running_var, training, momentum, eps) |c| by_batch(c, true)?;
    "aten._native_batch_norm_legit.default" (input, weight, bias, running_mean, running_var, training, momentum, eps) |c| by_batch(c, false)?;
    "aten._native_batch_norm_legit.no_stats" (input, weight, bias, training, momentum, eps) |c| by_batch(c, false)?;
    "aten.native_batch_norm.default" (input, weight, bias, running_mean, running_var, training, momentum, eps) |c| by_batch(c, false)?;
    "aten.native_dropout.default" (input, p, train) |c| {
        let (x, p) = (c.given.tensor("input")?, c.given.float("p", 0.5)?);
        let ones = Array::full(x.shape(), Number::Int(1), x.dtype(), &x.device());
        let mask = if c.train { ones.dropout_as_laid(p, c.order, c.generator)? } else { ones };
        (x.mul(&mask)?, mask.cast(BOOL)?)
    };
    "aten.nll_loss_forward.default" (self, target, weight, reduction, ignore_index) |c| {
        let how = super::losses::classes(&c.given)?;
        Out::Items(vec![Item::Array(c.given.tensor("self")?.nll_loss(c.given.tensor("target")?, &how)?), Item::None])
    };
    "aten._cdist_forward.default" (x1, x2, p, compute_mode) |c| c.given.tensor("x1")?.cdist(c.given.tensor("x2")?, c.given.float("p", 2.0)?)?;
}
