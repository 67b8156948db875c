//! `ArrayType`: what a NumPy dtype in a pickle says of one element: its type, or of a structured one its fields.

use std::sync::Arc;

use num_bigint::BigInt;

use crate::DType;
use crate::value::data::{Dict, Value};
use crate::value::elements::float_from_le;

/// What a NumPy dtype says of one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArrayType {
    /// NumPy's letter: `f`, `i`, `u`, `b`, `c`, `S`, `U`, `O`, `M`, `m`, `V`; `?` for a type of another library.
    pub(crate) kind: char,
    /// In bytes; 0 where it is not known.
    pub(crate) size: usize,
    pub(crate) big_endian: bool,
    /// What people call it: `float32`, `datetime64[ns]`, `[('a', 'int32')]`.
    pub(super) name: String,
    /// Of a structured type what is in an element, each with its place in bytes.
    fields: Vec<(usize, ArrayType)>,
}

/// How deep structures may be in each other, and how many numbers may be in an element.
const DEPTH: usize = 16;
const FIELDS: usize = 1 << 16;

impl ArrayType {
    /// Of a `numpy.dtype('f8', False, True)` with the state `(3, '<', ...)`.
    pub(crate) fn of(dtype: &Value) -> Option<Self> {
        ArrayType::within(dtype, DEPTH, &mut FIELDS.clone())
    }

