//! New tensors: filled, counted, drawn.

use burn::tensor::DType;

use super::row::{Call, ops};
use crate::Result;
use crate::functional::{Array, Number};

fn filled(c: &Call<'_>, shape: &str, value: Number, like: Option<DType>) -> Result<Array> {
    let dtype = c.given.dtype("dtype").or(like).unwrap_or(DType::F32);
    let shape = c.given.sizes(shape, &[])?;
    Ok(Array::full(&shape, value, dtype, c.device))
}

fn like(c: &Call<'_>, value: Number) -> Result<Array> {
    let x = c.given.tensor("self")?;
    Ok(Array::full(x.shape(), value, c.given.dtype("dtype").unwrap_or(x.dtype()), c.device))
}

fn new(c: &Call<'_>, value: Number) -> Result<Array> {
    filled(c, "size", value, Some(c.given.tensor("self")?.dtype()))
}

fn counted(c: &Call<'_>) -> Result<Array> {
    let start = c.given.maybe_number("start")?.unwrap_or(Number::Int(0));
    let step = c.given.maybe_number("step")?.unwrap_or(Number::Int(1));
    Array::arange(start, c.given.number("end")?, step, c.given.dtype("dtype"), c.device)
}

fn spaced(c: &Call<'_>) -> Result<Array> {
    let (start, end) = (c.given.float("start", 0.0)?, c.given.float("end", 1.0)?);
    Array::linspace(start, end, c.given.size("steps", 100)?, c.given.dtype("dtype").unwrap_or(DType::F32), c.device)
}

/// The shape and the type of what is drawn.
fn drawn(
    c: &mut Call<'_>,
    draw: fn(&[usize], DType, &burn::tensor::Device, &mut rekindle_random::Generator) -> Result<Array>,
) -> Result<Array> {
    let (shape, dtype) = match c.given.maybe_tensor("self")? {
        Some(x) => (x.shape().to_vec(), c.given.dtype("dtype").unwrap_or(x.dtype())),
        None => (c.given.sizes("size", &[])?, c.given.dtype("dtype").unwrap_or(DType::F32)),
    };
    draw(&shape, dtype, c.device, c.generator)
}

/// Ones on the diagonal; square where one length is said.
fn identity(c: &Call<'_>) -> Result<Array> {
    let rows = c.given.size("n", 0)?;
    let shape = [rows, c.given.size("m", rows)?];
    let ones = Array::full(&shape, ONE, c.given.dtype("dtype").unwrap_or(DType::F32), c.device);
    ones.triangle(0, true)?.triangle(0, false)
}

const ZERO: Number = Number::Int(0);
const ONE: Number = Number::Int(1);

