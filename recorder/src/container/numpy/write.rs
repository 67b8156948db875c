//! Writing `.npz` and `.npy`, byte for byte the arrays that `np.savez` and `np.save` write.

use std::path::Path;

use bytes::Bytes;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::keeps::{Keeps, Order};
use crate::container::named::{Named, Target, is_fortran, refused};
use crate::container::numpy::header::{self, EXTENSION};
use crate::container::zip::ArchiveWriter;
use crate::io::Ready;
use crate::io::commit::Counted;
use crate::value::tensor::{TensorData, TensorParts};
use crate::{Error, Result, SaveOptions, SaveReport, Tensor, Value};

/// A file of several arrays. Those of Python objects are pickles.
pub(crate) const NPZ: Target =
    Target { name: ".npz", keeps: Keeps { order: Order::Fortran, pickles: true, ..Keeps::TENSORS } };
/// A file of one.
const NPY: Target = Target { name: ".npy", ..NPZ };

/// Writes a state dict (a dict of names and tensors) as an `.npz` file, or a single tensor as an `.npy` file.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when the value holds anything else than strided tensors of types that NumPy has, each by its key;
/// [`ErrorKind::Invalid`] for a state dict under a name that ends with `.npy`; [`ErrorKind::Exists`] when the file is there
/// and was not to be replaced.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    let is_npy = path.extension().is_some_and(|extension| extension == "npy");
    match root {
        Value::Tensor(tensor) if is_npy => npy(tensor)?.commit(path, options.overwrite),
        _ if is_npy => Err(Error::invalid("an .npy file holds one tensor; call the file .npz")),
        _ => npz(root)?.commit(path, options.overwrite),
    }
}

/// A stream has no name: a tensor alone is an `.npy` file, all else an `.npz` file.
pub(crate) fn ready<'a>(root: &'a Value, _: &SaveOptions) -> Result<Ready<'a>> {
    root.as_tensor().map_or_else(|| npz(root), npy)
}

fn npy(tensor: &Tensor) -> Result<Ready<'_>> {
    let notes = Named::of_tensor(tensor, &NPY)?.notes;
    let head = head(tensor, "the tensor", NPY.name)?;
    Ok(Ready::new(notes, move |out| {
        let mut out = Counted::new(out);
        out.put(&head)?;
        out.put(&elements(tensor)?)?;
        Ok(out.written())
    }))
}

fn npz(root: &Value) -> Result<Ready<'_>> {
    let mut named = Named::of(root, &NPZ)?;
    if named.tensors.is_empty() {
        // An archive without records is no sign of NumPy.
        return Err(Error::unsupported("writing a state dict without tensors into .npz"));
    }
    if !named.metadata.is_empty() {
        named.notes.push("__metadata__ has no place in .npz and is left out".to_owned());
    }
    // All headers first: a type that NumPy lacks is found before anything is written.
    let heads =
        named.tensors.iter().map(|item| head(&item.tensor, &item.name, NPZ.name)).collect::<Result<Vec<_>>>()?;
    Ok(Ready::new(std::mem::take(&mut named.notes), move |out| {
        let mut archive = ArchiveWriter::new(out, "");
        for (item, head) in named.tensors.iter().zip(&heads) {
            archive.record_parts(&format!("{}{EXTENSION}", item.name), &[head, &elements(&item.tensor)?])?;
        }
        archive.finish()
    }))
}

fn head(tensor: &Tensor, name: &str, target: &str) -> Result<Vec<u8>> {
    header::write(tensor.dtype(), is_fortran(tensor), tensor.shape()).ok_or_else(|| {
        let kind = format!("a tensor of {}", tensor.dtype());
        refused(name, &kind, target, "NumPy has no such type, cast it first, to float32 (`Conversion::dtype`)")
    })
}

/// The elements in the order that the header tells.
fn elements(tensor: &Tensor) -> Result<Bytes> {
    let (true, TensorData::Strided { storage, offset, stride }) = (is_fortran(tensor), &tensor.parts().data) else {
        return tensor.to_le_bytes();
    };
    // The transposed tensor is in row-major order.
    let reversed = |items: &[usize]| items.iter().rev().copied().collect::<Vec<_>>();
    let data = TensorData::Strided { storage: storage.clone(), offset: *offset, stride: reversed(stride) };
    Tensor::new(TensorParts { shape: reversed(tensor.shape()), data, ..tensor.parts().clone() })?.to_le_bytes()
}
