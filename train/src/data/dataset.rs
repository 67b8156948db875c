//! `Dataset`: samples in memory, and the batches that are made of them.

use burn::tensor::{DType as BurnDType, Device, FloatDType, Int, Tensor, TensorData};
use rekindle_recorder::{DType, Error, Result, Tensor as TorchTensor};

use crate::attributes::invalid;
use crate::loss::{CrossEntropy, is_class, out_of_bounds};

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Elements {
    /// Numbers.
    F32(Vec<f32>),
    /// Numbers in double precision.
    F64(Vec<f64>),
    /// Classes, tokens.
    I64(Vec<i64>),
}

macro_rules! from_vec {
    ($($variant:ident($ty:ty))*) => { $(
        impl From<Vec<$ty>> for Elements {
            fn from(elements: Vec<$ty>) -> Self {
                Elements::$variant(elements)
            }
        }
    )* };
}

from_vec! { F32(f32) F64(f64) I64(i64) }

/// What an expression gives for the elements, of whichever type they are.
macro_rules! of_each_type {
    ($elements:expr, $all:ident => $given:expr) => {
        match $elements {
            Elements::F32($all) => $given,
            Elements::F64($all) => $given,
            Elements::I64($all) => $given,
        }
    };
}

impl Elements {
    fn len(&self) -> usize {
        of_each_type!(self, all => all.len())
    }
}

/// Samples of one shape, one after the other: a tensor with a leading axis of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    samples: usize,
    sample_shape: Vec<usize>,
    elements: Elements,
}

impl Array {
    /// So many samples of this shape; `[]` for one element each.
    ///
    /// # Errors
    /// When the number of elements is another one.
    ///
    /// ```
    /// use rekindle_train::data::Array;
    ///
    /// let images = Array::new(2, &[1, 2, 2], vec![0.0_f32; 8])?;
    /// let classes = Array::new(2, &[], vec![3_i64, 7])?;
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    pub fn new(samples: usize, sample_shape: &[usize], elements: impl Into<Elements>) -> Result<Self> {
        let elements = elements.into();
        let expected = sample_shape.iter().try_fold(samples, |product, &n| product.checked_mul(n));
        if expected != Some(elements.len()) {
            let found = elements.len();
            return Err(invalid(format!("{samples} samples of shape {sample_shape:?} were given {found} elements")));
        }
        Ok(Array { samples, sample_shape: sample_shape.to_vec(), elements })
    }

    /// The samples of a tensor whose first axis counts them: floating-point numbers become `f32`, integers `i64`.
    ///
    /// # Errors
    /// When the tensor has no axis, or cannot be read.
    pub fn from_tensor(tensor: &TorchTensor) -> Result<Self> {
        let Some((&samples, sample_shape)) = tensor.shape().split_first() else {
            return Err(invalid("a data set needs a leading axis of samples, and the tensor has no axis"));
        };
        let elements = match tensor.dtype() {
            DType::Float32 => Elements::F32(tensor.to_vec()?),
            DType::Float64 => Elements::F64(tensor.to_vec()?),
            DType::Int64 => Elements::I64(tensor.to_vec()?),
            // Narrower than what is read: by way of the number that each element is.
            #[allow(clippy::cast_possible_truncation)]
            dtype if dtype.is_floating_point() => {
                Elements::F32(tensor.to_f64_vec()?.into_iter().map(|x| x as f32).collect())
            }
            #[allow(clippy::cast_possible_truncation)]
            DType::Int32 | DType::Int16 | DType::Int8 | DType::UInt8 | DType::UInt16 | DType::UInt32 | DType::Bool => {
                Elements::I64(tensor.to_f64_vec()?.into_iter().map(|x| x as i64).collect())
            }
            other => {
                let what = format!("a data set of {other}");
                return Err(Error::unsupported(what));
            }
        };
        Array::new(samples, sample_shape, elements)
    }