ops! {
    "aten.zeros.default" (size, dtype, layout, device, pin_memory) |c| filled(c, "size", ZERO, None)?;
    "aten.ones.default" (size, dtype, layout, device, pin_memory) |c| filled(c, "size", ONE, None)?;
    // What PyTorch leaves unwritten is zeros here: a program that reads it has no result of its own.
    "aten.empty.memory_format" (size, dtype, layout, device, pin_memory, memory_format) |c| filled(c, "size", ZERO, None)?;
    "aten.empty_permuted.default" (size, physical_layout, dtype, layout, device, pin_memory) |c| filled(c, "size", ZERO, None)?;
    "aten.full.default" (size, fill_value, dtype, layout, device, pin_memory) |c| {
        let value = c.given.number("fill_value")?;
        filled(c, "size", value, Some(value.dtype()))?
    };
    "aten.scalar_tensor.default" (s, dtype, layout, device, pin_memory) |c| {
        Array::full(&[], c.given.number("s")?, c.given.dtype("dtype").unwrap_or(DType::F32), c.device)
    };
    "aten.zeros_like.default" (self, dtype, layout, device, pin_memory, memory_format) |c| like(c, ZERO)?;
    "aten.ones_like.default" (self, dtype, layout, device, pin_memory, memory_format) |c| like(c, ONE)?;
    "aten.empty_like.default" (self, dtype, layout, device, pin_memory, memory_format) |c| like(c, ZERO)?;
    "aten.full_like.default" (self, fill_value, dtype, layout, device, pin_memory, memory_format) |c| like(c, c.given.number("fill_value")?)?;
    "aten.new_zeros.default" (self, size, dtype, layout, device, pin_memory) |c| new(c, ZERO)?;
    "aten.new_ones.default" (self, size, dtype, layout, device, pin_memory) |c| new(c, ONE)?;
    "aten.new_empty.default" (self, size, dtype, layout, device, pin_memory) |c| new(c, ZERO)?;
    "aten.new_full.default" (self, size, fill_value, dtype, layout, device, pin_memory) |c| new(c, c.given.number("fill_value")?)?;
    "aten.fill.Scalar" (self, value) |c| like(c, c.given.number("value")?)?;
    "aten.fill.Tensor" (self, value) |c| {
        let x = c.given.tensor("self")?;
        c.given.tensor("value")?.cast(x.dtype())?.expanded(x.shape())?
    };
    "aten.zero.default" (self) |c| like(c, ZERO)?;
    "aten.arange.default" (end, dtype, layout, device, pin_memory) |c| counted(c)?;
    "aten.arange.start" (start, end, dtype, layout, device, pin_memory) |c| counted(c)?;
    "aten.arange.start_step" (start, end, step, dtype, layout, device, pin_memory) |c| counted(c)?;
    "aten.linspace.default" (start, end, steps, dtype, layout, device, pin_memory) |c| spaced(c)?;
    "aten.linspace.Tensor_Tensor" (start, end, steps, dtype, layout, device, pin_memory) |c| spaced(c)?;
    "aten.linspace.Tensor_Scalar" (start, end, steps, dtype, layout, device, pin_memory) |c| spaced(c)?;
    "aten.linspace.Scalar_Tensor" (start, end, steps, dtype, layout, device, pin_memory) |c| spaced(c)?;
    "aten.logspace.default" (start, end, steps, base, dtype, layout, device, pin_memory) |c| {
        let dtype = c.given.dtype("dtype").unwrap_or(DType::F32);
        let whole = crate::functional::kind_of(dtype) == crate::functional::Kind::Int;
        let bound = |name: &str| Ok::<_, crate::ModelError>(if whole { c.given.float(name, 0.0)?.trunc() } else { c.given.float(name, 0.0)? });
        let mut powers = Array::linspace(bound("start")?, bound("end")?, c.given.size("steps", 100)?, DType::F64, c.device)?;
        if whole {
            powers = powers.cast(DType::I64)?.cast(DType::F64)?;
        }
        powers.power_of(Number::Float(c.given.float("base", 10.0)?))?.cast(dtype)?
    };
    "aten.new_empty_strided.default" (self, size, stride, dtype, layout, device, pin_memory) |c| new(c, ZERO)?;
    "aten.empty_strided.default" (size, stride, dtype, layout, device, pin_memory) |c| filled(c, "size", ZERO, None)?;
    "aten.eye.default" (n, dtype, layout, device, pin_memory) |c| identity(c)?;
    "aten.eye.m" (n, m, dtype, layout, device, pin_memory) |c| identity(c)?;
    "aten.rand.default" (size, dtype, layout, device, pin_memory) |c| drawn(c, Array::rand)?;
    "aten.randn.default" (size, dtype, layout, device, pin_memory) |c| drawn(c, Array::randn)?;
    "aten.rand_like.default" (self, dtype, layout, device, pin_memory, memory_format) |c| drawn(c, Array::rand)?;
    "aten.randn_like.default" (self, dtype, layout, device, pin_memory, memory_format) |c| drawn(c, Array::randn)?;
    "aten.randint.low" (low, high, size, dtype, layout, device, pin_memory) |c| {
        let (low, high, shape) = (c.given.int("low", 0)?, c.given.int("high", 1)?, c.given.sizes("size", &[])?);
        Array::randint(low, high, &shape, c.device, c.generator)?.cast(c.given.dtype("dtype").unwrap_or(DType::I64))?
    };
    "aten.randint.default" (high, size, dtype, layout, device, pin_memory) |c| {
        let (high, shape) = (c.given.int("high", 1)?, c.given.sizes("size", &[])?);
        Array::randint(0, high, &shape, c.device, c.generator)?.cast(c.given.dtype("dtype").unwrap_or(DType::I64))?
    };
    "aten.randperm.default" (n, dtype, layout, device, pin_memory) |c| Array::randperm(c.given.size("n", 0)?, c.device, c.generator)?;
    "aten.bernoulli.default" (self, generator) |c| c.given.tensor("self")?.bernoulli(c.generator)?;
    // `bernoulli_(p)` draws otherwise than `bernoulli`: that is its name with the underscore.
    "aten.bernoulli_.float" (self, p, generator) |c| {
        let x = c.given.tensor("self")?;
        Array::bernoulli_as_laid(x.shape(), c.given.float("p", 0.5)?, x.dtype(), c.device, c.order, c.generator)?
    };
    "aten.bernoulli.p" (self, p, generator) |c| {
        let x = c.given.tensor("self")?;
        Array::bernoulli_fill(x.shape(), c.given.float("p", 0.5)?, x.dtype(), c.device, c.generator)?
    };
}
