//! Llama's own shards: `consolidated.00.pth`, `consolidated.01.pth`, ..., each with a part of every matrix, along the axis that the layer
//! was split along, and `params.json` beside them.

use std::path::Path;

use globset::Glob;
use indexmap::IndexMap;

use super::joined;
use crate::format::{Read, add_new};
use crate::{
    Dict, Error, FileBytes, Format, OpenOptions, Opened, Result, ResultExt as _, StateDict, Tensor, Value, io,
};

impl Format {
    /// A folder of Llama's `consolidated.00.pth`, `consolidated.01.pth`, ...
    pub const LLAMA: Format = Format::named("llama");
}

/// How the parts of a tensor are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    Axis(usize),
    /// Each part is the whole.
    Same,
}

/// Layers by the module that their weight belongs to. Words are embedded by a matrix that was split along either axis; its shape tells.
const JOINS: &[(&str, Join)] = &[
    ("wq", Join::Axis(0)),
    ("wk", Join::Axis(0)),
    ("wv", Join::Axis(0)),
    ("wo", Join::Axis(1)),
    ("w1", Join::Axis(0)),
    ("w2", Join::Axis(1)),
    ("w3", Join::Axis(0)),
    ("output", Join::Axis(0)),
    ("norm", Join::Same),
    ("attention_norm", Join::Same),
    ("ffn_norm", Join::Same),
    ("rope", Join::Same),
];

