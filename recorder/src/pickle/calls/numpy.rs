//! NumPy's scalars, which plain `torch.load` refuses, as Python's own numbers.

use crate::Value;
use crate::value::{ObjectData, float_from_le};

/// A number that `numpy.core.multiarray.scalar` makes, and its type in NumPy. `None` where the object is something else, or
/// a scalar that Python has no type for.
pub(crate) fn scalar(object: &ObjectData) -> Option<(Value, String)> {
    let class = object.class()?;
    let module = matches!(&*class.module, "numpy.core.multiarray" | "numpy._core.multiarray");
    let [Value::Object(dtype), content] = object.arguments() else { return None };
    if !module || &*class.name != "scalar" {
        return None;
    }
    let content = match content {
        Value::Bytes(bytes) => &**bytes,
        // Python 2's `str`, where the bytes happened to be text.
        Value::Str(text) => text.as_bytes(),
        _ => return None,
    };
    let dtype = dtype.read();
    if !dtype.class()?.is("numpy", "dtype") {
        return None;
    }
    let code = dtype.arguments().first()?.as_str()?.trim_start_matches(['<', '>', '|', '=']);
    let big_endian = match dtype.states.first() {
        Some(Value::Tuple(state)) => state.get(1)?.as_str()? == ">",
        _ => false,
    };
    number(code, content, big_endian)
}

fn number(code: &str, content: &[u8], big_endian: bool) -> Option<(Value, String)> {
    let (kind, size) = code.split_at_checked(1)?;
    let size: usize = size.parse().ok()?;
    if content.len() != size {
        return None;
    }
    let mut bytes = content.to_vec();
    let unit = if kind == "c" { size / 2 } else { size };
    if big_endian && unit > 1 {
        bytes.chunks_mut(unit).for_each(<[u8]>::reverse);
    }
    let value = match kind {
        "b" if size == 1 => Value::Bool(bytes != [0]),
        "i" | "u" if matches!(size, 1 | 2 | 4 | 8) => {
            let negative = kind == "i" && bytes.last()? & 0x80 != 0;
            let mut filled = if negative { [0xff; 16] } else { [0; 16] };
            filled[..size].copy_from_slice(&bytes);
            num_bigint::BigInt::from(i128::from_le_bytes(filled)).into()
        }
        "f" => Value::Float(float_from_le(&bytes)?),
        "c" => Value::Complex(float_from_le(&bytes[..unit])?, float_from_le(&bytes[unit..])?),
        _ => return None,
    };
    let name = match kind {
        "b" => "bool".to_owned(),
        "i" => format!("int{}", 8 * size),
        "u" => format!("uint{}", 8 * size),
        "f" => format!("float{}", 8 * size),
        _ => format!("complex{}", 8 * size),
    };
    Some((value, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numpy_numbers_keep_their_value() {
        let value = |code, bytes: &[u8], big| number(code, bytes, big).map(|(value, name)| format!("{name} {value:?}"));
        assert_eq!(value("f8", &0.1_f64.to_le_bytes(), false).unwrap(), "float64 0.1");
        assert_eq!(value("f4", &0.5_f32.to_be_bytes(), true).unwrap(), "float32 0.5");
        assert_eq!(value("f2", &[0, 0x3c], false).unwrap(), "float16 1.0");
        assert_eq!(value("i8", &(-3_i64).to_le_bytes(), false).unwrap(), "int64 -3");
        assert_eq!(value("u8", &u64::MAX.to_le_bytes(), false).unwrap(), "uint64 18446744073709551615");
        assert_eq!(value("i2", &[0xff, 0xfe], true).unwrap(), "int16 -2");
        assert_eq!(value("b1", &[1], false).unwrap(), "bool True");
        assert_eq!(value("c8", &[0, 0, 128, 63, 0, 0, 0, 64], false).unwrap(), "complex64 (1.0+2.0j)");
        for (code, length) in [("f16", 16), ("M8", 8), ("U1", 4), ("f8", 4), ("", 0), ("O8", 8)] {
            assert_eq!(value(code, &vec![0; length], false), None, "{code}");
        }
    }
}
