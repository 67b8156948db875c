//! `Array`: a NumPy array in a pickle, as NumPy 1 and 2 write them. It stays the object that it is; this is a look at what is in it.

use std::sync::Arc;

use bytes::Bytes;
use num_bigint::BigInt;

use crate::value::data::{Dict, Global, ObjectData, TensorData, TensorParts, Value};
use crate::value::elements::float_from_le;
use crate::value::tensor::{contiguous_stride, element_count};
use crate::{DType, Error, Result, Storage, Tensor};

/// What a NumPy dtype says of one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArrayType {
    /// NumPy's letter: `f`, `i`, `u`, `b`, `c`, `S`, `U`, `O`, `M`, `m`, `V`; `?` for a type of another library.
    pub(crate) kind: char,
    /// In bytes.
    pub(crate) size: usize,
    pub(crate) big_endian: bool,
    /// What people call it: `float32`, `datetime64[ns]`, `[('a', '<i4')]`.
    name: String,
}

/// A NumPy array as a pickle describes it: `numpy.ndarray`, or a subclass such as `numpy.matrix`.
#[derive(Clone, Debug)]
pub struct Array {
    class: Option<Global>,
    dtype: ArrayType,
    shape: Vec<usize>,
    fortran: bool,
    masked: bool,
    data: Data,
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

fn bytes_of(value: &Value) -> Option<Arc<[u8]>> {
    match value {
        Value::Bytes(bytes) => Some(Arc::clone(bytes)),
        Value::ByteArray(bytes) => Some(bytes.read().as_slice().into()),
        // Python 2's `str`, where the bytes happened to be text.
        Value::Str(text) => text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect(),
        _ => None,
    }
}

fn shape_of(value: &Value) -> Option<Vec<usize>> {
    let lengths = match value {
        Value::Int(length) => vec![Value::Int(*length)],
        lengths => lengths.items()?,
    };
    lengths.iter().map(|length| usize::try_from(length.as_i64()?).ok()).collect()
}

impl ArrayType {
    /// Of a `numpy.dtype('f8', False, True)` with the state `(3, '<', ...)`.
    pub(crate) fn of(dtype: &Value) -> Option<Self> {
        let Value::Object(object) = dtype else { return None };
        let data = object.read();
        if !data.class()?.is("numpy", "dtype") {
            return None;
        }
        let state = data.states.first().and_then(Value::items).unwrap_or_default();
        let order = state.get(1).and_then(Value::as_str).map(ToOwned::to_owned);
        let spelled = match data.arguments().first()? {
            Value::Str(spelled) => spelled.clone(),
            // ml_dtypes' types are classes.
            Value::Global(class) => {
                let size = class.name.parse::<DType>().ok().and_then(|dtype| dtype.bytes_for(1)).unwrap_or(0);
                let big_endian = order.as_deref() == Some(">");
                return Some(ArrayType { kind: '?', size, big_endian, name: class.name.to_string() });
            }
            _ => return None,
        };
        let bare = spelled.trim_start_matches(['<', '>', '=', '|']);
        let mut letters = bare.chars();
        let kind = letters.next()?;
        let count: usize = if letters.as_str().is_empty() { 1 } else { letters.as_str().parse().ok()? };
        let size = if kind == 'U' { count.checked_mul(4)? } else { count };
        let big_endian = order.as_deref().map_or(spelled.starts_with('>'), |order| order == ">");
        let bits = size.checked_mul(8)?;
        let name = match kind {
            'b' => "bool".to_owned(),
            'i' => format!("int{bits}"),
            'u' => format!("uint{bits}"),
            'f' => format!("float{bits}"),
            'c' => format!("complex{bits}"),
            'O' => "object".to_owned(),
            'M' | 'm' => {
                // ({}, (b'ns', 1, 1, 1))
                let metadata = state.get(8).and_then(Value::items).unwrap_or_default();
                let unit = metadata.get(1).and_then(Value::items).and_then(|unit| bytes_of(unit.first()?));
                let unit = unit.map_or_else(String::new, |unit| format!("[{}]", unit.escape_ascii()));
                format!("{}{unit}", if kind == 'M' { "datetime64" } else { "timedelta64" })
            }
            'V' => fields(&state).unwrap_or_else(|| format!("void{bits}")),
            _ => format!("{}{kind}{count}", if kind == 'U' { "<" } else { "|" }),
        };
        Some(ArrayType { kind, size, big_endian, name })
    }

    /// PyTorch's type for it.
    fn in_torch(&self) -> Option<DType> {
        let of_torch = matches!(self.kind, 'b' | 'i' | 'u' | 'f' | 'c' | '?');
        let dtype: DType = self.name.parse().ok().filter(|_| of_torch)?;
        (dtype.bytes_for(1) == Some(self.size)).then_some(dtype)
    }

    /// How many bytes of an element change places together.
    fn unit(&self) -> usize {
        match self.kind {
            'c' => self.size / 2,
            'U' => 4,
            'S' | 'V' | 'b' => 1,
            _ => self.size,
        }
    }

