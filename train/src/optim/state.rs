//! The state that an optimizer keeps of one parameter: counters, tensors of the parameter's shape, and whatever else a file
//! holds. Tensors are kept as Burn's pieces of the parameter lie: in host memory for parameters there, else on their device.

use std::sync::Arc;

use burn::tensor::{DType as BurnDType, Device, Element, Tensor, TensorData, bf16, f16};
use bytemuck::NoUninit;
use indexmap::IndexMap;
use rekindle_burn::{NamedParameter, data_to_tensor, shared_data, tensor_to_data};
use rekindle_recorder::{DType, Error, Result, Tensor as TorchTensor, Value};

use super::array::{Real, rounded, with_real};
use super::elementwise::{Elements, Slices};
use super::rule::{Rule, STEP_DTYPE, View};
use crate::attributes::{Attributes, invalid, wrong_type};

/// A parameter's entry in `optimizer.state`, in the order of its keys.
#[derive(Clone, Debug)]
pub(crate) struct ParamState {
    entries: IndexMap<String, Entry>,
    /// How many Burn parameters it is the state of; 1 where the optimizer sees parameters as PyTorch has them.
    pieces: usize,
    /// PyTorch's shape of the parameter, and its type.
    shape: Vec<usize>,
    dtype: DType,
    /// Its rows that the next gradient touches, in order, where the caller said so.
    pub(super) touched: Option<Vec<usize>>,
    /// What its gradient is divided by in the next step, where all gradients are clipped together.
    pub(super) divide: Option<f64>,
}

#[derive(Clone, Debug)]
enum Entry {
    /// A tensor of one element.
    Scalar(Scalar),
    /// A tensor of the parameter's shape, in the pieces that Burn has of it.
    Moment(Vec<Buffer>),
    /// A tensor in PyTorch's order, of a shape of its own.
    Whole(Buffer, Vec<usize>),
    /// A number that is no tensor.
    Counter(i64),
    /// Anything else: kept.
    Other(Value),
}

/// The element of a tensor that holds one.
#[derive(Clone, Debug)]
struct Scalar {
    number: f64,
    dtype: DType,
    shape: Vec<usize>,
}

/// Elements in the order of a Burn parameter. A state dict shares those in host memory: they are copied when the next step changes
/// them, if it is still there.
#[derive(Clone, Debug)]
pub(crate) enum Buffer {
    /// Not made yet: all are this. There are so many, or as many as the parameter has.
    Filled(f64, Option<usize>),
    F32(Arc<Vec<f32>>),
    F64(Arc<Vec<f64>>),
    F16(Arc<Vec<f16>>),
    BF16(Arc<Vec<bf16>>),
    Tensor(Tensor<1>),
}

