//! Writing safetensors: the header in the order of the state dict, the data in the order of the safetensors crate.

use std::io::Write;
use std::path::Path;

use crate::container::keeps::Keeps;
use crate::container::named::{Item, Metadata, Named, Target, refused};
use crate::container::safetensors::header::{FORMAT, MAX_LEN, METADATA, PREFIX, TYPES, Type};
use crate::container::safetensors::ties;
use crate::io::commit::Counted;
use crate::io::{Expected, Out, Ready};
use crate::{DType, Error, ErrorKind, Result, SaveOptions, SaveReport, Storage, Value};

/// What this crate writes under [`FORMAT`]: transformers asks for it.
const FORMAT_PYTORCH: &str = "pt";

/// Ties are kept in `__metadata__`.
pub(crate) const TARGET: Target = Target { name: "safetensors", keeps: Keeps { ties: true, ..Keeps::TENSORS } };

/// Writes a state dict (a dict of names and tensors) as one file.
///
/// The report names what the format cannot keep: sharing other than ties, strides, parameters' classes, devices, attributes.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when the value holds anything else than strided tensors, or an element type that safetensors
/// lacks (each by its key); [`ErrorKind::Exists`] when the file is there and was not to be replaced.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    ready(root, options)?.commit(path, options.overwrite)
}

pub(crate) fn ready<'a>(root: &'a Value, _: &SaveOptions) -> Result<Ready<'a>> {
    let mut named = Named::of(root, &TARGET)?;
    let metadata = ties::record(&named)?;
    let notes = std::mem::take(&mut named.notes);
    let lay_out = move || {
        let kept = named.tensors.iter().filter(|item| item.tied.is_none());
        let file = File::lay_out(kept, &metadata)?;
        Ok::<_, Error>((file.bytes, file.header, file.data.into_iter().cloned().collect::<Vec<_>>()))
    };
    let (bytes, header, data) = lay_out()?;
    let in_memory = data.iter().all(|item| item.tensor.storage().is_none_or(Storage::is_in_memory));
    let put = move |out: &mut dyn Out| {
        File { header, data: data.iter().collect(), bytes }.write(out)?;
        Ok(bytes)
    };
    Ok(Ready::new(notes, put).expecting(Expected { bytes, in_memory }))
}

/// A file that is ready to be written.
pub(crate) struct File<'a> {
    header: Vec<u8>,
    /// The tensors in the order of their data.
    data: Vec<&'a Item>,
    /// The size of the file.
    pub(crate) bytes: u64,
}

impl<'a> File<'a> {
    pub(crate) fn lay_out(items: impl IntoIterator<Item = &'a Item>, metadata: &Metadata) -> Result<Self> {
        let mut placed = items.into_iter().map(Placed::new).collect::<Result<Vec<_>>>()?;
        let mut order: Vec<usize> = (0..placed.len()).collect();
        // As the crate: larger element types first, then by name.
        order.sort_by(|&a, &b| {
            let (a, b) = (&placed[a], &placed[b]);
            b.rank.cmp(&a.rank).then_with(|| a.item.name.cmp(&b.item.name))
        });
        let mut end = 0_u64;
        for &index in &order {
            placed[index].start = end;
            end = end
                .checked_add(placed[index].len)
                .ok_or_else(|| ErrorKind::Invalid("it has more bytes than can be counted".into()))?;
        }
        let header = header(&placed, metadata)?;
        let bytes = (PREFIX + header.len() as u64).saturating_add(end);
        Ok(File { header, data: order.into_iter().map(|index| placed[index].item).collect(), bytes })
    }

    /// Writes the file, a tensor at a time.
    pub(crate) fn write(&self, out: &mut dyn Write) -> Result<()> {
        let mut out = Counted::new(out);
        out.put(&(self.header.len() as u64).to_le_bytes())?;
        out.put(&self.header)?;
        self.data.iter().try_for_each(|item| out.put(&item.tensor.to_le_bytes()?))
    }
}

struct Placed<'a> {
    item: &'a Item,
    kind: &'static Type,
    rank: usize,
    start: u64,
    len: u64,
}

impl<'a> Placed<'a> {
    fn new(item: &'a Item) -> Result<Self> {
        let tensor = &item.tensor;
        let dtype = tensor.dtype();
        // 4-bit floats by themselves and in pairs are one type there.
        let kept = if dtype == DType::Float4E2M1Fn { DType::Float4E2M1FnX2 } else { dtype };
        let Some((rank, kind)) = TYPES.iter().enumerate().find(|(_, kind)| kind.dtype == kept) else {
            let kind = format!("a tensor of {dtype}");
            let advice = "cast it to a type that safetensors has, or write another format";
            return Err(refused(&item.name, &kind, "safetensors", advice));
        };
        if *item.name == *METADATA {
            let reason = format!("a tensor cannot be called '{METADATA}' in safetensors; rename it");
            return Err(Error::invalid(reason));
        }
        if dtype == DType::Float4E2M1FnX2 && tensor.shape().is_empty() {
            return Err(refused(
                &item.name,
                "a pair of 4-bit floats without a dimension",
                "safetensors",
                "reshape it to [1]",
            ));
        }
        let len = dtype.bytes_for(tensor.numel()).map(|len| len as u64);
        let len = len.ok_or_else(|| Error::invalid_tensor(&*item.name, "it has more bytes than can be counted"))?;
        Ok(Placed { item, kind, rank, start: 0, len })
    }

    /// The shape as the header has it, in elements.
    fn shape(&self) -> Vec<usize> {
        let mut shape = self.item.tensor.shape().to_vec();
        if let (DType::Float4E2M1FnX2, Some(last)) = (self.item.tensor.dtype(), shape.last_mut()) {
            *last = last.saturating_mul(2);
        }
        shape
    }
}

/// The header without its length, padded with spaces to a multiple of eight bytes.
fn header(placed: &[Placed<'_>], metadata: &Metadata) -> Result<Vec<u8>> {
    let json = |text: &str| serde_json::to_string(text).map_err(|error| ErrorKind::Invalid(error.to_string()));
    let mut texts = Vec::new();
    if !metadata.contains_key(FORMAT) {
        texts.push(format!("{}:{}", json(FORMAT)?, json(FORMAT_PYTORCH)?));
    }
    for (key, value) in metadata {
        texts.push(format!("{}:{}", json(key)?, json(&as_text(key, value)?)?));
    }
    let mut entries = vec![format!("{}:{{{}}}", json(METADATA)?, texts.join(","))];
    for tensor in placed {
        let shape: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
        let (name, shape, start, end) =
            (json(&tensor.item.name)?, shape.join(","), tensor.start, tensor.start + tensor.len);
        let kind = tensor.kind.name;
        entries.push(format!(r#"{name}:{{"dtype":"{kind}","shape":[{shape}],"data_offsets":[{start},{end}]}}"#));
    }
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > MAX_LEN {
        let reason =
            format!("the header takes {} bytes; safetensors allows {MAX_LEN}, write several files", header.len());
        return Err(Error::invalid(reason));
    }
    Ok(header)
}

/// What the header can hold of an entry of `__metadata__`: text; numbers become text.
fn as_text(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::Str(text) => Ok(text.to_string()),
        Value::Int(_) | Value::BigInt(_) | Value::Float(_) => Ok(format!("{value:?}")),
        other => Err(Error::wrong_type(format!("{METADATA}.{key}"), "a text", other.describe())),
    }
}