    /// The plain value of an element; `None` where Python has no type for it.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Option<Value> {
        let mut bytes = bytes.to_vec();
        if self.big_endian && self.unit() > 1 {
            bytes.chunks_mut(self.unit()).for_each(<[u8]>::reverse);
        }
        Some(match self.kind {
            'b' => Value::Bool(bytes.first()? != &0),
            'f' => Value::Float(float_from_le(&bytes)?),
            'c' => {
                let (re, im) = bytes.split_at_checked(self.size / 2)?;
                Value::Complex(float_from_le(re)?, float_from_le(im)?)
            }
            'i' => BigInt::from_signed_bytes_le(&bytes).into(),
            'u' => BigInt::from_bytes_le(num_bigint::Sign::Plus, &bytes).into(),
            'S' => Value::Bytes(bytes.into()),
            'U' => {
                let code = |bytes: &[u8]| char::from_u32(u32::from_le_bytes(bytes.try_into().ok()?));
                let text: Option<String> = bytes.chunks(4).map(code).collect();
                Value::Str(text?.trim_end_matches('\0').into())
            }
            _ => return None,
        })
    }
}

/// The fields of a structured type as NumPy prints them.
fn fields(state: &[Value]) -> Option<String> {
    let (names, types) = (state.get(3)?.items()?, state.get(4)?.as_dict().map(Dict::entries)?);
    let field = |name: &Value| {
        let (_, field) = types.iter().find(|(key, _)| key.as_str().is_some() && key.as_str() == name.as_str())?;
        let dtype = ArrayType::of(field.items()?.first()?)?;
        Some(format!("('{}', '{}')", name.as_str()?, dtype.name))
    };
    let fields: Option<Vec<String>> = names.iter().map(field).collect();
    fields.map(|fields| format!("[{}]", fields.join(", ")))
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
        } else if function.is("numpy.ma.core", "_mareconstruct") {
            Array::of_state(&data, true)?
        } else if is_core(function, "numeric", "_frombuffer") {
            let [buffer, dtype, shape, order] = data.arguments() else { return None };
            let fortran = order.as_str() == Some("F");
            let (dtype, content) = (ArrayType::of(dtype)?, Data::Bytes(bytes_of(buffer)?));
            Array { class: None, dtype, shape: shape_of(shape)?, fortran, masked: false, data: content }
        } else {
            return None;
        };
        let elements = element_count(&array.shape)?;
        let whole = match &array.data {
            Data::Bytes(bytes) => elements.checked_mul(array.dtype.size) == Some(bytes.len()),
            Data::Objects(items) => items.len() == elements,
        };
        whole.then_some(array)
    }

    /// Of `_reconstruct(class, (0,), b'b')` and the state `(1, shape, dtype, is Fortran's, content)`.
    fn of_state(data: &ObjectData, masked: bool) -> Option<Self> {
        let class = match data.arguments() {
            [Value::Global(class), ..] => Some(class.clone()),
            _ => return None,
        };
        let [state] = &data.states[..] else { return None };
        let state = state.items()?;
        let (shape, dtype, fortran, content) = match &state[..] {
            [Value::Int(_), shape, dtype, fortran, content] => (shape, dtype, fortran, content),
            // The content, the mask and the filling value.
            [Value::Int(_), shape, dtype, fortran, content, _, _] if masked => (shape, dtype, fortran, content),
            _ => return None,
        };
        let dtype = ArrayType::of(dtype)?;
        let data = match content {
            Value::List(items) => Data::Objects(items.read().clone()),
            content => Data::Bytes(bytes_of(content)?),
        };
        let class = class.filter(|class| !class.is("numpy", "ndarray"));
        Some(Array { class, dtype, shape: shape_of(shape)?, fortran: fortran.as_i64()? != 0, masked, data })
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
        let (Some(dtype), Data::Bytes(bytes), false) = (self.dtype.in_torch(), &self.data, self.masked) else {
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

    /// The array as lists in lists of plain values, of no dimensions as the value; `None` where Python has no type for its elements.
    pub(crate) fn to_lists(&self) -> Option<Value> {
        if self.masked {
            return None;
        }
        let elements = element_count(&self.shape)?;
        let mut plain = vec![Value::None; elements];
        let row_major = contiguous_stride(&self.shape);
        for nth in 0..elements {
            let at: usize = self.place(nth).iter().zip(&row_major).map(|(place, step)| place * step).sum();
            let value = match &self.data {
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
            (Data::Bytes(a), Data::Bytes(b)) => same_type && !self.masked && !other.masked && a == b,
            // They are compared one by one.
            (Data::Objects(_), Data::Objects(_)) => same_type,
            _ => false,
        }
    }

    /// For messages: `a NumPy array of float32 [2, 3]`.
    #[must_use]
    pub fn describe(&self) -> String {
        let masked = if self.masked { "masked " } else { "" };
        let class = self.class.as_ref().filter(|_| !self.masked).map(|class| format!(" ({class})")).unwrap_or_default();
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
    let [dtype, _] = data.arguments() else { return None };
    let dtype =
        ArrayType::of(dtype).filter(|_| data.class().is_some_and(|class| is_core(class, "multiarray", "scalar")))?;
    Some(format!("a NumPy scalar of {}", dtype.name))
}