/// An element type that state is held in.
pub(crate) trait Held: Real {
    /// These elements.
    fn hold(values: Vec<Self>) -> Buffer;
    /// Those of a buffer that holds this type.
    fn of_buffer(buffer: &mut Buffer) -> Option<&mut [Self]>;
    /// Whether a buffer holds this type.
    fn is_of(buffer: &Buffer) -> bool;
    /// How many elements a buffer of this type has that something else holds, too.
    fn shared_len(buffer: &Buffer) -> Option<usize>;
    /// Whether nothing else holds a buffer, which has so many elements of this type.
    fn is_free(buffer: &Buffer, len: usize) -> bool;
    /// The elements of a buffer that holds this type.
    fn of_held(buffer: Buffer) -> Option<Arc<Vec<Self>>>;
    /// These elements as they were held.
    fn held(values: Arc<Vec<Self>>) -> Buffer;
    /// An update's elements, of this type.
    fn elements(slices: Slices<'_, Self>) -> Elements<'_>;
}

macro_rules! held {
    ($($ty:ident $variant:ident),*) => { $(
        impl Held for $ty {
            fn hold(values: Vec<Self>) -> Buffer {
                Buffer::$variant(Arc::new(values))
            }

            fn of_buffer(buffer: &mut Buffer) -> Option<&mut [Self]> {
                match buffer {
                    Buffer::$variant(values) => Some(Arc::make_mut(values).as_mut_slice()),
                    _ => None,
                }
            }

            fn is_of(buffer: &Buffer) -> bool {
                matches!(buffer, Buffer::$variant(_))
            }

            fn shared_len(buffer: &Buffer) -> Option<usize> {
                match buffer {
                    Buffer::$variant(values) if Arc::strong_count(values) > 1 => Some(values.len()),
                    _ => None,
                }
            }

            fn is_free(buffer: &Buffer, len: usize) -> bool {
                matches!(buffer, Buffer::$variant(values) if Arc::strong_count(values) == 1 && values.len() == len)
            }

            fn of_held(buffer: Buffer) -> Option<Arc<Vec<Self>>> {
                match buffer {
                    Buffer::$variant(values) => Some(values),
                    _ => None,
                }
            }

            fn held(values: Arc<Vec<Self>>) -> Buffer {
                Buffer::$variant(values)
            }

            fn elements(slices: Slices<'_, Self>) -> Elements<'_> {
                Elements::$variant(slices)
            }
        }
    )* };
}

held!(f32 F32, f64 F64, f16 F16, bf16 BF16);

impl Default for ParamState {
    fn default() -> Self {
        let (entries, shape) = (IndexMap::new(), Vec::new());
        ParamState { entries, pieces: 0, shape, dtype: DType::Float32, touched: None, divide: None }
    }
}

impl ParamState {
    /// The state of so many elements' pieces that were never stepped.
    #[cfg(test)]
    pub(crate) fn new(pieces: usize) -> Self {
        ParamState { pieces, ..ParamState::default() }
    }

    /// The state of one tensor that was never stepped, as Burn has it.
    #[cfg(feature = "learner")]
    pub(crate) fn alone(shape: Vec<usize>, dtype: DType) -> Self {
        ParamState { pieces: 1, shape, dtype, ..ParamState::default() }
    }

    /// The tensors of one element, in order.
    #[cfg(feature = "learner")]
    pub(crate) fn scalars(&self) -> impl Iterator<Item = (&str, f64)> {
        self.entries.iter().filter_map(|(name, entry)| match entry {
            Entry::Scalar(scalar) => Some((name.as_str(), scalar.number)),
            _ => None,
        })
    }

    /// The tensors of the shape that [`alone`](Self::alone) was given, in order.
    #[cfg(feature = "learner")]
    pub(crate) fn moments(&self) -> impl Iterator<Item = (&str, Result<TensorData>)> {
        let dtype = self.dtype;
        self.entries.iter().filter_map(move |(name, entry)| match entry {
            Entry::Moment(buffers) => Some((name.as_str(), buffers.first()?.to_data(&self.shape, dtype))),
            _ => None,
        })
    }

    /// Puts a tensor of the shape that [`alone`](Self::alone) was given.
    #[cfg(feature = "learner")]
    pub(crate) fn put_moment(&mut self, name: &str, data: TensorData) -> Result<()> {
        self.entries.insert(name.to_owned(), Entry::Moment(vec![Buffer::from_data(data, self.dtype)?]));
        Ok(())
    }

    /// The state of a parameter that was never stepped.
    pub(crate) fn of(rule: &Rule, parameter: &NamedParameter) -> Self {
        let pieces = if rule.view == View::Elements { parameter.pieces.len() } else { 1 };
        ParamState { pieces, shape: parameter.shape.clone(), dtype: parameter.dtype, ..ParamState::default() }
    }

    /// Whether the parameter is of doubles.
    pub(crate) fn is_double(&self) -> bool {
        self.dtype == DType::Float64
    }

    /// PyTorch's shape of the parameter.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Makes a scalar of this value.
    pub(crate) fn scalar(&mut self, name: &str, number: f64) {
        self.entries.insert(name.to_owned(), Entry::Scalar(Scalar::new(number, STEP_DTYPE)));
    }

    /// Makes a tensor of zeros unless it is there.
    pub(crate) fn moment(&mut self, name: &str) {
        self.moment_of(name, 0.0);
    }

    /// Makes a tensor that holds one number everywhere unless it is there.
    pub(crate) fn moment_of(&mut self, name: &str, number: f64) {
        if !self.has_moment(name) {
            self.entries.insert(name.to_owned(), Entry::Moment(vec![Buffer::Filled(number, None); self.pieces]));
        }
    }

    pub(crate) fn has_moment(&self, name: &str) -> bool {
        matches!(self.entries.get(name), Some(Entry::Moment(_)))
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        matches!(self.entries.get(name), Some(Entry::Moment(_) | Entry::Whole(..)))
    }

    /// Makes a tensor of zeros, of this shape and in PyTorch's order.
    pub(crate) fn whole(&mut self, name: &str, shape: Vec<usize>) {
        self.whole_of(name, shape, 0.0);
    }

    /// Makes a tensor that holds one number everywhere, of this shape and in PyTorch's order, unless it is there.
    pub(crate) fn whole_of(&mut self, name: &str, shape: Vec<usize>, number: f64) {
        let filled = Buffer::Filled(number, Some(shape.iter().product()));
        self.entries.entry(name.to_owned()).or_insert_with(|| Entry::Whole(filled, shape));
    }

    /// One piece of a tensor of the parameter's shape, flat; `None` if there is none.
    pub(crate) fn piece(&self, name: &str, piece: usize, len: usize) -> Result<Option<TensorData>> {
        match self.entries.get(name) {
            Some(Entry::Moment(pieces)) => {
                pieces.get(piece).map(|buffer| buffer.to_data(&[len], self.dtype)).transpose()
            }
            _ => Ok(None),
        }
    }

    /// Makes a number that is no tensor.
    pub(crate) fn counter(&mut self, name: &str, number: i64) {
        self.entries.insert(name.to_owned(), Entry::Counter(number));
    }

    /// Counts a step of a state that has a `step` and these tensors, and makes them before the first; gives the count.
    pub(crate) fn step(&mut self, moments: &[&str]) -> Result<f64> {
        if self.is_empty() {
            self.scalar("step", 0.0);
            moments.iter().for_each(|name| self.moment(name));
        }
        self.count("step")
    }

    /// Adds 1 to a scalar, in its own type, and gives what it is then.
    pub(crate) fn count(&mut self, name: &str) -> Result<f64> {
        #[allow(clippy::cast_precision_loss)]
        if let Some(Entry::Counter(number)) = self.entries.get_mut(name) {
            *number = number.saturating_add(1);
            return Ok(*number as f64);
        }
        let scalar = self.scalar_mut(name)?;
        scalar.set(scalar.number + 1.0);
        Ok(scalar.number)
    }

    /// Multiplies a scalar, in its own type, and gives what it is then: `scalar *= factor`.
    pub(crate) fn scale(&mut self, name: &str, factor: f64) -> Result<f64> {
        let scalar = self.scalar_mut(name)?;
        // The factor is rounded first, as Python's number becomes one of the tensor's type.
        scalar.set(scalar.number * scalar.rounded(factor));
        Ok(scalar.number)
    }

    /// Changes a scalar as `scalar.copy_(torch.as_tensor(number))` does, rounding to the default type, which `step` has, then
    /// to the scalar's own; gives what it was before.
    pub(crate) fn copy(&mut self, name: &str, number: f64) -> Result<f64> {
        let number = self.scalar_mut("step")?.rounded(number);
        let scalar = self.scalar_mut(name)?;
        let before = scalar.number;
        scalar.set(number);
        Ok(before)
    }

    /// Casts `step` to the type that optimizers on a device count in, if it is a tensor.
    pub(crate) fn cast_step(&mut self) {
        if let Some(Entry::Scalar(step)) = self.entries.get_mut("step") {
            step.dtype = STEP_DTYPE;
            step.set(step.number);
        }
    }

    fn scalar_mut(&mut self, name: &str) -> Result<&mut Scalar> {
        match self.entries.get_mut(name) {
            Some(Entry::Scalar(scalar)) => Ok(scalar),
            _ => Err(missing(name)),
        }
    }

    /// The value of a scalar, where there is one.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.entries.get(name) {
            Some(Entry::Scalar(scalar)) => Some(scalar.number),
            #[allow(clippy::cast_precision_loss)]
            Some(Entry::Counter(number)) => Some(*number as f64),
            _ => None,
        }
    }

