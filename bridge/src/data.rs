//! Between PyTorch's tensors and Burn's `TensorData`: the same elements, row-major, on the host.

use burn::tensor::{AllocationProperty, BoolStore, DType as BurnDType, TensorData};
use bytes::Bytes;
use half::{bf16, f16};
use rayon::prelude::*;

use rekindle_recorder::{DType, Element, Error, Result, Tensor};

/// The elements of a tensor as Burn takes them: row-major, of the same element type.
///
/// # Errors
/// As [`Tensor::to_le_bytes`]; and for element types that Burn has no tensors of (complex, 8-bit float, quantised, bits).
pub fn tensor_to_data(tensor: &Tensor) -> Result<TensorData> {
    elements_to_data(tensor.dtype(), tensor.shape(), &tensor.to_le_bytes()?)
}

/// The tensor of these elements: contiguous, on the CPU, asking for no gradient. The bytes are not copied.
///
/// # Errors
/// For Burn's quantised data, which lies in no way that PyTorch has.
pub fn data_to_tensor(data: TensorData) -> Result<Tensor> {
    let (dtype, shape) = (torch_dtype(data.dtype())?, data.shape().as_slice().to_vec());
    let bytes = match data.dtype() {
        // Some backends keep a bool in four bytes.
        BurnDType::Bool(BoolStore::U32) => {
            data.as_bytes().chunks_exact(4).map(|word| u8::from(word.iter().any(|&byte| byte != 0))).collect()
        }
        _ if cfg!(target_endian = "little") => Bytes::from_owner(Elements(data.into_bytes())),
        _ => {
            let mut bytes = data.as_bytes().to_vec();
            bytes.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
            bytes.into()
        }
    };
    Tensor::from_le_bytes(dtype, &shape, bytes)
}

/// The elements that something holds, in Burn's order and type, without a copy: whoever changes them copies them first. Bytes in the order
/// of this machine, as many as the shape says.
///
/// ```
/// use burn::tensor::DType;
///
/// let held: Vec<u8> = [1.0_f32, 2.0].into_iter().flat_map(f32::to_ne_bytes).collect();
/// let data = rekindle_burn::shared_data(held, vec![2], DType::F32);
/// assert_eq!(data.iter::<f32>().collect::<Vec<_>>(), [1.0, 2.0]);
/// ```
#[must_use]
pub fn shared_data(
    holder: impl AsRef<[u8]> + Send + 'static,
    shape: impl Into<burn::tensor::Shape>,
    dtype: BurnDType,
) -> TensorData {
    let bytes = burn::tensor::Bytes::from_shared(Bytes::from_owner(holder), AllocationProperty::Native);
    TensorData::from_bytes(bytes, shape, dtype)
}

/// Burn's buffer, as the owner of the bytes.
struct Elements(burn::tensor::Bytes);

