//! Archives that hold more than weights (TorchScript, `torch.export`): new weights are put into a copy of one, its template.
//! All that changes are the elements of the tensors named, and the checksums over them.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::container::zip::{self, Archive, Storages, patch};
use crate::io::FileBytes;
use crate::io::commit::commit;
use crate::options::{SaveOptions, SaveReport};
use crate::state_dict::report::ShapeMismatch;
use crate::value::tensor::{Quantizer, TensorParts};
use crate::{Error, ErrorKind, Limits, LoadReport, Result, ResultExt as _, StateDict, Tensor};

/// An archive whose weights can be replaced.
pub(super) struct Template {
    archive: Arc<Archive>,
    big_endian: bool,
    slots: Vec<Slot>,
    /// Archives in records of this one.
    nested: BTreeMap<usize, Template>,
}

/// A tensor of the template, and the record that holds its elements; `None` where there is none.
struct Slot {
    name: Arc<str>,
    tensor: Tensor,
    record: Option<usize>,
}

impl Template {
    /// An archive with the tensors of these names, whose storages are `storages`.
    pub(super) fn new(
        archive: &Arc<Archive>,
        storages: &Storages,
        tensors: impl IntoIterator<Item = (Arc<str>, Tensor)>,
    ) -> Self {
        let records = storages.records();
        let record = |tensor: &Tensor| records.get(&tensor.storage()?.id()).copied();
        let slot = |(name, tensor): (Arc<str>, Tensor)| Slot { name, record: record(&tensor), tensor };
        let slots = tensors.into_iter().map(slot).collect();
        Template { archive: Arc::clone(archive), big_endian: storages.big_endian(), slots, nested: BTreeMap::new() }
    }

    /// An archive that itself holds no tensors to replace.
    pub(super) fn empty(archive: &Arc<Archive>) -> Self {
        Template { archive: Arc::clone(archive), big_endian: false, slots: Vec::new(), nested: BTreeMap::new() }
    }

    /// Adds an archive that is a record of this one.
    pub(super) fn nest(&mut self, record: usize, template: Template) {
        self.nested.insert(record, template);
    }

    /// Writes the archive with the tensors of a state dict in the place of its own.
    pub(super) fn save(&self, state_dict: &StateDict, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
        let report = self.check(state_dict)?;
        commit(path, options.overwrite, |out| self.write(state_dict, out))?;
        let missing = report.missing.iter().map(|name| format!("there is no '{name}'; the archive's own stays"));
        let unexpected =
            report.unexpected.iter().map(|name| format!("'{name}' is left out; the archive has no such tensor"));
        Ok(SaveReport { bytes: self.archive.size(), notes: missing.chain(unexpected).collect() })
    }

    fn slots(&self) -> Vec<&Slot> {
        let nested = self.nested.values().flat_map(Template::slots);
        self.slots.iter().chain(nested).collect()
    }

    /// Compares names, shapes and element types. As in `load_state_dict`, no more than counters of batches may be missing.
    fn check(&self, state_dict: &StateDict) -> Result<LoadReport> {
        let slots = self.slots();
        let mut report = LoadReport::default();
        for slot in &slots {
            match state_dict.get(&slot.name) {
                None => match state_dict.get_value(&slot.name) {
                    Some(other) => return Err(Error::wrong_type(&*slot.name, "a tensor", other.describe())),
                    None => report.missing.push(slot.name.to_string()),
                },
                Some(new) if new.shape() != slot.tensor.shape() => {
                    report.mismatched.push(ShapeMismatch::new(&*slot.name, slot.tensor.shape(), new.shape()));
                }
                Some(_) => report.loaded.push(slot.name.to_string()),
            }
        }
        let known: HashSet<&str> = slots.iter().map(|slot| &*slot.name).collect();
        report.unexpected.extend(state_dict.keys().filter(|name| !known.contains(name)).map(ToOwned::to_owned));
        let report = report.into_result(true)?;
        let pairs = slots.iter().filter_map(|slot| Some((slot, state_dict.get(&slot.name)?)));
        pairs.into_iter().try_for_each(|(slot, new)| slot.check(new))?;
        self.check_byte_order()?;
        Ok(report)
    }

    fn check_byte_order(&self) -> Result<()> {
        if self.big_endian {
            return Err(Error::unsupported("replacing the weights of a big-endian archive"));
        }
        self.nested.values().try_for_each(Template::check_byte_order)
    }

    fn write(&self, state_dict: &StateDict, out: &mut dyn Write) -> Result<()> {
        let mut by_record: BTreeMap<usize, Vec<(&Slot, &Tensor)>> = BTreeMap::new();
        for slot in &self.slots {
            if let (Some(record), Some(new)) = (slot.record, state_dict.get(&slot.name))
                && slot.tensor.numel() > 0
            {
                by_record.entry(record).or_default().push((slot, new));
            }
        }
        let records: Vec<usize> = by_record.keys().chain(self.nested.keys()).copied().collect();
        patch(&self.archive, &records, out, &mut |record| match (self.nested.get(&record), by_record.get(&record)) {
            (Some(nested), _) => {
                let mut bytes = Vec::new();
                nested.write(state_dict, &mut bytes)?;
                Ok(bytes)
            }
            (None, tensors) => fill(tensors.map(Vec::as_slice).unwrap_or_default()),
        })
    }
}