    /// The tensors of these names, of one piece.
    pub(crate) fn buffers(&mut self, names: &[&str], piece: usize) -> Result<Vec<&mut Buffer>> {
        let mut found: Vec<Option<&mut Buffer>> = names.iter().map(|_| None).collect();
        for (name, entry) in &mut self.entries {
            let Some(place) = names.iter().position(|wanted| wanted == name) else { continue };
            found[place] = match entry {
                Entry::Moment(pieces) => pieces.get_mut(piece),
                Entry::Whole(buffer, _) => Some(buffer),
                _ => None,
            };
        }
        found.into_iter().zip(names).map(|(buffer, name)| buffer.ok_or_else(|| missing(name))).collect()
    }

    /// What a state dict holds for one parameter; `place` is where, for messages.
    pub(crate) fn read(rule: &Rule, parameter: &NamedParameter, value: &Value, place: &str) -> Result<Self> {
        let dict = value.as_dict().ok_or_else(|| wrong_type(place, "a dict", value))?;
        let mut state = ParamState::of(rule, parameter);
        for (key, value) in dict.entries() {
            let name = key.as_str().ok_or_else(|| wrong_type(&format!("a key of {place}"), "a str", &key))?;
            let entry = if let (true, Some(number)) = (rule.counters.contains(&name), value.as_i64()) {
                Entry::Counter(number)
            } else if rule.scalars.contains(&name) {
                let mut scalar = Scalar::read(&value, &format!("{place}.{name}"))?;
                // PyTorch casts every tensor but this one to the parameter's type.
                if name != "step" && value.as_tensor().is_some() {
                    scalar.dtype = parameter.dtype;
                    scalar.set(scalar.number);
                }
                Entry::Scalar(scalar)
            } else if rule.moments.contains(&name) && !matches!(value, Value::None) {
                let key = format!("{place}.{name}");
                match (rule.view, (rule.state_shape)(name, &parameter.shape)) {
                    (View::Elements, _) => Entry::Moment(read_moment(parameter, &value, &key)?),
                    (_, Some(shape)) => Entry::Whole(read_whole(parameter, &shape, &value, &key)?, shape),
                    (_, None) => Entry::Other(value),
                }
            } else {
                Entry::Other(value)
            };
            state.entries.insert(name.to_owned(), entry);
        }
        Ok(state)
    }