    /// The same elements as samples of this shape; `None` leaves it.
    ///
    /// # Errors
    /// When a sample has another number of elements.
    pub fn reshaped(self, sample_shape: Option<&[usize]>) -> Result<Self> {
        match sample_shape {
            Some(shape) => Array::new(self.samples, shape, self.elements),
            None => Ok(self),
        }
    }

    /// Each element divided by a number.
    ///
    /// # Errors
    /// When the elements are integers, or the number is 0 or NaN.
    pub fn divided(self, by: f32) -> Result<Self> {
        match self.elements {
            Elements::F32(_) | Elements::F64(_) if by == 0.0 || by.is_nan() => {
                Err(invalid(format!("inputs cannot be divided by {by}")))
            }
            Elements::F32(elements) => {
                let elements = Elements::F32(elements.into_iter().map(|x| x / by).collect());
                Ok(Array { elements, ..self })
            }
            Elements::F64(elements) => {
                let elements = Elements::F64(elements.into_iter().map(|x| x / f64::from(by)).collect());
                Ok(Array { elements, ..self })
            }
            Elements::I64(_) => Err(invalid("integers cannot be divided; only floating-point inputs can")),
        }
    }

    /// The first `at` samples, and the rest.
    fn split_at(&self, at: usize) -> Option<(Array, Array)> {
        let width: usize = self.sample_shape.iter().product();
        let rest = self.samples.checked_sub(at)?;
        let part = |samples, elements| Array { samples, sample_shape: self.sample_shape.clone(), elements };
        let (first, last) = of_each_type!(&self.elements, all => {
            let (first, last) = all.split_at_checked(at * width)?;
            (Elements::from(first.to_vec()), Elements::from(last.to_vec()))
        });
        Some((part(at, first), part(rest, last)))
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// The shape of one sample.
    #[must_use]
    pub fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    /// All elements, sample after sample.
    #[must_use]
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// These samples, one after the other. Places beyond the last sample are an error.
    fn pick(&self, places: &[usize]) -> Result<TensorData> {
        let width = self.sample_shape.iter().product();
        let shape: Vec<usize> = std::iter::once(places.len()).chain(self.sample_shape.iter().copied()).collect();
        let picked =
            of_each_type!(&self.elements, all => gather(all, places, width).map(|all| TensorData::new(all, shape)));
        picked.ok_or_else(|| invalid(format!("a sampler went beyond the {} samples of the data set", self.samples)))
    }
}

fn gather<T: Copy>(elements: &[T], places: &[usize], width: usize) -> Option<Vec<T>> {
    let mut picked = Vec::with_capacity(places.len() * width);
    for place in places {
        picked.extend_from_slice(elements.get(place * width..(place + 1) * width)?);
    }
    Some(picked)
}

/// Samples of several arrays of one length: `TensorDataset(inputs, targets)`, or arrays by the names that a network has for
/// them (`input_ids`, `attention_mask`, `labels`).
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// At least one.
    arrays: Vec<(String, Array)>,
    inputs: usize,
    targets: usize,
}

impl Dataset {
    /// Inputs and their targets.
    ///
    /// # Errors
    /// When there are not as many of one as of the other.
    pub fn new(inputs: Array, targets: Array) -> Result<Self> {
        if inputs.len() != targets.len() {
            return Err(invalid(format!("there are {} inputs and {} targets", inputs.len(), targets.len())));
        }
        Self::named([("inputs", inputs), ("targets", targets)])
    }

