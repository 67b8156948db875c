//! The tar archive that `torch.save` wrote before PyTorch 0.1.10. It is read, not written: no PyTorch of today writes it.
//!
//! | member | content |
//! |---|---|
//! | `sys_info` | a description of the machine, which nothing depends on |
//! | `storages` | a pickle: how many; for each a pickle `(key, location, class)`, how many elements (64 bits), and the elements; then a pickle of the parts of storages that have keys of their own: `(key, whole's key, first element, elements)` |
//! | `tensors` | a pickle: how many; for each a pickle `(key, storage's key, class)`, the number of dimensions (32 bits, then 32 that mean nothing), lengths, strides and the first element's place (64 bits each) |
//! | `pickle` | the object; its persistent ids are the keys of tensors and storages and, in whole modules, classes |
//!
//! Numbers are little-endian. A storage is a slice of the file: the `tar` crate tells where a member lies (pax records, long
//! names and all), and its bytes are never copied.

use std::collections::HashMap;
use std::io::Cursor;

use bytes::Bytes;
use indexmap::IndexSet;

use crate::container::content;
use crate::container::legacy::Part;
use crate::container::named::Slice;
use crate::container::stream::Stream;
use crate::pickle::{self, KeepIds, PersistentLoad};
use crate::value::tensor::TensorParts;
use crate::{DType, Error, FileBytes, Format, Global, Limits, OpenOptions, Opened, Result, Storage, Tensor, Value};

impl Format {
    /// The tar archive of PyTorch 0.1.
    pub const TAR: Format = Format::named("tar");
}

/// The names of the members.
const MEMBERS: [&str; 4] = ["sys_info", "pickle", "tensors", "storages"];

/// Whether it is a tar archive with a member of PyTorch's.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    content::is_tar(file)
        && Members::of(file, &Limits::default()).found.iter().any(|(name, _)| MEMBERS.contains(&&**name))
}

/// Reads the checkpoint in an archive.
///
/// # Errors
/// [`Truncated`](crate::ErrorKind::Truncated) when the file ends too early, [`Damaged`](crate::ErrorKind::Damaged) when its
/// parts contradict each other, and as [`pickle::read`].
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let limits = &options.limits;
    let mut members = Members::of(file, limits);
    let mut objects = Objects::default();
    let mut globals = IndexSet::new();
    let mut storages = Stream::new(members.needed("storages")?, limits);
    objects.read_storages(&mut storages, limits)?;
    globals.extend(storages.globals());
    // Other programs leave it out and write tensors as later versions do.
    if let Some(bytes) = members.find("tensors")? {
        let mut tensors = Stream::new(bytes, limits);
        objects.read_tensors(&mut tensors, limits)?;
        globals.extend(tensors.globals());
    }
    let mut object = Stream::new(members.needed("pickle")?, limits);
    let value = object.pickle("the object", &mut objects)?;
    globals.extend(object.globals());
    let globals = globals.into_iter().collect();
    Ok(Opened::new(Format::TAR, value, globals, file.len() as u64))
}

/// The members of a tar archive, whatever it holds, and why it could not be read further.
pub(crate) fn members(file: &FileBytes, limits: &Limits) -> (Vec<(String, Bytes)>, Option<Error>) {
    let Members { found, problem } = Members::of(file, limits);
    (found, problem)
}

/// What the pickles in a member name between which there are numbers.
pub(crate) struct Pickles {
    pub(crate) globals: IndexSet<Global>,
    /// From the first pickle on that cannot be read.
    pub(crate) rest: Option<Bytes>,
}

/// Goes through the pickles of the members `storages` and `tensors`; `None` for other members.
pub(crate) fn pickles(member: &str, bytes: Bytes, limits: &Limits) -> Option<Pickles> {
    let mut objects = Objects::default();
    let mut stream = Stream::new(bytes, limits);
    let read = match member {
        "storages" => objects.read_storages(&mut stream, limits),
        // The storages that they view are not there, so only the pickles count.
        "tensors" => Objects::skip_tensors(&mut stream, limits),
        _ => return None,
    };
    let rest = read.is_err().then(|| stream.rest());
    Some(Pickles { globals: stream.globals(), rest })
}

/// The members of an archive.
struct Members {
    /// Names, and contents as slices of the file.
    found: Vec<(String, Bytes)>,
    /// Why the archive could not be read further.
    problem: Option<Error>,
}

impl Members {
    fn of(file: &FileBytes, limits: &Limits) -> Self {
        let mut found = Vec::new();
        let problem = list(file, limits, &mut found).err();
        Members { found, problem }
    }

    fn find(&self, name: &str) -> Result<Option<Bytes>> {
        let mut found = self.found.iter().filter(|(member, _)| member == name).map(|(_, bytes)| bytes.clone());
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Error::damaged(format!("member {name}"), "there are two of this name")),
            (found, _) => Ok(found),
        }
    }

    fn needed(&mut self, name: &str) -> Result<Bytes> {
        let missing = || Error::truncated(format!("the archive has no member {name}"));
        self.find(name)?.ok_or_else(|| self.problem.take().unwrap_or_else(missing))
    }
}

