//! `Array`: a NumPy array in a pickle, as NumPy 1 and 2 write them. It stays the object that it is; this is a look at what is in it.

use std::sync::Arc;

use bytes::Bytes;

use crate::value::array_type::{ArrayType, LongDouble, bytes_of};
use crate::value::data::{Global, ObjectData, TensorData, TensorParts, Value};
use crate::value::tensor::{contiguous_stride, element_count};
use crate::{Error, Result, Storage, Tensor};

/// A NumPy array as a pickle describes it: `numpy.ndarray`, or a subclass such as `numpy.matrix`.
#[derive(Clone, Debug)]
pub struct Array {
    class: Option<Global>,
    dtype: ArrayType,
    shape: Vec<usize>,
    fortran: bool,
    mask: Option<Mask>,
    data: Data,
    /// What a subclass keeps beside the content.
    more: Vec<Value>,
}

/// What `numpy.ma` keeps beside the elements.
#[derive(Clone, Debug)]
struct Mask {
    /// A byte for each element, or for each field of each; not 0 where it is masked.
    bytes: Arc<[u8]>,
    filling: Value,
}

/// How many empty lists an array without elements may become.
const EMPTY: usize = 1 << 16;

#[derive(Clone, Debug)]
enum Data {
    Bytes(Arc<[u8]>),
    Objects(Vec<Value>),
}

/// Whether a function is one of NumPy's core, by its name in NumPy 1 or 2.
fn is_core(function: &Global, module: &str, name: &str) -> bool {
    let known = |prefix: &str| function.module.strip_prefix(prefix) == Some(module);
    &*function.name == name && (known("numpy.core.") || known("numpy._core."))
}

/// Whether a function makes NumPy's masked arrays.
fn is_masked(function: &Global) -> bool {
    function.is("numpy.ma.core", "_mareconstruct") || function.is("numpy.ma", "_mareconstruct")
}

fn shape_of(value: &Value) -> Option<Vec<usize>> {
    let lengths = match value {
        Value::Int(length) => vec![Value::Int(*length)],
        lengths => lengths.items()?,
    };
    lengths.iter().map(|length| usize::try_from(length.as_i64()?).ok()).collect()
}

