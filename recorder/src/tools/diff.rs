//! Comparing two checkpoints: which tensors and values differ, and by how much. Containers may differ; what counts is what
//! is in them.

use std::collections::HashSet;
use std::fmt;

use indexmap::IndexMap;

use crate::container::keeps::Values;
use crate::container::table;
use crate::tools::inspect::class;
use crate::value::Array;
use crate::value::tensor::{TensorData, TensorParts};
use crate::walk::{self, Identities, Identity, Place};
use crate::{Checkpoint, Limits, Result, ResultExt as _, Storage, Tensor, Value};

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

/// Compares all tensors and values of two checkpoints; in the first's order, then what only the second has.
///
/// Places are the same where the keys that lead to them are, with their types: `1` is not `"1"`, and `"a.b"` is not `b` in `a`. Where
/// one of the two is of a format that keeps nothing but names, as safetensors does, places are the same that have one spelling. A list
/// is not a tuple, and an object not a dict of what are its attributes; the order of a dict's keys counts for nothing.
///
/// # Errors
/// When either has more values than the limits allow, or a tensor cannot be read.
pub fn compare(a: &Checkpoint, b: &Checkpoint, tolerance: Tolerance) -> Result<Vec<(String, Difference)>> {
    let names_alone = |one: &Checkpoint| one.format().is_some_and(|format| table::keeps(format).values != Values::All);
    let by_name = names_alone(a) || names_alone(b);
    let mut there: IndexMap<Identity, Found> = IndexMap::new();
    each(b, by_name, &mut |identity, place, value, path, spelled_out| {
        let found = there.entry(identity).or_insert_with(|| Found::new(path, spelled_out));
        match place {
            Place::Leaf => found.leaf = Some(value.clone()),
            Place::Container => found.container = Some((sort(value), value.describe())),
        }
        Ok(())
    })?;
    let paths_there: HashSet<String> = there.values().map(|found| found.path.clone()).collect();
    let mut paths_here = HashSet::new();
    let mut differences = Vec::new();
    each(a, by_name, &mut |identity, place, value, path, spelled_out| {
        paths_here.insert(path.to_owned());
        let name = |other: &HashSet<String>| if other.contains(path) { spelled_out() } else { path.to_owned() };
        match (there.get_mut(&identity), place) {
            (Some(found), place) => {
                differences.extend(found.against(place, value, tolerance)?.map(|it| (path.to_owned(), it)));
            }
            (None, Place::Leaf) => differences.push((name(&paths_there), Difference::OnlyInA)),
            // What is in it is told for itself.
            (None, Place::Container) => {}
        }
        Ok(())
    })?;
    for found in there.into_values().filter(|found| found.leaf.is_some() && !found.met) {
        let name = if paths_here.contains(&found.path) { found.spelled_out } else { found.path };
        differences.push((name, Difference::OnlyInB));
    }
    Ok(differences)
}

/// Every place of a checkpoint with its identity, its path, and its path spelled out; `by_name` leaves containers out, and a place is
/// what it is called.
fn each(
    checkpoint: &Checkpoint,
    by_name: bool,
    visit: &mut dyn FnMut(Identity, Place, &Value, &str, &dyn Fn() -> String) -> Result<()>,
) -> Result<()> {
    let mut identities = Identities::default();
    let walked = walk::ways(checkpoint.root(), &Limits::default(), &mut |way, place, value| {
        let identity = if by_name { walk::of_value(&way.path.into()) } else { identities.at(way) };
        if by_name && place == Place::Container {
            return Ok(());
        }
        visit(identity, place, value, way.path, &|| walk::spelled_out(way))
    });
    walked.in_file_if(checkpoint.path())
}

/// What the second checkpoint has at a place.
struct Found {
    path: String,
    spelled_out: String,
    leaf: Option<Value>,
    /// Of which sort it is, and what it is called, where it is gone into.
    container: Option<(String, String)>,
    /// Whether the first has something there.
    met: bool,
}

impl Found {
    fn new(path: &str, spelled_out: &dyn Fn() -> String) -> Self {
        Found { path: path.to_owned(), spelled_out: spelled_out(), leaf: None, container: None, met: false }
    }

    /// How it differs from what the first has there.
    fn against(&mut self, place: Place, value: &Value, tolerance: Tolerance) -> Result<Option<Difference>> {
        let before = std::mem::replace(&mut self.met, true);
        let (other, called) = match (place, &self.leaf, &self.container) {
            (Place::Leaf, Some(leaf), _) => return difference(value, leaf, tolerance),
            // A tensor on which something hangs was compared as the leaf that it is, too.
            (Place::Container, Some(_), _) if before => return Ok(None),
            (_, _, Some((sort, called))) => (sort.clone(), called.clone()),
            (_, Some(leaf), None) => (sort(leaf), leaf.describe()),
            (_, None, None) => return Ok(None),
        };
        // One may be empty: what is in the other is told for itself.
        Ok((other != sort(value)).then(|| Difference::Kind { a: value.describe(), b: called }))
    }
}