fn list(file: &FileBytes, limits: &Limits, found: &mut Vec<(String, Bytes)>) -> Result<()> {
    let broken = |error: std::io::Error| {
        if ends_as_an_archive(file) {
            Error::damaged("the tar archive", error.to_string())
        } else {
            Error::truncated("the archive ends before its last member")
        }
    };
    let mut archive = tar::Archive::new(Cursor::new(file.bytes()));
    for entry in archive.entries_with_seek().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        if found.len() as u64 >= limits.records {
            return Err(Error::limit("the number of members of a tar archive", limits.records));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (start, len) = (entry.raw_file_position(), entry.size());
        let bytes = start.checked_add(len).and_then(|end| file.slice(start..end));
        let cut_off = || Error::truncated(format!("member {name} takes {len} bytes from byte {start} on"));
        let bytes = bytes.ok_or_else(cut_off)?;
        // Not folders, links, or files with holes.
        if entry.header().entry_type().is_file() {
            found.push((name, bytes));
        }
    }
    Ok(())
}

/// An archive is made of blocks, and the last of them are zeros.
fn ends_as_an_archive(file: &FileBytes) -> bool {
    let (blocks, rest) = file.as_chunks::<512>();
    rest.is_empty() && blocks.last().is_some_and(|block| block.iter().all(|&byte| byte == 0))
}

/// The storages and tensors of an archive by their keys.
#[derive(Default)]
struct Objects {
    by_key: HashMap<String, Value>,
    /// By the identity of a part of a storage: the whole, and where the part begins.
    wholes: HashMap<usize, (Storage, u64)>,
}

impl Objects {
    fn read_storages(&mut self, stream: &mut Stream<'_>, limits: &Limits) -> Result<()> {
        for number in 0..count(stream, "the number of storages", limits)? {
            let what = format!("storage number {number}");
            let [key, location, class] = triple(stream, &what)?;
            let (name, dtype, location) = storage_id(&class, &key, &location)?;
            let size = dtype.map_or(1, DType::size) as u64;
            let bytes = stream.count(&what)?.saturating_mul(size);
            let bytes = stream.take(bytes, &what)?;
            let source = Slice::new(&name, bytes);
            self.put(name, Storage::from_source(dtype, location, source))?;
        }
        if stream.is_at_end() {
            return Ok(());
        }
        let what = "the list of parts of storages";
        let parts = stream.pickle(what, &mut KeepIds)?.items();
        for part in parts.ok_or_else(|| Error::damaged(what, "it is no list"))? {
            let part = part.items().unwrap_or_default();
            let [key, whole, first, count] = &part[..] else {
                return Err(Error::damaged(what, "an item of it is no tuple of four"));
            };
            self.part(key, whole, first, count)?;
        }
        Ok(())
    }

    /// Notes a part of a storage that has a key of its own.
    fn part(&mut self, key: &Value, whole: &Value, first: &Value, count: &Value) -> Result<()> {
        let (key, whole) = (key_of(key)?, self.storage(whole)?);
        let size = whole.dtype().map_or(1, DType::size) as u64;
        let bytes = |count: &Value| u64::try_from(count.as_i64()?).ok()?.checked_mul(size);
        let (Some(start), Some(len)) = (bytes(first), bytes(count)) else {
            return Err(Error::damaged(format!("storage {key}"), "it is a part without a place"));
        };
        if start.checked_add(len).is_none_or(|end| end > whole.len()) {
            return Err(Error::damaged(format!("storage {key}"), "it is a part that leaves its storage"));
        }
        let source = Part { whole: whole.clone(), key: key.clone(), start, len };
        let part = Storage::from_source(whole.dtype(), whole.location(), source);
        self.wholes.insert(part.id(), (whole, start));
        self.put(key, part)
    }

    fn read_tensors(&mut self, stream: &mut Stream<'_>, limits: &Limits) -> Result<()> {
        for number in 0..count(stream, "the number of tensors", limits)? {
            let what = format!("tensor number {number}");
            let [key, storage, class] = triple(stream, &what)?;
            let dimensions = stream.take(8, &what)?;
            let (dimensions, _) = dimensions.as_chunks();
            let dimensions = dimensions.first().map_or(-1, |low| i32::from_le_bytes(*low));
            let Ok(dimensions) = u64::try_from(dimensions) else {
                return Err(Error::damaged(what, format!("it has {dimensions} dimensions")));
            };
            let mut lengths = |count| -> Result<Vec<usize>> {
                let counted = |&length: &i64| usize::try_from(length);
                let lengths = stream.integers(count, &what)?.iter().map(counted).collect::<Result<_, _>>();
                lengths.map_err(|_| Error::damaged(&*what, "a length, stride or offset in it is negative"))
            };
            let (shape, stride, offset) = (lengths(dimensions)?, lengths(dimensions)?, lengths(1)?);
            let [offset] = offset[..] else { return Err(Error::truncated(what)) };
            let tensor = self.tensor(&storage, &class, shape, stride, offset)?;
            self.put(key_of(&key)?, tensor)?;
        }
        Ok(())
    }