    /// The dict that PyTorch stores for one parameter.
    pub(crate) fn to_value(&self, parameter: &NamedParameter) -> Result<Value> {
        let dict = rekindle_recorder::Dict::new();
        for (name, entry) in &self.entries {
            let value = match entry {
                Entry::Scalar(scalar) => scalar.to_value()?,
                Entry::Moment(buffers) => {
                    let pieces: Vec<TensorData> = buffers
                        .iter()
                        .zip(&parameter.pieces)
                        .map(|(buffer, piece)| buffer.to_data(&piece.shape, parameter.dtype))
                        .collect::<Result<_>>()?;
                    parameter.join(&pieces)?.into()
                }
                Entry::Whole(buffer, shape) => data_to_tensor(buffer.to_data(shape, parameter.dtype)?)?.into(),
                Entry::Counter(number) => (*number).into(),
                Entry::Other(value) => value.clone(),
            };
            dict.insert(name.as_str(), value);
        }
        Ok(dict.into())
    }

    /// The first of the entries that it lacks and cannot go on without: none, unless a step was made.
    pub(crate) fn lacks(&self, rule: &Rule, group: &Attributes) -> Result<Option<&'static str>> {
        if self.is_empty() {
            return Ok(None);
        }
        let applies = |name: &str| (rule.state_shape)(name, &self.shape).is_some();
        let there = |name: &str| !matches!(self.entries.get(name), Some(Entry::Other(_)) | None);
        Ok(rule.needs(group)?.into_iter().find(|name| applies(name) && !there(name)))
    }
}