impl Slot {
    fn check(&self, new: &Tensor) -> Result<()> {
        let (parts, new_parts) = (self.tensor.parts(), new.parts());
        if parts.dtype != new_parts.dtype {
            return Err(Error::wrong_type(&*self.name, parts.dtype.name(), new_parts.dtype.name()));
        }
        // A record of its own is what a dense tensor has.
        if self.tensor.storage().is_none() || new.storage().is_none() {
            let what = format!(
                "replacing '{}' ({:?}) by {new:?}; only dense tensors are replaced, this",
                self.name, self.tensor
            );
            return Err(Error::unsupported(what));
        }
        if parts.dtype.packed() > 1 && !(self.tensor.is_contiguous() && self.tensor.offset() == 0) {
            return Err(Error::unsupported(format!("replacing '{}', a view of packed elements", self.name)));
        }
        if same_quantizer(parts.quantizer.as_ref(), new_parts.quantizer.as_ref())? {
            return Ok(());
        }
        let words = "the scale and zero point of the archive's own tensor";
        Err(Error::wrong_type(&*self.name, words, "a tensor quantised in another way"))
    }

    /// The elements of a new tensor as this one keeps its own.
    fn elements(&self, new: &Tensor) -> Result<Bytes> {
        let bytes = new.to_le_bytes()?;
        let TensorParts { conj, neg, dtype, ref shape, .. } = *self.tensor.parts();
        if !conj && !neg {
            return Ok(bytes);
        }
        // The bits undo themselves.
        let plain = Tensor::from_le_bytes(dtype, shape, bytes)?;
        Tensor::new(TensorParts { conj, neg, ..plain.parts().clone() })?.to_le_bytes()
    }
}

fn same_quantizer(ours: Option<&Quantizer>, new: Option<&Quantizer>) -> Result<bool> {
    Ok(match (ours, new) {
        (None, None) => true,
        (
            Some(Quantizer::PerTensor { scale, zero_point }),
            Some(Quantizer::PerTensor { scale: new_scale, zero_point: new_zero }),
        ) => scale.to_bits() == new_scale.to_bits() && zero_point == new_zero,
        (
            Some(Quantizer::PerChannel { scheme, scales, zero_points, axis }),
            Some(Quantizer::PerChannel {
                scheme: new_scheme,
                scales: new_scales,
                zero_points: new_zeros,
                axis: new_axis,
            }),
        ) => {
            (scheme, axis) == (new_scheme, new_axis)
                && scales.to_le_bytes()? == new_scales.to_le_bytes()?
                && zero_points.to_le_bytes()? == new_zeros.to_le_bytes()?
        }
        _ => false,
    })
}

/// The bytes of a storage with new elements in the places of the tensors that view it.
fn fill(tensors: &[(&Slot, &Tensor)]) -> Result<Vec<u8>> {
    let Some(storage) = tensors.first().and_then(|(slot, _)| slot.tensor.storage()) else { return Ok(Vec::new()) };
    let mut bytes = storage.bytes()?.to_vec();
    let new: Vec<Bytes> = tensors.iter().map(|(slot, new)| slot.elements(new)).collect::<Result<_>>()?;
    for ((slot, _), new) in tensors.iter().zip(&new) {
        runs(&slot.tensor, &mut |at, from, len| {
            bytes[at..at + len].copy_from_slice(&new[from..from + len]);
            true
        });
    }
    // Views that overlap, and those that show an element more than once, must agree on what they share.
    for ((slot, _), new) in tensors.iter().zip(&new) {
        if !runs(&slot.tensor, &mut |at, from, len| bytes[at..at + len] == new[from..from + len]) {
            let others: Vec<&str> =
                tensors.iter().map(|(other, _)| &*other.name).filter(|name| *name != &*slot.name).collect();
            let with = if others.is_empty() { "itself".to_owned() } else { format!("'{}'", others.join("', '")) };
            let reason = format!(
                "in the archive '{}' shares memory with {with}, and the new values differ; give them the same values",
                slot.name
            );
            return Err(Error::invalid(reason));
        }
    }
    Ok(bytes)
}