    /// Arrays by their names. The inputs are what is called `inputs`, else the first; the targets what is called `targets` or
    /// `labels`, else the last.
    ///
    /// # Errors
    /// When there are none, or not as many samples of one as of the others.
    ///
    /// ```
    /// use rekindle_train::data::{Array, Dataset};
    ///
    /// let tokens = Array::new(2, &[3], vec![5_i64, 7, 2, 8, 1, 2])?;
    /// let data = Dataset::named([("input_ids", tokens.clone()), ("labels", tokens)])?;
    /// assert_eq!(data.batch(&[1])?.get("labels").unwrap().shape().as_slice(), [1, 3]);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    pub fn named<N: Into<String>>(arrays: impl IntoIterator<Item = (N, Array)>) -> Result<Self> {
        let arrays: Vec<(String, Array)> = arrays.into_iter().map(|(name, array)| (name.into(), array)).collect();
        let Some((first, count)) = arrays.first().map(|(name, array)| (name.clone(), array.len())) else {
            return Err(invalid("a data set needs at least one array"));
        };
        if let Some((name, array)) = arrays.iter().find(|(_, array)| array.len() != count) {
            return Err(invalid(format!("there are {count} {first} and {} {name}", array.len())));
        }
        let (inputs, targets) = told_by(&arrays);
        Ok(Dataset { arrays, inputs, targets })
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inputs().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inputs().is_empty()
    }

    /// The inputs.
    #[must_use]
    pub fn inputs(&self) -> &Array {
        &self.arrays[self.inputs].1
    }

    /// The targets.
    #[must_use]
    pub fn targets(&self) -> &Array {
        &self.arrays[self.targets].1
    }

    /// All arrays by their names, in order.
    pub fn arrays(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.arrays.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// Makes sure that all targets that are integers are classes, from 0 to `classes - 1`, or -100, which does not count.
    ///
    /// # Errors
    /// When one is not: which, and of which sample.
    pub fn check_classes(&self, classes: usize) -> Result<()> {
        let Elements::I64(targets) = &self.targets().elements else { return Ok(()) };
        let ignored = CrossEntropy::default().ignore_index;
        let Some(place) = targets.iter().position(|&target| target != ignored && !is_class(target, classes)) else {
            return Ok(());
        };
        let width = self.targets().sample_shape.iter().product::<usize>().max(1);
        let (sample, target) = (place / width, targets.get(place).copied().unwrap_or_default());
        Err(invalid(format!("sample {sample}, counted from 0: {}", out_of_bounds(target, classes))))
    }

    /// The first `at` samples, and the rest: what is trained on, and what is held back.
    ///
    /// # Errors
    /// When there are fewer samples.
    pub fn split_at(&self, at: usize) -> Result<(Dataset, Dataset)> {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for (name, array) in &self.arrays {
            let Some((one, other)) = array.split_at(at) else {
                let count = self.len();
                return Err(invalid(format!("the data set has {count} samples and cannot be divided after {at}")));
            };
            first.push((name.clone(), one));
            last.push((name.clone(), other));
        }
        Ok((Dataset { arrays: first, ..*self }, Dataset { arrays: last, ..*self }))
    }

    /// The batch of these samples, in this order.
    ///
    /// # Errors
    /// When a place is beyond the last sample.
    pub fn batch(&self, places: &[usize]) -> Result<Batch> {
        let part = |(name, array): &(String, Array)| Ok((name.clone(), array.pick(places)?));
        let parts = self.arrays.iter().map(part).collect::<Result<_>>()?;
        Ok(Batch { places: places.to_vec(), parts, inputs: self.inputs, targets: self.targets })
    }
}

/// Which of some named things are the inputs and the targets.
fn told_by<T>(named: &[(String, T)]) -> (usize, usize) {
    let find = |name: &str| named.iter().position(|(known, _)| known == name);
    let targets = find("targets").or_else(|| find("labels")).unwrap_or(named.len().saturating_sub(1));
    (find("inputs").unwrap_or(0), targets)
}

/// Samples that are trained on together, in host memory until they are asked for as tensors.
#[derive(Clone, Debug)]
pub struct Batch {
    places: Vec<usize>,
    /// At least one.
    parts: Vec<(String, TensorData)>,
    inputs: usize,
    targets: usize,
}

