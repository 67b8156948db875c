//! Reading a folder: `.metadata`, then of each item where its bytes are.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::dcp::extent::{Extent, Flaw, check_tiling, distinct};
use crate::container::dcp::item::{Assembled, Item, Piece, spend};
use crate::container::dcp::metadata::{Entry, Location, METADATA, Metadata, TensorEntry};
use crate::container::dcp::nested::Nest;
use crate::container::zip::Storages;
use crate::container::{content, named, values};
use crate::format::add_new;
use crate::pickle::{self, KeepIds};
use crate::value::tensor::{TensorParts, contiguous_stride, element_count};
use crate::{Error, FileBytes, Format, Global, OpenOptions, Opened, Result, ResultExt as _, Tensor, Value, io};

impl Format {
    /// A folder of `torch.distributed.checkpoint`.
    pub const DCP: Format = Format::named("dcp");
}

/// The name of the first class lies within so many bytes of a pickle, whatever its protocol.
const HEAD: usize = 256;

/// Whether these bytes begin as `.metadata` does: the first class that the pickle names is PyTorch's.
fn is_metadata(head: &[u8]) -> bool {
    const MODULE: &[u8] = b"checkpoint.metadata";
    let head = head.get(..HEAD).unwrap_or(head);
    head.windows(MODULE.len()).any(|window| window == MODULE)
}

/// Whether a file is the `.metadata` of a distributed checkpoint, under whatever name.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    content::is_pickle(file) && is_metadata(file)
}

/// Whether a folder holds the metadata of a distributed checkpoint: for all processes together, or for one of them.
pub(crate) fn detect_folder(folder: &Path, names: &[String]) -> bool {
    names.iter().any(|name| holds_metadata(folder, name))
}

fn holds_metadata(folder: &Path, name: &str) -> bool {
    let path = folder.join(name);
    let mut head = Vec::new();
    // A pipe is not opened: that would wait for somebody to write into it.
    name.ends_with(METADATA)
        && path.is_file()
        && std::fs::File::open(path).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head)).is_ok()
        && is_metadata(&head)
}

/// Reads a folder. Where every process wrote metadata of its own (`use_collectives=False`) and there are several, they are
/// checkpoints of their own: name one of the files.
///
/// # Errors
/// [`ErrorKind::Missing`] when a file is missing, [`ErrorKind::Truncated`] when one is too short, [`ErrorKind::Damaged`] when the metadata contradict themselves
/// or the chunks of a tensor overlap or leave a gap, [`ErrorKind::Unsupported`] for classes that are not PyTorch's and for items
/// that passed through an extension. An error names the file, the item and its offset.
pub fn read(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let whole = path.join(METADATA);
    if whole.exists() {
        return read_metadata(&FileBytes::open(&whole)?, options);
    }
    let of_ranks: Vec<String> = io::names(path)?.into_iter().filter(|name| holds_metadata(path, name)).collect();
    match &*of_ranks {
        [only] => read_metadata(&FileBytes::open(&path.join(only))?, options),
        [] => Err(Error::not_a_checkpoint("the folder holds no .metadata").in_file(path)),
        [first, ..] => {
            let reason = format!(
                "the folder holds the checkpoints of {} processes, each with metadata of its own; name one of the files, such \
                 as {first}",
                of_ranks.len()
            );
            Err(Error::not_a_checkpoint(reason).in_file(path))
        }
    }
}

/// Reads the checkpoint whose metadata are in this file.
pub(crate) fn read_metadata(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let opened = Reader::open(file, options).and_then(Reader::finish);
    let opened = opened.and_then(|opened| values::unnested(opened, options));
    opened.in_file_if(file.path())
}

/// A checkpoint that is being read.
struct Reader {
    metadata: Metadata,
    files: HashMap<Arc<str>, FileBytes>,
    /// With what is left of the limits.
    options: OpenOptions,
    globals: Vec<Global>,
    bytes: u64,
    /// Those of the items that hold tensors and are none.
    storages: Vec<Storages>,
}