/// Goes through the elements of a view in row-major order, in runs that lie together: the first byte in the storage, the first
/// byte among the elements, how many. Ends early, and answers false, when `visit` does.
///
/// `Tensor::new` made sure that the view lies inside its storage.
fn runs(tensor: &Tensor, visit: &mut dyn FnMut(usize, usize, usize) -> bool) -> bool {
    let size = tensor.dtype().size();
    let whole = tensor.dtype().bytes_for(tensor.numel()).unwrap_or(0);
    let (shape, Some(stride)) = (tensor.shape(), tensor.stride()) else { return true };
    if whole == 0 || tensor.is_contiguous() {
        return visit(tensor.offset() * size, 0, whole);
    }
    let (Some((&inner, outer)), Some((&step, outer_stride))) = (shape.split_last(), stride.split_last()) else {
        return true;
    };
    let mut index = vec![0; outer.len()];
    let mut from = 0;
    loop {
        let start = tensor.offset() + index.iter().zip(outer_stride).map(|(i, step)| i * step).sum::<usize>();
        let (count, len) = if step == 1 { (1, inner * size) } else { (inner, size) };
        for i in 0..count {
            if !visit((start + i * step) * size, from, len) {
                return false;
            }
            from += len;
        }
        // The next index, the last dimension first.
        let Some(dimension) = (0..outer.len()).rev().find(|&i| index[i] + 1 < outer[i]) else { return true };
        index[dimension] += 1;
        index[dimension + 1..].fill(0);
    }
}

/// The template that a format which cannot do without was given.
pub(super) fn path(options: &SaveOptions, name: &str) -> Result<PathBuf> {
    options.template.clone().ok_or_else(|| {
        let advice = format!(
            "pass {name} with the same model as the template, whose weights are replaced, or write the state dict alone \
             in the format 'zip'"
        );
        Error::unsupported(format!("writing {name} from weights alone")).advise(advice)
    })
}

/// Copies an archive with other weights. `read` finds the archive's own.
pub(super) fn replace(
    archive: &Path,
    state_dict: &StateDict,
    path: &Path,
    options: &SaveOptions,
    read: impl FnOnce(&Arc<Archive>, &FileBytes) -> Result<Template>,
) -> Result<SaveReport> {
    let open = || {
        let file = FileBytes::open(archive)?;
        if !zip::detect(&file) {
            return Err(Error::invalid("the template is no zip archive"));
        }
        let zip = Arc::new(Archive::open(file.bytes(), &Limits::default())?);
        // Most of it is copied without another look.
        (0..zip.records().len()).try_for_each(|record| zip.payload(record, true).map(drop))?;
        read(&zip, &file)
    };
    let template = open().in_file(archive)?;
    template.save(state_dict, path, options).map_err(|error| match error.kind() {
        ErrorKind::Io { .. } | ErrorKind::Exists => error.in_file(path),
        _ => error.in_file(archive),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Element as _, Storage};

    fn view(storage: &Storage, shape: &[usize], offset: usize, stride: &[usize]) -> Slot {
        let parts = TensorParts::strided(DType::Float32, shape.to_vec(), storage.clone(), offset, stride.to_vec());
        Slot { name: format!("{shape:?}").into(), tensor: Tensor::new(parts).unwrap(), record: Some(0) }
    }

    fn storage() -> Storage {
        Storage::from_bytes(DType::Float32, f32::to_le_vec(&[0.0; 12]))
    }

    fn numbers(shape: &[usize]) -> Tensor {
        let count: u8 = shape.iter().map(|&n| u8::try_from(n).unwrap()).product();
        Tensor::from_vec(shape, (1..=count).map(f32::from).collect()).unwrap()
    }

    #[test]
    fn elements_go_through_any_view_to_their_places() {
        let filled = |shape: &[usize], offset, stride: &[usize]| {
            let (storage, new) = (storage(), numbers(shape));
            f32::from_le_slice(&fill(&[(&view(&storage, shape, offset, stride), &new)]).unwrap())
        };
        assert_eq!(filled(&[2, 3], 4, &[3, 1]), [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0]);
        assert_eq!(filled(&[3, 2], 0, &[1, 3]), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(filled(&[2, 2, 1], 1, &[6, 2, 9]), [0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 4.0, 0.0, 0.0]);
        assert_eq!(filled(&[2], 3, &[5]), [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]);
        assert_eq!(filled(&[], 11, &[])[11], 1.0);
    }

    #[test]
    fn views_that_overlap_must_agree() {
        let storage = storage();
        let (a, b) = (view(&storage, &[4], 0, &[1]), view(&storage, &[2, 2], 2, &[2, 1]));
        let fits = Tensor::from_vec(&[2, 2], vec![3.0_f32, 4.0, 9.0, 9.0]).unwrap();
        assert!(fill(&[(&a, &numbers(&[4])), (&b, &fits)]).is_ok());
        let error = fill(&[(&a, &numbers(&[4])), (&b, &numbers(&[2, 2]))]).unwrap_err().to_string();
        assert_eq!(
            error,
            "in the archive '[4]' shares memory with '[2, 2]', and the new values differ; give them the same values"
        );
        let expanded = view(&storage, &[3], 1, &[0]);
        assert!(fill(&[(&expanded, &Tensor::from_vec(&[3], vec![5.0_f32; 3]).unwrap())]).is_ok());
        let error = fill(&[(&expanded, &numbers(&[3]))]).unwrap_err().to_string();
        assert!(error.contains("shares memory with itself"), "{error}");
    }
}