    /// Reads past the tensors without making them.
    fn skip_tensors(stream: &mut Stream<'_>, limits: &Limits) -> Result<()> {
        for number in 0..count(stream, "the number of tensors", limits)? {
            let what = format!("tensor number {number}");
            triple(stream, &what)?;
            let dimensions = stream.take(8, &what)?;
            let (dimensions, _) = dimensions.as_chunks();
            let dimensions = dimensions.first().map_or(0, |low| i32::from_le_bytes(*low));
            let words = u64::try_from(dimensions).unwrap_or_default() * 2 + 1;
            stream.take(words * 8, &what)?;
        }
        Ok(())
    }

    fn tensor(
        &self,
        storage: &Value,
        class: &Value,
        shape: Vec<usize>,
        stride: Vec<usize>,
        offset: usize,
    ) -> Result<Tensor> {
        // A tensor that was never given elements has no storage.
        let storage = if matches!(storage, Value::None) {
            Storage::from_bytes(storage_id(class, &Value::Int(0), &Value::None)?.1, Bytes::new())
        } else {
            self.storage(storage)?
        };
        let dtype = storage.dtype().unwrap_or(DType::UInt8);
        let parts = |storage, offset| TensorParts::strided(dtype, shape.clone(), storage, offset, stride.clone());
        let tensor = Tensor::new(parts(storage.clone(), offset))?;
        let Some((whole, start)) = self.wholes.get(&storage.id()) else { return Ok(tensor) };
        let start = usize::try_from(start / dtype.size() as u64).ok();
        match start.and_then(|start| start.checked_add(offset)) {
            Some(offset) => Tensor::new(parts(whole.clone(), offset)),
            None => Ok(tensor),
        }
    }

    fn storage(&self, key: &Value) -> Result<Storage> {
        let key = key_of(key)?;
        match self.by_key.get(&key) {
            Some(Value::Storage(storage)) => Ok(storage.clone()),
            _ => Err(Error::damaged(format!("storage {key}"), "it is missing")),
        }
    }

    fn put(&mut self, key: String, value: impl Into<Value>) -> Result<()> {
        match self.by_key.insert(key.clone(), value.into()) {
            None => Ok(()),
            Some(_) => Err(Error::damaged(format!("key {key}"), "two storages or tensors have it")),
        }
    }
}

impl PersistentLoad for Objects {
    fn load(&mut self, id: &Value) -> Result<Option<Value>> {
        if let Value::Tuple(items) = id {
            // The class of a module, with its source file and source text.
            return Ok(items.first().filter(|class| matches!(class, Value::Global(_))).cloned());
        }
        let key = key_of(id)?;
        let found = self.by_key.get(&key).cloned();
        found.map(Some).ok_or_else(|| Error::damaged(format!("key {key}"), "there is no storage or tensor of this key"))
    }

    fn load_inline(&mut self, id: &Value) -> Result<Option<Value>> {
        let Some(id) = pickle::storage_from_id(id)? else { return Ok(None) };
        self.storage(&id.key.into()).map(|storage| Some(storage.into()))
    }

    fn whole_of(&self, part: &Storage) -> Option<(Storage, u64)> {
        self.wholes.get(&part.id()).cloned()
    }
}

/// A pickle of how many things follow.
fn count(stream: &mut Stream<'_>, what: &str, limits: &Limits) -> Result<u64> {
    let count = stream.pickle(what, &mut KeepIds)?;
    match count.as_i64().map(u64::try_from) {
        Some(Ok(count)) if count <= limits.records => Ok(count),
        Some(Ok(count)) => Err(Error::limit(format!("{what}, {count},"), limits.records)),
        _ => Err(Error::damaged(what, format!("it is {}", count.describe()))),
    }
}

/// A pickle of three things.
fn triple(stream: &mut Stream<'_>, what: &str) -> Result<[Value; 3]> {
    let items = stream.pickle(what, &mut KeepIds)?.items().unwrap_or_default();
    items.try_into().map_err(|_| Error::damaged(what, "its description is no tuple of three"))
}

/// A key, element type and location. A tensor's class counts as that of its storage.
fn storage_id(class: &Value, key: &Value, location: &Value) -> Result<(String, Option<DType>, String)> {
    let class = match class {
        Value::Global(class) => Global::new(&class.module, &class.name.replace("Tensor", "Storage")).into(),
        other => other.clone(),
    };
    let id = Value::tuple(["storage".into(), class, key.clone(), location.clone(), Value::Int(0)]);
    match pickle::storage_from_id(&id)? {
        Some(id) => Ok((id.key, id.dtype, id.location)),
        None => Err(Error::damaged("a storage", "its description is malformed")),
    }
}

/// Keys are numbers; the object's pickle has them as text.
fn key_of(key: &Value) -> Result<String> {
    match key {
        Value::Int(key) => Ok(key.to_string()),
        Value::Str(key) => Ok((**key).to_owned()),
        Value::BigInt(key) => Ok(key.to_string()),
        other => Err(Error::damaged("a key", format!("it is {}", other.describe()))),
    }
}
