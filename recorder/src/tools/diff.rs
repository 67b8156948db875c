//! Comparing two checkpoints: which tensors and values differ, and by how much. Containers may differ; what counts is what
//! is in them.

use std::collections::HashMap;
use std::fmt;

use crate::pickle::{self, Dialect, PickleOptions};
use crate::tools::inspect::class;
use crate::value::tensor::TensorData;
use crate::value::{Array, array};
use crate::{Checkpoint, Limits, Result, ResultExt as _, Tensor, Value, walk};

/// How far numbers may be apart: they are equal when `|a - b| <= absolute + relative * |b|`, as in `torch.allclose`.
/// NaN equals NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tolerance {
    /// Relative to the second number. Default 0.
    pub relative: f64,
    /// Absolute. Default 0.
    pub absolute: f64,
}

impl Tolerance {
    fn allows(self, a: f64, b: f64) -> bool {
        #[allow(clippy::float_cmp)] // infinities of one sign, and the default: nothing but the same number
        let same = a == b || (a.is_nan() && b.is_nan());
        same || (a - b).abs() <= self.absolute + self.relative * b.abs()
    }
}

/// How one name differs between two checkpoints.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Difference {
    /// Only the first has it.
    OnlyInA,
    /// Only the second has it.
    OnlyInB,
    /// A tensor in one and something else in the other, or tensors of unlike dtype or shape.
    Kind {
        /// What it is in the first.
        a: String,
        /// What it is in the second.
        b: String,
    },
    /// Values that are not equal.
    Value {
        /// The first's.
        a: Value,
        /// The second's.
        b: Value,
    },
    /// Tensors of the same dtype and shape with unlike elements.
    Elements {
        /// How many elements differ by more than the tolerance.
        count: u64,
        /// How many there are.
        of: u64,
        /// The largest `|a - b|`.
        max_abs: f64,
        /// The largest `|a - b| / |b|`, over elements where `b` is not zero.
        max_rel: f64,
    },
    /// Tensors whose elements are no real numbers, with unlike bytes.
    Bytes,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::OnlyInA => f.write_str("only in the first"),
            Difference::OnlyInB => f.write_str("only in the second"),
            Difference::Kind { a, b } => write!(f, "{a} in the first, {b} in the second"),
            Difference::Value { a, b } => write!(f, "{a:?} in the first, {b:?} in the second"),
            Difference::Elements { count, of, max_abs, max_rel } => {
                write!(f, "{count} of {of} elements differ, by at most {max_abs:.3e} (relative {max_rel:.3e})")
            }
            Difference::Bytes => f.write_str("other bytes"),
        }
    }
}

/// Compares all tensors and values of two checkpoints by their paths; in the first's order, then what only the second has.
///
/// # Errors
/// When either has more values than the limits allow, or a tensor cannot be read.
pub fn compare(a: &Checkpoint, b: &Checkpoint, tolerance: Tolerance) -> Result<Vec<(String, Difference)>> {
    let mut there: HashMap<String, Value> = HashMap::new();
    let mut order = Vec::new();
    walk::walk(b.root(), &Limits::default(), &mut |path, value| {
        there.insert(path.to_owned(), value.clone());
        order.push(path.to_owned());
        Ok(())
    })
    .in_file_if(b.path())?;
    let mut differences = Vec::new();
    walk::walk(a.root(), &Limits::default(), &mut |path, value| {
        let difference = match there.remove(path) {
            None => Some(Difference::OnlyInA),
            Some(other) => difference(value, &other, tolerance)?,
        };
        differences.extend(difference.map(|difference| (path.to_owned(), difference)));
        Ok(())
    })
    .in_file_if(a.path())?;
    let rest = order.into_iter().filter(|path| there.contains_key(path));
    differences.extend(rest.map(|path| (path, Difference::OnlyInB)));
    Ok(differences)
}

fn difference(a: &Value, b: &Value, tolerance: Tolerance) -> Result<Option<Difference>> {
    if let (Some(left), Some(right)) = (Array::of(a), Array::of(b)) {
        return match (left.to_tensor(), right.to_tensor()) {
            (Ok(left), Ok(right)) => tensors(&left, &right, tolerance),
            _ if left.same_bytes(&right) || same_pickles(a, b) => Ok(None),
            _ if left.describe() == right.describe() => Ok(Some(Difference::Bytes)),
            _ => Ok(Some(Difference::Kind { a: left.describe(), b: right.describe() })),
        };
    }
    match (a, b) {
        (Value::Tensor(a), Value::Tensor(b)) => tensors(a, b, tolerance),
        (Value::Tensor(_), _) | (_, Value::Tensor(_)) => {
            Ok(Some(Difference::Kind { a: a.describe(), b: b.describe() }))
        }
        _ if leaves_equal(a, b, tolerance) => Ok(None),
        _ => Ok(Some(Difference::Value { a: a.clone(), b: b.clone() })),
    }
}