impl Reader {
    fn open(file: &FileBytes, options: &OpenOptions) -> Result<Self> {
        let mut options = options.clone();
        let len = file.len() as u64;
        if len > options.limits.pickle_bytes {
            return Err(Error::limit(format!("{METADATA} of {len} bytes"), options.limits.pickle_bytes));
        }
        let unpickled = pickle::read(file, METADATA, &options.limits, &mut KeepIds)?;
        spend(&mut options.limits, &unpickled);
        let metadata = Metadata::of(&unpickled.value)?;
        let folder = file.path().and_then(Path::parent).unwrap_or(Path::new(""));
        let mut files = HashMap::new();
        let mut bytes = len;
        for ((name, _), location) in &metadata.locations {
            if !files.contains_key(&location.file) {
                let opened = open_file(folder, name, location)?;
                bytes = bytes.saturating_add(opened.len() as u64);
                files.insert(Arc::clone(&location.file), opened);
            }
        }
        check_apart(&metadata, &files)?;
        Ok(Reader { metadata, files, options, globals: unpickled.globals, bytes, storages: Vec::new() })
    }

    fn finish(mut self) -> Result<Opened> {
        let mut nest = Nest::new(&self.options.limits);
        for (name, entry) in std::mem::take(&mut self.metadata.entries) {
            let value = match entry {
                Entry::Bytes => {
                    let item = self.item(&name, None)?;
                    self.unpickle(&item)?
                }
                Entry::Tensor(entry) => self.tensor(&name, entry)?,
            };
            nest.put(&name, self.metadata.paths.get(&name).map(Vec::as_slice), value)?;
        }
        let value = nest.into_root();
        if !self.storages.is_empty() {
            Storages::label(&self.storages, &value);
        }
        Ok(Opened::new(Format::DCP, value, self.globals, self.bytes))
    }

    /// The item of this name, and of this offset where it is a chunk of a tensor.
    fn item(&self, name: &Arc<str>, offset: Option<&[usize]>) -> Result<Item> {
        let location = self.metadata.locations.get(&(Arc::clone(name), offset.map(<[usize]>::to_vec)));
        let found = location.and_then(|location| Some((location, self.files.get(&location.file)?)));
        let Some((location, file)) = found else {
            let which = offset.map_or_else(String::new, |offset| format!(", the chunk at {offset:?}"));
            return Err(Error::damaged(format!("'{name}'{which}"), "storage_data do not say where it is"));
        };
        let item =
            Item { name: Arc::clone(name), file: file.clone(), offset: location.offset, length: location.length };
        if location.transformed {
            let what = "what passed through an extension when it was saved (transform_descriptors)";
            return Err(item.blame(Error::unsupported(what)));
        }
        Ok(item)
    }

    fn unpickle(&mut self, item: &Item) -> Result<Value> {
        let (unpickled, storages) = item.unpickle(&self.options)?;
        spend(&mut self.options.limits, &unpickled);
        add_new(&mut self.globals, unpickled.globals);
        if !storages.records().is_empty() {
            self.storages.push(storages);
        }
        Ok(unpickled.value)
    }