impl Batch {
    /// A batch of these samples from its parts by their names, each `[batch, ...]`: numbers as `f32` or `f64`, classes and tokens as
    /// `i64`. Which are the inputs and the targets is told as in [`Dataset::named`].
    ///
    /// # Errors
    /// When there are no parts, or one of them is not of as many samples.
    ///
    /// ```
    /// use burn::tensor::TensorData;
    /// use rekindle_train::data::Batch;
    ///
    /// let tokens = TensorData::new(vec![5_i64, 7, 2, 8, 1, 2], [2, 3]);
    /// let batch = Batch::new(&[4, 0], [("input_ids", tokens)])?;
    /// assert_eq!(batch.input_shape(), [2, 3]);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    pub fn new<N: Into<String>>(places: &[usize], parts: impl IntoIterator<Item = (N, TensorData)>) -> Result<Self> {
        let parts: Vec<(String, TensorData)> = parts.into_iter().map(|(name, part)| (name.into(), part)).collect();
        if parts.is_empty() {
            return Err(invalid("a batch needs at least one part"));
        }
        let counts = |part: &TensorData| part.shape().as_slice().first().copied();
        if let Some((name, part)) = parts.iter().find(|(_, part)| counts(part) != Some(places.len())) {
            let shape = part.shape();
            let (count, shape) = (places.len(), shape.as_slice());
            return Err(invalid(format!("a batch of {count} samples was given {name} of shape {shape:?}")));
        }
        let (inputs, targets) = told_by(&parts);
        Ok(Batch { places: places.to_vec(), parts, inputs, targets })
    }

    /// A batch of samples one by one, each of the same named parts without an axis for the batch: `torch.stack`.
    ///
    /// # Errors
    /// When samples have unlike names, shapes or types, or there are none.
    pub fn stacked<N: Into<String>>(places: &[usize], samples: Vec<Vec<(N, TensorData)>>) -> Result<Self> {
        let mut stacked: Vec<(String, TensorData, Vec<u8>)> = Vec::new();
        let count = samples.len();
        for (index, sample) in samples.into_iter().enumerate() {
            let sample: Vec<(String, TensorData)> =
                sample.into_iter().map(|(name, part)| (name.into(), part)).collect();
            if index == 0 {
                stacked =
                    sample.into_iter().map(|(name, part)| (name, part.clone(), part.as_bytes().to_vec())).collect();
                continue;
            }
            let (found, expected) = (sample.len(), stacked.len());
            if found != expected {
                return Err(invalid(format!("sample {index} of a batch has {found} parts, and the first {expected}")));
            }
            for ((name, part), (first_name, first, bytes)) in sample.into_iter().zip(&mut stacked) {
                let alike = name == *first_name && part.shape() == first.shape() && part.dtype() == first.dtype();
                if !alike {
                    let is = |part: &TensorData| format!("{:?} of {:?}", part.dtype(), part.shape().as_slice());
                    let (one, other) = (is(&part), is(first));
                    return Err(invalid(format!(
                        "sample {index} of a batch has {name} as {one}, and the first {first_name} as {other}"
                    )));
                }
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        let whole = |(name, first, bytes): (String, TensorData, Vec<u8>)| {
            let shape: Vec<usize> = std::iter::once(count).chain(first.shape().as_slice().iter().copied()).collect();
            (name, TensorData::from_bytes_vec(bytes, shape, first.dtype()))
        };
        Batch::new(places, stacked.into_iter().map(whole))
    }

    /// The same batch under other places.
    pub(super) fn at(self, places: &[usize]) -> Self {
        Batch { places: places.to_vec(), ..self }
    }

    /// Which samples of the data set they are.
    #[must_use]
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The one sample of this batch as a batch of its own, whose first axis counts what was the sample's first axis.
    pub(super) fn without_leading_axis(self) -> Result<Batch> {
        let squeeze = |(name, data): (String, TensorData)| match data.shape().as_slice() {
            [1, rest @ ..] if !rest.is_empty() => {
                let (shape, dtype) = (rest.to_vec(), data.dtype());
                Ok((name, TensorData::from_bytes(data.into_bytes(), shape, dtype)))
            }
            shape => Err(invalid(format!("a batch of shape {shape:?} where one batch a step is expected"))),
        };
        Ok(Batch { parts: self.parts.into_iter().map(squeeze).collect::<Result<_>>()?, ..self })
    }

    /// The shape of the inputs, the batch's axis first.
    #[must_use]
    pub fn input_shape(&self) -> &[usize] {
        self.input_data().shape().as_slice()
    }

    /// The inputs as they are: `[batch, ...]`.
    #[must_use]
    pub fn input_data(&self) -> &TensorData {
        &self.parts[self.inputs].1
    }

    /// The targets as they are: `[batch, ...]`.
    #[must_use]
    pub fn target_data(&self) -> &TensorData {
        &self.parts[self.targets].1
    }

    /// All parts as they are, by the names of their arrays, in order.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &TensorData)> {
        self.parts.iter().map(|(name, data)| (name.as_str(), data))
    }

    /// The part of this name as it is: `[batch, ...]`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&TensorData> {
        self.parts().find(|(known, _)| *known == name).map(|(_, data)| data)
    }

    /// The inputs as numbers: `[batch, ...]`.
    ///
    /// # Errors
    /// When they have another number of dimensions, or are integers.
    pub fn inputs<const D: usize>(&self, device: &Device) -> Result<Tensor<D>> {
        self.inputs_in(device, FloatDType::F32)
    }

    /// As [`inputs`](Self::inputs), for a model that computes in this type.
    ///
    /// # Errors
    /// As [`inputs`](Self::inputs).
    pub fn inputs_in<const D: usize>(&self, device: &Device, dtype: FloatDType) -> Result<Tensor<D>> {
        numbers(self.input_data(), "inputs", device, dtype)
    }

    /// The inputs as integers, such as tokens: `[batch, ...]`.
    ///
    /// # Errors
    /// When they have another number of dimensions, or are no integers.
    pub fn input_ids<const D: usize>(&self, device: &Device) -> Result<Tensor<D, Int>> {
        fits::<i64>(self.input_data(), D, "inputs").map(|data| Tensor::from_data(data, device))
    }

    /// The targets as classes: `[batch, ...]`.
    ///
    /// # Errors
    /// When they have another number of dimensions, or are no integers.
    pub fn classes<const D: usize>(&self, device: &Device) -> Result<Tensor<D, Int>> {
        fits::<i64>(self.target_data(), D, "targets").map(|data| Tensor::from_data(data, device))
    }

    /// The targets as numbers: `[batch, ...]`.
    ///
    /// # Errors
    /// When they have another number of dimensions, or are integers.
    pub fn values<const D: usize>(&self, device: &Device) -> Result<Tensor<D>> {
        self.values_in(device, FloatDType::F32)
    }

    /// As [`values`](Self::values), for a model that computes in this type.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    pub fn values_in<const D: usize>(&self, device: &Device, dtype: FloatDType) -> Result<Tensor<D>> {
        numbers(self.target_data(), "targets", device, dtype)
    }
}

/// Floating-point numbers of a batch as a tensor of this type.
fn numbers<const D: usize>(data: &TensorData, what: &str, device: &Device, dtype: FloatDType) -> Result<Tensor<D>> {
    let data = if data.dtype() == BurnDType::F64 { fits::<f64>(data, D, what) } else { fits::<f32>(data, D, what) }?;
    let dtype = BurnDType::from(dtype);
    Ok(Tensor::from_data(data.convert_dtype(dtype), (device, dtype)))
}

fn fits<E: burn::tensor::Element>(data: &TensorData, rank: usize, what: &str) -> Result<TensorData> {
    if data.rank() != rank {
        return Err(invalid(format!(
            "a batch's {what} have shape {:?}, where {rank} dimensions are needed",
            data.shape().as_slice()
        )));
    }
    if data.dtype() != E::dtype() {
        let kind = |integers: bool| if integers { "integers" } else { "floating-point numbers" };
        let (found, expected) = (kind(data.dtype().is_int()), kind(E::dtype().is_int()));
        return Err(invalid(format!("a batch's {what} are {found}, where {expected} are needed")));
    }
    Ok(data.clone())
}