pub(super) fn missing(name: &str) -> rekindle_recorder::Error {
    Error::missing_key(format!("state[..].{name}")).advise("the optimizer needs it to go on")
}

impl Scalar {
    fn new(number: f64, dtype: DType) -> Self {
        let mut scalar = Scalar { number, dtype, shape: Vec::new() };
        scalar.set(number);
        scalar
    }

    fn rounded(&self, number: f64) -> f64 {
        rounded(self.dtype, number)
    }

    fn set(&mut self, number: f64) {
        self.number = self.rounded(number);
    }

    fn read(value: &Value, key: &str) -> Result<Self> {
        let unexpected = || wrong_type(key, "a number or a tensor of one element", value);
        let Value::Tensor(tensor) = value else {
            let number = value.as_f64().ok_or_else(unexpected)?;
            return Ok(Scalar::new(number, STEP_DTYPE));
        };
        let [number] = tensor.to_f64_vec()?[..] else { return Err(unexpected()) };
        let scalar = Scalar { number, dtype: tensor.dtype(), shape: tensor.shape().to_vec() };
        scalar.to_value()?;
        Ok(scalar)
    }

    #[allow(clippy::cast_possible_truncation)]
    fn to_value(&self) -> Result<Value> {
        let tensor = match self.dtype {
            DType::Float32 => TorchTensor::from_vec(&self.shape, vec![self.number as f32]),
            DType::Float64 => TorchTensor::from_vec(&self.shape, vec![self.number]),
            DType::Float16 => TorchTensor::from_vec(&self.shape, vec![f16::of(self.number)]),
            DType::BFloat16 => TorchTensor::from_vec(&self.shape, vec![bf16::of(self.number)]),
            DType::Int64 => TorchTensor::from_vec(&self.shape, vec![self.number as i64]),
            DType::Int32 => TorchTensor::from_vec(&self.shape, vec![self.number as i32]),
            other => {
                let what = format!("an optimizer's step of type {other}");
                Err(Error::unsupported(what))
            }
        };
        tensor.map(Value::from)
    }
}

/// A tensor of the parameter's shape in Burn's pieces, cast to the parameter's type as PyTorch casts it.
fn read_moment(parameter: &NamedParameter, value: &Value, key: &str) -> Result<Vec<Buffer>> {
    let tensor = value.as_tensor().ok_or_else(|| wrong_type(key, "a tensor", value))?;
    if tensor.shape() != parameter.shape {
        return Err(unfit(parameter, &parameter.shape, tensor.shape(), key));
    }
    parameter.split(tensor)?.into_iter().map(|data| Buffer::from_data(data, parameter.dtype)).collect()
}

/// A tensor of this shape in PyTorch's order, cast to the parameter's type as PyTorch casts it.
fn read_whole(parameter: &NamedParameter, shape: &[usize], value: &Value, key: &str) -> Result<Buffer> {
    let tensor = value.as_tensor().ok_or_else(|| wrong_type(key, "a tensor", value))?;
    if tensor.shape() != shape {
        return Err(unfit(parameter, shape, tensor.shape(), key));
    }
    Buffer::from_data(tensor_to_data(tensor)?, parameter.dtype)
}