/// Of which sort a container is: what is in two of one sort can be compared.
fn sort(value: &Value) -> String {
    match value {
        // One class, as far as Python compares them.
        Value::Dict(_) => "a dict".to_owned(),
        value => value.describe(),
    }
}

fn difference(a: &Value, b: &Value, tolerance: Tolerance) -> Result<Option<Difference>> {
    if let (Some(left), Some(right)) = (Array::of(a), Array::of(b)) {
        return match (left.to_tensor(), right.to_tensor()) {
            (Ok(left), Ok(right)) => tensors(&left, &right, tolerance),
            _ if left.same_bytes(&right) || walk::of_value(a) == walk::of_value(b) => Ok(None),
            _ if left.is_like(&right) && left.has_numbers() => Ok(arrays(&left, &right, tolerance)),
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

/// How two arrays of one form differ that are no tensors: masked ones, structures, long doubles.
fn arrays(a: &Array, b: &Array, tolerance: Tolerance) -> Option<Difference> {
    let mut apart = Apart::default();
    for element in a.apart(b) {
        // Something else than a number, such as a text.
        let Some(pairs) = element else { return Some(Difference::Bytes) };
        let exact = tolerance == Tolerance::default();
        // Of bytes that differ 0.0 and -0.0 are the same number; what a double cannot tell apart is not.
        #[allow(clippy::float_cmp)]
        let differ = |&(x, y): &(f64, f64)| !tolerance.allows(x, y) || exact && x == y && x != 0.0;
        apart.count += u64::from(pairs.iter().any(differ));
        pairs.into_iter().for_each(|(x, y)| apart.pair(x, y));
    }
    let of = a.shape().iter().map(|&length| length as u64).product();
    if let Some(found) = apart.of(of) {
        return Some(found);
    }
    let (mask, other) = (a.mask(), b.mask());
    let bytes = |mask: Option<(&[u8], &Value)>| mask.map(|(bytes, _)| bytes.to_vec());
    if bytes(mask) != bytes(other) {
        let kind = |array: &Array| format!("{}, {} of it masked,", array.describe(), array.masked().unwrap_or(0));
        return Some(Difference::Kind { a: kind(a), b: kind(b) });
    }
    match (mask, other) {
        (Some((_, a)), Some((_, b))) if walk::of_value(a) != walk::of_value(b) => Some(Difference::Bytes),
        _ => None,
    }
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
        // The rest by what they are: scalars whole, sets by their items, which have no order.
        _ => walk::of_value(a) == walk::of_value(b),
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
            TensorData::Jagged { values, offsets, lengths, ragged_dim, .. },
            TensorData::Jagged {
                values: other_values,
                offsets: other_offsets,
                lengths: other_lengths,
                ragged_dim: other_dim,
                ..
            },
        ) if ragged_dim == other_dim && lengths.is_some() == other_lengths.is_some() => {
            for (a, b) in [offsets].into_iter().chain(lengths).zip([other_offsets].into_iter().chain(other_lengths)) {
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

/// What was found to differ so far.
#[derive(Default)]
struct Apart {
    count: u64,
    max_abs: f64,
    max_rel: f64,
    /// Whether elements differ that are no real numbers.
    bytes: bool,
}

impl Apart {
    fn pair(&mut self, x: f64, y: f64) {
        let apart = if x.is_nan() && y.is_nan() { 0.0 } else { (x - y).abs() };
        // A number against NaN is infinitely far off.
        let apart = if apart.is_nan() { f64::INFINITY } else { apart };
        self.max_abs = self.max_abs.max(apart);
        if y != 0.0 && apart > 0.0 {
            self.max_rel = self.max_rel.max(apart / y.abs());
        }
    }

    /// Of so many elements. Bytes that differ as numbers do not (0.0 and -0.0, or NaN with other bits) are no difference.
    fn of(self, of: u64) -> Option<Difference> {
        let Apart { count, max_abs, max_rel, bytes } = self;
        let elements = || (count > 0).then_some(Difference::Elements { count, of, max_abs, max_rel });
        if bytes { Some(Difference::Bytes) } else { elements() }
    }
}

/// How many bytes of a view are written out at a time where its elements share memory, and how many elements are compared then.
const PIECE: usize = 64 << 20;
const MOST: u64 = 1 << 32;

fn elements(a: &Tensor, b: &Tensor, tolerance: Tolerance) -> Result<Option<Difference>> {
    let of = a.shape().iter().fold(1_u64, |count, &length| count.saturating_mul(length as u64));
    // What both repeat is compared once.
    let (strides, other) = (strides(a), strides(b));
    let repeated: Vec<bool> = strides.iter().zip(&other).map(|(a, b)| *a == 0 && *b == 0).collect();
    let lengths =
        || repeated.iter().zip(a.shape()).filter(|(repeated, _)| **repeated).map(|(_, length)| *length as u64);
    let copies = lengths().fold(1_u64, u64::saturating_mul);
    let once = |tensor: &Tensor| {
        let shape = tensor.shape().iter().zip(&repeated).map(|(&n, &repeated)| if repeated { n.min(1) } else { n });
        Tensor::new(TensorParts { shape: shape.collect(), ..tensor.parts().clone() })
    };
    let (a, b) = if copies > 1 { (once(a)?, once(b)?) } else { (a.clone(), b.clone()) };
    let mut apart = Apart::default();
    let shares = |tensor: &Tensor| {
        let (TensorData::Strided { storage, .. }, size) = (&tensor.parts().data, tensor.dtype().size()) else {
            return false;
        };
        let bytes = tensor.shape().iter().fold(size as u64, |bytes, &length| bytes.saturating_mul(length as u64));
        bytes > storage.len() && bytes > PIECE as u64
    };
    if !shares(&a) && !shares(&b) {
        piece(&a, &b, tolerance, &mut apart)?;
    } else {
        let (a, b) = (in_memory(&a)?, in_memory(&b)?);
        match reached(&a).zip(reached(&b)).filter(|_| self::strides(&a) == self::strides(&b)) {
            Some((a, b)) if a == b => return Ok(None),
            _ if a.numel() as u64 > MOST => return Ok(Some(Difference::Bytes)),
            _ => pieces(&a, &b, tolerance, &mut apart)?,
        }
    }
    apart.count = apart.count.saturating_mul(copies);
    Ok(apart.of(of))
}

fn strides(tensor: &Tensor) -> Vec<usize> {
    match &tensor.parts().data {
        TensorData::Strided { stride, .. } => stride.clone(),
        _ => Vec::new(),
    }
}

/// The same tensor over bytes in memory, so that they are fetched once.
fn in_memory(tensor: &Tensor) -> Result<Tensor> {
    let mut parts = tensor.parts().clone();
    if let TensorData::Strided { storage, .. } = &mut parts.data {
        *storage = Storage::from_bytes(storage.dtype(), storage.bytes()?);
    }
    Tensor::new(parts)
}

/// The bytes from a view's first element to its last.
fn reached(tensor: &Tensor) -> Option<bytes::Bytes> {
    let TensorData::Strided { storage, offset, stride } = &tensor.parts().data else { return None };
    let reach =
        |reach: usize, (length, step): (&usize, &usize)| reach.checked_add(length.checked_sub(1)?.checked_mul(*step)?);
    let (end, size) = (tensor.shape().iter().zip(stride).try_fold(1_usize, reach)?, tensor.dtype().size());
    let (bytes, from) = (storage.bytes().ok()?, offset.checked_mul(size)?);
    let to = from.checked_add(end.checked_mul(size)?).filter(|to| *to <= bytes.len())?;
    Some(bytes.slice(from..to))
}

/// Compares two views in halves, each small enough to be written out.
fn pieces(a: &Tensor, b: &Tensor, tolerance: Tolerance, apart: &mut Apart) -> Result<()> {
    let axis = (0..a.shape().len()).find(|&axis| a.shape()[axis] > 1);
    let Some(axis) = axis.filter(|_| a.numel().saturating_mul(a.dtype().size()) > PIECE) else {
        return piece(a, b, tolerance, apart);
    };
    let half = a.shape()[axis] / 2;
    for (from, length) in [(0, half), (half, a.shape()[axis] - half)] {
        let part = |tensor: &Tensor| {
            let mut parts = tensor.parts().clone();
            parts.shape[axis] = length;
            if let TensorData::Strided { offset, stride, .. } = &mut parts.data {
                *offset += from * stride[axis];
            }
            Tensor::new(parts)
        };
        pieces(&part(a)?, &part(b)?, tolerance, apart)?;
    }
    Ok(())
}

fn piece(a: &Tensor, b: &Tensor, tolerance: Tolerance, apart: &mut Apart) -> Result<()> {
    let (left_bytes, right_bytes) = (a.to_le_bytes()?, b.to_le_bytes()?);
    if left_bytes == right_bytes {
        return Ok(());
    }
    let (Ok(left), Ok(right)) = (a.to_f64_vec(), b.to_f64_vec()) else {
        apart.bytes = true;
        return Ok(());
    };
    // Integers beyond 2^53 are compared by their bytes; as doubles they may look equal.
    let exact = !a.dtype().is_floating_point() && tolerance == Tolerance::default();
    let bytes = left_bytes.chunks_exact(a.dtype().size()).zip(right_bytes.chunks_exact(a.dtype().size()));
    for ((&x, &y), (x_bytes, y_bytes)) in left.iter().zip(&right).zip(bytes) {
        if if exact { x_bytes != y_bytes } else { !tolerance.allows(x, y) } {
            apart.count += 1;
        }
        apart.pair(x, y);
    }
    Ok(())
}