    /// The same, so many structures deep at the most, of so many fields.
    fn within(dtype: &Value, depth: usize, left: &mut usize) -> Option<Self> {
        let Value::Object(object) = dtype else { return None };
        let data = object.read();
        let class = data.class()?;
        // Types with a class of their own: `numpy.dtypes.StringDType()`.
        if &*class.module == "numpy.dtypes" {
            return Some(ArrayType::named(class.name.to_string(), 0, false));
        }
        if &*class.name == "_convert_to_stringdtype_kwargs" && class.module.starts_with("numpy.") {
            return Some(ArrayType::named("StringDType".to_owned(), 0, false));
        }
        if !class.is("numpy", "dtype") {
            return None;
        }
        let state = data.states.first().and_then(Value::items).unwrap_or_default();
        let order = state.get(1).and_then(Value::as_str).map(ToOwned::to_owned);
        let spelled = match data.arguments().first()? {
            Value::Str(spelled) => spelled.clone(),
            // Of a class with fields: `numpy.record`.
            Value::Global(_) if state.get(3).is_some_and(|names| !matches!(names, Value::None)) => {
                let size = usize::try_from(state.get(5)?.as_i64()?).ok()?;
                format!("V{size}").into()
            }
            // ml_dtypes' types are classes.
            Value::Global(class) => {
                let size = class.name.parse::<DType>().ok().and_then(|dtype| dtype.bytes_for(1)).unwrap_or(0);
                return Some(ArrayType::named(class.name.to_string(), size, order.as_deref() == Some(">")));
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
        let mut fields = Vec::new();
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
            'V' => {
                let structure = depth.checked_sub(1).and_then(|depth| structure(&state, size, depth, left));
                let (name, inside) = structure.unwrap_or_else(|| (format!("void{bits}"), Vec::new()));
                fields = inside;
                name
            }
            _ => format!("{}{kind}{count}", if kind == 'U' { "<" } else { "|" }),
        };
        Some(ArrayType { kind, size, big_endian, name, fields })
    }

    /// A type that is known by its name.
    fn named(name: String, size: usize, big_endian: bool) -> Self {
        ArrayType { kind: '?', size, big_endian, name, fields: Vec::new() }
    }

    /// The types that are in an element, each with its place in bytes: those of the fields, or itself.
    pub(super) fn parts(&self) -> Vec<(usize, &ArrayType)> {
        if self.fields.is_empty() {
            vec![(0, self)]
        } else {
            self.fields.iter().map(|(at, part)| (*at, part)).collect()
        }
    }

    /// The bytes of an element that mean something: of x87's long doubles there are more.
    pub(super) fn meant(&self, bytes: &[u8], long: LongDouble) -> Vec<u8> {
        if !self.is_float() || self.unit() <= 8 || long == LongDouble::Quadruple {
            return bytes.to_vec();
        }
        let meant = |number: &[u8]| {
            let padding = number.len().saturating_sub(10);
            number.get(if self.big_endian { padding..number.len() } else { 0..10 }).unwrap_or_default().to_vec()
        };
        bytes.chunks(self.unit()).flat_map(meant).collect()
    }

    /// Whether its elements are numbers.
    pub(super) fn is_number(&self) -> bool {
        matches!(self.kind, 'b' | 'i' | 'u' | 'f' | 'c')
    }

    /// Whether its elements are floating-point numbers, or pairs of them.
    pub(super) fn is_float(&self) -> bool {
        matches!(self.kind, 'f' | 'c')
    }

    /// The numbers in an element of numbers, as doubles: one, or the real and the imaginary part; none where it is none. `long` says how
    /// long doubles are kept.
    pub(super) fn numbers(&self, bytes: &[u8], long: LongDouble) -> Vec<f64> {
        let mut bytes = bytes.to_vec();
        if self.big_endian && self.unit() > 1 {
            bytes.chunks_mut(self.unit()).for_each(<[u8]>::reverse);
        }
        let float = |bytes: &[u8]| float_from_le(bytes).or_else(|| long.decode(bytes));
        match self.kind {
            'b' => bytes.first().map(|byte| f64::from(*byte != 0)).into_iter().collect(),
            'f' => float(&bytes).into_iter().collect(),
            'c' => bytes.chunks(self.unit().max(1)).filter_map(float).collect(),
            'i' => Value::from(BigInt::from_signed_bytes_le(&bytes)).as_f64().into_iter().collect(),
            'u' => Value::from(BigInt::from_bytes_le(num_bigint::Sign::Plus, &bytes)).as_f64().into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// PyTorch's type for it.
    pub(super) fn in_torch(&self) -> Option<DType> {
        let of_torch = matches!(self.kind, 'b' | 'i' | 'u' | 'f' | 'c' | '?');
        let dtype: DType = self.name.parse().ok().filter(|_| of_torch)?;
        (dtype.bytes_for(1) == Some(self.size)).then_some(dtype)
    }

    /// How many bytes of an element change places together.
    pub(super) fn unit(&self) -> usize {
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

/// The fields of a structured type as NumPy prints them, and each of their types with its place; of an array in an element
/// (`('m', '<f4', (3,))`) as often as there are elements.
fn structure(
    state: &[Value],
    size: usize,
    depth: usize,
    left: &mut usize,
) -> Option<(String, Vec<(usize, ArrayType)>)> {
    let mut all = Vec::new();
    let mut add = |at: usize, dtype: ArrayType, left: &mut usize| {
        let inside: Vec<(usize, ArrayType)> = if dtype.fields.is_empty() {
            vec![(at, dtype)]
        } else {
            dtype.fields.into_iter().map(|(place, part)| (at.saturating_add(place), part)).collect()
        };
        *left = left.checked_sub(inside.len())?;
        let fits = inside.iter().all(|(at, part)| at.checked_add(part.size).is_some_and(|end| end <= size));
        all.extend(inside);
        fits.then_some(())
    };
    if let Some(array) = state.get(2).and_then(Value::items) {
        let [dtype, shape] = &array[..] else { return None };
        let dtype = ArrayType::within(dtype, depth, left)?;
        let shape: Vec<usize> = match shape {
            Value::Int(length) => vec![usize::try_from(*length).ok()?],
            shape => shape.items()?.iter().map(|n| usize::try_from(n.as_i64()?).ok()).collect::<Option<_>>()?,
        };
        let count = shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length))?;
        if count > *left || dtype.size.checked_mul(count)? > size {
            return None;
        }
        for nth in 0..count {
            add(nth * dtype.size, dtype.clone(), left)?;
        }
        let lengths = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let comma = if shape.len() == 1 { "," } else { "" };
        return Some((format!("{}, ({lengths}{comma})", quoted(&dtype.name)), all));
    }
    let (names, types) = (state.get(3)?.items()?, state.get(4)?.as_dict().map(Dict::entries)?);
    let mut shown = Vec::new();
    for name in &names {
        let (_, field) = types.iter().find(|(key, _)| key.as_str().is_some() && key.as_str() == name.as_str())?;
        let field = field.items()?;
        let dtype = ArrayType::within(field.first()?, depth, left)?;
        shown.push(format!("('{}', {})", name.as_str()?, quoted(&dtype.name)));
        if shown.iter().map(String::len).sum::<usize>() > FIELDS {
            return None;
        }
        add(usize::try_from(field.get(1)?.as_i64()?).ok()?, dtype, left)?;
    }
    Some((format!("[{}]", shown.join(", ")), all))
}

/// The name of a type in a structure: a plain one in quotes.
fn quoted(name: &str) -> String {
    if name.starts_with(['[', '\'']) { name.to_owned() } else { format!("'{name}'") }
}

/// How numbers of 12 or 16 bytes are kept, which NumPy calls `longdouble` and no file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LongDouble {
    /// x87's 80 bits, and bytes without meaning behind them.
    X87,
    /// IEEE 754's binary128.
    Quadruple,
}

impl LongDouble {
    /// How these are kept: in 80 bits, where the highest bit of each fraction is as x87 has it.
    pub(super) fn of<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut rest, mut low) = (false, false);
        for bytes in numbers {
            let Some((fraction, exponent)) = x87(bytes) else { return LongDouble::X87 };
            if (exponent & 0x7fff != 0) != (fraction >> 63 == 1) {
                return LongDouble::Quadruple;
            }
            rest |= bytes.get(10..).is_some_and(|rest| rest.iter().any(|&byte| byte != 0));
            low |= fraction != 0;
        }
        if rest && !low { LongDouble::Quadruple } else { LongDouble::X87 }
    }