/// The number of a shard.
fn number(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("consolidated.")?.strip_suffix(".pth")?;
    (digits.len() >= 2 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// Whether a folder holds such shards.
pub(crate) fn detect(_: &Path, names: &[String]) -> bool {
    names.iter().any(|name| number(name).is_some())
}

/// Reads a folder; `open` reads the files in it.
///
/// # Errors
/// [`ErrorKind::Missing`](crate::ErrorKind::Missing) when a shard is missing,
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a tensor of which nothing says along which axis its parts are joined
/// ([`OpenOptions::axes`] does), [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) when parts do not fit.
pub(crate) fn read(folder: &Path, options: &OpenOptions, open: Read) -> Result<Opened> {
    let mut shards: Vec<(usize, String)> =
        io::names(folder)?.into_iter().filter_map(|name| Some((number(&name)?, name))).collect();
    shards.sort_unstable();
    for (place, (number, name)) in shards.iter().enumerate() {
        if *number != place {
            let what = format!("the shard consolidated.{place:02}.pth is missing, and there is {name}");
            return Err(Error::missing(what).advise("copy or download it again"));
        }
    }
    let (mut globals, mut bytes) = (Vec::new(), 0_u64);
    let mut parts: Vec<(StateDict, Value)> = Vec::new();
    for (_, name) in &shards {
        let path = folder.join(name);
        let opened = FileBytes::open(&path).and_then(|file| open(&file, options)).in_file(&path)?;
        bytes = bytes.saturating_add(opened.bytes);
        add_new(&mut globals, opened.globals);
        parts.push((StateDict::from_value(&opened.value).in_file(&path)?, opened.value));
    }
    let [(first, root), others @ ..] = &parts[..] else { return Err(Error::missing("there is no shard")) };
    if others.is_empty() {
        return Ok(Opened::new(Format::LLAMA, root.clone(), globals, bytes));
    }
    let merging = Merging { dim: dim(folder, first), options };
    let names: Vec<&str> = first.keys().collect();
    for (number, (other, _)) in others.iter().enumerate() {
        let odd = names
            .iter()
            .find(|name| !other.contains(name))
            .copied()
            .or_else(|| other.keys().find(|name| !first.contains(name)));
        if let Some(odd) = odd {
            let reason = format!("consolidated.{:02}.pth and consolidated.00.pth do not both have it", number + 1);
            return Err(Error::damaged(format!("'{odd}'"), reason));
        }
    }
    let mut merged: IndexMap<&str, Value> = IndexMap::new();
    for (name, value) in first.values() {
        let of_all: Option<Vec<Tensor>> = parts.iter().map(|(part, _)| part.get(name).cloned()).collect();
        let value = match of_all.filter(|_| value.as_tensor().is_some()) {
            Some(tensors) => merging.join(name, &tensors)?.into(),
            None => value.clone(),
        };
        merged.insert(name, value);
    }
    let dict = Dict::ordered();
    merged.into_iter().for_each(|(name, value)| drop(dict.insert(name, value)));
    Ok(Opened::new(Format::LLAMA, dict.into(), globals, bytes))
}

/// The width of the model: as `params.json` says, or as long as the weight of a norm.
fn dim(folder: &Path, first: &StateDict) -> Option<usize> {
    let text = std::fs::read(folder.join("params.json")).unwrap_or_default();
    let params: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let said = params.get("dim").and_then(serde_json::Value::as_u64).and_then(|dim| usize::try_from(dim).ok());
    said.or_else(|| {
        let norm = first.iter().find(|(name, tensor)| module(name).ends_with("norm") && tensor.shape().len() == 1);
        norm.map(|(_, tensor)| tensor.numel())
    })
}

/// The module that a weight belongs to.
fn module(name: &str) -> &str {
    let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
    module.rsplit_once('.').map_or(module, |(_, last)| last)
}

struct Merging<'a> {
    dim: Option<usize>,
    options: &'a OpenOptions,
}

impl Merging<'_> {
    fn join(&self, name: &str, parts: &[Tensor]) -> Result<Tensor> {
        let told = self.told(name)?;
        let known = if told.is_some() { told } else { self.known(name, parts)? };
        let how = known.or_else(|| differing(parts));
        let Some(how) = how else {
            let reason = format!("nothing says how its {} parts are put together", parts.len());
            let advice = format!(
                "say along which axis with `OpenOptions::axes`, such as '{name}=0', or '{name}=same' where each part is the whole"
            );
            return Err(Error::invalid(reason).at(format_args!("'{name}'")).advise(advice));
        };
        match how {
            Join::Axis(axis) => {
                let joined = joined::along(name, axis, parts)?;
                self.check(name, &joined, parts.len())?;
                Ok(joined)
            }
            Join::Same => {
                let [first, others @ ..] = parts else {
                    return Err(Error::damaged(format!("'{name}'"), "it has no parts"));
                };
                let bytes = first.to_le_bytes()?;
                for (other, number) in others.iter().zip(1..) {
                    if other.shape() != first.shape() || other.to_le_bytes()? != bytes {
                        let reason =
                            format!("each shard has the whole of it, and consolidated.{number:02}.pth has another");
                        return Err(Error::damaged(format!("'{name}'"), reason));
                    }
                }
                Ok(first.clone())
            }
        }
    }

    /// As the reader was told.
    fn told(&self, name: &str) -> Result<Option<Join>> {
        for said in &self.options.axes {
            let wrong = || {
                Error::invalid(format!(
                    "'{said}' is no axis of tensors; NAME=0, NAME=1 or NAME=same is expected, where NAME may be a glob"
                ))
            };
            let (glob, axis) = said.rsplit_once('=').ok_or_else(wrong)?;
            let join = match axis.trim() {
                "same" => Join::Same,
                axis => Join::Axis(axis.parse().map_err(|_| wrong())?),
            };
            let glob = Glob::new(glob.trim()).map_err(|_| wrong())?.compile_matcher();
            if glob.is_match(name) {
                return Ok(Some(join));
            }
        }
        Ok(None)
    }

    /// As the layers of Llama are split.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) for words whose vectors are as wide as the model along neither axis.
    fn known(&self, name: &str, parts: &[Tensor]) -> Result<Option<Join>> {
        let (module, shape) = (module(name), parts.first().map(Tensor::shape).unwrap_or_default());
        if module == "tok_embeddings" {
            let (Some(dim), [_, width]) = (self.dim, shape) else { return Ok(None) };
            let by_width = [(*width == dim, 0), (width.saturating_mul(parts.len()) == dim, 1)];
            let axis = by_width.into_iter().find_map(|(fits, axis)| fits.then_some(Join::Axis(axis)));
            return match axis {
                None if !self.options.lenient => {
                    let parts = parts.len();
                    Err(too_few(name, format!("its {parts} parts are {width} wide, where the model is {dim} wide")))
                }
                axis => Ok(axis),
            };
        }
        let join = JOINS.iter().find(|row| row.0 == module).map(|row| row.1);
        // What is added once all have been summed is in each shard: the bias of a layer that is split by what comes in.
        Ok(match join {
            Some(Join::Axis(axis)) if axis >= shape.len() => Some(Join::Same),
            join => join,
        })
    }

    /// A matrix into or out of the stream has the model's width: else shards are missing.
    fn check(&self, name: &str, joined: &Tensor, parts: usize) -> Result<()> {
        let (Some(dim), [rows, columns]) = (self.dim, joined.shape()) else { return Ok(()) };
        let wrong = match module(name) {
            "wq" | "wo" => *rows != dim || *columns != dim,
            "wk" | "wv" | "w1" | "w3" | "output" | "tok_embeddings" => *columns != dim,
            "w2" => *rows != dim,
            _ => false,
        };
        if !wrong || self.options.lenient {
            return Ok(());
        }
        Err(too_few(name, format!("its {parts} parts make {:?}, where the model is {dim} wide", joined.shape())))
    }
}

fn too_few(name: &str, what: String) -> Error {
    let error = Error::damaged(format!("'{name}'"), format!("{what}: a shard is missing or of another model"));
    error.advise("copy or download all of them again")
}

/// The only axis along which the parts have different lengths.
fn differing(parts: &[Tensor]) -> Option<Join> {
    let first = parts.first()?.shape();
    if parts.iter().any(|part| part.shape().len() != first.len()) {
        return None;
    }
    let differs = |axis: &usize| parts.iter().any(|part| part.shape().get(*axis) != first.get(*axis));
    match (0..first.len()).filter(differs).collect::<Vec<_>>()[..] {
        [axis] => Some(Join::Axis(axis)),
        _ => None,
    }
}