    fn tensor(&mut self, name: &Arc<str>, mut entry: TensorEntry) -> Result<Value> {
        distinct(&mut entry.chunks);
        check_tiling(&entry.shape, &entry.chunks, self.options.limits.values).map_err(|flaw| {
            if let Flaw::TooManySteps(_) = flaw {
                return Error::limit(format!("'{name}': {flaw}, which"), self.options.limits.values);
            }
            let reason = format!("of its shape {:?}, {flaw}", entry.shape);
            Error::damaged(format!("'{name}'"), reason)
        })?;
        if !entry.strided || entry.dtype.is_quantized() {
            return self.whole(name, &entry);
        }
        let TensorEntry { dtype, shape, requires_grad, stride, chunks, .. } = entry;
        let len = element_count(&shape).and_then(|count| dtype.bytes_for(count));
        let len = len.map(|len| len as u64).filter(|&len| len <= self.bytes).ok_or_else(|| {
            let reason = format!("its shape {shape:?} of {dtype} takes more bytes than all the files have");
            Error::damaged(format!("'{name}'"), reason)
        })?;
        let piece = |extent: Extent| {
            let item = self.item(name, Some(&extent.offsets))?;
            let wanted = element_count(&extent.sizes).and_then(|count| dtype.bytes_for(count));
            if wanted.is_none_or(|wanted| wanted as u64 > item.length) {
                let reason = format!("{extent} of {dtype} takes more than the {} bytes that are there", item.length);
                return Err(item.blame(Error::damaged("its length", reason)));
            }
            Ok((extent, Piece::Item(item)))
        };
        let pieces = chunks.into_iter().map(piece).collect::<Result<Vec<_>>>()?;
        // Of several pieces, the strides are those that one process had.
        let dense = stride.filter(|_| pieces.len() == 1).and_then(|stride| {
            let order = named::memory_order(&shape, &stride)?;
            Some((order, stride))
        });
        let (order, stride) = dense.unwrap_or_else(|| ((0..shape.len()).collect(), contiguous_stride(&shape)));
        let source = Assembled {
            name: Arc::clone(name),
            dtype,
            shape: shape.clone(),
            order,
            len,
            pieces,
            options: self.options.clone(),
        };
        let parts = TensorParts::strided(dtype, shape, named::storage(dtype, source), 0, stride);
        // Only these can have a gradient; whoever claims it of others is not believed.
        let requires_grad = requires_grad && (dtype.is_floating_point() || dtype.is_complex());
        Tensor::new(TensorParts { requires_grad, ..parts }).map(Value::Tensor)
    }

    /// A tensor of which only its own pickle says what it is: sparse, quantised.
    fn whole(&mut self, name: &Arc<str>, entry: &TensorEntry) -> Result<Value> {
        let [chunk] = &*entry.chunks else {
            let what = format!("'{name}', a sparse or quantised tensor in {} chunks,", entry.chunks.len());
            return Err(Error::unsupported(what));
        };
        let item = self.item(name, Some(&chunk.offsets))?;
        match self.unpickle(&item)? {
            Value::Tensor(tensor) if tensor.dtype() == entry.dtype && tensor.shape() == entry.shape => {
                Ok(Value::Tensor(tensor))
            }
            other => {
                let reason = format!("{other:?} is saved here, where {} {:?} is expected", entry.dtype, entry.shape);
                Err(item.blame(Error::damaged("data.pkl", reason)))
            }
        }
    }
}

/// Opens the file that holds an item.
fn open_file(folder: &Path, name: &str, location: &Location) -> Result<FileBytes> {
    let file = &*location.file;
    // It lies in the folder of the metadata or below it.
    if !io::is_below(file) {
        return Err(Error::damaged(format!("'{name}'"), format!("'{file}' is no name of a file in this folder")));
    }
    let path = folder.join(file);
    if !path.exists() {
        let reason = format!("the file {file}, which holds '{name}' from byte {} on, is missing", location.offset);
        return Err(Error::missing(reason).advise("copy or download it again"));
    }
    FileBytes::open(&path)
}

/// Every item lies inside its file and apart from the others, so that what can be read is no more than the files hold.
fn check_apart(metadata: &Metadata, files: &HashMap<Arc<str>, FileBytes>) -> Result<()> {
    let mut all: Vec<(&Arc<str>, &Location)> =
        metadata.locations.iter().map(|((name, _), location)| (name, location)).collect();
    all.sort_unstable_by_key(|(_, location)| (&location.file, location.offset, location.length));
    let mut before: Option<(&Arc<str>, &Location)> = None;
    for (name, location) in all {
        let Some(file) = files.get(&location.file) else { continue };
        let (at, len) = (location.offset, file.len());
        let end = at.checked_add(location.length);
        if end.is_none_or(|end| end > len as u64) {
            let length = location.length;
            let reason = format!("'{name}' takes {length} bytes from byte {at} on, and the file has {len}");
            return Err(Error::truncated(reason).in_file_if(file.path()));
        }
        if let Some((other, there)) = before
            && there.file == location.file
            && there.offset.saturating_add(there.length) > at
        {
            let reason = format!("it begins inside '{other}', which is at byte {}", there.offset);
            let error = Error::damaged(format_args!("'{name}' at byte {at}"), reason);
            return Err(error.in_file_if(file.path()));
        }
        before = Some((name, location));
    }
    Ok(())
}