    /// The nearest double or one beside it; NaN and infinity as they are.
    fn decode(self, bytes: &[u8]) -> Option<f64> {
        let (fraction, exponent) = match self {
            LongDouble::X87 => x87(bytes)?,
            LongDouble::Quadruple => {
                let bits = u128::from_le_bytes(bytes.try_into().ok()?);
                let exponent = u16::try_from(bits >> 112).ok()?;
                let whole = u128::from(exponent & 0x7fff != 0) << 112;
                let fraction = (bits & ((1 << 112) - 1)) | whole;
                // What is cut off may tell NaN from infinity.
                let sticky = u64::from(fraction & ((1 << 49) - 1) != 0);
                (u64::try_from(fraction >> 49).ok()? | sticky, exponent)
            }
        };
        let (sign, exponent) = (if exponent >> 15 == 1 { -1.0 } else { 1.0 }, exponent & 0x7fff);
        if exponent == 0x7fff {
            return Some(if fraction << 1 == 0 { sign * f64::INFINITY } else { f64::NAN });
        }
        if fraction == 0 {
            return Some(sign * 0.0);
        }
        #[allow(clippy::cast_precision_loss)] // a double holds no more
        let fraction = fraction as f64;
        let scale = i32::from(exponent.max(1)) - 16383 - 63;
        // In two steps: the scale alone may be beyond a double's range. A number beyond it is finite all the same.
        let number = fraction * 2_f64.powi(scale / 2) * 2_f64.powi(scale - scale / 2);
        Some(sign * number.min(f64::MAX))
    }
}

/// The fraction and the exponent, with the sign, of x87's 80 bits.
fn x87(bytes: &[u8]) -> Option<(u64, u16)> {
    let fraction = bytes.get(..8)?.try_into().ok()?;
    let exponent = bytes.get(8..10)?.try_into().ok()?;
    (bytes.len() > 10).then(|| (u64::from_le_bytes(fraction), u16::from_le_bytes(exponent)))
}

/// The bytes in a pickle's `bytes`, or in Python 2's `str` where they happened to be text.
pub(super) fn bytes_of(value: &Value) -> Option<Arc<[u8]>> {
    match value {
        Value::Bytes(bytes) => Some(Arc::clone(bytes)),
        Value::ByteArray(bytes) => Some(bytes.read().as_slice().into()),
        // Python 2's `str`, where the bytes happened to be text.
        Value::Str(text) => text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect(),
        _ => None,
    }
}
