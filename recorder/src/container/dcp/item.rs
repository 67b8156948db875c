//! One item of a `.distcp` file: a whole archive of `torch.save` at some offset, and a tensor put together of several.

use std::sync::Arc;

use bytes::Bytes;

use crate::container::dcp::extent::{self, Extent};
use crate::container::zip::{Archive, Storages};
use crate::pickle::Unpickled;
use crate::value::tensor::{TensorData, TensorParts};
use crate::{DType, Error, FileBytes, Limits, OpenOptions, Result, Source, Tensor, Value};

/// The bytes of an item in its file.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) name: Arc<str>,
    pub(super) file: FileBytes,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Item {
    /// The same error, said of this item.
    pub(super) fn blame(&self, error: Error) -> Error {
        error.inside(format_args!("'{}' at byte {}", self.name, self.offset)).in_file_if(self.file.path())
    }

    /// Reads the object that `torch.save` wrote here; its tensors are read when they are asked for.
    pub(super) fn unpickle(&self, options: &OpenOptions) -> Result<(Unpickled, Storages)> {
        self.load(options).map_err(|error| self.blame(error))
    }

    fn load(&self, options: &OpenOptions) -> Result<(Unpickled, Storages)> {
        let end = self.offset.saturating_add(self.length);
        let Some(bytes) = self.file.slice(self.offset..end) else {
            return Err(Error::truncated(format!("the file ends before byte {end}, where the item does")));
        };
        let file = self.file.within(bytes);
        let archive = Arc::new(Archive::open(file.bytes(), &options.limits)?);
        let mut storages = Storages::new(&archive, &file, options)?;
        let unpickled = storages.unpickle("data.pkl", |key| format!("data/{key}"))?;
        Ok((unpickled, storages))
    }

    /// The elements of the tensor that is saved here, with its dimensions in another order, row by row.
    fn elements(&self, dtype: DType, shape: &[usize], order: &[usize], options: &OpenOptions) -> Result<Bytes> {
        let (unpickled, _storages) = self.load(options)?;
        let Value::Tensor(tensor) = unpickled.value else {
            let reason = format!("{} is saved here, where a tensor is expected", unpickled.value.describe());
            return Err(Error::damaged("data.pkl", reason));
        };
        if tensor.dtype() != dtype || tensor.shape() != shape {
            let reason = format!("{tensor:?} is saved here, where one of {dtype} {shape:?} is expected");
            return Err(Error::damaged("data.pkl", reason));
        }
        permuted(&tensor, order)?.to_le_bytes()
    }
}

/// What a tensor is put together of.
pub(super) enum Piece {
    /// What `torch.save` wrote.
    Item(Item),
    /// A tensor that needs no unpickling.
    Tensor(Tensor),
}

impl Piece {
    /// The elements of this piece, with its dimensions in another order, row by row.
    fn elements(&self, dtype: DType, shape: &[usize], order: &[usize], options: &OpenOptions) -> Result<Bytes> {
        match self {
            Piece::Item(item) => item.elements(dtype, shape, order, options).map_err(|error| item.blame(error)),
            Piece::Tensor(tensor) => permuted(tensor, order)?.to_le_bytes(),
        }
    }
}

/// A view of a strided tensor with its dimensions in another order.
pub(super) fn permuted(tensor: &Tensor, order: &[usize]) -> Result<Tensor> {
    let parts = tensor.parts();
    let TensorData::Strided { storage, offset, stride } = &parts.data else {
        return Err(Error::unsupported(format!("reading the elements of {tensor:?}")));
    };
    let pick = |all: &[usize]| order.iter().filter_map(|&d| all.get(d).copied()).collect::<Vec<_>>();
    let data = TensorData::Strided { storage: storage.clone(), offset: *offset, stride: pick(stride) };
    Tensor::new(TensorParts { shape: pick(&parts.shape), data, ..parts.clone() })
}

/// A tensor's bytes, which are read from its items when they are asked for.
pub(super) struct Assembled {
    pub(super) name: Arc<str>,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    /// The dimensions from the one whose neighbours are farthest apart in memory to the one where they are nearest.
    pub(super) order: Vec<usize>,
    pub(super) len: u64,
    /// They cover the tensor.
    pub(super) pieces: Vec<(Extent, Piece)>,
    pub(super) options: OpenOptions,
}

impl Source for Assembled {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self) -> Result<Bytes> {
        let elements = |extent: &Extent, piece: &Piece, order: &[usize]| {
            piece.elements(self.dtype, &extent.sizes, order, &self.options)
        };
        if let [(extent, piece)] = &*self.pieces {
            return elements(extent, piece, &self.order);
        }
        let Ok(len) = usize::try_from(self.len) else {
            return Err(Error::limit(format!("'{}' of {} bytes", self.name, self.len), usize::MAX as u64));
        };
        let mut whole = vec![0; len];
        let order: Vec<usize> = (0..self.shape.len()).collect();
        for (extent, piece) in &self.pieces {
            let bytes = elements(extent, piece, &order)?;
            extent::put(&mut whole, &self.shape, extent, &bytes, self.dtype.size());
        }
        Ok(whole.into())
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn copies(&self) -> bool {
        self.pieces.len() > 1
    }
}

/// What reading an item has left of the limits of its folder.
pub(super) fn spend(limits: &mut Limits, spent: &Unpickled) {
    limits.values = limits.values.saturating_sub(spent.values);
    limits.value_bytes = limits.value_bytes.saturating_sub(spent.value_bytes);
}