impl AsRef<[u8]> for Elements {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Runs code with `$ty` as the Rust type of the elements, for the types that PyTorch and Burn share.
macro_rules! with_elements {
    ($dtype:expr, $ty:ident => $run:expr, else $other:expr) => {
        with_elements!($dtype, $ty, $run, $other,
            Float64 f64, Float32 f32, Float16 f16, BFloat16 bf16, Int64 i64, Int32 i32, Int16 i16, Int8 i8,
            UInt64 u64, UInt32 u32, UInt16 u16, UInt8 u8, Bool bool)
    };
    ($dtype:expr, $ty:ident, $run:expr, $other:expr, $($name:ident $rust:ty),*) => {
        match $dtype {
            $(DType::$name => {
                type $ty = $rust;
                $run
            })*
            _ => $other,
        }
    };
}

/// Row-major little-endian elements as Burn takes them. `bytes` must be as long as the shape says.
pub(super) fn elements_to_data(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<TensorData> {
    if rekindle_recorder::tensor::element_count(shape).and_then(|count| dtype.bytes_for(count)) != Some(bytes.len()) {
        return Err(Error::invalid_tensor(
            format_args!("a tensor of {dtype} {shape:?}"),
            format!("it has {} bytes", bytes.len()),
        ));
    }
    Ok(with_elements!(
        dtype,
        T => TensorData::new(T::from_le_slice(bytes), shape.to_vec()),
        else return Err(unsupported(&format!("a Burn tensor of {dtype}")))
    ))
}

/// As [`elements_to_data`], of bytes that nothing else needs. Burn copies them once more, to where they are aligned.
pub(super) fn owned_to_data(dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Result<TensorData> {
    // What a byte of a bool may be, Burn says; and its numbers lie as this machine has them.
    let lies_so = cfg!(target_endian = "little") && dtype != DType::Bool;
    match burn_dtype(dtype).filter(|_| lies_so) {
        Some(burn) => TensorData::try_from_bytes_vec(bytes, shape.to_vec(), burn)
            .map_err(|error| Error::invalid_tensor(format_args!("a tensor of {dtype} {shape:?}"), error.to_string())),
        None => elements_to_data(dtype, shape, &bytes),
    }
}

/// The element types that both have.
const DTYPES: [(DType, BurnDType); 13] = [
    (DType::Float64, BurnDType::F64),
    (DType::Float32, BurnDType::F32),
    (DType::Float16, BurnDType::F16),
    (DType::BFloat16, BurnDType::BF16),
    (DType::Int64, BurnDType::I64),
    (DType::Int32, BurnDType::I32),
    (DType::Int16, BurnDType::I16),
    (DType::Int8, BurnDType::I8),
    (DType::UInt64, BurnDType::U64),
    (DType::UInt32, BurnDType::U32),
    (DType::UInt16, BurnDType::U16),
    (DType::UInt8, BurnDType::U8),
    (DType::Bool, BurnDType::Bool(BoolStore::Native)),
];

/// PyTorch's name of a Burn element type.
pub(super) fn torch_dtype(dtype: BurnDType) -> Result<DType> {
    let host = match dtype {
        // The host's copy of a flex32 tensor is single precision.
        BurnDType::Flex32 => BurnDType::F32,
        BurnDType::Bool(_) => BurnDType::Bool(BoolStore::Native),
        other => other,
    };
    let known = DTYPES.iter().find(|(_, burn)| *burn == host);
    known.map(|(torch, _)| *torch).ok_or_else(|| unsupported("a quantised Burn tensor"))
}

/// Burn's name of an element type that [`elements_to_data`] takes.
pub(super) fn burn_dtype(dtype: DType) -> Option<BurnDType> {
    DTYPES.iter().find(|(torch, _)| *torch == dtype).map(|(_, burn)| *burn)
}

fn unsupported(what: &str) -> Error {
    let advice = "PyTorch and Burn share float64, float32, float16, bfloat16, the integers and bool";
    Error::unsupported(what.to_owned()).advise(advice)
}

/// A tensor with its elements converted, as `Tensor.copy_` converts them; the handle itself where nothing changes.
/// `float64` reaches the 16-bit types by way of `float32`, as in PyTorch.
///
/// # Errors
/// When it cannot be read, is no tensor of real numbers, or holds a number that the integer type `to` does not have.
pub(super) fn cast(tensor: &Tensor, to: DType) -> Result<Tensor> {
    let from = tensor.dtype();
    if from == to {
        return Ok(tensor.clone());
    }
    let bytes = tensor.to_le_bytes()?;
    let converted = with_elements!(
        from,
        F => with_elements!(to, T => convert::<F, T>(&bytes), else None),
        else None
    );
    match converted {
        Some(bytes) => Tensor::from_le_bytes(to, tensor.shape(), bytes),
        None => Err(Error::invalid(format!("its {from} elements cannot be taken as {to}"))),
    }
}

fn convert<F: Real, T: Real>(bytes: &[u8]) -> Option<Vec<u8>> {
    let converted: Option<Vec<T>> = F::from_le_slice(bytes).into_iter().map(|x| T::of(x.number())).collect();
    Some(T::to_le_vec(&converted?))
}

/// A real number on its way from one element type to another.
#[derive(Clone, Copy)]
enum Number {
    Float(f64),
    Integer(i128),
}

trait Real: Element {
    fn number(self) -> Number;
    /// The number in this type; `None` where an integer type does not have it.
    fn of(number: Number) -> Option<Self>;
}

macro_rules! real {
    ($number:ident: $($ty:ty, |$x:ident| $float:expr, |$i:ident| $integer:expr;)*) => { $(
        impl Real for $ty {
            #[inline]
            fn number(self) -> Number {
                Number::$number(self.into())
            }

            #[inline]
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // rounding is what a cast to float is
            fn of(number: Number) -> Option<Self> {
                match number {
                    Number::Float($x) => $float,
                    Number::Integer($i) => $integer,
                }
            }
        }
    )* };
    ($($ty:ty)*) => {
        // Towards zero, as C converts. (No f64 within i128's range is lost on the way.)
        real! { Integer: $(
            $ty,
            |x| if x.is_finite() && x.abs() < 1e30 { <$ty>::try_from(x as i128).ok() } else { None },
            |i| <$ty>::try_from(i).ok();
        )* }
    };
}

real! { Float:
    f64, |x| Some(x), |i| Some(i as f64);
    f32, |x| Some(x as f32), |i| Some(i as f32);
    f16, |x| Some(f16::from_f32(x as f32)), |i| Some(f16::from_f32(i as f32));
    bf16, |x| Some(bf16::from_f32(x as f32)), |i| Some(bf16::from_f32(i as f32));
}
real! { Integer: bool, |x| Some(x != 0.0), |i| Some(i != 0); }
real! { i64 i32 i16 i8 u64 u32 u16 u8 }

/// The elements of a row-major `[rows, columns]` matrix as the row-major `[columns, rows]` one.
pub(super) fn transpose(bytes: &[u8], rows: usize, columns: usize, size: usize) -> Vec<u8> {
    match size {
        1 => transpose_elements::<1>(bytes, rows, columns),
        2 => transpose_elements::<2>(bytes, rows, columns),
        4 => transpose_elements::<4>(bytes, rows, columns),
        // Nothing that Burn has tensors of is wider.
        _ => transpose_elements::<8>(bytes, rows, columns),
    }
}

fn transpose_elements<const N: usize>(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let mut out = vec![[0_u8; N]; bytes.len() / N];
    turn_all(bytes, rows, columns, &mut out);
    out.into_flattened()
}

/// A row-major `[rows, columns]` matrix of this element type as the `[columns, rows]` one, in memory that is aligned as Burn wants it,
/// so that it is not copied again; `None` for types that do not lie there as they lie in a file.
pub(super) fn transposed(
    dtype: DType,
    shape: &[usize],
    bytes: &[u8],
    [rows, columns]: [usize; 2],
) -> Option<Result<TensorData>> {
    // What a byte of a bool may be, Burn says; and its numbers lie as this machine has them.
    let burn = burn_dtype(dtype).filter(|_| cfg!(target_endian = "little") && dtype != DType::Bool)?;
    macro_rules! turned {
        ($word:ty) => {{
            let mut out: Vec<$word> = vec![0; bytes.len() / size_of::<$word>()];
            turn_all::<{ size_of::<$word>() }>(bytes, rows, columns, bytemuck::cast_slice_mut(&mut out));
            burn::tensor::Bytes::from_elems(out)
        }};
    }
    let turned = match dtype.size() {
        1 => turned!(u8),
        2 => turned!(u16),
        4 => turned!(u32),
        8 => turned!(u64),
        _ => return None,
    };
    let data = TensorData::try_from_bytes(turned, shape.to_vec(), burn);
    Some(data.map_err(|error| Error::invalid_tensor(format_args!("a tensor of {dtype} {shape:?}"), error.to_string())))
}

/// Turns a matrix, on all threads where that pays.
fn turn_all<const N: usize>(bytes: &[u8], rows: usize, columns: usize, out: &mut [[u8; N]]) {
    /// So many columns are turned into rows by one thread: a page of memory that is read gives more than a line.
    const BAND: usize = 64;
    /// Below so many elements a second thread does not pay.
    const SMALL: usize = 1 << 15;
    let (elements, _) = bytes.as_chunks::<N>();
    let bands = (BAND * rows).max(1);
    let turn = |(band, out): (usize, &mut [[u8; N]])| turn(elements, columns, band * BAND, rows, out);
    if elements.len() < SMALL {
        out.chunks_mut(bands).enumerate().for_each(turn);
    } else {
        out.par_chunks_mut(bands).enumerate().for_each(turn);
    }
}

/// Writes the columns from `first` on as rows of `rows` elements, as many as there is room for.
fn turn<const N: usize>(elements: &[[u8; N]], columns: usize, first: usize, rows: usize, out: &mut [[u8; N]]) {
    /// A square of a cache line's width either way: it is copied out first, as rows that are a power of two apart push each other out
    /// of the cache.
    const SQUARE: usize = 16;
    let width = out.len() / rows;
    for row in (0..rows).step_by(SQUARE) {
        let height = SQUARE.min(rows - row);
        for column in (0..width).step_by(SQUARE) {
            let broad = SQUARE.min(width - column);
            let mut square = [[[0_u8; N]; SQUARE]; SQUARE];
            for (at, line) in square.iter_mut().enumerate().take(height) {
                line[..broad].copy_from_slice(&elements[(row + at) * columns + first + column..][..broad]);
            }
            for at in 0..broad {
                let to = &mut out[(column + at) * rows + row..][..height];
                to.iter_mut().zip(&square).for_each(|(to, line)| *to = line[at]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_of_any_shape_and_element_are_turned() {
        let shapes = [[1, 1], [1, 70], [70, 1], [16, 16], [17, 15], [300, 130], [64, 1024], [3, 20_000]];
        for ([rows, columns], size) in shapes.into_iter().flat_map(|shape| [1, 2, 4, 8].map(|size| (shape, size))) {
            let bytes: Vec<u8> = (0..251_u8).cycle().step_by(7).take(rows * columns * size).collect();
            let turned = transpose(&bytes, rows, columns, size);
            let element = |row: usize, column: usize| &bytes[(row * columns + column) * size..][..size];
            let expected: Vec<u8> = (0..columns)
                .flat_map(|column| (0..rows).flat_map(move |row| element(row, column).iter().copied()))
                .collect();
            assert!(turned == expected, "{rows} x {columns} elements of {size} bytes");
            let dtype = [DType::Int8, DType::BFloat16, DType::Float32, DType::Int64][size.trailing_zeros() as usize];
            let data = transposed(dtype, &[columns, rows], &bytes, [rows, columns]).unwrap().unwrap();
            assert!(data.as_bytes() == expected, "{rows} x {columns} of {dtype}");
            assert_eq!((data.shape().as_slice(), Some(data.dtype())), (&[columns, rows][..], burn_dtype(dtype)));
        }
        assert!(transpose(&[], 0, 5, 4).is_empty() && transpose(&[], 5, 0, 4).is_empty());
    }

    #[test]
    fn casts_round_as_pytorch_does() {
        // 1 + 2^-11 + 2^-40: straight from double it would round up to the next half, by way of float it ties to even.
        let x = Tensor::from_vec(&[1], vec![1.0 + 2f64.powi(-11) + 2f64.powi(-40)]).unwrap();
        assert_eq!(cast(&x, DType::Float16).unwrap().to_vec::<f16>().unwrap(), [f16::ONE]);
        let x = Tensor::from_vec(&[3], vec![-1.75_f32, 0.0, 2.5]).unwrap();
        assert_eq!(cast(&x, DType::Int32).unwrap().to_vec::<i32>().unwrap(), [-1, 0, 2]);
        assert_eq!(cast(&x, DType::Bool).unwrap().to_vec::<bool>().unwrap(), [true, false, true]);
        let big = Tensor::from_vec(&[1], vec![1_i64 << 40]).unwrap();
        assert_eq!(cast(&big, DType::Float32).unwrap().to_vec::<f32>().unwrap(), [2f32.powi(40)]);
        assert_eq!(cast(&big, DType::Int32).unwrap_err().to_string(), "its int64 elements cannot be taken as int32");
    }
}