impl Array {
    /// The array that a value of a checkpoint is; `None` for everything else.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        let Value::Object(object) = value else { return None };
        let data = object.read();
        let function = data.class()?;
        let array = if is_core(function, "multiarray", "_reconstruct") {
            Array::of_state(&data, false)?
        } else if is_masked(function) {
            Array::of_state(&data, true)?
        } else if is_core(function, "numeric", "_frombuffer") {
            let [buffer, dtype, shape, order] = data.arguments() else { return None };
            let fortran = order.as_str() == Some("F");
            let (dtype, content) = (ArrayType::of(dtype)?, Data::Bytes(bytes_of(buffer)?));
            Array { class: None, dtype, shape: shape_of(shape)?, fortran, mask: None, data: content, more: Vec::new() }
        } else {
            return None;
        };
        let elements = element_count(&array.shape)?;
        let whole = match &array.data {
            // Of a type that is not known it is divided evenly.
            Data::Bytes(bytes) if array.dtype.size == 0 && array.dtype.kind == '?' => {
                elements > 0 && bytes.len().is_multiple_of(elements)
            }
            Data::Bytes(bytes) => elements.checked_mul(array.dtype.size) == Some(bytes.len()),
            Data::Objects(items) => items.len() == elements,
        };
        let masked = |mask: &Mask| match elements {
            0 => mask.bytes.is_empty(),
            elements => !mask.bytes.is_empty() && mask.bytes.len().is_multiple_of(elements),
        };
        (whole && array.mask.as_ref().is_none_or(masked)).then_some(array)
    }

    /// Of `_reconstruct(class, (0,), b'b')` and the state `(1, shape, dtype, is Fortran's, content)`. A subclass may have more behind it,
    /// and a masked array has the mask and the filling value.
    fn of_state(data: &ObjectData, masked: bool) -> Option<Self> {
        let class = match data.arguments() {
            [Value::Global(class), ..] => Some(class.clone()).filter(|class| !class.is("numpy", "ndarray")),
            _ => return None,
        };
        let [state] = &data.states[..] else { return None };
        let state = state.items()?;
        let (version, state) = state.split_first()?;
        let (content, more) = state.split_at_checked(4).filter(|_| version.as_i64().is_some())?;
        let [shape, dtype, fortran, content] = content else { return None };
        let (mask, more) = match more {
            [mask, filling, more @ ..] if masked => (Some((mask, filling)), more),
            _ if masked => return None,
            more if more.is_empty() || class.is_some() => (None, more),
            _ => return None,
        };
        let mask = match mask {
            Some((mask, filling)) => Some(Mask { bytes: bytes_of(mask)?, filling: filling.clone() }),
            None => None,
        };
        let dtype = ArrayType::of(dtype)?;
        let data = match content {
            Value::List(items) => Data::Objects(items.read().clone()),
            content => Data::Bytes(bytes_of(content)?),
        };
        let (shape, fortran) = (shape_of(shape)?, fortran.as_i64()? != 0);
        Some(Array { class, dtype, shape, fortran, mask, data, more: more.to_vec() })
    }

    /// NumPy's name of the element type: `float32`, `datetime64[ns]`, `object`; of a structured type its fields.
    #[must_use]
    pub fn dtype(&self) -> &str {
        &self.dtype.name
    }

    /// The length of each dimension; empty for an array of no dimensions.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The class, where it is not `numpy.ndarray`.
    #[must_use]
    pub fn class(&self) -> Option<&Global> {
        self.class.as_ref()
    }

    /// The array as a tensor: what `torch.from_numpy` makes of it, numbers of the other byte order turned. Without a copy, where
    /// they are little-endian.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for elements that PyTorch has no type for (texts, dates, objects,
    /// structures) and for masked arrays, whose mask would be lost.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let refused = || Error::unsupported(format!("{} as a tensor", self.describe()));
        let (Some(dtype), Data::Bytes(bytes), None) = (self.dtype.in_torch(), &self.data, &self.mask) else {
            return Err(refused());
        };
        let bytes = if self.dtype.big_endian && self.dtype.unit() > 1 {
            let mut turned = bytes.to_vec();
            turned.chunks_mut(self.dtype.unit()).for_each(<[u8]>::reverse);
            Bytes::from(turned)
        } else {
            Bytes::from_owner(Arc::clone(bytes))
        };
        let stride = if self.fortran {
            let mut stride = contiguous_stride(&self.shape.iter().rev().copied().collect::<Vec<_>>());
            stride.reverse();
            stride
        } else {
            contiguous_stride(&self.shape)
        };
        let data = TensorData::Strided { storage: Storage::from_bytes(dtype, bytes), offset: 0, stride };
        Tensor::new(TensorParts::plain(dtype, self.shape.clone(), data))
    }

    /// Where elements are objects: each with its place.
    pub(crate) fn objects(&self) -> Vec<(Vec<usize>, Value)> {
        let Data::Objects(items) = &self.data else { return Vec::new() };
        items.iter().enumerate().map(|(i, item)| (self.place(i), item.clone())).collect()
    }

    /// The place of the nth element in memory.
    fn place(&self, mut nth: usize) -> Vec<usize> {
        let mut place = vec![0; self.shape.len()];
        let axes: Vec<usize> =
            if self.fortran { (0..self.shape.len()).collect() } else { (0..self.shape.len()).rev().collect() };
        for axis in axes {
            (place[axis], nth) = (nth % self.shape[axis], nth / self.shape[axis]);
        }
        place
    }

    /// What a subclass keeps beside the content.
    pub(crate) fn more(&self) -> &[Value] {
        &self.more
    }

    /// Whether the nth element in memory is masked, or some field of it.
    fn is_masked(&self, nth: usize) -> bool {
        let Some(mask) = &self.mask else { return false };
        let each = mask.bytes.len() / element_count(&self.shape).filter(|&elements| elements > 0).unwrap_or(1);
        mask.bytes.get(nth * each..(nth + 1) * each).is_some_and(|fields| fields.contains(&1))
    }

    /// The bytes of each element, in memory's order; none where they are objects.
    fn elements(&self) -> impl Iterator<Item = &[u8]> {
        let bytes: &[u8] = match &self.data {
            Data::Bytes(bytes) => bytes,
            Data::Objects(_) => &[],
        };
        bytes.chunks_exact(self.dtype.size.max(1)).take(if self.dtype.size == 0 { 0 } else { usize::MAX })
    }

    /// How this array's long doubles are kept.
    fn long(&self) -> LongDouble {
        let long: Vec<_> =
            self.dtype.parts().into_iter().filter(|(_, part)| part.is_float() && part.unit() > 8).collect();
        if long.is_empty() {
            return LongDouble::X87;
        }
        let mut turned = Vec::new();
        for element in self.elements() {
            for (at, part) in &long {
                for number in element.get(*at..at + part.size).unwrap_or_default().chunks(part.unit()) {
                    let mut number = number.to_vec();
                    if part.big_endian {
                        number.reverse();
                    }
                    turned.push(number);
                }
            }
        }
        LongDouble::of(turned.iter().map(Vec::as_slice))
    }

    /// How many elements have a NaN in them, and how many an infinity; those that are masked aside.
    pub(crate) fn not_finite(&self) -> (u64, u64) {
        let floats: Vec<_> = self.dtype.parts().into_iter().filter(|(_, part)| part.is_float()).collect();
        let (mut nan, mut inf) = (0, 0);
        if floats.is_empty() {
            return (nan, inf);
        }
        let long = self.long();
        for (_, element) in self.elements().enumerate().filter(|(nth, _)| !self.is_masked(*nth)) {
            let bytes = |(at, part): &(usize, &ArrayType)| {
                part.numbers(element.get(*at..at + part.size).unwrap_or_default(), long)
            };
            let numbers: Vec<f64> = floats.iter().flat_map(bytes).collect();
            nan += u64::from(numbers.iter().any(|x| x.is_nan()));
            inf += u64::from(numbers.iter().any(|x| x.is_infinite()));
        }
        (nan, inf)
    }

    /// The pairs of numbers of two arrays of one form, for each element that has other bytes; `None` for an element where something
    /// differs that is no number. Padding counts for nothing.
    pub(crate) fn apart(&self, other: &Self) -> Vec<Option<Vec<(f64, f64)>>> {
        let (parts, long, other_long) = (self.dtype.parts(), self.long(), other.long());
        let differing = |(a, b): (&[u8], &[u8])| {
            let mut pairs = Vec::new();
            for (at, part) in &parts {
                let of = |element: &'_ [u8]| element.get(*at..at + part.size).unwrap_or_default().to_vec();
                let (x, y) = (of(a), of(b));
                if part.meant(&x, long) == part.meant(&y, other_long) {
                    continue;
                }
                if !part.is_number() {
                    return Some(None);
                }
                pairs.extend(part.numbers(&x, long).into_iter().zip(part.numbers(&y, other_long)));
            }
            (!pairs.is_empty()).then_some(Some(pairs))
        };
        self.elements().zip(other.elements()).filter(|(a, b)| a != b).filter_map(differing).collect()
    }

    /// Whether elements at one place of memory can be compared: the same types, lengths and order.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let kinds = |array: &Array| (array.class.clone(), array.mask.is_some(), matches!(array.data, Data::Bytes(_)));
        self.dtype == other.dtype
            && self.shape == other.shape
            && self.fortran == other.fortran
            && kinds(self) == kinds(other)
    }

    /// How many elements are masked; `None` of an array without a mask.
    pub(crate) fn masked(&self) -> Option<usize> {
        let elements = element_count(&self.shape)?;
        self.mask.as_ref().map(|_| (0..elements).filter(|&nth| self.is_masked(nth)).count())
    }

    /// The mask's bytes and the filling value.
    pub(crate) fn mask(&self) -> Option<(&[u8], &Value)> {
        self.mask.as_ref().map(|mask| (&*mask.bytes, &mask.filling))
    }

    /// Whether its elements are numbers, or have numbers among their fields.
    pub(crate) fn has_numbers(&self) -> bool {
        self.dtype.parts().iter().any(|(_, part)| part.is_number())
    }

    /// The array as lists in lists of plain values, `None` for what is masked; of no dimensions as the value. Nothing where Python has
    /// no type for its elements.
    pub(crate) fn to_lists(&self) -> Option<Value> {
        let elements = element_count(&self.shape)?;
        let mut plain = vec![Value::None; elements];
        let row_major = contiguous_stride(&self.shape);
        for nth in 0..elements {
            let at: usize = self.place(nth).iter().zip(&row_major).map(|(place, step)| place * step).sum();
            let value = match &self.data {
                _ if self.is_masked(nth) => Value::None,
                Data::Bytes(bytes) => {
                    self.dtype.decode(bytes.get(nth * self.dtype.size..(nth + 1) * self.dtype.size)?)?
                }
                Data::Objects(items) => items.get(nth)?.clone(),
            };
            *plain.get_mut(at)? = value;
        }
        let mut level = plain;
        for axis in (1..self.shape.len()).rev() {
            let rows = element_count(self.shape.get(..axis)?).filter(|&rows| rows <= elements.max(EMPTY))?;
            let (length, mut items) = (self.shape[axis], level.into_iter());
            level = (0..rows).map(|_| Value::list(items.by_ref().take(length).collect::<Vec<_>>())).collect();
        }
        if self.shape.is_empty() { level.pop() } else { Some(Value::list(level)) }
    }

    /// Whether both hold the same, bit for bit.
    pub(crate) fn same_bytes(&self, other: &Self) -> bool {
        let same_type = self.dtype == other.dtype && self.shape == other.shape && self.fortran == other.fortran;
        match (&self.data, &other.data) {
            (Data::Bytes(a), Data::Bytes(b)) => same_type && self.mask.is_none() && other.mask.is_none() && a == b,
            // They are compared one by one.
            (Data::Objects(_), Data::Objects(_)) => same_type,
            _ => false,
        }
    }

    /// For messages: `a NumPy array of float32 [2, 3]`.
    #[must_use]
    pub fn describe(&self) -> String {
        let masked = if self.mask.is_some() { "masked " } else { "" };
        let class =
            self.class.as_ref().filter(|_| self.mask.is_none()).map(|class| format!(" ({class})")).unwrap_or_default();
        format!("a {masked}NumPy array of {} {:?}{class}", self.dtype.name, self.shape)
    }
}

/// What an object of NumPy's is, for messages; `None` for every other.
pub(crate) fn describe(value: &Value) -> Option<String> {
    if let Some(array) = Array::of(value) {
        return Some(array.describe());
    }
    if let Some(dtype) = ArrayType::of(value) {
        return Some(format!("the NumPy dtype {}", dtype.name));
    }
    let Value::Object(object) = value else { return None };
    let data = object.read();
    if data.class().is_some_and(|class| is_core(class, "multiarray", "_reconstruct") || is_masked(class)) {
        return Some("a NumPy array in a form that is not known".to_owned());
    }
    let [dtype, _] = data.arguments() else { return None };
    let dtype =
        ArrayType::of(dtype).filter(|_| data.class().is_some_and(|class| is_core(class, "multiarray", "scalar")))?;
    Some(format!("a NumPy scalar of {}", dtype.name))
}

/// Whether what is no array that is known has values in it that are none of its own: it may hold tensors.
pub(crate) fn may_hold_objects(value: &Value) -> bool {
    let Value::Object(object) = value else { return false };
    let data = object.read();
    let items = data.states.iter().filter_map(Value::items).flatten();
    items.into_iter().any(|item| matches!(item, Value::List(_) | Value::Dict(_) | Value::Tensor(_)))
}