/// Whether both are written alike.
fn same_pickles(a: &Value, b: &Value) -> bool {
    let options = PickleOptions { dialect: Dialect::Zip, allow_objects: true };
    matches!((pickle::write(a, &options), pickle::write(b, &options)), (Ok(a), Ok(b)) if a.bytes == b.bytes)
}

fn leaves_equal(a: &Value, b: &Value, tolerance: Tolerance) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => tolerance.allows(*a, *b),
        (Value::Complex(a, b), Value::Complex(c, d)) => tolerance.allows(*a, *c) && tolerance.allows(*b, *d),
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::SurrogateStr(a), Value::SurrogateStr(b)) | (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::ByteArray(a), Value::ByteArray(b)) => *a.read() == *b.read(),
        (Value::Storage(a), Value::Storage(b)) => {
            a.same(b) || matches!((a.bytes(), b.bytes()), (Ok(a), Ok(b)) if a == b)
        }
        // NumPy's scalars and types that Python has none for.
        (Value::Object(_), Value::Object(_)) if walk::repr(a) == walk::repr(b) => {
            array::describe(a).is_none() || same_pickles(a, b)
        }
        // The rest as Python prints them: scalars whole, sets by their items; objects that are leaves have no content.
        _ => std::mem::discriminant(a) == std::mem::discriminant(b) && walk::repr(a) == walk::repr(b),
    }
}

fn tensors(a: &Tensor, b: &Tensor, tolerance: Tolerance) -> Result<Option<Difference>> {
    if a.same(b) {
        return Ok(None);
    }
    let kind = |tensor: &Tensor| match class(tensor) {
        Some(class) if tensor.storage().is_some() => format!("{tensor:?} of the class {class}"),
        _ => format!("{tensor:?}"),
    };
    if a.dtype() != b.dtype() || a.shape() != b.shape() || class(a) != class(b) {
        return Ok(Some(Difference::Kind { a: kind(a), b: kind(b) }));
    }
    match (&a.parts().data, &b.parts().data) {
        (TensorData::Strided { .. }, TensorData::Strided { .. }) => elements(a, b, tolerance),
        // What a wrapper holds is compared by itself: it is in its attributes.
        (TensorData::Meta { .. }, TensorData::Meta { .. })
        | (TensorData::Wrapper { .. }, TensorData::Wrapper { .. }) => Ok(None),
        (
            TensorData::Sparse { layout, indices, values, .. },
            TensorData::Sparse { layout: other, indices: other_indices, values: other_values, .. },
        ) if layout == other && indices.len() == other_indices.len() => {
            for (a, b) in indices.iter().zip(other_indices) {
                if let Some(found) = tensors(a, b, Tolerance::default())? {
                    return Ok(Some(found));
                }
            }
            tensors(values, other_values, tolerance)
        }
        (
            TensorData::Nested { buffer, sizes, .. },
            TensorData::Nested { buffer: other_buffer, sizes: other_sizes, .. },
        ) => match tensors(sizes, other_sizes, Tolerance::default())? {
            None => tensors(buffer, other_buffer, tolerance),
            found => Ok(found),
        },
        _ => Ok(Some(Difference::Kind { a: kind(a), b: kind(b) })),
    }
}

fn elements(a: &Tensor, b: &Tensor, tolerance: Tolerance) -> Result<Option<Difference>> {
    let (left_bytes, right_bytes) = (a.to_le_bytes()?, b.to_le_bytes()?);
    if left_bytes == right_bytes {
        return Ok(None);
    }
    let (Ok(left), Ok(right)) = (a.to_f64_vec(), b.to_f64_vec()) else { return Ok(Some(Difference::Bytes)) };
    // Integers beyond 2^53 are compared by their bytes; as doubles they may look equal.
    let exact = !a.dtype().is_floating_point() && tolerance == Tolerance::default();
    let bytes = left_bytes.chunks_exact(a.dtype().size()).zip(right_bytes.chunks_exact(a.dtype().size()));
    let (mut count, mut max_abs, mut max_rel) = (0_u64, 0.0_f64, 0.0_f64);
    for ((&x, &y), (x_bytes, y_bytes)) in left.iter().zip(&right).zip(bytes) {
        if if exact { x_bytes != y_bytes } else { !tolerance.allows(x, y) } {
            count += 1;
        }
        let apart = if x.is_nan() && y.is_nan() { 0.0 } else { (x - y).abs() };
        // A number against NaN is infinitely far off.
        let apart = if apart.is_nan() { f64::INFINITY } else { apart };
        max_abs = max_abs.max(apart);
        if y != 0.0 && apart > 0.0 {
            max_rel = max_rel.max(apart / y.abs());
        }
    }
    // Bytes that differ as numbers do not: 0.0 and -0.0, or NaN with other bits.
    Ok((count > 0).then_some(Difference::Elements { count, of: left.len() as u64, max_abs, max_rel }))
}