fn unfit(parameter: &NamedParameter, shape: &[usize], found: &[usize], key: &str) -> rekindle_recorder::Error {
    let needs = if shape == parameter.shape { String::new() } else { format!("{:?} and needs ", parameter.shape) };
    invalid(format!(
        "{key} has shape {found:?}, and the parameter '{}' it would go to has {needs}{shape:?}; say \
         with `OptimizerBuilder::group` which parameters belong to which group, or check that the model is the one the checkpoint was made with",
        parameter.name
    ))
}

fn unreadable(error: impl std::fmt::Display) -> rekindle_recorder::Error {
    invalid(format!("an optimizer's state cannot be read from its device: {error}"))
}

/// Elements as the owner of their bytes.
struct Shared<T>(Arc<Vec<T>>);

impl<T: NoUninit> AsRef<[u8]> for Shared<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// The elements, without a copy.
fn shared<T: Element + NoUninit + Sync>(values: &Arc<Vec<T>>, shape: Vec<usize>) -> TensorData {
    shared_data(Shared(Arc::clone(values)), shape, T::dtype())
}

impl Buffer {
    fn from_data(data: TensorData, dtype: DType) -> Result<Self> {
        with_real!(dtype, T => data.convert::<T>().try_into_vec().map(T::hold).map_err(unreadable))
    }

    /// The elements, in a Burn parameter's shape.
    fn to_data(&self, shape: &[usize], dtype: DType) -> Result<TensorData> {
        let shape = shape.to_vec();
        Ok(match self {
            Buffer::Filled(number, _) => with_real!(dtype, T => TensorData::full(shape, T::of(*number))),
            Buffer::F32(values) => shared(values, shape),
            Buffer::F64(values) => shared(values, shape),
            Buffer::F16(values) => shared(values, shape),
            Buffer::BF16(values) => shared(values, shape),
            Buffer::Tensor(tensor) => {
                let (bytes, _, dtype) = tensor.clone().try_into_data().map_err(unreadable)?.into_parts();
                TensorData::try_from_bytes(bytes, shape, dtype).map_err(unreadable)?
            }
        })
    }

    /// How many elements there are, or this many where none were made yet.
    fn len_or(&self, len: usize) -> usize {
        match self {
            Buffer::Filled(_, own) => own.unwrap_or(len),
            Buffer::F32(values) => values.len(),
            Buffer::F64(values) => values.len(),
            Buffer::F16(values) => values.len(),
            Buffer::BF16(values) => values.len(),
            Buffer::Tensor(tensor) => tensor.dims()[0],
        }
    }

    /// Brings the elements to host memory, in their parameter's type, if need be.
    pub(crate) fn bring<T: Held>(&mut self, len: usize) -> Result<()> {
        if let Buffer::Filled(number, _) = self {
            *self = T::hold(vec![T::of(*number); self.len_or(len)]);
        } else if !T::is_of(self) {
            *self = Buffer::from_data(self.to_data(&[self.len_or(len)], T::DTYPE)?, T::DTYPE)?;
        }
        Ok(())
    }

    /// The elements in host memory, in their parameter's type, brought there if need be.
    pub(crate) fn values<T: Held>(&mut self, len: usize) -> Result<&mut [T]> {
        self.bring::<T>(len)?;
        T::of_buffer(self).ok_or_else(|| invalid("an optimizer's state is not of its parameter's type"))
    }

    /// The elements on a device, brought there if need be; what is left behind is to be replaced by [`Buffer::put`].
    pub(crate) fn take(&mut self, len: usize, dtype: BurnDType, device: &Device) -> Result<Tensor<1>> {
        match std::mem::replace(self, Buffer::Filled(0.0, None)) {
            Buffer::Tensor(tensor) if tensor.device() == *device => Ok(tensor),
            other => {
                let data = other.to_data(&[other.len_or(len)], DType::Float64)?;
                Ok(Tensor::from_data(data.convert_dtype(dtype), (device, dtype)))
            }
        }
    }

    pub(crate) fn put(&mut self, tensor: Tensor<1>) {
        *self = Buffer::Tensor(tensor);
    }
}
